"""The neutral messages as JSON, with nothing lost: the form in which threads keep them.

Not a wire: no client sees it. What a part's maker alone understands (signatures) is in it as it came, so that a thread
goes on with the engine that said it, and with any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm.chat.messages import Citation, Foreign, Media, Message, Part, Reasoning, Text, ToolCall, ToolResult
from llm.chat.provider_metadata import Keep, read_keep, write_keep
from llm.wire.json_codec import Json


def write_message(message: Message) -> dict[str, Json]:
    parts: list[Json] = [_write_part(part) for part in message.parts]
    return _dense({"role": message.role, "parts": parts, "keep": write_keep(message.keep)})


def read_message(wire: Mapping[str, Any]) -> Message:
    """What :func:`write_message` made. Raises ``ValueError``, ``KeyError`` or ``TypeError`` for anything else."""
    return Message(wire["role"], tuple(_read_part(part) for part in wire.get("parts", ())), _keep(wire))


def _write_part(part: Part) -> dict[str, Json]:
    match part:
        case Text(text, citations, keep):
            cited: list[Json] = [_write_citation(citation) for citation in citations]
            return {"type": "text", **_dense({"text": text, "citations": cited, "keep": write_keep(keep)})}
        case Reasoning(text, keep):
            return {"type": "reasoning", **_dense({"text": text, "keep": write_keep(keep)})}
        case Media(mime=mime, base64=base64, url=url, file_id=file_id, name=name, keep=keep):
            source = {"mime": mime, "base64": base64, "url": url, "file_id": file_id, "name": name}
            return {"type": "media", **_dense({**source, "keep": write_keep(keep)})}
        case ToolCall(id, name, arguments, executor, keep):
            call = {"id": id, "name": name, "arguments": arguments, "executor": executor}
            return {"type": "call", **_dense({**call, "keep": write_keep(keep)})}
        case ToolResult(call_id, content, is_error, name, keep):
            told: list[Json] = [_write_part(item) for item in content]
            result = {"call_id": call_id, "content": told, "is_error": is_error or None, "name": name}
            return {"type": "result", **_dense({**result, "keep": write_keep(keep)})}
        case Foreign(keep):
            return {"type": "foreign", "keep": write_keep(keep)}


def _read_part(wire: Mapping[str, Any]) -> Part:
    keep = _keep(wire)
    match wire["type"]:
        case "text":
            return Text(wire.get("text", ""), tuple(_read_citation(c) for c in wire.get("citations", ())), keep)
        case "reasoning":
            return Reasoning(wire.get("text", ""), keep)
        case "media":
            source = {name: wire.get(name) for name in ("base64", "url", "file_id", "name")}
            return Media(mime=wire["mime"], **source, keep=keep)
        case "call":
            return ToolCall(wire["id"], wire["name"], wire["arguments"], wire["executor"], keep)
        case "result":
            content: Any = tuple(_read_part(item) for item in wire.get("content", ()))
            return ToolResult(wire["call_id"], content, wire.get("is_error", False), wire.get("name"), keep)
        case "foreign":
            return Foreign(keep)
    raise ValueError(f"a part of type {wire['type']!r}")


def _write_citation(citation: Citation) -> Json:
    place = {"url": citation.url, "title": citation.title, "quote": citation.quote}
    return _dense({**place, "start": citation.start, "end": citation.end, "keep": write_keep(citation.keep)})


def _read_citation(wire: Mapping[str, Any]) -> Citation:
    place = {name: wire.get(name) for name in ("url", "title", "quote", "start", "end")}
    return Citation(**place, keep=_keep(wire))


def _keep(wire: Mapping[str, Any]) -> Keep:
    keep = read_keep(wire.get("keep", []))
    if keep is None:
        raise ValueError("opaque data that is none")
    return keep


def _dense(wire: dict[str, Any]) -> dict[str, Json]:
    """Without what was not there; an empty text, or a call without an id, is there."""
    return {name: value for name, value in wire.items() if value is not None and value != []}
