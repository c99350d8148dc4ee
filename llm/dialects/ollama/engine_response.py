"""Reads an engine's answers: a stream of JSON lines as events, a whole answer as a Reply."""

from __future__ import annotations

import re
from collections.abc import Mapping
from secrets import token_hex
from typing import Any, Final

from llm.chat.events import AnyDelta, Event, Finished, FinishReason, Started, UsageReported, final_finish_reason
from llm.chat.messages import Media, Usage
from llm.chat.parts_manager import PartsManager
from llm.chat.provider_metadata import unknown_fields
from llm.chat.reply import Reply, collect
from llm.dialects.ollama.engine_errors import build_error
from llm.dialects.ollama.shared import NAME, guess_image_type
from llm.engines.engine import Engine
from llm.errors import Malformed, Truncated
from llm.wire.frames import Frame
from llm.wire.json_codec import dumps, loads
from llm.wire.json_lenient import as_count, as_list, as_text, drop_null
from llm.wire.ndjson import NdjsonDecoder

_FINISH: Final[Mapping[str, FinishReason]] = {
    "stop": "stop", "length": "length", "content_filter": "filtered", "abort": "error", "error": "error",
}  # fmt: skip
# ``created_at`` differs in each line and is not read.
_TIME: Final = re.compile(rb'"created_at": ?"[^"\\\n]*"')


class LineReader:
    """Reads the lines of one answer, which ends with ``done: true``."""

    volatile_fields = _TIME
    stateful_fields = None
    needs_text = False

    def __init__(self, engine: Engine) -> None:
        self.done = False
        self._engine = engine
        self._parts = PartsManager()
        self._started = False

    def feed(self, frame: Frame) -> list[Event]:
        """Reads one line. Raises an ``LLMError`` for an error line, ``Malformed`` for a line that is not JSON."""
        if self.done:
            return []
        try:
            wire = loads(frame.data)
        except ValueError:
            raise Malformed("The engine sent a line that is not JSON.", engine=self._engine.name) from None
        if isinstance(wire, dict):
            self._read_line(wire)
        return self._parts.take_events()

    def note_delta(self, delta: AnyDelta) -> None:
        """Does nothing: this reader counts no text."""

    def close(self) -> list[Event]:
        """Raises ``Truncated``, since a complete stream ends with ``done: true``."""
        raise Truncated(f"{self._engine.label} ended its answer before it was complete.", engine=self._engine.name)

    def _read_line(self, wire: Mapping[str, Any]) -> None:
        if wire.get("error"):
            raise build_error(0, wire, self._engine)
        if not self._started:
            self._started = True
            self._parts.events.append(Started("", as_text(wire.get("model"))))
        message = wire.get("message", wire)  # without ``message``: an answer of ``/api/generate``
        if isinstance(message, dict):
            self._parts.add_reasoning(as_text(message.get("thinking")))
            self._parts.add_text(as_text(message.get("content", message.get("response"))))
            for image in (*as_list(message.get("images")), wire.get("image")):  # of a model that makes pictures
                if isinstance(image, str) and image:
                    self._parts.add_whole_part(Media(mime=guess_image_type(image), base64=image))
            calls = message.get("tool_calls")
            for call in calls if isinstance(calls, list) else ():
                if isinstance(call, dict):
                    self._read_call(call)
        if wire.get("done") is True:
            self._finish(wire)

    def _read_call(self, wire: Mapping[str, Any]) -> None:
        function = wire.get("function")
        function = function if isinstance(function, dict) else {}
        index = self._parts.open_call(as_text(wire.get("id")) or f"call_{token_hex(12)}", as_text(function.get("name")))
        arguments = function.get("arguments")
        if arguments:
            text = drop_null(arguments) if isinstance(arguments, str) else dumps(arguments)
            self._parts.add_arguments(index, text)
        self._parts.end_call(index, unknown_fields(wire, ("id", "function", "type"), NAME, self._engine.issuer))

    def _finish(self, wire: Mapping[str, Any]) -> None:
        self._parts.end_all()
        prompt, output = as_count(wire.get("prompt_eval_count")), as_count(wire.get("eval_count"))
        if prompt is not None or output is not None:
            self._parts.events.append(UsageReported(Usage(fresh=prompt or 0, text=output)))
        raw = as_text(wire.get("done_reason"))
        reason = _FINISH.get(raw, "stop" if not raw else "other")  # servers before 0.3 send no reason
        reason = final_finish_reason(reason, self._parts.has_client_call, self._parts.has_output)
        self._parts.events.append(Finished(reason, raw or None))
        self.done = True


create_framing = NdjsonDecoder  # cuts a streamed answer into frames
create_reader = LineReader  # reads one streamed answer


def read_reply(body: Any, engine: Engine) -> Reply:
    """Reads a whole answer: one object, or the lines of a stream as a list. Raises ``Malformed`` for any other."""
    lines = LineReader(engine)
    events: list[Event] = []
    for wire in body if isinstance(body, list) else [body]:
        if not isinstance(wire, dict):
            raise Malformed(f"{engine.label} answered with something other than a message.", engine=engine.name)
        lines._read_line(wire)
        events += lines._parts.take_events()
    if not lines.done:
        raise Malformed(f"{engine.label} answered with something other than a message.", engine=engine.name)
    return collect(events)
