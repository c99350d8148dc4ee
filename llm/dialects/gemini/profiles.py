"""Profiles of Gemini's models: budgets or levels of thinking, samplers, schemas with tools.

Sources: providers.md 3.2 and https://ai.google.dev/gemini-api/docs/thinking; refused levels by the provider's error
"Thinking level MINIMAL is not supported for this model". An unknown Gemini id counts as a newer model, and every option
is sent to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from llm.chat.messages import Media
from llm.chat.request import Effort
from llm.engines.globs import first
from llm.wire.json_codec import Json

_THREE: Final = ("low", "medium", "high")
_FOUR: Final = ("minimal", *_THREE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """The options that a model accepts. Options have the names of ``Options`` fields."""

    thinking: Literal["none", "budget", "level", "unknown"]  # "unknown": send ``thinkingConfig`` only if requested
    efforts: tuple[str, ...] = (*_FOUR, "xhigh")  # accepted levels
    most: int = 0  # the largest budget, in tokens
    off: Mapping[str, Json] | None = None  # ``thinkingConfig`` with the least thinking; None: it cannot be turned off
    on: Mapping[str, Json] | None = None  # ``thinkingConfig`` that turns thinking on; None: it is on by default
    refuses: frozenset[str] = frozenset()  # options that the model answers with status 400
    ignores: frozenset[str] = frozenset()  # options without effect
    schema_with_tools: bool = True  # accepts a response schema together with tools
    signs: bool = False  # requires a signature on tool calls after the last user message
    results: frozenset[str] = frozenset()  # MIME types that a tool result may contain

    def shows(self, media: Media) -> bool:
        """True if a tool result may contain the media inline."""
        return media.base64 is not None and media.mime in self.results


_MINIMAL: Final[Mapping[str, Json]] = {"thinkingLevel": "MINIMAL"}
_NO_BUDGET: Final[Mapping[str, Json]] = {"thinkingBudget": 0}
_SAMPLERS: Final = frozenset({"temperature", "top_p", "top_k"})
_PENALTIES: Final = frozenset({"presence_penalty", "frequency_penalty"})

_NO_THINKING = Traits(thinking="none", schema_with_tools=False)
_BUDGET = Traits(thinking="budget", most=24576, off=_NO_BUDGET, schema_with_tools=False)
# Gemini 3 and later have levels. MINIMAL is the least: there is no "off".
# https://ai.google.dev/gemini-api/docs/function-calling: tool results with images need Gemini 3 or later (recorded).
_RESULT_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/webp", "application/pdf"})
_LEVEL = Traits(thinking="level", off=_MINIMAL, signs=True, results=_RESULT_TYPES)
_FLASH = replace(_LEVEL, efforts=_FOUR)
# Its default is almost no thinking; MEDIUM is the default of the larger models.
_LITE = replace(_FLASH, on={"thinkingLevel": "MEDIUM"})
_FIXED = replace(_LEVEL, ignores=_SAMPLERS, refuses=_PENALTIES)  # sampling parameters are fixed
_NEWEST = replace(_FIXED, efforts=_THREE, off=None)

_MODELS: Final[tuple[tuple[str, Traits], ...]] = (  # the first matching glob wins
    ("gemini-2.0*thinking*", _BUDGET),
    ("gemini-1.*", _NO_THINKING),
    ("gemini-2.0*", _NO_THINKING),
    ("gemini-2.5*-tts*", _NO_THINKING),
    ("gemini-2.5*-image*", _NO_THINKING),
    ("gemini-2.5-pro*", replace(_BUDGET, most=32768, off=None)),
    ("gemini-2.5-flash-lite*", replace(_BUDGET, on={"thinkingBudget": -1})),
    ("gemini-2.5*", _BUDGET),
    ("gemini-robotics-er-1*", _BUDGET),
    ("gemini-*-tts*", replace(_LEVEL, thinking="unknown")),
    ("gemini-3-pro-image*", replace(_LEVEL, off=None)),
    ("gemini-*-image*", _LEVEL),
    ("gemini-3-pro*", replace(_LEVEL, efforts=("low", "high"), off=None)),
    ("gemini-3.1-pro*", replace(_LEVEL, efforts=_THREE, off=None)),
    ("gemini-pro-latest", replace(_LEVEL, efforts=_THREE, off=None)),
    ("gemini-3-flash*", _FLASH),
    ("gemini-3.1-flash-lite*", _LITE),
    ("gemini-3.5-flash-lite*", replace(_LITE, ignores=_SAMPLERS, refuses=_PENALTIES)),
    ("gemini-flash-lite-latest", replace(_LITE, ignores=_SAMPLERS, refuses=_PENALTIES)),
    ("gemini-3.5-flash*", _FLASH),
    ("gemini-3.6-flash*", replace(_FIXED, off=_NO_BUDGET)),
    ("gemini-3.[78]-flash*", _NEWEST),
    ("gemini-flash-latest", _NEWEST),
    ("gemini-4-argon*", replace(_NEWEST, refuses=frozenset())),
    ("gemini-[3-9]*", _LEVEL),
    ("gemini-[1-9][0-9]*", _LEVEL),
    ("gemini-*latest", _LEVEL),
    ("gemma-[123]*", _NO_THINKING),
)
# Profile of ids that no glob matches.
_UNKNOWN_MODEL: Final = Traits(thinking="unknown", off=_MINIMAL)

# Effort to thinking budget in tokens, for models with budgets (providers.md 17.4); limited by the model's maximum.
BUDGETS: Final[Mapping[Effort, int]] = {
    "minimal": 512,
    "low": 2048,
    "medium": 8192,
    "high": 24576,
    "xhigh": 32768,
    "max": 32768,
}


def traits_of(model: str) -> Traits:
    """Returns the profile of a model id.

    >>> traits_of("models/gemini-2.5-pro").most
    32768
    """
    name = model.lower().removeprefix("models/")
    row = first(name, _GLOBS)
    return _UNKNOWN_MODEL if row is None else _MODELS[row][1]


_GLOBS: Final = tuple(glob for glob, _ in _MODELS)
