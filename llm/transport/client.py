"""HTTP outwards, behind Tornado's own interface.

No stock client of Tornado will do: ``simple_httpclient`` opens a connection per request, cannot be cancelled and hangs
when a provider resets; ``curl_httpclient`` has neither back-pressure nor cancellation. This one reuses connections,
hangs up at once, lets a slow reader slow the provider, and ends silence with an error that has a name.
"""

from __future__ import annotations

import asyncio
import io
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse

from llm.errors import ConnectTimeout, EngineUnreachable, LLMError
from llm.http import READ_LIMIT, HttpRequest
from llm.transport.connecting import connected
from llm.transport.connection import Connection
from llm.transport.pool import Pool
from llm.transport.proxy import Proxies, Proxy
from llm.transport.reply import Stale, StreamReply

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds; none of them bounds an answer that goes on."""

    connect: float = 10.0  # DNS, TCP, proxy and TLS together
    first_byte: float = 600.0  # from the request's last byte handed over to the answer's headers
    idle: float = 300.0  # without content, while somebody waits for it


class _Place(NamedTuple):
    """Connections to one place are alike."""

    scheme: str
    host: str
    port: int
    proxy: Proxy | None


@dataclass(slots=True)
class _Tls:
    """The context, made once: reading the system's certificates takes 30 ms."""

    context: ssl.SSLContext | None = None

    def get(self) -> ssl.SSLContext:
        if self.context is None:
            self.context = ssl.create_default_context()
        return self.context


class StreamingHTTPClient(AsyncHTTPClient):
    """``open`` streams; ``fetch`` is Tornado's, for whole answers. Redirects are never followed."""

    def initialize(
        self,
        defaults: dict[str, Any] | None = None,
        *,
        patience: Patience = Patience(),
        proxies: Mapping[str, str] | None = None,
        max_idle: int = 64,
        keep_alive: float = 50.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        super().initialize(defaults)
        self.patience = patience
        self._proxies = Proxies(proxies or {})
        self._pool = Pool(max_idle, keep_alive)
        self._tls = _Tls(ssl_context)

    def close(self) -> None:
        self._pool.close()
        super().close()

    async def open(self, request: HttpRequest) -> StreamReply:
        """Returns when the answer's headers are in.

        Raises ``ConnectTimeout``, ``FirstByteTimeout``, ``EngineUnreachable``, ``Malformed``. Cancelled, it closes the
        socket at once, in whatever phase it is.
        """
        place, target, host = self._place(request.url)
        head = _head(request, target, host, place.proxy if place.scheme == "http" else None)
        connection = self._pool.take(place)
        if connection is not None:
            try:
                return await self._begun(connection, request, head)
            except Stale:
                pass  # closed under us while it was idle: the provider has not seen the request
        try:
            return await self._begun(await self._connection(place), request, head)
        except Stale:
            raise EngineUnreachable(f"{place.host} closed the connection without an answer.") from None

    async def _begun(self, connection: Connection, request: HttpRequest, head: bytes) -> StreamReply:
        reply = StreamReply(connection, request.method, self.patience.idle)
        await reply.begin(head, request.body or b"", self.patience.first_byte)
        return reply

    async def _connection(self, place: _Place) -> Connection:
        tls = self._tls.get() if place.scheme == "https" else None
        try:
            async with asyncio.timeout(self.patience.connect):
                sock = await connected(place.host, place.port, tls, place.proxy)
        except TimeoutError:
            message = f"{place.host} could not be reached within {self.patience.connect:g} seconds."
            raise ConnectTimeout(message) from None
        connection = Connection(sock, self._pool)
        self._pool.adopt(connection, place)
        return connection

    def _place(self, url: str) -> tuple[_Place, str, str]:
        """Where a URL leads, its request target, and the ``Host`` header."""
        parts = urlsplit(url)
        try:
            host, port = parts.hostname, parts.port or _PORTS[parts.scheme]
        except (KeyError, ValueError):
            host, port = None, 0
        if not host or _CONTROL.search(url) or " " in url or not url.isascii():
            raise EngineUnreachable("The address of the provider is not an http:// or https:// URL.")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        proxy = self._proxies.way_to(parts.scheme, host, port)
        return _Place(parts.scheme, host, port, proxy), target, parts.netloc.rpartition("@")[2]

    def fetch_impl(self, request: HTTPRequest, callback: Callable[[HTTPResponse], None]) -> None:
        task = asyncio.ensure_future(self._fetch(request))
        task.add_done_callback(lambda done: callback(done.result()))

    async def _fetch(self, request: HTTPRequest) -> HTTPResponse:
        outgoing = HttpRequest(
            method=request.method, url=request.url, headers=dict(request.headers.items()), body=request.body
        )
        try:
            async with asyncio.timeout(request.request_timeout or None), await self.open(outgoing) as reply:
                body = await reply.read(READ_LIMIT)
                return HTTPResponse(request, reply.status, headers=reply.headers, buffer=io.BytesIO(body))
        except (LLMError, TimeoutError) as error:
            return HTTPResponse(request, 599, error=error)


def _head(request: HttpRequest, target: str, host: str, proxy: Proxy | None) -> bytes:
    """The request line and the headers. Raises ``ValueError`` for a header that would break out of its line."""
    headers = {"Host": host, "Accept-Encoding": "identity"}
    if request.body is not None or request.method in ("POST", "PUT", "PATCH"):
        headers["Content-Length"] = str(len(request.body or b""))
    if proxy is not None:
        target = f"http://{host}{target}"
        if proxy.authorization:
            headers["Proxy-Authorization"] = proxy.authorization
    lines = [f"{request.method} {target} HTTP/1.1"]
    for name, value in (*headers.items(), *request.headers.items()):
        if not _TOKEN.fullmatch(name) or _CONTROL.search(value):
            raise ValueError(f"the header {name[:40]!r} holds a character that no header has")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
