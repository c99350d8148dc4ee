"""Generation options as fields of a request, by what its model takes (``traits``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from llm.chat.messages import Media
from llm.chat.request import ChatRequest, JsonFormat, Options
from llm.dialects.anthropic.profiles import BUDGETS, MIN_BUDGET, Traits, traits_of
from llm.dialects.anthropic.shared import NAME, spelling
from llm.engines.engine import Engine
from llm.engines.options import taken
from llm.engines.profiles import ANY
from llm.errors import Unsupported
from llm.wire.json_codec import Json
from llm.wire.schema_subset import Subset, fitted, told

Refuse = Callable[[str, str], Unsupported]  # of the name of an option, and why

# https://platform.claude.com/docs/en/build-with-claude/structured-outputs: what its own clients leave of a schema.
SCHEMAS: Final = Subset(
    formats=frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}),
    min_items=frozenset({0, 1}),
    closed=True,
    type_lists=False,
    recursion="no",
)
# The options that this wire has fields for.
_KNOWN: Final = frozenset({
    "max_tokens", "temperature", "top_p", "top_k", "stop", "reasoning", "effort", "reasoning_tokens", "format",
    "tool_choice", "parallel_tools", "service_tier", "caching", "citations", "extra",
})  # fmt: skip
_TIERS: Final = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
# Without "summarized" the newer models show nothing of what they thought.
_SHOWN: Final[Mapping[str, Json]] = {"type": "adaptive", "display": "summarized"}
_CHOICES: Final = {"auto": "auto", "none": "none", "required": "any"}


def write_options(request: ChatRequest, engine: Engine, dropped: list[str]) -> dict[str, Json]:
    """Raises ``Unsupported`` naming the option."""
    options, traits = taken(request.options, engine, request.model, ANY, False, _KNOWN), traits_of(request.model)
    refuse = partial(_refusal, engine, request.model)
    if options.citations and options.format is not None and _has_documents(request):
        raise refuse("citations", "an answer that is held to a schema cites nothing")
    max_tokens = traits.max_tokens if options.max_tokens is None else options.max_tokens
    wire: dict[str, Json] = {"max_tokens": max_tokens}
    # A client of this wire has its own words for thinking and format: they say more than the options.
    wire |= spelling(request.keep) or {
        **_thinking(options, traits, max_tokens, refuse, dropped),
        **_output_config(options, traits, engine, refuse, dropped),
    }
    wire |= _samplers(options, traits, _thinks(wire), refuse)
    if options.stop:
        wire["stop_sequences"] = [*options.stop]
    if options.service_tier is not None:
        if options.service_tier not in _TIERS:
            raise refuse("service_tier", f"it is one of {', '.join(_TIERS)} here")
        wire["service_tier"] = _TIERS[options.service_tier]
    if request.tools:
        wire |= _tool_choice(options, traits, engine, wire, refuse)
    elif options.tool_choice not in (None, "auto", "none"):
        raise refuse("tool_choice", "there are no tools")
    return wire


def _refusal(engine: Engine, model: str, option: str, why: str) -> Unsupported:
    return Unsupported(f"{engine.label} cannot take {option} for {model}: {why}.", param=option, engine=engine.name)


def _has_documents(request: ChatRequest) -> bool:
    return any(isinstance(part, Media) and part.kind == "document" for m in request.messages for part in m.parts)


def _off(options: Options) -> str | None:
    """The option that turns thinking off, if one does."""
    if options.reasoning is False:
        return "reasoning"
    if options.effort == "none":
        return "effort"
    return "reasoning_tokens" if options.reasoning_tokens == 0 else None


def _on(options: Options) -> str | None:
    """The option that asks for thinking, if one does and none forbids it."""
    if _off(options):
        return None
    if options.reasoning_tokens is not None:
        return "reasoning_tokens"
    if options.effort is not None:
        return "effort"
    return "reasoning" if options.reasoning else None


def _thinking(options: Options, traits: Traits, max_tokens: int, refuse: Refuse, dropped: list[str]) -> dict[str, Json]:
    if options.effort not in (None, "none") and _effort(options, traits) is None and _on(options) != "effort":
        dropped.append("effort")  # the other option says more, and there is no field for this one
    if off := _off(options):
        if traits.thinking == "none":
            return {}
        if traits.off is None:
            raise refuse(off, "its thinking cannot be turned off")
        return {"thinking": {"type": traits.off}}
    on = _on(options)
    if on is None:
        return {"thinking": dict(_SHOWN)} if traits.unasked else {}
    if traits.thinking == "none":
        raise refuse(on, "it does not think")
    budget = options.reasoning_tokens is not None and options.reasoning_tokens > 0  # below: as the model likes
    if traits.thinking == "adaptive" and budget:
        raise refuse("reasoning_tokens", "it takes no budget, only an effort")
    if traits.thinking == "budget" or budget:
        return {"thinking": {"type": "enabled", "budget_tokens": _budget(options, max_tokens, refuse)}}
    return {"thinking": dict(_SHOWN)}


def _budget(options: Options, max_tokens: int, refuse: Refuse) -> int:
    """Thinking counts against ``max_tokens``, which has to stay the larger of the two."""
    budget = options.reasoning_tokens
    if budget is not None and budget > 0:
        if budget < MIN_BUDGET:
            raise refuse("reasoning_tokens", f"the smallest budget is {MIN_BUDGET}")
        if budget >= max_tokens:
            raise refuse("reasoning_tokens", f"it has to be less than max_tokens, which is {max_tokens}")
        return budget
    room = max_tokens - MIN_BUDGET
    if room < MIN_BUDGET:
        raise refuse("max_tokens", f"{max_tokens} tokens leave no room for thinking")
    return min(BUDGETS[options.effort or "low"], room)


def _effort(options: Options, traits: Traits) -> str | None:
    """What the field for it says: it goes for the whole answer, whether the model thinks or not."""
    effort = "low" if options.effort == "minimal" else options.effort
    if effort in (None, "none") or not traits.efforts:
        return None
    if traits.thinking == "budget" and effort not in traits.efforts:
        return None  # more than it has a word for; the budget says it
    return effort


def _output_config(
    options: Options, traits: Traits, engine: Engine, refuse: Refuse, dropped: list[str]
) -> dict[str, Json]:
    config: dict[str, Json] = {}
    effort = _effort(options, traits)
    if effort is not None:
        if effort not in traits.efforts:
            raise refuse("effort", f"it takes no effort {effort!r}")
        config["effort"] = effort
    if options.format is not None:
        if options.format.schema is None:
            raise refuse("format", "it answers in JSON only by a schema")
        if not traits.schemas or not engine.quirks.json_schema:
            raise refuse("format", "it cannot be held to a schema")
        config["format"] = {"type": "json_schema", "schema": _schema(options.format, refuse, dropped)}
    return {"output_config": config} if config else {}


def _schema(asked: JsonFormat, refuse: Refuse, dropped: list[str]) -> Json:
    assert asked.schema is not None
    if asked.wire in (None, NAME):
        return dict(asked.schema)
    whole = fitted(asked.schema, SCHEMAS, "format")
    if whole.schema is None:
        raise refuse("format", f"its schemas are closed and end somewhere, and this one is not so at {whole.lost[0]}")
    dropped += told("format", whole.lost)
    return whole.schema


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
