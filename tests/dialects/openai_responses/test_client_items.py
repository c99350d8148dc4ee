"""Tools of the Responses API that the client runs: functions to engines of other wires, items of their own for it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.responses import Response

from llm.chat.request import ChatRequest
from llm.dialects.openai_responses.client_request import read_request
from llm.dialects.registry import ENGINE_DIALECTS
from llm.engines.records import ENGINES
from tests.support.crossings import cross
from tests.support.one_answer import ask

QUESTION = [{"role": "user", "content": "Go"}]
# The tool, the arguments that a model writes, and the item of the call.
TOOLS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "local_shell": (
        {"type": "local_shell"},
        {"command": ["ls"]},
        {"type": "local_shell_call", "action": {"type": "exec", "command": ["ls"], "env": {}}},
    ),
    "shell": (
        {"type": "shell", "environment": {"type": "local"}},
        {"commands": ["ls"], "timeout_ms": 1000},
        {"type": "shell_call", "action": {"commands": ["ls"], "timeout_ms": 1000, "max_output_length": None}},
    ),
    "apply_patch": (
        {"type": "apply_patch"},
        {"type": "delete_file", "path": "x.py"},
        {"type": "apply_patch_call", "operation": {"type": "delete_file", "path": "x.py"}},
    ),
}


def answer_of(dialect: str, name: str, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    if dialect == "anthropic":
        block = {"type": "tool_use", "id": "toolu_1", "name": name, "input": arguments}
        usage = {"input_tokens": 1, "output_tokens": 1}
        head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "usage": usage}
        return "anthropic/claude-sonnet-4-5", {**head, "content": [block], "stop_reason": "tool_use"}
    part = {"functionCall": {"id": "call_1", "name": name, "args": arguments}, "thoughtSignature": "c2ln"}
    candidate = {"index": 0, "content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}
    return "google/gemini-3.5-flash", {"responseId": "r1", "modelVersion": "g", "candidates": [candidate]}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", ["anthropic", "gemini"])
@pytest.mark.parametrize("name", TOOLS)
async def test_a_call_of_a_tool_that_the_client_runs_is_an_item_of_its_kind(
    name: str, dialect: str, stream: bool
) -> None:
    tool, arguments, item = TOOLS[name]
    model, body = answer_of(dialect, name, arguments)
    seen = await ask("openai-responses", model, body, stream=stream, tools=[tool])
    assert seen.status == 200
    response = seen.objects[-1]["response"] if stream else seen.whole
    [got] = response["output"]
    assert {field: got[field] for field in item} == item and got["status"] == "completed" and got["call_id"]
    typed = Response.model_validate(response)
    assert typed.output[0].type == item["type"] and response["tools"] == [tool]
    if stream:
        [done] = [one for one in seen.objects if one.get("type") == "response.output_item.done"]
        assert done["item"] == got
    sent = json.dumps(seen.requests[0].json["tools"])
    assert f'"name": "{name}"' in sent and all(f'"{field}"' in sent for field in arguments)
    # Back again: the call and its result reach the engine, with what it signed.
    result = {"type": f"{item['type']}_output", "call_id": got["call_id"], "output": "FILE_A"}
    told = await cross(
        "responses", model.split("/")[0], {"model": model, "input": [*QUESTION, got, result], "tools": [tool]}
    )
    text = json.dumps(told.sent[0])
    assert told.status == 200 and "FILE_A" in text and (dialect == "anthropic" or "c2ln" in text)


def test_an_engine_of_this_wire_gets_the_tool_as_the_client_sent_it() -> None:
    tools = [tool for tool, _, _ in TOOLS.values()]
    request: ChatRequest = read_request({"model": "m", "input": QUESTION, "tools": tools})
    outgoing = ENGINE_DIALECTS["openai-responses"].write_request(request, ENGINES["openai"])
    assert outgoing.body is not None and outgoing.body["tools"] == tools


async def test_a_shell_in_a_container_of_the_provider_is_refused_elsewhere() -> None:
    tool = {"type": "shell", "environment": {"type": "container_auto"}}
    told = await cross("responses", "anthropic", {"input": QUESTION, "tools": [tool]})
    assert told.status == 400 and "shell" in told.raw.decode() and not told.sent
