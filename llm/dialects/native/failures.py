"""Errors, with our own names for what they are about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from llm.errors import LLMError
from llm.opaque import Json

OPTION_NAMES: Final[Mapping[str, str]] = {
    "max_tokens": "maxTokens",
    "reasoning_tokens": "reasoningBudget",
    "effort": "reasoningEffort",
    "tool_choice": "toolChoice",
    "format": "structuredOutput",
    "context_tokens": "contextWindowSize",
    "service_tier": "serviceTier",
    "responses_api": "useResponsesApi",
    "extra": "customOpts",
}
"""Our names of options where they differ from the fields of ``Options``."""


def write_error(error: LLMError) -> dict[str, Json]:
    wire: dict[str, Json] = {"error": error.message, "code": error.code}
    if error.param:
        # What names its place in the body, as the schema does, means no option that happens to be called the same.
        placed = error.message.startswith(f"{error.param}: ")
        wire["param"] = error.param if placed else OPTION_NAMES.get(error.param, error.param)
    if error.engine:
        wire["engine"] = error.engine
    if error.retry_after is not None:
        wire["retry_after"] = error.retry_after
    if error.provider:
        wire["provider"] = dict(error.provider.as_json())
    return wire
