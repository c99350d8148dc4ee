"""Reads the body of ``POST /v1/chat/completions`` as a ChatRequest."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NoReturn, get_args

from llm.chat.messages import Media, Message, Part, Reasoning, Text, ToolCall, ToolResult, UnknownPart
from llm.chat.provider_metadata import Metadata, ProviderMetadata, decode_metadata, unknown_fields
from llm.chat.request import NO_OPTIONS, ChatRequest, Effort, JsonFormat, Options, ToolSpec
from llm.dialects.openai_chat.shared import AUDIO_MIME_TYPES, ENCRYPTED_DETAIL, NAME, REASONING_FIELDS, SEALED_TEXT
from llm.errors import InvalidRequest

# Fields that do not change the answer: other engines may drop them.
DROPPABLE_FIELDS: Final = frozenset({
    "user", "metadata", "store", "prompt_cache_key", "prompt_cache_retention", "safety_identifier",
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
_MESSAGE_FIELDS: Final = frozenset({"role", "content"})
_ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")
# Default values of fields that some clients always send: with these they may be dropped.
_DEFAULTS: Final[Mapping[str, object]] = {"n": 1, "modalities": ["text"], "logit_bias": {}}
_DEFAULT_FIELDS: Final = frozenset(_DEFAULTS)
_OTHER_EFFORTS: Final = ("default", "ultra")  # Groq, DeepSeek
_CHOICES: Final[Mapping[str, str]] = {"auto": "auto", "none": "none", "required": "required", "any": "required"}


def read_request(body: Mapping[str, Any]) -> ChatRequest:
    """Reads a request body. Raises ``InvalidRequest`` with the field's path."""
    messages = _read_messages(_list(body, "messages"))
    stream = _typed(body, "stream", bool) or False
    stream_options = _typed(body, "stream_options", dict) or {}
    tools: list[ToolSpec] = []
    if "tools" in body:
        tools += [_read_tool(wire, f"tools[{n}]") for n, wire in enumerate(_list(body, "tools"))]
    if "functions" in body:
        tools += [_read_function(wire, f"functions[{n}]", ()) for n, wire in enumerate(_list(body, "functions"))]
    known = _KNOWN_WITH_USAGE if stream_options.keys() <= _USAGE_FIELDS else _KNOWN
    model, options, droppable = _text(body, "model", ""), NO_OPTIONS, DROPPABLE_FIELDS
    if not _OPTIONS.isdisjoint(body):
        options = _read_options(body)
        known -= _find_host_fields(body)
    if not _DEFAULT_FIELDS.isdisjoint(body):
        droppable = DROPPABLE_FIELDS.union(name for name, value in _DEFAULTS.items() if body.get(name) == value)
    return ChatRequest(
        model=model,
        messages=tuple(messages),
        tools=tuple(tools),
        options=options,
        stream=stream,
        show_usage=bool(stream_options.get("include_usage")) if stream else True,
        metadata=() if body.keys() <= known else _read_unknown_fields(body, known),
        droppable_fields=droppable,
    )


def _read_unknown_fields(body: Mapping[str, Any], known: Collection[str]) -> Metadata:
    return unknown_fields({name: value for name, value in body.items() if value is not None}, known, NAME, None)


def _find_host_fields(body: Mapping[str, Any]) -> set[str]:
    """Known fields with a value that only some hosts define: they are passed to the engine as metadata."""
    fields = set()
    if body.get("reasoning_effort") in _OTHER_EFFORTS:
        fields.add("reasoning_effort")
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type", "function") not in ("function", *_CHOICES):
        fields.add("tool_choice")  # a choice among some tools, or a custom tool
    return fields


def _raise_invalid(place: str, reason: str) -> NoReturn:
    raise InvalidRequest(f"{place}: {reason}", param=place)


def _list(wire: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = wire.get(name)
    if value is None:
        return ()
    if not isinstance(value, list):
        _raise_invalid(name, "must be a list")
    return value


def _typed(wire: Mapping[str, Any], name: str, kind: type, place: str = "") -> Any:
    value = wire.get(name)
    if value is None:
        return None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        names = {str: "text", bool: "a boolean", int: "a whole number", dict: "an object", list: "a list"}
        _raise_invalid(f"{place}{name}", f"must be {names.get(kind, 'a number')}")
    return value


def _number(wire: Mapping[str, Any], name: str) -> float | None:
    value = wire.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        _raise_invalid(name, "must be a number")
    return value


def _text(wire: Mapping[str, Any], name: str, place: str) -> str:
    value = _typed(wire, name, str, place)
    if value is None:
        _raise_invalid(f"{place}{name}", "is required")
    return str(value)


def _read_options(body: Mapping[str, Any]) -> Options:
    stop = body.get("stop")
    stop = [stop] if isinstance(stop, str) else stop or ()
    if not isinstance(stop, list | tuple) or not all(isinstance(one, str) for one in stop):
        _raise_invalid("stop", "must be text or a list of texts")
    effort = None if body.get("reasoning_effort") in _OTHER_EFFORTS else _typed(body, "reasoning_effort", str)
    if effort is not None and effort not in get_args(Effort):
        _raise_invalid("reasoning_effort", f"{effort[:40]!r} is not one of {', '.join(get_args(Effort))}")
    max_tokens = _typed(body, "max_completion_tokens", int)
    return Options(
        max_tokens=max_tokens if max_tokens is not None else _typed(body, "max_tokens", int),
        temperature=_number(body, "temperature"),
        top_p=_number(body, "top_p"),
        top_k=_typed(body, "top_k", int),
        stop=tuple(stop),
        seed=_typed(body, "seed", int),
        presence_penalty=_number(body, "presence_penalty"),
        frequency_penalty=_number(body, "frequency_penalty"),
        effort=effort,
        verbosity=_typed(body, "verbosity", str),
        format=_read_format(body),
        tool_choice=_read_tool_choice(body),
        parallel_tools=_typed(body, "parallel_tool_calls", bool),
        logprobs=_typed(body, "logprobs", bool),
        top_logprobs=_typed(body, "top_logprobs", int),
        service_tier=_typed(body, "service_tier", str),
    )


def _read_format(body: Mapping[str, Any]) -> JsonFormat | None:
    wire = _typed(body, "response_format", dict)
    if wire is None or wire.get("type") == "text":
        return None
    if wire.get("type") == "json_object":
        schema = _typed(wire, "schema", dict, "response_format.")  # Together, llama.cpp
        return JsonFormat(schema, metadata=unknown_fields(wire, ("type", "schema"), NAME, None), schema_dialect=NAME)
    if wire.get("type") != "json_schema":
        _raise_invalid("response_format.type", "is not one of text, json_object, json_schema")
    inner = _typed(wire, "json_schema", dict, "response_format.")
    if inner is None:
        _raise_invalid("response_format.json_schema", "is required")
    place = "response_format.json_schema."
    return JsonFormat(
        schema=_typed(inner, "schema", dict, place) or {},
        name=_text(inner, "name", place),
        strict=_typed(inner, "strict", bool, place),
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
        if isinstance(wire, dict):
            named = wire.get("function") if field == "tool_choice" else wire
            if isinstance(named, dict) and isinstance(named.get("name"), str):
                return f"tool:{named['name']}"
        _raise_invalid(field, "must be auto, none, required, or an object with a function's name")
    return None


def _read_tool(wire: Any, place: str) -> ToolSpec:
    if not isinstance(wire, dict):
        _raise_invalid(place, "must be an object")
    if wire.get("type", "function") != "function":
        name = wire.get("type")
        return ToolSpec(
            name if isinstance(name, str) else "tool",
            executor="provider",
            metadata=(ProviderMetadata(NAME, None, wire),),
        )
    inner = _typed(wire, "function", dict, f"{place}.")
    if inner is None:
        _raise_invalid(f"{place}.function", "is required")
    return _read_function(inner, f"{place}.function", unknown_fields(wire, ("type", "function"), NAME, None))


def _read_function(wire: Any, place: str, metadata: Metadata) -> ToolSpec:
    if not isinstance(wire, dict):
        _raise_invalid(place, "must be an object")
    more = {n: v for n, v in wire.items() if n not in ("name", "description", "parameters", "strict")}
    more = {name: value for name, value in more.items() if value is not None}
    return ToolSpec(
        name=_text(wire, "name", f"{place}."),
        description=_typed(wire, "description", str, f"{place}.") or "",
        parameters=_typed(wire, "parameters", dict, f"{place}.") or {},
        strict=_typed(wire, "strict", bool, f"{place}."),
        metadata=(*metadata, ProviderMetadata(NAME, None, {"function": more})) if more else metadata,
        schema_dialect=NAME,
    )


def _read_messages(wires: Sequence[Any]) -> list[Message]:
    messages: list[Message] = []
    functions: dict[str, str] = {}  # function name to id of its last call, for the older form without ids
    after_result = False
    for n, wire in enumerate(wires):
        place = f"messages[{n}]"
        if not isinstance(wire, dict):
            _raise_invalid(place, "must be an object")
        role = wire.get("role")
        if role not in _ROLES:
            _raise_invalid(f"{place}.role", f"{str(role)[:40]!r} is not one of {', '.join(_ROLES)}")
        if role in ("tool", "function"):
            result = _read_result(wire, place, functions)
            if after_result:  # results of one round are one message
                messages[-1] = Message("user", (*messages[-1].parts, result))
            else:
                messages.append(Message("user", (result,)))
            after_result = True
            continue
        after_result = False
        if role == "assistant":
            message = _read_assistant(wire, place, n, functions)
        else:
            parts = _read_content(wire.get("content"), f"{place}.content")
            metadata = () if wire.keys() <= _MESSAGE_FIELDS else unknown_fields(wire, _MESSAGE_FIELDS, NAME, None)
            if role == "developer":
                metadata = (*metadata, ProviderMetadata(NAME, None, {"role": "developer"}))
            message = Message("user" if role == "user" else "system", parts, metadata)
        messages.append(message)
    return messages


def _read_result(wire: Mapping[str, Any], place: str, functions: Mapping[str, str]) -> ToolResult:
    content = _read_content(wire.get("content"), f"{place}.content")
    parts = tuple(part for part in content if isinstance(part, Text | Media | UnknownPart))
    name = _typed(wire, "name", str, f"{place}.")
    metadata = unknown_fields(wire, ("role", "content", "tool_call_id", "name"), NAME, None)
    if wire["role"] == "function":
        called = _text(wire, "name", f"{place}.")
        return ToolResult(functions.get(called, f"call_{called}"), parts, metadata=metadata)
    return ToolResult(_text(wire, "tool_call_id", f"{place}."), parts, name=name or None, metadata=metadata)


def _read_assistant(wire: Mapping[str, Any], place: str, number: int, functions: dict[str, str]) -> Message:
    parts: list[Part] = []
    known = ["role", "content", "refusal", "tool_calls", "function_call", *REASONING_FIELDS]
    details = wire.get("reasoning_details")
    if isinstance(details, list):
        known.append("reasoning_details")
    else:
        details = None
    reasoning = next((wire[name] for name in REASONING_FIELDS if isinstance(wire.get(name), str) and wire[name]), "")
    if reasoning or details:
        parts += _read_reasoning(reasoning, details or [])
    parts += _read_content(wire.get("content"), f"{place}.content")
    if refusal := _typed(wire, "refusal", str, f"{place}."):
        parts.append(Text(refusal))
    for n, call in enumerate(_typed(wire, "tool_calls", list, f"{place}.") or ()):
        parts.append(_read_call(call, f"{place}.tool_calls[{n}]"))
    if (legacy := _typed(wire, "function_call", dict, f"{place}.")) is not None:
        name = _text(legacy, "name", f"{place}.function_call.")
        arguments = _typed(legacy, "arguments", str, f"{place}.function_call.") or "{}"
        functions[name] = f"call_{name}_{number}"  # the same for the same history: prompt caches depend on it
        parts.append(ToolCall(functions[name], name, arguments))
    fields = {name: value for name, value in wire.items() if value is not None}
    return Message("assistant", tuple(parts), unknown_fields(fields, known, NAME, None))


def _read_reasoning(text: str, details: Sequence[Any]) -> list[Reasoning]:
    """Restores the parts, each with its own text, from details that this server sealed; else keeps the details."""
    parts = []
    for one in details:
        sealed = (
            decode_metadata(str(one.get("data")))
            if isinstance(one, dict) and one.get("type") == ENCRYPTED_DETAIL
            else None
        )
        if sealed is not None:
            texts = [
                opaque.data[SEALED_TEXT] for opaque in sealed if opaque.dialect == NAME and SEALED_TEXT in opaque.data
            ]
            metadata = tuple(opaque for opaque in sealed if opaque.dialect != NAME)
            parts.append(Reasoning("".join(one for one in texts if isinstance(one, str)), metadata))
    return parts or [
        Reasoning(text, (ProviderMetadata(NAME, None, {"reasoning_details": [*details]}),) if details else ())
    ]


def _read_call(wire: Any, place: str) -> ToolCall:
    if not isinstance(wire, dict):
        _raise_invalid(place, "must be an object")
    kind, arguments_field = ("custom", "input") if wire.get("type") == "custom" else ("function", "arguments")
    inner = _typed(wire, kind, dict, f"{place}.")
    if inner is None:
        _raise_invalid(f"{place}.{kind}", "is required")
    known = ("id", "custom") if kind == "custom" else ("id", "type", "function")
    return ToolCall(
        id=_text(wire, "id", f"{place}."),
        name=_text(inner, "name", f"{place}.{kind}."),
        arguments=_typed(inner, arguments_field, str, f"{place}.{kind}.") or ("" if kind == "custom" else "{}"),
        metadata=unknown_fields(wire, known, NAME, None),
    )


def _read_content(content: Any, place: str) -> tuple[Part, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (Text(content),) if content else ()
    if not isinstance(content, list):
        _raise_invalid(place, "must be text or a list of parts")
    return tuple(_read_part(part, f"{place}[{n}]") for n, part in enumerate(content))


def _read_part(wire: Any, place: str) -> Part:
    if not isinstance(wire, dict):
        _raise_invalid(place, "must be an object")
    match wire.get("type"):
        case "text":
            return Text(_text(wire, "text", f"{place}."), (), unknown_fields(wire, ("type", "text"), NAME, None))
        case "refusal":
            return Text(_text(wire, "refusal", f"{place}."), (), unknown_fields(wire, ("type", "refusal"), NAME, None))
        case "image_url":
            return _read_image(wire, place)
        case "input_audio":
            return _read_audio(wire, place)
        case "file":
            return _read_file(wire, place)
    return UnknownPart((ProviderMetadata(NAME, None, wire),))


def _read_image(wire: Mapping[str, Any], place: str) -> Media:
    inner = wire.get("image_url")
    inner = {"url": inner} if isinstance(inner, str) else inner
    if not isinstance(inner, dict):
        _raise_invalid(f"{place}.image_url", "must be an object with a url")
    url = _text(inner, "url", f"{place}.image_url.")
    metadata = _read_media_metadata(wire, "image_url", inner, ("url",))
    mime, data = _split_data_url(url)
    return Media(mime=mime or "image/png", base64=data, url=None if data is not None else url, metadata=metadata)


def _read_media_metadata(
    wire: Mapping[str, Any], kind: str, inner: Mapping[str, Any], known: Sequence[str]
) -> Metadata:
    """Unknown fields of a media part, and of the object in it."""
    metadata = unknown_fields(wire, ("type", kind), NAME, None)
    more = {name: value for name, value in inner.items() if name not in known and value is not None}
    return (*metadata, ProviderMetadata(NAME, None, {kind: more})) if more else metadata


def _read_audio(wire: Mapping[str, Any], place: str) -> Media | UnknownPart:
    """A form that only some hosts define is kept unchanged, for the engine to check."""
    inner = wire.get("input_audio")
    if isinstance(inner, str):  # Mistral
        return UnknownPart((ProviderMetadata(NAME, None, wire),))
    inner = _typed(wire, "input_audio", dict, f"{place}.") or {}
    data, form = (_text(inner, name, f"{place}.input_audio.") for name in ("data", "format"))
    if form not in AUDIO_MIME_TYPES:
        return UnknownPart((ProviderMetadata(NAME, None, wire),))
    return Media(
        mime=AUDIO_MIME_TYPES[form],
        base64=data,
        metadata=_read_media_metadata(wire, "input_audio", inner, ("data", "format")),
    )


def _read_file(wire: Mapping[str, Any], place: str) -> Media | UnknownPart:
    inner = _typed(wire, "file", dict, f"{place}.") or {}
    metadata = _read_media_metadata(wire, "file", inner, ("filename", "file_id", "file_data"))
    name = _typed(inner, "filename", str, f"{place}.file.")
    if (file_id := _typed(inner, "file_id", str, f"{place}.file.")) is not None:
        # Metadata, even empty, marks the provider that issued the file id.
        metadata = metadata or (ProviderMetadata(NAME, None, {}),)
        return Media(mime="application/octet-stream", file_id=file_id, name=name, metadata=metadata)
    mime, data = _split_data_url(_text(inner, "file_data", f"{place}.file."))
    if data is None:  # OpenRouter also accepts a URL
        return UnknownPart((ProviderMetadata(NAME, None, wire),))
    return Media(mime=mime or "application/pdf", base64=data, name=name, metadata=metadata)


def _split_data_url(url: str) -> tuple[str, str | None]:
    head, comma, data = url.partition(";base64,")
    return (head[5:].partition(";")[0], data) if comma and head.startswith("data:") else ("", None)
