"""The native wire towards clients: streamed chunks, whole answers, errors and model lists."""

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
from llm.chat.messages import Executor, Foreign, Media, Message, Part, Ran, Text, ToolCall, ToolResult, Usage
from llm.chat.provider_metadata import opaque_to_client
from llm.chat.reply import Reply
from llm.chat.request import ChatRequest
from llm.dialects.native.shared import NAME
from llm.engines.capabilities import ModelInfo
from llm.errors import LLMError
from llm.wire.json_codec import Json, dump_text, loads
from llm.wire.ndjson import json_line, one_line
from llm.wire.sse import sse

NativeFraming: TypeAlias = Literal["chunks", "ndjson", "sse"]
_NOT_RUN: Final = "Not run here."
_LINE_TEXT: Final = b'{"type":"content","text":%b,"done":false}\n'
_SSE_TEXT: Final = b"data: " + _LINE_TEXT + b"\n"


class NativeWriter:
    """Events to native objects in one of the three framings."""

    __slots__ = ("_calls", "_framing", "_usage", "content_type", "spacing")

    def __init__(self, framing: NativeFraming) -> None:
        self.content_type = {"sse": "text/event-stream", "ndjson": "application/x-ndjson"}.get(
            framing, "application/json"
        )
        self.spacing = 0.005 if framing == "chunks" else 0.0
        self._framing = framing
        self._usage = Usage()
        self._calls: dict[int, _Call] = {}

    def feed(self, batch: Sequence[Event]) -> list[bytes]:
        if batch and isinstance(batch[0], Started):  # of which nothing is told here
            batch = batch[1:]
        if not batch:
            return []
        if len(batch) == 1 and isinstance(delta := batch[0], TextDelta) and delta.text:
            text = dump_text(delta.text)
            return [_SSE_TEXT % text if self._framing == "sse" else _LINE_TEXT % one_line(text)]
        encode = sse if self._framing == "sse" else json_line
        pieces = [encode(wire) for event in merged(batch) for wire in self._objects(event)]
        return pieces if self.spacing or not pieces else [b"".join(pieces)]

    def ping(self) -> bytes:
        return b": ping\n\n" if self._framing == "sse" else b"\n"

    def _objects(self, event: Event) -> Iterable[dict[str, Json]]:
        match event:
            case TextDelta(_, text) if text:
                yield {"type": "content", "text": text, "done": False}
            case ReasoningDelta(_, text) if text:
                yield {"type": "reasoning", "text": text, "done": False}
            case ToolCallStarted(index, id, name, executor):
                call = self._calls[index] = _Call(id, name, executor)
                yield call.chunk("preparing")
            case ToolCallDelta(index, arguments):
                self._calls[index].arguments.append(arguments)
                yield {**self._calls[index].chunk("preparing"), "arguments": arguments}
            case PartEnded(index, ran=ran) if index in self._calls:
                call = self._calls[index]
                yield call.chunk("preparing", whole=True)
                if call.executor == "provider":
                    yield call.chunk("running", whole=True)
                if ran is not None:
                    call.result = ran.result
                    yield call.chunk(ran.state, whole=True)
            case ToolProgress(index, state, status):
                yield self._calls[index].chunk(state, status, whole=True)
            case WholePart(_, ToolResult() as result):
                for call in self._calls.values():
                    if call.id == result.call_id:
                        call.result = result_json(result)
            case WholePart(index, Media() | Foreign() as part):
                if part.ran is not None:
                    yield from self._ran(index, part.ran)
                if isinstance(part, Media) and part.base64 is not None:
                    made: dict[str, Json] = {"mimeType": part.mime, "contents": part.base64}
                    yield {"type": "attachment", "attachment": made, "done": False}
            case Cited(_, citation):
                wire: dict[str, Json] = {"type": "citation", "url": citation.url, "title": citation.title}
                wire |= {"text": citation.quote, "start": citation.start, "end": citation.end, "done": False}
                yield {name: value for name, value in wire.items() if value is not None}
            case UsageReported(usage):
                self._usage = usage
            case Finished(reason, keep=keep):
                yield from self._settle(reason)
                end: dict[str, Json] = {"type": "content", "text": "", "done": True}
                yield {**end, "finishReason": FINISH.get(reason, reason), **opaque_to_client(keep, NAME)}
                yield {"type": "usage", "usage": write_usage(self._usage), "done": True}
            case Failed(error):
                for call in self._calls.values():  # what was stopped with the answer
                    if not call.settled:
                        yield call.chunk("canceled", whole=True)
                yield {"type": "error", **write_error(error), "status": error.status, "done": True}

    def _ran(self, index: int, ran: Ran) -> Iterable[dict[str, Json]]:
        """A tool that the provider ran: the call, what became of it, or both."""
        if ran.name:
            call = self._calls[index] = _Call(ran.id, ran.name, "provider")
            call.arguments.append(ran.arguments)
            yield call.chunk("preparing", whole=True)
            yield call.chunk("running", whole=True)
        for call in self._calls.values():
            if call.id == ran.id and not call.settled and ran.state != "running":
                call.result = ran.result
                yield call.chunk(ran.state, whole=True)

    def _settle(self, reason: FinishReason) -> Iterable[dict[str, Json]]:
        """No call is left without a final state: a provider's own has run, unless the answer was cut off; another that
        nobody has run by now is not run here.
        """
        whole = reason not in ("length", "filtered", "error")
        for call in self._calls.values():
            if not call.settled:
                ran = call.executor == "provider" and whole
                yield call.chunk("completed" if ran else "canceled", "" if ran else _NOT_RUN, whole=True)


class _Call:
    """A tool call as it grows."""

    __slots__ = ("arguments", "executor", "id", "name", "result", "state")

    def __init__(self, id: str, name: str, executor: Executor) -> None:
        self.executor = executor
        self.id = id
        self.name = name
        self.arguments: list[str] = []
        self.result: Json = None
        self.state = "preparing"

    @property
    def settled(self) -> bool:
        return self.state not in ("preparing", "running")

    def chunk(self, state: str, status: str = "", whole: bool = False) -> dict[str, Json]:
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


def merged(batch: Sequence[Event]) -> Iterable[Event]:
    """Neighbouring deltas of one kind as one: what came in one read leaves as one object."""
    held: TextDelta | ReasoningDelta | ToolCallDelta | None = None
    pieces: list[str] = []
    for event in batch:
        if held is not None and type(event) is type(held) and event.index == held.index:
            pieces.append(_piece(event))
            continue
        if held is not None:
            yield type(held)(held.index, "".join(pieces))
            held = None
        if isinstance(event, TextDelta | ReasoningDelta | ToolCallDelta):
            held, pieces = event, [_piece(event)]
        else:
            yield event
    if held is not None:
        yield type(held)(held.index, "".join(pieces))


def _piece(delta: TextDelta | ReasoningDelta | ToolCallDelta) -> str:
    return delta.arguments if isinstance(delta, ToolCallDelta) else delta.text


def writer(request: ChatRequest, now: int, framing: NativeFraming = "chunks") -> NativeWriter:
    return NativeWriter(framing)


def framing_for(accept: str) -> NativeFraming:
    """The framing that an ``Accept`` header asks for."""
    if "text/event-stream" in accept:
        return "sse"
    return "ndjson" if "application/x-ndjson" in accept else "chunks"


FINISH: Final[Mapping[FinishReason, str]] = {"filtered": "content_filter"}


def read_arguments(text: str) -> Json:
    """A call's arguments as a value; the text itself where a model wrote broken JSON."""
    try:
        value: Json = loads(text or "{}")
    except ValueError:
        return text
    return value


def result_json(result: ToolResult) -> Json:
    text = "".join(part.text for part in result.content if isinstance(part, Text))
    try:
        value: Json = loads(text)
    except ValueError:
        return text
    return value


def call_json(call: ToolCall, result: Json) -> Json:
    return {"id": call.id, "name": call.name, "params": read_arguments(call.arguments), "result": result}


def ran_in(part: Part) -> Ran | None:
    """A tool that the provider ran, where a part tells of one or of its result."""
    return part.ran if isinstance(part, ToolCall | Foreign | Media) else None


def _calls_json(parts: Sequence[Part]) -> Iterator[Json]:
    results = {part.call_id: result_json(part) for part in parts if isinstance(part, ToolResult)}
    results |= {ran.id: ran.result for part in parts if (ran := ran_in(part)) is not None and ran.result is not None}
    for part in parts:
        if isinstance(part, ToolCall):
            yield call_json(part, results.get(part.id))
        elif (ran := ran_in(part)) is not None and ran.name:
            yield call_json(ToolCall(ran.id, ran.name, ran.arguments), results.get(ran.id))


def citations_json(message: Message) -> list[Json]:
    cited = (citation for part in message.parts if isinstance(part, Text) for citation in part.citations)
    return [{"url": one.url, "title": one.title, "text": one.quote} for one in cited]


def write_reply(reply: Reply, request: ChatRequest, now: int) -> dict[str, Json]:
    parts = reply.message.parts
    wire: dict[str, Json] = {"type": "text", "content": reply.text}
    if reply.reasoning:
        wire["reasoning"] = reply.reasoning
    if images := [part for part in parts if isinstance(part, Media) and part.base64]:
        wire["attachments"] = [{"mimeType": image.mime, "contents": image.base64} for image in images]
    if citations := citations_json(reply.message):
        wire["citations"] = citations
    wire["toolCalls"] = [*_calls_json(parts)]
    wire["usage"] = write_usage(reply.usage)
    wire["finishReason"] = FINISH.get(reply.finish.reason, reply.finish.reason)
    return {**wire, **opaque_to_client(reply.finish.keep, NAME)}


def write_usage(usage: Usage) -> dict[str, Json]:
    """The same arithmetic for every provider: totals outside, the parts of them in the details."""
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


OPTION_NAMES: Final[Mapping[str, str]] = {
    "max_tokens": "maxTokens",
    "reasoning_tokens": "reasoningBudget",
    "effort": "reasoningEffort",
    "tool_choice": "toolChoice",
    "format": "structuredOutput",
    "context_tokens": "contextWindowSize",
    "service_tier": "serviceTier",
    "responses_api": "useResponsesApi",
    "extra": "customOpts",
}
"""Our names of options where they differ from the fields of ``Options``."""


def write_error(error: LLMError) -> dict[str, Json]:
    wire: dict[str, Json] = {"error": error.message, "code": error.code}
    if error.param:
        # What names its place in the body, as the schema does, means no option that happens to be called the same.
        placed = error.message.startswith(f"{error.param}: ")
        wire["param"] = error.param if placed else OPTION_NAMES.get(error.param, error.param)
    if error.engine:
        wire["engine"] = error.engine
    if error.retry_after is not None:
        wire["retry_after"] = error.retry_after
    if error.provider:
        wire["provider"] = dict(error.provider.as_json())
    return wire


def write_models(models: Iterable[ModelInfo]) -> dict[str, Json]:
    """``{"models": {"chat": […], "image": […], …}}``; ``chat`` is always there."""
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
        listed = kinds.setdefault(model.kind, [])
        assert isinstance(listed, list)
        listed.append(entry)
    return {"models": kinds}
