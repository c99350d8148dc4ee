"""The body of a response over real sockets: cuts, faults, bounds, compression, silence."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import threading

import pytest

from llm.errors import EngineUnreachable, IdleTimeout, Malformed, Truncated
from llm.transport.interface import HttpRequest
from llm.transport.response import READ_AHEAD
from tests.support.endings import Ending
from tests.support.wire_server import (
    CHUNKED,
    LAST_CHUNK,
    Wire,
    chunk,
    fetch,
    make_answer_script,
    make_transport,
    run_wire_server,
    wait_until,
)

# --- broken responses


@pytest.mark.parametrize("framing", ["chunks", "length", "close"])
@pytest.mark.parametrize("how", [Wire.cut, Wire.reset])
async def test_transport_t4_a_broken_connection_ends_the_response_after_all_received_bytes(
    how: Ending, framing: str
) -> None:
    received = b""

    async def script(wire: Wire) -> None:
        await wire.request()
        match framing:
            case "chunks":
                await wire.send(CHUNKED + chunk(b"one "))
                await wire.send(chunk(b"two") + b"5\r\nth")
            case "length":
                await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\none two")
                await wire.send(b"th")
            case "close":
                await wire.send(b"HTTP/1.1 200 OK\r\n\r\none two")
                await wire.send(b"th")
        await go.wait()
        how(wire)

    async def consume() -> None:
        nonlocal received
        async with await made.send(server.get()) as reply:
            async for piece in reply:
                received += piece
                if received.endswith(b"th"):
                    go.set()

    go = asyncio.Event()
    async with run_wire_server(script) as server, make_transport() as made, asyncio.timeout(2):
        if framing == "close" and how is Wire.cut:
            await consume()  # the one framing in which closing is the regular end
        else:
            with pytest.raises(Truncated, match=r"^127\.0\.0\.1 (closed|broke) the connection in the middle"):
                await consume()
        assert received == b"one twoth"


async def test_transport_t4_a_reset_together_with_the_last_bytes_is_detected() -> None:
    """The answer is sent by a thread while the loop is blocked, so both have arrived at the next poll."""
    requested, go, gone = threading.Event(), threading.Event(), threading.Event()

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            requested.set()
            assert go.wait(5)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\none two")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.set()

    async def ask() -> None:
        async with await made.send(HttpRequest(method="GET", url=url, headers={})) as reply:
            await reply.read()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        async with make_transport() as made, asyncio.timeout(5), asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(answer))
            asking = asyncio.ensure_future(ask())
            await asyncio.to_thread(requested.wait, 5)
            go.set()
            assert gone.wait(5)
            with pytest.raises((Truncated, EngineUnreachable)):
                await asking


@pytest.mark.parametrize("how", [Wire.cut, Wire.reset])
@pytest.mark.parametrize("size", [10, 3 * READ_AHEAD], ids=["small", "more than is read ahead"])
async def test_transport_t4_received_bytes_are_delivered_when_read_late(how: Ending, size: int) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED + chunk(b"x" * size))
        await wire.send(b"5\r\n")
        if size < READ_AHEAD:
            how(wire)
            over.set()
        else:
            await asyncio.sleep(0.05)  # a reset would drop the data in the sender's own buffer
            how(wire)

    over = asyncio.Event()
    received = 0
    async with run_wire_server(script) as server, make_transport() as made:
        async with await made.send(server.get()) as reply:
            if size < READ_AHEAD:
                await over.wait()
            with pytest.raises(Truncated):
                async for piece in reply:
                    received += len(piece)
            with pytest.raises(Truncated):
                await anext(aiter(reply))  # the error is raised again
    assert received == size


@pytest.mark.parametrize("fault", [b"zz\r\n", b"2\r\nokay", b"2\nok"])
async def test_transport_t13_a_fault_ends_the_response_after_the_valid_bytes(fault: bytes) -> None:
    received = []
    async with (
        run_wire_server(make_answer_script(CHUNKED + chunk(b"sound") + fault)) as server,
        make_transport() as made,
    ):
        async with await made.send(server.get()) as reply:
            with pytest.raises(Malformed):
                async for piece in reply:
                    received.append(piece)
            await wait_until(lambda: not server.wires)  # hung up on
    assert b"".join(received).startswith(b"sound")


async def test_transport_t13_an_ambiguous_head_is_refused() -> None:
    async with run_wire_server(make_answer_script(b"SSH-2.0-OpenSSH_9.2\r\n")) as server, make_transport() as made:
        with pytest.raises(Malformed):
            await made.send(server.get())
        await wait_until(lambda: not server.wires)


async def test_a_body_beyond_the_limit_is_refused() -> None:
    async with run_wire_server(make_answer_script(CHUNKED + chunk(b"12345") * 3)) as server, make_transport() as made:
        async with await made.send(server.get()) as reply:
            with pytest.raises(Malformed, match="larger than 12 bytes"):
                await reply.read(12)
            await wait_until(lambda: not server.wires)


async def test_a_connection_is_reused_after_a_response_without_a_body() -> None:
    async def script(wire: Wire) -> None:
        while True:
            request = await wire.request()
            status = b"200 OK" if request.method == "HEAD" else request.target[1:].encode() + b" Whatever"
            await wire.send(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\nContent-Encoding: br\r\n\r\n")

    async with run_wire_server(script) as server, make_transport() as made:
        for request in (HttpRequest(method="HEAD", url=server.url, headers={}), server.get("/204"), server.get("/304")):
            assert await fetch(made, request) == b""
        assert server.connections == 1


# --- compression that was not requested


async def test_a_compressed_response_is_read_as_it_arrives() -> None:
    packer = gzip.compress(b"all at once")

    async def script(wire: Wire) -> None:
        while True:
            request = await wire.request()
            assert request.headers["Accept-Encoding"] == "identity"
            encoding = request.target[1:].encode()
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % encoding)
            for byte in packer:
                await wire.send(chunk(bytes([byte])))
            await wire.send(LAST_CHUNK)

    async with run_wire_server(script) as server, make_transport() as made:
        assert await fetch(made, server.get("/gzip")) == b"all at once"
        assert await fetch(made, server.get("/identity")) == packer
        async with await made.send(server.get("/br")) as reply:
            assert reply.status == 200  # the status is usable although the body is not
            with pytest.raises(Malformed):
                await reply.read()
        with pytest.raises(Malformed):
            await fetch(made, server.get("/deflate"))


async def test_a_small_compressed_response_cannot_fill_the_memory() -> None:
    packed = gzip.compress(b"\0" * 50_000_000)
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(packed), packed)
    async with run_wire_server(make_answer_script(answer)) as server, make_transport() as made:
        async with await made.send(server.get()) as reply:
            assert max([len(piece) async for piece in reply]) <= READ_AHEAD
        with pytest.raises(Malformed, match="larger"):
            async with await made.send(server.get()) as reply:
                await reply.read(1_000_000)


# --- silence


async def test_transport_t6_silence_is_an_error_and_a_response_with_content_goes_on() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED)
        for _ in range(10):
            await asyncio.sleep(0.05)
            await wire.send(chunk(b"x"))
        hung_up.append(await wire.wait_closed())

    hung_up: list[float] = []
    received = b""
    async with run_wire_server(script) as server, make_transport(idle_timeout=0.2) as made:
        async with await made.send(server.get()) as reply:
            with pytest.raises(IdleTimeout, match=r"127\.0\.0\.1 sent no content for 0\.2 seconds"):
                async for piece in reply:
                    reply.reset_idle_timer()
                    received += piece
            await wait_until(lambda: hung_up)
        assert received == b"x" * 10  # in more than twice the idle timeout


async def test_s12_bytes_without_content_do_not_restart_the_idle_timer() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED)
        while True:
            await wire.send(chunk(b": ping\n\n"))
            await asyncio.sleep(0.02)

    pings = 0
    async with run_wire_server(script) as server, make_transport(idle_timeout=0.3) as made:
        async with asyncio.timeout(3), await made.send(server.get()) as reply:
            with pytest.raises(IdleTimeout):
                async for _ in reply:
                    pings += 1
    assert pings > 3


async def test_s12_in_a_whole_body_every_byte_restarts_the_idle_timer() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED)
        for _ in range(10):
            await wire.send(chunk(b" "))
            await asyncio.sleep(0.05)
        await wire.send(LAST_CHUNK)

    async with run_wire_server(script) as server, make_transport(idle_timeout=0.2) as made:
        assert await fetch(made, server.get()) == b" " * 10


async def test_s12_time_without_a_waiting_reader_does_not_count_as_silence() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED + chunk(b"one"))
        await more.wait()
        await asyncio.sleep(0.1)
        await wire.send(chunk(b"two"))
        await asyncio.sleep(0.1)
        await wire.send(chunk(b"three"))
        await wire.wait_closed()

    more = asyncio.Event()
    async with run_wire_server(script) as server, make_transport(idle_timeout=0.2) as made:
        async with await made.send(server.get()) as reply:
            await asyncio.sleep(0.3)  # before the first piece
            assert await anext(aiter(reply)) == b"one"
            await asyncio.sleep(0.3)  # and after it: a slow client of this server
            reply.reset_idle_timer()
            more.set()
            assert await anext(aiter(reply)) == b"two"
            reply.reset_idle_timer()
            assert await anext(aiter(reply)) == b"three"  # earlier pauses do not count
            with pytest.raises(IdleTimeout):
                await anext(aiter(reply))
