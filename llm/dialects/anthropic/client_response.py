"""Writes responses of ``POST /v1/messages`` for clients: streams, whole messages, errors, and the model list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
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
    describe_end,
    failed_finish_error,
)
from llm.chat.filters import PartSequencer
from llm.chat.messages import (
    NO_USAGE,
    Citation,
    Media,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    UnknownPart,
    describe_media,
    list_sources,
)
from llm.chat.provider_metadata import Metadata, encode_id, encode_metadata, metadata_for_client
from llm.chat.reply import Reply
from llm.chat.request import ChatRequest
from llm.dialects.anthropic.client_errors import write_error
from llm.dialects.anthropic.shared import NAME, STOP_REASONS, write_citations, write_input, write_usage
from llm.engines.capabilities import ModelInfo
from llm.wire.json_codec import Json, dump_bytes
from llm.wire.sse import encode_sse_event

_WIRE_STOP_REASONS: Final[Mapping[FinishReason, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "filtered": "refusal",
    "paused": "pause_turn",
    "other": "end_turn",  # the answer is complete, and this wire has no value for an unknown reason
}
# What the provider sends in each object, null where there is nothing: clients read these fields without a check.
_END_FIELDS: Final = ("stop_reason", "stop_sequence", "stop_details", "container", "diagnostics")
_NO_END: Final[Mapping[str, Json]] = dict.fromkeys(_END_FIELDS)
_NO_DELTA_USAGE: Final[Mapping[str, Json]] = {"output_tokens_details": None, "server_tool_use": None}
_USAGE_FIELDS: Final = ("cache_creation", "inference_geo", "service_tier", "speed", *_NO_DELTA_USAGE)
_NO_USAGE: Final[Mapping[str, Json]] = dict.fromkeys(_USAGE_FIELDS)
_NO_PARTS: Final[frozenset[int]] = frozenset()  # one for all streams: each empty set has 216 bytes
_TEXT: Final[Mapping[str, Json]] = {"type": "text", "citations": None}
_TOOL_USE: Final[Mapping[str, Json]] = {"type": "tool_use", "caller": {"type": "direct"}, "toolset_name": None}
# Unknown fields of the end of an answer that are written beside the delta of ``message_delta``, not in it.
_BESIDE_DELTA: Final = ("context_management", "input_transformations", "diagnostics")


def create_writer(request: ChatRequest, now: int) -> MessageWriter:
    """Creates the writer of one stream; ``now`` does not affect this wire."""
    return MessageWriter(request)


class MessageWriter:
    """Writes events as the SSE stream of one message.

    One block is open at a time. Tool calls run on this server are left out, and thinking that the client did not ask
    for, as by the provider itself: clients read the text of the first block. Block indexes count only written blocks.
    Citations of other wires become a text behind the answer, unless that has to be JSON.
    """

    content_type = "text/event-stream"
    write_interval = 0.0

    def __init__(self, request: ChatRequest) -> None:
        self._model, self._shows_thinking = request.model, _asked_to_think(request)
        self._lists_sources = request.options.format is None
        self._order = PartSequencer()
        self._sources: list[Citation] = []  # of other wires
        self._hidden = _NO_PARTS
        self._started: Started | None = None  # held back in case usage is the next event
        self._usage = NO_USAGE
        self._index = 0
        self._open_type: str | None = None  # type of the open block; None: no block is open
        self._in_reasoning = False  # the current part is reasoning, with or without text
        self._delta_prefix = b""  # first bytes of every delta of the open block
        self._provider_call: ToolCallStarted | None = None  # provider-run; its block type comes with its end
        self._arguments: list[str] = []

    def feed(self, events: Sequence[Event]) -> list[bytes]:
        """Writes the events; returns at most one piece."""
        out: list[bytes] = []
        for event in self._order.feed(self._remove_hidden(events)):
            self._write_event(event, out)
        self._write_message_start(out)
        return [b"".join(out)] if out else []

    def write_keepalive(self) -> bytes:
        """Returns the wire's keepalive event."""
        return b'event: ping\ndata: {"type":"ping"}\n\n'

    def _remove_hidden(self, batch: Sequence[Event]) -> Iterator[Event]:
        for event in batch:
            match event:
                case ToolProgress() | WholePart(part=ToolResult()):
                    continue
                case ToolCallStarted(index, executor="server"):
                    self._hidden |= {index}
                    continue
                case ReasoningDelta(index) if not self._shows_thinking:
                    self._hidden |= {index}
                    continue
                case ToolCallDelta(index) | PartEnded(index) if index in self._hidden:
                    continue
            yield event

    def _write_event(self, event: Event, out: list[bytes]) -> None:
        match event:
            case Started():
                self._started = event
                return
            case UsageReported(usage):
                self._usage = usage
                return
            case Failed(error):
                self._started = None  # an error may be the first and only event of this wire
                out.append(encode_sse_event(write_error(error), "error"))
                return
        self._write_message_start(out)
        match event:
            case TextDelta(_, text):
                if text:
                    self._write_delta("text", text, out)
            case ReasoningDelta(_, text):
                self._in_reasoning = True
                if text:
                    self._write_delta("thinking", text, out)
            case ToolCallStarted(_, id, name, executor):
                if executor == "client":
                    self._start_block({**_TOOL_USE, "id": encode_id(id), "name": name, "input": {}}, out)
                else:
                    self._provider_call, self._arguments = event, []
            case ToolCallDelta(_, arguments):
                if self._provider_call is None:
                    self._write_delta("tool_use", arguments, out)
                else:
                    self._arguments.append(arguments)
            case Cited(_, citation):
                if wire := _fields_for_client(citation.metadata):
                    self._open_block("text", out)
                    self._write_delta_event({"type": "citations_delta", "citation": dict(wire)}, out)
                else:
                    self._sources.append(citation)
            case PartEnded(_, metadata):
                self._end_part(metadata, out)
            case WholePart(_, Media() as media):
                self._write_delta("text", describe_media(media), out)
                self._stop_block(out)
            case WholePart(_, part):
                for wire in write_parts((part,)):
                    self._start_block(wire, out)
                    self._stop_block(out)
            case Finished():
                self._finish_message(event, out)

    def _write_message_start(self, out: list[bytes]) -> None:
        if self._started is None:
            return
        started, usage = self._started, self._usage
        if usage.fresh is None and (tokens := _count_input(started)) is not None:
            usage = replace(usage, fresh=tokens, estimated=started.input_tokens is None)
        message: dict[str, Json] = {
            "id": started.id or f"msg_{token_hex(12)}",
            "type": "message",
            "role": "assistant",
            "model": self._model or started.model,
            "content": [],
            **_NO_END,
            "usage": {**_NO_USAGE, **write_usage(usage)},
        }
        out.append(encode_sse_event({"type": "message_start", "message": message}, "message_start"))
        self._started = None

    def _write_delta(self, kind: str, text: str, out: list[bytes]) -> None:
        """Writes a delta of the open block. This is the hot path, so only the text is encoded."""
        self._open_block(kind, out)
        out.append(b"%b%b}}\n\n" % (self._delta_prefix, dump_bytes(text)))

    def _open_block(self, kind: str, out: list[bytes]) -> None:
        if self._open_type != kind:
            self._start_block({**_TEXT, "text": ""} if kind == "text" else _build_thinking(""), out)

    def _start_block(self, block: Mapping[str, Json], out: list[bytes]) -> None:
        self._open_type = str(block["type"])
        name = {"text": "text", "thinking": "thinking"}.get(self._open_type, "partial_json")
        delta = {"text": "text_delta", "thinking": "thinking_delta"}.get(self._open_type, "input_json_delta")
        self._delta_prefix = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":'
            % (self._index, delta.encode(), name.encode())
        )
        wire: dict[str, Json] = {"type": "content_block_start", "index": self._index, "content_block": dict(block)}
        out.append(encode_sse_event(wire, "content_block_start"))

    def _write_delta_event(self, delta: dict[str, Json], out: list[bytes]) -> None:
        wire: dict[str, Json] = {"type": "content_block_delta", "index": self._index, "delta": delta}
        out.append(encode_sse_event(wire, "content_block_delta"))

    def _stop_block(self, out: list[bytes]) -> None:
        if self._open_type is not None:
            out.append(encode_sse_event({"type": "content_block_stop", "index": self._index}, "content_block_stop"))
            self._open_type = None
            self._index += 1

    def _end_part(self, metadata: Metadata, out: list[bytes]) -> None:
        fields, signature = _fields_for_client(metadata), _choose_signature(metadata)
        if self._provider_call is not None:
            self._end_provider_call(self._provider_call, fields, out)
        elif self._open_type is None:  # redacted or empty reasoning; an empty text gets no block
            if fields.get("type") == "redacted_thinking":
                self._start_block(fields, out)
            elif signature and self._in_reasoning:
                self._start_block(_build_thinking(""), out)
        if self._open_type == "thinking" and signature:
            self._write_delta_event({"type": "signature_delta", "signature": signature}, out)
        self._in_reasoning = False
        self._stop_block(out)

    def _end_provider_call(self, call: ToolCallStarted, fields: Mapping[str, Json], out: list[bytes]) -> None:
        """Writes a provider-run tool call, if it came over this wire."""
        self._provider_call = None
        if "type" in fields:
            self._start_block({**fields, "id": call.id, "name": call.name, "input": {}}, out)
            if arguments := "".join(self._arguments):
                self._write_delta_event({"type": "input_json_delta", "partial_json": arguments}, out)

    def _finish_message(self, finish: Finished, out: list[bytes]) -> None:
        if finish.reason == "error":
            out.append(encode_sse_event(write_error(failed_finish_error(finish)), "error"))
            return
        listed = self._lists_sources and finish.reason != "tool_calls"  # no text stands behind a call
        if listed and (sources := list_sources(self._sources)):
            self._write_delta("text", sources, out)
            self._stop_block(out)
        fields = {**_fields_for_client(finish.metadata)}
        more = fields.pop("usage", None)
        usage = {**_NO_DELTA_USAGE, **(more if isinstance(more, dict) else {}), **write_usage(self._usage)}
        beside = {name: fields.pop(name) for name in _BESIDE_DELTA if name in fields}
        delta: dict[str, Json] = {"container": None, **_write_stop(finish), **fields}
        wire: dict[str, Json] = {"type": "message_delta", "delta": delta, **beside, "usage": usage}
        out.append(encode_sse_event(wire, "message_delta"))
        out.append(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')


def _fields_for_client(metadata: Metadata) -> Mapping[str, Json]:
    return metadata_for_client(metadata, NAME)


def _choose_signature(metadata: Metadata) -> Json:
    """Returns the wire's own signature, else the sealed metadata of other engines.

    T1: clients send a signature back unchanged, and the engine gets its metadata back.
    """
    return _fields_for_client(metadata).get("signature") or encode_metadata(
        tuple(opaque for opaque in metadata if opaque.dialect != NAME)
    )


def _build_thinking(text: str) -> dict[str, Json]:
    """Builds a thinking block with an empty signature, since the wire requires the field."""
    return {"type": "thinking", "thinking": text, "signature": ""}


def _write_stop(finish: Finished) -> dict[str, Json]:
    """Writes the end of an answer. The engine's own stop reason may be more exact than ours, if this wire has it."""
    reason = _WIRE_STOP_REASONS[finish.reason]
    if finish.raw is not None and STOP_REASONS.get(finish.raw) == finish.reason:
        reason = finish.raw
    elif finish.reason == "stop" and finish.stop_sequence:
        reason = "stop_sequence"
    details = describe_end(finish)
    return {
        "stop_reason": reason,
        "stop_sequence": finish.stop_sequence,
        "stop_details": {**details} if details else None,
    }


def _asked_to_think(request: ChatRequest) -> bool:
    return request.options.reasoning is True


def _count_input(started: Started) -> int | None:
    """Returns the input tokens that the engine has counted, else this server's estimate."""
    if started.input_tokens is not None or started.estimate_input is None:
        return started.input_tokens
    return started.estimate_input()


def write_parts(parts: Iterable[Part]) -> Iterator[dict[str, Json]]:
    """Writes the parts of an answer as blocks, except unknown parts of other wires and calls run on this server."""
    for part in parts:
        match part:
            case Text(text, citations, metadata):
                wire: dict[str, Json] = {**_TEXT, **_fields_for_client(metadata), "text": text}
                if cited := write_citations(citations, _fields_for_client):
                    wire["citations"] = cited
                if text or cited:
                    yield wire
            case Reasoning(text, metadata):
                fields = _fields_for_client(metadata)
                if fields.get("type") == "redacted_thinking":
                    yield dict(fields)
                elif text or _choose_signature(metadata):
                    yield {**_build_thinking(text), **fields, "signature": _choose_signature(metadata)}
            case ToolCall(id, name, arguments, executor, metadata):
                wire = {
                    **_TOOL_USE,
                    **_fields_for_client(metadata),
                    "id": encode_id(id),
                    "name": name,
                    "input": write_input(arguments),
                }
                if executor == "client" or (executor == "provider" and wire["type"] != "tool_use"):
                    yield wire
            case Media():
                yield {**_TEXT, "text": describe_media(part)}
            case UnknownPart(metadata):
                fields = _fields_for_client(metadata)
                if isinstance(fields.get("type"), str):  # a block needs a type
                    yield dict(fields)


def write_reply(reply: Reply, request: ChatRequest, now: int) -> dict[str, Json]:
    """Writes a whole message. Raises ``EngineFailed`` if the answer ended with an error, which has no field here."""
    if reply.finish.reason == "error":
        raise failed_finish_error(reply.finish)
    fields = {**_fields_for_client(reply.finish.metadata)}
    more = fields.pop("usage", None)
    parts = reply.message.parts
    if not _asked_to_think(request):
        parts = tuple(part for part in parts if not isinstance(part, Reasoning))
    content: list[Json] = [*write_parts(parts)]
    cited = [c for p in parts if isinstance(p, Text) for c in p.citations if not _fields_for_client(c.metadata)]
    listed = request.options.format is None and reply.finish.reason != "tool_calls"
    if listed and (sources := list_sources(cited)):
        content.append({**_TEXT, "text": sources})
    return {
        "id": reply.id or f"msg_{token_hex(12)}",
        "type": "message",
        "role": "assistant",
        "model": request.model or reply.model,
        "content": content,
        **_NO_END,
        **_write_stop(reply.finish),
        **fields,
        "usage": {**_NO_USAGE, **(more if isinstance(more, dict) else {}), **write_usage(reply.usage)},
    }


def write_models(models: Iterable[ModelInfo]) -> dict[str, Json]:
    """Writes the chat models as one page."""
    data: list[Any] = [_write_model(model) for model in models if model.kind == "chat"]
    return {
        "data": data,
        "has_more": False,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }


def _write_model(model: ModelInfo) -> dict[str, Json]:
    """Writes one model under its id on this server; as on this wire, an unknown date becomes 1970-01-01."""
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
