"""Writing answers for Ollama's clients."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm.chat.events import (
    Event,
    Finished,
    PartEnded,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from llm.chat.messages import Usage
from llm.chat.reply import collect
from llm.chat.request import ChatRequest
from llm.dialects import ollama as ollama_dialect
from tests.support.ollama_client import DIALECT

REQUEST = ChatRequest(model="demo/m", messages=())
NOW = 1764000000
# --- what a client gets ---

LOOP: list[Event] = [
    Started("x", "m"),
    ReasoningDelta(0, "Hm."),
    PartEnded(0),
    TextDelta(1, "Grüße "),
    TextDelta(1, "🦊"),
    PartEnded(1),
    ToolCallStarted(2, "c1", "f"),
    ToolCallStarted(3, "c2", "g"),
    ToolCallDelta(2, '{"a"'),
    ToolCallDelta(3, "broken"),
    ToolCallDelta(2, ": 1}"),
    PartEnded(3),
    PartEnded(2),
    UsageReported(Usage(fresh=5, cache_read=3, text=2, reasoning=4)),
    Finished("tool_calls"),
]


def lines(events: list[Event], size: int = 1) -> list[dict[str, Any]]:
    writer = DIALECT.create_writer(REQUEST, NOW)
    raw = b"".join(p for n in range(0, len(events), size) for p in writer.feed(events[n : n + size]))
    assert raw.endswith(b"\n")
    return [json.loads(line) for line in raw.splitlines()]


@pytest.mark.parametrize("size", [1, 100])
def test_s3_a_stream_is_json_lines_with_whole_calls(size: int) -> None:
    objects = lines(LOOP, size)
    assert all(line["model"] == "demo/m" and line["created_at"].endswith("Z") for line in objects)
    assert [line["message"].get("thinking") for line in objects if "thinking" in line["message"]] == ["Hm."]
    assert "".join(line["message"]["content"] for line in objects) == "Grüße 🦊"
    calls = [call for line in objects for call in line["message"].get("tool_calls", ())]
    assert calls == [
        {"id": "c1", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}},
        {"id": "c2", "function": {"index": 1, "name": "g", "arguments": {"value": "broken"}}},
    ]
    assert [line["done"] for line in objects] == [False] * (len(objects) - 1) + [True]
    assert (objects[-1]["done_reason"], objects[-1]["prompt_eval_count"], objects[-1]["eval_count"]) == ("stop", 8, 6)


def test_a_whole_answer_equals_the_stream() -> None:
    whole: Any = DIALECT.write_reply(collect(LOOP), REQUEST, NOW)
    assert (whole["message"]["content"], whole["message"]["thinking"], whole["done"]) == ("Grüße 🦊", "Hm.", True)
    assert [call["id"] for call in whole["message"]["tool_calls"]] == ["c1", "c2"]
    generated: Any = ollama_dialect.client_generate.write_reply(collect(LOOP), REQUEST, NOW)
    assert (generated["response"], generated["thinking"], "message" in generated) == ("Grüße 🦊", "Hm.", False)
