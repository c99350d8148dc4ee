"""Cancelling, failing or leaving early closes the provider's socket at once and leaves no socket open."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from llm.errors import ConnectTimeout, Draining, LLMError, NoResponse, Truncated
from llm.transport.interface import HttpRequest
from llm.transport.response import DRAIN_BYTES
from tests.support.wire_server import (
    CHUNKED,
    LAST_CHUNK,
    OK,
    Wire,
    chunk,
    fetch,
    make_answer_script,
    make_tls_contexts,
    make_transport,
    run_wire_server,
    wait_until,
)


def open_sockets() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            link = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
        if link.startswith("socket:"):
            found.add(link)
    return found


@contextmanager
def full_listener() -> Iterator[int]:
    """A port that accepts no connection: its queue is full."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def test_c1_cancelled_while_connecting() -> None:
    with full_listener() as port:
        async with make_transport() as made:
            before = open_sockets()
            sending = asyncio.create_task(
                made.send(HttpRequest(method="GET", url=f"http://127.0.0.1:{port}/", headers={}))
            )
            await wait_until(lambda: open_sockets() - before)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            assert open_sockets() <= before


async def test_connecting_has_its_own_timeout() -> None:
    with full_listener() as port:
        async with make_transport(connect_timeout=0.1) as made:
            before = open_sockets()
            with pytest.raises(
                ConnectTimeout, match=rf"within 0\.1 seconds \(connecting to 127\.0\.0\.1 port {port}\)"
            ):
                await made.send(HttpRequest(method="GET", url=f"http://127.0.0.1:{port}/", headers={}))
            assert open_sockets() <= before


async def test_the_connect_timeout_includes_the_tls_handshake() -> None:
    async def script(wire: Wire) -> None:
        hung_up.append(await wire.wait_closed())

    hung_up: list[float] = []
    async with run_wire_server(script) as server, make_transport(connect_timeout=0.1) as made:
        with pytest.raises(ConnectTimeout, match=r"\(in the TLS handshake\)"):
            await made.send(HttpRequest(method="GET", url=f"https://127.0.0.1:{server.port}/", headers={}))
        await wait_until(lambda: hung_up)


@pytest.mark.parametrize("phase", ["tls handshake", "proxy", "upload", "headers", "head in part", "silence", "stream"])
async def test_c1_transport_t7_cancelling_in_any_phase_closes_the_connection_at_once(phase: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.reader.readexactly(1)
        if phase != "upload":
            await wire.reader.read(1 << 16)
        match phase:
            case "head in part":
                await wire.send(b"HTTP/1.1 200")
            case "silence":
                await wire.send(CHUNKED)
            case "stream":
                await wire.send(CHUNKED + chunk(b"one"))
        reached.set()
        if phase == "upload":
            await leaving.wait()
        gone.append(await wire.wait_closed())

    async def consume() -> None:
        async with await made.send(request) as reply:
            async for _ in reply:
                pass

    reached, leaving = asyncio.Event(), asyncio.Event()
    gone: list[float] = []
    async with run_wire_server(script) as server:
        proxies = {"HTTPS_PROXY": server.url} if phase == "proxy" else {}
        async with make_transport(proxies=proxies) as made:
            url = server.url.replace("http", "https") if phase in ("tls handshake", "proxy") else server.url
            body = bytes(20_000_000) if phase == "upload" else b""
            request = HttpRequest(method="POST", url=url, headers={}, body=body)
            task = asyncio.create_task(consume())
            await reached.wait()
            await asyncio.sleep(0.01)
            task.cancel()
            leaving.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            await wait_until(lambda: gone)


@pytest.mark.parametrize("whole", [False, True], ids=["anext", "read"])
async def test_c1_cancelling_a_read_inside_the_response_block_closes_the_connection(whole: bool) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED)
        gone.append(await wire.wait_closed())

    gone: list[float] = []
    async with run_wire_server(script) as server, make_transport() as made:
        async with await made.send(server.get()) as reply:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await (reply.read() if whole else anext(aiter(reply)))
            await wait_until(lambda: gone)
            with pytest.raises(Truncated, match="closed before its end"):
                await reply.read()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_c1_cancelled_at_any_step_no_socket_stays_open(secure: bool) -> None:
    """Includes the moment in which a connection or handshake is complete and the waiting task has not run yet."""

    ours, theirs = make_tls_contexts() if secure else (None, None)
    async with run_wire_server(make_answer_script(OK), tls=ours) as server:
        before = open_sockets()
        for steps in itertools.count():
            async with make_transport(ssl_context=theirs) as made:
                task = asyncio.create_task(fetch(made, server.get()))
                for _ in range(steps):
                    await asyncio.sleep(0)
                if not task.cancel():
                    break
                await asyncio.wait({task})
            await wait_until(lambda: open_sockets() <= before)
        assert steps >= (
            5 if isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop) else 4
        )  # uvloop takes fewer


async def test_transport_t24_an_exception_of_the_reader_is_raised_unchanged_and_closes_the_connection() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED + chunk(b"one"))
        gone.append(await wire.wait_closed())

    gone: list[float] = []
    async with run_wire_server(script) as server, make_transport() as made:
        with pytest.raises(ZeroDivisionError):
            async with await made.send(server.get()) as reply:
                async for _ in reply:
                    raise ZeroDivisionError
        await wait_until(lambda: gone)


# --- leaving early


async def test_leaving_before_the_end_closes_the_connection() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED + chunk(b"enough"))
        gone.append(await wire.wait_closed())

    gone: list[float] = []
    async with run_wire_server(script) as server, make_transport() as made:
        async with await made.send(server.get()) as reply:
            assert await anext(aiter(reply)) == b"enough"
        await wait_until(lambda: gone)
        with pytest.raises(Truncated):
            await anext(aiter(reply))


async def test_draining_reads_the_rest_and_reuses_the_connection() -> None:
    async def script(wire: Wire) -> None:
        while True:
            await wire.request()
            await wire.send(CHUNKED + chunk(b"enough"))
            await left.wait()
            await wire.send(chunk(b"[DONE]"))
            await wire.send(LAST_CHUNK)
            ended.set()

    async with run_wire_server(script) as server, make_transport() as made:
        for _ in range(3):
            left, ended = asyncio.Event(), asyncio.Event()
            with pytest.raises(ZeroDivisionError):  # how the reader leaves does not matter after allow_drain
                async with await made.send(server.get()) as reply:
                    assert await anext(aiter(reply)) == b"enough"
                    reply.allow_drain()
                    raise ZeroDivisionError
            left.set()
            await ended.wait()
            await wait_until(lambda: getattr(reply, "_connection", None) is None)
        assert server.connections == 1


@pytest.mark.parametrize("endless", [False, True], ids=["silent", "too much"])
async def test_draining_is_limited_in_time_and_size(endless: bool) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED + chunk(b"enough"))
        if endless:
            await left.wait()
            try:
                for _ in range(DRAIN_BYTES // 1000 * 100):
                    await wire.send(chunk(b"x" * 1000))
            except ConnectionError:
                refused.set()
        gone.append(await wire.wait_closed())

    left, refused = asyncio.Event(), asyncio.Event()
    gone: list[float] = []
    async with run_wire_server(script) as server, make_transport() as made:
        async with await made.send(server.get()) as reply:
            assert await anext(aiter(reply)) == b"enough"
            reply.allow_drain()
        left.set()
        await wait_until(lambda: gone)
        assert refused.is_set() == endless  # long before all of it was sent


async def test_a_connection_that_breaks_while_draining_raises_no_error() -> None:
    async with (
        run_wire_server(make_answer_script(CHUNKED + chunk(b"enough"), b"fault", then=Wire.cut)) as server,
        make_transport() as made,
    ):
        for _ in range(3):
            async with await made.send(server.get()) as reply:
                assert (await anext(aiter(reply))).startswith(b"enough")
                reply.allow_drain()
            await wait_until(lambda: not server.wires)


# --- the end of the transport


async def test_closing_the_transport_closes_all_connections_and_fails_pending_requests() -> None:
    async def script(wire: Wire) -> None:
        if (await wire.request()).target == "/stream":
            await wire.send(CHUNKED)
        arrived.release()
        await wire.wait_closed()

    async def whole(path: str) -> bytes:
        return await fetch(made, server.get(path))

    arrived = asyncio.Semaphore(0)
    async with run_wire_server(script) as server, make_transport() as made:
        tasks = [asyncio.create_task(whole(path)) for path in ("/stream", "/head")]
        for _ in tasks:
            await arrived.acquire()
        await asyncio.sleep(0.01)
        await made.close()
        stream, head = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(stream, Truncated)
        assert isinstance(head, NoResponse)
        with pytest.raises(Draining):
            await made.send(server.get())
        await wait_until(lambda: not server.wires)


async def test_a_connection_established_after_the_close_is_closed() -> None:
    async def script(wire: Wire) -> None:
        await wire.wait_closed()

    async with run_wire_server(script) as server, make_transport() as made:
        sending = asyncio.create_task(made.send(server.get()))
        await asyncio.sleep(0)
        await made.close()
        with pytest.raises(LLMError):
            await sending
        await wait_until(lambda: not server.wires)
