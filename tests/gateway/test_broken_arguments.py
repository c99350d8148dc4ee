"""Arguments that are not one JSON value are an error for Messages and Ollama clients, from every engine."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from tests.support.harness import CLIENT_ID, Connection, Request, Upstream, make_config, run_server
from tests.support.wires import WIRES

BEARER: Final = {"Authorization": f"Bearer {CLIENT_ID}"}
HELLO: Final = [{"role": "user", "content": "Hello"}]
PARAMETERS: Final = {"type": "object", "properties": {"path": {"type": "string"}}}
FUNCTION: Final = {"type": "function", "function": {"name": "f", "parameters": PARAMETERS}}
CLIENTS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "anthropic": (
        "/v1/messages",
        {"messages": HELLO, "max_tokens": 10, "tools": [{"name": "f", "input_schema": PARAMETERS}]},
    ),
    "ollama": ("/api/chat", {"messages": HELLO, "tools": [FUNCTION]}),
    "openai-chat": ("/v1/chat/completions", {"messages": HELLO, "tools": [FUNCTION]}),
}
BROKEN: Final = ['{"path": ', '{"a": 1}}', '{"a": 1}{"a": 1}']


def sse(*values: Any) -> bytes:
    return b"".join(f"data: {json.dumps(one)}\n\n".encode() for one in values)


def chat(arguments: str, finish: str) -> bytes:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    choices = [{"index": 0, "delta": {"role": "assistant", "tool_calls": [call]}, "finish_reason": None}]
    end = [{"index": 0, "delta": {}, "finish_reason": finish}]
    return sse({"id": "c1", "choices": choices}, {"id": "c1", "choices": end}) + b"data: [DONE]\n\n"


def responses(arguments: str, finish: str) -> bytes:
    item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": arguments}
    cut = finish == "length"
    response: dict[str, Any] = {"id": "resp_1", "status": "incomplete" if cut else "completed", "output": [item]}
    if cut:
        response["incomplete_details"] = {"reason": "max_output_tokens"}
    kind = str(response["status"])
    return sse(
        {"type": "response.created", "response": {"id": "resp_1"}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "arguments": ""}},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": f"response.{kind}", "response": response},
    )


ENGINES: Final = {"openai": chat, "responses": responses}


async def answered(client: str, engine: str, sent: bytes, stream: bool) -> tuple[int, bytes]:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(sent, 200, "text/event-stream")

    path, body = CLIENTS[client]
    async with Upstream(script).run() as upstream:
        async with run_server(make_config(**WIRES[engine].environ(upstream, MAX_RETRIES="0"))) as server:
            answer = await server.post(path, {**body, "model": f"{engine}/m", "stream": stream}, BEARER)
            return answer.status, await answer.body()


@pytest.mark.parametrize("arguments", BROKEN)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("client", ["anthropic", "ollama"])
async def test_broken_arguments_are_an_error(client: str, engine: str, stream: bool, arguments: str) -> None:
    """anthropic-broken-tool-json: the SDKs hand over an empty or a cut object and say that all is well."""
    status, raw = await answered(client, engine, ENGINES[engine](arguments, "tool_calls"), stream)
    assert b"not one JSON value" in raw
    if not stream:
        assert status == 502
    elif client == "anthropic":
        assert raw.rindex(b"event: error") > raw.rindex(b"event: content_block")
        assert b"message_stop" not in raw
    else:
        assert b"tool_calls" not in raw and b'"done":true' not in raw
        assert json.loads(raw.splitlines()[-1])["error"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("client", ["anthropic", "ollama"])
async def test_a_call_that_the_token_limit_cut_is_no_error(client: str, engine: str, stream: bool) -> None:
    status, raw = await answered(client, engine, ENGINES[engine]('{"path": ', "length"), stream)
    assert status == 200 and b"not one JSON value" not in raw
    assert (b"max_tokens" if client == "anthropic" else b'"done_reason":"length"') in raw


async def test_chat_clients_get_the_text_as_it_is() -> None:
    status, raw = await answered("openai-chat", "responses", responses('{"path": ', "tool_calls"), False)
    assert status == 200
    assert json.loads(raw)["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == '{"path": '
