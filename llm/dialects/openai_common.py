"""What OpenAI's APIs have in common towards clients: the form of an error, the list of models."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

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

# In every event of a stream, and another in each: a filler of random length, so that whoever sees the sizes of packets
# cannot tell words by them, and a count (https://platform.openai.com/docs/api-reference/chat-streaming).
NOISE: Final = re.compile(rb'"(?:obfuscation": ?"[^"\\\n]*"|sequence_number": ?[0-9]+)')

# First match wins. Errors of our own for which this wire has no word have a type of their own (E2).
_OURS: Final = "gateway_error"
_TYPES: Final[tuple[tuple[type[LLMError], str], ...]] = (
    (NotAuthenticated, "authentication_error"),
    (QuotaExceeded, "insufficient_quota"),
    (RateLimited, "rate_limit_error"),
    (NotFound, "invalid_request_error"),
    (ContentBlocked, "invalid_request_error"),
    (RequestError, "invalid_request_error"),
)


def write_error(error: LLMError) -> dict[str, Json]:
    said = error.provider
    wire: dict[str, Json] = {
        "message": error.message,
        "type": _type(error),
        "param": error.param,
        "code": said.code if said is not None and said.code and not isinstance(error, AccessError) else error.code,
    }
    if said is not None:
        wire["provider"] = dict(said.as_json())
    if error.retry_after is not None:
        wire["retry_after"] = error.retry_after
    return {"error": wire}


def _type(error: LLMError) -> str:
    """The provider's own word, but where it blames a key that is not the client's."""
    said = error.provider
    if isinstance(error, EngineRefusedKey | EngineForbids):
        return _OURS
    if said is not None and said.type:
        return said.type
    word = next((word for kind, word in _TYPES if isinstance(error, kind)), None)
    return word or ("server_error" if said is not None else _OURS)


def write_models(models: Iterable[ModelInfo]) -> dict[str, Json]:
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
