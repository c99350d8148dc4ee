"""Writes answers for clients: a stream of chunks, whole answers, and model lists.

Google's SDKs are strict about a stream: the one for Python fails at comments and at the fields ``id`` and ``retry``
(google-genai 3.6.1), the one for JavaScript drops an event with a name (@google/genai 3.3.0). So each event is bare
data, and silence keeps the connection alive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from secrets import token_hex
from typing import Any, Final

from llm.chat.events import (
    Cited,
    Event,
    Failed,
    Finished,
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
from llm.chat.messages import Citation, Media, Part, Reasoning, Text, ToolCall, ToolResult, UnknownPart, Usage
from llm.chat.provider_metadata import Metadata, metadata_for_client
from llm.chat.reply import Reply
from llm.chat.request import ChatRequest
from llm.dialects.gemini.client.client_errors import write_blocked, write_error
from llm.dialects.gemini.shared import FINISH_REASONS, NAME, seal_metadata, shows_thoughts
from llm.engines.capabilities import ModelInfo
from llm.errors import ContentBlocked
from llm.wire.json_codec import Json, dump_bytes, loads

_FINISH: Final = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "filtered": "SAFETY", "paused": "OTHER"}
_NO_PARTS: Final[frozenset[int]] = frozenset()  # one for all streams: each empty set has 216 bytes
_TEXT_START: Final = b'{"candidates":[{"content":{"parts":[{"text":'
# What clients can call with a model of a kind.
_METHODS: Final = {
    "chat": ("generateContent", "streamGenerateContent", "countTokens"),
    "embedding": ("embedContent", "batchEmbedContents"),
}
# Fields of a model in Google's own list that are shown as they came.
_OWN_FIELDS: Final = ("version", "description", "temperature", "topP", "topK", "maxTemperature")


def create_writer(request: ChatRequest, now: int) -> ContentWriter:
    """Creates the writer of one stream of server-sent events; ``now`` does not affect this wire."""
    return ContentWriter(request)


class ContentWriter:
    """Writes events as the chunks of one answer, each a response of its own.

    Calls are written whole. Thoughts that the client did not ask for are left out, as by the provider itself. Citations
    are part of the last chunk. ``array``: the chunks are one JSON array, for clients without ``alt=sse``.
    """

    write_interval = 0.0

    def __init__(self, request: ChatRequest, *, array: bool = False) -> None:
        self.content_type = "application/json" if array else "text/event-stream"
        self._array = array
        self._began = False  # the array has a first chunk
        self._model, self._shows_thoughts = request.model, shows_thoughts(request.metadata)
        self._order = PartSequencer()
        self._hidden = _NO_PARTS
        self._common: dict[str, Json] = {}  # fields of each chunk
        self._text_end = self._thought_end = b""  # what follows the text of a chunk
        self._usage = Usage()
        self._call: tuple[str, str, list[str]] | None = None  # id, name and arguments of the open call
        self._hosted = False  # the open call is not the client's
        self._has_output = False
        self._in_thoughts = False  # the open part, or the last one
        self._sources = _Sources()

    def feed(self, events: Sequence[Event]) -> list[bytes]:
        """Writes the events; returns at most one piece."""
        out = [chunk for event in self._order.feed(self._remove_hidden(events)) for chunk in self._write_event(event)]
        return [b"".join(out)] if out else []

    def write_keepalive(self) -> bytes:
        """Returns nothing, as no SDK of Google reads over anything; white space in an array."""
        return b"\n" if self._array and self._began else b""

    def frame(self, chunk: bytes) -> bytes:
        """Returns a chunk as an event, or as the next item of the array."""
        if not self._array:
            return b"data: %b\n\n" % chunk
        start, self._began = b",\r\n" if self._began else b"[", True
        return start + chunk

    def end(self) -> bytes:
        """Returns what ends the array."""
        return (b"]" if self._began else b"[]") if self._array else b""

    def _remove_hidden(self, batch: Sequence[Event]) -> Iterator[Event]:
        for event in batch:
            match event:
                case ToolProgress() | WholePart(part=ToolResult()):
                    continue
                case ToolCallStarted(index, executor="server"):
                    self._hidden |= {index}
                    continue
                case ReasoningDelta(index) if not self._shows_thoughts:
                    self._hidden |= {index}
                    continue
                case ToolCallDelta(index) | PartEnded(index) if index in self._hidden:
                    continue
            yield event

    def _write_event(self, event: Event) -> Iterator[bytes]:
        match event:
            case TextDelta(_, text):
                self._in_thoughts = False
                self._sources.add_text(text)
                if text:
                    self._has_output = True
                    yield self.frame(b"%b%b%b" % (_TEXT_START, dump_bytes(text), self._text_end))
            case ReasoningDelta(_, text):
                self._in_thoughts = True
                if text:
                    yield self.frame(b"%b%b%b" % (_TEXT_START, dump_bytes(text), self._thought_end))
            case Started():
                self._start(event)
            case ToolCallStarted(_, id, name, executor):
                self._call, self._hosted = (id, name, []), executor != "client"
            case ToolCallDelta(_, arguments) if self._call is not None:
                self._call[2].append(arguments)
            case PartEnded(_, metadata):
                yield from self._end_part(metadata)
            case WholePart(_, part):
                yield from map(self._write_part, write_parts((part,), thoughts=True))
            case Cited(_, citation):
                self._sources.add(citation)
            case UsageReported(usage):
                self._usage = usage
            case Finished():
                yield from self._finish(event)
            case Failed(ContentBlocked() as error):
                yield self.frame(dump_bytes({**write_blocked(error), **self._common})) + self.end()
            case Failed(error):
                yield self.frame(dump_bytes(write_error(error))) + self.end()

    def _start(self, started: Started) -> None:
        self._common = _write_common(self._model or started.model, started.id)
        end = dump_bytes(self._common)[1:]
        self._text_end = b'}],"role":"model"},"index":0}],' + end
        self._thought_end = b',"thought":true' + self._text_end

    def _end_part(self, metadata: Metadata) -> Iterator[bytes]:
        self._sources.end_part()
        if self._call is None:  # a text that has a signature, or thoughts: it comes in an empty piece, as from Google
            if fields := _write_signature(metadata):
                thought: dict[str, Json] = {"thought": True} if self._in_thoughts else {}
                yield self._write_part({"text": "", **thought, **fields})
            return
        (id, name, fragments), self._call = self._call, None
        if not self._hosted:
            yield self._write_part(_write_call(id, name, "".join(fragments), metadata))

    def _write_part(self, part: dict[str, Json]) -> bytes:
        self._has_output = True
        candidate: dict[str, Json] = {"content": {"parts": [part], "role": "model"}, "index": 0}
        return self.frame(dump_bytes({"candidates": [candidate], **self._common}))

    def _finish(self, finish: Finished) -> Iterator[bytes]:
        if _is_failure(finish):
            yield self.frame(dump_bytes(write_error(failed_finish_error(finish)))) + self.end()
            return
        # SDKs drop a turn from the history if one of its chunks has no parts.
        empty: list[Json] = [{"text": ""}] if self._has_output or finish.reason != "filtered" else []
        candidate = _write_candidate(empty, finish, self._sources)
        chunk = {"candidates": [candidate], "usageMetadata": _write_usage(self._usage), **self._common}
        yield self.frame(dump_bytes(chunk)) + self.end()


class _Sources:
    """The sources of an answer, and which of its words rest on them: offsets count bytes of the whole text."""

    def __init__(self) -> None:
        self._bytes = 0  # of the text before the open part
        self._part = StringIO()  # text of the open part
        self._cited: list[Citation] = []  # of the open part
        self._chunks: dict[tuple[str | None, str | None], int] = {}
        self._supports: list[Json] = []

    def add_text(self, text: str) -> None:
        """Adds a piece of the open part."""
        self._part.write(text)

    def add(self, citation: Citation) -> None:
        """Adds a citation of the open part, whose text may go on."""
        self._cited.append(citation)

    def end_part(self) -> None:
        """Ends the open part."""
        text = self._part.getvalue()
        if not text and not self._cited:
            return
        for citation in self._cited:
            number = self._chunks.setdefault((citation.url, citation.title), len(self._chunks))
            if citation.start is not None and citation.end is not None and citation.start < citation.end:
                words = text[citation.start : citation.end]
                start = self._bytes + len(text[: citation.start].encode())
                segment: Json = {"startIndex": start, "endIndex": start + len(words.encode()), "text": words}
                self._supports.append({"segment": segment, "groundingChunkIndices": [number]})
        self._bytes += len(text.encode(errors="replace"))
        self._part, self._cited = StringIO(), []

    def write(self) -> dict[str, Json]:
        """Returns the field of the candidate; empty without sources."""
        self.end_part()
        if not self._chunks:
            return {}
        chunks: list[Json] = [
            {"web": {name: value for name, value in (("uri", url), ("title", title)) if value}}
            for url, title in self._chunks
        ]
        more: dict[str, Json] = {"groundingSupports": self._supports} if self._supports else {}
        return {"groundingMetadata": {"groundingChunks": chunks, **more}}


def _write_common(model: str, id: str) -> dict[str, Json]:
    return {"modelVersion": model, "responseId": id or f"resp_{token_hex(12)}"}


def _is_failure(finish: Finished) -> bool:
    """True for an end that the wire has no word for."""
    return finish.reason == "error" and FINISH_REASONS.get(finish.raw or "") != "error"


def _write_candidate(parts: list[Json], finish: Finished, sources: _Sources) -> dict[str, Json]:
    """Writes the candidate with the end of an answer. The engine's own word is kept if this wire has it."""
    word = finish.raw if finish.raw and FINISH_REASONS.get(finish.raw) == finish.reason else None
    candidate: dict[str, Json] = {"content": {"parts": parts, "role": "model"}} if parts else {}
    candidate["finishReason"] = word or _FINISH.get(finish.reason, "OTHER")
    if words := finish.explanation or (finish.raw if finish.reason in ("other", "paused") else None):
        candidate["finishMessage"] = words
    if (details := describe_end(finish)) and finish.category != candidate["finishReason"]:
        candidate["stopDetails"] = {**details}  # as the other APIs have it
    if finish.stop_sequence:
        candidate["stopSequence"] = finish.stop_sequence
    return {**candidate, "index": 0, **sources.write()}


def _write_usage(usage: Usage) -> dict[str, Json]:
    """Writes token counts; the input of tools that the provider ran is counted apart on this wire."""
    hosted = usage.other.get("tool_input", 0)
    counts = {
        "promptTokenCount": (usage.input or 0) - hosted,
        "candidatesTokenCount": usage.text or 0,
        "thoughtsTokenCount": usage.reasoning,
        "cachedContentTokenCount": usage.cache_read,
        "toolUsePromptTokenCount": hosted,
        "totalTokenCount": (usage.input or 0) + (usage.output or 0),
    }
    needed = ("promptTokenCount", "candidatesTokenCount", "totalTokenCount")
    wire: dict[str, Json] = {name: count for name, count in counts.items() if count or name in needed}
    return {**wire, "estimated": True} if usage.estimated else wire


def _write_signature(metadata: Metadata) -> dict[str, Json]:
    """Returns the fields of this wire, with the sealed metadata of other engines as their signature (T1)."""
    fields = {**metadata_for_client(metadata, NAME)}
    if "thoughtSignature" not in fields and (sealed := seal_metadata(metadata)):
        fields["thoughtSignature"] = sealed
    return fields


def _write_call(id: str, name: str, arguments: str, metadata: Metadata) -> dict[str, Json]:
    """Arguments are an object on this wire; any other JSON or text becomes ``{"value": …}``."""
    try:
        value: Json = loads(arguments or "{}")
    except ValueError:
        value = arguments
    args: Json = value if isinstance(value, dict) else {"value": value}
    return {"functionCall": {"id": id, "name": name, "args": args}, **_write_signature(metadata)}


def write_parts(parts: Iterable[Part], *, thoughts: bool) -> Iterator[dict[str, Json]]:
    """Writes the parts of an answer, except unknown parts of other wires and calls run elsewhere.

    ``thoughts``: the client has asked for them.
    """
    for part in parts:
        fields = metadata_for_client(part.metadata, NAME)
        match part:
            case Text(text, _, metadata):
                signed = _write_signature(metadata)  # of a text too: the phase of an answer, for example
                if text or signed:
                    yield {**signed, "text": text}
            case Reasoning(text, metadata) if thoughts:
                signed = _write_signature(metadata)
                if text or signed:
                    yield {"text": text, "thought": True, **signed}
            case ToolCall(id, name, arguments, "client", metadata):
                yield _write_call(id, name, arguments, metadata)
            case Media(base64=None, url=url) if url is not None:
                yield {**fields, "fileData": {"mimeType": part.mime, "fileUri": url}}
            case Media(base64=data) if data is not None:
                yield {**fields, "inlineData": {"mimeType": part.mime, "data": data}}
            case UnknownPart():
                if fields:
                    yield dict(fields)


def write_reply(reply: Reply, request: ChatRequest, now: int) -> dict[str, Json]:
    """Writes a whole answer. Raises ``EngineFailed`` for an end that the wire has no word for."""
    if _is_failure(reply.finish):
        raise failed_finish_error(reply.finish)
    sources = _Sources()
    for part in reply.message.parts:
        if isinstance(part, Text):
            sources.add_text(part.text)
            for citation in part.citations:
                sources.add(citation)
            sources.end_part()
    parts: list[Json] = [*write_parts(reply.message.parts, thoughts=shows_thoughts(request.metadata))]
    if not parts and reply.finish.reason != "filtered":
        parts = [{"text": ""}]
    return {
        "candidates": [_write_candidate(parts, reply.finish, sources)],
        "usageMetadata": _write_usage(reply.usage),
        **_write_common(request.model or reply.model, reply.id),
    }


def write_models(models: Iterable[ModelInfo]) -> dict[str, Json]:
    """Writes the chat and embedding models as one page."""
    return {"models": [_write_model(model) for model in models if model.kind in _METHODS]}


def _write_model(model: ModelInfo) -> dict[str, Any]:
    """Writes one model under its id on this server."""
    own = model.meta if "supportedGenerationMethods" in model.meta else {}
    wire: dict[str, Any] = {
        "name": f"models/{model.engine}/{model.id}",
        "version": "",
        "displayName": model.name or model.id,
        **{name: own[name] for name in _OWN_FIELDS if name in own},
        "supportedGenerationMethods": [*_METHODS[model.kind]],
    }
    if model.context_tokens is not None:
        wire["inputTokenLimit"] = model.context_tokens
    if model.max_output_tokens is not None:
        wire["outputTokenLimit"] = model.max_output_tokens
    if model.kind == "chat":
        wire["thinking"] = "reasoning" in model.can
    return wire
