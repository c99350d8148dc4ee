"""The HTTP client of this server: keep-alive, streaming, back-pressure, cancellation.

``llm.transport.connector`` connects; then ``llm.transport.connection`` reads the socket.
Tornado's own clients are not enough for streams: ``SimpleAsyncHTTPClient`` has no keep-alive and cannot close a request
early, ``CurlAsyncHTTPClient`` has no back-pressure and no cancellation.
"""

from __future__ import annotations

import ssl
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

from llm.errors import Draining, EngineUnreachable, NoResponse
from llm.transport.connection import Connection
from llm.transport.connector import AddressFilter, Connector
from llm.transport.dialler import Dialler
from llm.transport.interface import HttpRequest, HttpResponse
from llm.transport.names import NameLookups
from llm.transport.pool import Pool
from llm.transport.proxy import Proxies
from llm.transport.request_head import Origin, find_route, write_head
from llm.transport.response import Response, StaleConnection

_SAFE: Final = ("GET", "HEAD")  # methods of requests that may be sent twice


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Time limits in seconds. None of them limits the total time of a response that keeps sending content."""

    connect: float = 10.0  # DNS, TCP, proxy and TLS together
    first_byte: float = 600.0  # from the last byte of the request that the socket took to the response headers
    idle: float = 300.0  # without content, counted while the reader waits


class HttpTransport:
    """Implements ``Transport`` over HTTP/1.1. Times in seconds.

    - ``connect_timeout``, ``first_byte_timeout``, ``idle_timeout``: see ``Timeouts``. The length of a response and the
      number of concurrent requests have no limit here; the server limits those of its own clients.
    - ``proxies``: ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY``. Raises ``ValueError`` for an invalid one.
    - ``max_idle``, ``keep_alive``: number and age of the idle connections in the pool.
    - ``ssl_context``: default is one with the system's certificates, or those of ``SSL_CERT_FILE``.
    - ``address_filter(host, port, address)``: called before a socket connects to an address, True allows it. A proxy
      hides the address, so both together raise ``ValueError``.
    - ``names``: how host names are looked up; default is one look-up for each name at a time, whose answer is kept.

    May be created without an event loop; all requests have to be sent in one event loop.
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
        address_filter: AddressFilter | None = None,
        names: NameLookups | None = None,
    ) -> None:
        self._proxies = Proxies(proxies or {})
        if address_filter is not None and self._proxies.configured:
            raise ValueError("an address filter cannot be used with a proxy, which hides the address")
        self._address_filter = address_filter
        self._closed = False
        self._timeouts = Timeouts(connect=connect_timeout, first_byte=first_byte_timeout, idle=idle_timeout)
        self._pool = Pool(max_idle, keep_alive)
        self.names = names if names is not None else NameLookups()
        self._dialler = Dialler()
        self._ssl_context = ssl_context

    async def close(self) -> None:
        """Closes all connections for good. Pending requests raise ``Truncated`` or ``EngineUnreachable``."""
        self._closed = True
        self._pool.close()
        self.names.close()

    def send(self, request: HttpRequest) -> Coroutine[Any, Any, HttpResponse]:
        """Sends a request; over an idle connection, before it returns (see ``Transport.send``).

        Redirects are not followed. The call raises ``InvalidRequest`` for a URL or header that cannot be sent, and
        ``Draining`` after :meth:`close`; the coroutine raises ``ConnectTimeout``, ``FirstByteTimeout``,
        ``EngineUnreachable`` or ``Malformed``. Cancelling closes the socket at once, in every phase.
        """
        if self._closed:
            raise Draining("This server is stopping and sends no more requests to engines.")
        timeouts = self._timeouts
        route = find_route(request.url, self._proxies)
        head = write_head(request, route)
        idle = self._pool.take(route.origin)
        response = None if idle is None else _send(idle, request, head, timeouts)
        return self._receive(response, route.origin, request, head, timeouts)

    async def _receive(
        self, response: Response | None, place: Origin, request: HttpRequest, head: bytes, timeouts: Timeouts
    ) -> Response:
        try:
            if response is not None:
                try:
                    return await _wait_for_headers(response, place, timeouts)
                except StaleConnection as closed:
                    # A request that the provider did not read, or may read twice, is sent on a new connection.
                    if not closed.unread and request.method not in _SAFE:
                        raise
            response = _send(await self._connect(place, timeouts), request, head, timeouts)
            return await _wait_for_headers(response, place, timeouts)
        except StaleConnection as closed:
            if closed.unread:
                raise EngineUnreachable(str(closed)) from None
            raise NoResponse(str(closed)) from None

    async def _connect(self, place: Origin, timeouts: Timeouts) -> Connection:
        tls = self._tls() if place.scheme == "https" else None
        connector = Connector(place, self.names, self._dialler, tls, self._address_filter)
        stream = await connector.connect(timeouts.connect)
        if stream.closed() or self._closed:  # either may have happened while this task was waiting for its turn
            stream.close()
            raise EngineUnreachable(f"The connection to {place.host} was closed before it was used.")
        stream.io_loop.remove_handler(stream.socket)  # from here on only the Connection uses the socket
        connection = Connection(stream.socket, place, self._pool)
        self._pool.add(connection)
        return connection

    def _tls(self) -> ssl.SSLContext:
        """Returns the context of all connections, created once: reading the system's certificates takes 30 ms."""
        if self._ssl_context is None:
            self._ssl_context = ssl.create_default_context()
            self._ssl_context.set_alpn_protocols(["http/1.1"])
        return self._ssl_context


def _send(connection: Connection, request: HttpRequest, head: bytes, timeouts: Timeouts) -> Response:
    response = Response(connection, request.method, connection.origin.host)
    response.send(head, request.body or b"", timeouts.first_byte, request.pieces)
    return response


async def _wait_for_headers(response: Response, place: Origin, timeouts: Timeouts) -> Response:
    await response.wait_for_headers(timeouts.idle)
    if response.status == 407 and place.proxy is not None:
        response.close()
        raise EngineUnreachable(f"The proxy {place.proxy.host} refused the connection to {place.host}: 407.")
    return response
