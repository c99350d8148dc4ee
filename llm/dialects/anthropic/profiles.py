"""What the models of this wire take: forms of thinking, efforts, samplers, the size of an answer.

From providers.md 2.1 to 2.3 and the model list recorded on 2026-08-02 (``capabilities``). An id of Claude that no row
knows is taken for a newer model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from llm.chat.request import Effort
from llm.engines.globs import first, remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    max_tokens: int  # for a request that names none: the wire demands one
    thinking: Literal["none", "budget", "both", "adaptive"]  # forms it takes, beside ``off``
    off: str | None = "disabled"  # the form that turns thinking off; None: it cannot be turned off
    unasked: bool = False  # thinks if nothing is said
    efforts: frozenset[Effort] = frozenset()  # of ``output_config.effort``
    samplers: Literal["any", "both", "one", "none"] = "one"  # "one": temperature or top_p; "none": their defaults only
    forced_tools: bool = True  # takes tool_choice "any" and "tool"
    schemas: bool = True  # takes output_config.format


_THREE: Final[frozenset[Effort]] = frozenset({"low", "medium", "high"})
_MOST: Final[frozenset[Effort]] = frozenset({"low", "medium", "high", "max"})

_FIRST = Traits(max_tokens=4096, thinking="none", samplers="both", schemas=False)
_FOURTH = Traits(max_tokens=64000, thinking="budget")
_BETWEEN = Traits(max_tokens=128000, thinking="both", efforts=_MOST)
_NEWEST = Traits(max_tokens=128000, thinking="adaptive", efforts=_MOST | {"xhigh"}, samplers="none")
# Hosts that imitate the wire mostly know the older form of thinking as well, and keep to no rule about samplers.
_OTHERS = replace(_NEWEST, max_tokens=8192, thinking="both", samplers="any")

_MODELS: Final[tuple[tuple[str, Traits], ...]] = (  # the first glob that fits holds
    ("*claude-3-5*", replace(_FIRST, max_tokens=8192)),
    ("*claude-3-7*", replace(_FIRST, max_tokens=64000, thinking="budget")),
    ("*claude-[123]*", _FIRST),
    ("*claude-instant*", _FIRST),
    ("*claude*opus-4-1*", replace(_FOURTH, max_tokens=32000)),
    ("*claude*opus-4-5*", replace(_FOURTH, efforts=_THREE)),
    ("*claude*-4-5*", _FOURTH),
    ("*claude*-4-6*", _BETWEEN),
    # It cannot be made not to: https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-adaptive-thinking.html
    ("*claude*mythos-preview*", replace(_BETWEEN, thinking="adaptive", unasked=True, off=None)),
    ("*claude*-4-[789]*", _NEWEST),
    ("*claude*opus-4*", replace(_FOURTH, max_tokens=32000, samplers="both", schemas=False)),
    ("*claude-4-opus*", replace(_FOURTH, max_tokens=32000, samplers="both", schemas=False)),
    ("*claude*sonnet-4*", replace(_FOURTH, samplers="both", schemas=False)),
    ("*claude-4-*", replace(_FOURTH, samplers="both", schemas=False)),
    ("*claude*opus-5-5*", replace(_NEWEST, unasked=True, off=None, forced_tools=False)),
    ("*claude*sonnet-5-5*", replace(_NEWEST, unasked=True, off="between_tools", forced_tools=False)),
    ("*claude*fable-5-[1-9]*", replace(_NEWEST, unasked=True, off=None, forced_tools=False)),
    ("*claude*mythos-5-[1-9]*", replace(_NEWEST, unasked=True, off=None, forced_tools=False)),
    ("*claude*fable-5*", replace(_NEWEST, unasked=True, off=None)),
    ("*claude*mythos-5*", replace(_NEWEST, unasked=True, off=None)),
    ("*claude*", _NEWEST),
)

# Where a model takes a budget and no effort (providers.md 17.4; the upper two go on by the same step).
BUDGETS: Final[Mapping[Effort, int]] = {
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": 24576,
    "xhigh": 40960,
    "max": 57344,
}
MIN_BUDGET: Final = 1024


@remembered
def traits_of(model: str) -> Traits:
    """
    >>> traits_of("claude-sonnet-4.5").thinking
    'budget'
    """
    name = model.lower().replace(".", "-")
    number = first(name, _GLOBS)
    return _OTHERS if number is None else _MODELS[number][1]


_GLOBS: Final = tuple(glob for glob, _ in _MODELS)
