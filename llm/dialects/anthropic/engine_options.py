"""Writes generation options as request fields, by the profile of the model (``profiles``), and cache breakpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from llm.chat.messages import Media
from llm.chat.request import ChatRequest, JsonFormat, Options
from llm.dialects.anthropic.profiles import EFFORT_BUDGETS, MIN_BUDGET, AnthropicProfile, apply_facts, find_profile
from llm.dialects.anthropic.shared import NAME, has_wire_form, unpack_wire_form
from llm.engines.engine import Engine
from llm.engines.options import check_options, is_neutral
from llm.engines.profiles import DEFAULT_PROFILE
from llm.engines.reasoning import fit_effort
from llm.errors import Unsupported
from llm.wire.json_codec import Json
from llm.wire.schema_subset import Subset, describe_losses, fit_schema

Refuse = Callable[[str, str], Unsupported]  # (option, reason) to the error to raise

# https://platform.claude.com/docs/en/build-with-claude/structured-outputs: the part of JSON
# Schema that Anthropic's own clients send.
SCHEMA_SUBSET: Final = Subset(
    formats=frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}),
    min_items=frozenset({0, 1}),
    closed=True,
    type_lists=False,
    recursion="no",
)
# The options that this wire has fields for.
_KNOWN_OPTIONS: Final = frozenset({
    "max_tokens", "temperature", "top_p", "top_k", "stop", "reasoning", "effort", "reasoning_tokens", "format",
    "tool_choice", "parallel_tools", "service_tier", "caching", "citations", "extra",
})  # fmt: skip
_TIERS: Final = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
# Without "summarized" the newer models return no thinking text.
_ADAPTIVE: Final[Mapping[str, Json]] = {"type": "adaptive", "display": "summarized"}
_CHOICES: Final = {"auto": "auto", "none": "none", "required": "any"}


def write_options(request: ChatRequest, engine: Engine, dropped: list[str]) -> dict[str, Json]:
    """Writes the options; appends ignored ones to ``dropped``. Raises ``Unsupported`` naming the option."""
    options, profile = (
        check_options(request.options, engine, request.model, DEFAULT_PROFILE, False, _KNOWN_OPTIONS),
        apply_facts(find_profile(request.model), engine.facts),
    )
    refuse = partial(_build_refusal, engine, request.model)
    if options.citations and options.format is not None and _has_documents(request):
        raise refuse("citations", "citations cannot be combined with a JSON schema")
    max_tokens = profile.max_tokens if options.max_tokens is None else options.max_tokens
    wire: dict[str, Json] = {"max_tokens": max_tokens}
    if own_client := has_wire_form(request.metadata):  # more exact than the options, with the defaults of its client
        wire |= unpack_wire_form(request.metadata)
    else:
        wire |= _write_thinking(options, request.soft_options, profile, max_tokens, refuse, dropped)
        wire |= _write_output_config(options, profile, engine, refuse, dropped)
    if samplers := _list_samplers(options):
        checked = _check_samplers(samplers, options, profile, _find_active_thinking(wire), refuse)
        wire |= samplers if own_client else checked  # with the default values that its client wrote out
    if options.stop:
        wire["stop_sequences"] = [*options.stop]
    if options.service_tier is not None:
        if options.service_tier not in _TIERS:
            raise refuse("service_tier", f"the allowed values are {', '.join(_TIERS)}")
        wire["service_tier"] = _TIERS[options.service_tier]
    if request.tools:
        wire |= _write_tool_choice(options, wire, refuse)
    elif options.tool_choice not in (None, "auto", "none"):
        raise refuse("tool_choice", "the request has no tools")
    return wire


def _build_refusal(engine: Engine, model: str, option: str, why: str) -> Unsupported:
    return Unsupported(f"{engine.label} cannot take {option} for {model}: {why}.", param=option, engine=engine.name)


def _has_documents(request: ChatRequest) -> bool:
    return any(isinstance(part, Media) and part.kind == "document" for m in request.messages for part in m.parts)


def _find_option_turning_off(options: Options) -> str | None:
    """Returns the name of the option that turns thinking off, or None."""
    if options.reasoning is False:
        return "reasoning"
    if options.effort == "none":
        return "effort"
    return "reasoning_tokens" if options.reasoning_tokens == 0 else None


def _find_option_turning_on(options: Options) -> str | None:
    """Returns the name of the option that turns thinking on, or None; one that turns it off goes before."""
    if options.reasoning_tokens is not None:
        return "reasoning_tokens"
    if options.effort is not None:
        return "effort"
    return "reasoning" if options.reasoning else None


def _write_thinking(
    options: Options,
    soft_options: frozenset[str],
    profile: AnthropicProfile,
    max_tokens: int,
    refuse: Refuse,
    dropped: list[str],
) -> dict[str, Json]:
    off = _find_option_turning_off(options)
    on = None if off else _find_option_turning_on(options)
    if on != "effort" and options.effort not in (None, "none") and _choose_effort(options, profile, []) is None:
        dropped.append("effort")  # another option decides about thinking, and the model has no effort field
    if off:
        return _turn_thinking_off(off, profile, off in soft_options, refuse, dropped)
    if on is None:
        return {"thinking": dict(_ADAPTIVE)} if profile.thinks_by_default else {}
    if profile.thinking == "none":
        raise refuse(on, "the model does not support thinking")
    budget = options.reasoning_tokens is not None and options.reasoning_tokens > 0  # negative: the model decides
    if profile.thinking == "adaptive" and budget:
        raise refuse("reasoning_tokens", "the model accepts an effort, not a token budget")
    if profile.thinking != "budget" and not budget:
        return {"thinking": dict(_ADAPTIVE)}
    if not budget and max_tokens < 2 * MIN_BUDGET:  # too few tokens for thinking and an answer
        dropped.append(on)
        return {}
    return {"thinking": {"type": "enabled", "budget_tokens": _choose_budget(options, max_tokens, refuse)}}


def _turn_thinking_off(
    option: str, profile: AnthropicProfile, soft: bool, refuse: Refuse, dropped: list[str]
) -> dict[str, Json]:
    if profile.thinking == "none":
        return {}
    if profile.off_type is not None:
        return {"thinking": {"type": profile.off_type}}
    if not soft:
        raise refuse(option, "the model's thinking cannot be turned off")
    dropped.append(option)  # it thinks; the text of that is not asked for
    return {}


def _choose_budget(options: Options, max_tokens: int, refuse: Refuse) -> int:
    """Returns the thinking budget in tokens. It counts against ``max_tokens`` and has to be smaller."""
    budget = options.reasoning_tokens
    if budget is not None and budget > 0:
        if budget < MIN_BUDGET:
            raise refuse("reasoning_tokens", f"the smallest budget is {MIN_BUDGET}")
        if budget >= max_tokens:
            raise refuse("reasoning_tokens", f"it has to be less than max_tokens, which is {max_tokens}")
        return budget
    return min(EFFORT_BUDGETS[options.effort or "low"], max_tokens - MIN_BUDGET)


def _choose_effort(options: Options, profile: AnthropicProfile, dropped: list[str]) -> str | None:
    """Returns the value of ``output_config.effort``, which applies to the whole answer, with or without thinking.

    An effort that the model does not have becomes the nearest one.
    """
    if not profile.efforts:
        return None
    effort, turned_off = options.effort, _find_option_turning_off(options) is not None
    if effort is None or effort == "none":  # the least, if the model thinks nevertheless
        return fit_effort("minimal", profile.efforts) if turned_off and profile.off_type is None else None
    if profile.thinking == "budget" and effort not in (*profile.efforts, "minimal"):
        return None  # the budget expresses it
    efforts = (turned_off and profile.efforts_without_thinking) or profile.efforts
    fitted = fit_effort(effort, efforts)
    if fitted != effort and profile.thinking != "budget":
        dropped.append("effort")
    return fitted


def _write_output_config(
    options: Options, profile: AnthropicProfile, engine: Engine, refuse: Refuse, dropped: list[str]
) -> dict[str, Json]:
    config: dict[str, Json] = {}
    effort = _choose_effort(options, profile, dropped)
    if effort is not None:
        config["effort"] = effort
    if options.format is not None:
        if not profile.json_schema or not engine.quirks.json_schema:
            raise refuse("format", "the model does not support JSON schemas")
        config["format"] = {"type": "json_schema", "schema": _fit_format_schema(options.format, refuse, dropped)}
    return {"output_config": config} if config else {}


def _fit_format_schema(json_format: JsonFormat, refuse: Refuse, dropped: list[str]) -> Json:
    assert json_format.schema is not None
    if json_format.schema_dialect in (None, NAME):
        return dict(json_format.schema)
    fit = fit_schema(json_format.schema, SCHEMA_SUBSET, "format")
    if fit.schema is None:
        raise refuse("format", f"schemas have to be closed and free of recursion, and {fit.lost[0]} is not")
    dropped += describe_losses("format", fit.lost)
    return fit.schema


def _find_active_thinking(wire: dict[str, Json]) -> str | None:
    """Returns the form of thinking that is on, or None."""
    thinking = wire.get("thinking")
    form = thinking.get("type") if isinstance(thinking, dict) else None
    return str(form) if form in ("enabled", "adaptive") else None


def _list_samplers(options: Options) -> dict[str, Json]:
    samplers: dict[str, Json] = {}
    if options.temperature is not None:
        samplers["temperature"] = options.temperature
    if options.top_p is not None:
        samplers["top_p"] = options.top_p
    if options.top_k is not None:
        samplers["top_k"] = options.top_k
    return samplers


def _check_samplers(
    wire: dict[str, Json], options: Options, profile: AnthropicProfile, thinking: str | None, refuse: Refuse
) -> dict[str, Json]:
    """Returns those that the model accepts."""
    if profile.samplers == "any":
        return wire
    fixed = profile.samplers == "none"
    if fixed or thinking or (len(wire) > 1 and profile.samplers == "one"):
        wire = {name: value for name, value in wire.items() if not is_neutral(name, value)}
    why = "the model's sampling is fixed" if fixed else "sampling is fixed while the model thinks"
    if "temperature" in wire:
        if fixed or thinking:
            raise refuse("temperature", why)
        if "top_p" in wire and profile.samplers != "both":
            raise refuse("top_p", "the model accepts temperature or top_p, not both")
    if options.top_p is not None and options.top_p < (0.99 if fixed else 0.95 if thinking else 0):
        raise refuse("top_p", why)
    if options.top_k is not None and (fixed or thinking):
        raise refuse("top_k", why)
    return wire


def _write_tool_choice(options: Options, wire: dict[str, Json], refuse: Refuse) -> dict[str, Json]:
    requested, parallel = options.tool_choice, options.parallel_tools
    if requested is None and parallel is None:
        return {}
    kind, _, name = (requested or "auto").partition(":")
    choice: dict[str, Json] = {"type": "tool", "name": name} if kind == "tool" else {"type": _CHOICES.get(kind, kind)}
    if choice["type"] not in ("auto", "none") and _find_active_thinking(wire) == "enabled":
        raise refuse("tool_choice", "a forced tool call cannot be combined with a thinking budget")
    if parallel is not None and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = not parallel
    return {"tool_choice": choice}


# https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching: a prompt consists of tools, system, messages,
# in this order, and everything before a breakpoint is cached. So each of the three gets one at its end, which is at the
# same position in the next request, whatever is appended to it.
_MAX_BREAKPOINTS: Final = 4  # breakpoints in one request, the client's own included
_BREAKPOINT: Final[Mapping[str, Json]] = {"cache_control": {"type": "ephemeral"}}
_NOT_CACHEABLE: Final = ("thinking", "redacted_thinking")


def add_cache_breakpoints(body: Mapping[str, Json]) -> dict[str, Json]:
    """Returns the body with a breakpoint at the end of tools, system and messages, up to the limit of the wire."""
    out, left = dict(body), _MAX_BREAKPOINTS - _count_breakpoints(body)
    for section in ("tools", "system"):
        if left > 0 and (blocks := _mark_last_block(body.get(section))) is not None:
            out[section] = blocks
            left -= 1
    messages = body.get("messages")
    if left > 0 and isinstance(messages, list) and messages and isinstance(last := messages[-1], dict):
        blocks = _mark_last_block(last.get("content"))
        if blocks is not None:
            out["messages"] = [*messages[:-1], {**last, "content": blocks}]
    return out


def _mark_last_block(value: Json) -> list[Json] | None:
    """Returns the blocks with a breakpoint on the last that allows one; None if none does or if it has one."""
    blocks: list[Json] = [{"type": "text", "text": value}] if isinstance(value, str) and value else []
    if isinstance(value, list):
        blocks = value
    for at in range(len(blocks) - 1, -1, -1):
        block = blocks[at]
        if isinstance(block, dict) and block.get("type") not in _NOT_CACHEABLE:
            if "cache_control" in block:
                return None
            return [*blocks[:at], {**_BREAKPOINT, **block}, *blocks[at + 1 :]]
    return None


def _count_breakpoints(value: Json | Mapping[str, Json]) -> int:
    """Counts the breakpoints; a property of that name in the schema of a tool is not one."""
    if isinstance(value, list):
        return sum(_count_breakpoints(one) for one in value)
    if not isinstance(value, Mapping):
        return 0
    inner = (one for name, one in value.items() if name in ("tools", "system", "messages", "content"))
    return ("cache_control" in value) + sum(_count_breakpoints(one) for one in inner)
