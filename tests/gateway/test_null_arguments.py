"""Arguments ``null`` of a tool call are no arguments: an empty object for every client, engine and tool."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from tests.support.crossings import Crossed, cross
from tests.support.harness import CLIENT, make_config, run_server
from tests.support.tool_rounds import ScriptedTool, make_round, make_upstream
from tests.support.wires import WIRES

PARAMETERS: Final = {"type": "object", "properties": {}}
FUNCTION: Final = {"type": "function", "function": {"name": "f", "parameters": PARAMETERS}}
QUESTION: Final = [{"role": "user", "content": "Hello"}]
REQUESTS: Final[dict[str, dict[str, Any]]] = {
    "chat": {"messages": QUESTION, "tools": [FUNCTION]},
    "responses": {"input": "Hello", "tools": [{"type": "function", "name": "f", "parameters": PARAMETERS}]},
    "anthropic": {"messages": QUESTION, "tools": [{"name": "f", "input_schema": PARAMETERS}]},
    "ollama": {"messages": QUESTION, "tools": [FUNCTION]},
}
SAME: Final = {("chat", "openai"), ("responses", "responses"), ("anthropic", "anthropic"), ("ollama", "ollama")}
EVERY_WAY: Final = [(c, e) for c in REQUESTS for e in WIRES if (c, e) not in SAME and (c, e) != ("responses", "openai")]


def sse(*values: dict[str, Any]) -> list[bytes]:
    return [f"event: {v.get('type', 'message')}\ndata: {json.dumps(v)}\n\n".encode() for v in values]


def answer_of(engine: str, arguments: object) -> tuple[Any, list[bytes]]:
    """Returns an answer with one call, whole and streamed."""
    if engine == "openai":
        call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        whole = {"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
        chunk = {"id": "c", "choices": [{"index": 0, "delta": message, "finish_reason": None}]}
        end = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
        return whole, [*sse(chunk, end), b"data: [DONE]\n\n"]
    if engine == "responses":
        item = {"type": "function_call", "id": "fc", "call_id": "c1", "name": "f", "arguments": arguments}
        response = {"id": "resp_1", "status": "completed", "output": [item]}
        deltas = [{"type": "response.function_call_arguments.delta", "output_index": 0, "delta": arguments}]
        return response, sse(
            {"type": "response.created", "response": {"id": "resp_1"}},
            {"type": "response.output_item.added", "output_index": 0, "item": {**item, "arguments": ""}},
            *(deltas if arguments else ()),
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": response},
        )
    if engine == "anthropic":
        block = {"type": "tool_use", "id": "c1", "name": "f", "input": None}
        head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "usage": {"input_tokens": 1}}
        delta = {"type": "input_json_delta", "partial_json": arguments}
        return {**head, "content": [block], "stop_reason": "tool_use"}, sse(
            {"type": "message_start", "message": {**head, "content": []}},
            {"type": "content_block_start", "index": 0, "content_block": block},
            *([{"type": "content_block_delta", "index": 0, "delta": delta}] if arguments else ()),
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 1}},
            {"type": "message_stop"},
        )
    if engine == "google":
        parts = [{"functionCall": {"name": "f", "args": arguments}}]
        answer = {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]}
        return answer, [f"data: {json.dumps(answer)}\n\n".encode()]
    calls = [{"function": {"name": "f", "arguments": arguments}}]
    line = {"model": "m", "message": {"role": "assistant", "content": "", "tool_calls": calls}}
    last = {**line, "done": True, "done_reason": "stop"}
    return last, [json.dumps(last).encode() + b"\n"]


def arguments_of(client: str, got: Crossed, stream: bool) -> object:
    """Returns the arguments as the client gets them: a text, or a value."""
    assert got.status == 200, got.raw
    if client == "chat":
        if not stream:
            return got.json["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
        calls = [c for e in got.events for choice in e["choices"] for c in choice["delta"].get("tool_calls", ())]
        return "".join(call["function"].get("arguments", "") for call in calls)
    if client == "responses":
        response = got.events[-1]["response"] if stream else got.json
        return response["output"][-1]["arguments"]
    if client == "anthropic":
        if not stream:
            return got.json["content"][-1]["input"]
        assert got.events[-1]["type"] == "message_stop"
        pieces = [e["delta"]["partial_json"] for e in got.events if e["type"] == "content_block_delta"]
        return json.loads("".join(pieces) or "{}")
    return next(call["function"]["arguments"] for e in got.events for call in e["message"].get("tool_calls", ()))


@pytest.mark.parametrize("arguments", [None, "null", " null\n", ""])
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize(("client", "engine"), EVERY_WAY)
async def test_a_client_of_another_dialect_gets_an_empty_object(
    client: str, engine: str, stream: bool, arguments: object
) -> None:
    whole, pieces = answer_of(engine, arguments)
    got = await cross(client, engine, {**REQUESTS[client], "stream": stream}, whole=whole, pieces=pieces)
    assert arguments_of(client, got, stream) in ("{}", {})


@pytest.mark.parametrize("engine", WIRES)
@pytest.mark.parametrize("arguments", ["null", ""])
async def test_a_tool_of_this_server_gets_an_empty_object(engine: str, arguments: str) -> None:
    seen: list[Any] = []

    async def note(given: Any) -> Any:
        seen.append(given)
        return "noted"

    if engine in ("google",):
        rounds = [b"".join(answer_of(engine, None)[1]).replace(b'"f"', b'"note"'), make_round(engine, "Done", [])]
    else:
        first = b"".join(answer_of(engine, arguments)[1]).replace(b'"f"', b'"note"')
        rounds = [first, make_round(engine, "Done", [])]
    upstream = make_upstream(engine, rounds)
    environ = WIRES[engine].environ
    async with upstream.run():
        tools = {"note": ScriptedTool("note", note)}
        async with run_server(make_config(**environ(upstream)), tools=tools) as server:
            objects = await server.chat(
                {**CLIENT, "Accept": "application/x-ndjson"}, engine=engine, model="llama3.1:8b"
            )
    assert seen == [{}]
    assert "".join(o["text"] for o in objects if o["type"] == "content") == "Done"
    assert [o["call"]["params"] for o in objects if o["type"] == "tool" and o["state"] == "completed"] == [{}]


HISTORIES: Final[dict[str, dict[str, Any]]] = {
    "chat": {
        "messages": [
            *QUESTION,
            {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "null"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "1"},
        ]
    },
    "responses": {
        "input": [
            *QUESTION,
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "null"},
            {"type": "function_call_output", "call_id": "c1", "output": "1"},
        ]
    },
    "anthropic": {
        "messages": [
            *QUESTION,
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": None}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "1"}]},
        ]
    },
    "ollama": {
        "messages": [
            *QUESTION,
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": None}}]},
            {"role": "tool", "tool_name": "f", "content": "1"},
        ]
    },
}  # fmt: skip


def find_arguments(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [found for one in value for found in find_arguments(one)]
    if not isinstance(value, dict):
        return []
    names = {"arguments", "args"} | ({"input"} if value.get("type") == "tool_use" else set())
    own = [value[name] for name in names & value.keys()]
    return own + [found for one in value.values() for found in find_arguments(one)]


@pytest.mark.parametrize(("client", "engine"), EVERY_WAY)
async def test_an_engine_of_another_dialect_gets_an_empty_object(client: str, engine: str) -> None:
    got = await cross(client, engine, {**REQUESTS[client], **HISTORIES[client]})
    assert got.status == 200, got.raw
    assert find_arguments(got.sent[0]) in (["{}"], [{}], [])  # Gemini has no field for none
