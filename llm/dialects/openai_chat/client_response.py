"""Writes answers for clients: events as chunks, a Reply as a completion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
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
    UsageReported,
    WholePart,
    describe_end,
    describe_refusal,
    failed_finish_error,
)
from llm.chat.freeform import InputUnwrapper, unwrap_input
from llm.chat.messages import (
    NO_USAGE,
    PHASE_SEPARATOR,
    Citation,
    Media,
    Reasoning,
    Text,
    ToolCall,
    describe_media,
)
from llm.chat.provider_metadata import Metadata, ProviderMetadata, encode_metadata, metadata_for_client
from llm.chat.reply import Reply
from llm.chat.request import ChatRequest, find_freeform
from llm.dialects.openai_chat.shared import (
    CLIENT_FINISH_REASONS,
    ENCRYPTED_DETAIL,
    NAME,
    REASONING_FIELDS,
    SEALED_PLACE,
    SEALED_TEXT,
    SYSTEM_FINGERPRINT,
    write_usage,
)
from llm.dialects.openai_common import write_error
from llm.dialects.openai_fields import read_answer_fields
from llm.wire.json_codec import Json, dump_bytes, dump_text
from llm.wire.json_lenient import as_dict
from llm.wire.sse import encode_sse_event

_DONE: Final = b"data: [DONE]\n\n"
_ROLE: Final = b'{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}'
_TEXT_CHUNK: Final = b'%b"choices":[{"index":0,"delta":{"content":%b},"finish_reason":null}]}\n\n'
_NO_FIELDS: Final[Mapping[str, Json]] = {}
# One for all streams: each empty set has 216 bytes.
_NO_CALLS: Final[frozenset[int]] = frozenset()
_NO_NAMES: Final[frozenset[str]] = frozenset()
# Clients that read both fields of a stream and hold the text twice then, by the start of their ``User-Agent``, and the
# field that they also send back (openai-agents 0.24.0).
_READS_TWICE: Final[Mapping[str, Sequence[str]]] = {"Agents/Python": ("reasoning",)}


def choose_reasoning_fields(configured: Sequence[str], headers: Mapping[str, str]) -> Sequence[str]:
    """Returns the fields in which a client gets reasoning: both have the same text, as most clients read only one.

    Measured with 18 clients on 2026-11-30: three read only ``reasoning_content``, three only ``reasoning``, and eight
    read either; of these one reads both of a stream (``_READS_TWICE``).
    """
    if len(configured) == 1:
        return configured
    user_agent = headers.get("User-Agent", "")
    for start, fields in _READS_TWICE.items():
        if user_agent.startswith(start):
            return fields
    return configured


@lru_cache(maxsize=4)
def _make_reasoning_chunk(fields: tuple[str, ...]) -> bytes:
    """Returns the template of a chunk with reasoning, which all streams share."""
    delta = ",".join(f'"{field}":%(text)b' for field in fields)
    return f'%(head)b"choices":[{{"index":0,"delta":{{{delta}}},"finish_reason":null}}]}}\n\n'.encode()


class ChunkWriter:
    """Writes the chunks of one answer. The fields that all chunks share are encoded once."""

    __slots__ = (
        "_after_comment",
        "_calls",
        "_calls_without_arguments",
        "_characters",
        "_entry_counts",
        "_freeform",
        "_head",
        "_inputs",
        "_model",
        "_now",
        "_part_starts",
        "_reasoning",
        "_reasoning_chunk",
        "_shows_usage",
        "_usage",
    )

    content_type = "text/event-stream"
    write_interval = 0.0

    def __init__(self, request: ChatRequest, now: int, reasoning_fields: Sequence[str] = REASONING_FIELDS) -> None:
        """``now``: seconds since 1970."""
        self._reasoning_chunk = _make_reasoning_chunk(tuple(reasoning_fields))
        self._model, self._shows_usage = request.model, request.show_usage
        self._now = now
        self._head = b""
        self._calls: dict[int, int] = {}  # part index to the wire's index of the call
        self._calls_without_arguments = _NO_CALLS  # open calls, by part index
        self._entry_counts: dict[str, int] = {}  # entries so far, by the name of their list
        self._reasoning: dict[int, tuple[StringIO, int, int]] = {}  # text of open reasoning parts, and ``SEALED_PLACE``
        self._characters = 0  # characters of text so far
        self._part_starts: dict[int, int] = {}  # characters before each text part: on this wire they are one text
        self._usage = NO_USAGE
        self._after_comment = False  # the last text comments on the work; another one is the answer
        self._freeform = find_freeform(request.tools) if request.tools else _NO_NAMES
        self._inputs: dict[int, InputUnwrapper] = {}  # of open calls whose input is text, by part index

    def feed(self, events: Sequence[Event]) -> list[bytes]:
        """Returns the chunks of the events as one byte string, or nothing."""
        if (
            len(events) == 1
            and type(delta := events[0]) is TextDelta
            and delta.text
            and delta.index in self._part_starts
        ):
            self._characters += len(delta.text)
            return [_TEXT_CHUNK % (self._head, dump_text(delta.text))]
        if not events:
            return []
        out = b"".join([chunk for event in events for chunk in self._write_event(event)])
        return [out] if out else []

    def write_keepalive(self) -> bytes:
        """Returns an SSE comment."""
        return b": ping\n\n"

    def _write_event(self, event: Event) -> Iterator[bytes]:
        match event:
            case TextDelta(index, text):
                if self._after_comment and index not in self._part_starts:
                    text, self._after_comment = PHASE_SEPARATOR + text, False
                self._part_starts.setdefault(index, self._characters)
                self._characters += len(text)
                if text:
                    yield _TEXT_CHUNK % (self._head, dump_text(text))
            case ReasoningDelta(index, text):
                if index not in self._reasoning:
                    self._reasoning[index] = StringIO(), self._characters, len(self._calls)
                self._reasoning[index][0].write(text)
                if text:
                    yield self._reasoning_chunk % {b"head": self._head, b"text": dump_text(text)}
            case Started(id, model):
                self._head = self._write_head(id, model)
                yield b'%b"choices":[%b]}\n\n' % (self._head, _ROLE)
            case ToolCallStarted(index, id, name, "client"):
                yield self._start_call(index, id, name)
            case ToolCallDelta(index, arguments) if index in self._inputs:
                if piece := self._inputs[index].feed(arguments):
                    yield self._write_call(index, {"custom": {"input": piece}})
            case ToolCallDelta(index, arguments) if index in self._calls:
                if index in self._calls_without_arguments:
                    self._calls_without_arguments -= {index}
                yield self._write_call(index, {"function": {"arguments": arguments}})
            case PartEnded(index, metadata, _, phase):
                self._after_comment = self._after_comment or phase == "commentary"
                yield from self._end_part(index, metadata)
            case Cited(index, citation):
                part_start = self._part_starts.get(index, self._characters)
                yield self._write_entries("annotations", _write_annotation(citation, part_start))
            case WholePart(_, Media() as media) if media.kind == "image" and (media.base64 or media.url):
                yield self._write_entries("images", _write_image(media))
            case WholePart(index, Media() as media):
                yield from self._write_event(TextDelta(index, describe_media(media)))
            case UsageReported(usage):
                self._usage = usage
            case Finished("error"):
                yield encode_sse_event(write_error(failed_finish_error(event)))
                yield _DONE
            case Finished():
                yield self._finish(event)
            case Failed(error):
                yield encode_sse_event(write_error(error))
                yield _DONE

    def _start_call(self, index: int, id: str, name: str) -> bytes:
        self._calls[index] = len(self._calls)
        if name in self._freeform:
            self._inputs[index] = InputUnwrapper()
            return self._write_call(index, {"id": id, "type": "custom", "custom": {"name": name, "input": ""}})
        self._calls_without_arguments |= {index}
        return self._write_call(index, {"id": id, "type": "function", "function": {"name": name, "arguments": ""}})

    def _finish(self, finish: Finished) -> bytes:
        refusal, logprobs = describe_refusal(finish), None
        last = self._write_delta({"refusal": refusal}) if refusal else b""
        if finish.metadata:
            if fields := read_answer_fields(finish.metadata):
                self._head += dump_bytes(fields)[1:-1] + b","
            logprobs = metadata_for_client(finish.metadata, NAME).get("logprobs")
        last += self._write_delta({}, CLIENT_FINISH_REASONS[finish.reason], logprobs, _write_end_fields(finish))
        if self._shows_usage:
            last += b'%b"choices":[],"usage":%b}\n\n' % (self._head, dump_bytes(write_usage(self._usage)))
        return last + _DONE

    def _end_part(self, index: int, metadata: Metadata) -> Iterator[bytes]:
        """Writes what a client must send back: Google's ``extra_content`` of a call, OpenRouter's reasoning details."""
        text, *place = self._reasoning.pop(index, (None, 0, 0))
        more = dict(metadata_for_client(metadata, NAME))
        if text is not None and (details := _write_details(text.getvalue(), metadata, place)):
            yield self._write_entries("reasoning_details", *details)
        elif index in self._inputs:
            piece = self._inputs.pop(index).close()
            more.pop("type", None)
            if piece or more:
                yield self._write_call(index, {"custom": {"input": piece}, **more})
        elif index in self._calls and (more or index in self._calls_without_arguments):
            # Clients read ``function`` in each delta, and expect an empty object for a call without arguments.
            arguments = "{}" if index in self._calls_without_arguments else ""
            yield self._write_call(index, {"function": {"arguments": arguments}, **more})
            self._calls_without_arguments -= {index}

    def _write_entries(self, name: str, *entries: Json) -> bytes:
        """Writes entries of a list. Later entries have an ``index``: OpenAI's client needs it to join the lists."""
        before = self._entry_counts.get(name, 0)
        self._entry_counts[name] = before + len(entries)
        if before:
            entries = tuple({"index": before + n, **as_dict(entry)} for n, entry in enumerate(entries))
        return self._write_delta({name: [*entries]})

    def _write_head(self, id: str, model: str) -> bytes:
        head: dict[str, Json] = {
            "id": id or f"chatcmpl-{token_hex(12)}",
            "object": "chat.completion.chunk",
            "created": self._now,
            "model": self._model or model,
            "system_fingerprint": SYSTEM_FINGERPRINT,
        }
        return b"data: %b," % dump_bytes(head)[:-1]

    def _write_delta(
        self,
        delta: dict[str, Json],
        finish: str | None = None,
        logprobs: Json = None,
        end_fields: Mapping[str, Json] = _NO_FIELDS,
    ) -> bytes:
        choice: dict[str, Json] = {"index": 0, "delta": delta, "finish_reason": finish, **end_fields}
        if logprobs is not None:
            choice["logprobs"] = logprobs
        return b'%b"choices":[%b]}\n\n' % (self._head, dump_bytes(choice))

    def _write_call(self, index: int, call: Mapping[str, Any]) -> bytes:
        return self._write_delta({"tool_calls": [{"index": self._calls[index], **call}]})


create_writer = ChunkWriter  # writes one streamed answer


def _write_end_fields(finish: Finished) -> dict[str, Json]:
    """Returns what this wire has no words for: the stop sequence, as vLLM gives it, and details of the end."""
    fields: dict[str, Json] = {"stop_reason": finish.stop_sequence} if finish.stop_sequence else {}
    if details := describe_end(finish):
        fields["stop_details"] = {**details}
    return fields


def _write_details(text: str, metadata: Metadata, place: Sequence[int]) -> list[Json]:
    """Returns the details of a reasoning part; another engine's signature is sealed as one detail (T1: it must return).

    A seal includes the part's text and place (``SEALED_PLACE``): this wire joins all reasoning of an answer, and a
    signature belongs to one part.
    """
    own = metadata_for_client(metadata, NAME).get("reasoning_details")
    if isinstance(own, list):
        return own
    foreign = tuple(opaque for opaque in metadata if opaque.dialect != NAME)
    if not foreign:
        return []
    own_fields = ProviderMetadata(NAME, None, {SEALED_TEXT: text, SEALED_PLACE: [*place]})
    return [{"type": ENCRYPTED_DETAIL, "data": encode_metadata((*foreign, own_fields))}]


def _write_annotation(citation: Citation, part_start: int) -> Json:
    """Writes only known fields, since clients rely on offsets. ``part_start``: the part's offset in the whole text."""
    if original := metadata_for_client(citation.metadata, NAME):
        return dict(original)
    fields: dict[str, Json] = {"url": citation.url, "title": citation.title, "content": citation.quote}
    if citation.start is not None and citation.end is not None:
        fields |= {"start_index": part_start + citation.start, "end_index": part_start + citation.end}
    return {"type": "url_citation", "url_citation": {n: value for n, value in fields.items() if value is not None}}


def _write_image(media: Media) -> Json:
    url = media.url or f"data:{media.mime};base64,{media.base64}"
    return {"type": "image_url", "image_url": {"url": url}}


def _write_whole_call(name: str, arguments: str, *, custom: bool) -> dict[str, Json]:
    if custom:
        return {"type": "custom", "custom": {"name": name, "input": unwrap_input(arguments)}}
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def write_reply(
    reply: Reply, request: ChatRequest, now: int, reasoning_fields: Sequence[str] = REASONING_FIELDS
) -> dict[str, Json]:
    """Writes a completion. Raises ``EngineFailed`` if the finish reason is ``error``, which the wire does not have."""
    if reply.finish.reason == "error":
        raise failed_finish_error(reply.finish)
    finish_fields = metadata_for_client(reply.finish.metadata, NAME)
    message = _write_message(reply, request)
    if reply.reasoning:
        message |= dict.fromkeys(reasoning_fields, reply.reasoning)
    if "audio" in finish_fields:
        message["audio"] = finish_fields["audio"]
    choice: dict[str, Json] = {
        "index": 0,
        "message": message,
        "finish_reason": CLIENT_FINISH_REASONS[reply.finish.reason],
    }
    choice["logprobs"] = finish_fields.get("logprobs")
    choice |= _write_end_fields(reply.finish)
    return {
        "id": reply.id or f"chatcmpl-{token_hex(12)}",
        "object": "chat.completion",
        "created": now,
        "model": request.model or reply.model,
        "choices": [choice],
        "usage": write_usage(reply.usage),
        "system_fingerprint": SYSTEM_FINGERPRINT,
        **read_answer_fields(reply.finish.metadata),
    }


def _write_message(reply: Reply, request: ChatRequest) -> dict[str, Json]:
    """Writes the message of a whole answer without its reasoning text."""
    text = ""
    calls: list[Json] = []
    annotations: list[Json] = []
    images: list[Json] = []
    details: list[Json] = []
    freeform, after_comment = find_freeform(request.tools), False
    for part in reply.message.parts:
        match part:
            case Text(more, citations, _, phase):
                if text and after_comment:
                    text += PHASE_SEPARATOR
                after_comment = phase == "commentary"
                annotations += [_write_annotation(citation, len(text)) for citation in citations]
                text += more
            case Reasoning(reasoning, metadata):
                details += _write_details(reasoning, metadata, [len(text), len(calls)])
            case ToolCall(id, name, arguments, "client", metadata):
                called = _write_whole_call(name, arguments, custom=name in freeform)
                calls.append({**metadata_for_client(metadata, NAME), "id": id, **called})
            case Media() if part.kind == "image" and (part.base64 or part.url):
                images.append(_write_image(part))
            case Media():
                text += describe_media(part)
    refusal = describe_refusal(reply.finish) or None
    message: dict[str, Json] = {"role": "assistant", "content": text or (None if calls else ""), "refusal": refusal}
    lists = {"tool_calls": calls, "annotations": annotations, "images": images, "reasoning_details": details}
    return message | {name: value for name, value in lists.items() if value}
