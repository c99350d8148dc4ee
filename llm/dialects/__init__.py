"""What a dialect is: a wire format, as two half modules of pure functions.

A module implements :class:`EngineDialect`, :class:`ClientDialect` or both; state lives only in its small readers and
writers. Dialects never import one another.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from llm.chat import ChatRequest, Foreign, ModelInfo
from llm.engines import Engine
from llm.errors import LLMError, Unsupported
from llm.events import Event, Piece, Reply
from llm.framing import MAX_FRAME, Frame, Framing
from llm.opaque import Json, fields_lost

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

    def feed(self, frame: Frame) -> list[Event]: ...
    def skipped(self, piece: Piece) -> None:
        """A piece that was read without it: its event was like the last one but for the text (``llm.express``)."""
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
    """Spoken on both sides, so that an exchange may pass unchanged (``llm.relay``)."""

    def verbatim(self, body: Mapping[str, Any], model: str, engine: Engine) -> Outgoing:
        """A client's own body, with the engine's name for the model, and asking for usage."""
        ...

    def only_usage(self, frame: Frame) -> bool:
        """Whether an event carries nothing but the usage that was asked for on our account."""
        ...


def unknown_block(block: Foreign, engine: Engine, place: str = "") -> Unsupported:
    """The refusal of a block of another wire, by its own name."""
    kind = next((kind for opaque in block.keep if isinstance(kind := opaque.data.get("type"), str)), "unnamed")
    told = f"{engine.label} has no block {kind[:100]!r}{place}."
    return Unsupported(told, param="messages", engine=engine.name)


# They refer to what another provider has stored of the conversation.
_STORED: Final = ("previous_response_id", "conversation")
_ELSEWHERE: Final = ", which has nothing of it: send the whole conversation"


def lost_fields(request: ChatRequest, dialect: str) -> tuple[str, ...]:
    """Names of what the client sent that has no place in ``dialect``, to be told in ``Outgoing.dropped`` (T8).

    Raises ``Unsupported`` where such a field changes the answer: a top-level field that the client's own dialect does
    not know as a hint, or a hosted tool. Hints are fields such as ``user`` or ``cache_control``.
    """
    for tool in request.tools:
        if tool.executor == "provider" and not any(o.dialect == dialect for o in tool.keep):
            raise Unsupported(f"The tool {tool.name!r} is of a kind that this engine does not know.", param="tools")
    lost = [*fields_lost(request.keep, dialect)]
    for name in lost:
        if name not in request.hints:
            why = _ELSEWHERE if name in _STORED else ""
            raise Unsupported(f"{name!r} cannot be carried to this engine{why}.", param=name)
    for tool in request.tools:
        lost += fields_lost(tool.keep, dialect)
    for message in request.messages:
        if message.keep:
            lost += fields_lost(message.keep, dialect)
        for part in message.parts:
            if part.keep and not isinstance(part, Foreign):
                lost += fields_lost(part.keep, dialect)
    return tuple(dict.fromkeys(lost)) if lost else ()
