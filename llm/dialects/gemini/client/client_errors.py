"""Writes errors for Gemini clients: as the body of an error response, and as a chunk of a stream."""

from __future__ import annotations

from typing import Final

from llm.dialects.gemini.shared import NAME
from llm.errors import ContentBlocked, LLMError
from llm.wire.json_codec import Json
from llm.wire.json_lenient import as_dicts, as_text

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
_BLOCK_REASONS: Final = (
    "SAFETY",
    "OTHER",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "IMAGE_SAFETY",
    "JAILBREAK",
    "MODEL_ARMOR",
)


def write_error(error: LLMError) -> dict[str, Json]:
    """Writes the body of an error response; fields of a provider with this wire are kept."""
    reported = error.provider
    outer, inner = reported.select_fields((NAME,)) if reported else ({}, {})
    own = [dict(detail) for detail in as_dicts(inner.get("details"))]
    kinds = {as_text(detail.get("@type")).removeprefix(_TYPES) for detail in own}
    info: dict[str, Json] = {"reason": error.code.upper(), "domain": error.engine or "llm-server"}
    if reported is not None and not inner:
        info["metadata"] = {name: str(value) for name, value in reported.as_json().items() if value is not None}
    more: list[dict[str, Json]] = [{"@type": f"{_TYPES}ErrorInfo", **info}]
    if error.retry_after is not None:
        more.append({"@type": f"{_TYPES}RetryInfo", "retryDelay": f"{error.retry_after:g}s"})
    if error.param is not None:
        violations: list[Json] = [{"field": error.param, "description": error.message}]
        more.append({"@type": f"{_TYPES}BadRequest", "fieldViolations": violations})
    details = [*own, *(one for one in more if as_text(one["@type"]).removeprefix(_TYPES) not in kinds)]
    word = _STATUSES.get(error.status) or ("INVALID_ARGUMENT" if error.status < 500 else "UNAVAILABLE")
    if inner.get("code") == error.status and isinstance(inner.get("status"), str):
        word = inner["status"]
    wire: dict[str, Json] = {
        **inner, "code": error.status, "message": error.message, "status": word, "details": [*details],
    }  # fmt: skip
    return {**outer, "error": wire}


def write_blocked(error: ContentBlocked) -> dict[str, Json]:
    """Writes the answer to a prompt that the engine refuses for its content, which is no error on this wire."""
    reported = error.provider
    reason = reported.code if reported and reported.code in _BLOCK_REASONS else "PROHIBITED_CONTENT"
    usage: dict[str, Json] = {"promptTokenCount": 0, "totalTokenCount": 0}
    return {"promptFeedback": {"blockReason": reason, "blockReasonMessage": error.message}, "usageMetadata": usage}
