"""Reads the body of a client's ``POST /v1/responses`` as a ChatRequest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast, get_args

from llm.chat.freeform import Freeform
from llm.chat.messages import Message, Text
from llm.chat.provider_metadata import Metadata, ProviderMetadata, unknown_fields
from llm.chat.request import (
    ChatRequest,
    Effort,
    JsonFormat,
    Options,
    ToolSpec,
    WebTool,
    read_domains,
    read_location,
    soften_no_reasoning,
)
from llm.dialects.openai_responses.client_input import read_items
from llm.dialects.openai_responses.client_items import read_built_in_tool
from llm.dialects.openai_responses.shared import NAME, join_namespace, pack_instructions, pack_namespace
from llm.wire.json_codec import Json
from llm.wire.json_lenient import as_dict, as_text
from llm.wire.json_strict import Fields, invalid

_KNOWN_FIELDS: Final = (
    "model", "input", "instructions", "stream", "max_output_tokens", "temperature", "top_p", "top_k", "tools",
    "tool_choice", "parallel_tool_calls", "reasoning", "text", "service_tier", "top_logprobs", "include",
    "presence_penalty", "frequency_penalty",
)  # fmt: skip
# Fields that may be dropped: they do not change the answer, or (``store``) this server stores nothing anyway.
_DROPPABLE_FIELDS: Final = frozenset(
    {
        "cache_control", "client_metadata", "include", "max_tool_calls", "metadata", "moderation", "prompt_cache_key",
        "prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier", "store", "stream_options",
        "text", "truncation", "user",
    }
)  # fmt: skip
# Default values that some clients always send: with these the fields ask for nothing.
_DEFAULT_VALUES: Final[Mapping[str, object]] = {
    "truncation": "disabled", "background": False, "store": False, "metadata": {}, "client_metadata": {},
    "stream_options": {}, "prompt_cache_options": {},
}  # fmt: skip
# Names of options to the fields of this wire, where they differ.
_OPTION_NAMES: Final[Mapping[str, str]] = {
    "max_tokens": "max_output_tokens", "effort": "reasoning.effort", "verbosity": "text.verbosity",
    "format": "text.format", "parallel_tools": "parallel_tool_calls", "logprobs": "include",
}  # fmt: skip
_IN_PLACE_OF_INPUT: Final = ("previous_response_id", "conversation", "prompt")  # each may hold all of the input
_FILTERS: Final = ("allowed_domains", "blocked_domains", "excluded_domains")
_CHOICES: Final = ("auto", "none", "required")
_LOGPROBS: Final = "message.output_text.logprobs"


def read_request(body: Mapping[str, Any]) -> ChatRequest:
    """Reads a request body. Raises ``InvalidRequest`` with the JSON path of the invalid field in ``param``."""
    fields = Fields(body)
    input_items = body.get("input")
    if isinstance(input_items, str):
        input_items = [{"role": "user", "content": input_items}]
    if input_items is not None and not isinstance(input_items, list):
        raise invalid("input", "is not a string or a list of items")
    conversation = read_items(input_items or (), _read_tools)
    messages = conversation.messages
    wire_form = _read_wire_form(fields)
    if instructions := fields.read_text("instructions"):
        messages.insert(0, Message("system", (Text(instructions),)))
        wire_form = (*wire_form, *pack_instructions(instructions))
    present = {name: value for name, value in body.items() if value is not None}
    options = _update_options(_read_options(fields), conversation.updates)
    tools = _read_all_tools(fields, conversation.tools)
    if input_items is None and not any(body.get(name) for name in _IN_PLACE_OF_INPUT):
        raise invalid("input", "is required")
    return ChatRequest(
        model=fields.read_text("model") or "",
        messages=tuple(messages),
        tools=tools,
        options=options,
        stream=fields.read_flag("stream") or False,
        metadata=(*unknown_fields(present, _KNOWN_FIELDS, NAME, None), *wire_form),
        droppable_fields=_DROPPABLE_FIELDS,
        option_names=_OPTION_NAMES,
        default_fields=frozenset(name for name, value in _DEFAULT_VALUES.items() if body.get(name) == value),
        soft_options=soften_no_reasoning(options),
    )


def _read_all_tools(fields: Fields, added: Sequence[ToolSpec]) -> tuple[ToolSpec, ...]:
    """Reads ``tools`` and adds those of the items, but for a function that is already there."""
    tools = [
        tool for n, wire in enumerate(fields.read_list("tools") or ()) for tool in _read_tools(wire, f"tools[{n}]")
    ]
    known = {tool.name for tool in tools if tool.executor == "client"}
    return (*tools, *(tool for tool in added if tool.name not in known))


def _update_options(options: Options, updates: Mapping[str, Fields]) -> Options:
    """Applies the changes that items make to the effort and the format."""
    if reasoning := updates.get("reasoning"):
        options = replace(options, effort=_read_effort(reasoning))
    if text := updates.get("text"):
        options = replace(options, format=_read_format(text.read_object("format")))
    return options


def _read_wire_form(fields: Fields) -> Metadata:
    """Returns the parts of known fields that have no neutral option, for engines of this wire."""
    wire_form: dict[str, Json] = {}
    for name, known in (("reasoning", ("effort",)), ("text", ("format", "verbosity"))):
        inner = fields.read_object(name)
        if inner and (inner_fields := {n: v for n, v in inner.raw.items() if n not in known and v is not None}):
            wire_form[name] = inner_fields
    if include := [name for name in fields.read_list("include") or () if name != _LOGPROBS]:
        wire_form["include"] = include
    return (ProviderMetadata(NAME, None, wire_form),) if wire_form else ()


def _read_options(fields: Fields) -> Options:
    reasoning, text = fields.read_object("reasoning"), fields.read_object("text")
    return Options(
        max_tokens=fields.read_integer("max_output_tokens"),
        temperature=fields.read_number("temperature"),
        top_p=fields.read_number("top_p"),
        top_k=fields.read_integer("top_k"),
        presence_penalty=fields.read_number("presence_penalty"),
        frequency_penalty=fields.read_number("frequency_penalty"),
        effort=_read_effort(reasoning) if reasoning else None,
        verbosity=text.read_text("verbosity") if text else None,
        format=_read_format(text.read_object("format")) if text else None,
        tool_choice=_read_choice(fields),
        allowed_tools=_read_allowed_tools(fields),
        parallel_tools=fields.read_flag("parallel_tool_calls"),
        logprobs=True if _LOGPROBS in (fields.read_list("include") or ()) else None,
        top_logprobs=fields.read_integer("top_logprobs") or None,
        service_tier=fields.read_text("service_tier"),
    )


def _read_effort(reasoning: Fields) -> Effort | None:
    effort = reasoning.read_text("effort")
    if effort is not None and effort not in get_args(Effort):
        raise reasoning.invalid("effort", f"{effort[:40]!r} is not one of {', '.join(get_args(Effort))}")
    return cast("Effort | None", effort)


def _read_format(wire: Fields | None) -> JsonFormat | None:
    if wire is None or (kind := wire.read_text("type")) in (None, "text"):
        return None
    if kind == "json_object":
        return JsonFormat()
    if kind != "json_schema":
        raise wire.invalid("type", "is not one of text, json_object, json_schema")
    name, schema = wire.read_required_text("name"), wire.read_object("schema")
    if schema is None:
        raise wire.invalid("schema", "is required")
    return JsonFormat(
        schema=dict(schema.raw),
        name=name,
        strict=wire.read_flag("strict"),
        metadata=unknown_fields(wire.raw, ("type", "schema", "name", "strict"), NAME, None),
        schema_dialect=NAME,
    )


def _read_choice(fields: Fields) -> str | None:
    wire = fields.raw.get("tool_choice")
    if wire is None or (isinstance(wire, str) and wire in _CHOICES):
        return wire
    if isinstance(wire, dict):
        if wire.get("type") == "allowed_tools":
            return _read_mode(wire.get("mode")) if wire.get("tools") else "none"
        if wire.get("type") in ("function", "custom") and isinstance(wire.get("name"), str):
            return f"tool:{wire['name']}"
        if isinstance(wire.get("type"), str) and wire["type"] != "function":
            return f"tool:{wire['type']}"  # a hosted tool
    raise invalid("tool_choice", "is not one of auto, none, required, or an object that names a tool")


def _read_mode(wire: object) -> str:
    if wire is None:  # not required by Open Responses
        return "auto"
    if wire not in ("auto", "required"):
        raise invalid("tool_choice.mode", "is not one of auto, required")
    return str(wire)


def _read_allowed_tools(fields: Fields) -> tuple[str, ...]:
    """Returns the names of the only tools that may be called; for a hosted tool its type."""
    wire = fields.raw.get("tool_choice")
    if not isinstance(wire, dict) or wire.get("type") != "allowed_tools":
        return ()
    names = []
    for n, tool in enumerate(Fields(wire, "tool_choice").read_list("tools") or ()):
        if not isinstance(tool, dict):
            raise invalid(f"tool_choice.tools[{n}]", "is not an object")
        inner = Fields(tool, f"tool_choice.tools[{n}]")
        namespace, name = inner.read_text("namespace"), inner.read_text("name")
        name = name or inner.read_required_text("type")
        names.append(join_namespace(namespace, name) if namespace else name)
    return tuple(names)


def _read_tools(wire: object, path: str) -> Iterator[ToolSpec]:
    """Yields one tool, or the tools of a namespace; the first of them gets the namespace's description as prefix."""
    if not isinstance(wire, dict) or wire.get("type") != "namespace":
        yield _read_tool(wire, path)
        return
    fields = Fields(wire, path)
    namespace, prefix = fields.read_required_text("name"), fields.read_text("description")
    for n, inner in enumerate(fields.read_list("tools") or ()):
        tool = _read_tool(inner, f"{path}.tools[{n}]")
        if tool.executor == "provider":
            yield tool
            continue
        description = f"{namespace}: {prefix}\n\n{tool.description}" if prefix and n == 0 else tool.description
        metadata = (*tool.metadata, *pack_namespace(namespace, tool.name))
        name = join_namespace(namespace, tool.name)
        yield replace(tool, name=name, description=description, metadata=metadata, in_namespace=True)


def _read_tool(wire: object, path: str) -> ToolSpec:
    if not isinstance(wire, dict):
        raise invalid(path, "is not an object")
    fields = Fields(wire, path)
    kind = fields.read_required_text("type")
    present = {name: value for name, value in wire.items() if value is not None}
    if kind == "custom":
        return _read_custom_tool(fields, present)
    if (built_in := read_built_in_tool(kind, wire)) is not None:
        return built_in
    if kind != "function":
        web = _read_web_tool(kind, wire)
        return ToolSpec(kind, executor="provider", metadata=(ProviderMetadata(NAME, None, wire),), web=web)
    parameters = fields.read_object("parameters")
    return ToolSpec(
        name=fields.read_required_text("name"),
        description=fields.read_text("description") or "",
        parameters=dict(parameters.raw) if parameters else {},
        strict=fields.read_flag("strict"),
        metadata=unknown_fields(present, ("type", "name", "description", "parameters", "strict"), NAME, None),
        schema_dialect=NAME,
    )


def _read_web_tool(kind: str, wire: Mapping[str, Any]) -> WebTool | None:
    """Returns what a hosted web search does; None for any other tool."""
    if not kind.startswith("web_search"):
        return None
    filters, known = as_dict(wire.get("filters")), ("type", "filters", "user_location", "search_context_size")
    more = {
        **{n: v for n, v in wire.items() if n not in known},
        **{n: v for n, v in filters.items() if n not in _FILTERS},
    }
    return WebTool(
        kind="search",
        named=kind,
        allowed_domains=read_domains(filters.get("allowed_domains")),
        blocked_domains=read_domains(filters.get("blocked_domains") or filters.get("excluded_domains")),
        user_location=read_location(as_dict(wire.get("user_location"))),
        search_context_size=as_text(wire.get("search_context_size")) or None,
        others=tuple(name for name, value in more.items() if value not in (None, [], True)),
    )


def _read_custom_tool(fields: Fields, present: Mapping[str, Any]) -> ToolSpec:
    """Reads a tool whose input is text."""
    format_ = fields.read_object("format")
    freeform = Freeform(NAME)
    if format_:
        syntax = format_.read_text("syntax") or format_.read_text("type") or ""
        freeform = Freeform(NAME, syntax, format_.read_text("definition") or "")
    return ToolSpec(
        name=fields.read_required_text("name"),
        description=fields.read_text("description") or "",
        parameters=freeform.build_parameters(),
        metadata=unknown_fields(present, ("type", "name", "description", "format"), NAME, None),
        freeform=freeform,
    )
