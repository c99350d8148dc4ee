"""Generation options as fields of a request, by what its model takes (``traits``)."""

from __future__ import annotations

from typing import Final

from llm.chat.request import ChatRequest, JsonFormat, Options
from llm.dialects.gemini.profiles import BUDGETS, Traits, traits_of
from llm.dialects.gemini.shared import refusal
from llm.engines.engine import Engine
from llm.engines.options import asked, ignored, taken, unmet_caching
from llm.engines.profiles import Family
from llm.wire.json_codec import Json
from llm.wire.schema_subset import Subset, fitted, told

# The options that this wire has fields for.
_KNOWN: Final = frozenset({
    "max_tokens", "temperature", "top_p", "top_k", "stop", "seed", "presence_penalty", "frequency_penalty",
    "reasoning", "effort", "reasoning_tokens", "format", "tool_choice", "parallel_tools", "logprobs", "top_logprobs",
    "service_tier", "caching", "extra",
})  # fmt: skip
# https://ai.google.dev/api/generate-content#generationconfig, at ``_responseJsonSchema``: no other keywords hold.
SCHEMAS: Final = Subset(
    keywords=frozenset({"minItems", "maxItems", "minimum", "maximum", "prefixItems", "propertyOrdering"}),
    const=False,
    enum_types=(str, int, float),
    recursion="optional",
)
_TIERS: Final = {"default": "standard", "standard": "standard", "flex": "flex", "priority": "priority"}


def write_options(request: ChatRequest, engine: Engine, dropped: list[str]) -> dict[str, Json]:
    """Raises ``Unsupported`` naming the option."""
    traits = traits_of(request.model)
    family = Family(refuses=traits.refuses, ignores_thinking=traits.ignores)
    options = taken(request.options, engine, request.model, family, False, _KNOWN)
    dropped += (*ignored(options, family, True), *unmet_caching(options, engine, False))
    if options.parallel_tools is False and request.tools:
        dropped.append("parallel_tools")  # told, not refused: agents ask for it with every request
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
        "thinkingConfig": _thinking(options, traits, engine, request.model, dropped),
        **_format(request, traits, engine, dropped),
    }
    wire: dict[str, Json] = {
        "toolConfig": _tool_config(request, engine),
        "generationConfig": {name: value for name, value in config.items() if value is not None} or None,
        "serviceTier": _tier(options, engine),
    }
    return {name: value for name, value in wire.items() if value is not None}


def _thinking(options: Options, traits: Traits, engine: Engine, model: str, dropped: list[str]) -> Json:
    """Thoughts are shown wherever the model has some; how much is said by budget or by level, never by both."""
    by, wanted, effort = asked(options)
    if by in engine.quirks.refuses and wanted is not None:
        raise refusal(engine, by, f"has no option {by}")
    if traits.thinking == "none":
        if wanted:
            raise refusal(engine, by, f"cannot take {by} for {model}: it does not think")
        return None
    if wanted is None:
        return None if traits.thinking == "unknown" else {"includeThoughts": True}
    if not wanted:
        if traits.off is None:
            raise refusal(engine, by, f"cannot take {by} for {model}: its thinking cannot be turned off")
        return {"includeThoughts": False, **traits.off}
    budget = options.reasoning_tokens
    if by == "reasoning_tokens":  # a model that has levels takes a budget still, if it is alone
        return {"includeThoughts": True, "thinkingBudget": budget}
    if by == "reasoning":
        return {"includeThoughts": True, **(traits.on or {})}
    if budget is not None:
        dropped.append("reasoning_tokens")
    if traits.thinking == "budget" and options.effort is not None:
        return {"includeThoughts": True, "thinkingBudget": min(BUDGETS[options.effort], traits.most)}
    if effort not in traits.efforts:
        words = ", ".join(traits.efforts)
        raise refusal(engine, by, f"cannot take effort {effort!r} for {model}: it takes {words}")
    return {"includeThoughts": True, "thinkingLevel": str(effort).upper()}


def _format(request: ChatRequest, traits: Traits, engine: Engine, dropped: list[str]) -> dict[str, Json]:
    asked_for = request.options.format
    if asked_for is None:
        return {}
    if asked_for.schema is None:
        return {"responseMimeType": "application/json"}
    if not engine.quirks.json_schema:
        raise refusal(engine, "format", "does not keep to a schema")
    if request.tools and not traits.schema_with_tools:
        raise refusal(engine, "format", f"cannot hold {request.model} to a schema while it has tools")
    return {"responseMimeType": "application/json", "responseJsonSchema": _schema(asked_for, dropped)}


def _schema(asked: JsonFormat, dropped: list[str]) -> Json:
    assert asked.schema is not None
    if asked.wire is None:
        return dict(asked.schema)
    whole = fitted(asked.schema, SCHEMAS, "format")
    dropped += told("format", whole.lost)
    return whole.schema if whole.schema is not None else dict(asked.schema)


def _tool_config(request: ChatRequest, engine: Engine) -> Json:
    """A choice is among declared functions only: hosted tools are the model's own to use."""
    choice = request.options.tool_choice
    if choice is None:
        return None
    if all(tool.executor == "provider" for tool in request.tools):
        if choice == "auto" or (choice == "none" and not request.tools):
            return None
        raise refusal(engine, "tool_choice", "has no tools to choose from in this request")
    if choice not in ("auto", "none") and not engine.quirks.forced_tools:
        raise refusal(engine, "tool_choice", "cannot be made to call a tool")
    calling: dict[str, Json] = {"mode": {"auto": "AUTO", "none": "NONE"}.get(choice, "ANY")}
    if choice.startswith("tool:"):
        calling["allowedFunctionNames"] = [choice.removeprefix("tool:")]
    return {"functionCallingConfig": calling}


def _tier(options: Options, engine: Engine) -> Json:
    if options.service_tier in (None, "auto"):
        return None
    if options.service_tier not in _TIERS:
        raise refusal(
            engine, "service_tier", f"has no such service tier; it has {', '.join(sorted({*_TIERS.values()}))}"
        )
    return _TIERS[options.service_tier]
