"""Tells streams from documents, and reads a whole answer from either: some hosts send the other one than requested."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from llm.chat.events import Event, ReasoningDelta, TextDelta, ToolCallDelta, get_delta_text
from llm.chat.reply import Collector, Reply
from llm.dialects.base import EngineDialect
from llm.dialects.registry import ENGINE_DIALECTS
from llm.engines.engine import Engine
from llm.errors import Malformed
from llm.transport.interface import HttpResponse
from llm.upstream.decoder import Decoder
from llm.wire.json_codec import loads
from llm.wire.sse import SseDecoder

_EVENT_START: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:data|event|id|retry)?:")  # of a server-sent event
EVENT_STREAM: Final = "text/event-stream"
JSON_LINES: Final = "application/x-ndjson"


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


def detect_stream_type(start: bytes, kind: str, engine: Engine) -> str | None:
    """Returns the type of a stream that starts so, where its content type ``kind`` is another; None for a document."""
    text = start.lstrip()
    if isinstance(ENGINE_DIALECTS[engine.dialect].create_framing(), SseDecoder):
        return None if text.startswith((b"{", b"[", b"<")) else EVENT_STREAM  # no event begins so
    return JSON_LINES if text.startswith(b"{") and kind != "application/json" else None


class WholeAnswer(NamedTuple):
    """An answer, and its bytes if it came as one JSON document."""

    reply: Reply
    document: bytes | None = None


async def read_whole(
    response: HttpResponse, dialect: EngineDialect, engine: Engine, limit: int, start: bytes = b""
) -> WholeAnswer:
    """Reads the rest of a response whose first bytes are ``start``. ``limit``: bytes. Raises ``LLMError``."""
    start = start or await read_start(response, limit)
    if _EVENT_START.match(start):
        return WholeAnswer(await _read_events(response, Decoder(dialect, engine, limit), limit, start))
    body = start + await response.read(limit)
    try:
        value = loads(body)
    except ValueError:
        reply = _read_lines(body, Decoder(dialect, engine, limit))
        if reply is None:
            raise Malformed("The engine's answer is not JSON.", engine=engine.name) from None
        return WholeAnswer(reply)
    return WholeAnswer(dialect.read_reply(value, engine), body)


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
