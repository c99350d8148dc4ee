"""Writes answers for native clients: stream chunks, whole answers, errors and model lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, TypeAlias

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
)
from llm.chat.messages import (
    NO_USAGE,
    PHASE_SEPARATOR,
    Executor,
    Media,
    Message,
    Part,
    ProviderToolRun,
    Text,
    ToolCall,
    ToolResult,
    UnknownPart,
    Usage,
)
from llm.chat.provider_metadata import metadata_for_client
from llm.chat.reply import Reply
from llm.chat.request import ChatRequest
from llm.dialects.native.shared import NAME, OPTION_NAMES
from llm.engines.capabilities import ModelInfo
from llm.errors import LLMError
from llm.wire.json_codec import Json, dump_text, loads
from llm.wire.json_lenient import drop_null
from llm.wire.ndjson import encode_ndjson_line, escape_line_separators
from llm.wire.sse import encode_sse_event

# How objects are separated: "chunks" (the older server: one object per HTTP chunk), NDJSON or SSE.
NativeFraming: TypeAlias = Literal["chunks", "ndjson", "sse"]
_NOT_RUN: Final = "Not run here."
_LINE_TEXT: Final = b'{"type":"content","text":%b,"done":false}\n'
_SSE_TEXT: Final = b"data: " + _LINE_TEXT + b"\n"


class NativeWriter:
    """Writes events as native objects in one of the three framings."""

    __slots__ = ("_after_comment", "_calls", "_framing", "_usage", "content_type", "write_interval")

    def __init__(self, framing: NativeFraming) -> None:
        self.content_type = {"sse": "text/event-stream", "ndjson": "application/x-ndjson"}.get(
            framing, "application/json"
        )
        self.write_interval = 0.005 if framing == "chunks" else 0.0
        self._framing = framing
        self._usage = NO_USAGE
        self._after_comment = False  # the last text comments on the work; another one is the answer
        self._calls: dict[int, _Call] = {}

    def feed(self, events: Sequence[Event]) -> list[bytes]:
        """Returns the objects of the events: one byte string per object with "chunks", else one for all."""
        if events and isinstance(events[0], Started):  # this wire has no object for it
            events = events[1:]
        if not events:
            return []
        if len(events) == 1 and isinstance(delta := events[0], TextDelta) and delta.text and not self._after_comment:
            text = dump_text(delta.text)
            return [_SSE_TEXT % text if self._framing == "sse" else _LINE_TEXT % escape_line_separators(text)]
        encode = encode_sse_event if self._framing == "sse" else encode_ndjson_line
        objects = [encode(wire) for event in merge_deltas(events) for wire in self._write_event(event)]
        return objects if self.write_interval or not objects else [b"".join(objects)]

    def write_keepalive(self) -> bytes:
        """Returns an SSE comment, or an empty line in the other framings."""
        return b": ping\n\n" if self._framing == "sse" else b"\n"

    def _write_event(self, event: Event) -> Iterable[dict[str, Json]]:
        match event:
            case TextDelta(_, text) if text:
                if self._after_comment:
                    text, self._after_comment = PHASE_SEPARATOR + text, False
                yield {"type": "content", "text": text, "done": False}
            case ReasoningDelta(_, text) if text:
                yield {"type": "reasoning", "text": text, "done": False}
            case ToolCallStarted(index, id, name, executor):
                call = self._calls[index] = _Call(id, name, executor)
                yield call.write_chunk("preparing")
            case ToolCallDelta(index, arguments):
                self._calls[index].arguments.append(arguments)
                yield {**self._calls[index].write_chunk("preparing"), "arguments": arguments}
            case PartEnded(index, tool_run=ran) if index in self._calls:
                call = self._calls[index]
                yield call.write_chunk("preparing", whole=True)
                if call.executor == "provider":
                    yield call.write_chunk("running", whole=True)
                if ran is not None:
                    call.result = ran.result
                    yield call.write_chunk(ran.state, whole=True)
            case PartEnded(phase="commentary"):
                self._after_comment = True
            case ToolProgress(index, state, status):
                yield self._calls[index].write_chunk(state, status, whole=True)
            case WholePart(_, ToolResult() as result):
                for call in self._calls.values():
                    if call.id == result.call_id:
                        call.result = read_result(result)
            case WholePart(index, Media() | UnknownPart() as part):
                if part.tool_run is not None:
                    yield from self._write_provider_run(index, part.tool_run)
                if isinstance(part, Media) and (part.base64 or part.url):
                    yield {"type": "attachment", "attachment": _write_attachment(part), "done": False}
            case Cited(_, citation):
                wire: dict[str, Json] = {"type": "citation", "url": citation.url, "title": citation.title}
                wire |= {"text": citation.quote, "start": citation.start, "end": citation.end, "done": False}
                yield {name: value for name, value in wire.items() if value is not None}
            case UsageReported(usage):
                self._usage = usage
            case Finished():
                yield from self._finish_calls(event.reason)
                yield {"type": "content", "text": "", "done": True, **_write_finish(event)}
                yield {"type": "usage", "usage": write_usage(self._usage), "done": True}
            case Failed(error):
                for call in self._calls.values():  # calls that the failure interrupted
                    if not call.is_final:
                        yield call.write_chunk("canceled", whole=True)
                yield {"type": "error", **write_error(error), "status": error.status, "done": True}

    def _write_provider_run(self, index: int, ran: ProviderToolRun) -> Iterable[dict[str, Json]]:
        """Writes a tool that the provider ran: its call, its result, or both."""
        if ran.name:
            call = self._calls[index] = _Call(ran.id, ran.name, "provider")
            call.arguments.append(ran.arguments)
            yield call.write_chunk("preparing", whole=True)
            yield call.write_chunk("running", whole=True)
        for call in self._calls.values():
            if call.id == ran.id and not call.is_final and ran.state != "running":
                call.result = ran.result
                yield call.write_chunk(ran.state, whole=True)

    def _finish_calls(self, reason: FinishReason) -> Iterable[dict[str, Json]]:
        """Gives each open call a final state: ``completed`` if the provider ran it in a complete answer, else
        ``canceled``, since this server does not run it.
        """
        complete = reason not in ("length", "filtered", "error")
        for call in self._calls.values():
            if not call.is_final:
                ran = call.executor == "provider" and complete
                yield call.write_chunk("completed" if ran else "canceled", "" if ran else _NOT_RUN, whole=True)


class _Call:
    """A streamed tool call and its state."""

    __slots__ = ("arguments", "executor", "id", "name", "result", "state")

    def __init__(self, id: str, name: str, executor: Executor) -> None:
        self.executor = executor
        self.id = id
        self.name = name
        self.arguments: list[str] = []
        self.result: Json = None
        self.state = "preparing"

    @property
    def is_final(self) -> bool:
        return self.state not in ("preparing", "running")

    def write_chunk(self, state: str, status: str = "", whole: bool = False) -> dict[str, Json]:
        self.state = state
        params = read_arguments("".join(self.arguments)) if whole else None
        return {
            "type": "tool",
            "id": self.id,
            "name": self.name,
            "state": state,
            "status": status,
            "call": {"params": params, "result": self.result},
            "done": False,
        }


def merge_deltas(batch: Sequence[Event]) -> Iterable[Event]:
    """Merges consecutive deltas of one part, so that deltas of one read become one object."""
    pending: TextDelta | ReasoningDelta | ToolCallDelta | None = None
    fragments: list[str] = []
    for event in batch:
        if pending is not None and type(event) is type(pending) and event.index == pending.index:
            fragments.append(_get_text(event))
            continue
        if pending is not None:
            yield type(pending)(pending.index, "".join(fragments))
            pending = None
        if isinstance(event, TextDelta | ReasoningDelta | ToolCallDelta):
            pending, fragments = event, [_get_text(event)]
        else:
            yield event
    if pending is not None:
        yield type(pending)(pending.index, "".join(fragments))


def _get_text(delta: TextDelta | ReasoningDelta | ToolCallDelta) -> str:
    return delta.arguments if isinstance(delta, ToolCallDelta) else delta.text


def create_writer(request: ChatRequest, now: int, framing: NativeFraming = "chunks") -> NativeWriter:
    """Creates the writer of one streamed answer; the wire has no field for ``request`` and ``now``."""
    return NativeWriter(framing)


def choose_framing(accept: str) -> NativeFraming:
    """Returns the framing for an ``Accept`` header."""
    if "text/event-stream" in accept:
        return "sse"
    return "ndjson" if "application/x-ndjson" in accept else "chunks"


# Finish reasons that this wire names differently.
FINISH_REASONS: Final[Mapping[FinishReason, str]] = {"filtered": "content_filter"}


def read_arguments(text: str) -> Json:
    """Returns a call's arguments as JSON; the text itself if it is not JSON."""
    try:
        value: Json = loads(drop_null(text) or "{}")
    except ValueError:
        return text
    return value


def read_result(result: ToolResult) -> Json:
    """Returns the text of a tool result as JSON; the text itself if it is not JSON."""
    text = "".join(part.text for part in result.content if isinstance(part, Text))
    try:
        value: Json = loads(text)
    except ValueError:
        return text
    return value


def write_call(call: ToolCall, result: Json) -> Json:
    """Writes a tool call with its result; ``result`` is None if there is none."""
    return {"id": call.id, "name": call.name, "params": read_arguments(call.arguments), "result": result}


def get_provider_run(part: Part) -> ProviderToolRun | None:
    """Returns the provider's run of a tool that a part describes; None if there is none."""
    return part.tool_run if isinstance(part, ToolCall | UnknownPart | Media) else None


def _write_calls(parts: Sequence[Part]) -> Iterator[Json]:
    results = {part.call_id: read_result(part) for part in parts if isinstance(part, ToolResult)}
    results |= {
        ran.id: ran.result for part in parts if (ran := get_provider_run(part)) is not None and ran.result is not None
    }
    for part in parts:
        if isinstance(part, ToolCall):
            yield write_call(part, results.get(part.id))
        elif (ran := get_provider_run(part)) is not None and ran.name:
            yield write_call(ToolCall(ran.id, ran.name, ran.arguments), results.get(ran.id))


def _write_attachment(media: Media) -> dict[str, Json]:
    if media.base64 is None:
        return {"mimeType": media.mime, "url": media.url}
    return {"mimeType": media.mime, "contents": media.base64}


def write_citations(message: Message) -> list[Json]:
    """Writes the citations of all text parts."""
    citations = (citation for part in message.parts if isinstance(part, Text) for citation in part.citations)
    return [{"url": one.url, "title": one.title, "text": one.quote} for one in citations]


def write_reply(reply: Reply, request: ChatRequest, now: int) -> dict[str, Json]:
    """Writes the body of a whole answer; the wire has no field for ``request`` and ``now``."""
    parts = reply.message.parts
    wire: dict[str, Json] = {"type": "text", "content": reply.text}
    if reply.reasoning:
        wire["reasoning"] = reply.reasoning
    if media := [part for part in parts if isinstance(part, Media) and (part.base64 or part.url)]:
        wire["attachments"] = [_write_attachment(one) for one in media]
    if citations := write_citations(reply.message):
        wire["citations"] = citations
    wire["toolCalls"] = [*_write_calls(parts)]
    wire["usage"] = write_usage(reply.usage)
    return {**wire, **_write_finish(reply.finish)}


def _write_finish(finish: Finished) -> dict[str, Json]:
    """Writes the finish reason, and what the engine tells beside it: a refusal's reasons, the stop sequence."""
    wire: dict[str, Json] = {"finishReason": FINISH_REASONS.get(finish.reason, finish.reason)}
    if finish.reason in ("filtered", "error", "other"):
        details = {"reason": finish.raw, "category": finish.category, "explanation": finish.explanation}
        if told := {name: value for name, value in details.items() if value}:
            wire["finishDetails"] = {**told}
    if finish.stop_sequence:
        wire["stopSequence"] = finish.stop_sequence
    return {**wire, **metadata_for_client(finish.metadata, NAME)}


def write_usage(usage: Usage) -> dict[str, Json]:
    """Writes token counts: totals on the outer level, their parts in the details; the same for every provider."""
    prompt: dict[str, Json] = {"cached_tokens": usage.cache_read}
    if usage.cache_write:
        prompt["cache_write_tokens"] = usage.cache_write
    wire: dict[str, Json] = {
        "prompt_tokens": usage.input or 0,
        "completion_tokens": usage.output or 0,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
    if usage.estimated:
        wire["estimated"] = True
    return wire


def write_error(error: LLMError) -> dict[str, Json]:
    """Writes the body of an error response. ``param`` is a path in the body or the wire's name of an option."""
    wire: dict[str, Json] = {"error": error.message, "code": error.code}
    if error.param:
        # A message that begins with the path comes from the schema: its field may have the same name as an option.
        is_path = error.message.startswith(f"{error.param}: ")
        wire["param"] = error.param if is_path else OPTION_NAMES.get(error.param, error.param)
    if error.engine:
        wire["engine"] = error.engine
    if error.retry_after is not None:
        wire["retry_after"] = error.retry_after
    if error.provider:
        wire["provider"] = dict(error.provider.as_json())
    return wire


def write_models(models: Iterable[ModelInfo]) -> dict[str, Json]:
    """Writes ``{"models": {"chat": […], "image": […], …}}``; ``chat`` always exists."""
    kinds: dict[str, Json] = {"chat": []}
    for model in models:
        entry: dict[str, Json] = {
            "id": model.id,
            "name": model.name or model.id,
            "capabilities": {
                "tools": "tools" in model.can,
                "vision": "images" in model.can,
                "reasoning": "reasoning" in model.can,
                "caching": "caching" in model.can,
                **dict.fromkeys(sorted(model.can - {"tools", "images", "reasoning", "caching"}), True),
            },
            "meta": dict(model.meta),
        }
        if model.guessed:
            entry["guessed"] = [*sorted(model.guessed)]
        if model.context_tokens is not None:
            entry["contextWindow"] = model.context_tokens
        if model.max_output_tokens is not None:
            entry["maxOutputTokens"] = model.max_output_tokens
        entries = kinds.setdefault(model.kind, [])
        assert isinstance(entries, list)
        entries.append(entry)
    return {"models": kinds}
