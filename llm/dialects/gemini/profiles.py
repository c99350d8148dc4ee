"""What the models of this wire take: budgets or levels of thinking, samplers, schemas beside tools.

From providers.md 3.2 and https://ai.google.dev/gemini-api/docs/thinking; where a level is refused, by what people
were answered ("Thinking level MINIMAL is not supported for this model"). An id of Gemini that no row knows is taken
for a newer model, which answers for itself.
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
    thinking: Literal["none", "budget", "level", "unknown"]  # "unknown": nothing is said unless it is asked for
    efforts: tuple[str, ...] = (*_FOUR, "xhigh")  # levels it takes
    most: int = 0  # tokens of the largest budget
    off: Mapping[str, Json] | None = None  # what turns thinking off, or nearly; None: nothing does
    on: Mapping[str, Json] | None = None  # what turns it on where it is off by itself; None: it is on
    refuses: frozenset[str] = frozenset()  # names of ``Options`` that are answered with 400
    ignores: frozenset[str] = frozenset()  # those without effect
    schema_with_tools: bool = True  # takes a schema for its answer beside tools
    signs: bool = False  # wants a signature on calls of the current turn
    results: frozenset[str] = frozenset()  # types of what the result of a tool may hold beside text

    def shows(self, media: Media) -> bool:
        """Whether the result of a tool may hold it."""
        return media.base64 is not None and media.mime in self.results


_MINIMAL: Final[Mapping[str, Json]] = {"thinkingLevel": "MINIMAL"}
_NO_BUDGET: Final[Mapping[str, Json]] = {"thinkingBudget": 0}
_SAMPLERS: Final = frozenset({"temperature", "top_p", "top_k"})
_PENALTIES: Final = frozenset({"presence_penalty", "frequency_penalty"})

_SILENT = Traits(thinking="none", schema_with_tools=False)
_BUDGET = Traits(thinking="budget", most=24576, off=_NO_BUDGET, schema_with_tools=False)
# Levels from Gemini 3 on. MINIMAL is not quite "off", but Google has no other word for it.
# https://ai.google.dev/gemini-api/docs/function-calling: results with pictures are for Gemini 3 and later (recorded).
_SHOWN: Final = frozenset({"image/png", "image/jpeg", "image/webp", "application/pdf"})
_LEVEL = Traits(thinking="level", off=_MINIMAL, signs=True, results=_SHOWN)
_FLASH = replace(_LEVEL, efforts=_FOUR)
# Unasked it hardly thinks at all; the middle level is what its larger sisters do unasked.
_LITE = replace(_FLASH, on={"thinkingLevel": "MEDIUM"})
_FIXED = replace(_LEVEL, ignores=_SAMPLERS, refuses=_PENALTIES)  # samplers that may not be set any more
_NEWEST = replace(_FIXED, efforts=_THREE, off=None)

_MODELS: Final[tuple[tuple[str, Traits], ...]] = (  # the first glob that fits holds
    ("gemini-2.0*thinking*", _BUDGET),
    ("gemini-1.*", _SILENT),
    ("gemini-2.0*", _SILENT),
    ("gemini-2.5*-tts*", _SILENT),
    ("gemini-2.5*-image*", _SILENT),
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
    ("gemma-[123]*", _SILENT),
)
_OTHERS: Final = Traits(thinking="unknown", off=_MINIMAL)

# Where a model takes a budget: providers.md 17.4; the upper two are its largest.
BUDGETS: Final[Mapping[Effort, int]] = {
    "minimal": 512,
    "low": 2048,
    "medium": 8192,
    "high": 24576,
    "xhigh": 32768,
    "max": 32768,
}


def traits_of(model: str) -> Traits:
    """
    >>> traits_of("models/gemini-2.5-pro").most
    32768
    """
    name = model.lower().removeprefix("models/")
    number = first(name, _GLOBS)
    return _OTHERS if number is None else _MODELS[number][1]


_GLOBS: Final = tuple(glob for glob, _ in _MODELS)
