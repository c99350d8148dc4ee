"""Tells streams from documents, and reads a whole answer from either: some hosts send the other one than requested."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from llm.chat.events import Event, ReasoningDelta, TextDelta, ToolCallDelta, get_delta_text
from llm.chat.reply import Collector, Reply
from llm.dialects.registry import ENGINE_WIRES
from llm.engines.engine import Engine, Target
from llm.errors import LLMError, Malformed
from llm.transport.interface import HttpResponse
from llm.upstream.decoder import Decoder
from llm.upstream.failures import keep_body
from llm.wire.frames import FrameSplitter
from llm.wire.json_codec import loads
from llm.wire.ndjson import NdjsonSplitter
from llm.wire.sse import SseDecoder, SseSplitter

_EVENT_START: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:data|event|id|retry)?:")  # of a server-sent event
EVENT_STREAM: Final = "text/event-stream"
JSON_LINES: Final = "application/x-ndjson"
SPLITTERS: Final[Mapping[str, Callable[[int], FrameSplitter]]] = {EVENT_STREAM: SseSplitter, JSON_LINES: NdjsonSplitter}
STREAM_TYPES: Final = {  # content type of a stream, by dialect
    name: EVENT_STREAM if isinstance(dialect.create_framing(), SseDecoder) else JSON_LINES
    for name, dialect in ENGINE_WIRES.items()
}


async def read_start(response: HttpResponse, limit: int) -> bytes:
    """Reads up to the first byte that is not blank. Raises ``Malformed`` above ``limit`` bytes."""
    pieces, size = [], 0
    async for chunk in response:
        pieces.append(chunk)
        size += len(chunk)
        if chunk and not chunk.isspace():
            break
        if size > limit:
            raise Malformed(f"The engine's answer is longer than {limit} bytes (MAX_ANSWER_SIZE).")
    return b"".join(pieces)


async def read_stream_start(response: HttpResponse, engine: Engine, limit: int) -> tuple[bytes, str | None]:
    """Reads the start of an answer. Returns it, and the type of the stream that starts so; None for a document."""
    start = await read_start(response, limit)
    text = start.lstrip()
    if STREAM_TYPES[engine.dialect] == EVENT_STREAM:
        return start, None if text.startswith((b"{", b"[", b"<")) else EVENT_STREAM  # no event begins so
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return start, JSON_LINES if text.startswith(b"{") and kind != "application/json" else None


class WholeAnswer(NamedTuple):
    """An answer, and its bytes if it came as one JSON document."""

    reply: Reply
    document: bytes | None = None


async def read_whole(response: HttpResponse, target: Target, limit: int, start: bytes = b"") -> WholeAnswer:
    """Reads the rest of a response whose first bytes are ``start``. ``limit``: bytes. Raises ``LLMError``."""
    engine = target.engine
    dialect = ENGINE_WIRES[engine.dialect]
    start = start or await read_start(response, limit)
    if _EVENT_START.match(start):
        return WholeAnswer(await _read_events(response, Decoder(dialect, engine, limit), limit, start))
    return read_body(start + await response.read(limit), target, limit)


def read_body(body: bytes, target: Target, limit: int) -> WholeAnswer:
    """Reads the body of an answer: one document, or the JSON lines of a stream. Raises ``LLMError``."""
    engine = target.engine
    dialect = ENGINE_WIRES[engine.dialect]
    try:
        value = loads(body)
    except ValueError:
        reply = _read_lines(body, Decoder(dialect, engine, limit))
        if reply is None:
            failure = Malformed("The engine's answer is not JSON.", engine=engine.name)
            failure.lack = dialect.read_error(200, body, engine).lack
            raise failure from None
        return WholeAnswer(reply)
    try:
        return WholeAnswer(dialect.read_reply(value, engine), body)
    except LLMError as error:
        keep_body(error, body, target)
        raise


async def _read_events(response: HttpResponse, decoder: Decoder, limit: int, start: bytes) -> Reply:
    """Reads events until the last one, after which a host may keep the connection open."""
    collector, size = Collector(), 0
    events = decoder.feed(start)
    while True:
        collector.feed(events)
        size += _count_characters(events)
        if size > limit:
            raise Malformed(f"The engine's answer is longer than {limit} bytes (MAX_ANSWER_SIZE).")
        if decoder.failure is not None:
            raise decoder.failure
        if decoder.done:
            response.allow_drain()
            return collector.build_reply()
        if (chunk := await anext(aiter(response), None)) is None:
            break
        events = decoder.feed(chunk)
        if events:
            response.reset_idle_timer()
    collector.feed(decoder.close())
    if decoder.failure is not None:
        raise decoder.failure
    return collector.build_reply()


def _read_lines(body: bytes, decoder: Decoder) -> Reply | None:
    """Reads the lines of a stream; returns None if one of them is not JSON. Raises ``LLMError``."""
    collector = Collector()
    if not decoder.expects_events:  # the dialect has no lines
        return None
    try:
        loads(body.lstrip().partition(b"\n")[0])
        collector.feed(decoder.feed(body))
        if decoder.failure is None and not decoder.done:
            collector.feed(decoder.close())
    except (ValueError, Malformed):
        return None
    if isinstance(decoder.failure, Malformed):
        return None
    if decoder.failure is not None:
        raise decoder.failure
    return collector.build_reply()


def _count_characters(events: Sequence[Event]) -> int:
    return sum(len(get_delta_text(e)) for e in events if isinstance(e, TextDelta | ReasoningDelta | ToolCallDelta))
