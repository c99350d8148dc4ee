"""Generation options as fields of a request, by what its model takes (``traits``)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from llm.chat import ChatRequest, Options
from llm.dialects.anthropic.parts import spelling
from llm.dialects.anthropic.traits import BUDGETS, MIN_BUDGET, Traits, traits_of
from llm.engines import Engine
from llm.errors import Unsupported
from llm.opaque import Json

Refuse = Callable[[str, str], Unsupported]  # of the name of an option, and why

# No field of this wire says them. What asks for nothing (a penalty of zero, no log probabilities) is no question.
_HARMLESS_AT_ZERO: Final = ("presence_penalty", "frequency_penalty", "logprobs", "top_logprobs")
_UNKNOWN: Final = (*_HARMLESS_AT_ZERO, "seed", "verbosity", "context_tokens")
_TIERS: Final = ("auto", "standard_only")
_CHOICES: Final = {"auto": "auto", "none": "none", "required": "any"}


def write_options(request: ChatRequest, engine: Engine) -> dict[str, Json]:
    """Raises ``Unsupported`` naming the option."""
    options, traits = request.options, traits_of(request.model)
    refuse = partial(_refusal, engine, request.model)
    _check_known(options, engine, refuse)
    max_tokens = traits.max_tokens if options.max_tokens is None else options.max_tokens
    wire: dict[str, Json] = {"max_tokens": max_tokens}
    # A client of this wire has its own words for thinking and format: they say more than the options.
    wire |= spelling(request.keep) or {
        **_thinking(options, traits, max_tokens, refuse),
        **_output_config(options, traits, engine, refuse),
    }
    wire |= _samplers(options, traits, _thinks(wire), refuse)
    if options.stop:
        wire["stop_sequences"] = [*options.stop]
    if options.service_tier is not None:
        if options.service_tier not in _TIERS:
            raise refuse("service_tier", f"it is one of {', '.join(_TIERS)} here")
        wire["service_tier"] = options.service_tier
    if request.tools:
        wire |= _tool_choice(options, traits, engine, wire, refuse)
    elif options.tool_choice not in (None, "auto", "none"):
        raise refuse("tool_choice", "there are no tools")
    return wire


def _refusal(engine: Engine, model: str, option: str, why: str) -> Unsupported:
    return Unsupported(f"{engine.label} cannot take {option} for {model}: {why}.", param=option, engine=engine.name)


def _check_known(options: Options, engine: Engine, refuse: Refuse) -> None:
    for name in _UNKNOWN:
        value = getattr(options, name)
        if value is not None and (value or name not in _HARMLESS_AT_ZERO):
            raise refuse(name, "its API has no such option")
    for name in sorted(engine.quirks.refuses):
        if getattr(options, name, None) not in (None, ()):
            raise refuse(name, "it is refused there")


def _off(options: Options) -> str | None:
    """The option that turns thinking off, if one does."""
    off = {
        "reasoning": options.reasoning is False,
        "effort": options.effort == "none",
        "reasoning_tokens": options.reasoning_tokens == 0,
    }
    return next((name for name, said in off.items() if said), None)


def _on(options: Options) -> str | None:
    """The option that asks for thinking, if one does and none forbids it."""
    if _off(options):
        return None
    if options.reasoning_tokens is not None:
        return "reasoning_tokens"
    if options.effort is not None:
        return "effort"
    return "reasoning" if options.reasoning else None


def _thinking(options: Options, traits: Traits, max_tokens: int, refuse: Refuse) -> dict[str, Json]:
    if off := _off(options):
        if traits.thinking == "none":
            return {}
        if traits.off is None:
            raise refuse(off, "its thinking cannot be turned off")
        return {"thinking": {"type": traits.off}}
    on = _on(options)
    if on is None:
        return {}
    if traits.thinking == "none":
        raise refuse(on, "it does not think")
    if traits.thinking == "adaptive" and options.reasoning_tokens is not None:
        raise refuse("reasoning_tokens", "it takes no budget, only an effort")
    if traits.thinking == "budget" or options.reasoning_tokens is not None:
        return {"thinking": {"type": "enabled", "budget_tokens": _budget(options, max_tokens, refuse)}}
    # Without "summarized" the newer models show nothing of what they thought.
    return {"thinking": {"type": "adaptive", "display": "summarized"}}


def _budget(options: Options, max_tokens: int, refuse: Refuse) -> int:
    """Thinking counts against ``max_tokens``, which has to stay the larger of the two."""
    budget = options.reasoning_tokens
    if budget is not None:
        if budget < MIN_BUDGET:
            raise refuse("reasoning_tokens", f"the smallest budget is {MIN_BUDGET}")
        if budget >= max_tokens:
            raise refuse("reasoning_tokens", f"it has to be less than max_tokens, which is {max_tokens}")
        return budget
    room = max_tokens - MIN_BUDGET
    if room < MIN_BUDGET:
        raise refuse("max_tokens", f"{max_tokens} tokens leave no room for thinking")
    return min(BUDGETS[options.effort or "low"], room)


def _output_config(options: Options, traits: Traits, engine: Engine, refuse: Refuse) -> dict[str, Json]:
    config: dict[str, Json] = {}
    if options.effort is not None and _on(options) and traits.thinking in ("both", "adaptive"):
        effort = "low" if options.effort == "minimal" else options.effort
        if effort not in traits.efforts:
            raise refuse("effort", f"it takes no effort {effort!r}")
        config["effort"] = effort
    if options.format is not None:
        if options.format.schema is None:
            raise refuse("format", "it answers in JSON only by a schema")
        if not traits.schemas or not engine.quirks.json_schema:
            raise refuse("format", "it cannot be held to a schema")
        config["format"] = {"type": "json_schema", "schema": dict(options.format.schema)}
    return {"output_config": config} if config else {}


def _thinks(wire: dict[str, Json]) -> str | None:
    """The form of thinking that is on."""
    thinking = wire.get("thinking")
    form = thinking.get("type") if isinstance(thinking, dict) else None
    return str(form) if form in ("enabled", "adaptive") else None


def _samplers(options: Options, traits: Traits, thinks: str | None, refuse: Refuse) -> dict[str, Json]:
    given = {"temperature": options.temperature, "top_p": options.top_p, "top_k": options.top_k}
    wire: dict[str, Json] = {name: value for name, value in given.items() if value is not None}
    if traits.samplers == "any":
        return wire
    fixed = traits.samplers == "none"
    why = "its sampling cannot be changed" if fixed else "it is thinking"
    if options.temperature is not None:
        if (fixed or thinks) and options.temperature != 1:
            raise refuse("temperature", why)
        if options.top_p is not None and traits.samplers != "both":
            raise refuse("top_p", "it takes temperature or top_p, not both")
    if options.top_p is not None and options.top_p < (0.99 if fixed else 0.95 if thinks else 0):
        raise refuse("top_p", why)
    if options.top_k is not None and (fixed or thinks):
        raise refuse("top_k", why)
    return wire


def _tool_choice(
    options: Options, traits: Traits, engine: Engine, wire: dict[str, Json], refuse: Refuse
) -> dict[str, Json]:
    asked, parallel = options.tool_choice, options.parallel_tools
    if asked is None and parallel is None:
        return {}
    kind, _, name = (asked or "auto").partition(":")
    choice: dict[str, Json] = {"type": "tool", "name": name} if kind == "tool" else {"type": _CHOICES.get(kind, kind)}
    if choice["type"] not in ("auto", "none"):
        if not (traits.forced_tools and engine.quirks.forced_tools):
            raise refuse("tool_choice", "it cannot be made to use a tool")
        if _thinks(wire) == "enabled":
            raise refuse("tool_choice", "it cannot be made to use a tool while it thinks")
    if parallel is not None and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = not parallel
    return {"tool_choice": choice}
