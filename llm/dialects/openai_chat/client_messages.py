"""Reads ``messages`` of ``POST /v1/chat/completions`` as messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from llm.chat.freeform import wrap_input
from llm.chat.history import PlacedReasoning, place_reasoning
from llm.chat.messages import Media, Message, Part, Reasoning, Text, ToolCall, ToolResult, UnknownPart
from llm.chat.provider_metadata import (
    Metadata,
    ProviderMetadata,
    decode_metadata,
    metadata_for_client,
    unknown_fields,
)
from llm.dialects.openai_chat.shared import (
    AUDIO_MIME_TYPES,
    ENCRYPTED_DETAIL,
    NAME,
    REASONING_FIELDS,
    SEALED_PLACE,
    SEALED_TEXT,
)
from llm.wire.json_lenient import as_text
from llm.wire.json_strict import raise_invalid, read_text, read_typed

_MESSAGE_FIELDS: Final = frozenset({"role", "content"})
_ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")


def read_messages(wires: Sequence[Any]) -> list[Message]:
    """Reads all messages; results of one round are one message. Raises ``InvalidRequest`` with the path."""
    messages: list[Message] = []
    functions: dict[str, str] = {}  # function name to id of its last call, for the older form without ids
    after_result = False
    for n, wire in enumerate(wires):
        place = f"messages[{n}]"
        if not isinstance(wire, dict):
            raise_invalid(place, "must be an object")
        role = wire.get("role")
        if role not in _ROLES:
            raise_invalid(f"{place}.role", f"{str(role)[:40]!r} is not one of {', '.join(_ROLES)}")
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
    name = read_typed(wire, "name", str, f"{place}.")
    metadata = unknown_fields(wire, ("role", "content", "tool_call_id", "name"), NAME, None)
    if wire["role"] == "function":
        called = read_text(wire, "name", f"{place}.")
        return ToolResult(functions.get(called, f"call_{called}"), parts, metadata=metadata)
    return ToolResult(read_text(wire, "tool_call_id", f"{place}."), parts, name=name or None, metadata=metadata)


def _read_assistant(wire: Mapping[str, Any], place: str, number: int, functions: dict[str, str]) -> Message:
    parts: list[Part] = []
    known = ["role", "content", "refusal", "tool_calls", "function_call", *REASONING_FIELDS]
    details = wire.get("reasoning_details")
    if isinstance(details, list):
        known.append("reasoning_details")
    else:
        details = None
    reasoning = next((wire[name] for name in REASONING_FIELDS if isinstance(wire.get(name), str) and wire[name]), "")
    placed = _read_reasoning(reasoning, details or []) if reasoning or details else []
    content, copies = _remove_copies(wire.get("content"))
    parts += _read_content(content, f"{place}.content")
    if refusal := read_typed(wire, "refusal", str, f"{place}."):
        parts.append(Text(refusal))
    for n, call in enumerate(read_typed(wire, "tool_calls", list, f"{place}.") or copies):
        parts.append(_read_call(call, f"{place}.tool_calls[{n}]"))
    if (legacy := read_typed(wire, "function_call", dict, f"{place}.")) is not None:
        name = read_text(legacy, "name", f"{place}.function_call.")
        arguments = read_typed(legacy, "arguments", str, f"{place}.function_call.") or "{}"
        functions[name] = f"call_{name}_{number}"  # the same for the same history: prompt caches depend on it
        parts.append(ToolCall(functions[name], name, arguments))
    fields = {name: value for name, value in wire.items() if value is not None}
    return Message("assistant", place_reasoning(parts, placed), unknown_fields(fields, known, NAME, None))


def _remove_copies(content: Any) -> tuple[Any, list[Any]]:
    """Removes ``role`` and ``tool_calls`` from text parts; returns the content without them, and the calls.

    @openai/agents 0.20.0 sends a text with a copy of the calls that stand beside it.
    """
    if not isinstance(content, list):
        return content, []
    calls = [part.get("tool_calls") for part in content if isinstance(part, dict) and part.get("type") == "text"]
    kept = [
        {name: value for name, value in part.items() if name not in ("role", "tool_calls")}
        if isinstance(part, dict) and part.get("type") == "text"
        else part
        for part in content
    ]
    return kept, next((one for one in calls if isinstance(one, list)), [])


def _read_reasoning(text: str, details: Sequence[Any]) -> list[PlacedReasoning]:
    """Restores the parts with their texts and places from details that this server sealed; else keeps the details."""
    parts = []
    for one in details:
        sealed = (
            decode_metadata(str(one.get("data")))
            if isinstance(one, dict) and one.get("type") == ENCRYPTED_DETAIL
            else None
        )
        if sealed is not None:
            own = metadata_for_client(sealed, NAME)
            metadata = tuple(opaque for opaque in sealed if opaque.dialect != NAME)
            part = Reasoning(as_text(own.get(SEALED_TEXT)), metadata)
            match own.get(SEALED_PLACE):
                case [int(characters), int(calls)]:
                    parts.append(PlacedReasoning(part, characters, calls))
                case _:
                    parts.append(PlacedReasoning(part))
    unsealed: Metadata = (ProviderMetadata(NAME, None, {"reasoning_details": [*details]}),) if details else ()
    return parts or [PlacedReasoning(Reasoning(text, unsealed))]


def _read_call(wire: Any, place: str) -> ToolCall:
    if not isinstance(wire, dict):
        raise_invalid(place, "must be an object")
    kind, arguments_field = ("custom", "input") if wire.get("type") == "custom" else ("function", "arguments")
    inner = read_typed(wire, kind, dict, f"{place}.")
    if inner is None:
        raise_invalid(f"{place}.{kind}", "is required")
    arguments = read_typed(inner, arguments_field, str, f"{place}.{kind}.") or ""
    return ToolCall(
        id=read_text(wire, "id", f"{place}."),
        name=read_text(inner, "name", f"{place}.{kind}."),
        arguments=wrap_input(arguments) if kind == "custom" else arguments or "{}",
        metadata=unknown_fields(wire, ("id", "type", kind), NAME, None),
        freeform=NAME if kind == "custom" else "",
    )


def _read_content(content: Any, place: str) -> tuple[Part, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (Text(content),) if content else ()
    if not isinstance(content, list):
        raise_invalid(place, "must be text or a list of parts")
    return tuple(_read_part(part, f"{place}[{n}]") for n, part in enumerate(content))


def _read_part(wire: Any, place: str) -> Part:
    if not isinstance(wire, dict):
        raise_invalid(place, "must be an object")
    match wire.get("type"):
        case "text":
            return Text(read_text(wire, "text", f"{place}."), (), unknown_fields(wire, ("type", "text"), NAME, None))
        case "refusal":
            return Text(
                read_text(wire, "refusal", f"{place}."), (), unknown_fields(wire, ("type", "refusal"), NAME, None)
            )
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
        raise_invalid(f"{place}.image_url", "must be an object with a url")
    url = read_text(inner, "url", f"{place}.image_url.")
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
    inner = read_typed(wire, "input_audio", dict, f"{place}.") or {}
    data, form = (read_text(inner, name, f"{place}.input_audio.") for name in ("data", "format"))
    if form not in AUDIO_MIME_TYPES:
        return UnknownPart((ProviderMetadata(NAME, None, wire),))
    return Media(
        mime=AUDIO_MIME_TYPES[form],
        base64=data,
        metadata=_read_media_metadata(wire, "input_audio", inner, ("data", "format")),
    )


def _read_file(wire: Mapping[str, Any], place: str) -> Media | UnknownPart:
    inner = read_typed(wire, "file", dict, f"{place}.") or {}
    metadata = _read_media_metadata(wire, "file", inner, ("filename", "file_id", "file_data"))
    name = read_typed(inner, "filename", str, f"{place}.file.")
    if (file_id := read_typed(inner, "file_id", str, f"{place}.file.")) is not None:
        # Metadata, even empty, marks the provider that issued the file id.
        metadata = metadata or (ProviderMetadata(NAME, None, {}),)
        return Media(mime="application/octet-stream", file_id=file_id, name=name, metadata=metadata)
    mime, data = _split_data_url(read_text(inner, "file_data", f"{place}.file."))
    if data is None:  # OpenRouter also accepts a URL
        return UnknownPart((ProviderMetadata(NAME, None, wire),))
    return Media(mime=mime or "application/pdf", base64=data, name=name, metadata=metadata)


def _split_data_url(url: str) -> tuple[str, str | None]:
    head, comma, data = url.partition(";base64,")
    return (head[5:].partition(";")[0], data) if comma and head.startswith("data:") else ("", None)
