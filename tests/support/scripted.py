"""Scripted providers that answer like a model: a text, or a tool call and then a text; streamed or not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tests.support.harness import Connection, Request, Script
from tests.support.wires import _OLLAMA_END, WIRES, Wire, _chunk, _line, _named, _response, _sse

ANSWER_TEXT = "Grüße 🦊"
RESULT = "Sunny"  # of the tool: a request that contains it is answered with the text
PARIS = {"city": "Paris"}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
# An engine with Chat Completions only: requests of Responses clients go to OpenAI itself as Responses.
CHAT = replace(WIRES["openai"], engine="cerebras")
_MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}


def make_text_script(wire: Wire, *pieces: bytes, whole: Any = None) -> Script:
    """Returns a script that streams ``pieces``, or answers ``whole`` if no stream is requested."""

    async def script(request: Request, connection: Connection) -> None:
        await _answer(request, connection, wire, pieces, whole)

    return script


def make_call_script(
    wire: Wire, name: str = "get_weather", arguments: Mapping[str, Any] = PARIS, result: str = RESULT
) -> Script:
    """Returns a script that calls a tool if the request offers it and does not contain its result."""

    async def script(request: Request, connection: Connection) -> None:
        asked = json.dumps(request.json, ensure_ascii=False)
        if result in asked or f'"{name}"' not in asked:
            await _answer(request, connection, wire, (), None)
        else:
            called = make_call_reply(wire.engine, name, arguments)
            await _answer(request, connection, wire, make_call_stream(wire.engine, name, arguments), called)

    return script


async def _answer(request: Request, connection: Connection, wire: Wire, pieces: tuple[bytes, ...], whole: Any) -> None:
    if not (request.json.get("stream") or "stream" in request.path):
        await connection.respond(whole if whole is not None else wire.whole(ANSWER_TEXT))
        return
    await connection.stream(wire.content_type)
    for piece in pieces or make_text_stream(wire.engine):
        if piece:
            await connection.chunk(piece)
    await connection.end()


def make_text_stream(engine: str) -> tuple[bytes, ...]:
    """Returns a stream with the text; for Responses with all events that its clients need."""
    wire = WIRES.get(engine, CHAT)
    first, second = "Grüße ", "🦊"
    if engine != "responses":
        return wire.head, wire.delta(first), wire.delta(second), wire.end
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    part: dict[str, Any] = {"type": "output_text", "text": "", "annotations": []}
    done = {**part, "text": ANSWER_TEXT}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [done]}
    usage = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
    return (
        wire.head + _named("response.content_part.added", **where, part=part),
        wire.delta(first),
        wire.delta(second),
        _named("response.output_text.done", **where, text=ANSWER_TEXT)
        + _named("response.content_part.done", **where, part=done)
        + _named("response.output_item.done", output_index=0, item=item)
        + _named("response.completed", response=_response("completed", output=[item], usage=usage)),
    )


def make_call_stream(engine: str, name: str = "get_weather", arguments: Mapping[str, Any] = PARIS) -> tuple[bytes, ...]:
    """Returns a stream with a tool call."""
    text = json.dumps(arguments)
    match engine:
        case "openai" | "cerebras":
            call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": ""}}
            rest = {"index": 0, "function": {"arguments": text}}
            usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
            return (
                WIRES["openai"].head,
                _chunk({"tool_calls": [call]}),
                _chunk({"tool_calls": [rest]}),
                _chunk({}, "tool_calls"),
                _sse({"id": "c1", "choices": [], "usage": usage}) + b"data: [DONE]\n\n",
            )
        case "responses":
            done = _responses_call(name, text)
            item = {**done, "status": "in_progress", "arguments": ""}
            where = {"item_id": "fc_1", "output_index": 0}
            ended = make_call_reply(engine, name, arguments)
            return (
                _named("response.created", response=_response("in_progress")),
                _named("response.output_item.added", output_index=0, item=item),
                _named("response.function_call_arguments.delta", **where, delta=text),
                _named("response.function_call_arguments.done", **where, arguments=text),
                _named("response.output_item.done", output_index=0, item=done),
                _named("response.completed", response=ended),
            )
        case "google":
            return (_sse(make_call_reply(engine, name, arguments)),)
        case "ollama":
            end = dict(_OLLAMA_END)
            call = {"function": {"name": name, "arguments": dict(arguments)}}
            message = {"role": "assistant", "content": "", "tool_calls": [call]}
            return _line(message), _line({"role": "assistant", "content": ""}, **end)
    block = {"type": "tool_use", "id": "call_1", "name": name, "input": {}}
    delta = {"type": "input_json_delta", "partial_json": text}
    ended = {"stop_reason": "tool_use", "stop_sequence": None}
    return tuple(
        _sse(value, str(value["type"]))
        for value in (
            {"type": "message_start", "message": {**_MESSAGE, "usage": {"input_tokens": 5, "output_tokens": 1}}},
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 2}},
            {"type": "message_stop"},
        )
    )


def make_call_reply(engine: str, name: str = "get_weather", arguments: Mapping[str, Any] = PARIS) -> Any:
    """Returns an answer with a tool call that is not streamed."""
    text = json.dumps(arguments)
    match engine:
        case "openai" | "cerebras":
            call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": text}}
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
            answer = WIRES["openai"].whole("")
            return {**answer, "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
        case "responses":
            usage = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
            return _response("completed", output=[_responses_call(name, text)], usage=usage)
        case "google":
            parts = [{"functionCall": {"name": name, "args": dict(arguments)}}]
            return {
                "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}],
                "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7},
            }
        case "ollama":
            call = {"function": {"name": name, "arguments": dict(arguments)}}
            message = {"role": "assistant", "content": "", "tool_calls": [call]}
            return {**WIRES["ollama"].whole(""), "message": message}
    block = {"type": "tool_use", "id": "call_1", "name": name, "input": dict(arguments)}
    return {**WIRES["anthropic"].whole(""), "content": [block], "stop_reason": "tool_use"}


def _responses_call(name: str, arguments: str) -> dict[str, Any]:
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "status": "completed"}
    return {**call, "name": name, "arguments": arguments}


def make_error_body(engine: str, status: int, code: str | None = None, type: str = "t", message: str = "No.") -> Any:
    """Returns the body of an error in the wire's format."""
    match engine:
        case "anthropic":
            return {"type": "error", "error": {"type": type, "message": message}, "request_id": "req_there"}
        case "google":
            return {"error": {"code": status, "message": message, "status": type}}
        case "ollama":
            return {"error": message}
    return {"error": {"message": message, "type": type, "param": None, "code": code}}
