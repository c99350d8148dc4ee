"""What a dialect is: a wire format, as two half modules of pure functions.

A module implements :class:`EngineDialect`, :class:`ClientDialect` or both; state lives only in its small readers and
writers. Dialects never import one another.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from llm.chat import ChatRequest, ModelInfo
from llm.engines import Engine
from llm.errors import LLMError
from llm.events import Event, Reply
from llm.framing import Frame, Framing
from llm.opaque import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One request towards an engine, less its address and key."""

    path: str  # behind the engine's base URL, query included
    body: Mapping[str, Json] | None = None
    method: Literal["GET", "POST"] = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()  # what the client sent that has no meaning there; nothing that changes the answer


# Lists models without doing IO: yields requests to be made at once, is sent their JSON answers in the same order
# (the error where one failed), returns the models. Raises what makes the list as a whole impossible.
ModelLister = Generator[Sequence[Outgoing], Sequence[Any], list[ModelInfo]]


class Reader(Protocol):
    """Frames of one streamed answer to events.

    ``feed`` raises an ``LLMError`` for an error inside the stream. ``close`` is called when the bytes have ended; it
    raises ``Truncated`` if the wire's own end was not seen. ``done`` is true once ``Finished`` was given: whatever the
    engine still sends is of no interest.
    """

    done: bool

    def feed(self, frame: Frame) -> list[Event]: ...
    def close(self) -> list[Event]: ...


class Writer(Protocol):
    """Events to the bytes of one streamed answer.

    ``feed`` gives pieces, each to leave in one write; for most dialects at most one. ``Failed`` is fed last or never.
    """

    content_type: str
    spacing: float  # seconds between two pieces; 0 but for the older server's framing

    def feed(self, batch: Sequence[Event]) -> list[bytes]: ...
    def ping(self) -> bytes:
        """The dialect's own way to say: still here (S11)."""
        ...


class EngineDialect(Protocol):
    """We are the client of a provider."""

    NAME: str

    def write_request(self, request: ChatRequest, engine: Engine) -> Outgoing: ...
    def framing(self) -> Framing: ...
    def reader(self, engine: Engine) -> Reader: ...
    def read_reply(self, body: Any, engine: Engine) -> Reply: ...
    def read_error(self, status: int, body: bytes, engine: Engine) -> LLMError: ...
    def list_models(self, engine: Engine) -> ModelLister: ...


class ClientDialect(Protocol):
    """We are the server of a client."""

    NAME: str

    def read_request(self, body: Mapping[str, Any]) -> ChatRequest: ...
    def writer(self, request: ChatRequest) -> Writer: ...
    def write_reply(self, reply: Reply, request: ChatRequest) -> dict[str, Json]: ...
    def write_error(self, error: LLMError) -> tuple[int, dict[str, Json]]: ...
