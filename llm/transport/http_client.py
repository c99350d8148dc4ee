"""The HTTP client of this server: keep-alive, streaming, back-pressure, cancellation.

Tornado connects (``TCPClient``: DNS, several addresses, TLS); then ``llm.transport.connection`` reads the socket.
Tornado's own clients cannot carry a stream: ``SimpleAsyncHTTPClient`` keeps no connection and has no hang-up,
``CurlAsyncHTTPClient`` has neither back-pressure nor cancellation.
"""

from __future__ import annotations

import ssl
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from tornado.netutil import Resolver

from llm.errors import Draining, EngineUnreachable
from llm.transport.connection import Connection
from llm.transport.connector import Allowed, Connecting
from llm.transport.interface import HttpReply, HttpRequest
from llm.transport.pool import Pool
from llm.transport.proxy import Proxies
from llm.transport.request_head import Place, head_of, way_to
from llm.transport.response import Reply, Stale


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds; none of them bounds an answer that goes on."""

    connect: float = 10.0  # DNS, TCP, proxy and TLS together
    first_byte: float = 600.0  # from the last byte of the request that was taken to the answer's headers
    idle: float = 300.0  # without content, while somebody waits for it


class HttpTransport:
    """``llm.transport.interface.Transport`` over HTTP/1.1. Times in seconds.

    ``connect_timeout`` bounds DNS, TCP, proxy and TLS together, ``first_byte_timeout`` the wait from the last byte of
    the request that was taken to the answer's headers, ``idle_timeout`` the silence after them. Nothing bounds a lively
    answer, however long, or the number of requests at a time: those of our own clients are bounded. ``proxies`` holds
    ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY`` (``ValueError`` for one that cannot be); ``max_idle`` and
    ``keep_alive`` bound the connections kept for later. Without an ``ssl_context`` the system's certificates count, or
    those of ``SSL_CERT_FILE``. ``allowed(host, port, address)`` is asked before a socket is connected to an address; a
    proxy would hide that address, so the two raise ``ValueError``. Made at any time, used in one event loop.
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
        self._proxies = Proxies(proxies or {})
        if allowed is not None and self._proxies.some:
            raise ValueError("behind a proxy nobody can say which address is connected to")
        self._allowed = allowed
        self._closed = False
        self._patience = Patience(connect=connect_timeout, first_byte=first_byte_timeout, idle=idle_timeout)
        self._pool = Pool(max_idle, keep_alive)
        self._resolver: Resolver | None = None  # not before there is a loop
        self._ssl_context = ssl_context

    async def close(self) -> None:
        """Closes every connection, for good. Whoever waits for one gets ``Truncated`` or ``EngineUnreachable``."""
        self._closed = True
        self._pool.close()
        if self._resolver is not None:
            self._resolver.close()

    def send(self, request: HttpRequest) -> Coroutine[Any, Any, HttpReply]:
        """Sends, at once over a kept connection. To be awaited in the same turn: the answer once its headers are in.

        Redirects are not followed. Raises ``InvalidRequest`` for a URL or header that cannot be sent, ``Draining`` once
        the client is closed; awaited, ``ConnectTimeout``, ``FirstByteTimeout``, ``EngineUnreachable``, ``Malformed``.
        Cancelled, it closes the socket at once, in whatever phase it is.
        """
        if self._closed:
            raise Draining("This server is stopping and asks no engine any more.")
        patience = self._patience
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
        if self._resolver is None:
            self._resolver = Resolver()
        stream = await Connecting(place, self._resolver, tls, self._allowed).stream(patience.connect)
        if stream.closed() or self._closed:  # either can have happened before this task had its turn
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
