"""Generation options as fields of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llm.chat.provider_metadata import opaque_for
from llm.chat.request import ChatRequest, Options
from llm.dialects.openai_responses.shared import NAME
from llm.engines.capabilities import guessed_abilities
from llm.engines.engine import Engine
from llm.engines.options import Thought, aside, ignored, taken, thinks, thought, unmet_caching
from llm.engines.profiles import family_of
from llm.errors import Unsupported
from llm.wire.json_codec import Json
from llm.wire.json_lenient import dict_of, list_of
from llm.wire.schema_subset import enforced

# The options that this wire has fields for.
_KNOWN: Final = frozenset({
    "max_tokens", "temperature", "top_p", "reasoning", "effort", "reasoning_tokens", "verbosity", "format",
    "tool_choice", "parallel_tools", "logprobs", "top_logprobs", "service_tier", "caching", "extra",
})  # fmt: skip
ENCRYPTED: Final = "reasoning.encrypted_content"
_LOGPROBS: Final = "message.output_text.logprobs"


def write_options(
    request: ChatRequest, engine: Engine, own: Mapping[str, Any], stateless: bool, dropped: list[str]
) -> dict[str, Json]:
    """``own`` are the fields that a client of this wire sent. Raises ``Unsupported`` naming the option."""
    family = family_of(request.model, engine.models.families)
    wanted = thought(request.options, engine, request.model, family)
    thinking = thinks(wanted, family)
    options = taken(request.options, engine, request.model, family, thinking, _KNOWN)
    # To think, without saying how much, is said by asking for a summary of it.
    dropped += (*(name for name in wanted.unsaid if name != "reasoning"), *ignored(options, family, thinking))
    dropped += unmet_caching(options, engine, False)
    wire: dict[str, Json] = {
        "max_output_tokens": options.max_tokens,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "reasoning": _write_reasoning(wanted, own),
        "text": _write_text(options, engine, own, dropped),
        "service_tier": options.service_tier,
        "parallel_tool_calls": options.parallel_tools,
        "top_logprobs": options.top_logprobs,
        "tool_choice": _write_tool_choice(request, engine),
        "include": _include(request, options, engine, own, stateless, bool(wanted.wanted)),
    }
    if options.format is not None and options.format.schema is not None:
        wire |= aside(engine.quirks.schema_fields, own)
    return {name: value for name, value in wire.items() if value is not None}


def _write_reasoning(wanted: Thought, own: Mapping[str, Any]) -> Json:
    """Without ``summary`` nothing of what was thought is shown."""
    wire: dict[str, Json] = {}
    if wanted.wanted:
        wire["summary"] = "auto"
    wire |= dict_of(own.get("reasoning"))
    if wanted.wanted is False:
        wire["effort"] = "none"  # whatever says so in another API of the engine
    elif wanted.effort is not None:
        wire["effort"] = wanted.effort
    return wire or None


def _write_text(options: Options, engine: Engine, own: Mapping[str, Any], dropped: list[str]) -> Json:
    wire: dict[str, Json] = dict(dict_of(own.get("text")))
    if options.verbosity is not None:
        wire["verbosity"] = options.verbosity
    if (asked := options.format) is not None:
        format_: dict[str, Json] = {**opaque_for(asked.keep, NAME, engine.issuer)}
        if asked.schema is None:
            format_["type"] = "json_object"
        elif not engine.quirks.json_schema:
            raise Unsupported(f"{engine.label} does not keep to a schema.", param="format", engine=engine.name)
        else:
            schema, strict = enforced(asked.schema, asked.strict, asked.wire, "format", dropped)
            format_ |= {"type": "json_schema", "name": asked.name, "schema": schema}
            if strict is not None:
                format_["strict"] = strict
        wire["format"] = format_
    return wire or None


def _write_tool_choice(request: ChatRequest, engine: Engine) -> Json:
    choice = request.options.tool_choice
    if choice is None or choice == "auto":
        return choice
    if choice == "none" and not engine.quirks.barred_tools:
        raise Unsupported(f"{engine.label} cannot be kept from its tools.", param="tool_choice", engine=engine.name)
    if choice != "none" and not engine.quirks.forced_tools:
        raise Unsupported(f"{engine.label} cannot be made to call a tool.", param="tool_choice", engine=engine.name)
    kind, _, name = choice.partition(":")
    if kind != "tool":
        return choice
    hosted = next((tool for tool in request.tools if tool.name == name and tool.executor == "provider"), None)
    if hosted is None:
        return {"type": "function", "name": name}
    type = opaque_for(hosted.keep, NAME, engine.issuer).get("type")
    return {"type": "custom", "name": name} if type == "custom" else {"type": type}


def _include(
    request: ChatRequest, options: Options, engine: Engine, own: Mapping[str, Any], stateless: bool, wanted: bool
) -> Json:
    """Reasoning that is stored nowhere has to come along, encrypted.

    A model that does not reason answers 400 to that ("Encrypted content is not supported with this model",
    pydantic/pydantic-ai issue 2865), so where the record tells which ones do, the others are not asked.
    """
    rules = engine.models
    include = list_of(own.get("include"))
    if stateless and (wanted or not rules.reasoning or "reasoning" in guessed_abilities(request.model, rules, ())):
        include = [*include, ENCRYPTED]
    if options.logprobs or options.top_logprobs is not None:
        include = [*include, _LOGPROBS]
    return [*dict.fromkeys(name for name in include if isinstance(name, str))] or None
