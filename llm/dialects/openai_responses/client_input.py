"""Reads the items of ``input``: messages, reasoning, calls and their results, and items that change the request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from llm.chat.freeform import wrap_input
from llm.chat.messages import Media, Message, Part, Reasoning, Role, Text, ToolCall, ToolResult, UnknownPart
from llm.chat.provider_metadata import Metadata, ProviderMetadata, decode_metadata, unknown_fields
from llm.chat.request import ToolSpec
from llm.dialects.openai_responses.shared import (
    CLIENT_CALLS,
    HOSTED_TOOLS,
    NAME,
    TEXT_FIELDS,
    dump_arguments,
    join_namespace,
    pack_wire_form,
    read_citation,
    read_generated_item,
    read_hosted_result,
    read_phase,
)
from llm.wire.json_codec import Json, dumps
from llm.wire.json_lenient import as_dict, as_dicts, as_list, as_text, drop_null
from llm.wire.json_strict import Fields, invalid

_ROLES: Final[Mapping[object, Role]] = {
    "user": "user",
    "system": "system",
    "developer": "system",
    "assistant": "assistant",
}
# Calls of tools that this wire defines and the client runs: the name and the arguments of the function in their place.
_BUILT_IN: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "local_shell_call": ("local_shell", ("action",)),
    "shell_call": ("shell", ("action",)),
    "apply_patch_call": ("apply_patch", ("operation",)),
    "computer_call": ("computer", ("action", "actions")),
    "tool_search_call": ("tool_search", ("arguments",)),
    "mcp_approval_request": ("mcp_approval", ("arguments",)),
    "program": ("program", ("code",)),
}
_BUILT_IN_RESULTS: Final = frozenset({
    "local_shell_call_output", "shell_call_output", "apply_patch_call_output", "computer_call_output",
    "tool_search_output", "mcp_approval_response", "program_output",
})  # fmt: skip
# Calls that the provider ran, whose item without a result is complete.
_MAY_HAVE_NO_RESULT: Final = ("code_interpreter_call", "mcp_call")
_OWN_FIELDS: Final = ("id", "status", "role")
_Read = tuple[Role, Sequence[Part]]


@dataclass(slots=True)
class Conversation:
    """What the items say: messages, and what they add to the request."""

    messages: list[Message] = field(default_factory=list)
    tools: list[ToolSpec] = field(default_factory=list)
    updates: dict[str, Fields] = field(default_factory=dict)  # the last of ``reasoning`` and ``text``


def read_items(items: Sequence[object], read_tools: Callable[[object, str], Iterable[ToolSpec]]) -> Conversation:
    """Reads ``input``; ``read_tools`` reads one tool at a path. Raises ``InvalidRequest`` with the invalid field."""
    return _ItemReader(read_tools).read(items)


class _ItemReader:
    """Groups items into messages: consecutive items of the assistant are one message, so are consecutive results."""

    def __init__(self, read_tools: Callable[[object, str], Iterable[ToolSpec]]) -> None:
        self._read_tools = read_tools
        self._conversation = Conversation()
        self._role: Role | None = None
        self._parts: list[Part] = []
        self._programs: dict[str, Mapping[str, Any]] = {}  # items whose output has not come yet
        self._searches = [0, 0]  # calls and outputs without an id so far

    def read(self, items: Sequence[object]) -> Conversation:
        for n, item in enumerate(items):
            path = f"input[{n}]"
            if not isinstance(item, dict):
                raise invalid(path, "is not an object")
            kind = item.get("type") or ("message" if "role" in item else None)
            if not isinstance(kind, str):
                raise invalid(f"{path}.type", "is required")
            if kind == "additional_tools":
                self._add_tools(item, path)
            elif kind == "configuration_update" and self._update(item, path):
                continue
            elif isinstance(read := self._read_item(item, kind, path), Message):
                self._flush()
                self._conversation.messages.append(read)
            else:
                for role, parts in read:
                    self._add(role, parts)
        for item in self._programs.values():  # without an output: only its provider can go on with it
            self._add("assistant", (UnknownPart((ProviderMetadata(NAME, None, item),), required=True),))
        self._flush()
        return self._conversation

    def _add(self, role: Role, parts: Sequence[Part]) -> None:
        if role != self._role:
            self._flush()
        self._role = role
        self._parts += parts

    def _flush(self) -> None:
        if self._parts and self._role:
            self._conversation.messages.append(Message(self._role, tuple(self._parts)))
        self._role, self._parts = None, []

    def _add_tools(self, wire: Mapping[str, Any], path: str) -> None:
        """Adds the tools of an item to those of the request; of two with one name the first counts."""
        known = {tool.name for tool in self._conversation.tools}
        for n, tool in enumerate(Fields(wire, path).read_list("tools") or ()):
            self._conversation.tools += [t for t in self._read_tools(tool, f"{path}.tools[{n}]") if t.name not in known]

    def _update(self, wire: Mapping[str, Any], path: str) -> bool:
        """Reads a change of the effort or the format. Returns False if the item changes anything else."""
        fields = Fields(wire, path)
        reasoning, text = fields.read_object("reasoning"), fields.read_object("text")
        inner = {*(reasoning.raw if reasoning else ()), *(text.raw if text else ())}
        if not wire.keys() <= {"type", "id", "status", "reasoning", "text"} or not inner <= {"effort", "format"}:
            return False
        updates = {"reasoning": reasoning, "text": text}
        self._conversation.updates |= {name: value for name, value in updates.items() if value}
        return True

    def _read_item(self, wire: Mapping[str, Any], kind: str, path: str) -> Message | Iterable[_Read]:
        """Reads a user or system message; for items of the assistant and results of calls, the roles and the parts."""
        match kind:
            case "message":
                return _read_message(wire, path)
            case "reasoning":
                return [("assistant", (_read_reasoning(wire),))]
            case "function_call" | "custom_tool_call":
                return [("assistant", (_read_call(wire, kind, path),))]
            case "function_call_output" | "custom_tool_call_output":
                return [("user", (_read_result(wire, path),))]
        if kind in _BUILT_IN:
            return self._read_built_in_call(wire, kind)
        if kind in _BUILT_IN_RESULTS:
            return self._read_built_in_result(wire, kind, path)
        if kind in HOSTED_TOOLS:
            return [("assistant", (_read_hosted_call(wire, kind),))]
        if kind == "image_generation_call":
            return [("assistant", (read_generated_item(wire, None),))]
        # A result, a reference or a memory decides the answer: in this role an engine without the item refuses it.
        is_memory = kind in ("item_reference", "compaction", "compaction_summary", "compaction_trigger")
        role: Role = "user" if is_memory or kind.endswith(("_output", "_update", "_response")) else "assistant"
        return [(role, (UnknownPart((ProviderMetadata(NAME, None, wire),)),))]

    def _read_built_in_call(self, wire: Mapping[str, Any], kind: str) -> Iterable[_Read]:
        if kind == "program":  # its output follows those of the calls it makes
            self._programs[as_text(wire.get("call_id"))] = wire
            return ()
        return [("assistant", (self._build_call(wire, kind),))]

    def _build_call(self, wire: Mapping[str, Any], kind: str) -> ToolCall:
        name, fields = _BUILT_IN[kind]
        present = {name: wire[name] for name in fields if wire.get(name) is not None}
        arguments: Json = present if kind in ("computer_call", "program") else next(iter(present.values()), {})
        if kind == "mcp_approval_request":
            name = join_namespace(as_text(wire.get("server_label")), as_text(wire.get("name")))
        id = as_text(wire.get("call_id"))
        id = id or (self._count_search(0) if kind == "tool_search_call" else as_text(wire.get("id")))
        sealed = decode_metadata(as_text(wire.get("encrypted_content")))
        metadata = pack_wire_form(whole_item=dict(wire)) if sealed is None else sealed
        return ToolCall(id, name, dump_arguments(arguments), metadata=metadata)

    def _read_built_in_result(self, wire: Mapping[str, Any], kind: str, path: str) -> Iterable[_Read]:
        id = as_text(wire.get("call_id")) or as_text(wire.get("approval_request_id")) or as_text(wire.get("id"))
        if kind == "tool_search_output":
            self._add_tools(wire, path)
            id = as_text(wire.get("call_id")) or self._count_search(1)
        content = _read_built_in_content(wire, kind, path)
        failed = wire.get("status") == "failed"
        result = ToolResult(id, content, failed, metadata=pack_wire_form(whole_item=dict(wire)))
        program = self._programs.pop(id, None) if kind == "program_output" else None
        called: list[_Read] = [("assistant", (self._build_call(program, "program"),))] if program else []
        return [*called, ("user", (result,))]

    def _count_search(self, which: int) -> str:
        """Returns an id for a search without one: the provider ran it, and its output follows."""
        self._searches[which] += 1
        return f"call_tool_search_{self._searches[which]}"


def _read_built_in_content(wire: Mapping[str, Any], kind: str, path: str) -> tuple[Text | Media | UnknownPart, ...]:
    if kind == "computer_call_output":
        return (_read_image(Fields(as_dict(wire.get("output")), f"{path}.output")),)
    if kind == "mcp_approval_response":
        told: Json = {name: wire[name] for name in ("approve", "reason") if wire.get(name) is not None}
    elif kind == "tool_search_output":
        told = [*as_list(wire.get("tools"))]
    else:
        told = wire.get("output", wire.get("result"))
        told = wire.get("status") if told is None else told
    return (Text(told if isinstance(told, str) else dumps(told)),)


def _read_hosted_call(wire: Mapping[str, Any], kind: str) -> ToolCall:
    """Reads a call that the provider ran, with its result."""
    run = read_hosted_result(wire)
    assert run is not None
    if run.result is None and kind in _MAY_HAVE_NO_RESULT:
        run = replace(run, result="")
    label = as_text(wire.get("server_label"))
    name = join_namespace(label, run.name) if label else run.name
    metadata = (ProviderMetadata(NAME, None, wire),)
    return ToolCall(run.id, name, run.arguments or "{}", "provider", metadata, run)


def _read_message(wire: Mapping[str, Any], path: str) -> Message | Iterable[_Read]:
    role = _ROLES.get(wire.get("role")) if isinstance(wire.get("role"), str) else None
    if role is None:
        raise invalid(f"{path}.role", f"{str(wire.get('role'))[:40]!r} is not one of {', '.join(map(str, _ROLES))}")
    parts = _read_content(wire.get("content"), f"{path}.content")
    item_fields = {name: value for name, value in wire.items() if name not in ("type", "role", "content")}
    if role == "assistant":
        return [(role, [_add_item_fields(part, item_fields) for part in parts])]
    if role == "system":
        item_fields["role"] = wire["role"]  # it stays at its position among the items, with its exact role
    return Message(role, tuple(parts), _read_item_fields(item_fields, ()))


def _read_item_fields(wire: Mapping[str, Any], known: Iterable[str]) -> Metadata:
    """Returns the fields of an item other than ``known``. Other wires lose nothing without its id, status and role."""
    own = {name: value for name, value in wire.items() if name in _OWN_FIELDS and name not in known}
    return unknown_fields(wire, (*known, *_OWN_FIELDS), NAME, None) + (pack_wire_form(**own) if own else ())


def _add_item_fields(part: Part, item_fields: Mapping[str, Json]) -> Part:
    """Adds the fields of its item to a text. Only engines of this wire need them, but for the phase."""
    if not isinstance(part, Text):
        return part
    metadata = (*part.metadata, *pack_wire_form(item=dict(item_fields)))
    return replace(part, metadata=metadata, phase=read_phase(item_fields))


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
    metadata = _read_item_fields(wire, known) if sealed is None else sealed
    name, namespace = fields.read_required_text("name"), fields.read_text("namespace")
    arguments = fields.read_text(arguments_field) or ""
    return ToolCall(
        id=fields.read_required_text("call_id"),
        name=join_namespace(namespace, name) if namespace else name,
        arguments=(drop_null(arguments) or "{}") if kind == "function_call" else wrap_input(arguments),
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
    metadata = _read_item_fields(wire, ("type", "call_id", "output"))
    return ToolResult(fields.read_required_text("call_id"), content, metadata=metadata)
