"""Sends one HTTP request to an engine."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from llm.dialects.base import EngineRequest
from llm.engines.engine import Target
from llm.transport.interface import READ_LIMIT, HttpRequest, HttpResponse, Transport
from llm.upstream.credentials import CREDENTIALS, Credentials
from llm.upstream.retry import EngineMemory, RetryPolicy
from llm.wire.json_codec import dump_bytes
from llm.wire.json_steps import dump_in_steps


@dataclass(frozen=True, slots=True)
class EngineClient:
    """Sends requests to engines. Holds the transports by URL scheme, the credentials by kind and the retry policy."""

    transports: Mapping[str, Transport]
    retry: RetryPolicy = RetryPolicy()
    max_answer: int = READ_LIMIT  # bytes of a response that may be in memory at a time
    max_continuations: int = 32  # requests that go on with one long answer, after the first
    credentials: Mapping[str, Credentials] = field(default_factory=lambda: CREDENTIALS)  # by kind
    memory: EngineMemory = field(default_factory=EngineMemory)

    def send(
        self, target: Target, outgoing: EngineRequest, headers: Mapping[str, str] | None = None
    ) -> Coroutine[Any, Any, HttpResponse]:
        """Builds the HTTP request and sends it (see ``Transport.send``); the status may be any.

        It is sent before this returns, unless its credentials have to be awaited.
        """
        engine = target.engine
        all_headers = {"accept": "application/json", **engine.headers, **outgoing.headers}
        if headers:
            all_headers |= merge_headers(outgoing.headers, headers)
        body = outgoing.raw
        if outgoing.body is not None:
            all_headers["content-type"] = "application/json"
            body = dump_bytes(outgoing.body)
        url = engine.build_url(outgoing.path, target.model)
        transport = self.transports[url.partition(":")[0]]
        request = HttpRequest(method=outgoing.method, url=url, headers=all_headers, body=body, pieces=outgoing.pieces)
        signed = self.credentials[engine.credentials].sign(request, target)
        if isinstance(signed, dict | Mapping):  # dict first: a check by Mapping alone takes longer
            return transport.send(
                HttpRequest(method=outgoing.method, url=url, headers=signed, body=body, pieces=outgoing.pieces)
            )
        return _send_when_signed(transport, request, signed)


def merge_headers(headers: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Returns both. A header that both have is a list, such as anthropic-beta: its values are joined."""
    merged = {**headers, **more}
    for name in headers.keys() & more.keys():
        values = f"{headers[name]},{more[name]}".split(",")
        merged[name] = ",".join(dict.fromkeys(value.strip() for value in values))
    return merged


def encode_in_steps(outgoing: EngineRequest) -> EngineRequest:
    """Returns the same request with its JSON encoded, in small steps. For a thread."""
    if outgoing.body is None:
        return outgoing
    headers = {**outgoing.headers, "content-type": "application/json"}
    return replace(outgoing, body=None, raw=dump_in_steps(outgoing.body), headers=headers)


async def _send_when_signed(
    transport: Transport, request: HttpRequest, signed: Awaitable[Mapping[str, str]]
) -> HttpResponse:
    return await transport.send(replace(request, headers=await signed))
