"""How bytes travel to and from providers: ``HttpTransport`` is all that the rest of the program sees."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from llm.http import HttpReply, HttpRequest
from llm.transport.client import Patience, StreamingHTTPClient


class HttpTransport:
    """``llm.http.Transport`` over :class:`StreamingHTTPClient`; times in seconds."""

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
    ) -> None:
        self._patience = Patience(connect=connect_timeout, first_byte=first_byte_timeout, idle=idle_timeout)
        self._settings = {
            "proxies": proxies, "max_idle": max_idle, "keep_alive": keep_alive, "ssl_context": ssl_context,
        }  # fmt: skip
        self._client: StreamingHTTPClient | None = None

    async def send(self, request: HttpRequest) -> HttpReply:
        """Returns when the answer's headers are in; raises as ``StreamingHTTPClient.open``."""
        if self._client is None:  # not before there is an event loop
            self._client = StreamingHTTPClient(force_instance=True, patience=self._patience, **self._settings)
        return await self._client.open(request)

    async def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
