"""Reads the engine's errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from llm.dialects.base import choose_error_class
from llm.engines.engine import Engine
from llm.errors import ContextTooLong, EngineRefusedKey, LLMError, ProviderErrorDetails
from llm.wire.json_codec import loads
from llm.wire.json_lenient import as_dict, as_dicts, as_text

_MAX_TEXT: Final = 1000  # characters of an error that is no JSON


def read_error(status: int, body: bytes, engine: Engine) -> LLMError:
    """Reads the body of an error response: JSON, a list of one error, or the only SSE event of a stream."""
    text = body.removeprefix(b"data:").strip()
    try:
        wire = loads(text)
    except ValueError:
        wire = None
    if isinstance(wire, list):
        wire = wire[0] if wire else None
    if wire is None and text and not text.startswith(b"<"):
        wire = {"error": text[:_MAX_TEXT].decode(errors="replace")}
    return build_error(status, wire if isinstance(wire, dict) else {}, engine)


def build_error(status: int, wire: Mapping[str, Any], engine: Engine) -> LLMError:
    """Returns the error for a JSON error. ``status`` is 0 inside a stream; ``code`` of the error then replaces it."""
    error = wire.get("error")
    inner = as_dict(error)
    message = error if isinstance(error, str) else as_text(inner.get("message"))
    code = inner.get("code")
    http_status = status or (code if isinstance(code, int) and 400 <= code < 600 else 500)
    details = as_dicts(inner.get("details"))
    reasons = {as_text(detail.get("reason")) for detail in details}
    kind = choose_error_class(http_status)
    if "API_KEY_INVALID" in reasons or "API key not valid" in message:
        kind = EngineRefusedKey
    elif http_status == 400 and "exceeds the maximum number of tokens" in message:  # the wire has no code for it
        kind = ContextTooLong
    delays = [re.fullmatch(r"([0-9.]+)s", as_text(detail.get("retryDelay"))) for detail in details]
    return kind(
        message or f"{engine.label} answered with status {http_status}.",
        engine=engine.name,
        provider=ProviderErrorDetails(status, as_text(inner.get("status")) or None, None, message or None),
        retry_after=next((float(delay[1]) for delay in delays if delay), None),
    )
