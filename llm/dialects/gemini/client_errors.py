"""Writes errors for Gemini clients, as the body of an error response."""

from __future__ import annotations

from typing import Final

from llm.errors import LLMError
from llm.wire.json_codec import Json

# HTTP statuses to the wire's words (cloud.google.com/apis/design/errors).
_STATUSES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    504: "DEADLINE_EXCEEDED",
}
_TYPES: Final = "type.googleapis.com/google.rpc."


def write_error(error: LLMError) -> dict[str, Json]:
    """Writes the body of an error response."""
    details: list[Json] = [
        {"@type": f"{_TYPES}ErrorInfo", "reason": error.code.upper(), "domain": error.engine or "llm-server"}
    ]
    if error.retry_after is not None:
        details.append({"@type": f"{_TYPES}RetryInfo", "retryDelay": f"{error.retry_after:g}s"})
    word = _STATUSES.get(error.status) or ("INVALID_ARGUMENT" if error.status < 500 else "UNAVAILABLE")
    wire: dict[str, Json] = {"code": error.status, "message": error.message, "status": word, "details": details}
    if error.provider is not None:
        wire["provider"] = dict(error.provider.as_json())
    return {"error": wire}
