"""Answers over real sockets: reuse, cuts, silence, back-pressure, uploads, and what the pool may not do."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from llm import VERSION
from llm.errors import EngineUnreachable, FirstByteTimeout, IdleTimeout, InvalidRequest, LLMError, Malformed, Truncated
from llm.transport.interface import HttpReply, HttpRequest
from llm.transport.response import READ_AHEAD
from tests.wire_server import (
    CHUNKED,
    LAST_CHUNK,
    OK,
    Wire,
    answers,
    chunk,
    fetched,
    tls_contexts,
    transport,
    until,
    wire_server,
)

Ending = Callable[[Wire], None]

# --- reuse


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_transport_t1_a_hundred_requests_use_one_connection(secure: bool) -> None:
    ours, theirs = tls_contexts() if secure else (None, None)
    async with wire_server(answers(OK), tls=ours) as server, transport(ssl_context=theirs) as made:
        for _ in range(100):
            assert await fetched(made, server.get()) == b"ok"
        assert server.connections == 1


async def test_transport_t2_two_hundred_streams_at_once_wait_for_nobody() -> None:
    together = asyncio.Barrier(200)

    async def script(wire: Wire) -> None:
        await wire.request()
        await together.wait()  # opens only when all of them are here
        await wire.send(OK)

    async with wire_server(script) as server, transport() as made:
        assert await asyncio.gather(*(fetched(made, server.get()) for _ in range(200))) == [b"ok"] * 200


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
async def test_transport_t14_a_connection_that_cannot_be_trusted_is_not_used_again(answer: bytes) -> None:
    async with wire_server(answers(answer)) as server, transport() as made:
        for _ in range(2):
            assert await fetched(made, server.get()) == b"ok"
        assert server.connections == 2


async def test_transport_t14_bytes_that_come_later_close_an_idle_connection() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK)
        await late.wait()
        await wire.send(OK)  # an answer to no question: it must not become the answer to the next one
        await wire.hung_up()

    late = asyncio.Event()
    async with wire_server(script) as server, transport() as made:
        await fetched(made, server.get())
        late.set()
        await until(lambda: not server.wires)


async def test_transport_t14_bytes_that_wait_unseen_close_an_idle_connection() -> None:
    """The loop has had no time to look at the connection since they came."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK)
        await wire.hung_up()

    async with wire_server(script) as server, transport() as made:
        assert await fetched(made, server.get()) == b"ok"
        server.wires[0].writer.write(OK.replace(b"ok", b"no"))  # sent at once, before the loop turns again
        assert await fetched(made, server.get()) == b"ok"
        assert server.connections == 2


@pytest.mark.parametrize("how", [Wire.cut, Wire.reset])
async def test_a_provider_that_closes_idle_connections_is_noticed_at_once(how: Ending) -> None:
    async with wire_server(answers(OK, then=how)) as server, transport() as made:
        for _ in range(3):
            assert await fetched(made, server.get()) == b"ok"
            await until(lambda: not server.wires)
        assert server.connections == 3


@pytest.mark.parametrize("how", [Wire.cut, Wire.reset])
async def test_transport_t11_a_kept_connection_closed_under_us_is_replaced_once(how: Ending) -> None:
    async def script(wire: Wire) -> None:
        seen.append((await wire.request()).body)
        if wire.number == 2:
            how(wire)  # a fresh one that fails as well is the end of it
            return
        await wire.send(OK)
        seen.append((await wire.request()).body)
        how(wire)

    seen: list[bytes] = []
    async with wire_server(script) as server, transport() as made:
        assert await fetched(made, server.post(b"one")) == b"ok"
        with pytest.raises(EngineUnreachable, match="without an answer"):
            await fetched(made, server.post(b"two"))
        assert seen == [b"one", b"two", b"two"]
        assert server.connections == 2


async def test_transport_t11_the_replacement_s_answer_is_the_answer() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK)
        await wire.request()
        if wire.number == 1:
            wire.cut()
        else:
            await wire.send(OK)

    async with wire_server(script) as server, transport() as made:
        assert [await fetched(made, server.post(b"x")) for _ in range(3)] == [b"ok"] * 3
        assert server.connections == 2


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (False, b""),
        (False, b"HTTP/1.1 20"),
        (False, b"HTTP/1.1 100 Continue\r\n\r\n"),
        (True, b"HTTP/1.1 20"),
        (True, b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("how", [Wire.cut, Wire.reset])
async def test_transport_t11_after_a_byte_or_on_a_fresh_connection_nothing_is_repeated(
    how: Ending, kept: bool, said: bytes
) -> None:
    requests = 0

    async def script(wire: Wire) -> None:
        nonlocal requests
        if kept:
            await wire.request()
            await wire.send(OK)
        await wire.request()
        requests += 1
        await wire.send(said)
        how(wire)

    async with wire_server(script) as server, transport() as made:
        if kept:
            await fetched(made, server.get())
        with pytest.raises(EngineUnreachable, match=r"127\.0\.0\.1 (closed|broke) the connection"):
            await fetched(made, server.get())
        assert requests == 1


async def test_transport_t26_a_connection_that_was_paused_listens_again() -> None:
    big = b"x" * (4 * READ_AHEAD)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(big), big)
    async with wire_server(answers(answer)) as server, transport() as made:
        for _ in range(80):
            async with await made.send(server.get()) as reply:
                first = await anext(aiter(reply))
                await asyncio.sleep(0)
                assert len(first) + len(await reply.read()) == len(big)
        assert server.connections == 1
        await until(lambda: server.wires)
        server.wires[0].cut()
        await until(lambda: not server.wires)  # noticed: it does listen
        assert len(await fetched(made, server.get())) == len(big)
        assert server.connections == 2


# --- the pool


async def test_o9_the_pool_s_bound_never_touches_a_connection_in_use() -> None:
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
        await wire.hung_up()

    all_here, go = asyncio.Event(), asyncio.Event()
    async with wire_server(script) as server, transport(max_idle=50) as made:
        live = [asyncio.create_task(fetched(made, server.get("/live"))) for _ in range(200)]
        assert await asyncio.gather(*(fetched(made, server.get("/brief")) for _ in range(100))) == [b"ok"] * 100
        assert server.connections == 300
        await until(lambda: len(server.wires) == 250)  # the live ones, and as many idle ones as the pool may keep
        assert not any(stream.done() for stream in live)
        go.set()
        assert await asyncio.gather(*live) == [b"onetwo"] * 200
        await until(lambda: len(server.wires) == 50)


async def test_the_last_connection_used_is_the_first_used_again() -> None:
    async def script(wire: Wire) -> None:
        while True:
            if (await wire.request()).target == "/together":
                await together.wait()
            await wire.send(CHUNKED + chunk(b"%d" % wire.number) + LAST_CHUNK)

    together = asyncio.Barrier(2)
    async with wire_server(script) as server, transport() as made:
        a, b = (asyncio.create_task(fetched(made, server.get("/together"))) for _ in range(2))
        done, _ = await asyncio.wait({a, b})
        assert {task.result() for task in done} == {b"1", b"2"}
        assert len({await fetched(made, server.get()) for _ in range(5)}) == 1


async def test_idle_connections_are_closed_in_time() -> None:
    async with wire_server(answers(OK)) as server, transport(keep_alive=0.1) as made:
        await fetched(made, server.get())
        await until(lambda: not server.wires)


# --- answers that break


@pytest.mark.parametrize("framing", ["chunks", "length", "close"])
@pytest.mark.parametrize("how", [Wire.cut, Wire.reset])
async def test_transport_t4_a_cut_ends_the_answer_at_once_after_all_that_was_received(
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
    async with wire_server(script) as server, transport() as made, asyncio.timeout(2):
        if framing == "close" and how is Wire.cut:
            await consume()  # the one place where closing is the end
        else:
            with pytest.raises(Truncated, match=r"^127\.0\.0\.1 (closed|broke) the connection in the middle"):
                await consume()
        assert received == b"one twoth"


async def test_transport_t4_a_reset_that_comes_with_the_last_bytes_is_noticed_too() -> None:
    """In a thread, for which the loop is held up: both have come when it looks."""
    asked, go, gone = threading.Event(), threading.Event(), threading.Event()

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            asked.set()
            assert go.wait(5)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\none two")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.set()

    async def ask() -> None:
        async with await made.send(HttpRequest(method="GET", url=url, headers={})) as reply:
            await reply.read()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        async with transport() as made, asyncio.timeout(5), asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(answer))
            asking = asyncio.ensure_future(ask())
            await asyncio.to_thread(asked.wait, 5)
            go.set()
            assert gone.wait(5)
            with pytest.raises((Truncated, EngineUnreachable)):
                await asking


@pytest.mark.parametrize("how", [Wire.cut, Wire.reset])
@pytest.mark.parametrize("size", [10, 3 * READ_AHEAD], ids=["small", "more than is read ahead"])
async def test_transport_t4_what_was_received_is_delivered_however_late_it_is_read(how: Ending, size: int) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED + chunk(b"x" * size))
        await wire.send(b"5\r\n")
        if size < READ_AHEAD:
            how(wire)
            over.set()
        else:
            await asyncio.sleep(0.05)  # what lies in our own sending buffer would be lost by a reset
            how(wire)

    over = asyncio.Event()
    received = 0
    async with wire_server(script) as server, transport() as made:
        async with await made.send(server.get()) as reply:
            if size < READ_AHEAD:
                await over.wait()
            with pytest.raises(Truncated):
                async for piece in reply:
                    received += len(piece)
            with pytest.raises(Truncated):
                await anext(aiter(reply))  # and it stays an error
    assert received == size


@pytest.mark.parametrize("fault", [b"zz\r\n", b"2\r\nokay", b"2\nok"])
async def test_transport_t13_a_fault_ends_the_answer_after_what_was_sound(fault: bytes) -> None:
    received = []
    async with wire_server(answers(CHUNKED + chunk(b"sound") + fault)) as server, transport() as made:
        async with await made.send(server.get()) as reply:
            with pytest.raises(Malformed):
                async for piece in reply:
                    received.append(piece)
            await until(lambda: not server.wires)  # hung up on
    assert b"".join(received).startswith(b"sound")


async def test_transport_t13_a_head_that_cannot_be_trusted_is_refused() -> None:
    async with wire_server(answers(b"SSH-2.0-OpenSSH_9.2\r\n")) as server, transport() as made:
        with pytest.raises(Malformed):
            await made.send(server.get())
        await until(lambda: not server.wires)


@pytest.mark.parametrize(
    "headers",
    [{"key": "a\r\nevil: 1"}, {"key": "a\nb"}, {"key": "a\0b"}, {"key": "€"}, {"a b": "c"}, {"a\r\nb": "c"}, {"": "c"}],
    ids=repr,
)
async def test_transport_t13_our_own_headers_cannot_break_out_of_their_line(headers: dict[str, str]) -> None:
    async with wire_server(answers(OK)) as server, transport() as made:
        with pytest.raises(InvalidRequest, match="holds a character") as told:
            await made.send(HttpRequest(method="GET", url=server.url, headers=headers))
        assert "evil" not in str(told.value)
        assert not server.connections


@pytest.mark.parametrize(
    "url",
    ["ftp://a/", "http:///x", "http://a:x/", "http://a:99999/", "http://[a/", "//a/", "http://a/b c", "http://a/é"],
)
async def test_transport_t13_only_urls_that_can_be_asked_are_asked(url: str) -> None:
    async with transport() as made:
        for variant in (url, f"{url}?key=secret", f"{url}\r\nsecret"):
            with pytest.raises(InvalidRequest) as told:
                await made.send(HttpRequest(method="GET", url=variant, headers={}))
            assert "secret" not in str(told.value)


async def test_a_body_beyond_the_limit_is_refused() -> None:
    async with wire_server(answers(CHUNKED + chunk(b"12345") * 3)) as server, transport() as made:
        async with await made.send(server.get()) as reply:
            with pytest.raises(Malformed, match="larger than 12 bytes"):
                await reply.read(12)
            await until(lambda: not server.wires)


async def test_answers_without_a_body_keep_the_connection() -> None:
    async def script(wire: Wire) -> None:
        while True:
            request = await wire.request()
            status = b"200 OK" if request.method == "HEAD" else request.target[1:].encode() + b" Whatever"
            await wire.send(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\nContent-Encoding: br\r\n\r\n")

    async with wire_server(script) as server, transport() as made:
        for request in (HttpRequest(method="HEAD", url=server.url, headers={}), server.get("/204"), server.get("/304")):
            assert await fetched(made, request) == b""
        assert server.connections == 1


# --- compression that nobody asked for


async def test_compressed_answers_are_read_as_they_come() -> None:
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

    async with wire_server(script) as server, transport() as made:
        assert await fetched(made, server.get("/gzip")) == b"all at once"
        assert await fetched(made, server.get("/identity")) == packer
        async with await made.send(server.get("/br")) as reply:
            assert reply.status == 200  # worth knowing, whatever the body says
            with pytest.raises(Malformed):
                await reply.read()
        with pytest.raises(Malformed):
            await fetched(made, server.get("/deflate"))


async def test_a_small_compressed_answer_cannot_fill_the_memory() -> None:
    packed = gzip.compress(b"\0" * 50_000_000)
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(packed), packed)
    async with wire_server(answers(answer)) as server, transport() as made:
        async with await made.send(server.get()) as reply:
            assert max([len(piece) async for piece in reply]) <= READ_AHEAD
        with pytest.raises(Malformed, match="larger"):
            async with await made.send(server.get()) as reply:
                await reply.read(1_000_000)


# --- silence


async def test_transport_t6_silence_is_an_error_and_a_lively_answer_is_not_cut() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED)
        for _ in range(10):
            await asyncio.sleep(0.05)
            await wire.send(chunk(b"x"))
        hung_up.append(await wire.hung_up())

    hung_up: list[float] = []
    received = b""
    loop = asyncio.get_running_loop()
    async with wire_server(script) as server, transport(idle_timeout=0.2) as made:
        begun = loop.time()
        async with await made.send(server.get()) as reply:
            with pytest.raises(IdleTimeout, match=r"127\.0\.0\.1 stood still for 0\.2 seconds"):
                async for piece in reply:
                    reply.alive()
                    received += piece
            await until(lambda: hung_up)
        assert received == b"x" * 10
        assert 0.65 < loop.time() - begun < 1.5  # ten times 50 ms of life, then 200 ms of silence


async def test_s12_bytes_alone_do_not_restart_the_idle_clock() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED)
        while True:
            await wire.send(chunk(b": ping\n\n"))
            await asyncio.sleep(0.02)

    pings = 0
    async with wire_server(script) as server, transport(idle_timeout=0.3) as made:
        async with asyncio.timeout(3), await made.send(server.get()) as reply:
            with pytest.raises(IdleTimeout):
                async for _ in reply:
                    pings += 1
    assert pings > 3


async def test_s12_in_a_whole_body_any_byte_is_a_sign_of_life() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED)
        for _ in range(10):
            await wire.send(chunk(b" "))
            await asyncio.sleep(0.05)
        await wire.send(LAST_CHUNK)

    async with wire_server(script) as server, transport(idle_timeout=0.2) as made:
        assert await fetched(made, server.get()) == b" " * 10


async def test_s12_time_in_which_nobody_waits_is_not_the_provider_s_silence() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED + chunk(b"one"))
        await more.wait()
        await asyncio.sleep(0.1)
        await wire.send(chunk(b"two"))
        await wire.hung_up()

    more = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with wire_server(script) as server, transport(idle_timeout=0.2) as made:
        async with await made.send(server.get()) as reply:
            await asyncio.sleep(0.3)  # before the first piece, and
            assert await anext(aiter(reply)) == b"one"
            await asyncio.sleep(0.3)  # behind it: a slow client of ours
            reply.alive()
            more.set()
            assert await anext(aiter(reply)) == b"two"
            begun = loop.time()
            reply.alive()
            with pytest.raises(IdleTimeout):
                await anext(aiter(reply))
            assert 0.19 < loop.time() - begun < 0.5  # and no time is owed for what went before


async def test_the_first_byte_has_its_own_patience() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")  # neither is an answer
        hung_up.append(await wire.hung_up())

    hung_up: list[float] = []
    async with wire_server(script) as server, transport(first_byte_timeout=0.1) as made:
        with pytest.raises(FirstByteTimeout, match=r"did not begin to answer within 0\.1 seconds"):
            await made.send(server.get())
        await until(lambda: hung_up)


async def test_a_large_request_may_take_its_time_as_long_as_it_moves() -> None:
    body = bytes(20_000_000)

    async def script(wire: Wire) -> None:
        await wire.head()
        for _ in range(5):
            await asyncio.sleep(0.1)
            await wire.reader.readexactly(len(body) // 10)
        await wire.reader.readexactly(len(body) // 2)
        await wire.send(OK)

    async with wire_server(script) as server, transport(first_byte_timeout=0.3) as made:
        assert await fetched(made, server.post(body)) == b"ok"


async def test_a_large_request_that_nobody_takes_ends_in_time() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await given_up.wait()

    given_up = asyncio.Event()
    async with wire_server(script) as server, transport(first_byte_timeout=0.2) as made:
        with pytest.raises(FirstByteTimeout):
            await fetched(made, server.post(bytes(20_000_000)))
        given_up.set()
        await until(lambda: not server.wires)


# --- much at a time


async def test_transport_t3_a_stream_of_more_than_100_mb_passes() -> None:
    piece = chunk(b"x" * 1_000_000)

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED)
        for _ in range(110):
            await wire.send(piece)
        await wire.send(LAST_CHUNK)

    received = 0
    async with wire_server(script) as server, transport() as made:
        async with await made.send(server.get()) as reply:
            async for data in reply:
                received += len(data)
    assert received == 110_000_000


async def test_transport_t9_unread_answers_stop_their_providers_and_nobody_else() -> None:
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
    async with wire_server(script) as server, transport() as made:
        readers = [asyncio.create_task(stalled()) for _ in range(4)]
        await until(lambda: len(stuck_at) == 4)
        assert max(stuck_at) < 20_000_000  # what lies in the sockets' own buffers
        assert await fetched(made, server.get("/quick")) == b"ok"
        release.set()
        assert sorted(await asyncio.gather(*readers)) == [sent + 100_000 for sent in sorted(stuck_at)]
        assert max(pieces) <= 2 * READ_AHEAD


async def test_transport_t18_a_large_upload_goes_out_as_it_is_taken_and_is_forgotten() -> None:
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
    async with wire_server(script) as server, transport() as made:
        async with await made.send(server.post(Body(size))) as reply:
            assert await anext(aiter(reply)) == b"one"
            assert forgotten == [size]  # while the answer is still on its way
            go.set()
            assert await reply.read() == b""
        assert blocked == [True]


async def test_transport_t18_an_answer_before_the_upload_s_end_is_the_answer() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge")
        await wire.hung_up()

    async with wire_server(script) as server, transport() as made:
        async with await made.send(server.post(bytes(32 * 1024 * 1024))) as reply:
            assert (reply.status, await reply.read()) == (413, b"large")
        await until(lambda: not server.wires)  # half a request is out: the connection is of no use


async def test_the_hot_path_leaves_the_poller_and_the_timers_alone() -> None:
    """An answer that is read as it comes costs no call to the poller and no timer for each read."""
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
    async with wire_server(script) as server, transport() as made:
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


async def anext_of(reply: HttpReply, read: asyncio.Semaphore) -> None:
    read.release()
    assert await anext(aiter(reply))


# --- what the provider says


async def test_transport_t10_an_error_has_its_status_body_and_headers() -> None:
    answer = b"HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nX-A: b\r\nX-A: c\r\nContent-Length: 5\r\n\r\nwords"
    async with wire_server(answers(answer)) as server, transport() as made:
        async with await made.send(server.get()) as reply:
            assert (reply.status, reply.headers["retry-after"], reply.headers["x-a"]) == (429, "7", "b,c")
            assert await reply.read() == b"words"


async def test_transport_t12_an_answer_in_single_bytes_is_the_same_answer() -> None:
    answer = b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED + b"5;x=y\r\nd\xc3\xbcr\xc3\r\n1\r\n\xa9\r\n0\r\nX: y\r\n\r\n"
    async with wire_server(answers(*(bytes([byte]) for byte in answer))) as server, transport() as made:
        assert (await fetched(made, server.get())).decode() == "düré"


async def test_what_we_send() -> None:
    async def script(wire: Wire) -> None:
        while True:
            heads.append(await wire.head())
            await wire.reader.readexactly(4 if b"content-length: 4" in heads[-1] else 0)
            await wire.send(OK)

    heads: list[bytes] = []
    own = {"Content-Type": "text/plain", "Host": "evil", "content-length": "7", "Transfer-Encoding": "chunked"}
    async with wire_server(script) as server, transport() as made:
        url = server.url.replace("http://", "http://user:password@") + "?a=b#c"
        await fetched(made, HttpRequest(method="POST", url=url, headers=own, body=b"body"))
        await fetched(made, HttpRequest(method="POST", url=f"{server.url}/x", headers={"User-Agent": "mine"}))
        await fetched(made, server.get("/x", **{"ACCEPT-encoding": "gzip", "x%s%": "%d%"}))
    host, plain = f"host: 127.0.0.1:{server.port}", "accept-encoding: identity"
    post, empty, get = (head.decode().split("\r\n")[:-2] for head in heads)
    agent = f"user-agent: llm-server/{VERSION}"
    assert post == ["POST /?a=b HTTP/1.1", host, "content-length: 4", plain, agent, "Content-Type: text/plain"]
    assert empty == ["POST /x HTTP/1.1", host, "content-length: 0", plain, "User-Agent: mine"]
    assert get == ["GET /x HTTP/1.1", host, agent, "ACCEPT-encoding: gzip", "x%s%: %d%"]


def test_a_request_in_a_log_shows_neither_headers_nor_body() -> None:
    request = HttpRequest(method="POST", url="http://a/", headers={"key": "secret"}, body=b"secret")
    assert "secret" not in repr(request)


async def test_messages_hold_no_query_and_no_header(unused_tcp_port: int) -> None:
    async with transport() as made:
        with pytest.raises(LLMError) as told:
            url = f"http://127.0.0.1:{unused_tcp_port}/path?key=secret"
            await made.send(HttpRequest(method="GET", url=url, headers={"key": "secret"}))
    assert str(told.value) == f"127.0.0.1 port {unused_tcp_port} cannot be reached: connection refused."
