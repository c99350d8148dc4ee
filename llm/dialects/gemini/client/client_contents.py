"""Reads the contents of a client's request as messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from llm.chat.messages import Media, Message, Part, Reasoning, Role, Text, ToolCall, ToolResult, UnknownPart
from llm.chat.provider_metadata import Metadata, ProviderMetadata, unknown_fields
from llm.dialects.gemini.client.client_fields import SpelledFields, read_objects
from llm.dialects.gemini.shared import NAME, is_signature, to_base64, unseal_metadata
from llm.wire.json_codec import dumps

# "function" is the role of results in older versions; other libraries send those of other APIs.
_ROLES: Final[Mapping[object, Role]] = {
    None: "user", "": "user", "user": "user", "function": "user", "tool": "user", "model": "assistant",
    "assistant": "assistant",
}  # fmt: skip
# Addresses that only the provider can read: uploaded files and its cloud storage.
_OWN_FILES: Final = ("https://generativelanguage.googleapis.com/", "files/", "gs://")
_MIME_BY_END: Final[Mapping[str, str]] = {
    ".pdf": "application/pdf", ".mp3": "audio/mpeg", ".wav": "audio/wav", ".mp4": "video/mp4", ".txt": "text/plain",
}  # fmt: skip


def read_system(fields: SpelledFields) -> Iterator[Message]:
    """Yields the message with the system instruction, if it has a text. Raises ``InvalidRequest``."""
    wire = fields.raw.get("systemInstruction")
    if wire is None:
        return
    content = SpelledFields({"parts": [{"text": wire}]} if isinstance(wire, str) else {}, "systemInstruction")
    content = content if isinstance(wire, str) else fields.read_object("systemInstruction") or content
    texts: list[Part] = []
    for part in read_objects(content, "parts"):
        text = part.read_text("text")
        if text is None:
            raise part.invalid("text", "is required: instructions are texts")
        if text:
            texts.append(Text(text))
    if texts:
        yield Message("system", tuple(texts))


def read_contents(fields: SpelledFields) -> list[Message]:
    """Reads the messages of a conversation. Raises ``InvalidRequest``."""
    reader = _ContentsReader()
    for number, content in enumerate(read_objects(fields, "contents")):
        reader.add(content, number)
    if not reader.messages:
        raise fields.invalid("contents", "is required, as a list with at least one part")
    return reader.messages


class _ContentsReader:
    """Reads contents in order. Contents of the model that follow one another are one message: SDKs keep each chunk of
    a streamed answer as one.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._open: list[ToolCall] = []  # calls without a result so far

    def add(self, content: SpelledFields, number: int) -> None:
        """Adds a content. ``number``: its place in the list."""
        kind = content.raw.get("role")
        role = _ROLES.get(kind) if kind is None or isinstance(kind, str) else None
        if role is None:
            raise content.invalid("role", f"{str(kind)[:40]!r} is not one of user, model")
        read = (self._read_part(part, f"{number}_{n}") for n, part in enumerate(read_objects(content, "parts")))
        parts = [part for part in read if part is not None]
        metadata = unknown_fields(content.raw, ("role", "parts"), NAME, None)
        last = self.messages[-1] if self.messages and self.messages[-1].role == role else None
        if last is not None and role == "user" and not _are_results((*last.parts, *parts)):
            last = None
        before, before_metadata = (last.parts, last.metadata) if last else ((), ())
        joined = _join_parts(before, parts) if role == "assistant" else (*before, *parts)
        if last is not None:
            self.messages.pop()
        if joined:
            self.messages.append(Message(role, joined, (*before_metadata, *metadata)))

    def _read_part(self, fields: SpelledFields, id: str) -> Part | None:
        wire = fields.raw
        if "videoMetadata" in wire:  # which part of a video is meant: no other engine can be asked for that
            return UnknownPart((ProviderMetadata(NAME, None, {"videoMetadata": wire["videoMetadata"], **wire}),))
        if wire.get("functionCall") is not None:
            return self._read_call(fields, id)
        if wire.get("functionResponse") is not None:
            return self._read_result(fields)
        if wire.get("inlineData") is not None and not wire.get("thought"):
            return _read_inline(fields)
        if wire.get("fileData") is not None:
            return _read_file(fields)
        if (text := fields.read_text("text")) is not None:
            thought = fields.read_flag("thought")
            metadata = _read_metadata(wire, ("text", "thought"))
            if thought:
                return Reasoning(text, metadata)
            return Text(text, metadata=metadata) if text or metadata else None
        rest = {name: value for name, value in wire.items() if value is not None}
        return UnknownPart((ProviderMetadata(NAME, None, rest),)) if rest else None

    def _read_call(self, fields: SpelledFields, id: str) -> ToolCall:
        call = fields.read_object("functionCall")
        assert call is not None
        arguments = call.read_plain("args")
        read = ToolCall(
            call.read_text("id") or f"call_{id}",  # the same for the same history: prompt caches depend on it
            call.read_required_text("name"),
            dumps(arguments or {}),
            metadata=_read_metadata(fields.raw, ("functionCall", "thought")),
        )
        self._open.append(read)
        return read

    def _read_result(self, fields: SpelledFields) -> ToolResult:
        """The result belongs to the open call with its id, else to the first with its name, else to the first."""
        result = fields.read_object("functionResponse")
        assert result is not None
        id, name = result.read_text("id"), result.read_text("name")
        call = next((c for c in self._open if id and c.id == id), None)
        call = call or next((c for c in self._open if c.name == name), None)
        if call is None and not id and self._open:  # some libraries write an id as the name
            call = self._open[0]
        if call is not None:
            self._open.remove(call)
        elif not id:
            raise result.invalid("name", f"there is no call of {str(name)[:100]!r} without a result before this one")
        content, failed = _read_response(result)
        for part in read_objects(result, "parts"):
            content.append(_read_inline(part) if part.raw.get("inlineData") is not None else _read_file(part))
        metadata = (
            *_read_metadata(fields.raw, ("functionResponse",)),
            *unknown_fields(result.raw, ("id", "name", "response", "parts"), NAME, None),
        )
        call_id, name = (call.id, call.name) if call else (str(id), name)
        return ToolResult(call_id, tuple(content), failed, name, metadata)


def _are_results(parts: Sequence[Part]) -> bool:
    """True for results alone: those of one round are one message."""
    return all(isinstance(part, ToolResult) for part in parts)


def _read_response(result: SpelledFields) -> tuple[list[Text | Media | UnknownPart], bool]:
    """Reads what a function has returned, and whether it failed: ``{"output": …}``, ``{"error": …}`` or any object."""
    response = result.read_plain("response")
    value: Any = dict(response or {})
    failed = value.keys() == {"error"}
    if len(value) == 1 and (name := next(iter(value))) in ("output", "result", "error"):
        value = value[name]
    return [Text(value if isinstance(value, str) else dumps(value))], failed


def _read_metadata(wire: Mapping[str, Any], known: Sequence[str]) -> Metadata:
    """Returns the unknown fields of a part and its signature; unseals one that this server sealed for a client."""
    signature = wire.get("thoughtSignature")
    sealed = unseal_metadata(signature) if isinstance(signature, str) else None
    if sealed is not None or not is_signature(signature):
        known = (*known, "thoughtSignature")
    present = {name: value for name, value in wire.items() if value is not None}
    return (*(sealed or ()), *unknown_fields(present, known, NAME, None))


def _join_parts(before: Sequence[Part], parts: Sequence[Part]) -> tuple[Part, ...]:
    """Joins the pieces of an answer: a text goes on in the next one, unless that had a signature."""
    joined = [*before]
    for part in parts:
        last = joined[-1] if joined else None
        if isinstance(part, Text | Reasoning) and type(last) is type(part) and not last.metadata:
            joined[-1] = replace(part, text=last.text + part.text)
        else:
            joined.append(part)
    return tuple(joined)


def _read_inline(fields: SpelledFields) -> Media:
    data = fields.read_object("inlineData")
    if data is None:
        raise fields.invalid("inlineData", "is required, as an object")
    return Media(
        mime=data.read_required_text("mimeType"),
        base64=to_base64(data.read_required_text("data")),
        name=data.read_text("displayName"),
        metadata=_read_metadata(fields.raw, ("inlineData",)),
    )


def _read_file(fields: SpelledFields) -> Media | UnknownPart:
    data = fields.read_object("fileData")
    if data is None:
        raise fields.invalid("fileData", "is required, as an object")
    url = data.read_required_text("fileUri")
    if url.startswith(_OWN_FILES):
        return UnknownPart((ProviderMetadata(NAME, None, {"fileData": dict(data.raw), **fields.raw}),))
    mime = data.read_text("mimeType") or next((m for end, m in _MIME_BY_END.items() if url.endswith(end)), "image/*")
    metadata = _read_metadata(fields.raw, ("fileData",))
    return Media(mime=mime, url=url, name=data.read_text("displayName"), metadata=metadata)
