"""What a dialect is: a wire format, as two half modules of pure functions.

A package implements :class:`EngineDialect`, :class:`ClientDialect` or both; state lives only in its small readers and
writers. Dialects never import one another.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from llm.chat.events import Event, Piece
from llm.chat.reply import Reply
from llm.chat.request import ChatRequest
from llm.engines.capabilities import ModelInfo
from llm.engines.engine import Engine
from llm.errors import LLMError
from llm.wire.frames import MAX_FRAME, Frame, Framing
from llm.wire.json_codec import Json

REQUEST_ID: Final = "X-Request-Id"  # the header with the id of a request, for wires without one of their own


def status_of(error: LLMError) -> int:
    """The status of an answer that is nothing but this error, for wires without one of their own."""
    return error.status


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One request towards an engine, less its address and key."""

    path: str  # behind the engine's base URL, query included
    body: Mapping[str, Json] | None = None
    raw: bytes | None = None  # instead of ``body``: what is not JSON, its content-type among the headers
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

    @property
    def noise(self) -> re.Pattern[bytes] | None:
        """Members of an event that it never looks at, as they are spelled, and that are others in each."""
        ...

    @property
    def unlike(self) -> re.Pattern[bytes] | None:
        """Members of an event that make it keep more than one text: the like of such an event has to be read too."""
        ...

    @property
    def needs_text(self) -> bool:
        """True if its later events depend on the texts of earlier ones, so that it has to be told of each of them."""
        ...

    def feed(self, frame: Frame) -> list[Event]: ...
    def skipped(self, piece: Piece) -> None:
        """A piece that was read without it: its event was like the last one but for the text."""
        ...

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
    def framing(self, most: int = MAX_FRAME) -> Framing:
        """``most`` bytes in one frame."""
        ...

    def reader(self, engine: Engine) -> Reader: ...
    def read_reply(self, body: Any, engine: Engine) -> Reply: ...
    def read_error(self, status: int, body: bytes, engine: Engine) -> LLMError: ...
    def list_models(self, engine: Engine) -> ModelLister: ...


class ClientDialect(Protocol):
    """We are the server of a client."""

    NAME: str
    REQUEST_ID: str  # the header that its clients look into for the id of a request

    def read_request(self, body: Mapping[str, Any]) -> ChatRequest:
        """Raises ``InvalidRequest`` with the place in ``param`` (``messages[2].content``)."""
        ...

    def writer(self, request: ChatRequest, now: int) -> Writer:
        """``now`` is in seconds since 1970: dialects read no clock."""
        ...

    def write_reply(self, reply: Reply, request: ChatRequest, now: int) -> dict[str, Json]: ...

    def write_error(self, error: LLMError) -> dict[str, Json]:
        """The body; the status is ``status_of(error)``."""
        ...

    def status_of(self, error: LLMError) -> int: ...

    def write_models(self, models: Iterable[ModelInfo]) -> dict[str, Json]: ...


class VerbatimDialect(EngineDialect, Protocol):
    """Spoken on both sides, so that an exchange may pass unchanged (``llm.upstream.passthrough``)."""

    def verbatim(self, body: Mapping[str, Any], model: str, engine: Engine) -> Outgoing:
        """A client's own body, with the engine's name for the model, and asking for usage."""
        ...

    def only_usage(self, frame: Frame) -> bool:
        """Whether an event carries nothing but the usage that was asked for on our account."""
        ...
