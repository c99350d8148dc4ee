"""From an engine: a streamed answer as events, a whole one as a reply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from secrets import token_hex
from typing import Any, Final, Literal, TypeAlias

from llm.chat.events import (
    Cited,
    Event,
    Finished,
    PartEnded,
    Piece,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
    WholePart,
    settled,
)
from llm.chat.messages import Foreign, Message, Part, Reasoning, Text, ToolCall, Usage
from llm.chat.provider_metadata import Keep, Opaque, rest_of
from llm.chat.reply import Reply
from llm.dialects.anthropic.engine_errors import error_of
from llm.dialects.anthropic.shared import (
    NAME,
    STOP_REASONS,
    Unreadable,
    call_keep,
    executor_of,
    foreign,
    is_call,
    json_text,
    read_block,
    read_citation,
    read_usage,
    thinking_keep,
    usage_rest,
)
from llm.engines.engine import Engine
from llm.errors import Malformed, Truncated
from llm.wire.frames import MAX_FRAME, Frame, Framing
from llm.wire.json_codec import Json, loads
from llm.wire.json_lenient import count_of, text_of
from llm.wire.sse import Sse

_Kind: TypeAlias = Literal["text", "thinking", "call", "foreign"]

_MESSAGE: Final = ("id", "type", "role", "model", "content", "stop_reason", "usage")

# What leaving the field out means: the model called the tool itself, not code that it wrote.
_DIRECT: Final[Mapping[str, Json]] = {"type": "direct"}


def framing(most: int = MAX_FRAME) -> Framing:
    return Sse(most)


def reader(engine: Engine) -> MessageReader:
    return MessageReader(engine)


class _Block:
    """One content block on its way. ``part`` is its index among our parts, None until there is something to tell."""

    __slots__ = ("json", "kind", "part", "signature", "wire")

    def __init__(self, kind: _Kind, wire: dict[str, Any]) -> None:
        self.kind = kind
        self.wire = wire
        self.part: int | None = None
        self.json: list[str] = []
        self.signature: list[str] = []  # of a thought


class MessageReader:
    """The events of one stream, which ends with ``message_stop``."""

    noise = None
    unlike = None
    needs_text = False

    __slots__ = ("_blocks", "_called", "_engine", "_next", "_rest", "_started", "_stop", "_usage", "done")

    def __init__(self, engine: Engine) -> None:
        self.done = False
        self._engine = engine
        self._started = False
        self._blocks: dict[int | None, _Block] = {}
        self._next = 0
        self._called = False
        self._stop: str | None = None
        self._rest: dict[str, Json] = {}
        self._usage: dict[str, Any] = {}

    def feed(self, frame: Frame) -> list[Event]:
        if self.done or frame.data == "[DONE]":
            return []
        try:
            wire = loads(frame.data)
        except ValueError:
            raise Malformed("The engine sent an event that is not JSON.", engine=self._engine.name) from None
        out: list[Event] = []
        if isinstance(wire, dict):
            try:
                self._event(wire, wire.get("type") or frame.event, out)
            except Unreadable as odd:
                raise _malformed(odd, self._engine) from None
        return out

    def skipped(self, piece: Piece) -> None:
        """Nothing here counts what was said, but for what a call was given."""
        if isinstance(piece, ToolCallDelta):
            for block in self._blocks.values():
                if block.part == piece.index:
                    block.json.append(piece.arguments)

    def close(self) -> list[Event]:
        if self.done:
            return []
        raise Truncated(f"{self._engine.label} ended its answer before it was complete.", engine=self._engine.name)

    def _event(self, wire: dict[str, Any], kind: object, out: list[Event]) -> None:
        if kind == "error" or (kind == "" and "error" in wire):
            raise error_of(0, wire, self._engine)
        if kind == "message_start":
            self._start(_object(wire, "message"), out)
        elif not self._started:
            if kind in ("content_block_start", "content_block_delta", "message_delta", "message_stop"):
                raise Malformed("The engine's answer has no beginning.", engine=self._engine.name)
        elif kind == "content_block_delta":
            delta = wire.get("delta")
            if isinstance(delta, dict):
                self._delta(count_of(wire.get("index")), delta, out)
        elif kind == "content_block_start":
            self._open(count_of(wire.get("index")), _object(wire, "content_block"), out)
        elif kind == "content_block_stop":
            self._close(count_of(wire.get("index")), out)
        elif kind == "message_delta":
            self._settle(wire, out)
        elif kind == "message_stop":
            self._finish(out)

    def _start(self, message: dict[str, Any], out: list[Event]) -> None:
        if self._started:
            return
        self._started = True
        out.append(Started(text_of(message.get("id")), text_of(message.get("model"))))
        self._rest = _told(message, _MESSAGE)
        self._report(message.get("usage"), out)

    def _report(self, usage: object, out: list[Event]) -> None:
        """Counts are cumulative; those left out are as they were told before."""
        if isinstance(usage, dict):
            told = {name: value for name, value in usage.items() if value is not None}
            if told:
                self._usage |= told
                out.append(UsageReported(read_usage(self._usage)))

    def _open(self, index: int | None, wire: dict[str, Any], out: list[Event]) -> None:
        if index in self._blocks:
            self._close(index, out)
        kind = text_of(wire.get("type"))
        block = self._blocks[index] = _Block(_kind_of(kind), wire)
        match block.kind:
            case "text":
                self._text(block, wire.get("text"), out)
                cited = wire.get("citations")
                for citation in cited if isinstance(cited, list) else ():
                    self._cite(block, citation, out)
            case "thinking":
                self._thought(block, wire.get("thinking"), out)
            case "call":
                executor = executor_of(kind)
                self._called = self._called or executor == "client"
                id = text_of(wire.get("id")) or f"call_{token_hex(12)}"
                out.append(ToolCallStarted(self._part(block), id, text_of(wire.get("name")), executor))

    def _delta(self, index: int | None, delta: dict[str, Any], out: list[Event]) -> None:
        kind = delta.get("type")
        block = self._block(index, kind, out)
        if block is None:
            return
        match kind, block.kind:
            case "text_delta", "text":
                self._text(block, delta.get("text"), out)
            case "thinking_delta", "thinking":
                self._thought(block, delta.get("thinking"), out)
            case "signature_delta", "thinking":
                block.signature.append(text_of(delta.get("signature")))
            case "citations_delta", "text":
                self._cite(block, delta.get("citation"), out)
            case "input_json_delta", "call" | "foreign":
                if piece := text_of(delta.get("partial_json")):
                    block.json.append(piece)
                    if block.part is not None:
                        out.append(ToolCallDelta(block.part, piece))
            case _, "foreign":
                _fold(block.wire, delta)

    def _block(self, index: int | None, kind: object, out: list[Event]) -> _Block | None:
        """The block that a delta belongs to. Text inside a thought, or outside any block, opens one of its own."""
        block = self._blocks.get(index)
        wanted = {"text_delta": "text", "thinking_delta": "thinking"}.get(kind) if isinstance(kind, str) else None
        if wanted is None or (block is not None and block.kind in (wanted, "foreign")):
            return block
        self._open(index, {"type": wanted}, out)
        return self._blocks.get(index)

    def _text(self, block: _Block, text: object, out: list[Event]) -> None:
        if isinstance(text, str) and text:
            out.append(TextDelta(self._part(block), text))

    def _thought(self, block: _Block, text: object, out: list[Event]) -> None:
        if isinstance(text, str) and text:
            out.append(ReasoningDelta(self._part(block), text))

    def _cite(self, block: _Block, citation: object, out: list[Event]) -> None:
        if isinstance(citation, dict):
            out.append(Cited(self._part(block), read_citation(citation, self._engine.issuer)))

    def _close(self, index: int | None, out: list[Event]) -> None:
        block = self._blocks.pop(index, None)
        if block is None:
            return
        issuer = self._engine.issuer
        match block.kind:
            case "text":
                if block.part is not None:
                    out.append(PartEnded(block.part, rest_of(block.wire, ("type", "text", "citations"), NAME, issuer)))
            case "thinking":
                if block.signature:
                    block.wire["signature"] = text_of(block.wire.get("signature")) + "".join(block.signature)
                keep = _thinking_keep(block.wire, issuer)
                if block.part is None and keep:
                    out.append(ReasoningDelta(self._part(block), ""))
                if block.part is not None:
                    out.append(PartEnded(block.part, keep))
            case "call":
                part = self._part(block)
                given = block.wire.get("input")
                if given and not block.json:
                    out.append(ToolCallDelta(part, given if isinstance(given, str) else json_text(given, "input")))
                out.append(PartEnded(part, call_keep(_undirected(block.wire), issuer)))
            case "foreign":
                out.append(WholePart(self._part(block), _foreign(block, issuer)))

    def _settle(self, wire: dict[str, Any], out: list[Event]) -> None:
        delta = wire.get("delta")
        if isinstance(delta, dict):
            if isinstance(delta.get("stop_reason"), str):
                self._stop = delta["stop_reason"]
            self._rest |= _told(delta, ("stop_reason",))
        self._rest |= _told(wire, ("type", "delta", "usage"))
        self._report(wire.get("usage"), out)

    def _finish(self, out: list[Event]) -> None:
        for index in [*self._blocks]:
            self._close(index, out)
        out.append(_finished(self._stop, self._called, self._rest, self._usage, self._engine))
        self.done = True

    def _part(self, block: _Block) -> int:
        if block.part is None:
            block.part, self._next = self._next, self._next + 1
        return block.part


def _kind_of(kind: str) -> _Kind:
    match kind:
        case "text":
            return "text"
        case "thinking" | "redacted_thinking":
            return "thinking"
    return "call" if is_call(kind) else "foreign"


def _thinking_keep(wire: Mapping[str, Any], issuer: str) -> Keep:
    if wire.get("type") == "redacted_thinking":
        return (Opaque(NAME, issuer, dict(wire)),)
    return thinking_keep(wire, issuer)


def _undirected(wire: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in wire.items() if name != "caller" or value != _DIRECT}


def _fold(wire: dict[str, Any], delta: Mapping[str, Any]) -> None:
    """A delta of a block we do not know: text goes on, anything else is new."""
    for name, value in delta.items():
        if name == "type" or value is None:
            continue
        before = wire.get(name)
        wire[name] = before + value if isinstance(before, str) and isinstance(value, str) else value


def _foreign(block: _Block, issuer: str) -> Foreign:
    wire = block.wire
    if block.json:
        try:
            wire = {**wire, "input": loads("".join(block.json))}
        except ValueError:
            wire = {**wire, "input": "".join(block.json)}
    return foreign(wire, issuer)


def _finished(
    stop: str | None, called: bool, rest: Mapping[str, Json], usage: Mapping[str, Any], engine: Engine
) -> Finished:
    kept = dict(rest)
    if more := usage_rest(usage):
        kept["usage"] = more
    reason = STOP_REASONS.get(stop, "other") if stop else "other"
    return Finished(settled(reason, called), stop, (Opaque(NAME, engine.issuer, kept),) if kept else ())


def _told(wire: Mapping[str, Any], known: Sequence[str]) -> dict[str, Json]:
    """The unknown fields that say something: ``stop_sequence: null`` does not."""
    return {name: value for name, value in wire.items() if name not in known and value is not None}


def read_reply(body: Any, engine: Engine) -> Reply:
    if not isinstance(body, dict):
        raise Malformed(f"{engine.label} answered with something other than a message.", engine=engine.name)
    if body.get("type") == "error" or ("error" in body and "content" not in body):
        raise error_of(0, body, engine)
    content = body.get("content")
    if not isinstance(content, list):
        raise Malformed(f"{engine.label} answered with something other than a message.", engine=engine.name)
    try:
        parts = tuple(_read_parts(content, engine))
    except Unreadable as odd:
        raise _malformed(odd, engine) from None
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    called = any(isinstance(part, ToolCall) and part.executor == "client" for part in parts)
    stop = body.get("stop_reason")
    return Reply(
        id=text_of(body.get("id")),
        model=text_of(body.get("model")),
        message=Message("assistant", parts),
        finish=_finished(stop if isinstance(stop, str) else None, called, _told(body, _MESSAGE), usage, engine),
        usage=read_usage(usage) if usage else Usage(),
    )


def _read_parts(content: Sequence[object], engine: Engine) -> Iterator[Part]:
    """As the stream would tell them: no empty text, no thought without text or signature, no call without id."""
    for n, wire in enumerate(content):
        if not wire:
            continue
        if isinstance(wire, dict) and is_call(text_of(wire.get("type"))):
            wire = {**_undirected(wire), "id": wire.get("id") or f"call_{token_hex(12)}"}
        part = read_block(wire, engine.issuer, f"content[{n}]")
        match part:
            case Text("", ()) | Reasoning("", ()):
                continue
        yield part


def _object(wire: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A copy, since deltas are folded into it; empty where the engine sent something else."""
    value = wire.get(name)
    return dict(value) if isinstance(value, dict) else {}


def _malformed(odd: Unreadable, engine: Engine) -> Malformed:
    return Malformed(f"{engine.label} answered with something that cannot be read: {odd}.", engine=engine.name)
