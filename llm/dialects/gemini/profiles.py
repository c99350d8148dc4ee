"""Profiles of Gemini's models: budgets or levels of thinking, samplers, schemas with tools.

Sources: providers.md 3.2, https://ai.google.dev/gemini-api/docs/thinking and, for Gemini 4, the developer guides below
https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/guides; refused levels by the provider's error
"Thinking level MINIMAL is not supported for this model". An unknown Gemini id counts as a newer model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from llm.chat.messages import Media
from llm.chat.request import Effort
from llm.engines.capabilities import ModelFacts
from llm.engines.globs import cached_by_name, first_match
from llm.wire.json_codec import Json

_THREE: Final = ("low", "medium", "high")
_FOUR: Final = ("minimal", *_THREE)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeminiProfile:
    """The options that a model accepts. Options have the names of ``Options`` fields."""

    thinking: Literal["none", "budget", "level", "unknown"]  # "unknown": send ``thinkingConfig`` only if requested
    efforts: tuple[str, ...] = _FOUR  # accepted levels
    min_budget: int = 0  # the smallest budget, in tokens
    max_budget: int = 0  # the largest budget, in tokens
    accepts_budget: bool = True  # a model with levels accepts a budget in place of a level
    disable_fields: Mapping[str, Json] | None = (
        None  # ``thinkingConfig`` with the least thinking; None: it cannot be turned off
    )
    enable_fields: Mapping[str, Json] | None = (
        None  # ``thinkingConfig`` that turns thinking on; None: it is on by default
    )
    refuses: frozenset[str] = frozenset()  # options that the model answers with status 400
    ignores: frozenset[str] = frozenset()  # options without effect
    schema_with_tools: bool = True  # accepts a response schema together with tools
    needs_signatures: bool = False  # requires a signature on tool calls after the last user message
    result_types: frozenset[str] = frozenset()  # MIME types that a tool result may contain
    may_continue: bool = False  # it may interrupt an answer: the request is kept, to go on (finish reason CONTINUATION)

    def accepts_in_result(self, media: Media) -> bool:
        """True if a tool result may contain the media inline."""
        return media.base64 is not None and media.mime in self.result_types


_MINIMAL: Final[Mapping[str, Json]] = {"thinkingLevel": "MINIMAL"}
_NO_BUDGET: Final[Mapping[str, Json]] = {"thinkingBudget": 0}
_SAMPLERS: Final = frozenset({"temperature", "top_p", "top_k"})
_PENALTIES: Final = frozenset({"presence_penalty", "frequency_penalty"})

_NO_THINKING = GeminiProfile(thinking="none", schema_with_tools=False)
_BUDGET = GeminiProfile(thinking="budget", max_budget=24576, disable_fields=_NO_BUDGET, schema_with_tools=False)
# Gemini 3 and later have levels. MINIMAL is the least: there is no "off".
# https://ai.google.dev/gemini-api/docs/function-calling: tool results with images need Gemini 3 or later (recorded).
_RESULT_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/webp", "application/pdf"})
_LEVEL = GeminiProfile(thinking="level", disable_fields=_MINIMAL, needs_signatures=True, result_types=_RESULT_TYPES)
# Its default is almost no thinking; MEDIUM is the default of the larger models.
_LITE = replace(_LEVEL, enable_fields={"thinkingLevel": "MEDIUM"})
_FIXED = replace(_LEVEL, ignores=_SAMPLERS, refuses=_PENALTIES)  # sampling parameters are fixed
_NEWEST = replace(_FIXED, efforts=_THREE, disable_fields=None)
_GEMINI_4 = replace(_NEWEST, accepts_budget=False, may_continue=True)
_NEW_MODEL = replace(_LEVEL, efforts=_THREE, disable_fields=None, may_continue=True)

_MODELS: Final[tuple[tuple[str, GeminiProfile], ...]] = (  # the first matching glob wins
    ("gemini-2.0*thinking*", _BUDGET),
    ("gemini-1.*", _NO_THINKING),
    ("gemini-2.0*", _NO_THINKING),
    ("gemini-2.5*-tts*", _NO_THINKING),
    ("gemini-2.5*-image*", _NO_THINKING),
    ("gemini-2.5-pro*", replace(_BUDGET, min_budget=128, max_budget=32768, disable_fields=None)),
    ("gemini-2.5-flash-lite*", replace(_BUDGET, min_budget=512, enable_fields={"thinkingBudget": -1})),
    ("gemini-2.5*", _BUDGET),
    ("gemini-robotics-er-1*", _BUDGET),
    ("gemini-*-tts*", replace(_LEVEL, thinking="unknown")),
    ("gemini-3-pro-image*", replace(_LEVEL, efforts=("low", "high"), disable_fields=None)),
    ("gemini-*-image*", _LEVEL),
    ("gemini-3-pro*", replace(_LEVEL, efforts=("low", "high"), disable_fields=None)),
    ("gemini-3.1-pro*", replace(_LEVEL, efforts=_THREE, disable_fields=None)),
    ("gemini-pro-latest", replace(_LEVEL, efforts=_THREE, disable_fields=None, may_continue=True)),
    ("gemini-3-flash*", _LEVEL),
    ("gemini-3.1-flash-lite*", _LITE),
    ("gemini-3.5-flash-lite*", replace(_LITE, ignores=_SAMPLERS, refuses=_PENALTIES)),
    ("gemini-flash-lite-latest", replace(_LITE, ignores=_SAMPLERS, refuses=_PENALTIES)),
    ("gemini-3.5-flash*", _LEVEL),
    ("gemini-3.6-flash*", replace(_FIXED, disable_fields=_NO_BUDGET)),
    ("gemini-3.[78]-flash*", _NEWEST),
    ("gemini-flash-latest", replace(_NEWEST, may_continue=True)),
    ("gemini-4-argon*", replace(_NEWEST, refuses=frozenset(), may_continue=True)),
    ("gemini-4-carbon*", _GEMINI_4),
    ("gemini-4-hydrogen*", replace(_GEMINI_4, efforts=(*_THREE, "xhigh"))),
    ("gemini-4-neon*", replace(_GEMINI_4, efforts=(*_THREE, "xhigh"))),
    ("gemini-3*", _LEVEL),
    ("gemini-*latest", replace(_LEVEL, may_continue=True)),
    # Every Gemini 4 so far refuses MINIMAL, so newer models are not asked for it.
    ("gemini-[4-9]*", _NEW_MODEL),
    ("gemini-[1-9][0-9]*", _NEW_MODEL),
    ("gemma-[123]*", _NO_THINKING),
)
# Profile of ids that no glob matches.
_UNKNOWN_MODEL: Final = GeminiProfile(thinking="unknown", disable_fields=_MINIMAL)

# Effort to thinking budget in tokens, for models with budgets (providers.md 17.4); limited by the model's maximum.
EFFORT_BUDGETS: Final[Mapping[Effort, int]] = {
    "minimal": 512,
    "low": 2048,
    "medium": 8192,
    "high": 24576,
    "xhigh": 32768,
    "max": 32768,
}


def find_profile(model: str) -> GeminiProfile:
    """Returns the profile of a model id.

    >>> find_profile("models/gemini-2.5-pro").max_budget
    32768
    """
    name = model.lower().removeprefix("models/")
    row = first_match(name, _GLOBS)
    return _UNKNOWN_MODEL if row is None else _MODELS[row][1]


@cached_by_name
def is_new_model(model: str) -> bool:
    """True for a Gemini id of a version without a row: only the model list can say more about it."""
    return find_profile(model) is _NEW_MODEL


def apply_facts(profile: GeminiProfile, facts: ModelFacts) -> GeminiProfile:
    """Returns the profile with what the engine's model list reports, which is only whether the model thinks."""
    if facts.reasoning is False and profile.thinking != "none":
        return replace(profile, thinking="none")
    if facts.reasoning and profile.thinking == "none":
        return replace(profile, thinking="unknown", disable_fields=None)
    return profile


_GLOBS: Final = tuple(glob for glob, _ in _MODELS)
