"""The same handlers behind Tornado's own ``HTTPServer``: the fallback for this server's own connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from handlers import make_app
from llm.config.settings import Config
from server import Server, make_context
from tests.support.harness import CLIENT, Client, Connection, Request, Upstream, make_config
from tests.support.wires import CLIENTS, WIRES


@asynccontextmanager
async def serving(configured: Config) -> AsyncIterator[Client]:
    server = Server(make_context(configured, None, {}))
    stock = HTTPServer(make_app(server.context))
    sockets = bind_sockets(0, "127.0.0.1")
    stock.add_sockets(sockets)
    client = Client(sockets[0].getsockname()[1], server)
    try:
        yield client
    finally:
        for answer in client.open:
            answer.close()
        stock.stop()
        await stock.close_all_connections()
        await server.stop()


@pytest.mark.parametrize("client", ["native", "openai", "anthropic"])
@pytest.mark.parametrize("engine", ["openai", "anthropic"])
async def test_a_stream_is_the_same_behind_tornado_s_server(engine: str, client: str) -> None:
    wire, asks = WIRES[engine], CLIENTS[client]
    texts = ["Hel", "lo", " there", "\n", "é"]

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream(wire.content_type)
        await connection.chunk(wire.head + b"".join(wire.delta(text) for text in texts[:2]))
        for text in texts[2:]:
            await connection.chunk(wire.delta(text))
        await connection.chunk(wire.end)
        await connection.end()

    upstream = Upstream(script)
    async with upstream.run(), serving(make_config(**wire.environ(upstream))) as server:
        headers = {**asks.headers, "Accept": "application/x-ndjson" if client == "native" else "*/*"}
        answer = await server.post(asks.path, asks.request(engine), headers)
        assert answer.status == 200
        seen = asks.read(b"".join([chunk async for chunk in answer.chunks()]))
    assert seen.text == "".join(texts) and seen.error is None and seen.ended


async def test_whole_answers_and_errors_are_the_same_behind_tornado_s_server() -> None:
    async with serving(make_config()) as server:
        body = {"model": "demo/demo-chat", "messages": [{"role": "user", "content": "Hi"}]}
        answer = await server.post("/v1/chat/completions", body, CLIENT)
        assert answer.status == 200 and "Hi" in (await answer.json())["choices"][0]["message"]["content"]
        assert (await server.post("/v1/chat/completions", body, {"X-ClientId": "unknown"})).status == 401
        assert (await server.post("/v1/chat/completions", {}, CLIENT)).status == 400
        assert (await server.get("/nowhere")).status == 404
        assert (await server.get("/health")).status == 200
        assert (await server.request("DELETE", "/health")).status == 405


async def test_a_client_that_leaves_hangs_up_on_the_engine_behind_tornado_s_server() -> None:
    closed = asyncio.Event()

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream()
        await connection.chunk(WIRES["openai"].head + WIRES["openai"].delta("Hel"))
        await connection.wait_closed()
        closed.set()

    upstream = Upstream(script)
    async with upstream.run(), serving(make_config(**WIRES["openai"].environ(upstream))) as server:
        answer = await server.post("/llm/chat", CLIENTS["native"].request("openai"), CLIENT)
        async for _ in answer.chunks():
            answer.close()
            break
        await asyncio.wait_for(closed.wait(), 10)


async def test_tornado_s_server_serves_no_websocket() -> None:
    """Its connection gives its socket to nobody else; clients then ask by HTTP."""
    async with serving(make_config()) as server:
        with pytest.raises(InvalidStatus) as caught:
            async with connect(f"ws://127.0.0.1:{server.port}/v1/responses", additional_headers=CLIENT):
                pass
    assert caught.value.response.status_code == 426
