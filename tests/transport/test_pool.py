"""Which connections are pooled, reused, replaced and closed; over real sockets."""

from __future__ import annotations

import asyncio

import pytest

from llm.errors import NoResponse
from llm.transport.response import READ_AHEAD
from tests.support.endings import Ending
from tests.support.wire_server import (
    CHUNKED,
    LAST_CHUNK,
    OK,
    Wire,
    chunk,
    close_when_taken,
    fetch,
    make_answer_script,
    make_tls_contexts,
    make_transport,
    run_wire_server,
    wait_until,
)

# --- reuse


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_transport_t1_a_hundred_requests_use_one_connection(secure: bool) -> None:
    ours, theirs = make_tls_contexts() if secure else (None, None)
    async with run_wire_server(make_answer_script(OK), tls=ours) as server, make_transport(ssl_context=theirs) as made:
        for _ in range(100):
            assert await fetch(made, server.get()) == b"ok"
        assert server.connections == 1


async def test_transport_t2_two_hundred_streams_run_at_once() -> None:
    together = asyncio.Barrier(200)

    async def script(wire: Wire) -> None:
        await wire.request()
        await together.wait()  # is set only when all requests have arrived
        await wire.send(OK)

    async with run_wire_server(script) as server, make_transport() as made:
        assert await asyncio.gather(*(fetch(made, server.get()) for _ in range(200))) == [b"ok"] * 200


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"more",
        CHUNKED + chunk(b"ok") + LAST_CHUNK + OK,
        OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1),
        OK.replace(b"1.1", b"1.0"),
    ],
    ids=["bytes behind", "an answer behind", "close", "HTTP/1.0"],
)
async def test_transport_t14_an_unsafe_connection_is_not_reused(answer: bytes) -> None:
    async with run_wire_server(make_answer_script(answer)) as server, make_transport() as made:
        for _ in range(2):
            assert await fetch(made, server.get()) == b"ok"
        assert server.connections == 2


async def test_transport_t14_late_bytes_close_an_idle_connection() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK)
        await late.wait()
        await wire.send(OK)  # a response without a request: it must not become the response to the next one
        await wire.wait_closed()

    late = asyncio.Event()
    async with run_wire_server(script) as server, make_transport() as made:
        await fetch(made, server.get())
        late.set()
        await wait_until(lambda: not server.wires)


async def test_transport_t14_unread_bytes_close_an_idle_connection() -> None:
    """The bytes have arrived, but the loop has not polled the connection since."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK)
        await wire.wait_closed()

    async with run_wire_server(script) as server, make_transport() as made:
        assert await fetch(made, server.get()) == b"ok"
        server.wires[0].writer.write(OK.replace(b"ok", b"no"))  # written at once, before the next turn of the loop
        assert await fetch(made, server.get()) == b"ok"
        assert server.connections == 2


@pytest.mark.parametrize("how", [Wire.cut, Wire.reset])
async def test_an_idle_connection_closed_by_the_provider_is_removed_at_once(how: Ending) -> None:
    async with run_wire_server(make_answer_script(OK, then=how)) as server, make_transport() as made:
        for _ in range(3):
            assert await fetch(made, server.get()) == b"ok"
            await wait_until(lambda: not server.wires)
        assert server.connections == 3


@pytest.mark.parametrize("how", [Wire.cut, Wire.reset])
@pytest.mark.parametrize("size", [3, 200_000])
async def test_br_09_a_post_that_the_provider_has_read_is_not_sent_again(how: Ending, size: int) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK)
        seen.append(len((await wire.request()).body))
        how(wire)

    seen: list[int] = []
    async with run_wire_server(script) as server, make_transport() as made:
        assert await fetch(made, server.post(b"one")) == b"ok"
        with pytest.raises(NoResponse, match="without a response") as caught:
            await fetch(made, server.post(b"x" * size))
        assert not caught.value.retryable
        assert seen == [size] and server.connections == 1


@pytest.mark.parametrize("how", [Wire.cut, Wire.reset])
async def test_transport_t11_a_get_is_sent_again_once(how: Ending) -> None:
    async def script(wire: Wire) -> None:
        seen.append((await wire.request()).target)
        if wire.number == 2:
            how(wire)  # a new connection that fails too ends the attempts
            return
        await wire.send(OK)
        seen.append((await wire.request()).target)
        how(wire)

    seen: list[str] = []
    async with run_wire_server(script) as server, make_transport() as made:
        assert await fetch(made, server.get("/one")) == b"ok"
        with pytest.raises(NoResponse, match="without a response"):
            await fetch(made, server.get("/two"))
        assert seen == ["/one", "/two", "/two"]
        assert server.connections == 2


@pytest.mark.parametrize("size", [3, 200_000])
async def test_br_09_a_post_on_a_connection_that_was_closed_already_is_sent_again(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider closes the connection in the moment in which the request is written."""
    async with run_wire_server(make_answer_script(OK)) as server, make_transport() as made:
        close_when_taken(server, monkeypatch)
        for number in range(3):
            assert await fetch(made, server.post(b"x" * size)) == b"ok"
            assert server.connections == number + 1


async def test_transport_t11_the_response_on_the_new_connection_is_returned() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK)
        await wire.request()
        if wire.number == 1:
            wire.cut()
        else:
            await wire.send(OK)

    async with run_wire_server(script) as server, make_transport() as made:
        assert [await fetch(made, server.get()) for _ in range(3)] == [b"ok"] * 3
        assert server.connections == 2


@pytest.mark.parametrize(
    ("reused", "start"),
    [
        (False, b""),
        (False, b"HTTP/1.1 20"),
        (False, b"HTTP/1.1 100 Continue\r\n\r\n"),
        (True, b"HTTP/1.1 20"),
        (True, b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("how", [Wire.cut, Wire.reset])
async def test_transport_t11_no_retry_after_a_byte_or_on_a_new_connection(
    how: Ending, reused: bool, start: bytes
) -> None:
    requests = 0

    async def script(wire: Wire) -> None:
        nonlocal requests
        if reused:
            await wire.request()
            await wire.send(OK)
        await wire.request()
        requests += 1
        await wire.send(start)
        how(wire)

    async with run_wire_server(script) as server, make_transport() as made:
        if reused:
            await fetch(made, server.get())
        with pytest.raises(NoResponse, match=r"127\.0\.0\.1 (closed|broke) the connection"):
            await fetch(made, server.get())
        assert requests == 1


async def test_transport_t26_a_paused_connection_is_read_again() -> None:
    big = b"x" * (4 * READ_AHEAD)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(big), big)
    async with run_wire_server(make_answer_script(answer)) as server, make_transport() as made:
        for _ in range(80):
            async with await made.send(server.get()) as reply:
                first = await anext(aiter(reply))
                await asyncio.sleep(0)
                assert len(first) + len(await reply.read()) == len(big)
        assert server.connections == 1
        await wait_until(lambda: server.wires)
        server.wires[0].cut()
        await wait_until(lambda: not server.wires)  # it is closed, so it was read
        assert len(await fetch(made, server.get())) == len(big)
        assert server.connections == 2


# --- the pool


async def test_o9_the_pool_limit_does_not_apply_to_connections_in_use() -> None:
    arrived = 0

    async def script(wire: Wire) -> None:
        nonlocal arrived
        request = await wire.request()
        arrived += 1
        if arrived == 300:
            all_here.set()
        await all_here.wait()
        if request.target == "/live":
            await wire.send(CHUNKED + chunk(b"one"))
            await go.wait()
            await wire.send(chunk(b"two") + LAST_CHUNK)
        else:
            await wire.send(OK)
        await wire.wait_closed()

    all_here, go = asyncio.Event(), asyncio.Event()
    async with run_wire_server(script) as server, make_transport(max_idle=50) as made:
        live = [asyncio.create_task(fetch(made, server.get("/live"))) for _ in range(200)]
        assert await asyncio.gather(*(fetch(made, server.get("/brief")) for _ in range(100))) == [b"ok"] * 100
        assert server.connections == 300
        await wait_until(lambda: len(server.wires) == 250)  # those in use, and as many idle ones as the pool may hold
        assert not any(stream.done() for stream in live)
        go.set()
        assert await asyncio.gather(*live) == [b"onetwo"] * 200
        await wait_until(lambda: len(server.wires) == 50)


async def test_the_last_used_connection_is_reused_first() -> None:
    async def script(wire: Wire) -> None:
        while True:
            if (await wire.request()).target == "/together":
                await together.wait()
            await wire.send(CHUNKED + chunk(b"%d" % wire.number) + LAST_CHUNK)

    together = asyncio.Barrier(2)
    async with run_wire_server(script) as server, make_transport() as made:
        a, b = (asyncio.create_task(fetch(made, server.get("/together"))) for _ in range(2))
        done, _ = await asyncio.wait({a, b})
        assert {task.result() for task in done} == {b"1", b"2"}
        assert len({await fetch(made, server.get()) for _ in range(5)}) == 1


async def test_idle_connections_expire() -> None:
    async with run_wire_server(make_answer_script(OK)) as server, make_transport(keep_alive=0.1) as made:
        await fetch(made, server.get())
        await wait_until(lambda: not server.wires)
