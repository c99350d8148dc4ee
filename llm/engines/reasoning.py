"""Resolves how much a model shall reason, from the options of a request and the model's profile.

Used by all dialects that have profiles (``llm.engines.profiles``); each dialect writes the result in its own fields.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from llm.chat.request import Effort, Options
from llm.engines.engine import Engine
from llm.engines.options import build_unsupported
from llm.engines.profiles import ModelProfile, ReasoningValue

# For APIs without a reasoning budget: the effort for a budget up to this number of tokens.
_EFFORT_BY_BUDGET: Final[Sequence[tuple[float, Effort]]] = (
    (0, "none"),
    (4096, "low"),
    (16384, "medium"),
    (float("inf"), "high"),
)
_EFFORTS: Final[Sequence[Effort]] = ("minimal", "low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True, slots=True)
class ReasoningRequest:
    """How much the model shall reason, in the words of its API."""

    enabled: bool | None = None  # None: the client wants none, or does not mention it
    effort: str | None = None  # the model's own value
    budget_tokens: int | None = None  # requested budget
    unsent_options: tuple[str, ...] = ()  # options that no field of this API expresses exactly


NO_REASONING_REQUEST: Final = ReasoningRequest()  # the options do not mention reasoning, or need no field


def resolve_reasoning(
    options: Options, engine: Engine, model: str, profile: ModelProfile, soft: Collection[str] = ()
) -> ReasoningRequest:
    """Resolves effort, budget and ``reasoning`` of the options. Raises ``Unsupported`` naming the option.

    An effort that the model does not have is replaced by the nearest one. ``soft`` are options that may be given up
    (``ChatRequest.soft_options``): a model that always reasons is then asked for its least effort instead of none.
    """
    option, enabled, effort = read_reasoning_options(options)
    if enabled is None:
        return NO_REASONING_REQUEST
    if "effort" in engine.quirks.unsupported_options:
        raise build_unsupported(engine, option)
    support = profile.reasoning
    if support is None:
        if enabled:
            raise build_unsupported(engine, option, "the model does not reason", model)
        return NO_REASONING_REQUEST
    if not enabled:
        effort = options.effort if options.effort != "none" else None  # the option ``reasoning`` decides
        if support.disable_value is not None:
            return ReasoningRequest(
                False, _effort_of(support.disable_value), unsent_options=("effort",) if effort else ()
            )
        if option not in soft:
            raise build_unsupported(engine, option, "the model's reasoning cannot be turned off", model)
        return ReasoningRequest(None, fit_effort(effort or "minimal", support.efforts or ()), unsent_options=(option,))
    if effort is None:
        listed = engine.models.effort_by_list if engine.facts.reasoning else None
        value = listed if support.enable_value is None else support.enable_value
        unsent = (option,) if value is None and option == "reasoning" else ()
        return ReasoningRequest(True, _effort_of(value), unsent_options=unsent)
    accepted = (effort,) if support.efforts is None else support.efforts
    fitted = fit_effort(effort, accepted)
    if option == "reasoning_tokens" and (fitted is None or is_higher(fitted, effort)):
        raise build_unsupported(engine, option, f"it would be sent as effort {effort!r}, which the model lacks", model)
    unsent = () if fitted == effort else (option,)
    if option == "reasoning_tokens":
        return ReasoningRequest(True, fitted, options.reasoning_tokens, unsent)
    if options.reasoning_tokens is not None and options.reasoning_tokens > 0:
        unsent = (*unsent, "reasoning_tokens")
    return ReasoningRequest(True, fitted or _effort_of(support.enable_value), unsent_options=unsent)


def fit_effort(effort: Effort, accepted: Collection[str]) -> Effort | None:
    """Returns the highest accepted effort up to ``effort``, else the lowest accepted one; None if there is none."""
    ordered = [name for name in _EFFORTS if name in accepted]
    wanted = _EFFORTS.index(effort)
    return next((name for name in reversed(ordered) if _EFFORTS.index(name) <= wanted), ordered[0] if ordered else None)


def is_higher(effort: Effort, other: Effort) -> bool:
    """True if ``effort`` is more than ``other``."""
    return _EFFORTS.index(effort) > _EFFORTS.index(other)


def _effort_of(value: ReasoningValue | None) -> str | None:
    """Returns the value if it is an effort; None if it is empty or consists of fields."""
    return value or None if isinstance(value, str) else None


def read_reasoning_options(options: Options) -> tuple[str, bool | None, Effort | None]:
    """Returns the option that decides, whether to reason (None: not specified), and the effort (None: any)."""
    if options.reasoning is False:
        return "reasoning", False, None
    if options.effort is not None:
        return "effort", options.effort != "none", options.effort
    budget = options.reasoning_tokens
    if budget is not None and budget >= 0:
        effort = next(word for limit, word in _EFFORT_BY_BUDGET if budget <= limit)
        return "reasoning_tokens", budget > 0, effort
    if budget is not None:  # negative: the model decides how much (Gemini)
        return "reasoning_tokens", True, None
    return "reasoning", options.reasoning, None


def will_reason(request: ReasoningRequest, profile: ModelProfile) -> bool:
    """True if the model will reason; False if it will not or that is not known."""
    if profile.reasoning is None:
        return False
    return bool(profile.reasoning.enabled_by_default if request.enabled is None else request.enabled)
