"""Runs the server between a client that sees every HTTP chunk and a scripted upstream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from tornado.httputil import HTTPHeaders
from tornado.netutil import bind_sockets

from llm.config.settings import Config
from llm.tools.base import Tool
from llm.transport.interface import HttpRequest, HttpResponse, Transport
from server import Server, make_context
from tests.support.canaries import WATCH, parse_json, wrap_connections

CLIENT_ID = "client-id-of-the-tests"
CLIENT = {"X-ClientId": CLIENT_ID}


# --- an upstream on a real socket ---


@dataclass
class Request:
    """A request that the upstream received."""

    method: str
    path: str
    headers: HTTPHeaders
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """The upstream's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        lines = [f"HTTP/1.1 {status} Whatever", *(f"{n}: {v}" for n, v in (headers or {}).items())]
        await self.send("\r\n".join([*lines, "", ""]).encode())

    async def stream(self, content_type: str = "text/event-stream", headers: Mapping[str, str] | None = None) -> None:
        """Sends the headers of a streamed answer."""
        await self.head(200, {"Content-Type": content_type, "Transfer-Encoding": "chunked", **(headers or {})})

    async def chunk(self, data: bytes | str) -> None:
        data = data.encode() if isinstance(data, str) else data
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        await self.send(b"0\r\n\r\n")

    async def respond(
        self,
        body: bytes | str | Mapping[str, Any],
        status: int = 200,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        raw = (
            json.dumps(body).encode() if isinstance(body, Mapping) else body.encode() if isinstance(body, str) else body
        )
        await self.head(status, {"Content-Type": content_type, "Content-Length": str(len(raw)), **(headers or {})})
        await self.send(raw)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def wait_closed(self) -> None:
        """Returns when the server has closed the connection, also by a reset (if it left bytes unread)."""
        with suppress(ConnectionError):
            while await self.reader.read(65536):
                pass

    def cut(self) -> None:
        """Closes the connection without the end of the answer."""
        self.writer.transport.abort()


Script = Callable[[Request, Connection], Awaitable[None]]


class Upstream:
    """A provider on loopback; ``script`` answers each request. Errors in it fail the test at its end."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.connections = 0
        self.errors: list[BaseException] = []
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while (request := await self._read(reader)) is not None:
                self.requests.append(request)
                await self.script(request, Connection(reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        except Exception as error:
            self.errors.append(error)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Request | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        line, _, rest = head.decode("latin-1").partition("\r\n")
        method, path, _ = line.split(" ")
        WATCH.search("an address that was asked", path)
        headers = HTTPHeaders.parse(rest)
        body = await reader.readexactly(int(headers.get("Content-Length", 0)))
        return Request(method, path, headers, body)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[Upstream]:
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 26)
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listener.close()
            for task in [*self._tasks]:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.errors:
            raise self.errors[0]


# --- an upstream without a socket, for what is about bytes only ---


class ScriptedReply:
    """An ``HttpResponse`` with given pieces."""

    def __init__(self, status: int, headers: Mapping[str, str], pieces: Iterable[bytes]) -> None:
        self.status = status
        self.on_data: Callable[[bytes], bool | None] | None = None
        self.headers: Mapping[str, str] = HTTPHeaders(headers)
        self._pieces = self._each(pieces)

    async def _each(self, pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces

    async def read(self, limit: int = 0) -> bytes:
        return b"".join([piece async for piece in self._pieces])

    def reset_idle_timer(self) -> None: ...

    def allow_drain(self) -> None: ...

    async def __aenter__(self) -> ScriptedReply:
        return self

    async def __aexit__(self, *_: object) -> None: ...


@dataclass
class ScriptedTransport:
    """A transport that answers every request with the result of ``answer``."""

    answer: Callable[[HttpRequest], ScriptedReply]
    requests: list[HttpRequest] = field(default_factory=list)

    async def send(self, request: HttpRequest) -> HttpResponse:
        WATCH.search("an address that was asked", request.url)
        self.requests.append(request)
        return self.answer(request)

    async def close(self) -> None: ...


# --- the server under test ---


def make_config(**environ: str) -> Config:
    """Returns a configuration with the tests' client id. Own keys open the engines of the tests, which are private."""
    return Config.from_env({"AUTHORIZED_CLIENT_ID": CLIENT_ID, "OWN_KEYS": "true", **environ})


@asynccontextmanager
async def run_server(
    configured: Config, tools: Mapping[str, Tool] | None = None, **transports: Transport
) -> AsyncIterator[Client]:
    """Runs the real server, with these tools, on a free port; yields a client for it.

    Unless the test has chosen a folder, its data are in one of its own.
    """
    with ExitStack() as stack:
        if configured.data_dir == "data":
            configured = replace(configured, data_dir=stack.enter_context(TemporaryDirectory()))
        async with _run_server(configured, tools, **transports) as client:
            yield client


@asynccontextmanager
async def _run_server(
    configured: Config, tools: Mapping[str, Tool] | None, **transports: Transport
) -> AsyncIterator[Client]:
    WATCH.register(configured.secrets)
    server = Server(make_context(configured, None, tools or {}, **transports))
    wrap_connections(server.listener)
    sockets = bind_sockets(0, "127.0.0.1")
    server.start(sockets)
    client = Client(sockets[0].getsockname()[1], server)
    try:
        yield client
    finally:
        for answer in client.open:
            answer.close()
        server.context.active.draining = True
        await asyncio.wait_for(server.stop(), 20)
        WATCH.search_files(Path(configured.data_dir))


OpenConnection: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Answer:
    """Reads an HTTP response piece by piece."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.status = 0
        self.headers = HTTPHeaders()

    async def head(self) -> None:
        raw = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, _, rest = raw.partition("\r\n")
        self.status = int(line.split(" ")[1])
        self.headers = HTTPHeaders.parse(rest)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yields the HTTP chunks one by one. Raises ``IncompleteReadError`` if the response is cut."""
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            data = await self._reader.readexactly(size + 2)
            yield data[:-2]
        await self._reader.readexactly(2)

    async def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            return b"".join([chunk async for chunk in self.chunks()])
        if "Content-Length" in self.headers:
            return await self._reader.readexactly(int(self.headers["Content-Length"]))
        return b"" if self.status in (204, 304) else await self._reader.read()

    async def json(self) -> Any:
        return json.loads(await self.body())

    async def objects(self) -> list[Any]:
        """Returns the objects of a native stream in one of its line framings."""
        return [json.loads(line) for line in (await self.body()).splitlines() if line]

    @property
    def connection(self) -> OpenConnection:
        return self._reader, self._writer

    def close(self) -> None:
        """Closes the connection at once."""
        self._writer.transport.abort()


class Client:
    """Sends HTTP/1.1 requests to the server under test, each on its own connection unless one is reused."""

    def __init__(self, port: int, server: Server, keeps: bool = False) -> None:
        self.port = port
        self.server = server
        self.reuses_connection = keeps
        self.open: list[Answer] = []

    @contextmanager
    def reuse_connection(self) -> Iterator[Client]:
        """Yields a client that uses one connection for all requests. Each response has to be read before the next request."""
        client = Client(self.port, self.server, keeps=True)
        try:
            yield client
        finally:
            for answer in client.open:
                answer.close()

    def _again(self) -> OpenConnection | None:
        """Returns the connection of the last response if it can be reused."""
        if not self.reuses_connection or not self.open:
            return None
        last = self.open.pop()
        if last.headers.get("Connection") != "close":
            return last.connection
        last.close()
        return None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        version: str = "1.1",
        limit: int = 1 << 26,
        connection: OpenConnection | None = None,
    ) -> Answer:
        """Sends a request without waiting for the response, of which at most twice ``limit`` bytes are read ahead.

        ``connection``: an open connection to use; by default a new one is opened.
        """
        connection = connection or self._again() or await asyncio.open_connection("127.0.0.1", self.port, limit=limit)
        reader, writer = connection
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/{version}", f"Host: 127.0.0.1:{self.port}", f"Content-Length: {len(raw)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        WATCH.register_own_keys((headers or {}).items(), parse_json(body))
        writer.write("\r\n".join([*lines, "", ""]).encode() + raw)
        await writer.drain()
        answer = Answer(reader, writer)
        self.open.append(answer)
        return answer

    async def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = CLIENT, version: str = "1.1"
    ) -> Answer:
        answer = await self.send(method, path, body, headers, version)
        await answer.head()
        return answer

    async def get(self, path: str, headers: Mapping[str, str] | None = CLIENT) -> Answer:
        return await self.request("GET", path, None, headers)

    async def post(self, path: str, body: Any, headers: Mapping[str, str] | None = CLIENT) -> Answer:
        return await self.request("POST", path, body, headers)

    async def chat(self, headers: Mapping[str, str] | None = None, **body: Any) -> list[Any]:
        """Sends a native streamed chat and returns its objects."""
        answer = await self.post("/llm/chat", {"prompt": "Hello", **body}, {**CLIENT, **(headers or {})})
        assert answer.status == 200, await answer.body()
        return await answer.objects()


def join_text(objects: list[Any]) -> str:
    return "".join(o["text"] for o in objects if o["type"] == "content")
