"""What engines say when they fail, in all the shapes they say it in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

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
    ProviderSaid,
    RateLimited,
    UnknownModel,
    by_status,
)
from llm.wire.json_codec import loads
from llm.wire.json_lenient import dict_of, list_of, text_of

# The wire's own codes and types, where they say more than the status.
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
# Where the wire has nothing but English: xAI answers 400 for a bad key, OpenRouter and vLLM a plain 400 for the length.
_BY_WORDS: Final = (
    (re.compile(r"incorrect api key|invalid api key|api key not valid", re.I), EngineRefusedKey),
    (
        re.compile(r"maximum context length|context (length|window|size)|prompt is too long|too many tokens", re.I),
        ContextTooLong,
    ),
)
# OpenAI, of function tools beside reasoning and of models such as o3-pro; the code is that of any bad request.
_OTHER_API: Final = "v1/responses"
_KEY: Final = re.compile(r"(?<=provided: )\S+|\b(?:sk|pk|gsk|xai|hf|csk|tgp)[-_][A-Za-z0-9_*-]{4,}")


def error_in(wire: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What tells of an error inside a 200: an error object on some level, or a flat one where choices should be."""
    if wire.get("error"):
        return wire
    if "x_groq" in wire and (groq := dict_of(wire["x_groq"])).get("error"):
        return groq
    if "choices" in wire:
        for choice in list_of(wire["choices"]):
            if isinstance(choice, dict) and choice.get("error"):
                return choice
        return None
    told = wire.get("object") == "error" or ("code" in wire and "message" in wire) or "detail" in wire
    return wire if told and wire.get("object") != "chat.completion.chunk" else None


def read_error(status: int, body: bytes, engine: Engine) -> LLMError:
    try:
        wire = loads(body)
    except ValueError:
        wire = None
    if isinstance(wire, list) and wire:
        wire = wire[0]
    if not isinstance(wire, dict) or not wire:
        text = wire if isinstance(wire, str) else body.decode("utf-8", "replace").strip() if wire is None else ""
        plain = text if text and "<" not in text and len(text) < 500 else None
        return by_status(status)(
            _masked(plain or f"{engine.label} answered with status {status}."),
            engine=engine.name,
            provider=ProviderSaid(status, None, None, _masked(plain) if plain else None),
        )
    return error_of(status, wire, engine)


def error_of(status: int, wire: Mapping[str, Any], engine: Engine) -> LLMError:
    """``status`` is 0 for an error inside a stream; it may then say one itself."""
    error = wire.get("error")
    inner: Mapping[str, Any] = error if isinstance(error, dict) else wire
    message = error if isinstance(error, str) else _message(inner)
    code, kind = inner.get("code"), text_of(inner.get("type"))
    word = str(code) if isinstance(code, str | int) and not isinstance(code, bool) else None
    innermost = text_of(dict_of(inner.get("innererror")).get("code"))
    told = (code, wire.get("status_code"), inner.get("status_code"), inner.get("status"))
    said = ProviderSaid(status, word, kind or None, _masked(message) if message else None)
    cls = _class(status or _status_of(told, word, kind), message, word, kind, innermost)
    if cls is EngineForbids and "flagged_input" in dict_of(inner.get("metadata")):  # OpenRouter's moderation
        cls = ContentBlocked
    text = _masked(message) if message else f"{engine.label} failed without saying why."
    return cls(text, engine=engine.name, provider=said, param=text_of(inner.get("param")) or None)


def _status_of(told: Iterable[object], *words: str | None) -> int:
    """The status that an error inside a stream would have had as an answer of its own."""
    for one in told:
        status = int(one) if isinstance(one, str) and one.isascii() and one.isdigit() and len(one) == 3 else one
        if isinstance(status, int) and 400 <= status < 600:
            return status
    return next((_STATUSES[word] for word in words if word in _STATUSES), 500)


def _class(status: int, message: str, *words: str | None) -> type[LLMError]:
    plain = by_status(status, *words)
    if status in (400, 404) and _OTHER_API in message:
        return OtherApi
    if plain is InvalidRequest or status in (413, 500):
        known = [_BY_CODE[word] for word in words if word is not None and word in _BY_CODE]
        if known and (status != 413 or known[0] is ContextTooLong):
            return known[0]
    if plain is InvalidRequest:
        for pattern, cls in _BY_WORDS:
            if pattern.search(message):
                return cls
    return plain


def _message(wire: Mapping[str, Any]) -> str:
    """``message`` may be an object, ``detail`` text or a list of places (FastAPI)."""
    message = wire.get("message")
    if isinstance(message, dict):
        return _message(message) or text_of(message.get("detail"))
    if isinstance(message, str) and message:
        return message
    detail = wire.get("detail")
    if isinstance(detail, str):
        return detail
    told = []
    for one in list_of(detail):
        where = ".".join(str(step) for step in list_of(dict_of(one).get("loc")))
        told.append(f"{where}: {text_of(dict_of(one).get('msg'))}".removeprefix(": "))
    return "; ".join(told)


def _masked(text: str) -> str:
    """Some providers repeat part of the key that they refuse."""
    return _KEY.sub("***", text)
