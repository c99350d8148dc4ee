"""Reads an engine's text completions: a stream of chunks as events, a whole one as a Reply."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from llm.chat.events import AnyDelta, Event, Finished, Started, UsageReported, final_finish_reason
from llm.chat.messages import Usage
from llm.chat.parts_manager import PartsManager
from llm.chat.reply import Reply, collect
from llm.dialects.openai_chat.engine_errors import build_error, find_error
from llm.dialects.openai_chat.shared import read_finish_reason, read_usage
from llm.dialects.openai_common import VOLATILE_FIELDS
from llm.engines.engine import Engine
from llm.errors import Malformed, Truncated
from llm.wire.frames import Frame
from llm.wire.json_codec import loads
from llm.wire.json_lenient import as_count, as_dict, as_list, as_text
from llm.wire.sse import SseDecoder

_STATEFUL_FIELDS: Final = re.compile(rb'"usage" ?: ?\{|"finish_reason" ?: ?"')


class TextReader:
    """Reads the chunks of one stream, which ends with ``[DONE]``; of several choices the first one.

    Text is in ``text``, at Mistral in ``delta`` or ``message`` as in Chat Completions.
    """

    volatile_fields = VOLATILE_FIELDS
    stateful_fields = _STATEFUL_FIELDS
    needs_text = False

    __slots__ = ("_engine", "_finish", "_parts", "_started", "_usage", "done")

    def __init__(self, engine: Engine) -> None:
        self.done = False
        self._engine = engine
        self._parts = PartsManager()
        self._started = False
        self._finish: str | None = None
        self._usage: Usage | None = None

    def feed(self, frame: Frame) -> list[Event]:
        """Reads one chunk. Raises an ``LLMError`` for an error chunk, ``Malformed`` for a chunk that is not JSON."""
        if self.done:
            return []
        data = frame.data.strip()
        if data == "[DONE]":
            return self.end()
        try:
            wire = loads(data)
        except ValueError:
            raise Malformed("The engine sent a chunk that is not JSON.", engine=self._engine.name) from None
        if isinstance(wire, dict):
            failed = wire if frame.event == "error" else find_error(wire)
            if failed is not None:
                raise build_error(0, failed, self._engine)
            self.read_chunk(wire)
        return self._parts.take_events()

    def note_delta(self, delta: AnyDelta) -> None:
        """Does nothing: this reader counts no text."""

    def close(self) -> list[Event]:
        """Ends a stream without ``[DONE]``. Raises ``Truncated`` if there was no finish reason."""
        if self._finish is None:
            raise Truncated(f"{self._engine.label} ended its answer before it was complete.", engine=self._engine.name)
        return self.end()

    def read_chunk(self, wire: Mapping[str, Any]) -> None:
        """Reads a chunk, or a whole completion."""
        choices = as_list(wire.get("choices"))
        if not self._started and (choices or as_text(wire.get("id"))):
            self._started = True
            self._parts.events.append(Started(as_text(wire.get("id")), as_text(wire.get("model"))))
        if isinstance(usage := wire.get("usage"), dict):
            read = read_usage(usage, reasoning_in_output=self._engine.quirks.reasoning_in_output)
            self._usage = read if read.fresh is not None or read.text is not None else self._usage
        for choice in choices:
            if isinstance(choice, dict) and not as_count(choice.get("index")):
                inner = as_dict(choice.get("message")) or as_dict(choice.get("delta"))
                self._parts.add_text(as_text(choice.get("text", inner.get("content"))))
                self._finish = as_text(choice.get("finish_reason")) or self._finish

    def end(self) -> list[Event]:
        """Returns the last events."""
        if not self._started:
            self._parts.events.append(Started("", ""))
        self._parts.end_all()
        if self._usage is not None:
            self._parts.events.append(UsageReported(self._usage))
        reason = final_finish_reason(read_finish_reason(self._finish or ""), False, self._parts.has_output)
        self._parts.events.append(Finished(reason, self._finish))
        self.done = True
        return self._parts.take_events()


create_framing = SseDecoder  # cuts a streamed answer into frames
create_reader = TextReader  # reads one streamed answer


def read_reply(body: Any, engine: Engine) -> Reply:
    """Reads a whole completion. Raises ``Malformed`` if it has no choice, and the error inside a 200 response."""
    if not isinstance(body, dict):
        raise Malformed(f"{engine.label} answered with something other than a completion.", engine=engine.name)
    if (failed := find_error(body)) is not None:
        raise build_error(0, failed, engine)
    if not as_list(body.get("choices")):
        raise Malformed(f"{engine.label} answered without any choice.", engine=engine.name)
    reader = TextReader(engine)
    reader.read_chunk(body)
    return collect(reader.end())
