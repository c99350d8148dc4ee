"""What changes in a chat that is passed through to an engine of the same dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm.chat.provider_metadata import metadata_for_engine
from llm.chat.request import ChatRequest
from llm.dialects.base import EngineRequest
from llm.dialects.openai_chat.engine_request import PATH, request_usage
from llm.dialects.openai_chat.shared import NAME
from llm.engines.engine import Engine
from llm.wire.frames import Frame
from llm.wire.json_codec import loads
from llm.wire.json_lenient import as_count


def passthrough_request(body: Mapping[str, Any], model: str, engine: Engine) -> EngineRequest:
    """Returns the client's body with the engine's model id; streams request usage (E7: usage is always recorded)."""
    passed = {**body, "model": model}
    if body.get("stream"):
        passed |= request_usage(body, engine)
    return EngineRequest(path=PATH, body=passed)


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
    """Returns ``n`` if several choices are requested: the neutral form of an answer has one."""
    fields = metadata_for_engine(request.metadata, NAME, engine.issuer)
    return "n" if (as_count(fields.get("n")) or 1) > 1 else None
