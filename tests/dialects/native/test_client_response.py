"""The native stream: chunks, errors and whole answers."""

from __future__ import annotations

import json
from typing import Any

from llm import errors
from llm.chat.events import (
    Event,
    Failed,
    Finished,
    PartEnded,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    ToolProgress,
    UsageReported,
    WholePart,
)
from llm.chat.messages import Text, ToolResult, Usage
from llm.dialects import native
from tests.support.grammars import check_native


def write_objects(events: list[Event], framing: native.NativeFraming = "ndjson") -> list[Any]:
    writer = native.NativeWriter(framing)
    raw = b"".join(piece for event in events for piece in writer.feed([event]))
    if framing == "sse":
        raw = b"\n".join(block.removeprefix(b"data: ") for block in raw.split(b"\n\n"))
    objects = [json.loads(line) for line in raw.splitlines() if line]
    check_native(objects)
    return objects


ANSWER: list[Event] = [
    Started("1", "m"),
    ReasoningDelta(0, "Hm."),
    PartEnded(0),
    TextDelta(1, "A"),
    TextDelta(1, ""),
    PartEnded(1),
    ToolCallStarted(2, "c1", "f"),
    ToolCallDelta(2, '{"x": 1}'),
    PartEnded(2),
    ToolProgress(2, "running", "Working…"),
    WholePart(3, ToolResult("c1", (Text('{"y": 2}'),))),
    ToolProgress(2, "completed"),
    UsageReported(Usage(fresh=1, cache_read=2, cache_write=3, text=4, reasoning=5)),
    Finished("filtered", "SAFETY", explanation="Why."),
]


def test_events_become_the_objects_of_the_contract() -> None:
    def tool(state: str, status: str, params: Any, result: Any) -> dict[str, Any]:
        call = {"params": params, "result": result}
        return {"type": "tool", "id": "c1", "name": "f", "state": state, "status": status, "call": call, "done": False}

    for framing in ("ndjson", "sse", "chunks"):
        assert write_objects(ANSWER, framing) == [
            {"type": "reasoning", "text": "Hm.", "done": False},
            {"type": "content", "text": "A", "done": False},
            tool("preparing", "", None, None),
            {**tool("preparing", "", None, None), "arguments": '{"x": 1}'},
            tool("preparing", "", {"x": 1}, None),
            tool("running", "Working…", {"x": 1}, None),
            tool("completed", "", {"x": 1}, {"y": 2}),
            {
                "type": "content",
                "text": "",
                "done": True,
                "finishReason": "content_filter",
                "finishDetails": {"reason": "SAFETY", "explanation": "Why."},
            },
            {
                "type": "usage",
                "usage": {
                    "prompt_tokens": 6,
                    "completion_tokens": 9,
                    "prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 3},
                    "completion_tokens_details": {"reasoning_tokens": 5},
                },
                "done": True,
            },
        ]


def test_an_error_is_the_last_object_with_all_known_fields() -> None:
    provider = errors.ProviderErrorDetails(429, "slow", "t", "Slow.")
    failure = errors.RateLimited("Slow.", engine="e", provider=provider, retry_after=3)
    [*_, error] = write_objects([Started("1", "m"), TextDelta(0, "A"), Failed(failure)])
    assert error == {
        "type": "error", "error": "Slow.", "code": "rate_limited", "status": 429, "engine": "e", "retry_after": 3,
        "provider": {"status": 429, "code": "slow", "message": "Slow.", "type": "t"}, "done": True,
    }  # fmt: skip


def test_an_emoji_split_by_a_provider_is_joined_by_the_client() -> None:
    objects = write_objects(
        [Started("1", "m"), TextDelta(0, "\ud83c"), TextDelta(0, "\udf88"), PartEnded(0), Finished("stop")]
    )
    assert (
        "".join(o["text"] for o in objects if o["type"] == "content").encode("utf-16", "surrogatepass").decode("utf-16")
        == "🎈"
    )


def test_arguments_that_are_not_json_are_written_as_text() -> None:
    assert native.read_arguments('{"x": ') == '{"x": '
    assert native.read_arguments("") == {}
