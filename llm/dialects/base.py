"""Protocols of a dialect: one wire format, as a package of pure functions.

A package implements :class:`EngineDialect`, :class:`ClientDialect` or both. Only its readers and writers have state.
Dialects never import one another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, Protocol

from llm.chat.events import AnyDelta, Event
from llm.chat.filters import Filter
from llm.chat.pipeline import Stage
from llm.chat.reply import Reply
from llm.chat.request import ChatRequest
from llm.dialects.stream_repair import StreamRepair
from llm.engines.capabilities import ModelInfo
from llm.engines.engine import Engine
from llm.errors import (
    EngineFailed,
    EngineForbids,
    EngineRefusedKey,
    InvalidRequest,
    LLMError,
    Overloaded,
    QuotaExceeded,
    RateLimited,
    TooLarge,
    UnknownModel,
)
from llm.wire.frames import MAX_FRAME, Frame, FrameDecoder
from llm.wire.json_codec import Json, loads

REQUEST_ID: Final = "X-Request-Id"  # response header with the request id, for wires that define none


def get_http_status(error: LLMError) -> int:
    """Returns the HTTP status of an error response, for wires that define no statuses of their own."""
    return error.status


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequest:
    """A request to an engine, without its base URL and key."""

    path: str  # appended to the engine's base URL, query included
    body: Mapping[str, Json] | None = None
    raw: bytes | None = None  # instead of ``body``: not JSON; its content type is in ``headers``
    pieces: tuple[bytes | memoryview, ...] = ()  # the same, of a body that is not copied
    method: Literal["GET", "POST", "DELETE"] = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()  # options and fields left out because the engine has no equivalent
    may_continue: bool = False  # the answer may be interrupted and go on (``Finished.continuation``)
    create_filter: Callable[[], Filter] | None = None  # of what changes the events of the answer
    may_drop_more: bool = False  # the engine may leave out more; the start of its answer says what (``Started``)


def without_usage(outgoing: EngineRequest) -> EngineRequest:
    """Returns a request of Chat Completions that does not ask a stream for its usage."""
    body: dict[str, Json] = dict(outgoing.body) if outgoing.body is not None else loads(outgoing.raw or b"{}")
    options = body.pop("stream_options", None)
    if isinstance(options, dict) and (rest := {n: v for n, v in options.items() if n != "include_usage"}):
        body["stream_options"] = rest
    return replace(outgoing, body=body, raw=None)


def add_query(request: EngineRequest, query: str) -> EngineRequest:
    """Returns the request with a query added to its path."""
    return replace(request, path=f"{request.path}{'&' if '?' in request.path else '?'}{query}")


# Lists models without IO. Yields requests that are sent at the same time, receives their JSON bodies in the same order
# (an ``LLMError`` where a request failed) and returns the models. Raises an error that makes the whole list impossible.
ModelLister = Generator[Sequence[EngineRequest], Sequence[Any], list[ModelInfo]]


class Reader(Protocol):
    """Reads the frames of one streamed answer into events.

    ``done`` is true once ``Finished`` was returned; later frames are ignored.
    """

    done: bool

    @property
    def volatile_fields(self) -> re.Pattern[bytes] | None:
        """Pattern of JSON members that differ in every frame and are never read, as bytes of the wire."""
        ...

    @property
    def stateful_fields(self) -> re.Pattern[bytes] | None:
        """Pattern of JSON members that change more state than a delta does: frames with one are always parsed."""
        ...

    @property
    def needs_text(self) -> bool:
        """True if later events depend on the texts of earlier ones: then :meth:`note_delta` is called for each."""
        ...

    def feed(self, frame: Frame) -> list[Event]:
        """Reads one frame. Raises an ``LLMError`` for an error inside the stream."""
        ...

    def note_delta(self, delta: AnyDelta) -> None:
        """Counts a delta of a frame that was decoded from a template and therefore not fed."""
        ...

    def close(self) -> list[Event]:
        """Ends the stream after its last byte. Raises ``Truncated`` if the wire's end marker is missing."""
        ...


class Writer(Protocol):
    """Writes events as the bytes of one streamed answer. ``Failed``, if any, is the last event."""

    content_type: str
    write_interval: float  # seconds between two writes; 0 except in the older server's framing

    def feed(self, events: Sequence[Event]) -> list[bytes]:
        """Returns the byte strings to send, one write each; at most one in most dialects."""
        ...

    def write_keepalive(self) -> bytes:
        """Returns bytes that keep the connection alive and that the dialect's clients ignore (S11)."""
        ...


class EngineDialect(Protocol):
    """The engine side of a dialect: this server is the client of a provider."""

    NAME: str
    TOOL_NAMES: re.Pattern[str]  # the names of tools that its engines accept

    def write_request(self, request: ChatRequest, engine: Engine) -> EngineRequest:
        """Writes a chat request. Raises ``Unsupported`` naming the option or the part."""
        ...

    def create_framing(self, max_frame: int = MAX_FRAME) -> FrameDecoder:
        """Creates the splitter of a streamed answer into frames of at most ``max_frame`` bytes."""
        ...

    def create_reader(self, engine: Engine) -> Reader:
        """Creates the reader of one streamed answer."""
        ...

    def read_reply(self, body: Any, engine: Engine) -> Reply:
        """Reads the JSON body of a whole answer. Raises an ``LLMError`` for an error inside it."""
        ...

    def read_error(self, status: int, body: bytes, engine: Engine) -> LLMError:
        """Reads the body of an error response; ``body`` may be of any content type."""
        ...

    def list_models(self, engine: Engine) -> ModelLister:
        """Lists the engine's models. Raises ``Malformed`` if the answer is not a list."""
        ...


@dataclass(frozen=True, slots=True)
class ClientHeaders:
    """Request headers of a dialect's clients that engines of the same dialect get. All names are in lower case."""

    features: tuple[str, ...] = ()  # versions and betas, which mean nothing to other engines
    accounts: tuple[str, ...] = ()  # whose request it is: named as dropped where they are not sent
    own_accounts: tuple[str, ...] = ()  # the same, of the key's owner: sent with the caller's own key only
    names: tuple[str, ...] = field(init=False)  # all of them
    spellings: frozenset[str] = field(init=False)  # the same, also in titles, as Tornado's own server has them

    def __post_init__(self) -> None:
        names = (*self.features, *self.accounts, *self.own_accounts)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "spellings", frozenset((*names, *(name.title() for name in names))))

    def select(
        self, headers: Mapping[str, str], *, same_dialect: bool, own_key: bool
    ) -> tuple[dict[str, str], tuple[str, ...]]:
        """Returns the headers for an engine, and the names of those that it does not get though they decide something.

        ``own_key``: the request has the caller's own key.
        """
        unsent = self.names if not same_dialect else () if own_key else self.own_accounts
        told = tuple(n for n in (*self.accounts, *self.own_accounts) if n in unsent and n in headers)
        return {name: headers[name] for name in self.names if name in headers and name not in unsent}, told


@dataclass(frozen=True, slots=True)
class AnswerForms:
    """The parts of an answer for which a client dialect has a form."""

    media: tuple[str, ...] = ()  # kinds, as in ``Media.kind``
    media_urls: bool = False  # media by their address
    citations: bool = False  # else they become a text behind the answer
    web_stage: Callable[[], Stage] | None = None  # creates the stage that writes searches of other dialects
    only_text: bool = False  # no reasoning, no sources
    provider_runs: bool = False  # tools that a provider of another dialect has run


class ErrorDialect(Protocol):
    """The part of a client dialect that an error response needs."""

    NAME: str
    REQUEST_ID: str  # response header in which the dialect's clients look for the request id

    def write_error(self, error: LLMError) -> dict[str, Json]:
        """Writes the body of an error response; its status is ``get_http_status(error)``."""
        ...

    def get_http_status(self, error: LLMError) -> int:
        """Returns the HTTP status of an error response."""
        ...


class ClientDialect(ErrorDialect, Protocol):
    """The client side of a dialect: this server answers the dialect's clients."""

    CLIENT_HEADERS: ClientHeaders
    ANSWER_FORMS: AnswerForms
    ARGUMENTS_ARE_VALUES: bool  # arguments of tool calls are JSON values to its clients, not texts

    def read_request(self, body: Mapping[str, Any]) -> ChatRequest:
        """Reads a request body. Raises ``InvalidRequest``; its ``param`` is the path, as in ``messages[2].content``."""
        ...

    def create_writer(self, request: ChatRequest, now: int) -> Writer:
        """Creates the writer of one streamed answer. ``now``: seconds since 1970, since dialects read no clock."""
        ...

    def write_reply(self, reply: Reply, request: ChatRequest, now: int) -> dict[str, Json]:
        """Writes the body of a whole answer. ``now``: seconds since 1970."""
        ...

    def write_models(self, models: Iterable[ModelInfo]) -> dict[str, Json]:
        """Writes the body of a model list."""
        ...


class PassthroughDialect(EngineDialect, Protocol):
    """A dialect of clients and engines, whose requests can pass unchanged (``llm.upstream.passthrough``)."""

    def passthrough_request(self, body: Mapping[str, Any], model: str, engine: Engine) -> EngineRequest:
        """Returns the client's body with the engine's model id, and with usage requested in a stream."""
        ...

    def is_only_usage(self, frame: Frame) -> bool:
        """True if the frame holds only usage, so that it is withheld from a client that did not request it."""
        ...

    def find_unconvertible_field(self, request: ChatRequest, engine: Engine) -> str | None:
        """Returns the field of a request whose answers have no neutral form; None if there is none.

        Such an answer cannot be converted between a stream and a whole answer.
        """
        ...

    def create_repair(self, reader: Any, engine: Engine) -> StreamRepair:
        """Creates the repair of one stream. ``reader``: its :class:`Reader`, which gets each event after the repair."""
        ...

    def repair_document(self, document: bytes) -> bytes:
        """Returns a whole answer with what strict clients need, unchanged to the byte where nothing is missing.

        Raises ``LLMError`` if the answer has to be an error instead.
        """
        ...


# 413 is the engine's size limit; 409 is a lock timeout (OpenAI), 498 no flex capacity (Groq), 529 overload (Anthropic).
_BY_STATUS: Final[Mapping[int, type[LLMError]]] = {
    401: EngineRefusedKey,
    402: QuotaExceeded,
    403: EngineForbids,
    404: UnknownModel,
    408: EngineFailed,
    409: EngineFailed,
    413: TooLarge,
    429: RateLimited,
    498: Overloaded,
    503: Overloaded,
    529: Overloaded,
}

# Error codes of a 429 that means no credit; a retry does not help (OpenAI, Anthropic).
_NO_CREDIT: Final = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "enforced_spend_limit_reached",
        "billing_hard_limit_reached",
    }
)


def choose_error_class(status: int, *codes: str | None) -> type[LLMError]:
    """Returns the error class for an engine's HTTP status and its error codes."""
    if status == 429 and not _NO_CREDIT.isdisjoint(codes):
        return QuotaExceeded
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return InvalidRequest if 400 <= status < 500 else EngineFailed
