"""Answers of other engines to Messages clients, and the model that a translated answer names."""

from __future__ import annotations

from typing import Any

import anthropic.types as types
import pytest
from pydantic import BaseModel

from tests.support.crossings import PATHS, Crossed, cross
from tests.support.field_cases import field_case
from tests.support.scripted import make_call_reply, make_call_stream
from tests.support.wires import WIRES, _candidate, _chunk, _sse

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}
BOTH = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
OTHERS = ["openai", "google", "ollama", "responses"]  # engines of other dialects than Messages


def thinking_reply(engine: str) -> Any:
    whole = WIRES[engine].whole("Hi")
    match engine:
        case "google":
            whole["candidates"][0]["content"]["parts"].insert(0, {"text": "I think.", "thought": True})
        case "ollama":
            whole["message"]["thinking"] = "I think."
        case "responses":
            thought = {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "I think."}]}
            whole["output"].insert(0, {**thought, "encrypted_content": "x"})
        case _:
            whole["choices"][0]["message"]["reasoning_content"] = "I think."
    return whole


def thinking_stream(engine: str) -> list[bytes]:
    wire = WIRES[engine]
    if engine == "google":
        parts = [{"text": "I think.", "thought": True}]
        thought = _sse({**_candidate(""), "candidates": [{"content": {"role": "model", "parts": parts}, "index": 0}]})
        return [thought, wire.delta("Hi"), wire.end]
    return [wire.head, _chunk({"reasoning_content": "I think."}), wire.delta("Hi"), wire.end]


def block_types(told: Crossed, stream: bool) -> list[str]:
    if not stream:
        return [block["type"] for block in told.json["content"]]
    return [e["content_block"]["type"] for e in told.events if e["type"] == "content_block_start"]


@BOTH
@pytest.mark.parametrize("engine", OTHERS)
@pytest.mark.parametrize("asks", [{}, {"thinking": {"type": "disabled"}}], ids=["says nothing", "disables it"])
async def test_su_02_the_text_is_the_first_block_where_no_thinking_was_asked_for(
    engine: str, stream: bool, asks: dict[str, Any]
) -> None:
    if stream and engine in ("ollama", "responses"):
        pytest.skip("the filter is the same for every engine; two wires are streamed")
    body = {**HELLO, **asks, "stream": stream}
    pieces = thinking_stream(engine) if stream else ()
    told = await cross("anthropic", engine, body, whole=thinking_reply(engine), pieces=pieces)
    assert told.status == 200, told.raw
    assert block_types(told, stream) == ["text"] and b"I think." not in told.raw
    if stream:
        starts = [event["index"] for event in told.events if event["type"] == "content_block_start"]
        assert starts == [0]


@BOTH
@pytest.mark.parametrize("engine", ["openai", "google"])
@pytest.mark.parametrize("asks", [{"type": "enabled", "budget_tokens": 1024}, {"type": "adaptive"}], ids=str)
async def test_su_02_thinking_that_was_asked_for_comes_first(engine: str, stream: bool, asks: dict[str, Any]) -> None:
    body = {**HELLO, "thinking": asks, "max_tokens": 2000, "stream": stream}
    pieces = thinking_stream(engine) if stream else ()
    told = await cross("anthropic", engine, body, whole=thinking_reply(engine), pieces=pieces)
    assert told.status == 200, told.raw
    assert block_types(told, stream) == ["thinking", "text"]


async def test_field_case_su_02() -> None:
    case = field_case("su-02")
    told = await cross("anthropic", "google", case["request"]["body"], whole=case["provider_response"]["body"])
    assert [block["type"] for block in told.json["content"]] == ["text"]
    assert types.Message.model_validate(told.json).content[0].text == "Hi"  # type: ignore[union-attr]


# --- keys ---


def assert_every_key(wire: dict[str, Any], model: type[BaseModel]) -> None:
    """Checks that an object has every field of its type in the provider's own package, and is of that type."""
    assert set(model.model_fields) <= set(wire), set(model.model_fields) - set(wire)
    model.model_validate(wire)


@pytest.mark.parametrize("engine", OTHERS)
async def test_a_whole_message_has_every_key_of_the_newest_package(engine: str) -> None:
    told = await cross("anthropic", engine, {**HELLO, "stream": False})
    assert_every_key(told.json, types.Message)
    assert_every_key(told.json["usage"], types.Usage)
    assert_every_key(told.json["content"][0], types.TextBlock)
    called = await cross("anthropic", engine, {**HELLO, "stream": False}, whole=make_call_reply(engine))
    [block] = called.json["content"]
    assert_every_key(block, types.ToolUseBlock)
    assert block["caller"] == {"type": "direct"}


@pytest.mark.parametrize("engine", OTHERS)
async def test_a_streamed_message_has_every_key_of_the_newest_package(engine: str) -> None:
    told = await cross("anthropic", engine, {**HELLO, "stream": True}, pieces=make_call_stream(engine))
    events = {event["type"]: event for event in told.events}
    assert_every_key(events["message_start"]["message"], types.Message)
    assert_every_key(events["message_start"]["message"]["usage"], types.Usage)
    assert_every_key(events["content_block_start"]["content_block"], types.ToolUseBlock)
    assert_every_key(events["message_delta"]["delta"], types.raw_message_delta_event.Delta)
    assert_every_key(events["message_delta"]["usage"], types.MessageDeltaUsage)


async def test_the_keys_of_a_call_come_back_without_being_reported_as_lost() -> None:
    tools = [{"name": "get_weather", "input_schema": {"type": "object"}}]
    told = await cross("anthropic", "openai", {**HELLO, "tools": tools}, whole=make_call_reply("openai"))
    [call] = told.json["content"]
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "Sunny"}
    again = [*HELLO["messages"], {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    told = await cross("anthropic", "openai", {"messages": again, "tools": tools})
    assert told.status == 200 and told.dropped == []


# --- the input tokens at the start ---


@pytest.mark.parametrize("engine", OTHERS)
async def test_su_17_the_start_of_a_message_has_the_best_count_of_the_input(engine: str) -> None:
    long = {"messages": [{"role": "user", "content": "word " * 1000}], "stream": True}
    told = await cross("anthropic", engine, long)
    start = told.events[0]["message"]["usage"]
    assert 700 < start["input_tokens"] < 1500 and start["estimated"] is True
    [end] = [event["usage"] for event in told.events if event["type"] == "message_delta"]
    assert end["input_tokens"] == 5 and "estimated" not in end


async def test_su_17_a_count_that_the_engine_gives_first_is_used() -> None:
    first = _sse({**_candidate("Hi"), "usageMetadata": {"promptTokenCount": 12}})
    told = await cross("anthropic", "google", {**HELLO, "stream": True}, pieces=[first, WIRES["google"].end])
    start = told.events[0]["message"]["usage"]
    assert start["input_tokens"] == 12 and "estimated" not in start


# --- the model ---


def named_models(told: Crossed, stream: bool) -> set[str]:
    found = set()
    for value in told.events if stream else [told.json]:
        for one in (value, value.get("message"), value.get("response")):
            if isinstance(one, dict) and isinstance(one.get("model"), str):
                found.add(one["model"])
    return found


@BOTH
@pytest.mark.parametrize("engine", ["google", "anthropic", "cerebras"])
@pytest.mark.parametrize("client", PATHS)
async def test_su_12_a_translated_answer_names_the_model_that_was_asked_for(
    client: str, engine: str, stream: bool
) -> None:
    if (client, engine) in (("chat", "cerebras"), ("anthropic", "anthropic")):
        pytest.skip("passed through")
    asked: dict[str, Any] = {"input": "Hello"} if client == "responses" else HELLO
    told = await cross(client, engine, {**asked, "stream": stream})
    assert told.status == 200, told.raw
    assert named_models(told, stream) == {f"{engine}/m"}
    assert told.headers["X-Model"] == "m"


@BOTH
async def test_su_12_a_passed_through_answer_is_as_the_engine_sent_it(stream: bool) -> None:
    told = await cross("chat", "openai", {**HELLO, "stream": stream})
    assert named_models(told, stream) == {"m"} and "X-Model" not in told.headers


async def test_field_case_su_12() -> None:
    case = field_case("su-12")
    told = await cross("chat", "google", case["request"]["body"], whole=case["provider_response"]["body"])
    assert told.json["model"] == "google/gemini-2.5-flash" and told.headers["X-Model"] == "gemini-2.5-flash"
