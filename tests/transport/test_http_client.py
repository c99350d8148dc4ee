"""Requests over real sockets: uploads, timeouts before the first byte, many and large answers at once."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from llm import VERSION
from llm.errors import FirstByteTimeout, InvalidRequest, LLMError
from llm.transport.interface import HttpRequest, HttpResponse
from llm.transport.response import READ_AHEAD
from tests.support.wire_server import (
    CHUNKED,
    LAST_CHUNK,
    OK,
    Wire,
    chunk,
    fetch,
    make_answer_script,
    make_transport,
    run_wire_server,
    wait_until,
)


@pytest.mark.parametrize(
    "headers",
    [{"key": "a\r\nevil: 1"}, {"key": "a\nb"}, {"key": "a\0b"}, {"key": "€"}, {"a b": "c"}, {"a\r\nb": "c"}, {"": "c"}],
    ids=repr,
)
async def test_transport_t13_a_header_cannot_break_out_of_its_line(headers: dict[str, str]) -> None:
    async with run_wire_server(make_answer_script(OK)) as server, make_transport() as made:
        with pytest.raises(InvalidRequest, match="holds a character") as caught:
            await made.send(HttpRequest(method="GET", url=server.url, headers=headers))
        assert "evil" not in str(caught.value)
        assert not server.connections


@pytest.mark.parametrize(
    "url",
    ["ftp://a/", "http:///x", "http://a:x/", "http://a:99999/", "http://[a/", "//a/", "http://a/b c", "http://a/é"],
)
async def test_transport_t13_an_invalid_url_is_refused(url: str) -> None:
    async with make_transport() as made:
        for variant in (url, f"{url}?key=secret", f"{url}\r\nsecret"):
            with pytest.raises(InvalidRequest) as caught:
                await made.send(HttpRequest(method="GET", url=variant, headers={}))
            assert "secret" not in str(caught.value)


async def test_the_first_byte_has_its_own_timeout() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")  # neither is a complete head
        hung_up.append(await wire.wait_closed())

    hung_up: list[float] = []
    async with run_wire_server(script) as server, make_transport(first_byte_timeout=0.1) as made:
        with pytest.raises(FirstByteTimeout, match=r"did not start to respond within 0\.1 seconds"):
            await made.send(server.get())
        await wait_until(lambda: hung_up)


async def test_a_large_upload_may_take_long_while_bytes_are_taken() -> None:
    body = bytes(20_000_000)

    async def script(wire: Wire) -> None:
        await wire.head()
        for _ in range(5):
            await asyncio.sleep(0.1)
            await wire.reader.readexactly(len(body) // 10)
        await wire.reader.readexactly(len(body) // 2)
        await wire.send(OK)

    async with run_wire_server(script) as server, make_transport(first_byte_timeout=0.3) as made:
        assert await fetch(made, server.post(body)) == b"ok"


async def test_a_large_upload_that_stops_times_out() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await given_up.wait()

    given_up = asyncio.Event()
    async with run_wire_server(script) as server, make_transport(first_byte_timeout=0.2) as made:
        with pytest.raises(FirstByteTimeout):
            await fetch(made, server.post(bytes(20_000_000)))
        given_up.set()
        await wait_until(lambda: not server.wires)


# --- much at a time


async def test_transport_t3_a_stream_of_more_than_100_mb_is_complete() -> None:
    piece = chunk(b"x" * 1_000_000)

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED)
        for _ in range(110):
            await wire.send(piece)
        await wire.send(LAST_CHUNK)

    received = 0
    async with run_wire_server(script) as server, make_transport() as made:
        async with await made.send(server.get()) as reply:
            async for data in reply:
                received += len(data)
    assert received == 110_000_000


async def test_transport_t9_an_unread_response_pauses_its_own_provider_only() -> None:
    async def script(wire: Wire) -> None:
        if (await wire.request()).target == "/quick":
            await wire.send(OK)
            return
        await wire.send(CHUNKED)
        sent = 0
        with suppress(TimeoutError):
            while True:
                async with asyncio.timeout(0.3):
                    await wire.send(chunk(b"x" * 100_000))
                sent += 100_000
        stuck_at.append(sent)
        await wire.send(LAST_CHUNK)

    async def stalled() -> int:
        async with await made.send(server.get()) as reply:
            await release.wait()
            pieces.append(len(await anext(aiter(reply))))
            return pieces[-1] + len(await reply.read())

    stuck_at: list[int] = []
    pieces: list[int] = []
    release = asyncio.Event()
    async with run_wire_server(script) as server, make_transport() as made:
        readers = [asyncio.create_task(stalled()) for _ in range(4)]
        await wait_until(lambda: len(stuck_at) == 4)
        assert max(stuck_at) < 20_000_000  # what lies in the sockets' own buffers
        assert await fetch(made, server.get("/quick")) == b"ok"
        release.set()
        assert sorted(await asyncio.gather(*readers)) == [sent + 100_000 for sent in sorted(stuck_at)]
        assert max(pieces) <= 2 * READ_AHEAD


async def test_transport_t18_a_large_upload_is_sent_without_copies_and_freed() -> None:
    class Body(bytes):
        def __del__(self) -> None:
            forgotten.append(len(self))

    async def script(wire: Wire) -> None:
        await wire.head()
        await asyncio.sleep(0.05)
        blocked.append(not forgotten)
        received = 0
        while received < size:
            received += len(await wire.reader.read(1 << 20))
        await wire.send(CHUNKED + chunk(b"one"))
        await go.wait()
        await wire.send(LAST_CHUNK)

    size = 32 * 1024 * 1024
    forgotten: list[int] = []
    blocked: list[bool] = []
    go = asyncio.Event()
    async with run_wire_server(script) as server, make_transport() as made:
        async with await made.send(server.post(Body(size))) as reply:
            assert await anext(aiter(reply)) == b"one"
            assert forgotten == [size]  # while the answer is still on its way
            go.set()
            assert await reply.read() == b""
        assert blocked == [True]


async def test_transport_t18_a_response_before_the_end_of_the_upload_is_returned() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge")
        await wire.wait_closed()

    async with run_wire_server(script) as server, make_transport() as made:
        async with await made.send(server.post(bytes(32 * 1024 * 1024))) as reply:
            assert (reply.status, await reply.read()) == (413, b"large")
        await wait_until(lambda: not server.wires)  # half a request is out: the connection is of no use


async def test_reads_cause_no_poller_calls_and_no_timers() -> None:
    """Reading a stream causes no poller call and no timer per read."""
    loop = asyncio.get_running_loop()
    calls = []

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED + chunk(b"0"))
        for number in range(100):
            await read.acquire()
            await wire.send(chunk(b"%d" % number))
        await wire.send(LAST_CHUNK)

    read = asyncio.Semaphore(0)
    async with run_wire_server(script) as server, make_transport() as made:
        async with await made.send(server.get()) as reply:
            await anext(aiter(reply))
            await anext_of(reply, read)  # by now the idle timer stands
            with pytest.MonkeyPatch.context() as patch:
                for name in ("call_later", "call_at", "add_reader", "remove_reader", "add_writer"):
                    patch.setattr(loop, name, lambda *_, name=name: calls.append(name))
                for _ in range(98):
                    await anext_of(reply, read)
            assert calls == []
            read.release()
            assert await reply.read() == b"99"


async def anext_of(reply: HttpResponse, read: asyncio.Semaphore) -> None:
    read.release()
    assert await anext(aiter(reply))


# --- what the provider says


async def test_transport_t10_an_error_has_its_status_body_and_headers() -> None:
    answer = b"HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nX-A: b\r\nX-A: c\r\nContent-Length: 5\r\n\r\nwords"
    async with run_wire_server(make_answer_script(answer)) as server, make_transport() as made:
        async with await made.send(server.get()) as reply:
            assert (reply.status, reply.headers["retry-after"], reply.headers["x-a"]) == (429, "7", "b,c")
            assert await reply.read() == b"words"


async def test_transport_t12_a_response_in_single_bytes_is_read_the_same() -> None:
    answer = b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED + b"5;x=y\r\nd\xc3\xbcr\xc3\r\n1\r\n\xa9\r\n0\r\nX: y\r\n\r\n"
    async with (
        run_wire_server(make_answer_script(*(bytes([byte]) for byte in answer))) as server,
        make_transport() as made,
    ):
        assert (await fetch(made, server.get())).decode() == "düré"


async def test_the_bytes_of_a_request() -> None:
    async def script(wire: Wire) -> None:
        while True:
            heads.append(await wire.head())
            await wire.reader.readexactly(4 if b"content-length: 4" in heads[-1] else 0)
            await wire.send(OK)

    heads: list[bytes] = []
    own = {"Content-Type": "text/plain", "Host": "evil", "content-length": "7", "Transfer-Encoding": "chunked"}
    async with run_wire_server(script) as server, make_transport() as made:
        url = server.url.replace("http://", "http://user:password@") + "?a=b#c"
        await fetch(made, HttpRequest(method="POST", url=url, headers=own, body=b"body"))
        await fetch(made, HttpRequest(method="POST", url=f"{server.url}/x", headers={"User-Agent": "mine"}))
        await fetch(made, server.get("/x", **{"ACCEPT-encoding": "gzip", "x%s%": "%d%"}))
    host, plain = f"host: 127.0.0.1:{server.port}", "accept-encoding: identity"
    post, empty, get = (head.decode().split("\r\n")[:-2] for head in heads)
    agent = f"user-agent: llm-server/{VERSION}"
    assert post == ["POST /?a=b HTTP/1.1", host, "content-length: 4", plain, agent, "Content-Type: text/plain"]
    assert empty == ["POST /x HTTP/1.1", host, "content-length: 0", plain, "User-Agent: mine"]
    assert get == ["GET /x HTTP/1.1", host, agent, "ACCEPT-encoding: gzip", "x%s%: %d%"]


def test_the_repr_of_a_request_shows_neither_headers_nor_body() -> None:
    request = HttpRequest(method="POST", url="http://a/", headers={"key": "secret"}, body=b"secret")
    assert "secret" not in repr(request)


async def test_error_messages_hold_no_query_and_no_header(unused_tcp_port: int) -> None:
    async with make_transport() as made:
        with pytest.raises(LLMError) as caught:
            url = f"http://127.0.0.1:{unused_tcp_port}/path?key=secret"
            await made.send(HttpRequest(method="GET", url=url, headers={"key": "secret"}))
    assert str(caught.value) == f"127.0.0.1 port {unused_tcp_port} cannot be reached: connection refused."
