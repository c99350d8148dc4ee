"""Reads the body of a client's ``POST /v1/responses`` as a ChatRequest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast, get_args

from llm.chat.messages import Foreign, Media, Message, Part, Reasoning, Role, Text, ToolCall, ToolResult
from llm.chat.provider_metadata import Keep, Opaque, rest_of, unseal
from llm.chat.request import ChatRequest, Effort, JsonFormat, Options, ToolSpec
from llm.dialects.openai_responses.shared import CALLS, NAME, TEXTS, grouped, grouped_name, read_citation
from llm.wire.json_codec import Json
from llm.wire.json_lenient import dicts_of, text_of
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
    if instructions := fields.text("instructions"):
        messages.insert(0, Message("system", (Text(instructions),)))
    default_fields = [name for name, value in _DEFAULT_VALUES.items() if body.get(name) == value]
    present = {name: value for name, value in body.items() if value is not None}
    return ChatRequest(
        model=fields.text("model") or "",
        messages=tuple(messages),
        tools=tuple(t for n, w in enumerate(fields.items("tools") or ()) for t in _read_tools(w, f"tools[{n}]")),
        options=_read_options(fields),
        stream=fields.flag("stream") or False,
        keep=(*rest_of(present, _KNOWN_FIELDS, NAME, None), *_read_wire_form(fields)),
        hints=_DROPPABLE_FIELDS.union(default_fields),
    )


def _read_wire_form(fields: Fields) -> Keep:
    """Returns the parts of known fields that have no neutral option, for engines of this wire."""
    wire_form: dict[str, Json] = {}
    for name, known in (("reasoning", ("effort",)), ("text", ("format", "verbosity"))):
        inner = fields.inner(name)
        if inner and (inner_fields := {n: v for n, v in inner.wire.items() if n not in known and v is not None}):
            wire_form[name] = inner_fields
    if include := [name for name in fields.items("include") or () if name != _LOGPROBS]:
        wire_form["include"] = include
    return (Opaque(NAME, None, wire_form),) if wire_form else ()


def _read_options(fields: Fields) -> Options:
    reasoning, text = fields.inner("reasoning"), fields.inner("text")
    effort = reasoning.text("effort") if reasoning else None
    if reasoning and effort is not None and effort not in get_args(Effort):
        raise reasoning.invalid("effort", f"{effort[:40]!r} is not one of {', '.join(get_args(Effort))}")
    return Options(
        max_tokens=fields.integer("max_output_tokens"),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=fields.integer("top_k"),
        effort=cast("Effort | None", effort),
        verbosity=text.text("verbosity") if text else None,
        format=_read_format(text.inner("format")) if text else None,
        tool_choice=_read_choice(fields),
        parallel_tools=fields.flag("parallel_tool_calls"),
        logprobs=True if _LOGPROBS in (fields.items("include") or ()) else None,
        top_logprobs=fields.integer("top_logprobs") or None,
        service_tier=fields.text("service_tier"),
    )


def _read_format(wire: Fields | None) -> JsonFormat | None:
    if wire is None or (kind := wire.text("type")) in (None, "text"):
        return None
    if kind == "json_object":
        return JsonFormat()
    if kind != "json_schema":
        raise wire.invalid("type", "is not one of text, json_object, json_schema")
    schema = wire.inner("schema")
    return JsonFormat(
        schema=dict(schema.wire) if schema else {},
        name=wire.required_text("name"),
        strict=wire.flag("strict"),
        keep=rest_of(wire.wire, ("type", "schema", "name", "strict"), NAME, None),
        wire=NAME,
    )


def _read_choice(fields: Fields) -> str | None:
    wire = fields.wire.get("tool_choice")
    if wire is None or (isinstance(wire, str) and wire in _CHOICES):
        return wire
    if isinstance(wire, dict):
        if wire.get("type") in ("function", "custom") and isinstance(wire.get("name"), str):
            return f"tool:{wire['name']}"
        if isinstance(wire.get("type"), str) and wire["type"] not in ("function", "allowed_tools"):
            return f"tool:{wire['type']}"  # a hosted tool
    raise invalid("tool_choice", "is not one of auto, none, required, or an object that names a tool")


def _read_tools(wire: object, path: str) -> Iterator[ToolSpec]:
    """Yields one tool, or the tools of a namespace; the first of them gets the namespace's description as prefix."""
    if not isinstance(wire, dict) or wire.get("type") != "namespace":
        yield _read_tool(wire, path)
        return
    fields = Fields(wire, path)
    namespace, prefix = fields.required_text("name"), fields.text("description")
    for n, inner in enumerate(fields.items("tools") or ()):
        tool = _read_tool(inner, f"{path}.tools[{n}]")
        if tool.executor == "provider":
            yield tool
            continue
        description = f"{namespace}: {prefix}\n\n{tool.description}" if prefix and n == 0 else tool.description
        metadata = (*tool.keep, *grouped(namespace, tool.name))
        yield replace(tool, name=grouped_name(namespace, tool.name), description=description, keep=metadata)


def _read_tool(wire: object, path: str) -> ToolSpec:
    if not isinstance(wire, dict):
        raise invalid(path, "is not an object")
    fields = Fields(wire, path)
    kind = fields.required_text("type")
    if kind != "function":
        name = fields.text("name") if kind == "custom" else None
        return ToolSpec(name or kind, executor="provider", keep=(Opaque(NAME, None, wire),))
    parameters = fields.inner("parameters")
    present = {name: value for name, value in wire.items() if value is not None}
    return ToolSpec(
        name=fields.required_text("name"),
        description=fields.text("description") or "",
        parameters=dict(parameters.wire) if parameters else {},
        strict=fields.flag("strict"),
        keep=rest_of(present, ("type", "name", "description", "parameters", "strict"), NAME, None),
        wire=NAME,
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
            return "user", (Foreign((Opaque(NAME, None, wire),)),)
        case str():
            return "assistant", (Foreign((Opaque(NAME, None, wire),)),)
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
    return Message(role, tuple(parts), (Opaque(NAME, None, item_fields),) if item_fields else ())


def _add_item_fields(part: Part, item_fields: Mapping[str, Json]) -> Part:
    """Adds the fields of its item to the metadata of a text."""
    if not isinstance(part, Text) or not item_fields:
        return part
    part_fields = next((opaque.data for opaque in part.keep), {})
    return Text(part.text, part.citations, (Opaque(NAME, None, {**part_fields, "item": dict(item_fields)}),))


def _read_content(content: object, path: str) -> list[Part]:
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(content)] if content else []
    if not isinstance(content, list):
        raise invalid(path, "is not a string or a list of parts")
    return [_read_part(part, f"{path}[{n}]") for n, part in enumerate(content)]


def _read_part(wire: object, path: str) -> Text | Media | Foreign:
    if not isinstance(wire, dict):
        raise invalid(path, "is not an object")
    fields = Fields(wire, path)
    match wire.get("type"):
        case "input_text":
            return Text(fields.text("text") or "", keep=rest_of(wire, ("type", "text"), NAME, None))
        case "output_text" | "refusal" | "summary_text" as kind:
            field = TEXTS.get(kind, "text")
            known = ("text", field, "annotations", *(("type",) if kind == "output_text" else ()))
            unknown = {name: value for name, value in wire.items() if name not in known and value}
            text = fields.text(field) or ""
            citations = [read_citation(one, len(text), None) for one in dicts_of(wire.get("annotations"))]
            return Text(text, tuple(citations), (Opaque(NAME, None, unknown),) if unknown else ())
        case "input_image":
            return _read_image(fields)
        case "input_file":
            return _read_file(fields)
    return Foreign((Opaque(NAME, None, wire),))


def _read_image(fields: Fields) -> Media:
    known = ("type", "image_url", "file_id")
    metadata: Keep = (Opaque(NAME, None, {n: v for n, v in fields.wire.items() if n not in known and v is not None}),)
    if file_id := fields.text("file_id"):
        return Media(mime="image/png", file_id=file_id, keep=metadata)
    url = fields.required_text("image_url")
    mime, data = _split_data_url(url)
    return Media(mime=mime or "image/png", base64=data, url=None if data is not None else url, keep=metadata)


def _read_file(fields: Fields) -> Media:
    known = ("type", "file_id", "file_url", "file_data", "filename")
    # The issuer of the file id has to be recorded even if there are no unknown fields.
    metadata: Keep = (Opaque(NAME, None, {n: v for n, v in fields.wire.items() if n not in known and v is not None}),)
    name = fields.text("filename")
    if file_id := fields.text("file_id"):
        return Media(mime="application/octet-stream", file_id=file_id, name=name, keep=metadata)
    if url := fields.text("file_url"):
        return Media(mime="application/pdf", url=url, name=name, keep=metadata)
    file_data = fields.required_text("file_data")
    mime, data = _split_data_url(file_data)
    return Media(mime=mime or "application/pdf", base64=file_data if data is None else data, name=name, keep=metadata)


def _split_data_url(url: str) -> tuple[str, str | None]:
    head, comma, data = url.partition(";base64,")
    return (head[5:].partition(";")[0], data) if comma and head.startswith("data:") else ("", None)


def _read_reasoning(wire: Mapping[str, Any]) -> Reasoning:
    """Reads reasoning. Unseals metadata that this server sealed; any other item goes only to engines of this wire."""
    text = "".join(text_of(part.get("text")) for name in ("summary", "content") for part in dicts_of(wire.get(name)))
    sealed = unseal(text_of(wire.get("encrypted_content")))
    return Reasoning(text, (Opaque(NAME, None, wire),) if sealed is None else sealed)


def _read_call(wire: Mapping[str, Any], kind: str, path: str) -> ToolCall:
    fields = Fields(wire, path)
    arguments_field = CALLS[kind]
    sealed = unseal(text_of(wire.get("encrypted_content")))
    known = ["call_id", "name", "namespace", arguments_field, *(("type",) if kind == "function_call" else ())]
    metadata = rest_of(wire, known, NAME, None) if sealed is None else sealed
    name, namespace = fields.required_text("name"), fields.text("namespace")
    return ToolCall(
        id=fields.required_text("call_id"),
        name=grouped_name(namespace, name) if namespace else name,
        arguments=fields.text(arguments_field) or ("{}" if kind == "function_call" else ""),
        keep=metadata,
    )


def _read_result(wire: Mapping[str, Any], path: str) -> ToolResult:
    fields = Fields(wire, path)
    output = wire.get("output")
    if not isinstance(output, str | list):
        raise invalid(f"{path}.output", "is not a string or a list of parts")
    parts = _read_content(output, f"{path}.output")
    content = tuple(part for part in parts if isinstance(part, Text | Media | Foreign))
    metadata = rest_of(wire, ("type", "call_id", "output"), NAME, None)
    return ToolResult(fields.required_text("call_id"), content, keep=metadata)
