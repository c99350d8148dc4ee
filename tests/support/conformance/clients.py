"""The HTTP clients that are compared, and the provider that sends them a case."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from typing import Any, Final

from tornado.httpclient import HTTPRequest as TornadoRequest
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from llm.errors import LLMError
from llm.transport.http_client import HttpTransport
from llm.transport.interface import HttpRequest
from tests.support.conformance.case import Outcome
from tests.support.conformance.responses import CLOSE, OPEN, RESET, ResponseCase

PATIENCE: Final = 20.0  # seconds of a client
_TORNADO_PATIENCE: Final = 2.0  # it does not notice every reset
SECOND: Final = b"second"
_LARGE: Final = b"x" * (4 << 20)
_SECOND: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n" + SECOND

Fetch = Callable[[str, str, bytes | None], Awaitable[tuple[int, bytes]]]
"""Sends a request (URL, method, body) and returns the status and the body of the response. Raises an exception."""


def find_aiohttp() -> Any:
    """Returns the package ``aiohttp``; None where it is not installed."""
    try:
        return import_module("aiohttp")
    except ImportError:
        return None


@asynccontextmanager
async def run_ours() -> AsyncIterator[Fetch]:
    """Runs the client of this server."""
    transport = HttpTransport(connect_timeout=PATIENCE, first_byte_timeout=PATIENCE, idle_timeout=PATIENCE)

    async def fetch(url: str, method: str, body: bytes | None) -> tuple[int, bytes]:
        async with await transport.send(HttpRequest(method=method, url=url, headers={}, body=body)) as response:
            return response.status, await response.read()

    try:
        yield fetch
    finally:
        await transport.close()


@asynccontextmanager
async def run_tornado() -> AsyncIterator[Fetch]:
    """Runs Tornado's own client, which keeps no connection."""
    client = SimpleAsyncHTTPClient(force_instance=True)

    async def fetch(url: str, method: str, body: bytes | None) -> tuple[int, bytes]:
        request = TornadoRequest(
            url, method, body=body, follow_redirects=False, request_timeout=_TORNADO_PATIENCE, decompress_response=True
        )
        response = await client.fetch(request, raise_error=False)
        if response.code == 599:
            raise ConnectionError
        return response.code, response.body

    try:
        yield fetch
    finally:
        client.close()


@asynccontextmanager
async def run_aiohttp() -> AsyncIterator[Fetch]:
    """Runs the client of ``aiohttp``."""
    aiohttp = find_aiohttp()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE)) as session:

        async def fetch(url: str, method: str, body: bytes | None) -> tuple[int, bytes]:
            async with session.request(method, url, data=body, allow_redirects=False) as response:
                return response.status, await response.read()

        yield fetch


class Provider:
    """Sends a case as the answer to the first request, and a plain answer to every other one."""

    def __init__(self, case: ResponseCase) -> None:
        self._case = case
        self.connections: list[int] = []  # of each request, the number of its connection
        self.was_read = asyncio.Event()  # the client has read the first answer
        self.sent_later = asyncio.Event()
        self._count = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers the requests of one connection."""
        number = self._count
        self._count += 1
        try:
            while True:
                first = not self.connections
                await self._read(reader, early=first and self._case.early)
                self.connections.append(number)
                if not first:
                    writer.write(_SECOND)
                elif not await self._answer(reader, writer):
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.sent_later.set()
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, early: bool) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if length and not early:
            await reader.readexactly(int(length[0].partition(b":")[2]))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Sends the case; returns whether the connection goes on."""
        case = self._case
        writer.write(case.answer)
        await writer.drain()
        if case.later:
            await self.was_read.wait()
            writer.write(case.later)
            await writer.drain()
            self.sent_later.set()
        if case.then == RESET:
            sock: socket.socket = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        elif case.then == CLOSE:
            writer.write_eof()
            if case.early:
                while await reader.read(1 << 16):
                    pass
        return case.then == OPEN


async def play(case: ResponseCase, fetch: Fetch) -> Outcome:
    """Sends a request that is answered by the case, and another one; returns what the client makes of both."""
    provider = Provider(case)
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    body = None if case.method in ("GET", "HEAD") else _LARGE if case.early else b"hello"
    try:
        first = await _fetch(fetch, url, case.method, body)
        provider.was_read.set()
        if case.later:
            await provider.sent_later.wait()
            for _ in range(10):  # turns of the event loop in which a client notices it
                await asyncio.sleep(0)
        second = await _fetch(fetch, url, "GET", None)
    finally:
        server.close()
    if second != (200, SECOND):
        return Outcome((), "crossed")
    if first is None:
        return Outcome((), "error")
    kept = provider.connections.count(provider.connections[0]) > 1
    return Outcome((first[0],), "kept" if kept else "closed", (first[1],))


async def _fetch(fetch: Fetch, url: str, method: str, body: bytes | None) -> tuple[int, bytes] | None:
    with suppress(Exception):  # each client has its own errors; ours are checked by ``only_our_errors``
        return await fetch(url, method, body)
    return None


def only_our_errors(fetch: Fetch) -> Fetch:
    """Returns a client whose errors other than ``LLMError`` are answers that are never right."""

    async def checked(url: str, method: str, body: bytes | None) -> tuple[int, bytes]:
        try:
            return await fetch(url, method, body)
        except LLMError:
            raise
        except Exception as error:
            return 999, repr(error).encode()

    return checked
