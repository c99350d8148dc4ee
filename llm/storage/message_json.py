"""Lossless JSON form of the neutral messages, in which threads are stored.

No client sees it. It includes the provider metadata of each part (signatures) unchanged, so that a thread can continue
with the same engine or with another one. Field names and types are those of stored files: do not change them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm.chat.messages import Citation, Media, Message, Part, Reasoning, Text, ToolCall, ToolResult, UnknownPart
from llm.chat.provider_metadata import Metadata, read_metadata, write_metadata
from llm.wire.json_codec import Json


def write_message(message: Message) -> dict[str, Json]:
    """Writes a message as JSON."""
    parts: list[Json] = [_write_part(part) for part in message.parts]
    return _dense({"role": message.role, "parts": parts, "keep": write_metadata(message.metadata)})


def read_message(wire: Mapping[str, Any]) -> Message:
    """Reads the JSON of :func:`write_message`. Raises ``ValueError``, ``KeyError`` or ``TypeError`` for any other."""
    return Message(wire["role"], tuple(_read_part(part) for part in wire.get("parts", ())), _read_metadata(wire))


def _write_part(part: Part) -> dict[str, Json]:
    match part:
        case Text(text, citations, metadata):
            cited: list[Json] = [_write_citation(citation) for citation in citations]
            return {"type": "text", **_dense({"text": text, "citations": cited, "keep": write_metadata(metadata)})}
        case Reasoning(text, metadata):
            return {"type": "reasoning", **_dense({"text": text, "keep": write_metadata(metadata)})}
        case Media(mime=mime, base64=base64, url=url, file_id=file_id, name=name, metadata=metadata):
            source = {"mime": mime, "base64": base64, "url": url, "file_id": file_id, "name": name}
            return {"type": "media", **_dense({**source, "keep": write_metadata(metadata)})}
        case ToolCall(id, name, arguments, executor, metadata):
            call = {"id": id, "name": name, "arguments": arguments, "executor": executor}
            return {"type": "call", **_dense({**call, "keep": write_metadata(metadata)})}
        case ToolResult(call_id, content, is_error, name, metadata):
            parts: list[Json] = [_write_part(item) for item in content]
            result = {"call_id": call_id, "content": parts, "is_error": is_error or None, "name": name}
            return {"type": "result", **_dense({**result, "keep": write_metadata(metadata)})}
        case UnknownPart(metadata):
            return {"type": "foreign", "keep": write_metadata(metadata)}


def _read_part(wire: Mapping[str, Any]) -> Part:
    metadata = _read_metadata(wire)
    match wire["type"]:
        case "text":
            return Text(wire.get("text", ""), tuple(_read_citation(c) for c in wire.get("citations", ())), metadata)
        case "reasoning":
            return Reasoning(wire.get("text", ""), metadata)
        case "media":
            source = {name: wire.get(name) for name in ("base64", "url", "file_id", "name")}
            return Media(mime=wire["mime"], **source, metadata=metadata)
        case "call":
            return ToolCall(wire["id"], wire["name"], wire["arguments"], wire["executor"], metadata)
        case "result":
            content: Any = tuple(_read_part(item) for item in wire.get("content", ()))
            return ToolResult(wire["call_id"], content, wire.get("is_error", False), wire.get("name"), metadata)
        case "foreign":
            return UnknownPart(metadata)
    raise ValueError(f"unknown type of part: {wire['type']!r}")


def _write_citation(citation: Citation) -> Json:
    source = {"url": citation.url, "title": citation.title, "quote": citation.quote}
    return _dense({**source, "start": citation.start, "end": citation.end, "keep": write_metadata(citation.metadata)})


def _read_citation(wire: Mapping[str, Any]) -> Citation:
    fields = {name: wire.get(name) for name in ("url", "title", "quote", "start", "end")}
    return Citation(**fields, metadata=_read_metadata(wire))


def _read_metadata(wire: Mapping[str, Any]) -> Metadata:
    metadata = read_metadata(wire.get("keep", []))
    if metadata is None:
        raise ValueError("malformed provider metadata")
    return metadata


def _dense(wire: dict[str, Any]) -> dict[str, Json]:
    """Returns the fields without None and empty lists; empty texts stay."""
    return {name: value for name, value in wire.items() if value is not None and value != []}
