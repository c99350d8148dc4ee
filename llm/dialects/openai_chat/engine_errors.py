"""Reads the errors of engines, in all the forms that hosts use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from llm.dialects.base import choose_error_class
from llm.engines.engine import Engine
from llm.errors import (
    ContentBlocked,
    ContextTooLong,
    EngineForbids,
    EngineRefusedKey,
    InvalidRequest,
    LLMError,
    OtherApi,
    Overloaded,
    ProviderErrorDetails,
    RateLimited,
    UnknownModel,
    UsageRefused,
)
from llm.wire.json_codec import loads
from llm.wire.json_lenient import as_dict, as_list, as_text

# Codes and types of the wire that are more exact than the status.
_BY_CODE: Final[Mapping[str, type[LLMError]]] = {
    "context_length_exceeded": ContextTooLong,
    "string_above_max_length": ContextTooLong,
    "exceed_context_size_error": ContextTooLong,  # llama.cpp
    "content_filter": ContentBlocked,
    "content_policy_violation": ContentBlocked,
    "ResponsibleAIPolicyViolation": ContentBlocked,
    "data_inspection_failed": ContentBlocked,
    "model_not_found": UnknownModel,
    "model_decommissioned": UnknownModel,  # Groq
    "invalid_api_key": EngineRefusedKey,
    "rate_limit_exceeded": RateLimited,
    "overloaded_error": Overloaded,
    "server_overloaded": Overloaded,
    "queue_exceeded": Overloaded,
}
# The status that belongs to a type or code, for errors inside a stream.
_STATUSES: Final[Mapping[str | None, int]] = {
    "invalid_request_error": 400,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "overloaded_error": 503,
}
# For hosts that send only an English message: xAI answers 400 for a wrong key, OpenRouter and vLLM for the length.
_BY_MESSAGE: Final = (
    (re.compile(r"incorrect api key|invalid api key|api key not valid", re.I), EngineRefusedKey),
    (
        re.compile(r"maximum context length|context (length|window|size)|prompt is too long|too many tokens", re.I),
        ContextTooLong,
    ),
)
_USAGE_OPTION: Final = "stream_options"  # refused by servers of 2023 and 2024 (llama.cpp, vLLM, TGI)
# OpenAI's message for function tools with reasoning and for models such as o3-pro; the code is that of any bad request.
_OTHER_API: Final = "v1/responses"
_KEY: Final = re.compile(r"(?<=provided: )\S+|\b(?:sk|pk|gsk|xai|hf|csk|tgp)[-_][A-Za-z0-9_*-]{4,}")


def find_error(wire: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Returns the object with the error in the JSON of a response with status 200; None if there is none.

    The error is in an error object on some level, or is flat where choices are expected.
    """
    if wire.get("error"):
        return wire
    if "x_groq" in wire and (groq := as_dict(wire["x_groq"])).get("error"):
        return groq
    if "choices" in wire:
        for choice in as_list(wire["choices"]):
            if isinstance(choice, dict) and choice.get("error"):
                return choice
        return None
    is_error = wire.get("object") == "error" or ("code" in wire and "message" in wire) or "detail" in wire
    return wire if is_error and wire.get("object") != "chat.completion.chunk" else None


def read_error(status: int, body: bytes, engine: Engine) -> LLMError:
    """Reads the body of an error response: JSON, a list of one error, or short plain text; HTML is not repeated."""
    try:
        wire = loads(body)
    except ValueError:
        wire = None
    if isinstance(wire, list) and wire:
        wire = wire[0]
    if not isinstance(wire, dict) or not wire:
        text = wire if isinstance(wire, str) else body.decode("utf-8", "replace").strip() if wire is None else ""
        plain = text if text and "<" not in text and len(text) < 500 else None
        return _choose_class(status, plain or "")(
            _mask_keys(plain or f"{engine.label} answered with status {status}."),
            engine=engine.name,
            provider=ProviderErrorDetails(status, None, None, _mask_keys(plain) if plain else None),
        )
    return build_error(status, wire, engine)


def build_error(status: int, wire: Mapping[str, Any], engine: Engine) -> LLMError:
    """Returns the error for a JSON error. ``status`` is 0 inside a stream; the error may then contain its status."""
    error = wire.get("error")
    inner: Mapping[str, Any] = error if isinstance(error, dict) else wire
    message = error if isinstance(error, str) else _read_message(inner)
    code, kind = inner.get("code"), as_text(inner.get("type"))
    code_text = str(code) if isinstance(code, str | int) and not isinstance(code, bool) else None
    inner_code = as_text(as_dict(inner.get("innererror")).get("code"))
    statuses = (code, wire.get("status_code"), inner.get("status_code"), inner.get("status"))
    provider = ProviderErrorDetails(status, code_text, kind or None, _mask_keys(message) if message else None)
    cls = _choose_class(status or _find_status(statuses, code_text, kind), message, code_text, kind, inner_code)
    if cls is EngineForbids and "flagged_input" in as_dict(inner.get("metadata")):  # OpenRouter's moderation
        cls = ContentBlocked
    if cls is InvalidRequest and as_text(inner.get("param")).startswith(_USAGE_OPTION):
        cls = UsageRefused
    text = _mask_keys(message) if message else f"{engine.label} failed and sent no error message."
    return cls(text, engine=engine.name, provider=provider, param=as_text(inner.get("param")) or None)


def _find_status(values: Iterable[object], *words: str | None) -> int:
    """Returns the HTTP status that belongs to an error inside a stream: the first valid one of ``values``, else 500."""
    for one in values:
        status = int(one) if isinstance(one, str) and one.isascii() and one.isdigit() and len(one) == 3 else one
        if isinstance(status, int) and 400 <= status < 600:
            return status
    return next((_STATUSES[word] for word in words if word in _STATUSES), 500)


def _choose_class(status: int, message: str, *words: str | None) -> type[LLMError]:
    plain = choose_error_class(status, *words)
    if status in (400, 404) and _OTHER_API in message:
        return OtherApi
    if plain is InvalidRequest and _USAGE_OPTION in message:
        return UsageRefused
    if plain is InvalidRequest or status in (413, 500):
        known = [_BY_CODE[word] for word in words if word is not None and word in _BY_CODE]
        if known and (status != 413 or known[0] is ContextTooLong):
            return known[0]
    if plain is InvalidRequest:
        for pattern, cls in _BY_MESSAGE:
            if pattern.search(message):
                return cls
    return plain


def _read_message(wire: Mapping[str, Any]) -> str:
    """``message`` may be an object, ``detail`` text or a list of errors with their paths (FastAPI)."""
    message = wire.get("message")
    if isinstance(message, dict):
        return _read_message(message) or as_text(message.get("detail"))
    if isinstance(message, str) and message:
        return message
    detail = wire.get("detail")
    if isinstance(detail, str):
        return detail
    messages = []
    for one in as_list(detail):
        path = ".".join(str(step) for step in as_list(as_dict(one).get("loc")))
        messages.append(f"{path}: {as_text(as_dict(one).get('msg'))}".removeprefix(": "))
    return "; ".join(messages)


def _mask_keys(text: str) -> str:
    """Some providers repeat part of the refused key."""
    return _KEY.sub("***", text)
