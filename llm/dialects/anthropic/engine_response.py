"""Reads an engine's responses: a stream as events, a whole message as a Reply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from secrets import token_hex
from typing import Any, Final, Literal, TypeAlias

from llm.chat.events import (
    AnyDelta,
    Cited,
    Event,
    PartEnded,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
    WholePart,
)
from llm.chat.messages import Message, Part, Reasoning, Text, ToolCall, UnknownPart, Usage
from llm.chat.provider_metadata import Metadata, ProviderMetadata, unknown_fields
from llm.chat.reply import Reply
from llm.dialects.anthropic.engine_errors import build_error
from llm.dialects.anthropic.shared import (
    NAME,
    Unreadable,
    build_finished,
    choose_executor,
    dump_json,
    is_call_type,
    read_block,
    read_call_metadata,
    read_citation,
    read_thinking_metadata,
    read_unknown_block,
    read_usage,
)
from llm.dialects.losses import REASONING
from llm.engines.engine import Engine
from llm.errors import Malformed, Truncated
from llm.wire.frames import Frame
from llm.wire.json_codec import Json, is_json, loads
from llm.wire.json_lenient import as_count, as_dicts, as_text, drop_null
from llm.wire.sse import SseDecoder

_Kind: TypeAlias = Literal["text", "thinking", "call", "unknown"]

# The known fields of a message.
_MESSAGE_FIELDS: Final = ("id", "type", "role", "model", "content", "stop_reason", "usage")

# The default ``caller`` of a tool call: the model itself, not code that it wrote.


class _Block:
    """One open content block. ``part`` is the index of its part, None until its first event."""

    __slots__ = ("json", "kind", "part", "signature", "wire")

    def __init__(self, kind: _Kind, wire: dict[str, Any]) -> None:
        self.kind = kind
        self.wire = wire
        self.part: int | None = None
        self.json: list[str] = []
        self.signature: list[str] = []  # pieces of the signature of a thinking block


class MessageReader:
    """Reads the events of one stream, which ends with ``message_stop``."""

    volatile_fields = None
    stateful_fields = None
    needs_text = False

    __slots__ = (
        "_blocks",
        "_engine",
        "_fields",
        "_has_call",
        "_has_output",
        "_next_part",
        "_started",
        "_stop_reason",
        "_usage",
        "broken_call",
        "done",
    )

    def __init__(self, engine: Engine) -> None:
        self.done = False
        self.broken_call = ""  # name of a tool whose arguments are not JSON
        self._engine = engine
        self._started = False
        self._blocks: dict[int | None, _Block] = {}
        self._next_part = 0
        self._has_call = False  # for the client
        self._has_output = False  # a part other than reasoning
        self._stop_reason: str | None = None
        self._fields: dict[str, Json] = {}  # unknown fields of the message
        self._usage: dict[str, Any] = {}

    def feed(self, frame: Frame) -> list[Event]:
        """Reads one frame. Raises ``Malformed`` for an invalid one, or the error that the engine sent."""
        if self.done or frame.data == "[DONE]":
            return []
        try:
            wire = loads(frame.data)
        except ValueError:
            raise Malformed("The engine sent an event that is not JSON.", engine=self._engine.name) from None
        out: list[Event] = []
        if isinstance(wire, dict):
            try:
                self._read_event(wire, wire.get("type") or frame.event, out)
            except Unreadable as error:
                raise _build_malformed(error, self._engine) from None
        return out

    def note_delta(self, delta: AnyDelta) -> None:
        """Records a delta that bypassed ``feed``: only the arguments of tool calls are collected here."""
        if isinstance(delta, ToolCallDelta):
            for block in self._blocks.values():
                if block.part == delta.index:
                    block.json.append(delta.arguments)

    def close(self) -> list[Event]:
        """Ends the stream. Raises ``Truncated`` if ``message_stop`` is missing."""
        if self.done:
            return []
        raise Truncated(f"{self._engine.label} ended the answer before it was complete.", engine=self._engine.name)

    def _read_event(self, wire: dict[str, Any], kind: object, out: list[Event]) -> None:
        if kind == "error" or (kind == "" and "error" in wire):
            raise build_error(0, wire, self._engine)
        if kind == "message_start":
            self._read_start(_copy_object(wire, "message"), out)
        elif not self._started:
            if kind in ("content_block_start", "content_block_delta", "message_delta", "message_stop"):
                raise Malformed("The engine's answer does not start with message_start.", engine=self._engine.name)
        elif kind == "content_block_delta":
            delta = wire.get("delta")
            if isinstance(delta, dict):
                self._read_delta(as_count(wire.get("index")), delta, out)
        elif kind == "content_block_start":
            self._open_block(as_count(wire.get("index")), _copy_object(wire, "content_block"), out)
        elif kind == "content_block_stop":
            self._close_block(as_count(wire.get("index")), out)
        elif kind == "message_delta":
            self._read_message_delta(wire, out)
        elif kind == "message_stop":
            self._finish_message(out)

    def _read_start(self, message: dict[str, Any], out: list[Event]) -> None:
        if self._started:
            return
        self._started = True
        dropped = _read_dropped(message) if "input_transformations" in message else ()
        out.append(Started(as_text(message.get("id")), as_text(message.get("model")), dropped))
        self._fields = _select_unknown(message, _MESSAGE_FIELDS)
        self._report_usage(message.get("usage"), out)

    def _report_usage(self, usage: object, out: list[Event]) -> None:
        """Emits the usage. Counts are cumulative; missing ones keep their last value."""
        if isinstance(usage, dict):
            reported = {name: value for name, value in usage.items() if value is not None}
            if reported:
                self._usage |= reported
                out.append(UsageReported(read_usage(self._usage)))

    def _open_block(self, index: int | None, wire: dict[str, Any], out: list[Event]) -> None:
        if index in self._blocks:
            self._close_block(index, out)
        kind = as_text(wire.get("type"))
        block = self._blocks[index] = _Block(_choose_kind(kind), wire)
        match block.kind:
            case "text":
                self._emit_text(block, wire.get("text"), out)
                citations = wire.get("citations")
                for citation in citations if isinstance(citations, list) else ():
                    self._emit_citation(block, citation, out)
            case "thinking":
                self._emit_reasoning(block, wire.get("thinking"), out)
            case "call":
                executor = choose_executor(kind)
                self._has_call = self._has_call or executor == "client"
                id = as_text(wire.get("id")) or f"call_{token_hex(12)}"
                out.append(ToolCallStarted(self._assign_part(block), id, as_text(wire.get("name")), executor))

    def _read_delta(self, index: int | None, delta: dict[str, Any], out: list[Event]) -> None:
        kind = delta.get("type")
        block = self._find_block(index, kind, out)
        if block is None:
            return
        match kind, block.kind:
            case "text_delta", "text":
                self._emit_text(block, delta.get("text"), out)
            case "thinking_delta", "thinking":
                self._emit_reasoning(block, delta.get("thinking"), out)
            case "signature_delta", "thinking":
                block.signature.append(as_text(delta.get("signature")))
            case "citations_delta", "text":
                self._emit_citation(block, delta.get("citation"), out)
            case "input_json_delta", "call" | "unknown":
                piece = as_text(delta.get("partial_json"))
                if piece := piece if block.json else drop_null(piece):
                    block.json.append(piece)
                    if block.part is not None:
                        out.append(ToolCallDelta(block.part, piece))
            case _, "unknown":
                _merge_delta(block.wire, delta)

    def _find_block(self, index: int | None, kind: object, out: list[Event]) -> _Block | None:
        """Returns the block of a delta. Opens a new one for text inside a thinking block or outside any block."""
        block = self._blocks.get(index)
        wanted = {"text_delta": "text", "thinking_delta": "thinking"}.get(kind) if isinstance(kind, str) else None
        if wanted is None or (block is not None and block.kind in (wanted, "unknown")):
            return block
        self._open_block(index, {"type": wanted}, out)
        return self._blocks.get(index)

    def _emit_text(self, block: _Block, text: object, out: list[Event]) -> None:
        if isinstance(text, str) and text:
            out.append(TextDelta(self._assign_part(block), text))

    def _emit_reasoning(self, block: _Block, text: object, out: list[Event]) -> None:
        if isinstance(text, str) and text:
            out.append(ReasoningDelta(self._assign_part(block), text))

    def _emit_citation(self, block: _Block, citation: object, out: list[Event]) -> None:
        if isinstance(citation, dict):
            out.append(Cited(self._assign_part(block), read_citation(citation, self._engine.issuer)))

    def _close_block(self, index: int | None, out: list[Event]) -> None:
        block = self._blocks.pop(index, None)
        if block is None:
            return
        issuer = self._engine.issuer
        match block.kind:
            case "text":
                if block.part is not None:
                    out.append(
                        PartEnded(block.part, unknown_fields(block.wire, ("type", "text", "citations"), NAME, issuer))
                    )
            case "thinking":
                if block.signature:
                    block.wire["signature"] = as_text(block.wire.get("signature")) + "".join(block.signature)
                metadata = _read_thinking_metadata(block.wire, issuer)
                if block.part is None and metadata:
                    out.append(ReasoningDelta(self._assign_part(block), ""))
                if block.part is not None:
                    out.append(PartEnded(block.part, metadata))
            case "call":
                if block.json and not is_json("".join(block.json)):
                    self.broken_call = as_text(block.wire.get("name")) or "?"
                part = self._assign_part(block)
                input_ = block.wire.get("input")
                text = drop_null(input_) if isinstance(input_, str) else dump_json(input_ or {}, "input")
                if (input_ and text) and not block.json:
                    out.append(ToolCallDelta(part, text))
                out.append(PartEnded(part, read_call_metadata(block.wire, issuer)))
            case "unknown":
                out.append(WholePart(self._assign_part(block), _read_unknown_block(block, issuer)))

    def _read_message_delta(self, wire: dict[str, Any], out: list[Event]) -> None:
        delta = wire.get("delta")
        if isinstance(delta, dict):
            if isinstance(delta.get("stop_reason"), str):
                self._stop_reason = delta["stop_reason"]
            self._fields |= _select_unknown(delta, ("stop_reason",))
        self._fields |= _select_unknown(wire, ("type", "delta", "usage"))
        self._report_usage(wire.get("usage"), out)

    def _finish_message(self, out: list[Event]) -> None:
        for index in [*self._blocks]:
            self._close_block(index, out)
        called, issuer = self._has_call, self._engine.issuer
        out.append(build_finished(self._stop_reason, called, self._has_output, self._fields, self._usage, issuer))
        self.done = True

    def _assign_part(self, block: _Block) -> int:
        if block.part is None:
            block.part, self._next_part = self._next_part, self._next_part + 1
            self._has_output = self._has_output or block.kind != "thinking"
        return block.part


create_framing = SseDecoder  # cuts a streamed answer into frames
create_reader = MessageReader  # reads one streamed answer


def _choose_kind(kind: str) -> _Kind:
    match kind:
        case "text":
            return "text"
        case "thinking" | "redacted_thinking":
            return "thinking"
    return "call" if is_call_type(kind) else "unknown"


def _read_thinking_metadata(wire: Mapping[str, Any], issuer: str) -> Metadata:
    if wire.get("type") == "redacted_thinking":
        return (ProviderMetadata(NAME, issuer, dict(wire)),)
    return read_thinking_metadata(wire, issuer)


def _merge_delta(wire: dict[str, Any], delta: Mapping[str, Any]) -> None:
    """Merges a delta into an unknown block: strings are appended, other values replaced."""
    for name, value in delta.items():
        if name == "type" or value is None:
            continue
        before = wire.get(name)
        wire[name] = before + value if isinstance(before, str) and isinstance(value, str) else value


def _read_unknown_block(block: _Block, issuer: str) -> UnknownPart:
    wire = block.wire
    if block.json:
        try:
            wire = {**wire, "input": loads("".join(block.json))}
        except ValueError:
            wire = {**wire, "input": "".join(block.json)}
    return read_unknown_block(wire, issuer)


def _read_dropped(message: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the name of thinking if the provider has removed some from the request (``input_transformations``)."""
    changes = as_dicts(message.get("input_transformations"))
    return (REASONING,) if any(change.get("type") == "thinking_dropped" for change in changes) else ()


def _select_unknown(wire: Mapping[str, Any], known: Sequence[str]) -> dict[str, Json]:
    """Returns the unknown fields that are not null (``stop_sequence: null`` is common)."""
    return {name: value for name, value in wire.items() if name not in known and value is not None}


def read_reply(body: Any, engine: Engine) -> Reply:
    """Reads a whole message. Raises ``Malformed`` for an invalid body, or the error that the engine sent."""
    if not isinstance(body, dict):
        raise Malformed(f"{engine.label} sent an answer that is not a message.", engine=engine.name)
    if body.get("type") == "error" or ("error" in body and "content" not in body):
        raise build_error(0, body, engine)
    content = body.get("content")
    if not isinstance(content, list):
        raise Malformed(f"{engine.label} sent an answer that is not a message.", engine=engine.name)
    try:
        parts = tuple(_read_parts(content, engine))
    except Unreadable as error:
        raise _build_malformed(error, engine) from None
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    has_call = any(isinstance(part, ToolCall) and part.executor == "client" for part in parts)
    stop = body.get("stop_reason")
    return Reply(
        id=as_text(body.get("id")),
        model=as_text(body.get("model")),
        message=Message("assistant", parts),
        dropped=_read_dropped(body),
        finish=build_finished(
            stop if isinstance(stop, str) else None,
            has_call,
            any(not isinstance(part, Reasoning) for part in parts),
            _select_unknown(body, _MESSAGE_FIELDS),
            usage,
            engine.issuer,
        ),
        usage=read_usage(usage) if usage else Usage(),
    )


def _read_parts(content: Sequence[object], engine: Engine) -> Iterator[Part]:
    """Reads the parts as the stream reader does: skips empty texts and empty reasoning, adds missing call ids."""
    for n, wire in enumerate(content):
        if not wire:
            continue
        if isinstance(wire, dict) and is_call_type(as_text(wire.get("type"))):
            wire = {**wire, "id": wire.get("id") or f"call_{token_hex(12)}"}
        part = read_block(wire, engine.issuer, f"content[{n}]")
        match part:
            case Text("", ()) | Reasoning("", ()):
                continue
        yield part


def _copy_object(wire: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Returns a copy of an object, since deltas are merged into it; empty for any other value."""
    value = wire.get(name)
    return dict(value) if isinstance(value, dict) else {}


def _build_malformed(error: Unreadable, engine: Engine) -> Malformed:
    return Malformed(f"{engine.label} sent an invalid answer: {error}.", engine=engine.name)
