"""What changes in a text completion that is passed through to an engine with the same API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm.chat.provider_metadata import metadata_for_engine
from llm.chat.request import ChatRequest
from llm.dialects.base import EngineRequest
from llm.dialects.openai_chat.completions.engine_request import choose_path
from llm.dialects.openai_chat.engine_request import request_usage
from llm.dialects.stream_repair import StreamRepair, read_object
from llm.engines.api_choice import COMPLETIONS
from llm.engines.engine import Engine
from llm.errors import LLMError
from llm.wire.frames import Frame
from llm.wire.json_codec import loads
from llm.wire.json_lenient import as_count, as_list


def passthrough_request(body: Mapping[str, Any], model: str, engine: Engine) -> EngineRequest:
    """Returns the client's body with the engine's model id; streams request usage, which is always recorded."""
    passed = {**body, "model": model}
    if body.get("stream"):
        passed |= request_usage(body, engine)
    return EngineRequest(path=choose_path(engine), body=passed)


def is_only_usage(frame: Frame) -> bool:
    """True for the chunk with usage and no choices, which is sent only because ``include_usage`` was set."""
    if '"usage"' not in frame.data:
        return False
    try:
        wire = loads(frame.data)
    except ValueError:
        return False
    return isinstance(wire, dict) and wire.get("choices") == [] and bool(wire.get("usage"))


def find_unconvertible_field(request: ChatRequest, engine: Engine) -> str | None:
    """Returns the field that asks for several texts or for the prompt: the neutral form of an answer has one text."""
    fields = metadata_for_engine(request.metadata, COMPLETIONS, engine.issuer)
    if (as_count(fields.get("n")) or 1) > 1:
        return "n"
    if len(as_list(fields.get("prompt"))) > 1:
        return "prompt"
    return next((name for name in ("echo", "logprobs") if fields.get(name)), None)


def create_repair(reader: Any, engine: Engine) -> TextRepair:
    """Creates the repair of one stream."""
    return TextRepair()


class TextRepair(StreamRepair):
    """Repairs nothing but halves of surrogate pairs."""

    __slots__ = ()

    def shows_error(self, frame: Frame, error: LLMError) -> bool:
        """True for an object with ``error``: the official clients look for nothing else, not at the event's name."""
        return bool(read_object(frame).get("error"))
