"""What each model of the Anthropic wire accepts: forms of thinking, efforts, samplers, output size.

From providers.md 2.1 to 2.3, the model list recorded on 2026-08-02 (``capabilities``) and the migration guides below
https://platform.claude.com/docs/en/models. A Claude id that matches no row is treated as a newer model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from llm.chat.request import Effort
from llm.engines.capabilities import NO_FACTS, ModelFacts
from llm.engines.globs import cached_by_name, first_match, matches

# The beta by which these models take a million tokens of context. Newer ones do so without it, others refuse it:
# https://platform.claude.com/docs/en/build-with-claude/context-windows.
_LONG_CONTEXT_BETA: Final[Mapping[str, str]] = {"anthropic-beta": "context-1m-2025-08-07"}
_NEEDS_BETA: Final = (
    "*claude*sonnet-4",
    "*claude*sonnet-4-0*",
    "*claude*sonnet-4-2*",
    "*claude*sonnet-4-5*",
    "*claude-4-sonnet*",
)
_NO_HEADERS: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnthropicProfile:
    """What one model accepts, beyond ``ModelProfile``."""

    max_tokens: int  # used if the request has none: the wire requires the field
    thinking: Literal["none", "budget", "both", "adaptive"]  # forms it accepts, besides ``off_type``
    off_type: str | None = "disabled"  # the ``thinking.type`` that turns thinking off; None: it cannot be turned off
    thinks_by_default: bool = False  # thinks if the request does not mention thinking
    efforts: frozenset[Effort] = frozenset()  # values of ``output_config.effort``
    efforts_without_thinking: frozenset[Effort] = frozenset()  # the same while thinking is turned off; empty: all
    samplers: Literal["any", "both", "one", "none"] = "one"  # "one": temperature or top_p; "none": default values only
    forced_tools: bool = True  # accepts tool_choice "any" and "tool"
    json_schema: bool = True  # accepts output_config.format


_UP_TO_HIGH: Final[frozenset[Effort]] = frozenset({"low", "medium", "high"})
_UP_TO_MAX: Final[frozenset[Effort]] = frozenset({"low", "medium", "high", "max"})

_CLAUDE_3 = AnthropicProfile(max_tokens=4096, thinking="none", samplers="both", json_schema=False)
_CLAUDE_4 = AnthropicProfile(max_tokens=64000, thinking="budget")
_CLAUDE_4_6 = AnthropicProfile(max_tokens=128000, thinking="both", efforts=_UP_TO_MAX)
_NEWEST = AnthropicProfile(max_tokens=128000, thinking="adaptive", efforts=_UP_TO_MAX | {"xhigh"}, samplers="none")
# Since Claude 5 a request without ``thinking`` is answered with thinking, whose text is shown only if asked for.
_CLAUDE_5 = replace(_NEWEST, thinks_by_default=True)
# With thinking turned off, an effort above "high" is answered with 400.
_UP_TO_HIGH_WITHOUT = replace(_CLAUDE_5, efforts_without_thinking=_UP_TO_HIGH)
_ALWAYS_THINKS = replace(_CLAUDE_5, off_type=None)
# Other hosts of this wire mostly accept the older form of thinking too, and have no rules about samplers.
_OTHER_HOSTS = replace(_NEWEST, max_tokens=8192, thinking="both", samplers="any")

_MODELS: Final[tuple[tuple[str, AnthropicProfile], ...]] = (  # the first matching glob wins
    ("*claude-3-5*", replace(_CLAUDE_3, max_tokens=8192)),
    ("*claude-3-7*", replace(_CLAUDE_3, max_tokens=64000, thinking="budget")),
    ("*claude-[123]*", _CLAUDE_3),
    ("*claude-instant*", _CLAUDE_3),
    ("*claude*opus-4-1*", replace(_CLAUDE_4, max_tokens=32000)),
    ("*claude*opus-4-5*", replace(_CLAUDE_4, efforts=_UP_TO_HIGH)),
    ("*claude*-4-5*", _CLAUDE_4),
    ("*claude*-4-6*", _CLAUDE_4_6),
    # Thinking cannot be turned off: https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-adaptive-thinking.html
    ("*claude*mythos-preview*", replace(_CLAUDE_4_6, thinking="adaptive", thinks_by_default=True, off_type=None)),
    ("*claude*-4-[789]*", _NEWEST),
    ("*claude*opus-4*", replace(_CLAUDE_4, max_tokens=32000, samplers="both", json_schema=False)),
    ("*claude-4-opus*", replace(_CLAUDE_4, max_tokens=32000, samplers="both", json_schema=False)),
    ("*claude*sonnet-4*", replace(_CLAUDE_4, samplers="both", json_schema=False)),
    ("*claude-4-*", replace(_CLAUDE_4, samplers="both", json_schema=False)),
    ("*claude*opus-5-5*", replace(_ALWAYS_THINKS, forced_tools=False)),
    ("*claude*sonnet-5-5*", replace(_UP_TO_HIGH_WITHOUT, off_type="between_tools", forced_tools=False)),
    ("*claude*haiku-5-5*", _UP_TO_HIGH_WITHOUT),
    ("*claude*sonnet-5*", _CLAUDE_5),
    ("*claude*opus-5*", _UP_TO_HIGH_WITHOUT),
    ("*claude*fable-5-[1-9]*", replace(_ALWAYS_THINKS, forced_tools=False)),
    ("*claude*mythos-5-[1-9]*", replace(_ALWAYS_THINKS, forced_tools=False)),
    ("*claude*fable-5*", _ALWAYS_THINKS),
    ("*claude*mythos-5*", _ALWAYS_THINKS),
    ("*claude*", _CLAUDE_5),
)

# https://platform.claude.com/docs/en/build-with-claude/preserved-thinking: these refuse signed thinking if messages,
# tools or system prompt before it have changed.
_BINDS_THINKING: Final = ("*claude*-5-5*", "*claude*fable-5-[1-9]*", "*claude*mythos-5-[1-9]*")

# Thinking tokens per effort, for models that accept a budget and no effort (providers.md 17.4; the two highest values
# continue by the same step).
EFFORT_BUDGETS: Final[Mapping[Effort, int]] = {
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": 24576,
    "xhigh": 40960,
    "max": 57344,
}
MIN_BUDGET: Final = 1024  # thinking tokens


@cached_by_name
def find_profile(model: str) -> AnthropicProfile:
    """Returns the profile of a model id; ids that are not Claude's get one for other hosts.

    >>> find_profile("claude-sonnet-4.5").thinking
    'budget'
    """
    name = model.lower().replace(".", "-")
    row = first_match(name, _GLOBS)
    return _OTHER_HOSTS if row is None else _MODELS[row][1]


@cached_by_name
def binds_thinking(model: str) -> bool:
    """Returns True if the model accepts signed thinking only in the conversation in which it was created.

    >>> binds_thinking("claude-opus-5.5"), binds_thinking("claude-opus-5")
    (True, False)
    """
    return matches(model.lower().replace(".", "-"), _BINDS_THINKING)


def long_context_headers(model: str) -> Mapping[str, str]:
    """Returns the headers with which the model takes its longest context."""
    return _LONG_CONTEXT_BETA if matches(model.lower().replace(".", "-"), _NEEDS_BETA) else _NO_HEADERS


@cached_by_name
def is_new_model(model: str) -> bool:
    """True for a Claude id that only the last row matches: only the model list can say more about it."""
    return first_match(model.lower().replace(".", "-"), _GLOBS) == len(_GLOBS) - 1


def apply_facts(profile: AnthropicProfile, facts: ModelFacts) -> AnthropicProfile:
    """Returns the profile with what the engine's model list reports in place of what the id suggests."""
    if facts is NO_FACTS:
        return profile
    changes: dict[str, Any] = {}
    types = facts.thinking_types
    if facts.reasoning is False or types.get("adaptive") is False:
        changes["thinks_by_default"] = False
    if facts.reasoning is False:
        changes["thinking"] = "none"
    elif "enabled" in types and "adaptive" in types:
        forms = {(True, True): "both", (True, False): "budget", (False, True): "adaptive"}
        changes["thinking"] = forms.get((types["enabled"], types["adaptive"]), profile.thinking)
    if "disabled" in types:  # older lists do not report how thinking is turned off
        between = "between_tools" if types.get("between_tools") else None
        changes["off_type"] = "disabled" if types["disabled"] else between
    if facts.efforts is not None:
        changes["efforts"] = facts.efforts
    if facts.json_schema is not None:
        changes["json_schema"] = facts.json_schema
    if facts.max_output_tokens is not None:
        changes["max_tokens"] = facts.max_output_tokens
    return replace(profile, **changes)


_GLOBS: Final = tuple(glob for glob, _ in _MODELS)
