"""Towards a client: events as the stream of ``POST /v1/messages``, whole answers, errors, the list of models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any, Final

from llm.chat.events import (
    Cited,
    Event,
    Failed,
    Finished,
    FinishReason,
    PartEnded,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    ToolProgress,
    UsageReported,
    WholePart,
    ended_badly,
)
from llm.chat.filters import InOrder
from llm.chat.messages import Foreign, Part, Reasoning, Text, ToolCall, ToolResult, Usage
from llm.chat.provider_metadata import Keep, opaque_to_client, seal
from llm.chat.reply import Reply
from llm.chat.request import ChatRequest
from llm.dialects.anthropic.shared import NAME, STOP_REASONS, write_citations, write_input, write_usage
from llm.engines.capabilities import ModelInfo
from llm.errors import (
    AccessError,
    ConnectTimeout,
    ContextTooLong,
    Draining,
    FirstByteTimeout,
    IdleTimeout,
    LLMError,
    NotAuthenticated,
    NotFound,
    Overloaded,
    QuotaExceeded,
    RateLimited,
    RequestError,
    TooLarge,
    UnknownModel,
    Unsupported,
)
from llm.wire.json_codec import Json, dump_bytes
from llm.wire.sse import sse

_STOP_WORDS: Final[Mapping[FinishReason, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "filtered": "refusal",
    "paused": "pause_turn",
    "other": "end_turn",  # it has ended, by its wire's own end; this wire has no word for an unknown why
}
# Of what is kept of an answer's end, this stands beside the delta of ``message_delta``, not in it.
_BESIDE_DELTA: Final = ("context_management", "input_transformations", "diagnostics")


def writer(request: ChatRequest, now: int) -> MessageWriter:
    return MessageWriter()


class MessageWriter:
    """One block open at a time, numbered as this client sees them: what runs on this server is not shown."""

    content_type = "text/event-stream"
    spacing = 0.0

    def __init__(self) -> None:
        self._order = InOrder()
        self._hidden: set[int] = set()
        self._started: Started | None = None  # held until it is known whether usage comes right behind it
        self._usage = Usage()
        self._index = 0
        self._open: str | None = None  # type of the open block
        self._thinking = False  # a thought is being told, whether or not there is any text of it
        self._prefix = b""  # of a delta of the open block
        self._call: ToolCallStarted | None = None  # of the provider: its type is known at its end
        self._json: list[str] = []

    def feed(self, batch: Sequence[Event]) -> list[bytes]:
        out: list[bytes] = []
        for event in self._order.feed(self._shown(batch)):
            self._write(event, out)
        self._begin(out)
        return [b"".join(out)] if out else []

    def ping(self) -> bytes:
        return b'event: ping\ndata: {"type":"ping"}\n\n'

    def _shown(self, batch: Sequence[Event]) -> Iterator[Event]:
        for event in batch:
            match event:
                case ToolProgress() | WholePart(part=ToolResult()):
                    continue
                case ToolCallStarted(index, executor="server"):
                    self._hidden.add(index)
                    continue
                case ToolCallDelta(index) | PartEnded(index) if index in self._hidden:
                    continue
            yield event

    def _write(self, event: Event, out: list[bytes]) -> None:
        match event:
            case Started():
                self._started = event
                return
            case UsageReported(usage):
                self._usage = usage
                return
            case Failed(error):
                self._started = None  # an error may well be the first and only event
                out.append(sse(write_error(error), "error"))
                return
        self._begin(out)
        match event:
            case TextDelta(_, text):
                if text:
                    self._delta("text", text, out)
            case ReasoningDelta(_, text):
                self._thinking = True
                if text:
                    self._delta("thinking", text, out)
            case ToolCallStarted(_, id, name, executor):
                if executor == "client":
                    self._start({"type": "tool_use", "id": id, "name": name, "input": {}}, out)
                else:
                    self._call, self._json = event, []
            case ToolCallDelta(_, arguments):
                if self._call is None:
                    self._delta("tool_use", arguments, out)
                else:
                    self._json.append(arguments)
            case Cited(_, citation):
                for wire in write_citations((citation,), _kept):
                    self._ensure("text", out)
                    self._put({"type": "citations_delta", "citation": wire}, out)
            case PartEnded(_, keep):
                self._end(keep, out)
            case WholePart(_, part):
                for wire in write_parts((part,)):
                    self._start(wire, out)
                    self._stop(out)
            case Finished():
                self._finish(event, out)

    def _begin(self, out: list[bytes]) -> None:
        if self._started is None:
            return
        message: dict[str, Json] = {
            "id": self._started.id or f"msg_{token_hex(12)}",
            "type": "message",
            "role": "assistant",
            "model": self._started.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": write_usage(self._usage),
        }
        out.append(sse({"type": "message_start", "message": message}, "message_start"))
        self._started = None

    def _delta(self, kind: str, text: str, out: list[bytes]) -> None:
        """What comes ten thousand times an answer: only the text is made into JSON."""
        self._ensure(kind, out)
        out.append(b"%b%b}}\n\n" % (self._prefix, dump_bytes(text)))

    def _ensure(self, kind: str, out: list[bytes]) -> None:
        if self._open != kind:
            self._start({"type": "text", "text": ""} if kind == "text" else _unsigned(""), out)

    def _start(self, block: Mapping[str, Json], out: list[bytes]) -> None:
        self._open = str(block["type"])
        name = {"text": "text", "thinking": "thinking"}.get(self._open, "partial_json")
        delta = {"text": "text_delta", "thinking": "thinking_delta"}.get(self._open, "input_json_delta")
        self._prefix = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":'
            % (self._index, delta.encode(), name.encode())
        )
        wire: dict[str, Json] = {"type": "content_block_start", "index": self._index, "content_block": dict(block)}
        out.append(sse(wire, "content_block_start"))

    def _put(self, delta: dict[str, Json], out: list[bytes]) -> None:
        wire: dict[str, Json] = {"type": "content_block_delta", "index": self._index, "delta": delta}
        out.append(sse(wire, "content_block_delta"))

    def _stop(self, out: list[bytes]) -> None:
        if self._open is not None:
            out.append(sse({"type": "content_block_stop", "index": self._index}, "content_block_stop"))
            self._open = None
            self._index += 1

    def _end(self, keep: Keep, out: list[bytes]) -> None:
        kept, signature = _kept(keep), _signature(keep)
        if self._call is not None:
            self._end_call(self._call, kept, out)
        elif self._open is None:  # thought that is withheld; empty text leaves no trace
            if kept.get("type") == "redacted_thinking":
                self._start(kept, out)
            elif signature and self._thinking:
                self._start(_unsigned(""), out)
        if self._open == "thinking" and signature:
            self._put({"type": "signature_delta", "signature": signature}, out)
        self._thinking = False
        self._stop(out)

    def _end_call(self, call: ToolCallStarted, kept: Mapping[str, Json], out: list[bytes]) -> None:
        """A call of the provider's own, in this wire's words only."""
        self._call = None
        if "type" in kept:
            self._start({**kept, "id": call.id, "name": call.name, "input": {}}, out)
            if arguments := "".join(self._json):
                self._put({"type": "input_json_delta", "partial_json": arguments}, out)

    def _finish(self, finish: Finished, out: list[bytes]) -> None:
        if finish.reason == "error":
            out.append(sse(write_error(ended_badly(finish)), "error"))
            return
        kept = {**_kept(finish.keep)}
        more = kept.pop("usage", None)
        usage: dict[str, Json] = {**(more if isinstance(more, dict) else {}), **write_usage(self._usage)}
        beside = {name: kept.pop(name) for name in _BESIDE_DELTA if name in kept}
        delta: dict[str, Json] = {"stop_reason": _stop_word(finish), "stop_sequence": None, **kept}
        wire: dict[str, Json] = {"type": "message_delta", "delta": delta, **beside, "usage": usage}
        out.append(sse(wire, "message_delta"))
        out.append(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')


def _kept(keep: Keep) -> Mapping[str, Json]:
    return opaque_to_client(keep, NAME)


def _signature(keep: Keep) -> Json:
    """This wire's own, else what another engine wants back, sealed: clients return it as it is (T1)."""
    return _kept(keep).get("signature") or seal(tuple(opaque for opaque in keep if opaque.dialect != NAME))


def _unsigned(thought: str) -> dict[str, Json]:
    """The field is always there on this wire."""
    return {"type": "thinking", "thinking": thought, "signature": ""}


def _stop_word(finish: Finished) -> str:
    """The engine's own word where it is one of this wire: it may say more than our reason."""
    if finish.raw is not None and STOP_REASONS.get(finish.raw) == finish.reason:
        return finish.raw
    return _STOP_WORDS[finish.reason]


def write_parts(parts: Iterable[Part]) -> Iterator[dict[str, Json]]:
    """An answer's parts as blocks: those that this wire has a word for, less what ran on this server."""
    for part in parts:
        match part:
            case Text(text, citations, keep):
                wire: dict[str, Json] = {"type": "text", **_kept(keep), "text": text}
                if cited := write_citations(citations, _kept):
                    wire["citations"] = cited
                if text or cited:
                    yield wire
            case Reasoning(text, keep):
                kept = _kept(keep)
                if kept.get("type") == "redacted_thinking":
                    yield dict(kept)
                elif text or _signature(keep):
                    yield {**_unsigned(text), **kept, "signature": _signature(keep)}
            case ToolCall(id, name, arguments, executor, keep):
                wire = {"type": "tool_use", **_kept(keep), "id": id, "name": name, "input": write_input(arguments)}
                if executor == "client" or (executor == "provider" and wire["type"] != "tool_use"):
                    yield wire
            case Foreign(keep):
                kept = _kept(keep)
                if isinstance(kept.get("type"), str):  # a block that does not say what it is is none
                    yield dict(kept)


def write_reply(reply: Reply, request: ChatRequest, now: int) -> dict[str, Json]:
    """Raises ``EngineFailed`` for an answer that ended with an error, for which the wire has no word."""
    if reply.finish.reason == "error":
        raise ended_badly(reply.finish)
    kept = {**_kept(reply.finish.keep)}
    more = kept.pop("usage", None)
    return {
        "id": reply.id or f"msg_{token_hex(12)}",
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": [*write_parts(reply.message.parts)],
        "stop_reason": _stop_word(reply.finish),
        "stop_sequence": None,
        **kept,
        "usage": {**(more if isinstance(more, dict) else {}), **write_usage(reply.usage)},
    }


# The first that fits; the wire has no more words (platform.claude.com/docs/en/api/errors). A key of ours that was
# refused is no fault of the client's, so it is told as an error of the API.
_WORDS: Final[tuple[tuple[tuple[type[LLMError], ...], str], ...]] = (
    ((NotFound, UnknownModel), "not_found_error"),
    ((TooLarge,), "request_too_large"),
    ((RequestError,), "invalid_request_error"),
    ((NotAuthenticated,), "authentication_error"),
    ((QuotaExceeded,), "billing_error"),
    ((AccessError,), "api_error"),
    ((RateLimited,), "rate_limit_error"),
    ((Overloaded, Draining), "overloaded_error"),
    ((ConnectTimeout, FirstByteTimeout, IdleTimeout), "timeout_error"),
    ((LLMError,), "api_error"),
)
_TOO_LONG: Final = "prompt is too long"
# Told this code, clients send the conversation whole and go on without a thread at the provider.
_NO_THREADS: Final = "thread_unsupported_request"
REQUEST_ID: Final = "request-id"


def status_of(error: LLMError) -> int:
    """This wire has a status of its own for an engine with too much to do, and its clients an error for that."""
    said = error.provider
    return said.status if isinstance(error, Overloaded) and said is not None and said.status == 529 else error.status


def write_error(error: LLMError) -> dict[str, Json]:
    message = error.message
    if isinstance(error, ContextTooLong) and _TOO_LONG not in message.lower():
        # Clients know by these words alone that they have to compact; the wire has no code for it.
        message = f"{_TOO_LONG}: {message}"
    said = error.provider
    threaded = isinstance(error, Unsupported) and error.param == "thread"
    wire: dict[str, Json] = {
        "type": next(word for classes, word in _WORDS if isinstance(error, classes)),
        "message": message,
        "details": {"error_code": (said.code if said else None) or (_NO_THREADS if threaded else error.code)},
    }
    if error.param is not None:
        wire["param"] = error.param
    if said is not None:
        wire["provider"] = dict(said.as_json())
    return {"type": "error", "error": wire}


def write_models(models: Iterable[ModelInfo]) -> dict[str, Json]:
    data: list[Any] = [_write_model(model) for model in models if model.kind == "chat"]
    return {
        "data": data,
        "has_more": False,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }


def _write_model(model: ModelInfo) -> dict[str, Json]:
    """Named as a client has to name it here; the epoch stands for a date that is not known, as it does on this wire."""
    wire: dict[str, Json] = {
        "type": "model",
        "id": f"{model.engine}/{model.id}",
        "display_name": model.name or model.id,
        "created_at": datetime.fromtimestamp(model.created or 0, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    if model.context_tokens is not None:
        wire["max_input_tokens"] = model.context_tokens
    if model.max_output_tokens is not None:
        wire["max_tokens"] = model.max_output_tokens
    return wire
