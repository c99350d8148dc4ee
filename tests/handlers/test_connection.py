"""Client connections over real sockets: unusual requests and unusual clients."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.canaries import SearchedSocket
from tests.support.harness import CLIENT_ID, Answer, Client, Connection, Request, Upstream
from tests.support.limits import CHAT, OPENAI, HeldStreams, run_in_front_of, send_raw, wait_until
from tests.support.watcher import Watcher
from tests.support.wires import CLIENTS, WIRES, make_config, run_server

VALID = f"Host: x\r\nX-ClientId: {CLIENT_ID}\r\n".encode()
GET = b"GET /llm/engines HTTP/1.1\r\n" + VALID
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n"
UPLOAD = b"POST /llm/engines HTTP/1.1\r\n" + VALID


def post(path: str, body: dict[str, Any], *headers: str) -> bytes:
    told = json.dumps(body).encode()
    head = "\r\n".join((f"POST {path} HTTP/1.1", *headers, f"Content-Length: {len(told)}\r\n"))
    return head.encode() + VALID + b"\r\n" + told


@asynccontextmanager
async def spoken(server: Client, data: bytes) -> AsyncIterator[tuple[Answer, asyncio.StreamWriter]]:
    """Sends raw bytes on a new connection; returns its writer and a reader of the responses."""
    reader, writer = await send_raw(server, data)
    try:
        async with asyncio.timeout(10):
            yield Answer(reader, writer), writer
    finally:
        writer.close()


async def status_and_body(answer: Answer) -> tuple[int, bytes]:
    await answer.head()
    return answer.status, await answer.body()


async def at_its_end(answer: Answer) -> bool:
    return await answer._reader.read() == b""


# --- one request after the other ---


async def test_a_connection_is_kept_alive_until_one_side_sends_close() -> None:
    async with run_server(make_config()) as server, spoken(server, b"") as (answer, writer):
        for _ in range(3):
            writer.write(GET + b"\r\n")
            assert (await status_and_body(answer))[0] == 200
            assert "Connection" not in answer.headers
        writer.write(GET + b"Connection: close\r\n\r\n")
        assert (await status_and_body(answer))[0] == 200
        assert answer.headers["Connection"] == "close" and await at_its_end(answer)


@pytest.mark.parametrize("lasting", [True, False])
async def test_an_http_1_0_connection_is_kept_alive_only_on_request(lasting: bool) -> None:
    said = GET.replace(b"1.1", b"1.0") + (b"Connection: keep-alive\r\n\r\n" if lasting else b"\r\n")
    async with run_server(make_config()) as server, spoken(server, said) as (answer, writer):
        assert (await status_and_body(answer))[0] == 200
        assert answer.headers["Connection"] == ("keep-alive" if lasting else "close")
        if lasting:
            writer.write(said)
            assert (await status_and_body(answer))[0] == 200
        else:
            assert await at_its_end(answer)


async def test_answers_without_a_body_have_none() -> None:
    async with run_server(make_config()) as server, spoken(server, b"") as (answer, writer):
        for method, status in ((b"HEAD", 200), (b"OPTIONS", 204)):
            writer.write(GET.replace(b"GET", method) + b"\r\n")
            await answer.head()
            assert answer.status == status and "Transfer-Encoding" not in answer.headers
            assert ("Content-Length" in answer.headers) == (method == b"HEAD")
            writer.write(HEALTH + b"\r\n")  # its response is the next one
            assert (await status_and_body(answer))[0] == 200


async def test_requests_in_a_row_are_answered_in_their_order_however_they_are_cut() -> None:
    bodies = [{"engine": "demo", "model": "demo-chat", "prompt": f"Hi {n}", "stream": bool(n % 2)} for n in range(4)]

    async def cut_at(server: Client, cut: int) -> None:
        data = b"".join([post("/llm/chat", body, f"X-Request-Id: request-{cut}-{n}") for n, body in enumerate(bodies)])
        async with spoken(server, data[:cut]) as (answer, writer):
            await asyncio.sleep(0)
            writer.write(data[cut:])
            for n in range(4):
                status, body = await status_and_body(answer)
                assert (status, answer.headers["X-Request-Id"]) == (200, f"request-{cut}-{n}"), cut
                assert body.count(b"\n") > 1 if n % 2 else json.loads(body)["type"] == "text", cut

    async with run_server(make_config()) as server:
        await asyncio.gather(*(cut_at(server, cut) for cut in range(0, 400, 7)))


async def test_a_second_request_waits_for_the_end_of_the_first_answer() -> None:
    held = HeldStreams()
    async with run_in_front_of(held) as server, spoken(server, post("/llm/chat", CHAT) * 2) as (answer, _):
        await held.started.acquire()
        await answer.head()
        assert len(server.server.context.active) == 1 and held.started.locked()
        held.released.set()
        assert b'"done":true' in await answer.body()
        await held.started.acquire()
        assert b'"done":true' in (await status_and_body(answer))[1]


async def test_empty_lines_before_a_request_are_ignored() -> None:
    async with run_server(make_config()) as server, spoken(server, b"\r\n\r\n" + GET + b"\r\n\r\n") as (answer, writer):
        assert (await status_and_body(answer))[0] == 200
        writer.write(b"\r\n" + GET + b"\r\n")
        assert (await status_and_body(answer))[0] == 200


async def test_an_unstreamed_answer_is_sent_in_one_write() -> None:
    sends: list[int] = []

    class Counting(SearchedSocket):
        def send(self, data: Any, *flags: int) -> int:
            sends.append(len(data))
            return super().send(data, *flags)

    async with run_server(make_config()) as server:
        listener: Any = server.server.listener
        take = listener.add_client
        listener.add_client = lambda client: take(Counting(client))
        assert (await server.get("/llm/engines")).status == 200
    assert len(sends) == 1


# --- bodies ---


@pytest.mark.parametrize("how", [b"Content-Length: 50", b"Transfer-Encoding: chunked"])
async def test_a_body_is_the_same_in_any_pieces(how: bytes) -> None:
    body = b'{"engine": "demo", "prompt": "' + b"x" * 18 + b'"}'
    told = body if b"Length" in how else b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    async with run_server(make_config()) as server, spoken(server, UPLOAD + how + b"\r\n\r\n") as (answer, writer):
        for at in range(0, len(told), 3):
            writer.write(told[at : at + 3])
            await asyncio.sleep(0)
        assert (await status_and_body(answer))[0] == 200


EXPECT = b"Expect: 100-continue\r\n"


async def test_expect_100_continue_is_answered() -> None:
    said = UPLOAD + EXPECT + b"Content-Length: 2\r\n\r\n"
    async with run_server(make_config()) as server, spoken(server, said) as (answer, writer):
        await answer.head()
        assert answer.status == 100
        writer.write(b"{}")
        assert (await status_and_body(answer))[0] == 200
        writer.write(said + b"{}")  # without waiting for 100 Continue, which is then not sent
        assert (await status_and_body(answer))[0] == 200


async def test_expect_100_continue_of_a_too_large_body_is_refused() -> None:
    async with run_server(make_config()) as server:
        async with spoken(server, UPLOAD + EXPECT + b"Content-Length: 1000000000\r\n\r\n") as (answer, _):
            assert (await status_and_body(answer))[0] == 413
            assert answer.headers["Connection"] == "close" and await at_its_end(answer)


@pytest.mark.parametrize("sent", [0, 10_000, 3_000_000])
async def test_a_client_that_keeps_sending_after_a_refusal_can_read_it(sent: int) -> None:
    """The refusal is not lost by a reset: a client may read it only after it has sent everything."""
    async with run_server(make_config()) as server:
        async with spoken(server, UPLOAD + b"Content-Length: 1000000000\r\n\r\n" + b"x" * sent) as (answer, writer):
            status, body = await status_and_body(answer)
            assert (status, json.loads(body)["code"]) == (413, "too_large")
            assert await at_its_end(answer)
            writer.write(b"x" * 1000)
            await writer.drain()
        await wait_until(lambda: not server.server.listener.connections)


async def test_a_client_that_stays_after_its_last_answer_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.server.connection._LINGER", 0.1)
    async with run_server(make_config(HEADER_TIMEOUT="0.8")) as server:
        async with spoken(server, GET + b"Connection: close\r\n\r\n") as (answer, _):
            assert (await status_and_body(answer))[0] == 200
            await wait_until(lambda: not server.server.listener.connections)


async def test_x2_a_request_that_cannot_be_parsed_gets_a_json_error() -> None:
    refused = {
        b"SSH-2.0-OpenSSH_9.2\r\n": "HTTP/1.1",
        b"GET / HTTP/1.1\r\n\r\n": "Host",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n": "Host",
        b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n": "headers",
        UPLOAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n": "Transfer-Encoding",
        UPLOAD + b"Transfer-Encoding: chunked\r\n\r\nx\r\n": "chunk",
    }
    async with run_server(make_config()) as server:
        for data, word in refused.items():
            async with spoken(server, data + GET) as (answer, _):
                status, body = await status_and_body(answer)
                assert (status, answer.headers["Connection"]) == (400, "close"), data
                assert json.loads(body)["code"] == "bad_request" and word in json.loads(body)["error"]
                assert await at_its_end(answer)


async def test_x2_a_body_that_cannot_be_parsed_after_the_handler_started_gets_a_json_error() -> None:
    said = UPLOAD.replace(VALID, b"Host: x\r\n") + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    async with run_server(make_config()) as server, spoken(server, said) as (answer, writer):
        kept = server.server.context.body_budget
        before = len(asyncio.all_tasks())
        await wait_until(lambda: kept.reserved == 3)
        writer.write(b"3\r\nabcd\r\n" + GET + b"\r\n")
        assert (await status_and_body(answer))[0] == 400
        assert await at_its_end(answer)
        await wait_until(lambda: kept.reserved == 0 and len(asyncio.all_tasks()) <= before)


# --- clients that leave ---


async def left(stray: bytes, half: bool, at_once: bool) -> None:
    """Disconnects the client after or with some bytes; the provider notices it long before any timeout."""
    watcher = Watcher(WIRES["openai"], "waiting")
    async with Upstream(watcher).run() as upstream, run_server(make_config(**watcher.wire.environ(upstream))) as server:
        async with spoken(server, post("/llm/chat", CHAT)) as (_, writer):
            await watcher.reached.wait()
            writer.write(stray)
            if not at_once:
                await asyncio.sleep(0.02)
            if half:
                writer.write_eof()
            else:
                writer.transport.abort()
            await asyncio.wait_for(watcher.hung_up.wait(), 5)
            await wait_until(lambda: not len(server.server.context.active))


@pytest.mark.parametrize("half", [True, False], ids=["half closed", "reset"])
@pytest.mark.parametrize(
    "stray", [b"", b"\r\n", b"\r\n" * 500, GET], ids=["nothing", "a line", "lines", "half a request"]
)
async def test_transport_t8_a_client_that_leaves_is_noticed_whatever_it_has_sent(stray: bytes, half: bool) -> None:
    for at_once in (True, False):
        await left(stray, half, at_once)


async def test_transport_t8_behind_many_bytes_it_is_noticed_at_the_next_keepalive() -> None:
    watcher = Watcher(WIRES["openai"], "streaming")
    async with Upstream(watcher).run() as upstream:
        async with run_server(make_config(**watcher.wire.environ(upstream), KEEPALIVE_INTERVAL="0.2")) as server:
            said = {**CHAT, "tools": False}
            async with spoken(server, post("/llm/chat", said, "Accept: text/event-stream")) as (answer, writer):
                await answer.head()
                writer.write(b"\r\n" * 20_000)
                await asyncio.sleep(0.05)
                writer.transport.abort()
                await watcher.hung_up.wait()


async def test_pipelined_requests_are_read_only_up_to_a_limit() -> None:
    held = HeldStreams()
    async with run_in_front_of(held) as server, spoken(server, post("/llm/chat", CHAT)) as (answer, writer):
        await held.started.acquire()
        writer.transport.set_write_buffer_limits(0)
        writer.write(HEALTH + b"X: y\r\n\r\n")
        writer.write((HEALTH + b"\r\n") * 400_000)  # some 15 MB
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await writer.drain()
        [connection] = server.server.listener.connections
        assert len(connection._pipelined) <= 128 * 1024
        held.released.set()
        await answer.head()
        assert b'"done":true' in await answer.body()
        for _ in range(300):
            assert (await status_and_body(answer))[0] == 200
            assert len(connection._pipelined) <= 128 * 1024
        writer.transport.abort()


async def test_a_slow_client_gets_every_piece_in_order_with_keepalives_between() -> None:
    words = [f"{n} " * 2000 for n in range(1600)]  # 15 MB, more than socket buffers hold

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream()
        await connection.chunk(OPENAI.head)
        for word in words:
            await connection.chunk(OPENAI.delta(word))
        await connection.chunk(OPENAI.end)
        await connection.end()

    async with run_in_front_of(script, KEEPALIVE_INTERVAL="0.1") as server:
        small = socket.create_connection(("127.0.0.1", server.port))
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
        reader, writer = await asyncio.open_connection(sock=small, limit=16 << 10)
        writer.write(post("/llm/chat", {**CHAT, "tools": False}, "Accept: application/x-ndjson"))
        answer = Answer(reader, writer)
        await answer.head()
        await wait_until(lambda: any(connection.unsent for connection in server.server.listener.connections))
        await asyncio.sleep(0.3)
        seen = CLIENTS["native"].read(await answer.body())
        assert seen.text == "".join(words) and seen.ended
        writer.close()


# --- the listener ---


async def test_a_server_out_of_file_descriptors_accepts_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        """A listening socket whose first ``accept`` fails with EMFILE."""

        def __init__(self, sock: socket.socket) -> None:
            self._sock, self.full = sock, True

        def __getattr__(self, name: str) -> Any:
            return getattr(self._sock, name)

        def accept(self) -> Any:
            if self.full:
                self.full = False
                raise OSError(errno.EMFILE, "Too many open files")
            return self._sock.accept()

    monkeypatch.setattr("handlers.server.listener._RETRY_ACCEPT", 0.05)
    async with run_server(make_config()) as server:
        listener = server.server.listener
        [sock] = listener._sockets
        full: Any = Full(sock)
        listener._sockets[:] = [full]
        listener.loop.add_reader(sock.fileno(), listener._accept, full)
        assert (await server.get("/health")).status == 200


async def test_connections_of_clients_have_keep_alive_probes() -> None:
    """Set on the listening socket; the accepted ones inherit them."""
    async with run_server(make_config(CLIENT_TIMEOUT="45")) as server:
        await (await server.get("/health")).body()
        connections = [*server.server.listener.connections]
        assert connections
        for connection in connections:
            assert connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
            assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 45_000
