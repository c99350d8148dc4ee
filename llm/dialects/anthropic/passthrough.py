"""What changes in a chat that is passed through to an engine of the same dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm.chat.request import ChatRequest
from llm.dialects.anthropic.engine_request import PATH
from llm.dialects.anthropic.engine_response import MessageReader
from llm.dialects.anthropic.shared import STOP_REASONS
from llm.dialects.base import EngineRequest
from llm.dialects.stream_repair import StreamRepair, read_object
from llm.engines.engine import Engine
from llm.errors import LLMError, Malformed
from llm.wire.frames import Frame
from llm.wire.json_lenient import as_dict, as_text


def passthrough_request(body: Mapping[str, Any], model: str, engine: Engine) -> EngineRequest:
    """Builds a request of the client's own body and the engine's model name; this wire always reports usage."""
    return EngineRequest(path=PATH, body={**body, "model": model})


def is_only_usage(frame: Frame) -> bool:
    """Returns False: this wire has no event that carries only usage."""
    return False


def find_unconvertible_field(request: ChatRequest, engine: Engine) -> str | None:
    """Returns None: each answer of this wire has a neutral form."""
    return None


def create_repair(reader: Any, engine: Engine) -> MessageRepair:
    """Creates the repair of one stream, whose events ``reader`` gets too, each after it was repaired."""
    return MessageRepair(reader, engine)


class MessageRepair(StreamRepair):
    """Ends a message with an error after a tool call whose arguments are not JSON: official clients make some up."""

    MARKS = (b"message_delta", *StreamRepair.MARKS)

    __slots__ = ("_engine", "_reader")

    def __init__(self, reader: MessageReader, engine: Engine) -> None:
        super().__init__()
        self._reader = reader
        self._engine = engine

    def repair(self, event: bytes, frame: Frame) -> bytes:
        """Returns the event to send. Raises ``Malformed`` instead of a normal end after a broken tool call."""
        event = self.join_halves(event)
        wire = read_object(frame)
        if wire.get("type") != "message_delta":
            return event
        stop = as_text(as_dict(wire.get("delta")).get("stop_reason"))
        if self._reader.broken_call and STOP_REASONS.get(stop) in ("stop", "tool_calls"):
            message = f"{self._engine.label} sent arguments of the tool {self._reader.broken_call!r} that are not JSON."
            raise Malformed(message, engine=self._engine.name)
        return event

    def shows_error(self, frame: Frame, error: LLMError) -> bool:
        """True for an event named ``error``: the official clients look at the name."""
        return frame.event == "error"
