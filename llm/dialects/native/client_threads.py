"""Writes a stored thread for clients: each answer is one message with its tool calls and their results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from llm.chat.messages import Media, Message, Part, Reasoning, Text, ToolCall, ToolResult
from llm.chat.provider_metadata import metadata_for_client
from llm.dialects.native.client_response import read_result, write_call, write_citations
from llm.dialects.native.shared import NAME
from llm.wire.json_codec import Json


def write_thread(messages: Iterable[Message]) -> list[Json]:
    """Returns ``[{role, content, reasoning?, attachments?, toolCalls?, citations?}, …]``."""
    return [_write_message(message) for message in _join_rounds(messages)]


def _join_rounds(messages: Iterable[Message]) -> Iterator[Message]:
    """Joins the rounds of each answer into one message, tool results included."""
    parts: list[Part] = []
    for message in messages:
        if message.role == "user" and not any(isinstance(part, ToolResult) for part in message.parts):
            if parts:
                yield Message("assistant", tuple(parts))
            parts = []
            yield message
        else:
            parts += message.parts
    if parts:
        yield Message("assistant", tuple(parts))


def _write_message(message: Message) -> Json:
    attachments: list[Json] = []
    texts: list[str] = []
    for part in message.parts:
        match part:
            case Media():
                attachments.append(_write_media(part))
            case Text(text, metadata=metadata) if fields := metadata_for_client(metadata, NAME):
                attachments.append({**fields, "contents": text.removeprefix("\n\n")})
            case Text(text):
                texts.append(text)
    wire: dict[str, Json] = {"role": message.role, "content": "".join(texts)}
    if reasoning := "".join(part.text for part in message.parts if isinstance(part, Reasoning)):
        wire["reasoning"] = reasoning
    if attachments:
        wire["attachments"] = attachments
    results = {part.call_id: read_result(part) for part in message.parts if isinstance(part, ToolResult)}
    if calls := [write_call(part, results.get(part.id)) for part in message.parts if isinstance(part, ToolCall)]:
        wire["toolCalls"] = [*calls]
    if citations := write_citations(message):
        wire["citations"] = citations
    return wire


def _write_media(media: Media) -> Json:
    wire: dict[str, Json] = {"mimeType": media.mime, "contents": media.base64, "url": media.url, "title": media.name}
    return {name: value for name, value in wire.items() if value is not None}
