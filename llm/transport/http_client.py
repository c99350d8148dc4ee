"""An HTTP client over Tornado's interface: keep-alive, streaming, back-pressure, cancellation."""

from __future__ import annotations

import asyncio
import io
import ssl
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse
from tornado.httputil import HTTPHeaders
from tornado.netutil import Resolver

from llm.errors import Draining, EngineUnreachable
from llm.transport.connection import Connection
from llm.transport.connector import Allowed, Connecting
from llm.transport.interface import READ_LIMIT, HttpReply, HttpRequest
from llm.transport.pool import Pool
from llm.transport.proxy import Proxies
from llm.transport.request_head import Place, head_of, way_to
from llm.transport.response import Reply, Stale

if TYPE_CHECKING:
    from tornado.concurrent import Future
# Tornado's options that ``fetch`` cannot honour: better refused than passed over. ``validate_cert`` is looked at too.
_UNKNOWN: Final = (
    "auth_username", "body_producer", "ca_certs", "client_cert", "client_key", "header_callback", "network_interface",
    "prepare_curl_callback", "proxy_host", "ssl_options", "streaming_callback",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds; none of them bounds an answer that goes on."""

    connect: float = 10.0  # DNS, TCP, proxy and TLS together
    first_byte: float = 600.0  # from the last byte of the request that was taken to the answer's headers
    idle: float = 300.0  # without content, while somebody waits for it


class StreamingHTTPClient(AsyncHTTPClient):
    """``open`` streams; ``fetch`` is Tornado's, for whole answers.

    ``proxies`` is what ``Proxies`` reads; ``max_idle`` and ``keep_alive`` (seconds) bound the pool; without an
    ``ssl_context`` the system's certificates count, or those of ``SSL_CERT_FILE``. ``allowed`` is asked about each
    address before a socket is connected to it; a proxy would hide that address, so the two raise ``ValueError``. The
    number of requests at a time has no bound: those of our own clients are.
    """

    def initialize(
        self,
        defaults: dict[str, Any] | None = None,
        *,
        patience: Patience = Patience(),
        proxies: Proxies | None = None,
        max_idle: int = 64,
        keep_alive: float = 50.0,
        ssl_context: ssl.SSLContext | None = None,
        allowed: Allowed | None = None,
    ) -> None:
        if allowed is not None and proxies is not None and proxies.some:
            raise ValueError("behind a proxy nobody can say which address is connected to")
        super().initialize(defaults)
        self.patience = patience
        self.closed = False
        self._allowed = allowed
        self._proxies = proxies or Proxies({})
        self._pool = Pool(max_idle, keep_alive)
        self._resolver = Resolver()
        self._ssl_context = ssl_context
        self._fetching: set[asyncio.Task[HTTPResponse]] = set()
        self._newest: asyncio.Task[HTTPResponse]

    def close(self) -> None:
        """Closes every connection. Whoever waits for one gets ``Truncated`` or ``EngineUnreachable``."""
        super().close()
        self.closed = True
        self._pool.close()
        self._resolver.close()

    def open(self, request: HttpRequest, patience: Patience | None = None) -> Coroutine[Any, Any, Reply]:
        """Sends, at once over a kept connection. To be awaited in the same turn: the answer once its headers are in.

        Redirects are not followed. Raises ``InvalidRequest`` for a URL or header that cannot be sent, ``Draining`` once
        the client is closed; awaited, ``ConnectTimeout``, ``FirstByteTimeout``, ``EngineUnreachable``, ``Malformed``.
        Cancelled, it closes the socket at once, in whatever phase it is.
        """
        if self.closed:
            raise Draining("This server is stopping and asks no engine any more.")
        patience = patience or self.patience
        way = way_to(request.url, self._proxies)
        head = head_of(request, way)
        kept = self._pool.take(way.place)
        sent = None if kept is None else _sent(kept, request, head, patience)
        return self._opened(sent, way.place, request, head, patience)

    async def _opened(
        self, sent: Reply | None, place: Place, request: HttpRequest, head: bytes, patience: Patience
    ) -> Reply:
        try:
            if sent is not None:
                try:
                    return await _begun(sent, place, patience)
                except Stale:
                    pass  # closed while it was idle, as it was used: the provider has not seen the request
            sent = _sent(await self._connected(place, patience), request, head, patience)
            return await _begun(sent, place, patience)
        except Stale as closed:
            raise EngineUnreachable(str(closed)) from None

    async def _connected(self, place: Place, patience: Patience) -> Connection:
        tls = self._tls() if place.scheme == "https" else None
        stream = await Connecting(place, self._resolver, tls, self._allowed).stream(patience.connect)
        if stream.closed() or self.closed:  # either can have happened before this task had its turn
            stream.close()
            raise EngineUnreachable(f"The connection to {place.host} was closed before it was used.")
        stream.io_loop.remove_handler(stream.socket)  # it has done its part: its socket lives on without it
        connection = Connection(stream.socket, place, self._pool)
        self._pool.add(connection)
        return connection

    def _tls(self) -> ssl.SSLContext:
        """One context for all: to read the system's certificates takes 30 ms."""
        if self._ssl_context is None:
            self._ssl_context = ssl.create_default_context()
            self._ssl_context.set_alpn_protocols(["http/1.1"])
        return self._ssl_context

    def fetch(self, request: str | HTTPRequest, raise_error: bool = True, **kwargs: Any) -> Future[HTTPResponse]:
        """As Tornado's, with these differences: redirects are never followed, cancelling the future hangs up, failures
        other than a status are those of ``open``, and options that cannot be honoured are ``NotImplementedError``.

        ``connect_timeout`` and ``request_timeout`` (seconds, 0: none) count beside this client's own patience.
        """
        future = super().fetch(request, raise_error, **kwargs)
        task = self._newest  # which fetch_impl has just made
        future.add_done_callback(lambda _: task.cancel())
        return future

    def fetch_impl(self, request: HTTPRequest, callback: Callable[[HTTPResponse], None]) -> None:
        def done(task: asyncio.Task[HTTPResponse]) -> None:
            self._fetching.discard(task)
            if not task.cancelled():
                error = task.exception()
                callback(HTTPResponse(request, 599, error=error) if error is not None else task.result())

        self._newest = asyncio.ensure_future(self._fetched(request))
        self._newest.add_done_callback(done)
        self._fetching.add(self._newest)

    async def _fetched(self, request: HTTPRequest) -> HTTPResponse:
        unknown = [name for name in _UNKNOWN if getattr(request, name) is not None]
        if unknown or not request.validate_cert:
            raise NotImplementedError(f"{', '.join(unknown) or 'validate_cert'} cannot be honoured")
        headers = {**({"User-Agent": request.user_agent} if request.user_agent else {}), **request.headers}
        outgoing = HttpRequest(method=request.method, url=request.url, headers=headers, body=request.body)
        patience = self.patience
        if request.connect_timeout:
            patience = replace(patience, connect=min(patience.connect, request.connect_timeout))
        begun, by_loop = time.time(), time.monotonic()
        try:
            async with asyncio.timeout(request.request_timeout or None):
                async with await self.open(outgoing, patience) as reply:
                    body = await reply.read(READ_LIMIT)
        except TimeoutError:
            raise HTTPClientError(599, f"No whole answer within {request.request_timeout:g} seconds") from None
        return HTTPResponse(
            request,
            reply.status,
            headers=HTTPHeaders(reply.headers),
            buffer=io.BytesIO(body),
            request_time=time.monotonic() - by_loop,
            start_time=begun,
        )


def _sent(connection: Connection, request: HttpRequest, head: bytes, patience: Patience) -> Reply:
    reply = Reply(connection, request.method, connection.place.host)
    reply.send(head, request.body or b"", patience.first_byte)
    return reply


async def _begun(reply: Reply, place: Place, patience: Patience) -> Reply:
    await reply.begun(patience.idle)
    if reply.status == 407 and place.proxy is not None:
        reply.close()
        raise EngineUnreachable(f"The proxy {place.proxy.host} refused the way to {place.host}: 407.")
    return reply


class HttpTransport:
    """``llm.transport.interface.Transport`` over ``StreamingHTTPClient``. Times in seconds.

    ``connect_timeout`` bounds DNS, TCP, proxy and TLS together, ``first_byte_timeout`` the wait from the request sent
    to the answer's headers, ``idle_timeout`` the silence after them. Nothing bounds a lively answer, however long.
    ``proxies`` holds ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY`` (``ValueError`` for one that cannot be);
    ``max_idle`` and ``keep_alive`` bound the connections kept for later. ``allowed(host, port, address)`` is asked
    before a socket is connected, and goes with no proxy. Made at any time, used in one event loop.
    """

    def __init__(
        self,
        *,
        connect_timeout: float,
        first_byte_timeout: float,
        idle_timeout: float,
        proxies: Mapping[str, str] | None = None,
        max_idle: int = 64,
        keep_alive: float = 50.0,
        ssl_context: ssl.SSLContext | None = None,
        allowed: Allowed | None = None,
    ) -> None:
        self._settings: dict[str, Any] = {
            "patience": Patience(connect=connect_timeout, first_byte=first_byte_timeout, idle=idle_timeout),
            "proxies": Proxies(proxies or {}),
            "max_idle": max_idle,
            "keep_alive": keep_alive,
            "ssl_context": ssl_context,
            "allowed": allowed,
        }
        self._client: StreamingHTTPClient | None = None  # not before there is a loop

    def send(self, request: HttpRequest) -> Coroutine[Any, Any, HttpReply]:
        """Returns when the answer's headers are in; raises as ``StreamingHTTPClient.open``."""
        return (self._client or self._made()).open(request)

    async def close(self) -> None:
        """Closes every connection, for good. Whoever waits for one is told."""
        self._made().close()

    def _made(self) -> StreamingHTTPClient:
        if self._client is None:
            self._client = StreamingHTTPClient(force_instance=True, **self._settings)
        return self._client
