"""The dialect's name, which marks its provider metadata, and its names of options."""

from collections.abc import Mapping
from typing import Final

NAME: Final = "native"

# Field of ``Options`` to the wire's name, where they differ.
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
