"""Writes generation options as request fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from llm.chat.provider_metadata import metadata_for_engine
from llm.chat.request import ChatRequest, Options, ToolSpec, WebTool
from llm.dialects.openai_responses.shared import NAME
from llm.engines.capabilities import guess_capabilities
from llm.engines.engine import Engine
from llm.engines.options import (
    check_options,
    default_fields,
    ignored_options,
    unmet_caching,
)
from llm.engines.profiles import find_profile
from llm.engines.reasoning import ReasoningRequest, resolve_reasoning, will_reason
from llm.errors import Unsupported
from llm.wire.json_codec import Json
from llm.wire.json_lenient import as_dict, as_list
from llm.wire.schema_subset import enforce_schema

# The options that this wire has fields for.
_KNOWN_OPTIONS: Final = frozenset({
    "max_tokens", "temperature", "top_p", "reasoning", "effort", "reasoning_tokens", "verbosity", "format",
    "tool_choice", "allowed_tools", "parallel_tools", "logprobs", "top_logprobs", "service_tier", "caching", "extra",
})  # fmt: skip
# Values of ``include``.
ENCRYPTED_REASONING: Final = "reasoning.encrypted_content"
_LOGPROBS: Final = "message.output_text.logprobs"
_SOURCES: Final = "web_search_call.action.sources"
_WEB_SEARCH: Final = "web_search"


def write_options(
    request: ChatRequest, engine: Engine, client_fields: Mapping[str, Any], stateless: bool, dropped: list[str]
) -> dict[str, Json]:
    """Writes the options; appends ignored ones to ``dropped``. Raises ``Unsupported`` naming the option.

    ``client_fields`` are the unknown fields that a client of this wire sent.
    """
    family = find_profile(request.model, engine.models.profiles)
    reasoning = resolve_reasoning(request.options, engine, request.model, family, request.soft_options)
    thinking = will_reason(reasoning, family)
    options = check_options(request.options, engine, request.model, family, thinking, _KNOWN_OPTIONS)
    # Reasoning without an effort is not dropped: it is requested by its summary.
    dropped += (
        *(name for name in reasoning.unsent_options if name != "reasoning" or not reasoning.enabled),
        *ignored_options(options, family, thinking),
    )
    dropped += unmet_caching(options, engine, False)
    wire: dict[str, Json] = {
        "max_output_tokens": options.max_tokens,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "reasoning": _write_reasoning(reasoning, client_fields, request.tools),
        "text": _write_text(options, engine, client_fields, dropped),
        "service_tier": options.service_tier,
        "parallel_tool_calls": options.parallel_tools,
        "top_logprobs": options.top_logprobs,
        "tool_choice": _write_tool_choice(request, engine),
        "include": _write_include(request, options, engine, client_fields, stateless, bool(reasoning.enabled)),
    }
    if options.format is not None and options.format.schema is not None:
        wire |= default_fields(engine.quirks.json_schema_fields, client_fields)
    return {name: value for name, value in wire.items() if value is not None}


def _write_reasoning(request: ReasoningRequest, client_fields: Mapping[str, Any], tools: Sequence[ToolSpec]) -> Json:
    """Writes ``reasoning``. Without ``summary`` the response has no reasoning text."""
    wire: dict[str, Json] = {}
    if request.enabled:
        wire["summary"] = "auto"
    wire |= as_dict(client_fields.get("reasoning"))
    if request.enabled is False:
        wire["effort"] = "none"  # also where another API of the engine has a different value for it
    elif request.effort is not None:
        wire["effort"] = request.effort
        if request.enabled is None and request.effort == "minimal" and any(t.executor == "provider" for t in tools):
            wire["effort"] = "low"  # "tools cannot be used with reasoning.effort 'minimal': web_search"
    return wire or None


def _write_text(options: Options, engine: Engine, client_fields: Mapping[str, Any], dropped: list[str]) -> Json:
    wire: dict[str, Json] = dict(as_dict(client_fields.get("text")))
    if options.verbosity is not None:
        wire["verbosity"] = options.verbosity
    if (json_format := options.format) is not None:
        format_: dict[str, Json] = {**metadata_for_engine(json_format.metadata, NAME, engine.issuer)}
        if json_format.schema is None:
            format_["type"] = "json_object"
        elif not engine.quirks.json_schema:
            raise Unsupported(f"{engine.label} does not support JSON schemas.", param="format", engine=engine.name)
        else:
            schema, strict = enforce_schema(
                json_format.schema, json_format.strict, json_format.schema_dialect, "format", dropped
            )
            format_ |= {"type": "json_schema", "name": json_format.name, "schema": schema}
            if strict is not None:
                format_["strict"] = strict
        wire["format"] = format_
    return wire or None


def _write_tool_choice(request: ChatRequest, engine: Engine) -> Json:
    choice = request.options.tool_choice
    if request.options.allowed_tools:
        tools = [_name_tool(request, name, engine) for name in request.options.allowed_tools]
        return {"type": "allowed_tools", "mode": choice or "auto", "tools": [*tools]}
    if choice is None:
        return None
    return _name_tool(request, choice[5:], engine) if choice.startswith("tool:") else choice


def _name_tool(request: ChatRequest, name: str, engine: Engine) -> dict[str, Json]:
    hosted = next((tool for tool in request.tools if tool.name == name and tool.executor == "provider"), None)
    if hosted is not None:
        return {"type": metadata_for_engine(hosted.metadata, NAME, engine.issuer).get("type") or _WEB_SEARCH}
    freeform = next((tool.freeform for tool in request.tools if tool.name == name), None)
    is_text = freeform is not None and (engine.quirks.custom_tools or freeform.dialect == NAME)
    return {"type": "custom" if is_text else "function", "name": name}


def _write_include(
    request: ChatRequest,
    options: Options,
    engine: Engine,
    client_fields: Mapping[str, Any],
    stateless: bool,
    wants_reasoning: bool,
) -> Json:
    """Writes ``include``. A stateless request needs the reasoning in encrypted form.

    A model without reasoning answers 400 to that ("Encrypted content is not supported with this model",
    pydantic/pydantic-ai issue 2865), so it is left out where the engine's record lists the reasoning models.
    """
    rules = engine.models
    include = as_list(client_fields.get("include"))
    if stateless and (
        wants_reasoning or not rules.reasoning or "reasoning" in guess_capabilities(request.model, rules, ())
    ):
        include = [*include, ENCRYPTED_REASONING]
    if engine.web is not None and engine.web.lists_sources and any(map(_is_of_another_wire, request.tools)):
        include = [*include, _SOURCES]
    if options.logprobs or options.top_logprobs is not None:
        include = [*include, _LOGPROBS]
    return [*dict.fromkeys(name for name in include if isinstance(name, str))] or None


def _is_of_another_wire(tool: ToolSpec) -> bool:
    """True for a hosted web search that a client of another wire has asked for."""
    return tool.web is not None and not any(opaque.dialect == NAME for opaque in tool.metadata)


def write_web_tool(web: WebTool, engine: Engine) -> dict[str, Json]:
    """Writes the hosted web search, which opens pages too."""
    wire: dict[str, Json] = {"type": _WEB_SEARCH}
    filters: dict[str, Json] = {}
    if web.allowed_domains:
        filters["allowed_domains"] = [*web.allowed_domains]
    elif web.blocked_domains and engine.web is not None:
        filters[engine.web.blocked_domains] = [*web.blocked_domains]
    if filters:
        wire["filters"] = filters
    if web.user_location:
        wire["user_location"] = {"type": "approximate", **web.user_location}
    if web.search_context_size:
        wire["search_context_size"] = web.search_context_size
    return wire
