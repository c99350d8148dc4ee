"""Parts that OpenAI's two APIs share: error bodies, model lists, members that differ in every event."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from llm.dialects.base import ClientHeaders
from llm.engines.capabilities import ModelInfo
from llm.errors import (
    AccessError,
    ContentBlocked,
    EngineForbids,
    EngineRefusedKey,
    LLMError,
    NotAuthenticated,
    NotFound,
    QuotaExceeded,
    RateLimited,
    RequestError,
)
from llm.wire.json_codec import Json

CLIENT_HEADERS: Final = ClientHeaders(("openai-beta",), (), ("openai-organization", "openai-project"))

# Members that every event of a stream has with another value: a filler of random length, which hides the sizes of words
# from whoever observes packet sizes, and a sequence number
# (https://platform.openai.com/docs/api-reference/chat-streaming).
VOLATILE_FIELDS: Final = re.compile(rb'"(?:obfuscation": ?"[^"\\\n]*"|sequence_number": ?[0-9]+)')

_DIALECTS: Final = ("openai-chat", "openai-responses", "openai-completions")  # one form of errors
# Type of this server's own errors that the wire has no type for (E2: they differ from provider errors).
_GATEWAY_ERROR: Final = "gateway_error"
# The first matching class wins.
_TYPES: Final[tuple[tuple[type[LLMError], str], ...]] = (
    (NotAuthenticated, "authentication_error"),
    (QuotaExceeded, "insufficient_quota"),
    (RateLimited, "rate_limit_error"),
    (NotFound, "invalid_request_error"),
    (ContentBlocked, "invalid_request_error"),
    (RequestError, "invalid_request_error"),
)


def write_error(error: LLMError) -> dict[str, Json]:
    """Writes the body of an error response. A provider's code is used, except for errors of keys."""
    provider = error.provider
    code = error.code
    if provider is not None and provider.code and not isinstance(error, AccessError):
        code = provider.code
    outer, inner = provider.select_fields(_DIALECTS) if provider is not None else ({}, {})
    known: dict[str, Json] = {"message": error.message, "type": _choose_type(error), "param": error.param, "code": code}
    wire: dict[str, Json] = {**inner, **known}
    if provider is not None:
        wire["provider"] = dict(provider.as_json())
    if error.retry_after is not None:
        wire["retry_after"] = error.retry_after
    return {**outer, "error": wire}


def _choose_type(error: LLMError) -> str:
    """The provider's type, except where the provider refused the server's key."""
    provider = error.provider
    if isinstance(error, EngineRefusedKey | EngineForbids):
        return _GATEWAY_ERROR
    if provider is not None and provider.type:
        return provider.type
    type_name = next((name for cls, name in _TYPES if isinstance(error, cls)), None)
    return type_name or ("server_error" if provider is not None else _GATEWAY_ERROR)


def write_models(models: Iterable[ModelInfo]) -> dict[str, Json]:
    """Writes the body of ``GET /v1/models``, with ids ``engine/model`` and fields for kind and capabilities."""
    data: list[Json] = []
    for model in models:
        entry: dict[str, Json] = {
            "id": f"{model.engine}/{model.id}",
            "object": "model",
            "created": model.created or 0,
            "owned_by": model.engine,
            "name": model.name or model.id,
            "kind": model.kind,
            "capabilities": [*sorted(model.can)],
        }
        if model.context_tokens is not None:
            entry["context_length"] = model.context_tokens
        if model.max_output_tokens is not None:
            entry["max_completion_tokens"] = model.max_output_tokens
        data.append(entry)
    return {"object": "list", "data": data}
