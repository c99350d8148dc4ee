"""Reads the engine's errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llm.dialects.base import choose_error_class
from llm.engines.engine import Engine
from llm.errors import ContextTooLong, LLMError, ProviderErrorDetails
from llm.wire.json_codec import loads
from llm.wire.json_lenient import as_text

# Parts of error messages, since the wire has no error codes.
_MAX_TEXT: Final = 1000  # characters of an error that is not JSON
_TOO_LONG: Final = ("context length", "exceeds the available context", "context window")


def read_error(status: int, body: bytes, engine: Engine) -> LLMError:
    """Reads the body of an error response; a body that is a page gives an error by its status."""
    try:
        wire = loads(body)
    except ValueError:
        text = body.strip()
        wire = {"error": text[:_MAX_TEXT].decode(errors="replace")} if text and not text.startswith(b"<") else None
    return build_error(status, wire if isinstance(wire, dict) else {}, engine)


def build_error(status: int, wire: Mapping[str, Any], engine: Engine) -> LLMError:
    """Returns the error for a JSON error. ``status`` is 0 inside a stream; a status in the JSON then replaces it."""
    error = wire.get("error")
    message = error if isinstance(error, str) else as_text(error.get("message")) if isinstance(error, dict) else ""
    inner_status = wire.get("status") or wire.get("status_code")
    known = inner_status if isinstance(inner_status, int) and 400 <= inner_status < 600 else 500
    http_status = status or known
    kind = choose_error_class(http_status)
    if any(words in message.lower() for words in _TOO_LONG):
        kind = ContextTooLong
    provider = ProviderErrorDetails(status, None, None, message or None)
    text = message or f"{engine.label} answered with status {http_status}."
    return kind(text, engine=engine.name, provider=provider)
