"""The response object: every value that the API's schema demands, and what the request asked for."""

from __future__ import annotations

import time
from typing import Any

import pytest
from openai.types.responses import Response

from tests.support.field_cases import field_case
from tests.support.one_answer import Seen, ask

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
