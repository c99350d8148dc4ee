"""Reads the body of ``POST /v1/chat/completions`` as a ChatRequest."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, get_args

from llm.chat.freeform import Freeform
from llm.chat.provider_metadata import Metadata, ProviderMetadata, unknown_fields
from llm.chat.request import (
    NO_OPTIONS,
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
from llm.dialects.openai_chat.client_messages import read_messages
from llm.dialects.openai_chat.shared import NAME
from llm.wire.json_lenient import as_count, as_dict, as_text
from llm.wire.json_strict import raise_invalid, read_list, read_number, read_text, read_typed

# Fields that do not change the answer: other engines may drop them.
DROPPABLE_FIELDS: Final = frozenset({
    "cache_control", "user", "metadata", "store", "prompt_cache_key", "prompt_cache_retention", "safety_identifier",
    "stream_options", "prediction", "prompt_cache_options", "provider", "transforms", "usage",
})  # fmt: skip

_OPTIONS: Final = frozenset({
    "tool_choice", "function_call", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "stop",
    "seed", "presence_penalty", "frequency_penalty", "reasoning_effort", "verbosity", "service_tier", "logprobs",
    "top_logprobs", "parallel_tool_calls", "response_format",
})  # fmt: skip
# Top-level fields that are read here; others are kept as provider metadata.
_KNOWN: Final = _OPTIONS | {"model", "messages", "tools", "functions", "stream"}
_KNOWN_WITH_USAGE: Final = _KNOWN | {"stream_options"}
_USAGE_FIELDS: Final = frozenset({"include_usage"})
# Default values of fields that some clients always send: with these they ask for nothing.
_DEFAULTS: Final[Mapping[str, object]] = {
    "n": 1, "modalities": ["text"], "store": False, "logit_bias": {}, "metadata": {}, "stream_options": {},
    "prompt_cache_options": {}, "reasoning": {}, "provider": {}, "extra_body": {},
}  # fmt: skip
_DEFAULT_FIELDS: Final = frozenset(_DEFAULTS)
_NO_FIELDS: Final[frozenset[str]] = frozenset()
_SEARCH: Final = "web_search_options"
_GOOGLE_SEARCH: Final = ("google_search", "googleSearch", "google_search_retrieval")
_SEARCH_TOOLS: Final = (
    "web_search", "browser_search", "openrouter:web_search", "openrouter:web_fetch", *_GOOGLE_SEARCH,
)  # fmt: skip
_SETTINGS: Final = frozenset({
    "type", "parameters", "filters", "user_location", "allowed_domains", "blocked_domains", "excluded_domains",
    "max_uses", "search_context_size", *_GOOGLE_SEARCH,
})  # fmt: skip
_OTHER_EFFORTS: Final = ("default", "ultra")  # Groq, DeepSeek
# Names of options to the fields of this wire, where they differ.
_OPTION_NAMES: Final[Mapping[str, str]] = {
    "effort": "reasoning_effort", "format": "response_format", "parallel_tools": "parallel_tool_calls",
}  # fmt: skip
_CHOICE_OBJECTS: Final = ("function", "custom", "allowed_tools")
_CHOICES: Final[Mapping[str, str]] = {"auto": "auto", "none": "none", "required": "required", "any": "required"}


def read_request(body: Mapping[str, Any]) -> ChatRequest:
    """Reads a request body. Raises ``InvalidRequest`` with the field's path."""
    messages = read_messages(read_list(body, "messages"))
    stream = read_typed(body, "stream", bool) or False
    stream_options = read_typed(body, "stream_options", dict) or {}
    tools: list[ToolSpec] = []
    if "tools" in body:
        tools += [_read_tool(wire, f"tools[{n}]") for n, wire in enumerate(read_list(body, "tools"))]
    if "functions" in body:
        tools += [_read_function(wire, f"functions[{n}]", ()) for n, wire in enumerate(read_list(body, "functions"))]
    if isinstance(body.get(_SEARCH), dict):
        tools.append(_read_search(body[_SEARCH], _SEARCH))
    known = _KNOWN_WITH_USAGE if stream_options.keys() <= _USAGE_FIELDS else _KNOWN
    known = known | {_SEARCH} if isinstance(body.get(_SEARCH), dict) else known
    model, defaults = read_text(body, "model", ""), _NO_FIELDS
    options, soft_options, option_names = NO_OPTIONS, _NO_FIELDS, _OPTION_NAMES
    if not _OPTIONS.isdisjoint(body):
        options = _read_options(body)
        soft_options, option_names = soften_no_reasoning(options), _name_options(body)
        known -= _find_host_fields(body)
    if sent := _DEFAULT_FIELDS.intersection(body):
        defaults = frozenset([name for name in sent if body[name] == _DEFAULTS[name]])
    return ChatRequest(
        model=model,
        messages=tuple(messages),
        tools=tuple(tools),
        options=options,
        stream=stream,
        show_usage=bool(stream_options.get("include_usage")) if stream else True,
        metadata=() if body.keys() <= known else _read_unknown_fields(body, known),
        droppable_fields=DROPPABLE_FIELDS,
        default_fields=defaults,
        soft_options=soft_options,
        option_names=option_names,
    )


def _read_unknown_fields(body: Mapping[str, Any], known: Collection[str]) -> Metadata:
    return unknown_fields({name: value for name, value in body.items() if value is not None}, known, NAME, None)


def _find_host_fields(body: Mapping[str, Any]) -> set[str]:
    """Known fields with a value that only some hosts define: they are passed to the engine as metadata."""
    fields = set()
    if body.get("reasoning_effort") in _OTHER_EFFORTS:
        fields.add("reasoning_effort")
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type", "function") not in (*_CHOICE_OBJECTS, *_CHOICES):
        fields.add("tool_choice")
    return fields


def _name_options(body: Mapping[str, Any]) -> Mapping[str, str]:
    """Returns the names of the client's fields; for two of them there is an older name."""
    if body.get("max_completion_tokens") is None and body.get("function_call") is None:
        return _OPTION_NAMES
    names = dict(_OPTION_NAMES)
    if body.get("max_completion_tokens") is not None:
        names["max_tokens"] = "max_completion_tokens"
    if body.get("tool_choice") is None and body.get("function_call") is not None:
        names["tool_choice"] = "function_call"
    return names


def _read_options(body: Mapping[str, Any]) -> Options:
    stop = body.get("stop")
    stop = [stop] if isinstance(stop, str) and stop else stop or ()
    if not isinstance(stop, list | tuple) or not all(isinstance(one, str) for one in stop):
        raise_invalid("stop", "must be text or a list of texts")
    effort = None if body.get("reasoning_effort") in _OTHER_EFFORTS else read_typed(body, "reasoning_effort", str)
    if effort is not None and effort not in get_args(Effort):
        raise_invalid("reasoning_effort", f"{effort[:40]!r} is not one of {', '.join(get_args(Effort))}")
    max_tokens = read_typed(body, "max_completion_tokens", int)
    return Options(
        max_tokens=max_tokens if max_tokens is not None else read_typed(body, "max_tokens", int),
        temperature=read_number(body, "temperature"),
        top_p=read_number(body, "top_p"),
        top_k=read_typed(body, "top_k", int),
        stop=tuple(stop),
        seed=read_typed(body, "seed", int),
        presence_penalty=read_number(body, "presence_penalty"),
        frequency_penalty=read_number(body, "frequency_penalty"),
        effort=effort,
        verbosity=read_typed(body, "verbosity", str),
        format=_read_format(body),
        tool_choice=_read_tool_choice(body),
        allowed_tools=_read_allowed_tools(body),
        parallel_tools=read_typed(body, "parallel_tool_calls", bool),
        logprobs=read_typed(body, "logprobs", bool),
        top_logprobs=read_typed(body, "top_logprobs", int) or None,
        service_tier=read_typed(body, "service_tier", str),
    )


def _read_format(body: Mapping[str, Any]) -> JsonFormat | None:
    wire = read_typed(body, "response_format", dict)
    if wire is None or wire.get("type") == "text":
        return None
    if wire.get("type") == "json_object":
        schema = read_typed(wire, "schema", dict, "response_format.")  # Together, llama.cpp
        return JsonFormat(schema, metadata=unknown_fields(wire, ("type", "schema"), NAME, None), schema_dialect=NAME)
    if wire.get("type") != "json_schema":
        raise_invalid("response_format.type", "is not one of text, json_object, json_schema")
    inner = read_typed(wire, "json_schema", dict, "response_format.")
    if inner is None:
        raise_invalid("response_format.json_schema", "is required")
    place = "response_format.json_schema."
    return JsonFormat(
        schema=read_typed(inner, "schema", dict, place) or {},
        name=read_text(inner, "name", place),
        strict=read_typed(inner, "strict", bool, place),
        metadata=unknown_fields(inner, ("schema", "name", "strict"), NAME, None),
        schema_dialect=NAME,
    )


def _read_tool_choice(body: Mapping[str, Any]) -> str | None:
    for field in ("tool_choice", "function_call"):
        wire = body.get(field)
        if wire is None or (field == "tool_choice" and field in _find_host_fields(body)):
            continue
        choice = wire.get("type") if isinstance(wire, dict) else wire
        if isinstance(choice, str) and choice in _CHOICES:
            return _CHOICES[choice]
        if choice == "allowed_tools":
            return _read_allowed_mode(wire)
        if isinstance(wire, dict):
            kind = "custom" if wire.get("type") == "custom" else "function"
            named = wire.get(kind) if field == "tool_choice" else wire
            if isinstance(named, dict) and isinstance(named.get("name"), str):
                return f"tool:{named['name']}"
        raise_invalid(field, "must be auto, none, required, or an object with a function's name")
    return None


def _read_allowed_mode(wire: Mapping[str, Any]) -> str:
    """Returns the mode of ``allowed_tools``; "none" if no tool is allowed."""
    inner = read_typed(wire, "allowed_tools", dict, "tool_choice.") or {}
    mode = inner.get("mode")
    if mode not in ("auto", "required"):
        raise_invalid("tool_choice.allowed_tools.mode", "is not one of auto, required")
    return str(mode) if inner.get("tools") else "none"


def _read_allowed_tools(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the names of the only tools that may be called."""
    choice = body.get("tool_choice")
    if not isinstance(choice, dict) or choice.get("type") != "allowed_tools":
        return ()
    inner = read_typed(choice, "allowed_tools", dict, "tool_choice.") or {}
    names = []
    for n, tool in enumerate(read_typed(inner, "tools", list, "tool_choice.allowed_tools.") or ()):
        place = f"tool_choice.allowed_tools.tools[{n}]"
        kind = tool.get("type", "function") if isinstance(tool, dict) else None
        named = tool.get(kind) if isinstance(kind, str) else None
        if not isinstance(named, dict):
            raise_invalid(place, "must be an object with the name of a tool")
        names.append(read_text(named, "name", f"{place}.{kind}."))
    return tuple(names)


def _read_tool(wire: Any, place: str) -> ToolSpec:
    if not isinstance(wire, dict):
        raise_invalid(place, "must be an object")
    if wire.get("type") == "custom":
        return _read_custom_tool(wire, place)
    kind = wire.get("type") or next((name for name in _GOOGLE_SEARCH if name in wire), "")
    if isinstance(kind, str) and (kind in _SEARCH_TOOLS or kind.startswith("web_search_")):
        return _read_search(wire, kind)
    if wire.get("type", "function") != "function":
        name = wire.get("type")
        return ToolSpec(
            name if isinstance(name, str) else "tool",
            executor="provider",
            metadata=(ProviderMetadata(NAME, None, wire),),
        )
    inner = read_typed(wire, "function", dict, f"{place}.")
    if inner is None:
        raise_invalid(f"{place}.function", "is required")
    return _read_function(inner, f"{place}.function", unknown_fields(wire, ("type", "function"), NAME, None))


def _read_search(wire: Mapping[str, Any], named: str) -> ToolSpec:
    """Reads a hosted web search: ``web_search_options``, or a tool in the words of one of the hosts."""
    settings = {**wire, **as_dict(wire.get("parameters")), **as_dict(wire.get("filters"))}
    place = as_dict(settings.get("user_location"))
    web = WebTool(
        kind="fetch" if named.endswith("web_fetch") else "search",
        named=named,
        allowed_domains=read_domains(settings.get("allowed_domains")),
        blocked_domains=read_domains(settings.get("excluded_domains") or settings.get("blocked_domains")),
        user_location=read_location({**place, **as_dict(place.get("approximate"))}),
        max_uses=as_count(settings.get("max_uses")),
        search_context_size=as_text(settings.get("search_context_size")) or None,
        others=tuple(name for name, value in settings.items() if name not in _SETTINGS and value not in (None, {})),
    )
    own: Mapping[str, Any] = {_SEARCH: dict(wire)} if named == _SEARCH else wire
    return ToolSpec(f"web_{web.kind}", executor="provider", metadata=(ProviderMetadata(NAME, None, own),), web=web)


def _read_custom_tool(wire: Mapping[str, Any], place: str) -> ToolSpec:
    """Reads a tool whose input is text."""
    inner = read_typed(wire, "custom", dict, f"{place}.")
    if inner is None:
        raise_invalid(f"{place}.custom", "is required")
    place = f"{place}.custom."
    format_ = read_typed(inner, "format", dict, place) or {}
    grammar = read_typed(format_, "grammar", dict, f"{place}format.") or {}
    kind = read_typed(format_, "type", str, f"{place}format.") or ""
    freeform = Freeform(
        NAME,
        read_typed(grammar, "syntax", str, f"{place}format.grammar.") or kind,
        read_typed(grammar, "definition", str, f"{place}format.grammar.") or "",
    )
    more = {n: v for n, v in inner.items() if n not in ("name", "description", "format") and v is not None}
    return ToolSpec(
        name=read_text(inner, "name", place),
        description=read_typed(inner, "description", str, place) or "",
        parameters=freeform.build_parameters(),
        metadata=unknown_fields({**wire, "custom": more}, ("type",) if more else ("type", "custom"), NAME, None),
        freeform=freeform,
    )


def _read_function(wire: Any, place: str, metadata: Metadata) -> ToolSpec:
    if not isinstance(wire, dict):
        raise_invalid(place, "must be an object")
    more = {n: v for n, v in wire.items() if n not in ("name", "description", "parameters", "strict")}
    more = {name: value for name, value in more.items() if value is not None}
    return ToolSpec(
        name=read_text(wire, "name", f"{place}."),
        description=read_typed(wire, "description", str, f"{place}.") or "",
        parameters=read_typed(wire, "parameters", dict, f"{place}.") or {},
        strict=read_typed(wire, "strict", bool, f"{place}."),
        metadata=(*metadata, ProviderMetadata(NAME, None, {"function": more})) if more else metadata,
        schema_dialect=NAME,
    )
