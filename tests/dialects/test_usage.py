"""Token counts of each provider: as sent, as neutral usage and as written for clients (E7, E8).

Neutral counters do not overlap: fresh + read + written is all input, text + reasoning is all output. For clients of
every provider, prompt is all input, cached or not; completion is all output, reasoning included.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.chat.messages import Usage
from llm.dialects import anthropic, gemini, native, ollama, openai_chat, openai_responses
from llm.dialects.anthropic.shared import write_usage as anthropic_usage
from llm.dialects.base import EngineDialect
from llm.dialects.openai_chat.shared import write_usage as openai_usage
from llm.engines.engine import Engine
from llm.engines.records import ENGINES
from llm.errors import LLMError


def chat(**usage: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    return {"id": "1", "model": "m", "choices": [choice], "usage": usage}


def responses(**usage: Any) -> dict[str, Any]:
    return {"id": "1", "object": "response", "status": "completed", "model": "m", "output": [], "usage": usage}


def messages(**usage: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": "x"}]
    return {
        "id": "1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": content,
        "stop_reason": "end_turn",
        "usage": usage,
    }


def generated(**usage: Any) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": [{"text": "x"}]}, "finishReason": "STOP"}
    return {"candidates": [candidate], "usageMetadata": usage}


def line(**counts: Any) -> dict[str, Any]:
    return {
        "model": "m",
        "message": {"role": "assistant", "content": "x"},
        "done": True,
        "done_reason": "stop",
        **counts,
    }


@dataclass(frozen=True)
class Row:
    engine: str
    answer: dict[str, Any]
    counters: tuple[int, int, int, int, int]  # fresh, read, written, text, reasoning

    @property
    def input(self) -> int:
        return sum(self.counters[:3])

    @property
    def output(self) -> int:
        return sum(self.counters[3:])


ROWS: dict[str, Row] = {
    # prompt 100 = 60 fresh + 40 cached; completion 50 = 30 text + 20 reasoning
    "openai": Row(
        "openai",
        chat(
            prompt_tokens=100,
            completion_tokens=50,
            total_tokens=150,
            prompt_tokens_details={"cached_tokens": 40, "audio_tokens": 0},
            completion_tokens_details={"reasoning_tokens": 20, "accepted_prediction_tokens": 0},
        ),
        (60, 40, 0, 30, 20),
    ),
    # written to the cache and read from it are parts of the prompt too: 100 = 50 + 40 + 10
    "openai writes a cache": Row(
        "openai",
        chat(prompt_tokens=100, completion_tokens=5, prompt_tokens_details={"cached_tokens": 40, "cache_write_tokens": 10}),
        (50, 40, 10, 5, 0),
    ),
    "azure": Row("azure", chat(prompt_tokens=7, completion_tokens=3, total_tokens=10), (7, 0, 0, 3, 0)),
    # completion leaves reasoning out: output is 10 + 25
    "xai": Row(
        "xai",
        chat(
            prompt_tokens=20,
            completion_tokens=10,
            total_tokens=55,
            prompt_tokens_details={"cached_tokens": 5},
            completion_tokens_details={"reasoning_tokens": 25},
        ),
        (15, 5, 0, 10, 25),
    ),
    "deepseek": Row(
        "deepseek",
        chat(
            prompt_tokens=100,
            completion_tokens=50,
            total_tokens=150,
            prompt_cache_hit_tokens=64,
            prompt_cache_miss_tokens=36,
            completion_tokens_details={"reasoning_tokens": 20},
        ),
        (36, 64, 0, 30, 20),
    ),
    "groq": Row(
        "groq",
        chat(
            prompt_tokens=30,
            completion_tokens=12,
            total_tokens=42,
            queue_time=0.1,
            completion_tokens_details={"reasoning_tokens": 4},
        ),
        (30, 0, 0, 8, 4),
    ),
    "openrouter": Row(
        "openrouter",
        chat(
            prompt_tokens=30,
            completion_tokens=12,
            total_tokens=42,
            cost=0.001,
            prompt_tokens_details={"cached_tokens": 10},
            completion_tokens_details={"reasoning_tokens": 12},
        ),
        (20, 10, 0, 0, 12),
    ),
    "mistral": Row(
        "mistralai",
        chat(prompt_tokens=30, completion_tokens=12, total_tokens=42, prompt_tokens_details={"cached_tokens": 8}),
        (22, 8, 0, 12, 0),
    ),
    # input leaves both caches out: all input is 10 + 80 + 20
    "anthropic": Row(
        "anthropic",
        messages(
            input_tokens=10,
            cache_read_input_tokens=80,
            cache_creation_input_tokens=20,
            cache_creation={"ephemeral_5m_input_tokens": 15, "ephemeral_1h_input_tokens": 5},
            output_tokens=30,
            output_tokens_details={"thinking_tokens": 12},
        ),
        (10, 80, 20, 18, 12),
    ),
    "anthropic without caches": Row("anthropic", messages(input_tokens=10, output_tokens=30), (10, 0, 0, 30, 0)),
    # candidates leave thoughts out; what tools put into the prompt is input; cached is part of the prompt
    "google": Row(
        "google",
        generated(
            promptTokenCount=100,
            cachedContentTokenCount=40,
            toolUsePromptTokenCount=5,
            candidatesTokenCount=20,
            thoughtsTokenCount=50,
            totalTokenCount=175,
        ),
        (65, 40, 0, 20, 50),
    ),
    "ollama": Row("ollama", line(prompt_eval_count=20, eval_count=12), (20, 0, 0, 12, 0)),
    "ollama with its prompt cached": Row("ollama", line(eval_count=12), (0, 0, 0, 12, 0)),
    "responses": Row(
        "responses",
        responses(
            input_tokens=100,
            input_tokens_details={"cached_tokens": 40, "cache_write_tokens": 10},
            output_tokens=50,
            output_tokens_details={"reasoning_tokens": 20},
            total_tokens=150,
        ),
        (50, 40, 10, 30, 20),
    ),
}  # fmt: skip

DIALECTS: dict[str, EngineDialect] = {d.NAME: d for d in (openai_chat, openai_responses, anthropic, gemini, ollama)}


def read(engine_name: str, answer: dict[str, Any]) -> Usage:
    engine: Engine = ENGINES.get(engine_name) or replace(ENGINES["openai"], dialect="openai-responses")
    return DIALECTS[engine.dialect].read_reply(answer, engine).usage


@pytest.mark.parametrize("name", ROWS)
def test_e8_provider_usage_becomes_counters_that_do_not_overlap(name: str) -> None:
    row = ROWS[name]
    usage = read(row.engine, row.answer)
    assert (usage.fresh or 0, usage.cache_read, usage.cache_write, usage.text, usage.reasoning) == row.counters
    assert (usage.input or 0, usage.output) == (row.input, row.output)


@pytest.mark.parametrize("name", ROWS)
def test_e8_usage_for_clients_is_the_same_for_every_provider(name: str) -> None:
    row = ROWS[name]
    usage = read(row.engine, row.answer)
    fresh, cached, written, _, reasoning = row.counters
    before: dict[str, Any] = {"cached_tokens": cached} | ({"cache_write_tokens": written} if written else {})
    outside = {
        "prompt_tokens": row.input,
        "completion_tokens": row.output,
        "prompt_tokens_details": before,
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }
    assert native.write_usage(usage) == outside
    assert openai_usage(usage) == {**outside, "total_tokens": row.input + row.output}
    theirs: Any = anthropic_usage(usage)
    assert (theirs["input_tokens"], theirs["output_tokens"]) == (fresh, row.output)
    assert (theirs["cache_read_input_tokens"], theirs["cache_creation_input_tokens"]) == (cached, written)


COUNTS = st.none() | st.integers(-5, 1000) | st.sampled_from(["12", 3.0, float("inf"), True, [], {}])
FIELDS = [
    "prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens",
    "prompt_cache_hit_tokens", "input_tokens", "output_tokens", "cache_read_input_tokens", "thinking_tokens",
    "cache_creation_input_tokens", "promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount",
    "cachedContentTokenCount", "toolUsePromptTokenCount", "totalTokenCount", "prompt_eval_count", "eval_count",
]  # fmt: skip
DETAILS = ["prompt_tokens_details", "completion_tokens_details", "input_tokens_details", "output_tokens_details"]
USAGE = st.builds(
    lambda flat, nested: {**flat, **nested},
    st.dictionaries(st.sampled_from(FIELDS), COUNTS),
    st.dictionaries(st.sampled_from(DETAILS), COUNTS | st.dictionaries(st.sampled_from(FIELDS), COUNTS)),
)


@given(USAGE, st.sampled_from(["openai", "xai", "anthropic", "google", "ollama", "responses"]))
def test_e8_no_counter_is_ever_negative_and_parts_are_never_more_than_the_whole(
    usage: dict[str, Any], engine: str
) -> None:
    whole = {"anthropic": messages, "google": generated, "ollama": line, "responses": responses}.get(engine, chat)
    try:
        read_ = read(engine, whole(**usage))
    except LLMError:
        return
    counters = (read_.fresh, read_.cache_read, read_.cache_write, read_.text, read_.reasoning)
    assert all(n is None or n >= 0 for n in counters)
    wire: Any = native.write_usage(read_)
    assert wire["prompt_tokens_details"]["cached_tokens"] <= max(wire["prompt_tokens"], read_.cache_read)
    if read_.input is not None and read_.output is not None:
        assert read_.cache_read + read_.cache_write <= read_.input
        assert read_.reasoning <= read_.output
