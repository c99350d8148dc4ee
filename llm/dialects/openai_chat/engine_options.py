"""Writes generation options as request fields, by the engine's record and the model's profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llm.chat.provider_metadata import metadata_for_engine
from llm.chat.request import NO_OPTIONS, ChatRequest, Options, WebTool
from llm.dialects.openai_chat.shared import NAME
from llm.engines.engine import Engine, Quirks
from llm.engines.globs import matches
from llm.engines.options import (
    check_options,
    default_fields,
    ignored_options,
    merge_field,
    unmet_caching,
)
from llm.engines.profiles import ModelProfile, ReasoningSupport, find_profile
from llm.engines.reasoning import ReasoningRequest, resolve_reasoning, will_reason
from llm.errors import Unsupported
from llm.wire.json_codec import Json
from llm.wire.json_lenient import as_dict, as_list
from llm.wire.schema_subset import enforce_schema

_SEARCH_FIELD: Final = "web_search_options"
# The options that this wire has fields for.
_KNOWN: Final = frozenset({
    "max_tokens", "temperature", "top_p", "top_k", "stop", "seed", "presence_penalty", "frequency_penalty",
    "reasoning", "effort", "reasoning_tokens", "verbosity", "format", "tool_choice", "allowed_tools", "parallel_tools",
    "logprobs", "top_logprobs", "service_tier", "caching", "extra",
})  # fmt: skip


def write_options(
    request: ChatRequest, engine: Engine, client_fields: Mapping[str, Any], dropped: list[str]
) -> dict[str, Json]:
    """Writes the options; names of those without effect are appended to ``dropped``.

    ``client_fields`` are fields of this wire that a client sent. Raises ``Unsupported`` naming the option.
    """
    options, model, quirks = request.options, request.model, engine.quirks
    family = find_profile(model, engine.models.profiles)
    if options is NO_OPTIONS:
        return default_fields(family.default_fields, client_fields) if family.default_fields else {}
    reasoning = resolve_reasoning(options, engine, model, family, request.soft_options)
    is_reasoning = will_reason(reasoning, family)
    options = check_options(options, engine, model, family, is_reasoning, _KNOWN)
    dropped += (*reasoning.unsent_options, *ignored_options(options, family, is_reasoning))
    dropped += unmet_caching(options, engine, bool(family.caching_fields))
    wire: dict[str, Json] = {
        _choose_limit_field(quirks, model): options.max_tokens,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "top_k": options.top_k,
        "stop": [*options.stop] or None,
        quirks.seed_field: options.seed,
        "presence_penalty": options.presence_penalty,
        "frequency_penalty": options.frequency_penalty,
        **_write_reasoning(reasoning, family.reasoning),
        "verbosity": options.verbosity,
        "service_tier": _write_tier(options.service_tier, engine),
        **_write_logprobs(options, engine),
        "parallel_tool_calls": options.parallel_tools,
        "tool_choice": _write_tool_choice(options),
        "response_format": _write_format(options, engine, dropped),
    }
    written = {name: merge_field(client_fields.get(name), value) for name, value in wire.items() if value is not None}
    return {**default_fields(_extra_fields(options, engine, family), client_fields), **written}


def _choose_limit_field(quirks: Quirks, model: str) -> str:
    return "max_completion_tokens" if matches(model, quirks.refuses_max_tokens) else quirks.max_tokens_field


def _extra_fields(options: Options, engine: Engine, family: ModelProfile) -> dict[str, Json]:
    """Fields that are sent without an option of the same name."""
    fields = dict(family.default_fields)
    if options.caching:  # empty where caching is automatic
        fields |= family.caching_fields
    if options.format is not None and options.format.schema is not None:
        fields |= engine.quirks.json_schema_fields
    return fields


def _write_reasoning(reasoning: ReasoningRequest, support: ReasoningSupport | None) -> dict[str, Json]:
    if support is None or (reasoning.enabled is None and reasoning.effort is None):
        return {}
    if reasoning.budget_tokens is not None and support.accepts_budget:
        return {support.parent_field: {"max_tokens": reasoning.budget_tokens}}
    if reasoning.effort is not None:
        more = {} if reasoning.enabled is False else support.effort_fields
        effort: Json = reasoning.effort
        return {
            **more,
            **({support.parent_field: {"effort": effort}} if support.parent_field else {"reasoning_effort": effort}),
        }
    return dict(as_dict(support.enable_value if reasoning.enabled else support.disable_value))


def _write_tier(tier: str | None, engine: Engine) -> Json:
    tiers = engine.quirks.service_tiers
    if tier is None or tiers is None:
        return tier
    if tier not in tiers:
        problem = f"{engine.label} does not accept service_tier {tier[:40]!r}: it accepts {', '.join(tiers)}."
        raise Unsupported(problem, param="service_tier", engine=engine.name)
    return tiers[tier]


def _write_logprobs(options: Options, engine: Engine) -> dict[str, Json]:
    enabled = options.logprobs if options.top_logprobs is None else True
    if not engine.quirks.logprobs_is_number:
        return {"logprobs": enabled, "top_logprobs": options.top_logprobs}
    # ``logprobs`` is a number here, and the sampled token is one of those counted.
    return {"logprobs": max(options.top_logprobs or 1, 1) if enabled else None}


def _write_tool_choice(options: Options) -> Json:
    choice = options.tool_choice
    if options.allowed_tools:
        tools: list[Json] = [{"type": "function", "function": {"name": name}} for name in options.allowed_tools]
        return {"type": "allowed_tools", "allowed_tools": {"mode": choice or "auto", "tools": tools}}
    if choice is None:
        return None
    if choice.startswith("tool:"):
        return {"type": "function", "function": {"name": choice[5:]}}
    return choice


def _write_format(options: Options, engine: Engine, dropped: list[str]) -> Json:
    format_ = options.format
    if format_ is None:
        return None
    if format_.schema is None:
        return {**metadata_for_engine(format_.metadata, NAME, engine.issuer), "type": "json_object"}
    if not engine.quirks.json_schema:
        raise Unsupported(f"{engine.label} does not support JSON schemas.", param="format", engine=engine.name)
    fitted, strict = enforce_schema(format_.schema, format_.strict, format_.schema_dialect, "format", dropped)
    schema: dict[str, Json] = {"name": format_.name, "schema": fitted}
    if strict is not None:
        schema["strict"] = strict
    return {
        "type": "json_schema",
        "json_schema": {**metadata_for_engine(format_.metadata, NAME, engine.issuer), **schema},
    }


def write_web_tools(request: ChatRequest, engine: Engine) -> tuple[list[Json], dict[str, Json]]:
    """Writes the hosted tools for the web in the words of the host: entries of ``tools``, and fields of the body."""
    tools: list[Json] = []
    fields: dict[str, Json] = {}
    form = engine.web.find_form(request.model) if engine.web is not None else None
    for tool in request.tools:
        if tool.web is None:
            continue
        own = metadata_for_engine(tool.metadata, NAME, engine.issuer)
        if _SEARCH_FIELD in own:
            fields[_SEARCH_FIELD] = own[_SEARCH_FIELD]
        elif own:
            tools.append(dict(own))
        elif form == "openrouter":
            tools.append(_write_openrouter_tool(tool.web))
        elif form == "browser_search" and not tools:  # it visits pages too
            tools.append({"type": "browser_search"})
        elif form == "compound":
            names = [*as_list(as_dict(as_dict(fields.get("compound_custom")).get("tools")).get("enabled_tools"))]
            names.append("web_search" if tool.web.kind == "search" else "visit_website")
            fields["compound_custom"] = {"tools": {"enabled_tools": names}}
        elif form == _SEARCH_FIELD:
            fields[_SEARCH_FIELD] = _write_search_field(tool.web)
    return tools, fields


def _write_openrouter_tool(web: WebTool) -> Json:
    wire: dict[str, Json] = {"type": f"openrouter:web_{web.kind}"}
    parameters: dict[str, Json] = {}
    if web.allowed_domains:  # not both lists
        parameters["allowed_domains"] = [*web.allowed_domains]
    elif web.blocked_domains:
        parameters["excluded_domains" if web.kind == "search" else "blocked_domains"] = [*web.blocked_domains]
    if web.max_uses is not None:
        parameters["max_uses"] = web.max_uses
    if web.search_context_size:
        parameters["search_context_size"] = web.search_context_size
    if web.user_location:
        parameters["user_location"] = {"type": "approximate", **web.user_location}
    return {**wire, "parameters": parameters} if parameters else wire


def _write_search_field(web: WebTool) -> dict[str, Json]:
    wire: dict[str, Json] = {}
    if web.search_context_size:
        wire["search_context_size"] = web.search_context_size
    if web.user_location:
        wire["user_location"] = {"type": "approximate", "approximate": {**web.user_location}}
    return wire
