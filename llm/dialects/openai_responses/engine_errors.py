"""Reads an engine's error responses and error events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from llm.dialects.base import choose_error_class
from llm.engines.engine import Engine
from llm.errors import (
    ContentBlocked,
    ContextTooLong,
    EngineRefusedKey,
    InvalidRequest,
    LLMError,
    Malformed,
    Overloaded,
    ProviderErrorDetails,
    RateLimited,
    UnknownModel,
)
from llm.wire.json_codec import loads
from llm.wire.json_lenient import as_dict, as_list, as_text

# Error codes and types that are more exact than the status.
_BY_CODE: Final[Mapping[str, type[LLMError]]] = {
    "context_length_exceeded": ContextTooLong,
    "exceed_context_size_error": ContextTooLong,  # llama.cpp
    "content_filter": ContentBlocked,
    "content_policy_violation": ContentBlocked,
    "image_content_policy_violation": ContentBlocked,
    "bio_policy": ContentBlocked,
    "cyber_policy": ContentBlocked,
    "model_not_found": UnknownModel,
    "invalid_api_key": EngineRefusedKey,
    "rate_limit_exceeded": RateLimited,
    "server_is_overloaded": Overloaded,
}
# The HTTP status that an error inside a stream would have as a response, by code or type.
_STATUS_BY_CODE: Final[Mapping[str, int]] = {
    "invalid_api_key": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "insufficient_quota": 429,
    "too_many_requests": 429,
    "overloaded_error": 503,
    "server_is_overloaded": 503,
    "data_residency_mismatch": 400,
}
# Prefixes of codes of ``response.error`` that mean an invalid request: invalid_prompt, image_too_large, …
_REQUEST_CODES: Final = ("invalid_", "image_", "unsupported_", "empty_image", "failed_to_download_image")
# Errors that only the English message identifies: xAI answers 400 for a bad key, and invalid_prompt nearly always
# reports a policy violation.
_BY_MESSAGE: Final = (
    (re.compile(r"incorrect api key|invalid api key|api key not valid", re.I), EngineRefusedKey),
    (
        re.compile(r"maximum context length|context (length|window|size)|prompt is too long|too many tokens", re.I),
        ContextTooLong,
    ),
    (re.compile(r"flagged as potentially violating|violat\w+ .{0,40}usage polic", re.I), ContentBlocked),
)
# What servers answer for a path that they do not have, whatever the status (LM Studio: 200).
_NO_PATH: Final = re.compile(
    r"(?:unexpected|unknown|unsupported|no such) (?:endpoint|url|path|route)|cannot post", re.I
)
# What a 404 is about, if not the path; "no endpoints found for ..." (OpenRouter) is about the model.
_NO_OBJECT: Final = re.compile(
    r"\b(?:model|deployment|response with id|item)\b|no (?:\w+ )?(?:endpoints|providers)", re.I
)
_NO_OBJECT_CODE: Final = re.compile(r"\w+(?:_not_found|NotFound)$")
# The type of a tool is refused: by its path ("tools.8.type", "('body', 'tools', 0, 'type')") or in words (llama.cpp:
# "'type' of tool must be 'function'"). That a model has no such tool is the provider's last word.
_TOOL_TYPE: Final = re.compile(
    r"\btools?\b\W{0,6}\d*\W{0,4}(?:function\W{1,4})?types?\b"
    r"|\btypes?\b.{0,20}\btools?\b"
    r"|\btools\b.{0,12}\bunknown variant\b"
    r"|\b(?:custom|built-?in|non-function|hosted|namespace) tools?\b.{0,30}\bnot (?:supported|allowed)\b(?! with)",
    re.I | re.S,
)
# OpenRouter's: "note": "No matching discriminator", "discriminator": "type", and at the end "path": ["tools", 17].
_UNION: Final = re.compile(r"discriminator\W{1,8}type\b")
_TOOL_PATH: Final = re.compile(r"\btools\W{1,24}\d+\b")
_MAX_DETAIL: Final = 100_000  # characters
# The model is served by Chat Completions only: OpenAI's search models, GitHub Copilot.
_OTHER_API: Final = re.compile(
    r"v1/chat/completions|unsupported_api_for_model"
    r"|(?:cannot be used|not (?:supported|available|accessible)) .{0,20}\bresponses\b",
    re.I,
)
# A key, or a part of one, inside an error message.
_KEY_PATTERN: Final = re.compile(r"(?<=provided: )\S+|\b(?:sk|pk|xai|gsk)[-_][A-Za-z0-9_*-]{4,}")


def read_error(status: int, body: bytes, engine: Engine) -> LLMError:
    """Reads the body of an error response, JSON or plain text. Keys in the message are masked."""
    try:
        wire = loads(body)
    except ValueError:
        wire = body.decode("utf-8", "replace").strip()
    if isinstance(wire, list) and wire:
        wire = wire[0]
    if isinstance(wire, dict) and wire:
        return build_error(status, wire, engine)
    # Plain text comes from proxies. HTML pages are left out of the message.
    plain = _mask_keys(wire[:500]) if isinstance(wire, str) and not wire.startswith("<") else ""
    error = choose_error_class(status)(
        plain or f"{engine.label} answered with status {status}.",
        engine=engine.name,
        provider=ProviderErrorDetails(status, message=plain or None),
    )
    if status == 200 and isinstance(wire, str) and wire.startswith("<"):  # a page for every path
        error.lack = "api"
    return note_lack(error, status)


def note_lack(error: LLMError, status: int, detail: str = "") -> LLMError:
    """Returns the error, in which it is noted if the engine lacks this API, the type of a tool or the model here.

    ``detail``: that of FastAPI or of OpenRouter's ``metadata``, with the paths of fields.
    """
    details = error.provider
    message, code = (details.message or "", details.code or "") if details is not None else ("", "")
    no_object = error.param or _NO_OBJECT.search(message) or _NO_OBJECT_CODE.match(code)
    if _NO_PATH.search(message) or status in (405, 501) or (status == 404 and not no_object):
        error.lack = "api"
    elif status in (400, 404, 422) and _OTHER_API.search(f"{code} {message}"):
        error.lack = "model"
    elif status in (400, 422, 500) and _is_about_tools(f"{error.param} {message} {code}", detail):
        error.lack = "tools"
    return error


def _is_about_tools(message: str, detail: str) -> bool:
    union = _UNION.search(detail) is not None and _TOOL_PATH.search(detail) is not None
    return union or _TOOL_TYPE.search(f"{message} {detail}") is not None


def build_other_api(engine: Engine) -> LLMError:
    """Returns the error for an answer of Chat Completions, which some hosts give whatever the path is."""
    error = Malformed(f"{engine.label} answered a Responses request by Chat Completions.", engine=engine.name)
    error.lack = "api"
    return error


def build_error(status: int, wire: Mapping[str, Any], engine: Engine) -> LLMError:
    """Builds the error of an error object, which is ``wire`` itself or inside it.

    ``status`` is 0 for an error inside a stream.
    """
    error = wire.get("error")
    inner: Mapping[str, Any] = error if isinstance(error, dict) else wire
    message = _mask_keys(error if isinstance(error, str) else _read_message(inner))
    code, kind = inner.get("code"), as_text(inner.get("type"))
    code_name = str(code) if isinstance(code, str | int) and not isinstance(code, bool) else None
    kind = "" if inner is wire and kind in ("error", "response.failed") else kind  # the name of the event
    reported = ProviderErrorDetails(status, code_name, kind or None, message or None)
    innermost = as_text(as_dict(inner.get("innererror")).get("code"))  # Azure
    error_class = _choose_class(status or _guess_status(inner, code_name, kind), message, code_name, kind, innermost)
    built = error_class(
        message or f"{engine.label} sent an error without a message.",
        engine=engine.name,
        provider=reported,
        param=as_text(inner.get("param")) or None,
    )
    detail = inner.get("detail") if isinstance(inner.get("detail"), list) else as_dict(wire.get("metadata")).get("raw")
    return note_lack(built, status, str(detail or "")[:_MAX_DETAIL])


def _guess_status(inner: Mapping[str, Any], *names: str | None) -> int:
    for value in (inner.get("status"), inner.get("status_code"), inner.get("code")):
        number = (
            int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3 else value
        )
        if isinstance(number, int) and 400 <= number < 600:
            return number
    known = [name for name in names if name]
    found = next((_STATUS_BY_CODE[name] for name in known if name in _STATUS_BY_CODE), None)
    if found is not None:
        return found
    return 400 if any(name in _BY_CODE or name.startswith(_REQUEST_CODES) for name in known) else 500


def _choose_class(status: int, message: str, *names: str | None) -> type[LLMError]:
    plain = choose_error_class(status, *names)
    if plain is InvalidRequest or status == 500:
        known = next((_BY_CODE[name] for name in names if name is not None and name in _BY_CODE), None)
        if known is not None:
            return known
    if plain is InvalidRequest:
        return next((cls for pattern, cls in _BY_MESSAGE if pattern.search(message)), plain)
    return plain


def _read_message(wire: Mapping[str, Any]) -> str:
    """Returns the message; FastAPI hosts send ``detail``, a string or a list of objects with ``msg``."""
    if text := as_text(wire.get("message")):
        return text
    detail = wire.get("detail")
    if isinstance(detail, str):
        return detail
    return "; ".join(filter(None, (as_text(as_dict(one).get("msg")) for one in as_list(detail))))


def _mask_keys(text: str) -> str:
    """Masks keys: some providers repeat a part of the key that they refuse."""
    return _KEY_PATTERN.sub("***", text)
