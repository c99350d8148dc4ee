"""How bytes travel to and from providers: ``HttpTransport`` is all that the rest of the program sees.

From the outside in: ``client`` (Tornado's interface, and one exchange from URL to answer), ``reply`` (an answer that
is pulled), ``connection`` (one socket), ``pool``, ``connecting`` and ``proxy`` (how a socket comes about), and, without
IO, ``outgoing`` (what we send), ``parser`` and ``coding`` (what we get).
"""

from __future__ import annotations

import ssl
from collections.abc import Coroutine, Mapping
from typing import Any

from llm.http import HttpReply, HttpRequest
from llm.transport.client import Patience, StreamingHTTPClient
from llm.transport.connecting import Allowed
from llm.transport.proxy import Proxies


class HttpTransport:
    """``llm.http.Transport`` over ``StreamingHTTPClient``. Times in seconds.

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
