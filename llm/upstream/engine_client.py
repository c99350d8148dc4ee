"""Sends one HTTP request to an engine."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from llm.dialects.base import Outgoing
from llm.engines.engine import Target
from llm.transport.interface import READ_LIMIT, HttpReply, HttpRequest, Transport
from llm.upstream.credentials import CREDENTIALS, Credentials
from llm.upstream.retry import RetryPolicy
from llm.wire.json_codec import dump_bytes


@dataclass(frozen=True, slots=True)
class Services:
    """What a call needs from outside: a transport by URL scheme, credentials by kind, and the patience to retry."""

    transports: Mapping[str, Transport]
    retry: RetryPolicy = RetryPolicy()
    max_answer: int = READ_LIMIT  # bytes of an answer that may be held at a time
    credentials: Mapping[str, Credentials] = field(default_factory=lambda: CREDENTIALS)  # by kind

    def send(
        self, target: Target, outgoing: Outgoing, headers: Mapping[str, str] | None = None
    ) -> Coroutine[Any, Any, HttpReply]:
        """Returns when the engine's headers are in, whatever their status (``llm.transport.interface.Transport``).

        The request leaves at once, unless its credentials have to be awaited.
        """
        engine = target.engine
        own = {"accept": "application/json", **engine.headers, **outgoing.headers, **(headers or {})}
        body = outgoing.raw
        if outgoing.body is not None:
            own["content-type"] = "application/json"
            body = dump_bytes(outgoing.body)
        url = engine.url(outgoing.path, target.model)
        transport = self.transports[url.partition(":")[0]]
        request = HttpRequest(method=outgoing.method, url=url, headers=own, body=body)
        signed = self.credentials[engine.credentials].sign(request, target)
        if isinstance(signed, Mapping):
            return transport.send(replace(request, headers=signed))
        return _send_when_signed(transport, request, signed)


async def _send_when_signed(
    transport: Transport, request: HttpRequest, signed: Awaitable[Mapping[str, str]]
) -> HttpReply:
    return await transport.send(replace(request, headers=await signed))
