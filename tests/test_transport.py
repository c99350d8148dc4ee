"""The transport against raw sockets: reuse, hang-up, timeouts, proxies, TLS, and answers that lie."""

from __future__ import annotations

import asyncio
import gzip
import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest

from llm.errors import (
    ConnectTimeout,
    EngineUnreachable,
    FirstByteTimeout,
    IdleTimeout,
    LLMError,
    Malformed,
    Truncated,
)
from llm.http import HttpRequest
from llm.transport import HttpTransport
from llm.transport.client import StreamingHTTPClient
from llm.transport.proxy import Proxies
from llm.transport.reply import READ_AHEAD
from tests.harness import Connection, Request, Script, Upstream, soon

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
HANG_UP = 0.25  # seconds (C1)


@asynccontextmanager
async def transport(**settings: object) -> AsyncIterator[HttpTransport]:
    patient = {"connect_timeout": 5.0, "first_byte_timeout": 5.0, "idle_timeout": 5.0}
    made = HttpTransport(**{**patient, **settings})  # type: ignore[arg-type]
    try:
        yield made
    finally:
        await made.close()


def get(upstream: Upstream, path: str = "/", **headers: str) -> HttpRequest:
    return HttpRequest(method="GET", url=upstream.url + path, headers=headers)


def sends(*pieces: bytes, cut: bool = False) -> Script:
    async def script(request: Request, connection: Connection) -> None:
        for piece in pieces:
            await connection.send(piece)
        if cut:
            connection.writer.close()

    return script


async def fetched(made: HttpTransport, request: HttpRequest) -> bytes:
    async with await made.send(request) as reply:
        return await reply.read()


async def test_transport_t1_a_hundred_requests_use_one_connection() -> None:
    async with Upstream(sends(OK)).running() as upstream, transport() as made:
        for _ in range(100):
            assert await fetched(made, get(upstream)) == b"ok"
        assert upstream.connections == 1


async def test_transport_t2_no_stream_waits_for_another() -> None:
    together = asyncio.Barrier(200)

    async def script(request: Request, connection: Connection) -> None:
        await together.wait()  # passes only when all two hundred are here
        await connection.send(OK)

    async with Upstream(script).running() as upstream, transport() as made:
        async with asyncio.timeout(20):
            assert await asyncio.gather(*(fetched(made, get(upstream)) for _ in range(200))) == [b"ok"] * 200


@pytest.mark.parametrize("ending", ["cut", "reset", "length"])
async def test_transport_t4_a_cut_ends_the_answer_after_all_that_was_received(ending: str) -> None:
    async def script(request: Request, connection: Connection) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" if ending == "length" else CHUNKED
        await connection.send(head + (b"one two" if ending == "length" else b"3\r\none\r\n4\r\n two\r\n"))
        await seen.wait()
        if ending == "reset":
            connection.cut()
        else:
            connection.writer.close()

    seen = asyncio.Event()
    async with Upstream(script).running() as upstream, transport() as made:
        received = b""
        with pytest.raises(Truncated):
            async with await made.send(get(upstream)) as reply:
                async for piece in reply:
                    received += piece
                    if len(received) == 7:
                        seen.set()
        assert received == b"one two"


async def test_transport_t4_what_came_with_the_cut_is_handed_over_first() -> None:
    async with Upstream(sends(CHUNKED + b"3\r\none\r\n", cut=True)).running() as upstream, transport() as made:
        received = []
        async with await made.send(get(upstream)) as reply:
            await asyncio.sleep(0.05)  # both the bytes and the end have come by now, whatever the order of reading
            with pytest.raises(Truncated):
                async for piece in reply:
                    received.append(piece)
        assert received == [b"one"]


async def test_an_answer_that_ends_by_closing_is_whole() -> None:
    async with (
        Upstream(sends(b"HTTP/1.1 200 OK\r\n\r\nall of it", cut=True)).running() as upstream,
        transport() as made,
    ):
        assert await fetched(made, get(upstream)) == b"all of it"


async def test_transport_t6_silence_is_an_error_and_a_lively_answer_is_not_cut() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.send(CHUNKED)
        for _ in range(8):
            await asyncio.sleep(0.1)
            await connection.chunk(b"x")
        await connection.closed()

    async with Upstream(script).running() as upstream, transport(idle_timeout=0.4) as made:
        received = b""
        begun = time.monotonic()
        with pytest.raises(IdleTimeout):
            async with await made.send(get(upstream)) as reply:
                async for piece in reply:
                    reply.alive()
                    received += piece
        assert received == b"x" * 8
        assert time.monotonic() - begun > 0.8


async def test_s12_bytes_alone_do_not_restart_the_idle_clock() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.send(CHUNKED)
        while True:
            await connection.chunk(b": ping\n\n")
            await asyncio.sleep(0.05)

    async with Upstream(script).running() as upstream, transport(idle_timeout=0.3) as made:
        with pytest.raises(IdleTimeout):
            async with asyncio.timeout(5), await made.send(get(upstream)) as reply:
                async for _ in reply:
                    pass


async def test_s12_time_in_which_nobody_waits_is_not_the_provider_s_silence() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.send(CHUNKED)
        await connection.chunk(b"one")
        await more.wait()
        await connection.chunk(b"two")
        await connection.end()

    more = asyncio.Event()
    async with Upstream(script).running() as upstream, transport(idle_timeout=0.2) as made:
        async with await made.send(get(upstream)) as reply:
            assert await anext(aiter(reply)) == b"one"
            reply.alive()
            await asyncio.sleep(0.5)  # a slow client of ours
            asyncio.get_running_loop().call_later(0.1, more.set)
            assert await reply.read() == b"two"


async def test_the_first_byte_has_its_own_patience() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.closed()
        hung_up.set()

    hung_up = asyncio.Event()
    async with Upstream(script).running() as upstream, transport(first_byte_timeout=0.2) as made:
        with pytest.raises(FirstByteTimeout):
            await made.send(get(upstream))
        async with asyncio.timeout(HANG_UP * 4):
            await hung_up.wait()


async def test_reaching_a_provider_has_its_own_patience() -> None:
    """A listener that never speaks TLS: the connection stands, the handshake does not end."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        gone.set()
        writer.close()

    gone = asyncio.Event()
    listener = await asyncio.start_server(script, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with transport(connect_timeout=0.2) as made:
        with pytest.raises(ConnectTimeout):
            await made.send(HttpRequest(method="GET", url=f"https://127.0.0.1:{port}/", headers={}))
        async with asyncio.timeout(5):
            await gone.wait()
    listener.close()


@pytest.mark.parametrize("phase", ["tls", "headers", "streaming"])
async def test_c1_cancelling_closes_the_socket_at_once(phase: str) -> None:
    await soon(HANG_UP, lambda: seconds_to_hang_up(phase))


async def seconds_to_hang_up(phase: str) -> float:
    """Seconds between the cancellation and the provider's seeing it."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if phase == "streaming":
            writer.write(CHUNKED + b"1\r\nx\r\n")
        await reader.read(1)
        reached.set()
        while await reader.read(65536):
            pass
        gone.append(time.monotonic())
        writer.close()

    reached = asyncio.Event()
    gone: list[float] = []
    listener = await asyncio.start_server(script, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    scheme = "https" if phase == "tls" else "http"
    async with transport() as made:
        request = HttpRequest(method="GET", url=f"{scheme}://127.0.0.1:{port}/", headers={})

        async def consume() -> None:
            async with await made.send(request) as reply:
                async for _ in reply:
                    pass

        task = asyncio.create_task(consume())
        async with asyncio.timeout(5):
            await reached.wait()
            await asyncio.sleep(0.05)
            said = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while not gone:
                await asyncio.sleep(0.005)
    listener.close()
    return gone[0] - said


async def test_leaving_before_the_end_hangs_up_and_draining_does_not() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.send(CHUNKED)
        await connection.chunk(b"enough")
        if request.path == "/drained":
            await left.wait()
            await connection.end()
        else:
            await connection.closed()

    left = asyncio.Event()
    async with Upstream(script).running() as upstream, transport() as made:
        async with await made.send(get(upstream, "/drained")) as reply:
            assert await anext(aiter(reply)) == b"enough"
            reply.drain()
        left.set()
        async with asyncio.timeout(5):
            while not len(made._client._pool):  # type: ignore[union-attr]
                await asyncio.sleep(0.005)
        async with await made.send(get(upstream, "/left")) as reply:
            assert await anext(aiter(reply)) == b"enough"
        assert upstream.connections == 1
        async with asyncio.timeout(5):
            while upstream._tasks:
                await asyncio.sleep(0.01)


async def test_transport_t9_an_unread_answer_stops_the_provider() -> None:
    sent = 0
    stuck = asyncio.Event()

    async def script(request: Request, connection: Connection) -> None:
        nonlocal sent
        await connection.send(CHUNKED)
        while True:
            try:
                async with asyncio.timeout(0.5):
                    await connection.chunk(b"x" * 100_000)
            except TimeoutError:
                break
            sent += 100_000
        stuck.set()
        await connection.closed()

    async with Upstream(script).running() as upstream, transport() as made:
        async with await made.send(get(upstream)) as reply:
            await stuck.wait()
            assert sent < 64_000_000
            size = len(await anext(aiter(reply)))
            assert size <= 3 * READ_AHEAD


async def test_transport_t10_an_error_has_its_status_body_and_headers() -> None:
    answer = b"HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nContent-Length: 5\r\n\r\nwords"
    async with Upstream(sends(answer)).running() as upstream, transport() as made:
        async with await made.send(get(upstream)) as reply:
            assert (reply.status, reply.headers["retry-after"], await reply.read()) == (429, "7", b"words")


async def test_transport_t11_a_kept_connection_closed_under_us_is_replaced_once() -> None:
    async def script(request: Request, connection: Connection) -> None:
        if request.path == "/then-close":
            await connection.send(OK)
        elif upstream.connections == 1:
            connection.writer.close()  # without a byte
        else:
            await connection.send(OK)

    async with Upstream(script).running() as upstream, transport() as made:
        assert await fetched(made, get(upstream, "/then-close")) == b"ok"
        assert await fetched(made, get(upstream, "/again")) == b"ok"
        assert [sent.path for sent in upstream.requests] == ["/then-close", "/again", "/again"]


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 20"])
async def test_transport_t11_a_fresh_connection_is_never_replaced(said: bytes) -> None:
    async with Upstream(sends(said, cut=True)).running() as upstream, transport() as made:
        with pytest.raises(EngineUnreachable):
            await made.send(get(upstream))
        assert len(upstream.requests) == 1


async def test_a_provider_that_closes_idle_connections_is_noticed() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.send(OK)
        await asyncio.sleep(0)
        connection.writer.close()

    async with Upstream(script).running() as upstream, transport() as made:
        for _ in range(3):
            assert await fetched(made, get(upstream)) == b"ok"
            await asyncio.sleep(0.05)
        assert len(upstream.requests) == 3


HOSTILE = {
    "length and chunks": CHUNKED[:-2] + b"Content-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "length below zero": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
    "unknown encoding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "no chunk size": CHUNKED + b"\r\nok\r\n0\r\n\r\n",
    "bad chunk size": CHUNKED + b"0x2\r\nok\r\n0\r\n\r\n",
    "chunk without its end": CHUNKED + b"2\r\nokay\r\n0\r\n\r\n",
    "endless head": b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"a" * 70_000,
    "endless chunk extension": CHUNKED + b"2;" + b"a" * 10_000,
    "endless trailers": CHUNKED + b"0\r\n" + b"X-A: b\r\n" * 20_000,
    "many interim answers": b"HTTP/1.1 100 Continue\r\n\r\n" * 11 + OK,
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "HTTP/2": b"HTTP/2 200\r\n\r\n",
}


@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE)
async def test_transport_t13_answers_that_cannot_be_trusted_are_refused(answer: bytes) -> None:
    async with Upstream(sends(answer)).running() as upstream, transport() as made:
        with pytest.raises(Malformed):
            await fetched(made, get(upstream))


@pytest.mark.parametrize("bad", ["a\r\nX-Evil: 1", "a\nb", "a\x00b"])
async def test_transport_t13_our_own_headers_cannot_break_out_of_their_line(bad: str) -> None:
    async with Upstream(sends(OK)).running() as upstream, transport() as made:
        with pytest.raises(ValueError, match="holds a character"):
            await made.send(get(upstream, key=bad))
        with pytest.raises(EngineUnreachable):
            await made.send(get(upstream, f"/{bad}"))
        assert not upstream.requests


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
    ids=["more than an answer", "close", "HTTP/1.0"],
)
async def test_transport_t14_a_connection_that_cannot_be_trusted_is_not_used_again(answer: bytes) -> None:
    async with Upstream(sends(answer)).running() as upstream, transport() as made:
        for _ in range(2):
            assert await fetched(made, get(upstream)) == b"ok"
        assert upstream.connections == 2


async def test_transport_t18_a_large_upload_is_sent_as_it_is_taken() -> None:
    body = bytes(range(256)) * 131_072  # 32 MB

    async def script(request: Request, connection: Connection) -> None:
        await connection.send(OK if request.body == body else b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n")

    async with Upstream(script).running() as upstream, transport() as made:
        request = HttpRequest(method="POST", url=upstream.url, headers={}, body=body)
        assert await fetched(made, request) == b"ok"


async def test_transport_t26_a_connection_that_was_paused_listens_again() -> None:
    big = b"x" * (4 * READ_AHEAD)

    async def script(request: Request, connection: Connection) -> None:
        await connection.whole(big)

    async with Upstream(script).running() as upstream, transport() as made:
        for _ in range(20):
            async with await made.send(get(upstream)) as reply:
                await asyncio.sleep(0.005)
                assert await reply.read() == big
        assert upstream.connections == 1


async def test_o9_the_pool_s_bound_never_touches_a_connection_in_use() -> None:
    async def script(request: Request, connection: Connection) -> None:
        if request.path == "/live":
            await connection.send(CHUNKED)
            await connection.chunk(b"one")
            await go.wait()
            await connection.chunk(b"two")
            await connection.end()
        else:
            await together.wait()
            await connection.send(OK)

    async def live() -> bytes:
        async with await made.send(get(upstream, "/live")) as reply:
            started.release()
            return await reply.read()

    go, together = asyncio.Event(), asyncio.Barrier(100)
    started = asyncio.Semaphore(0)
    async with Upstream(script).running() as upstream, transport(max_idle=10) as made:
        streams = [asyncio.create_task(live()) for _ in range(50)]
        for _ in streams:
            await started.acquire()
        assert await asyncio.gather(*(fetched(made, get(upstream)) for _ in range(100))) == [b"ok"] * 100
        go.set()
        assert await asyncio.gather(*streams) == [b"onetwo"] * 50


async def test_idle_connections_are_closed_in_time() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.send(OK)
        if await connection.reader.read(1) == b"":
            closed.set()

    closed = asyncio.Event()
    async with Upstream(script).running() as upstream, transport(keep_alive=0.2) as made:
        assert await fetched(made, get(upstream)) == b"ok"
        async with asyncio.timeout(5):
            await closed.wait()


async def test_compressed_answers_are_read_although_nobody_asked() -> None:
    packed = gzip.compress(b"some text " * 100)
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n%b"

    async def script(request: Request, connection: Connection) -> None:
        assert request.headers["Accept-Encoding"] == "identity"
        await connection.send(answer % (request.path[1:].encode(), len(packed), packed))

    async with Upstream(script).running() as upstream, transport() as made:
        assert await fetched(made, get(upstream, "/gzip")) == b"some text " * 100
        with pytest.raises(Malformed):
            await fetched(made, get(upstream, "/br"))


async def test_a_body_beyond_the_limit_is_refused() -> None:
    async with Upstream(sends(OK)).running() as upstream, transport() as made:
        with pytest.raises(Malformed, match="larger than 1 bytes"):
            async with await made.send(get(upstream)) as reply:
                await reply.read(1)


async def test_tornado_s_own_interface_works() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.whole(request.body or b"none", 404 if request.path == "/no" else 200)

    client = StreamingHTTPClient(force_instance=True)
    async with Upstream(script).running() as upstream:
        answer = await client.fetch(HTTPRequest(f"{upstream.url}/yes", method="POST", body=b"said"))
        assert (answer.code, answer.body) == (200, b"said")
        with pytest.raises(HTTPClientError, match="404"):
            await client.fetch(f"{upstream.url}/no")
        with pytest.raises(LLMError):
            await client.fetch("http://127.0.0.1:1/")
        client.close()


# --- proxies and TLS ---


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A throw-away certificate for 127.0.0.1, with its key in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    made = folder / "both.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    subprocess.run(
        ["openssl", "req", "-x509", *curve, *subject, "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    made.write_bytes((folder / "key.pem").read_bytes() + (folder / "cert.pem").read_bytes())
    return made


@asynccontextmanager
async def tls_upstream(certificate: Path) -> AsyncIterator[tuple[int, list[int]]]:
    """Speaks TLS, answers every request with a stream of three chunks; counts connections."""
    connections = [0]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections[0] += 1
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(CHUNKED)
                for piece in (b"one ", b"two " * 5000, "drei ü".encode()):
                    writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                    await writer.drain()
                writer.write(b"0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield listener.sockets[0].getsockname()[1], connections
    finally:
        listener.close()


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


async def test_transport_t1_connections_are_reused_under_tls_too(certificate: Path) -> None:
    async with tls_upstream(certificate) as (port, connections), transport(ssl_context=trusting(certificate)) as made:
        for _ in range(20):
            body = await fetched(made, HttpRequest(method="GET", url=f"https://127.0.0.1:{port}/", headers={}))
            assert body == b"one " + b"two " * 5000 + "drei ü".encode()
        assert connections == [1]


async def test_transport_t22_name_and_chain_are_verified(certificate: Path) -> None:
    async with tls_upstream(certificate) as (port, _):
        async with transport() as made:
            with pytest.raises(EngineUnreachable, match=r"certificate of 127[.]0[.]0[.]1 is not valid"):
                await made.send(HttpRequest(method="GET", url=f"https://127.0.0.1:{port}/", headers={}))
        async with transport(ssl_context=trusting(certificate)) as made:
            with pytest.raises(EngineUnreachable, match="certificate of localhost is not valid"):
                await made.send(HttpRequest(method="GET", url=f"https://localhost:{port}/", headers={}))


@asynccontextmanager
async def a_proxy(refuse: bool = False) -> AsyncIterator[tuple[int, list[bytes]]]:
    """CONNECT and absolute-form, as a forward proxy does it; keeps the heads that it saw."""
    heads: list[bytes] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heads.append(head)
        if refuse:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            writer.close()
            return
        target = head.split(b" ")[1].removeprefix(b"http://").split(b"/")[0].decode()
        host, _, port = target.partition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        if head.startswith(b"CONNECT"):
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            far_writer.write(head)
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1], heads
    finally:
        listener.close()


async def test_transport_t22_a_proxy_with_a_password_leads_to_https(certificate: Path) -> None:
    async with tls_upstream(certificate) as (port, _), a_proxy() as (proxy, heads):
        proxies = {"HTTPS_PROXY": f"http://user:pa%20ss@127.0.0.1:{proxy}"}
        async with transport(proxies=proxies, ssl_context=trusting(certificate)) as made:
            body = await fetched(
                made, HttpRequest(method="GET", url=f"https://127.0.0.1:{port}/", headers={"k": "secret"})
            )
    assert body.startswith(b"one ")
    [head] = heads
    assert head.startswith(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n".encode())
    assert b"Proxy-Authorization: Basic dXNlcjpwYSBzcw==\r\n" in head  # user:pa ss
    assert b"secret" not in head


async def test_transport_t22_a_proxy_leads_to_http_and_no_proxy_leads_around_it() -> None:
    async with Upstream(sends(OK)).running() as upstream, a_proxy() as (proxy, heads):
        settings = {"http_proxy": f"http://127.0.0.1:{proxy}"}
        async with transport(proxies=settings) as made:
            assert await fetched(made, get(upstream, "/through")) == b"ok"
        async with transport(proxies={**settings, "NO_PROXY": "127.0.0.0/8"}) as made:
            assert await fetched(made, get(upstream, "/around")) == b"ok"
    assert [head.split(b" ")[1] for head in heads] == [f"{upstream.url}/through".encode()]
    assert upstream.requests[1].path == "/around"


async def test_transport_t22_a_proxy_s_refusal_is_named(certificate: Path) -> None:
    async with a_proxy(refuse=True) as (proxy, _):
        async with transport(proxies={"HTTPS_PROXY": f"http://user:hush@127.0.0.1:{proxy}"}) as made:
            with pytest.raises(
                EngineUnreachable, match=r"proxy 127.0.0.1 refused the way to far.example \(407\)"
            ) as told:
                await made.send(HttpRequest(method="GET", url="https://far.example/", headers={}))
    assert "hush" not in str(told.value)


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "around"),
    [
        ("", "a.example", 443, False),
        ("*", "a.example", 443, True),
        ("example", "a.example", 443, True),
        (".example", "a.example", 443, True),
        ("*.example", "a.example", 443, True),
        ("b.example", "a.example", 443, False),
        ("ample", "a.example", 443, False),
        ("A.Example", "a.example", 443, True),
        ("a.example:443", "a.example", 443, True),
        ("a.example:80", "a.example", 443, False),
        ("x, a.example", "a.example", 443, True),
        ("10.0.0.0/8", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "11.1.2.3", 443, False),
        ("::1", "::1", 443, True),
        ("127.0.0.1", "127.0.0.1", 443, True),
    ],
)
def test_no_proxy_is_read_as_elsewhere(no_proxy: str, host: str, port: int, around: bool) -> None:
    proxies = Proxies({"HTTPS_PROXY": "http://p:1", "NO_PROXY": no_proxy})
    assert (proxies.way_to("https", host, port) is None) == around
    assert proxies.way_to("http", host, port) is None


def test_an_exception_in_a_consumer_is_that_exception_and_hangs_up() -> None:
    async def run() -> None:
        async def script(request: Request, connection: Connection) -> None:
            await connection.send(CHUNKED)
            await connection.chunk(b"x")
            await connection.closed()
            gone.set()

        gone = asyncio.Event()
        async with Upstream(script).running() as upstream, transport() as made:
            with pytest.raises(ZeroDivisionError):
                async with await made.send(get(upstream)) as reply:
                    async for _ in reply:
                        raise ZeroDivisionError
            async with asyncio.timeout(5):
                await gone.wait()

    asyncio.run(run())
