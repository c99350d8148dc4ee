"""Towards a client: events as chunks, whole answers, errors, the list of models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
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
    UsageReported,
    WholePart,
    ended_badly,
)
from llm.chat.messages import Citation, Media, Reasoning, Text, ToolCall, Usage
from llm.chat.provider_metadata import Keep, Opaque, opaque_to_client, seal
from llm.chat.reply import Reply
from llm.chat.request import ChatRequest
from llm.dialects.openai_chat.shared import NAME, REASONING_FIELD, SEALED, THOUGHT, write_usage
from llm.dialects.openai_common import write_error
from llm.wire.json_codec import Json, dump_bytes, dump_text
from llm.wire.json_lenient import dict_of
from llm.wire.sse import sse

_DONE: Final = b"data: [DONE]\n\n"
_ROLE: Final = b'{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}'
_FINISH: Final[Mapping[FinishReason, str]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "filtered": "content_filter",
    "paused": "stop",  # this wire has no word for "ask again"
    "other": "stop",
}


def writer(request: ChatRequest, now: int) -> ChunkWriter:
    return ChunkWriter(request, now)


class ChunkWriter:
    """The chunks of one answer. What is the same in all of them is encoded once."""

    __slots__ = (
        "_bare",
        "_bases",
        "_calls",
        "_head",
        "_listed",
        "_model",
        "_now",
        "_said",
        "_shows_usage",
        "_thoughts",
        "_usage",
    )

    content_type = "text/event-stream"
    spacing = 0.0

    def __init__(self, request: ChatRequest, now: int) -> None:
        self._model, self._shows_usage = request.model, request.show_usage
        self._now = now
        self._head = b""
        self._calls: dict[int, int] = {}  # our indexes of parts to this wire's indexes of calls
        self._bare: set[int] = set()  # open calls without a piece of their arguments so far
        self._listed = {"annotations": 0, "images": 0, "reasoning_details": 0}  # entries so far
        self._thoughts: dict[int, StringIO] = {}  # the open ones
        self._said = 0  # characters of text so far
        self._bases: dict[int, int] = {}  # those before each text part: here all of them are one text
        self._usage = Usage()

    def feed(self, batch: Sequence[Event]) -> list[bytes]:
        if len(batch) == 1 and type(delta := batch[0]) is TextDelta and delta.text and delta.index in self._bases:
            self._said += len(delta.text)
            return [self._delta_text(b"content", delta.text)]
        if not batch:
            return []
        out = b"".join([piece for event in batch for piece in self._pieces(event)])
        return [out] if out else []

    def ping(self) -> bytes:
        return b": ping\n\n"

    def _pieces(self, event: Event) -> Iterator[bytes]:
        match event:
            case TextDelta(index, text):
                self._bases.setdefault(index, self._said)
                self._said += len(text)
                if text:
                    yield self._delta_text(b"content", text)
            case ReasoningDelta(index, text):
                if index not in self._thoughts:
                    self._thoughts[index] = StringIO()
                self._thoughts[index].write(text)
                if text:
                    yield self._delta_text(REASONING_FIELD.encode(), text)
            case Started(id, model):
                self._head = self._prefix(id, model)
                yield b'%b"choices":[%b]}\n\n' % (self._head, _ROLE)
            case ToolCallStarted(index, id, name, "client"):
                self._calls[index] = len(self._calls)
                self._bare.add(index)
                yield self._call(index, {"id": id, "type": "function", "function": {"name": name, "arguments": ""}})
            case ToolCallDelta(index, arguments) if index in self._calls:
                self._bare.discard(index)
                yield self._call(index, {"function": {"arguments": arguments}})
            case PartEnded(index, keep):
                yield from self._ended(index, keep)
            case Cited(index, citation):
                yield self._entries("annotations", _annotation(citation, self._bases.get(index, self._said)))
            case WholePart(_, Media() as media) if media.kind == "image" and (media.base64 or media.url):
                yield self._entries("images", _image(media))
            case UsageReported(usage):
                self._usage = usage
            case Finished("error"):
                yield sse(write_error(ended_badly(event)))
                yield _DONE
            case Finished(reason, _, keep):
                logprobs = opaque_to_client(keep, NAME).get("logprobs")
                yield self._delta({}, _FINISH[reason], logprobs)
                if self._shows_usage:
                    yield b'%b"choices":[],"usage":%b}\n\n' % (self._head, dump_bytes(write_usage(self._usage)))
                yield _DONE
            case Failed(error):
                yield sse(write_error(error))
                yield _DONE

    def _ended(self, index: int, keep: Keep) -> Iterator[bytes]:
        """What a client has to bring back: on a call Google's ``extra_content``, on a thought OpenRouter's details."""
        thought = self._thoughts.pop(index, None)
        more = dict(opaque_to_client(keep, NAME))
        if thought is not None and (details := _details(thought.getvalue(), keep)):
            yield self._entries("reasoning_details", *details)
        elif index in self._calls and (more or index in self._bare):
            # Clients look into each piece's function; those of a call without arguments expect an empty object.
            yield self._call(index, {"function": {"arguments": "{}" if index in self._bare else ""}, **more})
            self._bare.discard(index)

    def _entries(self, name: str, *entries: Json) -> bytes:
        """Of a list that may grow: OpenAI's own client joins what comes later by its ``index``, or breaks off."""
        before = self._listed[name]
        self._listed[name] += len(entries)
        if before:
            entries = tuple({"index": before + n, **dict_of(entry)} for n, entry in enumerate(entries))
        return self._delta({name: [*entries]})

    def _prefix(self, id: str, model: str) -> bytes:
        head: dict[str, Json] = {
            "id": id or f"chatcmpl-{token_hex(12)}",
            "object": "chat.completion.chunk",
            "created": self._now,
            "model": model or self._model,
        }
        return b"data: %b," % dump_bytes(head)[:-1]

    def _delta_text(self, field: bytes, text: str) -> bytes:
        form = b'%b"choices":[{"index":0,"delta":{"%b":%b},"finish_reason":null}]}\n\n'
        return form % (self._head, field, dump_text(text))

    def _delta(self, delta: dict[str, Json], finish: str | None = None, logprobs: Json = None) -> bytes:
        choice: dict[str, Json] = {"index": 0, "delta": delta, "finish_reason": finish}
        if logprobs is not None:
            choice["logprobs"] = logprobs
        return b'%b"choices":[%b]}\n\n' % (self._head, dump_bytes(choice))

    def _call(self, index: int, call: Mapping[str, Any]) -> bytes:
        return self._delta({"tool_calls": [{"index": self._calls[index], **call}]})


def _details(thought: str, keep: Keep) -> list[Json]:
    """This wire's own details of a thought, else what another engine wants back of it, sealed in their form (T1).

    With its text, since all thoughts of an answer are one text here and a signature is of one thought.
    """
    own = opaque_to_client(keep, NAME).get("reasoning_details")
    if isinstance(own, list):
        return own
    foreign = tuple(opaque for opaque in keep if opaque.dialect != NAME)
    if not foreign:
        return []
    return [{"type": SEALED, "data": seal((*foreign, Opaque(NAME, None, {THOUGHT: thought})))}]


def _annotation(citation: Citation, base: int) -> Json:
    """Only what the engine told: offsets are the client's to trust, so none is made up. ``base`` is where the part of
    the citation begins in the whole text.
    """
    if kept := opaque_to_client(citation.keep, NAME):
        return dict(kept)
    told: dict[str, Json] = {"url": citation.url, "title": citation.title, "content": citation.quote}
    if citation.start is not None and citation.end is not None:
        told |= {"start_index": base + citation.start, "end_index": base + citation.end}
    return {"type": "url_citation", "url_citation": {name: value for name, value in told.items() if value is not None}}


def _image(media: Media) -> Json:
    url = media.url or f"data:{media.mime};base64,{media.base64}"
    return {"type": "image_url", "image_url": {"url": url}}


def write_reply(reply: Reply, request: ChatRequest, now: int) -> dict[str, Json]:
    """Raises ``EngineFailed`` for an answer that ended with an error, for which the wire has no word."""
    if reply.finish.reason == "error":
        raise ended_badly(reply.finish)
    text = ""
    calls: list[Json] = []
    annotations: list[Json] = []
    images: list[Json] = []
    details: list[Json] = []
    for part in reply.message.parts:
        match part:
            case Text(more, citations):
                annotations += [_annotation(citation, len(text)) for citation in citations]
                text += more
            case Reasoning(thought, keep):
                details += _details(thought, keep)
            case ToolCall(id, name, arguments, "client", keep):
                function: Json = {"name": name, "arguments": arguments}
                calls.append({**opaque_to_client(keep, NAME), "id": id, "type": "function", "function": function})
            case Media() if part.kind == "image" and (part.base64 or part.url):
                images.append(_image(part))
    message: dict[str, Json] = {"role": "assistant", "content": text or (None if calls else ""), "refusal": None}
    lists = {"tool_calls": calls, "annotations": annotations, "images": images, "reasoning_details": details}
    message |= {name: value for name, value in lists.items() if value}
    if reply.reasoning:
        message[REASONING_FIELD] = reply.reasoning
    kept = opaque_to_client(reply.finish.keep, NAME)
    if "audio" in kept:
        message["audio"] = kept["audio"]
    choice: dict[str, Json] = {"index": 0, "message": message, "finish_reason": _FINISH[reply.finish.reason]}
    choice["logprobs"] = kept.get("logprobs")
    return {
        "id": reply.id or f"chatcmpl-{token_hex(12)}",
        "object": "chat.completion",
        "created": now,
        "model": reply.model or request.model,
        "choices": [choice],
        "usage": write_usage(reply.usage),
    }
