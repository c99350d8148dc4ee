"""An engine that answers a request for a stream with no byte has failed: the client gets a status, not a stream."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from tests.support.harness import CLIENT, Connection, Request, Upstream, make_config, run_server
from tests.support.wires import CLIENTS, WIRES

QUESTION: Final = [{"role": "user", "content": "Hello"}]
PATHS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "native": ("/llm/chat", {"prompt": "Hello"}),
    "chat": ("/v1/chat/completions", {"messages": QUESTION}),
    "messages": ("/v1/messages", {"messages": QUESTION, "max_tokens": 9}),
    "responses": ("/v1/responses", {"input": "Hello"}),
    "ollama": ("/api/chat", {"messages": QUESTION}),
    "generate": ("/api/generate", {"prompt": "Hello"}),
}


@pytest.mark.parametrize("end", ["length", "chunks", "later", "close"])
@pytest.mark.parametrize("engine", WIRES)
@pytest.mark.parametrize("client", PATHS)
async def test_a_stream_of_no_byte_is_an_error_with_a_status(client: str, engine: str, end: str) -> None:
    wire, (path, body) = WIRES[engine], PATHS[client]

    async def script(request: Request, connection: Connection) -> None:
        if end == "length":
            await connection.head(200, {"Content-Type": wire.content_type, "Content-Length": "0"})
        elif end == "close":
            await connection.head(200, {"Content-Type": wire.content_type, "Connection": "close"})
            connection.writer.close()
        else:
            await connection.stream(wire.content_type)
            if end == "later":
                await asyncio.sleep(0.01)
            await connection.end()

    named = {"engine": engine, "model": "m"} if client == "native" else {"model": f"{engine}/m"}
    async with Upstream(script).run() as upstream, run_server(make_config(**wire.environ(upstream))) as server:
        answer = await server.post(path, {**body, **named, "stream": True}, CLIENT)
        told = await answer.json()
    assert answer.status == 502
    text = told["error"] if isinstance(told["error"], str) else told["error"]["message"]
    assert "before it was complete" in text
    assert len(upstream.requests) == 1  # the engine may bill it


@pytest.mark.parametrize("engine", ["openai", "anthropic"])
async def test_the_headers_leave_soon_where_the_first_byte_does_not_come(engine: str) -> None:
    wire, gone = WIRES[engine], asyncio.Event()

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream(wire.content_type)
        await gone.wait()
        await connection.chunk(wire.head + wire.delta("Hello") + wire.end)
        await connection.end()

    async with Upstream(script).run() as upstream, run_server(make_config(**wire.environ(upstream))) as server:
        for client in CLIENTS.values():
            gone.clear()
            answer = await server.send("POST", client.path, {**client.request(engine), "stream": True}, client.headers)
            async with asyncio.timeout(5):
                await answer.head()
            assert answer.status == 200
            gone.set()
            assert b"Hello" in await answer.body()
