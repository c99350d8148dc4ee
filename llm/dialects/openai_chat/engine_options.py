"""Writes generation options as request fields, by the engine's record and the model's profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llm.chat.provider_metadata import opaque_for
from llm.chat.request import NO_OPTIONS, Options
from llm.dialects.openai_chat.shared import NAME
from llm.engines.engine import Engine
from llm.engines.options import Thought, aside, ignored, over, taken, thinks, thought, unmet_caching
from llm.engines.profiles import Family, Thinking, family_of
from llm.errors import Unsupported
from llm.wire.json_codec import Json
from llm.wire.json_lenient import dict_of
from llm.wire.schema_subset import enforced

# The options that this wire has fields for.
_KNOWN: Final = frozenset({
    "max_tokens", "temperature", "top_p", "top_k", "stop", "seed", "presence_penalty", "frequency_penalty",
    "reasoning", "effort", "reasoning_tokens", "verbosity", "format", "tool_choice", "parallel_tools", "logprobs",
    "top_logprobs", "service_tier", "caching", "extra",
})  # fmt: skip


def write_options(
    options: Options, model: str, engine: Engine, own: Mapping[str, Any], dropped: list[str]
) -> dict[str, Json]:
    """Writes the options; names of those without effect are appended to ``dropped``.

    ``client_fields`` are fields of this wire that a client sent. Raises ``Unsupported`` naming the option.
    """
    quirks, family = engine.quirks, family_of(model, engine.models.families)
    if options is NO_OPTIONS:
        return aside(family.sends, own)
    reasoning = thought(options, engine, model, family)
    is_reasoning = thinks(reasoning, family)
    options = taken(options, engine, model, family, is_reasoning, _KNOWN)
    dropped += (*reasoning.unsaid, *ignored(options, family, is_reasoning))
    dropped += unmet_caching(options, engine, bool(family.caching))
    wire: dict[str, Json] = {
        quirks.max_tokens_field: options.max_tokens,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "top_k": options.top_k,
        "stop": [*options.stop] or None,
        quirks.seed_field: options.seed,
        "presence_penalty": options.presence_penalty,
        "frequency_penalty": options.frequency_penalty,
        **_write_reasoning(reasoning, family.thinking),
        "verbosity": options.verbosity,
        "service_tier": options.service_tier,
        **_write_logprobs(options, engine),
        "parallel_tool_calls": options.parallel_tools,
        "tool_choice": _write_tool_choice(options.tool_choice, engine),
        "response_format": _write_format(options, engine, dropped),
    }
    written = {name: over(own.get(name), value) for name, value in wire.items() if value is not None}
    return {**aside(_extra_fields(options, engine, family), own), **written}


def _extra_fields(options: Options, engine: Engine, family: Family) -> dict[str, Json]:
    """Fields that are sent without an option of the same name."""
    fields = dict(family.sends)
    if options.caching:  # empty where caching is automatic
        fields |= family.caching
    if options.format is not None and options.format.schema is not None:
        fields |= engine.quirks.schema_fields
    return fields


def _write_reasoning(reasoning: Thought, support: Thinking | None) -> dict[str, Json]:
    if support is None or reasoning.wanted is None:
        return {}
    if reasoning.tokens is not None and support.budget:
        return {support.within: {"max_tokens": reasoning.tokens}}
    if reasoning.effort is not None:
        more = support.with_effort if reasoning.wanted else {}
        effort: Json = reasoning.effort
        return {**more, **({support.within: {"effort": effort}} if support.within else {"reasoning_effort": effort})}
    return dict(dict_of(support.on if reasoning.wanted else support.off))


def _write_logprobs(options: Options, engine: Engine) -> dict[str, Json]:
    enabled = options.logprobs if options.top_logprobs is None else True
    if not engine.quirks.logprobs_count:
        return {"logprobs": enabled, "top_logprobs": options.top_logprobs}
    # ``logprobs`` is a number here, and the sampled token is one of those counted.
    return {"logprobs": max(options.top_logprobs or 1, 1) if enabled else None}


def _write_tool_choice(choice: str | None, engine: Engine) -> Json:
    if choice is None or choice == "auto":
        return choice
    if choice == "none" and not engine.quirks.barred_tools:
        raise Unsupported(
            f"{engine.label} does not support tool_choice 'none'.", param="tool_choice", engine=engine.name
        )
    if choice != "none" and not engine.quirks.forced_tools:
        raise Unsupported(
            f"{engine.label} does not support forced tool calls.", param="tool_choice", engine=engine.name
        )
    if choice.startswith("tool:"):
        return {"type": "function", "function": {"name": choice[5:]}}
    return choice


def _write_format(options: Options, engine: Engine, dropped: list[str]) -> Json:
    format_ = options.format
    if format_ is None:
        return None
    if format_.schema is None:
        return {**opaque_for(format_.keep, NAME, engine.issuer), "type": "json_object"}
    if not engine.quirks.json_schema:
        raise Unsupported(f"{engine.label} does not support JSON schemas.", param="format", engine=engine.name)
    fitted, strict = enforced(format_.schema, format_.strict, format_.wire, "format", dropped)
    schema: dict[str, Json] = {"name": format_.name, "schema": fitted}
    if strict is not None:
        schema["strict"] = strict
    return {"type": "json_schema", "json_schema": {**opaque_for(format_.keep, NAME, engine.issuer), **schema}}
