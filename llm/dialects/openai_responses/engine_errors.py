"""What engines say when they fail."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from llm.engines.engine import Engine
from llm.errors import (
    ContentBlocked,
    ContextTooLong,
    EngineRefusedKey,
    InvalidRequest,
    LLMError,
    Overloaded,
    ProviderSaid,
    RateLimited,
    UnknownModel,
    by_status,
)
from llm.wire.json_codec import loads
from llm.wire.json_lenient import dict_of, list_of, text_of

# The wire's own codes, where they say more than the status.
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
# The status that an error inside a stream would have had as an answer of its own.
_STATUSES: Final[Mapping[str, int]] = {
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
# Codes of ``response.error`` that blame the request: invalid_prompt, image_too_large, unsupported_image_media_type, …
_OURS: Final = ("invalid_", "image_", "unsupported_", "empty_image", "failed_to_download_image")
# Where the wire has nothing but English: xAI answers 400 for a bad key, and invalid_prompt is nearly always a policy.
_BY_WORDS: Final = (
    (re.compile(r"incorrect api key|invalid api key|api key not valid", re.I), EngineRefusedKey),
    (
        re.compile(r"maximum context length|context (length|window|size)|prompt is too long|too many tokens", re.I),
        ContextTooLong,
    ),
    (re.compile(r"flagged as potentially violating|violat\w+ .{0,40}usage polic", re.I), ContentBlocked),
)
_KEY: Final = re.compile(r"(?<=provided: )\S+|\b(?:sk|pk|xai|gsk)[-_][A-Za-z0-9_*-]{4,}")


def read_error(status: int, body: bytes, engine: Engine) -> LLMError:
    try:
        wire = loads(body)
    except ValueError:
        wire = body.decode("utf-8", "replace").strip()
    if isinstance(wire, list) and wire:
        wire = wire[0]
    if isinstance(wire, dict) and wire:
        return error_of(status, wire, engine)
    # Text of a proxy on the way. A page of HTML says nothing to anybody.
    plain = _masked(wire[:500]) if isinstance(wire, str) and not wire.startswith("<") else ""
    return by_status(status)(
        plain or f"{engine.label} answered with status {status}.",
        engine=engine.name,
        provider=ProviderSaid(status, message=plain or None),
    )


def error_of(status: int, wire: Mapping[str, Any], engine: Engine) -> LLMError:
    """An error object, flat or inside ``wire``; ``status`` is 0 for one inside a stream."""
    error = wire.get("error")
    inner: Mapping[str, Any] = error if isinstance(error, dict) else wire
    message = _masked(error if isinstance(error, str) else _message(inner))
    code, kind = inner.get("code"), text_of(inner.get("type"))
    word = str(code) if isinstance(code, str | int) and not isinstance(code, bool) else None
    kind = "" if inner is wire and kind in ("error", "response.failed") else kind  # the name of the event
    said = ProviderSaid(status, word, kind or None, message or None)
    innermost = text_of(dict_of(inner.get("innererror")).get("code"))  # Azure
    cls = _class(status or _status(inner, word, kind), message, word, kind, innermost)
    return cls(
        message or f"{engine.label} failed without saying why.",
        engine=engine.name,
        provider=said,
        param=text_of(inner.get("param")) or None,
    )


def _status(inner: Mapping[str, Any], *words: str | None) -> int:
    for told in (inner.get("status"), inner.get("status_code"), inner.get("code")):
        number = int(told) if isinstance(told, str) and told.isascii() and told.isdigit() and len(told) == 3 else told
        if isinstance(number, int) and 400 <= number < 600:
            return number
    known = [word for word in words if word]
    found = next((_STATUSES[word] for word in known if word in _STATUSES), None)
    if found is not None:
        return found
    return 400 if any(word in _BY_CODE or word.startswith(_OURS) for word in known) else 500


def _class(status: int, message: str, *words: str | None) -> type[LLMError]:
    plain = by_status(status, *words)
    if plain is InvalidRequest or status == 500:
        known = next((_BY_CODE[word] for word in words if word is not None and word in _BY_CODE), None)
        if known is not None:
            return known
    if plain is InvalidRequest:
        return next((cls for pattern, cls in _BY_WORDS if pattern.search(message)), plain)
    return plain


def _message(wire: Mapping[str, Any]) -> str:
    """``detail`` is text or a list of places (FastAPI)."""
    if text := text_of(wire.get("message")):
        return text
    detail = wire.get("detail")
    if isinstance(detail, str):
        return detail
    return "; ".join(filter(None, (text_of(dict_of(one).get("msg")) for one in list_of(detail))))


def _masked(text: str) -> str:
    """Some providers repeat part of the key that they refuse."""
    return _KEY.sub("***", text)
