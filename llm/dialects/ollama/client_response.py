"""Writes answers for clients: events as JSON lines, whole answers, errors and model lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from llm.chat.events import (
    Cited,
    Event,
    Failed,
    Finished,
    FinishReason,
    PartEnded,
    ReasoningDelta,
    TextDelta,
    Timing,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
    WholePart,
    describe_end,
    describe_refusal,
    failed_finish_error,
)
from llm.chat.filters import PartSequencer
from llm.chat.messages import (
    NO_USAGE,
    PHASE_SEPARATOR,
    Citation,
    Media,
    Reasoning,
    Text,
    ToolCall,
    Usage,
    describe_media,
    list_sources,
)
from llm.chat.provider_metadata import metadata_for_client
from llm.chat.reply import Reply
from llm.chat.request import ChatRequest
from llm.dialects.ollama.shared import NAME
from llm.engines.capabilities import ModelInfo
from llm.errors import LLMError
from llm.wire.json_codec import Json, loads
from llm.wire.json_lenient import drop_null
from llm.wire.ndjson import encode_ndjson_line

# The wire's ``done_reason`` is free text; all other ends are "stop".
# Context in tokens of a model whose provider does not report it: clients of this wire take 2,048 or 4,096 without one,
# and cut their requests to it. Hardly a hosted model has less than this.
_CHAT_CONTEXT: Final = 128_000
_EMBEDDING_CONTEXT: Final = 8_192
_DONE_REASONS: Final[Mapping[FinishReason, str]] = {
    "length": "length", "paused": "length", "filtered": "content_filter",
}  # fmt: skip


def create_writer(request: ChatRequest, now: int) -> LineWriter:
    """Creates the writer of one streamed answer. ``now``: seconds since 1970."""
    return LineWriter(request, now)


class LineWriter:
    """Writes the lines of one answer. Tool calls are written whole, since the wire has no deltas of arguments."""

    content_type = "application/x-ndjson"
    write_interval = 0.0

    def __init__(self, request: ChatRequest, now: int, *, generate: bool = False) -> None:
        # The requested model name, since clients compare it.
        self.common_fields: dict[str, Json] = {"model": request.model, "created_at": _format_time(now)}
        self._generate = generate
        self._in_order = PartSequencer()
        self._usage = NO_USAGE
        self._calls: dict[int, tuple[str, str, list[str]]] = {}
        self._call_count = 0  # calls written so far
        self._after_comment = False  # the last text comments on the work; another one is the answer
        self._has_output = False  # anything but reasoning was written
        self._lists_sources = request.options.format is None  # a list would break JSON
        self._sources: list[Citation] = []

    def feed(self, events: Sequence[Event]) -> list[bytes]:
        """Returns the lines of the events as one byte string, or nothing."""
        out = b"".join([line for event in self._in_order.feed(events) for line in self._write_event(event)])
        return [out] if out else []

    def write_keepalive(self) -> bytes:
        """Returns an empty line."""
        return b"\n"

    def _write_event(self, event: Event) -> Iterator[bytes]:
        match event:
            case TextDelta(_, text) if text:
                if self._after_comment:
                    text, self._after_comment = PHASE_SEPARATOR + text, False
                self._has_output = True
                yield self._write_line(text=text)
            case ReasoningDelta(_, text) if text:
                yield self._write_line(thinking=text)
            case ToolCallStarted(index, id, name, "client"):
                self._calls[index] = (id, name, [])
            case ToolCallDelta(index, arguments) if index in self._calls:
                self._calls[index][2].append(arguments)
            case PartEnded(phase="commentary"):
                self._after_comment = True
            case PartEnded(index) if index in self._calls:
                id, name, fragments = self._calls.pop(index)
                self._has_output = True
                yield self._write_line(calls=[_write_call(id, name, "".join(fragments), self._call_count)])
                self._call_count += 1
            case WholePart(_, Media() as media):
                self._has_output = True
                shown = media.kind == "image" and media.base64
                yield self._write_line(images=[media.base64]) if shown else self._write_line(describe_media(media))
            case Cited(_, citation):
                self._sources.append(citation)
            case UsageReported(usage):
                self._usage = usage
            case Finished("error"):
                yield encode_ndjson_line(write_error(failed_finish_error(event)))
            case Finished():
                text = "" if self._has_output else describe_refusal(event)
                listed = self._lists_sources and event.reason != "tool_calls"
                if listed and (sources := list_sources(self._sources)):
                    yield self._write_line(sources)
                yield encode_ndjson_line(
                    {**self.common_fields, **self.write_message(text), **_write_end(event, self._usage)}
                )
            case Failed(error):
                yield encode_ndjson_line(write_error(error))

    def _write_line(
        self, text: str = "", thinking: str = "", calls: list[Json] | None = None, images: list[Json] | None = None
    ) -> bytes:
        return encode_ndjson_line(
            {**self.common_fields, **self.write_message(text, thinking, calls, images), "done": False}
        )

    def write_message(
        self, text: str, thinking: str = "", calls: list[Json] | None = None, images: list[Json] | None = None
    ) -> dict[str, Json]:
        """Returns the text, reasoning, calls and images as ``message``, for ``/api/generate`` as ``response``."""
        more: dict[str, Json] = {"thinking": thinking, "tool_calls": calls, "images": images}
        more = {name: value for name, value in more.items() if value}
        if self._generate:
            return {"response": text, **more}
        message: dict[str, Json] = {"role": "assistant", "content": text, **more}
        return {"message": message}


def write_reply(reply: Reply, request: ChatRequest, now: int, *, generate: bool = False) -> dict[str, Json]:
    """Writes a whole answer. Raises ``EngineFailed`` for the finish reason ``error``, which the wire does not have."""
    if reply.finish.reason == "error":
        raise failed_finish_error(reply.finish)
    calls: list[Json] = []
    images: list[Json] = []
    sources: list[Citation] = []
    text = thinking = ""
    after_comment = False
    for part in reply.message.parts:
        match part:
            case Text(more, citations, _, phase):
                text += PHASE_SEPARATOR + more if text and after_comment else more
                after_comment = phase == "commentary"
                sources += citations
            case Reasoning(more):
                thinking += more
            case ToolCall(id, name, arguments, "client"):
                calls.append(_write_call(id, name, arguments, len(calls)))
            case Media() if part.kind == "image" and part.base64:
                images.append(part.base64)
            case Media():
                text += describe_media(part)
    if request.options.format is None and reply.finish.reason != "tool_calls":
        text += list_sources(sources)
    refusal = "" if calls or images else describe_refusal(reply.finish)
    lines = LineWriter(request, now, generate=generate)
    logprobs = metadata_for_client(reply.finish.metadata, NAME).get("logprobs")
    return {
        **lines.common_fields,
        **lines.write_message(text or refusal, thinking, calls, images),
        **({"logprobs": logprobs} if logprobs else {}),
        **_write_end(reply.finish, reply.usage),
    }


def _write_call(id: str, name: str, arguments: str, index: int) -> Json:
    """Arguments are an object on this wire; any other JSON or text becomes ``{"value": …}``."""
    try:
        value: Json = loads(drop_null(arguments) or "{}")
    except ValueError:
        value = arguments
    value = value if isinstance(value, dict) else {"value": value}
    return {"id": id, "function": {"index": index, "name": name, "arguments": value}}


def _write_end(finish: Finished, usage: Usage) -> dict[str, Json]:
    """Fields of the last line."""
    wire: dict[str, Json] = {"done": True, "done_reason": _DONE_REASONS.get(finish.reason, "stop")}
    if details := describe_end(finish):
        wire["stop_details"] = {**details}
    if finish.stop_sequence:
        wire["stop_sequence"] = finish.stop_sequence
    wire["prompt_eval_count"] = usage.input or 0
    wire["eval_count"] = usage.output or 0
    return {**wire, **write_durations(finish.timing)}


def write_durations(timing: Timing | None) -> dict[str, Json]:
    """Writes the durations, in nanoseconds; 0 for what is not known. Clients divide by that of the output."""
    total, first = (timing.total, timing.first_token or 0.0) if timing is not None else (0.0, 0.0)
    return {
        "total_duration": _to_nanoseconds(total),
        "load_duration": 0,
        "prompt_eval_duration": _to_nanoseconds(first),
        "eval_duration": max(_to_nanoseconds(total - first), 1),
    }


def _to_nanoseconds(seconds: float) -> int:
    return max(round(seconds * 1e9), 0)


def write_load(model: str, *, chat: bool, unload: bool, now: int) -> dict[str, Json]:
    """Writes the answer to a request without a prompt, which asks to load or unload the model."""
    message: dict[str, Json] = {"message": {"role": "assistant", "content": ""}}
    return {
        "model": model,
        "created_at": _format_time(now),
        **(message if chat else {"response": ""}),
        "done": True,
        "done_reason": "unload" if unload else "load",
    }


def _format_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")


def write_error(error: LLMError) -> dict[str, Json]:
    """Writes the body of an error response: the wire's ``error`` text, and more fields that clients ignore."""
    outer = error.provider.select_fields((NAME,))[0] if error.provider else {}
    wire: dict[str, Json] = {**outer, "error": error.message, "code": error.code}
    if error.param:
        wire["param"] = error.param
    if error.provider:
        wire["provider"] = dict(error.provider.as_json())
    if error.retry_after is not None:
        wire["retry_after"] = error.retry_after
    return wire


def write_models(models: Iterable[ModelInfo]) -> dict[str, Json]:
    """Writes ``/api/tags``: chat and embedding models, named ``engine/model``."""
    return {"models": [_write_tag(model) for model in models if model.kind in ("chat", "embedding")]}


def _write_tag(model: ModelInfo) -> Json:
    name = f"{model.engine}/{model.id}"
    return {
        "name": name,
        "model": name,
        "modified_at": _format_time(model.created or 0),
        "size": 0,
        "digest": sha256(name.encode()).hexdigest(),  # clients treat models with the same digest as one model
        "details": _write_details(model),
        "capabilities": [*_list_capabilities(model)],
    }


def write_show(model: ModelInfo) -> dict[str, Json]:
    """Writes ``/api/show``: a model's context size and capabilities."""
    known = model.context_tokens or (_EMBEDDING_CONTEXT if model.kind == "embedding" else _CHAT_CONTEXT)
    info: dict[str, Json] = {"general.architecture": model.engine, f"{model.engine}.context_length": known}
    return {
        "license": "",
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": _write_details(model),
        "model_info": info,
        "capabilities": [*_list_capabilities(model)],
        "modified_at": _format_time(model.created or 0),
    }


def _write_details(model: ModelInfo) -> dict[str, Json]:
    return {
        "parent_model": "",
        "format": "",
        "family": model.engine,
        "families": [model.engine],
        "parameter_size": "",
        "quantization_level": "",
    }


def _list_capabilities(model: ModelInfo) -> Iterator[str]:
    if model.kind == "embedding":
        yield "embedding"
        return
    yield "completion"
    words = {"tools": "tools", "images": "vision", "reasoning": "thinking", "audio": "audio"}
    yield from (word for ability, word in words.items() if ability in model.can)
