"""The response object: every value that the API's schema demands, and what the request asked for."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from openai.types.responses import Response

from llm.chat.events import Event, Finished, PartEnded, Started, ToolCallDelta, ToolCallStarted
from llm.chat.request import ChatRequest
from llm.dialects import openai_responses
from tests.support.field_cases import field_case
from tests.support.one_answer import Seen, ask, ask_raw, stream_of

BOTH = [pytest.param(False, id="whole"), pytest.param(True, id="stream")]
CLIENT = "openai-responses"
GEMINI: dict[str, Any] = {
    "candidates": [
        {
            "content": {"role": "model", "parts": [{"text": "Let me think.", "thought": True}, {"text": "Hi"}]},
            "finishReason": "STOP",
            "index": 0,
        }
    ],
    "usageMetadata": {"promptTokenCount": 12, "candidatesTokenCount": 7, "totalTokenCount": 19},
    "modelVersion": "g",
    "responseId": "x1",
}
CLAUDE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "thinking", "thinking": "Let me think.", "signature": "c2ln"}, {"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
OLLAMA: dict[str, Any] = {
    "model": "m",
    "message": {"role": "assistant", "content": "Hi", "thinking": "Let me think."},
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 1,
    "eval_count": 1,
}
MISTRAL: dict[str, Any] = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": [{"type": "thinking", "thinking": "Let me think."}, {"type": "text", "text": "Hi"}],
            },
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
ENGINES = {
    "google/gemini-2.5-flash": GEMINI,
    "anthropic/claude-sonnet-4-5": CLAUDE,
    "ollama/qwen3:8b": OLLAMA,
    "mistralai/magistral-medium-latest": MISTRAL,
}
# Fields of the schema of Open Responses (2026-04-24) and their values where nothing was asked for.
UNASKED: dict[str, Any] = {
    "presence_penalty": 0, "frequency_penalty": 0, "top_logprobs": 0, "max_tool_calls": None, "temperature": 1,
    "safety_identifier": None, "prompt_cache_key": None, "top_p": 1, "service_tier": "default", "instructions": None,
    "metadata": {}, "truncation": "disabled", "user": None,
}  # fmt: skip


def responses(seen: Seen) -> list[dict[str, Any]]:
    """Returns every response object of an answer, in order."""
    return [found for one in seen.objects if (found := one.get("response", one)).get("object") == "response"]


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("model", ENGINES)
async def test_su_03_the_object_has_every_value_of_the_schema(model: str, stream: bool) -> None:
    before = int(time.time())
    seen = await ask(CLIENT, model, ENGINES[model], stream=stream)
    found = responses(seen)
    assert len(found) == (3 if stream else 1)
    for one in found:
        assert {name: one[name] for name in UNASKED} == UNASKED
        Response.model_validate(one)
    *running, last = found
    assert [one["completed_at"] for one in running] == [None] * len(running)
    assert last["status"] == "completed"
    assert before - 1 <= last["created_at"] <= last["completed_at"] <= time.time() + 1


@pytest.mark.parametrize("stream", BOTH)
async def test_su_03_a_response_that_is_not_complete_has_no_time_of_completion(stream: bool) -> None:
    [candidate] = GEMINI["candidates"]
    cut = {**GEMINI, "candidates": [{**candidate, "finishReason": "MAX_TOKENS"}]}
    last = responses(await ask(CLIENT, "google/gemini-2.5-flash", cut, stream=stream))[-1]
    assert (last["status"], last["completed_at"]) == ("incomplete", None)


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("model", ENGINES)
async def test_su_09_every_item_has_a_status(model: str, stream: bool) -> None:
    seen = await ask(CLIENT, model, ENGINES[model], stream=stream)
    output = responses(seen)[-1]["output"]
    assert [(item["type"], item["status"]) for item in output] == [("reasoning", "completed"), ("message", "completed")]
    states = [(one["type"], one["item"]["status"]) for one in seen.objects if "item" in one]
    expected = [("response.output_item.added", "in_progress"), ("response.output_item.done", "completed")]
    assert states == (expected * 2 if stream else [])


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("model", ENGINES)
async def test_su_11_the_object_repeats_the_request_and_truncation_auto_is_accepted(model: str, stream: bool) -> None:
    asked: dict[str, Any] = {
        "truncation": "auto", "metadata": {"a": "b"}, "instructions": "be brief", "user": "u", "max_tool_calls": 3,
        "safety_identifier": "s", "prompt_cache_key": "k",
    }  # fmt: skip
    seen = await ask(CLIENT, model, ENGINES[model], stream=stream, **asked)
    assert seen.status == 200
    for one in responses(seen):
        assert {name: one[name] for name in asked} == asked
    dropped = seen.headers["X-Dropped-Fields"].split(", ")
    assert {"truncation", "max_tool_calls"} <= {*dropped} and "instructions" not in dropped
    assert ("metadata" in dropped) == (not model.startswith("mistralai/"))  # which has a field for it
    assert b"be brief" in seen.requests[0].body and b'"instructions"' not in seen.requests[0].body


@pytest.mark.parametrize("name", ["su-03", "su-09", "su-11"])
async def test_field_cases_of_the_response_object(name: str) -> None:
    case = field_case(name)
    asked = {**case["request"]["body"]}
    model = asked.pop("model")
    seen = await ask(CLIENT, model, case["provider_response"]["body"], stream=False, **asked)
    [found] = responses(seen)
    assert found["completed_at"] and all(item["status"] == "completed" for item in found["output"])
    assert (found["metadata"], found["instructions"]) == (asked.get("metadata", {}), asked.get("instructions"))


CUT: dict[str, dict[str, Any]] = {
    "google/gemini-2.5-flash": {**GEMINI, "candidates": [{**GEMINI["candidates"][0], "finishReason": "MAX_TOKENS"}]},
    "anthropic/claude-sonnet-4-5": {**CLAUDE, "stop_reason": "max_tokens"},
    "ollama/qwen3:8b": {**OLLAMA, "done_reason": "length"},
    "mistralai/magistral-medium-latest": {**MISTRAL, "choices": [{**MISTRAL["choices"][0], "finish_reason": "length"}]},
}


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("model", CUT)
async def test_the_item_that_the_limit_has_cut_is_incomplete(model: str, stream: bool) -> None:
    seen = await ask(CLIENT, model, CUT[model], stream=stream)
    last = responses(seen)[-1]
    assert (last["status"], last["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    states = [(item["type"], item["status"]) for item in last["output"]]
    assert states == [("reasoning", "completed"), ("message", "incomplete")]
    done = [one["item"] for one in seen.objects if one.get("type") == "response.output_item.done"]
    assert done == (last["output"] if stream else [])
    Response.model_validate(last)


def asked(choice: Any) -> ChatRequest:
    tools = [
        {"type": "function", "name": "f", "parameters": {"type": "object"}},
        {"type": "custom", "name": "patch"},
        {"type": "web_search"},
        {"type": "namespace", "name": "agents", "tools": [{"type": "function", "name": "spawn", "parameters": {}}]},
    ]
    body = {"model": "m", "input": "Hi", "tools": tools, "tool_choice": choice}
    return openai_responses.read_request(body)


@pytest.mark.parametrize("reason", ["length", "filtered", "error", "stop"])
@pytest.mark.parametrize(("name", "field", "text"), [("f", "arguments", '{"a": "b'), ("patch", "input", "*** Beg")])
def test_a_cut_call_is_incomplete_and_keeps_what_came(name: str, field: str, text: str, reason: Any) -> None:
    piece = text if field == "arguments" else '{"input": "*** Beg'
    events: list[Event] = [Started("x", "m"), ToolCallStarted(0, "c1", name), ToolCallDelta(0, piece), PartEnded(0)]
    writer = openai_responses.create_writer(asked("auto"), 7)
    raw = b"".join(writer.feed([*events, Finished(reason)])).decode()
    items = [one["item"] for one in parse(raw) if one["type"] == "response.output_item.done"]
    [item] = items
    assert item[field] == text
    assert item["status"] == ("incomplete" if reason in ("length", "filtered") else "completed")
    assert parse(raw)[-1]["response"]["output"] == items


def parse(raw: str) -> list[Any]:
    return [json.loads(line[6:]) for line in raw.splitlines() if line.startswith("data: {")]


ALLOWED = [
    {"type": "function", "name": "f"}, {"type": "custom", "name": "patch"}, {"type": "web_search"},
    {"type": "function", "name": "spawn", "namespace": "agents"},
]  # fmt: skip


@pytest.mark.parametrize(
    "choice",
    ["auto", "none", "required", {"type": "function", "name": "f"}, {"type": "custom", "name": "patch"},
     {"type": "web_search"}, {"type": "allowed_tools", "mode": "auto", "tools": ALLOWED},
     {"type": "allowed_tools", "mode": "required", "tools": ALLOWED[:1]}],
)  # fmt: skip
def test_su_01_the_tool_choice_comes_back_as_it_was_asked(choice: Any) -> None:
    response = openai_responses.create_writer(asked(choice), 7).write_response("in_progress")
    assert response["tool_choice"] == choice


def test_su_01_allowed_tools_without_a_mode_are_a_choice() -> None:
    response = openai_responses.create_writer(asked({"type": "allowed_tools", "tools": ALLOWED}), 7)
    assert response.write_response("in_progress")["tool_choice"] == {
        "type": "allowed_tools", "mode": "auto", "tools": ALLOWED
    }  # fmt: skip


DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize("model", ENGINES)
async def test_su_10_a_translated_stream_ends_with_done(model: str) -> None:
    raw = await ask_raw(CLIENT, model, ENGINES[model])
    assert raw.endswith(DONE) and raw.count(DONE) == 1
    assert json.loads(raw.removesuffix(DONE).rstrip().rpartition(b"data: ")[2])["type"] == "response.completed"


async def test_su_10_the_field_case_ends_with_done_and_a_passthrough_stream_as_its_engine_ends_it() -> None:
    case = field_case("su-10")
    raw = await ask_raw(CLIENT, case["request"]["body"]["model"], case["provider_response"]["body"])
    assert raw.endswith(DONE)
    body = {"id": "resp_1", "object": "response", "status": "completed", "output": []}
    assert await ask_raw(CLIENT, "openai/gpt-5.4-mini", body) == stream_of(body)


async def test_su_10_a_stream_that_fails_ends_with_done_too() -> None:
    raw = await ask_raw(CLIENT, "anthropic/claude-sonnet-4-5", {**CLAUDE, "content": [], "stop_reason": "brand_new"})
    assert raw.endswith(DONE) and b'"type":"response.failed"' in raw
