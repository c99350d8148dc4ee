"""A provider on loopback that sends exactly the test's bytes and records when the connection is closed."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tornado.httputil import HTTPHeaders

from llm.transport.connection import Connection
from llm.transport.http_client import HttpTransport
from llm.transport.interface import HttpRequest
from llm.transport.pool import Pool
from llm.transport.request_head import Origin

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass(frozen=True)
class Received:
    """A received request."""

    method: str
    target: str
    headers: HTTPHeaders
    body: bytes


class Wire:
    """The provider's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number  # of this connection, from 1

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def request(self) -> Received:
        line, _, rest = (await self.head()).decode("latin-1").partition("\r\n")
        method, target, _ = line.split(" ")
        headers = HTTPHeaders.parse(rest)
        return Received(method, target, headers, await self.reader.readexactly(int(headers.get("Content-Length", "0"))))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def wait_closed(self) -> float:
        """Returns the event loop's time when the other side has closed the connection."""
        try:
            while await self.reader.read(1 << 16):
                pass
        except ConnectionError:
            pass
        return asyncio.get_running_loop().time()

    def cut(self) -> None:
        """Closes the connection normally (FIN), at any point of the answer."""
        self.writer.close()

    def reset(self) -> None:
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Wire], Awaitable[None]]


@dataclass
class WireServer:
    port: int = 0
    scheme: str = "http"
    connections: int = 0
    wires: list[Wire] = field(default_factory=list)  # open connections
    received: list[Received] = field(default_factory=list)  # by scripts made with ``answers``

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def get(self, path: str = "/", **headers: str) -> HttpRequest:
        return HttpRequest(method="GET", url=self.url + path, headers=headers)

    def post(self, body: bytes, path: str = "/") -> HttpRequest:
        return HttpRequest(method="POST", url=self.url + path, headers={}, body=body)


def make_answer_script(*pieces: bytes, then: Callable[[Wire], None] | None = None) -> Script:
    """Returns a script that answers every request with the same pieces, one write each; then may cut or reset."""

    async def script(wire: Wire) -> None:
        while True:
            await wire.request()
            for piece in pieces:
                await wire.send(piece)
                await asyncio.sleep(0)
            if then is not None:
                then(wire)
                return

    return script


@asynccontextmanager
async def run_wire_server(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[WireServer]:
    """Runs ``script`` for each connection. An exception in it, except a closed connection, fails the test."""
    server = WireServer(scheme="https" if tls else "http")
    tasks: set[asyncio.Task[None]] = set()
    failures: list[Exception] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        wire = Wire(reader, writer, server.connections)
        server.wires.append(wire)
        try:
            await script(wire)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        except Exception as error:  # an assertion of the test, raised again at its end
            failures.append(error)
        finally:
            server.wires.remove(wire)
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls, limit=1 << 20, backlog=1024)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for _ in range(5):
            await asyncio.sleep(0)  # a connection that was just accepted gets its task
        for task in [*tasks]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # lets the transports close
    if failures:
        raise failures[0]


@asynccontextmanager
async def make_transport(
    *,
    connect_timeout: float = 5.0,
    first_byte_timeout: float = 5.0,
    idle_timeout: float = 5.0,
    proxies: dict[str, str] | None = None,
    max_idle: int = 64,
    keep_alive: float = 50.0,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[HttpTransport]:
    made = HttpTransport(
        connect_timeout=connect_timeout,
        first_byte_timeout=first_byte_timeout,
        idle_timeout=idle_timeout,
        proxies=proxies,
        max_idle=max_idle,
        keep_alive=keep_alive,
        ssl_context=ssl_context,
    )
    try:
        yield made
    finally:
        await made.close()


async def fetch(made: HttpTransport, request: HttpRequest) -> bytes:
    async with asyncio.timeout(20), await made.send(request) as reply:
        return await reply.read()


async def wait_until(condition: Callable[[], object]) -> None:
    """Returns when the condition is true, for states that send no event."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


@functools.cache
def make_tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Returns the TLS contexts of a server with a temporary certificate for 127.0.0.1 and of a client that trusts it."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = Path(folder) / "key.pem", Path(folder) / "certificate.pem"
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
        paths = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
        subprocess.run([*command.split(), *paths], check=True, capture_output=True)
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.load_cert_chain(certificate, key)
        return server, ssl.create_default_context(cafile=certificate)


def close_when_taken(server: WireServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the provider close each idle connection in the moment in which it is taken for the next request."""
    take = Pool.take

    def take_and_close(self: Pool, origin: Origin) -> Connection | None:
        found = take(self, origin)
        if found is not None:
            for wire in server.wires:
                with socket.socket(fileno=os.dup(wire.writer.get_extra_info("socket").fileno())) as copy:
                    copy.shutdown(socket.SHUT_RDWR)
        return found

    monkeypatch.setattr(Pool, "take", take_and_close)
