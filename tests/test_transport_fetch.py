"""Tornado's own interface: ``fetch`` of whole answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

from llm.errors import EngineUnreachable, InvalidRequest, Truncated
from llm.transport.http_client import Patience, StreamingHTTPClient
from tests.wire_server import CHUNKED, OK, Wire, answers, chunk, until, wire_server


@asynccontextmanager
async def client(patience: Patience | None = None) -> AsyncIterator[StreamingHTTPClient]:
    made = StreamingHTTPClient(force_instance=True, patience=patience or Patience())
    try:
        yield made
    finally:
        made.close()


async def echo(wire: Wire) -> None:
    """Answers with the request's body; the path is the status."""
    while True:
        request = await wire.request()
        status = request.target[1:] or "200"
        head = f"HTTP/1.1 {status} Whatever\r\nX-Agent: {request.headers['User-Agent']}\r\nLocation: /200\r\n"
        await wire.send(f"{head}Content-Length: {len(request.body)}\r\n\r\n".encode() + request.body)


async def test_fetch_gives_a_whole_answer() -> None:
    async with wire_server(echo) as server, client() as made:
        request = HTTPRequest(server.url, method="POST", body=b"said", headers={"User-Agent": "mine"})
        for _ in range(3):
            answer = await made.fetch(request)
            assert (answer.code, answer.body, answer.headers["x-agent"]) == (200, b"said", "mine")
            assert answer.request_time is not None
            assert answer.request is request
        assert server.connections == 1


async def test_a_failing_status_is_raised_unless_it_is_not_to_be() -> None:
    async with wire_server(echo) as server, client() as made:
        with pytest.raises(HTTPClientError, match="404") as told:
            await made.fetch(f"{server.url}/404", method="POST", body=b"why")
        assert told.value.response is not None
        assert told.value.response.body == b"why"
        assert (await made.fetch(f"{server.url}/404", raise_error=False)).code == 404


async def test_redirects_are_never_followed() -> None:
    async with wire_server(echo) as server, client() as made:
        answer = await made.fetch(f"{server.url}/302", raise_error=False, follow_redirects=True)
        assert (answer.code, answer.headers["Location"]) == (302, "/200")


@pytest.mark.parametrize("raise_error", [True, False])
async def test_other_failures_are_the_same_as_elsewhere(raise_error: bool, unused_tcp_port: int) -> None:
    async with wire_server(answers(CHUNKED + chunk(b"one"), then=Wire.cut)) as server, client() as made:
        with pytest.raises(Truncated):
            await made.fetch(server.url, raise_error=raise_error)
        with pytest.raises(EngineUnreachable):
            await made.fetch(f"http://127.0.0.1:{unused_tcp_port}/", raise_error=raise_error)
        with pytest.raises(InvalidRequest):
            await made.fetch("ftp://127.0.0.1/", raise_error=raise_error)


async def test_a_fetch_has_a_time_in_all() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED)
        while True:
            await wire.send(chunk(b"lively"))
            await asyncio.sleep(0.02)

    async with wire_server(script) as server, client() as made:
        with pytest.raises(HTTPClientError, match=r"599: No whole answer within 0\.2 seconds"):
            await made.fetch(server.url, request_timeout=0.2)
        await until(lambda: not server.wires)


async def test_transport_t7_cancelling_a_fetch_hangs_up() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        arrived.set()
        gone.append(await wire.hung_up())

    arrived = asyncio.Event()
    gone: list[float] = []
    async with wire_server(script) as server, client() as made:
        fetching = made.fetch(server.url)
        await arrived.wait()
        left = asyncio.get_running_loop().time()
        fetching.cancel()
        await until(lambda: gone)
        assert gone[0] - left < 0.05


@pytest.mark.parametrize("option", [{"proxy_host": "a", "proxy_port": 1}, {"validate_cert": False}, {"ca_certs": "/x"}])
async def test_options_that_cannot_be_honoured_are_refused(option: dict[str, object]) -> None:
    async with wire_server(answers(OK)) as server, client() as made:
        with pytest.raises(NotImplementedError, match=next(iter(option))):
            await made.fetch(HTTPRequest(server.url, **option))  # type: ignore[arg-type]
        assert not server.connections


async def test_the_client_can_be_tornado_s_own() -> None:
    AsyncHTTPClient.configure(StreamingHTTPClient, patience=Patience(connect=1))
    try:
        made = AsyncHTTPClient()
        assert isinstance(made, StreamingHTTPClient)
        async with wire_server(answers(OK)) as server:
            assert (await made.fetch(server.url)).body == b"ok"
        made.close()
    finally:
        AsyncHTTPClient.configure(None)


async def test_a_closed_client_fetches_no_more() -> None:
    async with client() as made:
        made.close()
        with pytest.raises(RuntimeError):
            await made.fetch("http://127.0.0.1/")
