"""Authenticates requests to engines: with a key in a header, a signature or a token."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Final, Protocol, TypeAlias

from llm.engines.engine import Target
from llm.transport.interface import HttpRequest

SignedHeaders: TypeAlias = "Mapping[str, str] | Awaitable[Mapping[str, str]]"


class Credentials(Protocol):
    """Adds authentication to requests. One object serves all requests of its kind, so it may cache tokens."""

    def sign(self, request: HttpRequest, target: Target) -> SignedHeaders:
        """Returns all headers to send, given the request as it would be sent without authentication.

        ``request.url`` and ``request.body`` are final and may be signed; so may headers, except those that the
        transport adds (``Host``, which is that of the URL, and ``Content-Length``). Headers that are ready are
        returned at once, so that the request leaves in the same turn of the loop; an awaitable delays the request.
        Called again for each retry. Raises ``LLMError``, also awaited.
        """
        ...


class ApiKey:
    """Puts ``target.key`` into the header that ``Engine.auth`` describes; without a key it adds nothing."""

    def sign(self, request: HttpRequest, target: Target) -> Mapping[str, str]:
        """Returns the request's headers, with the key."""
        if not target.key:
            return request.headers
        name, _, template = target.engine.auth.partition(": ")
        return {**request.headers, name: template.replace("{key}", target.key)}


CREDENTIALS: Final[Mapping[str, Credentials]] = {"api-key": ApiKey()}  # by ``Engine.credentials``
