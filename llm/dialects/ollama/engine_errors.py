"""Ollama's error bodies to errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llm.engines.engine import Engine
from llm.errors import ContextTooLong, LLMError, ProviderSaid, by_status
from llm.wire.json_codec import loads
from llm.wire.json_lenient import text_of

_TOO_LONG: Final = ("context length", "exceeds the available context", "context window")  # it has no codes


def read_error(status: int, body: bytes, engine: Engine) -> LLMError:
    try:
        wire = loads(body)
    except ValueError:
        wire = None
    return error_of(status, wire if isinstance(wire, dict) else {}, engine)


def error_of(status: int, wire: Mapping[str, Any], engine: Engine) -> LLMError:
    error = wire.get("error")
    message = error if isinstance(error, str) else text_of(error.get("message")) if isinstance(error, dict) else ""
    told = wire.get("status") or wire.get("status_code")
    inside = status or (told if isinstance(told, int) and 400 <= told < 600 else 500)
    kind = by_status(inside)
    if any(words in message.lower() for words in _TOO_LONG):
        kind = ContextTooLong
    said = ProviderSaid(status, None, None, message or None)
    text = message or f"{engine.label} answered with status {inside}."
    return kind(text, engine=engine.name, provider=said)
