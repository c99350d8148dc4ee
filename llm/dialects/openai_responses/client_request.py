"""Reads the body of a client's ``POST /v1/responses`` as a ChatRequest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast, get_args

from llm.chat.freeform import Freeform, wrap_input
from llm.chat.messages import Media, Message, Part, Reasoning, Role, Text, ToolCall, ToolResult, UnknownPart
from llm.chat.provider_metadata import Metadata, ProviderMetadata, decode_metadata, unknown_fields
from llm.chat.request import ChatRequest, Effort, JsonFormat, Options, ToolSpec, soften_no_reasoning
from llm.dialects.openai_responses.shared import (
    CLIENT_CALLS,
    NAME,
    TEXT_FIELDS,
    join_namespace,
    pack_namespace,
    read_citation,
)
from llm.wire.json_codec import Json
from llm.wire.json_lenient import as_dicts, as_text
from llm.wire.json_strict import Fields, invalid

_KNOWN_FIELDS: Final = (
    "model", "input", "instructions", "stream", "max_output_tokens", "temperature", "top_p", "top_k", "tools",
    "tool_choice", "parallel_tool_calls", "reasoning", "text", "service_tier", "top_logprobs", "include",
)  # fmt: skip
# Fields that may be dropped: they do not change the answer, or (``store``) this server stores nothing anyway.
_DROPPABLE_FIELDS: Final = frozenset(
    {
        "client_metadata", "include", "max_tool_calls", "metadata", "moderation", "prompt_cache_key",
        "prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier", "store", "stream_options",
        "text", "user",
    }
)  # fmt: skip
# Default values that some clients always send; fields with them may be dropped.
_DEFAULT_VALUES: Final[Mapping[str, object]] = {"truncation": "disabled", "background": False}
_CHOICES: Final = ("auto", "none", "required")
_LOGPROBS: Final = "message.output_text.logprobs"
_ROLES: Final[Mapping[object, Role]] = {
    "user": "user",
    "system": "system",
    "developer": "system",
    "assistant": "assistant",
}


def read_request(body: Mapping[str, Any]) -> ChatRequest:
    """Reads a request body. Raises ``InvalidRequest`` with the JSON path of the invalid field in ``param``."""
    fields = Fields(body)
    input_items = body.get("input")
    if isinstance(input_items, str):
        input_items = [{"role": "user", "content": input_items}]
    if input_items is not None and not isinstance(input_items, list):
        raise invalid("input", "is not a string or a list of items")
    messages = [*_read_items(input_items or ())]
    if instructions := fields.read_text("instructions"):
        messages.insert(0, Message("system", (Text(instructions),)))
    default_fields = [name for name, value in _DEFAULT_VALUES.items() if body.get(name) == value]
    present = {name: value for name, value in body.items() if value is not None}
    options = _read_options(fields)
    return ChatRequest(
        model=fields.read_text("model") or "",
        messages=tuple(messages),
        tools=tuple(t for n, w in enumerate(fields.read_list("tools") or ()) for t in _read_tools(w, f"tools[{n}]")),
        options=options,
        stream=fields.read_flag("stream") or False,
        metadata=(*unknown_fields(present, _KNOWN_FIELDS, NAME, None), *_read_wire_form(fields)),
        droppable_fields=_DROPPABLE_FIELDS.union(default_fields),
        soft_options=soften_no_reasoning(options),
    )


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
    effort = reasoning.read_text("effort") if reasoning else None
    if reasoning and effort is not None and effort not in get_args(Effort):
        raise reasoning.invalid("effort", f"{effort[:40]!r} is not one of {', '.join(get_args(Effort))}")
    return Options(
        max_tokens=fields.read_integer("max_output_tokens"),
        temperature=fields.read_number("temperature"),
        top_p=fields.read_number("top_p"),
        top_k=fields.read_integer("top_k"),
        effort=cast("Effort | None", effort),
        verbosity=text.read_text("verbosity") if text else None,
        format=_read_format(text.read_object("format")) if text else None,
        tool_choice=_read_choice(fields),
        allowed_tools=_read_allowed_tools(fields),
        parallel_tools=fields.read_flag("parallel_tool_calls"),
        logprobs=True if _LOGPROBS in (fields.read_list("include") or ()) else None,
        top_logprobs=fields.read_integer("top_logprobs") or None,
        service_tier=fields.read_text("service_tier"),
    )


def _read_format(wire: Fields | None) -> JsonFormat | None:
    if wire is None or (kind := wire.read_text("type")) in (None, "text"):
        return None
    if kind == "json_object":
        return JsonFormat()
    if kind != "json_schema":
        raise wire.invalid("type", "is not one of text, json_object, json_schema")
    schema = wire.read_object("schema")
    return JsonFormat(
        schema=dict(schema.raw) if schema else {},
        name=wire.read_required_text("name"),
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
        yield replace(tool, name=join_namespace(namespace, tool.name), description=description, metadata=metadata)


def _read_tool(wire: object, path: str) -> ToolSpec:
    if not isinstance(wire, dict):
        raise invalid(path, "is not an object")
    fields = Fields(wire, path)
    kind = fields.read_required_text("type")
    present = {name: value for name, value in wire.items() if value is not None}
    if kind == "custom":
        return _read_custom_tool(fields, present)
    if kind != "function":
        return ToolSpec(kind, executor="provider", metadata=(ProviderMetadata(NAME, None, wire),))
    parameters = fields.read_object("parameters")
    return ToolSpec(
        name=fields.read_required_text("name"),
        description=fields.read_text("description") or "",
        parameters=dict(parameters.raw) if parameters else {},
        strict=fields.read_flag("strict"),
        metadata=unknown_fields(present, ("type", "name", "description", "parameters", "strict"), NAME, None),
        schema_dialect=NAME,
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


def _read_items(items: Sequence[object]) -> Iterator[Message]:
    """Groups items into messages: consecutive items of the assistant are one message, so are consecutive results."""
    role: Role | None = None
    parts: list[Part] = []
    for n, item in enumerate(items):
        path = f"input[{n}]"
        if not isinstance(item, dict):
            raise invalid(path, "is not an object")
        read = _read_item(item, path)
        if isinstance(read, Message):
            if parts and role:
                yield Message(role, tuple(parts))
            role, parts = None, []
            yield read
            continue
        item_role, item_parts = read
        if item_role != role and parts and role:
            yield Message(role, tuple(parts))
            parts = []
        role = item_role
        parts += item_parts
    if parts and role:
        yield Message(role, tuple(parts))


def _read_item(wire: Mapping[str, Any], path: str) -> Message | tuple[Role, Sequence[Part]]:
    """Reads a user or system message; for items of the assistant and results of calls, the role and the parts."""
    kind = wire.get("type") or ("message" if "role" in wire else None)
    match kind:
        case "message":
            return _read_message(wire, path)
        case "reasoning":
            return "assistant", (_read_reasoning(wire),)
        case "function_call" | "custom_tool_call":
            return "assistant", (_read_call(wire, kind, path),)
        case "function_call_output" | "custom_tool_call_output":
            return "user", (_read_result(wire, path),)
        case "item_reference" | "compaction" | "compaction_summary":
            # It changes the conversation, so an engine that cannot receive it has to refuse: hence the user role.
            return "user", (UnknownPart((ProviderMetadata(NAME, None, wire),)),)
        case str():
            return "assistant", (UnknownPart((ProviderMetadata(NAME, None, wire),)),)
    raise invalid(f"{path}.type", "is required")


def _read_message(wire: Mapping[str, Any], path: str) -> Message | tuple[Role, Sequence[Part]]:
    role = _ROLES.get(wire.get("role")) if isinstance(wire.get("role"), str) else None
    if role is None:
        raise invalid(f"{path}.role", f"{str(wire.get('role'))[:40]!r} is not one of {', '.join(map(str, _ROLES))}")
    parts = _read_content(wire.get("content"), f"{path}.content")
    item_fields = {name: value for name, value in wire.items() if name not in ("type", "role", "content")}
    if role == "assistant":
        return role, [_add_item_fields(part, item_fields) for part in parts]
    if role == "system":
        item_fields["role"] = wire["role"]  # it stays at its position among the items, with its exact role
    return Message(role, tuple(parts), (ProviderMetadata(NAME, None, item_fields),) if item_fields else ())


def _add_item_fields(part: Part, item_fields: Mapping[str, Json]) -> Part:
    """Adds the fields of its item to the metadata of a text."""
    if not isinstance(part, Text) or not item_fields:
        return part
    part_fields = next((opaque.data for opaque in part.metadata), {})
    return Text(part.text, part.citations, (ProviderMetadata(NAME, None, {**part_fields, "item": dict(item_fields)}),))


def _read_content(content: object, path: str) -> list[Part]:
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(content)] if content else []
    if not isinstance(content, list):
        raise invalid(path, "is not a string or a list of parts")
    return [_read_part(part, f"{path}[{n}]") for n, part in enumerate(content)]


def _read_part(wire: object, path: str) -> Text | Media | UnknownPart:
    if not isinstance(wire, dict):
        raise invalid(path, "is not an object")
    fields = Fields(wire, path)
    match wire.get("type"):
        case "input_text":
            return Text(fields.read_text("text") or "", metadata=unknown_fields(wire, ("type", "text"), NAME, None))
        case "output_text" | "refusal" | "summary_text" as kind:
            field = TEXT_FIELDS.get(kind, "text")
            known = ("text", field, "annotations", *(("type",) if kind == "output_text" else ()))
            unknown = {name: value for name, value in wire.items() if name not in known and value}
            text = fields.read_text(field) or ""
            citations = [read_citation(one, len(text), None) for one in as_dicts(wire.get("annotations"))]
            return Text(text, tuple(citations), (ProviderMetadata(NAME, None, unknown),) if unknown else ())
        case "input_image":
            return _read_image(fields)
        case "input_file":
            return _read_file(fields)
    return UnknownPart((ProviderMetadata(NAME, None, wire),))


def _read_image(fields: Fields) -> Media:
    known = ("type", "image_url", "file_id")
    metadata: Metadata = (
        ProviderMetadata(NAME, None, {n: v for n, v in fields.raw.items() if n not in known and v is not None}),
    )
    if file_id := fields.read_text("file_id"):
        return Media(mime="image/png", file_id=file_id, metadata=metadata)
    url = fields.read_required_text("image_url")
    mime, data = _split_data_url(url)
    return Media(mime=mime or "image/png", base64=data, url=None if data is not None else url, metadata=metadata)


def _read_file(fields: Fields) -> Media:
    known = ("type", "file_id", "file_url", "file_data", "filename")
    # The issuer of the file id has to be recorded even if there are no unknown fields.
    metadata: Metadata = (
        ProviderMetadata(NAME, None, {n: v for n, v in fields.raw.items() if n not in known and v is not None}),
    )
    name = fields.read_text("filename")
    if file_id := fields.read_text("file_id"):
        return Media(mime="application/octet-stream", file_id=file_id, name=name, metadata=metadata)
    if url := fields.read_text("file_url"):
        return Media(mime="application/pdf", url=url, name=name, metadata=metadata)
    file_data = fields.read_required_text("file_data")
    mime, data = _split_data_url(file_data)
    return Media(
        mime=mime or "application/pdf", base64=file_data if data is None else data, name=name, metadata=metadata
    )


def _split_data_url(url: str) -> tuple[str, str | None]:
    head, comma, data = url.partition(";base64,")
    return (head[5:].partition(";")[0], data) if comma and head.startswith("data:") else ("", None)


def _read_reasoning(wire: Mapping[str, Any]) -> Reasoning:
    """Reads reasoning. Unseals metadata that this server sealed; any other item goes only to engines of this wire."""
    text = "".join(as_text(part.get("text")) for name in ("summary", "content") for part in as_dicts(wire.get(name)))
    sealed = decode_metadata(as_text(wire.get("encrypted_content")))
    return Reasoning(text, (ProviderMetadata(NAME, None, wire),) if sealed is None else sealed)


def _read_call(wire: Mapping[str, Any], kind: str, path: str) -> ToolCall:
    fields = Fields(wire, path)
    arguments_field = CLIENT_CALLS[kind]
    sealed = decode_metadata(as_text(wire.get("encrypted_content")))
    known = ("type", "call_id", "name", "namespace", arguments_field)
    metadata = unknown_fields(wire, known, NAME, None) if sealed is None else sealed
    name, namespace = fields.read_required_text("name"), fields.read_text("namespace")
    arguments = fields.read_text(arguments_field) or ("{}" if kind == "function_call" else "")
    return ToolCall(
        id=fields.read_required_text("call_id"),
        name=join_namespace(namespace, name) if namespace else name,
        arguments=arguments if kind == "function_call" else wrap_input(arguments),
        metadata=metadata,
        freeform="" if kind == "function_call" else NAME,
    )


def _read_result(wire: Mapping[str, Any], path: str) -> ToolResult:
    fields = Fields(wire, path)
    output = wire.get("output")
    if not isinstance(output, str | list):
        raise invalid(f"{path}.output", "is not a string or a list of parts")
    parts = _read_content(output, f"{path}.output")
    content = tuple(part for part in parts if isinstance(part, Text | Media | UnknownPart))
    metadata = unknown_fields(wire, ("type", "call_id", "output"), NAME, None)
    return ToolResult(fields.read_required_text("call_id"), content, metadata=metadata)
