"""Writes text completions: a stream of chunks, or one object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from secrets import token_hex
from typing import Final

from llm.chat.events import Event, Failed, Finished, Started, TextDelta, UsageReported, failed_finish_error
from llm.chat.messages import NO_USAGE, Text
from llm.chat.reply import Reply
from llm.chat.request import ChatRequest
from llm.dialects.openai_chat.shared import CLIENT_FINISH_REASONS, SYSTEM_FINGERPRINT, write_usage
from llm.dialects.openai_common import write_error
from llm.wire.json_codec import Json, dump_bytes
from llm.wire.sse import encode_sse_event

_OBJECT: Final = "text_completion"
_DONE: Final = b"data: [DONE]\n\n"


def create_writer(request: ChatRequest, now: int) -> TextWriter:
    """Creates the writer of one streamed answer. ``now``: seconds since 1970."""
    return TextWriter(request, now)


class TextWriter:
    """Writes the chunks of one answer. The wire has texts alone: reasoning and calls are left out."""

    __slots__ = ("_head", "_model", "_now", "_shows_usage", "_usage")

    content_type = "text/event-stream"
    write_interval = 0.0

    def __init__(self, request: ChatRequest, now: int) -> None:
        self._head = b""
        self._model, self._shows_usage = request.model, request.show_usage
        self._now = now
        self._usage = NO_USAGE

    def feed(self, events: Sequence[Event]) -> list[bytes]:
        """Returns the chunks of the events as one byte string, or nothing."""
        out = b"".join([chunk for event in events for chunk in self._write_event(event)])
        return [out] if out else []

    def write_keepalive(self) -> bytes:
        """Returns an SSE comment."""
        return b": ping\n\n"

    def _write_event(self, event: Event) -> Iterator[bytes]:
        match event:
            case TextDelta(_, text):
                if text:
                    yield self._write_choice(text, None)
            case Started(id, model):
                head = _write_head(id, self._model or model, self._now)
                self._head = b"data: %b," % dump_bytes(head)[:-1]
            case UsageReported(usage):
                self._usage = usage
            case Finished("error"):
                yield encode_sse_event(write_error(failed_finish_error(event)))
                yield _DONE
            case Finished(reason):
                yield self._write_choice("", CLIENT_FINISH_REASONS[reason])
                if self._shows_usage:
                    yield b'%b"choices":[],"usage":%b}\n\n' % (self._head, dump_bytes(write_usage(self._usage)))
                yield _DONE
            case Failed(error):
                yield encode_sse_event(write_error(error))
                yield _DONE

    def _write_choice(self, text: str, finish: str | None) -> bytes:
        return b'%b"choices":[%b]}\n\n' % (self._head, dump_bytes(_write_choice(text, finish)))


def write_reply(reply: Reply, request: ChatRequest, now: int) -> dict[str, Json]:
    """Writes a completion. Raises ``EngineFailed`` if the finish reason is ``error``, which the wire does not have."""
    if reply.finish.reason == "error":
        raise failed_finish_error(reply.finish)
    text = "".join(part.text for part in reply.message.parts if isinstance(part, Text))
    choice = _write_choice(text, CLIENT_FINISH_REASONS[reply.finish.reason])
    head = _write_head(reply.id, request.model or reply.model, now)
    return {**head, "choices": [choice], "usage": write_usage(reply.usage)}


def _write_head(id: str, model: str, now: int) -> dict[str, Json]:
    return {
        "id": id or f"cmpl-{token_hex(12)}",
        "object": _OBJECT,
        "created": now,
        "model": model,
        "system_fingerprint": SYSTEM_FINGERPRINT,
    }


def _write_choice(text: str, finish: str | None) -> dict[str, Json]:
    return {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}
