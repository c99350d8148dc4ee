"""Reads an engine's error responses and error events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from llm.dialects.base import choose_error_class
from llm.engines.engine import Engine
from llm.errors import ContentBlocked, ContextTooLong, LLMError, ProviderErrorDetails, QuotaExceeded
from llm.wire.json_codec import loads
from llm.wire.json_lenient import as_text

# Only the English message distinguishes these from other errors of type invalid_request_error
# (platform.claude.com/docs/en/api/errors has no codes; texts from anthropics/claude-code issues 228 and 12186 and from
# recordings).
_BY_MESSAGE: Final[tuple[tuple[str, type[LLMError]], ...]] = (
    ("prompt is too long", ContextTooLong),
    ("exceed context limit", ContextTooLong),
    ("credit balance is too low", QuotaExceeded),
    ("blocked by content filtering policy", ContentBlocked),
)

# The HTTP status that an error inside a stream would have as a response.
_STATUS_BY_TYPE: Final[Mapping[str, int]] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


def read_error(status: int, body: bytes, engine: Engine) -> LLMError:
    """Reads the body of an error response, JSON or plain text."""
    try:
        wire = loads(body)
    except ValueError:
        return _build_plain_error(status, body.decode("utf-8", "replace").strip(), engine)
    return build_error(status, wire, engine)


def build_error(status: int, wire: object, engine: Engine) -> LLMError:
    """Builds the error of an error object, with or without ``{"type": "error"}`` around it.

    ``status`` is 0 for an error inside a stream.
    """
    error = wire.get("error") if isinstance(wire, dict) else wire
    if isinstance(error, str):
        return _build_plain_error(status, error, engine)
    if not isinstance(error, dict):
        error = wire if isinstance(wire, dict) else {}
    kind, message = as_text(error.get("type")), as_text(error.get("message")).strip()
    details = error.get("details")
    code = (as_text(details.get("error_code")) or None) if isinstance(details, dict) else None
    cls = choose_error_class(status or _STATUS_BY_TYPE.get(kind, 500), code, kind)
    if code is not None and code.endswith("_spend_limit_reached"):
        cls = QuotaExceeded
    elif kind in ("invalid_request_error", ""):
        cls = next((c for words, c in _BY_MESSAGE if words in message.lower()), cls)
    reported = ProviderErrorDetails(status, code, kind or None, message or None)
    return cls(message or _default_message(status, engine), engine=engine.name, provider=reported)


def _build_plain_error(status: int, text: str, engine: Engine) -> LLMError:
    """Builds the error of a plain text body, as proxies send it. HTML pages are left out of the message."""
    text = "" if text.startswith("<") else text[:500]
    reported = ProviderErrorDetails(status, message=text or None)
    return choose_error_class(status or 500)(
        text or _default_message(status, engine), engine=engine.name, provider=reported
    )


def _default_message(status: int, engine: Engine) -> str:
    return (
        f"{engine.label} answered with status {status}."
        if status
        else f"{engine.label} ended the stream with an error."
    )
