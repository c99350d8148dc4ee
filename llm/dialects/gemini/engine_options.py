"""Writes generation options as request fields, by the model's profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from llm.chat.request import ChatRequest, Effort, JsonFormat, Options
from llm.dialects.gemini.profiles import EFFORT_BUDGETS, GeminiProfile, apply_facts, find_profile
from llm.dialects.gemini.shared import build_refusal
from llm.engines.engine import Engine
from llm.engines.options import check_options, ignored_options, unmet_caching
from llm.engines.profiles import ModelProfile
from llm.engines.reasoning import fit_effort, read_reasoning_options
from llm.wire.json_codec import Json
from llm.wire.schema_subset import Subset, describe_losses, fit_schema

# The options that this wire has fields for.
_KNOWN: Final = frozenset({
    "max_tokens", "temperature", "top_p", "top_k", "stop", "seed", "presence_penalty", "frequency_penalty",
    "reasoning", "effort", "reasoning_tokens", "format", "tool_choice", "parallel_tools", "logprobs", "top_logprobs",
    "service_tier", "caching", "extra",
})  # fmt: skip
# The JSON Schema keywords with effect: https://ai.google.dev/api/generate-content#generationconfig, at
# ``_responseJsonSchema``.
SCHEMA_SUBSET: Final = Subset(
    keywords=frozenset({"minItems", "maxItems", "minimum", "maximum", "prefixItems", "propertyOrdering"}),
    const=False,
    enum_types=(str, int, float),
    recursion="optional",
)
_TIERS: Final = {"default": "standard", "standard": "standard", "flex": "flex", "priority": "priority"}


def write_options(request: ChatRequest, engine: Engine, dropped: list[str]) -> dict[str, Json]:
    """Writes the options; names of those without effect are appended to ``dropped``.

    Raises ``Unsupported`` naming the option.
    """
    traits = apply_facts(find_profile(request.model), engine.facts)
    family = ModelProfile(unsupported_options=traits.refuses, ignored_while_reasoning=traits.ignores)
    options = check_options(request.options, engine, request.model, family, False, _KNOWN)
    dropped += (*ignored_options(options, family, True), *unmet_caching(options, engine, False))
    if options.parallel_tools is False and request.tools:
        dropped.append("parallel_tools")  # dropped, not refused: agents set it in every request
    config: dict[str, Json] = {
        "maxOutputTokens": options.max_tokens,
        "temperature": options.temperature,
        "topP": options.top_p,
        "topK": options.top_k,
        "stopSequences": [*options.stop] or None,
        "seed": options.seed,
        "presencePenalty": options.presence_penalty,
        "frequencyPenalty": options.frequency_penalty,
        "responseLogprobs": options.logprobs if options.top_logprobs is None else True,
        "logprobs": options.top_logprobs,
        "thinkingConfig": _write_thinking(replace(request, options=options), traits, engine, dropped),
        **_write_format(request, traits, engine, dropped),
    }
    wire: dict[str, Json] = {
        "toolConfig": _write_tool_config(request, engine),
        "generationConfig": {name: value for name, value in config.items() if value is not None} or None,
        "serviceTier": _write_tier(options, engine),
    }
    return {name: value for name, value in wire.items() if value is not None}


def _write_thinking(request: ChatRequest, traits: GeminiProfile, engine: Engine, dropped: list[str]) -> Json:
    """Thought summaries are requested of every model that has them; the amount is a budget or a level, never both."""
    options, model = request.options, request.model
    option, enabled, effort = read_reasoning_options(options)
    if option in engine.quirks.unsupported_options and enabled is not None:
        raise build_refusal(engine, option, f"does not have the option {option}")
    if traits.thinking == "none":
        if enabled:
            raise build_refusal(engine, option, f"does not accept {option} for {model}: the model does not reason")
        return None
    if enabled is None:
        return None if traits.thinking == "unknown" else {"includeThoughts": True}
    if not enabled and traits.disable_fields is None and option not in request.soft_options:
        reason = "the model's reasoning cannot be turned off"
        raise build_refusal(engine, option, f"does not accept {option} for {model}: {reason}")
    if not enabled:
        return {"includeThoughts": False, **_write_least_thinking(options, option, traits, dropped)}
    if option == "reasoning":
        return {"includeThoughts": True, **(traits.enable_fields or {})}
    if option == "reasoning_tokens" and (traits.thinking == "budget" or traits.accepts_budget):
        return {"includeThoughts": True, "thinkingBudget": options.reasoning_tokens}
    if effort is None:  # the model shall decide how much, which is its default
        return {"includeThoughts": True}
    if options.reasoning_tokens is not None:
        dropped.append("reasoning_tokens")
    return {"includeThoughts": True, **_write_amount(effort, options.max_tokens, option, traits, dropped)}


def _write_least_thinking(
    options: Options, option: str, traits: GeminiProfile, dropped: list[str]
) -> Mapping[str, Json]:
    """Writes the fields for no thinking, or for the least where it cannot be turned off."""
    if traits.disable_fields is not None:
        if option == "reasoning" and options.effort not in (None, "none"):
            dropped.append("effort")
        return traits.disable_fields
    dropped.append(option)
    effort = options.effort if option == "reasoning" and options.effort != "none" else None
    if effort is None and traits.thinking == "budget":
        return {"thinkingBudget": traits.min_budget}
    return _write_amount(effort or "minimal", options.max_tokens, option, traits, [])


def _write_amount(
    effort: Effort, max_tokens: int | None, option: str, traits: GeminiProfile, dropped: list[str]
) -> dict[str, Json]:
    """Writes an effort as a budget or level; an effort that the model does not have becomes the nearest one.

    Thinking counts against ``max_tokens``, so a budget takes at most half of them: the rest is for the answer.
    """
    if traits.thinking == "budget":
        room = traits.max_budget if max_tokens is None else max(max_tokens // 2, traits.min_budget)
        return {"thinkingBudget": min(EFFORT_BUDGETS[effort], traits.max_budget, room)}
    level = fit_effort(effort, traits.efforts)
    if level != effort:
        dropped.append(option)
    return {"thinkingLevel": level.upper()} if level is not None else {}


def _write_format(request: ChatRequest, traits: GeminiProfile, engine: Engine, dropped: list[str]) -> dict[str, Json]:
    json_format = request.options.format
    if json_format is None:
        return {}
    if json_format.schema is None:
        return {"responseMimeType": "application/json"}
    if not engine.quirks.json_schema:
        raise build_refusal(engine, "format", "does not support JSON schemas")
    if request.tools and not traits.schema_with_tools:
        raise build_refusal(engine, "format", f"does not support JSON schemas together with tools for {request.model}")
    return {"responseMimeType": "application/json", "responseJsonSchema": _write_schema(json_format, dropped)}


def _write_schema(json_format: JsonFormat, dropped: list[str]) -> Json:
    assert json_format.schema is not None
    if json_format.schema_dialect is None:
        return dict(json_format.schema)
    fit = fit_schema(json_format.schema, SCHEMA_SUBSET, "format")
    dropped += describe_losses("format", fit.lost)
    return fit.schema if fit.schema is not None else dict(json_format.schema)


def _write_tool_config(request: ChatRequest, engine: Engine) -> Json:
    """The tool choice concerns declared functions only, not hosted tools."""
    choice = request.options.tool_choice
    if choice is None:
        return None
    if all(tool.executor == "provider" for tool in request.tools):
        if choice == "auto" or (choice == "none" and not request.tools):
            return None
        raise build_refusal(engine, "tool_choice", "cannot use tool_choice in a request without function tools")
    config: dict[str, Json] = {"mode": {"auto": "AUTO", "none": "NONE"}.get(choice, "ANY")}
    if choice.startswith("tool:"):
        config["allowedFunctionNames"] = [choice.removeprefix("tool:")]
    return {"functionCallingConfig": config}


def _write_tier(options: Options, engine: Engine) -> Json:
    if options.service_tier in (None, "auto"):
        return None
    if options.service_tier not in _TIERS:
        accepted = ", ".join(sorted({*_TIERS.values()}))
        raise build_refusal(engine, "service_tier", f"does not accept this service_tier; it accepts {accepted}")
    return _TIERS[options.service_tier]
