"""Writes errors for clients: as the body of an error response, and as an event of a stream."""

from __future__ import annotations

from typing import Final

from llm.dialects.anthropic.shared import NAME
from llm.errors import (
    AccessError,
    ConnectTimeout,
    ContextTooLong,
    Draining,
    FirstByteTimeout,
    IdleTimeout,
    InvalidRequest,
    LLMError,
    NotAuthenticated,
    NotFound,
    Overloaded,
    QuotaExceeded,
    RateLimited,
    RequestError,
    TooLarge,
    UnknownModel,
    Unsupported,
    UnsupportedEncoding,
)
from llm.wire.json_codec import Json
from llm.wire.json_lenient import as_dict

# Error classes to the wire's error types; the first match wins (platform.claude.com/docs/en/api/errors). A server key
# that was refused is not the client's fault, so it is an ``api_error``.
_ERROR_TYPES: Final[tuple[tuple[tuple[type[LLMError], ...], str], ...]] = (
    ((NotFound, UnknownModel), "not_found_error"),
    ((TooLarge,), "request_too_large"),
    ((RequestError,), "invalid_request_error"),
    ((NotAuthenticated,), "authentication_error"),
    ((QuotaExceeded,), "billing_error"),
    ((AccessError,), "api_error"),
    ((RateLimited,), "rate_limit_error"),
    ((Overloaded, Draining), "overloaded_error"),
    ((ConnectTimeout, FirstByteTimeout, IdleTimeout), "timeout_error"),
    ((LLMError,), "api_error"),
)
_TOO_LONG_MESSAGE: Final = "prompt is too long"
# On this code clients send the whole conversation and continue without a thread at the provider.
_NO_THREADS_CODE: Final = "thread_unsupported_request"
# Codes of errors whose ``param`` is this header (anthropic 2.14.0, ``RequestBodyEncoding…Error``).
_BODY_HEADER: Final = "Content-Encoding"
_BODY_CODES: Final[dict[type[LLMError], str]] = {
    UnsupportedEncoding: "request_body_encoding_unsupported",
    InvalidRequest: "request_body_encoding_invalid",
    TooLarge: "request_body_too_large_after_decoding",
}
REQUEST_ID: Final = "request-id"  # the header in which clients of this wire look for the request id


def get_http_status(error: LLMError) -> int:
    """Returns the HTTP status of an error: an engine's 529 (overloaded) as it is, since clients handle it."""
    reported = error.provider
    return (
        reported.status
        if isinstance(error, Overloaded) and reported is not None and reported.status == 529
        else error.status
    )


def write_error(error: LLMError) -> dict[str, Json]:
    """Writes the body of an error response, which is also the data of an ``error`` event."""
    message = error.message
    if isinstance(error, ContextTooLong) and _TOO_LONG_MESSAGE not in message.lower():
        # Clients compact the conversation only when they see these words; the wire has no code for it.
        message = f"{_TOO_LONG_MESSAGE}: {message}"
    reported = error.provider
    outer, inner = reported.select_fields((NAME,)) if reported else ({}, {})
    code = (reported.code if reported else None) or _choose_code(error)
    kind = next(word for classes, word in _ERROR_TYPES if isinstance(error, classes))
    if inner and reported and reported.type and not isinstance(error, AccessError):
        kind = reported.type
    details: Json = {"error_code": code, **as_dict(inner.get("details"))}
    wire: dict[str, Json] = {**inner, "type": kind, "message": message, "details": details}
    if error.param is not None:
        wire["param"] = error.param
    if reported is not None:
        wire["provider"] = dict(reported.as_json())
    return {**outer, "type": "error", "error": wire}


def _choose_code(error: LLMError) -> str:
    """Returns the wire's code of an error of this server."""
    if isinstance(error, Unsupported) and error.param == "thread":
        return _NO_THREADS_CODE
    return _BODY_CODES.get(type(error), error.code) if error.param == _BODY_HEADER else error.code
