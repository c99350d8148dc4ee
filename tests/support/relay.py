"""Passes the bytes of an engine's stream through to a client of the same dialect, without a server."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from llm.dialects.registry import PASSTHROUGH_DIALECTS
from llm.engines.engine import Engine, Target
from llm.errors import LLMError
from llm.upstream.call_record import CallRecord
from llm.upstream.passthrough.events import PassthroughEvents
from llm.wire.ndjson import NdjsonSplitter
from llm.wire.sse import SseDecoder, SseSplitter


@dataclass
class Relayed:
    """What a client got, and the error that ends its answer."""

    sent: bytes = b""
    failure: LLMError | None = None
    record: CallRecord = field(default_factory=CallRecord)

    @property
    def objects(self) -> list[Any]:
        """The JSON of the events."""
        lines = [line.removeprefix(b"data:").strip() for line in self.sent.splitlines()]
        return [json.loads(line) for line in lines if line.startswith(b"{")]


def relay(dialect: str, pieces: Iterable[bytes], withhold_usage: bool = False) -> Relayed:
    """Gives the pieces to a passed-through stream, one read each."""
    out = Relayed()

    def send(piece: bytes) -> bool:
        out.sent += piece
        return True

    engine = Engine(name="custom", label="Custom", dialect=dialect)
    sse = isinstance(PASSTHROUGH_DIALECTS[dialect].create_framing(), SseDecoder)
    blocks = (SseSplitter if sse else NdjsonSplitter)(1 << 20)
    events = PassthroughEvents(Target(engine=engine, model="m", key="k"), out.record, blocks, send, send, 1 << 20)
    events.withhold_usage = withhold_usage
    try:
        for piece in pieces:
            if not events.done:
                events.feed(piece)
        if not events.done:
            events.close(events.take_rest())
    except LLMError as error:
        out.failure = error
    return out


def sse(*values: Any, event: str = "") -> list[bytes]:
    """Encodes server-sent events as one read each; a text such as ``[DONE]`` stays as it is."""
    name = f"event: {event}\n" if event else ""
    return [f"{name}data: {one if isinstance(one, str) else json.dumps(one)}\n\n".encode() for one in values]
