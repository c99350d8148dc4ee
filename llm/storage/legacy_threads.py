"""Threads as the older server kept them: a JSON array of messages, text and attachments only.

Source: llm-server and multi-llm-ts, whose messages are ``{role, content, attachments: [{mimeType, content}]}``; an
attachment's content is base64 for images and documents, plain text for text.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from llm.chat.messages import Message, Part, Reasoning
from llm.dialects.native import read_message
from llm.errors import InvalidRequest
from llm.wire.json_codec import loads


def read_older(text: str) -> list[Message]:
    """Raises ``ValueError`` for what is no such array; a message that says nothing (or a system prompt) is left out."""
    values = loads(text)
    if not isinstance(values, list):
        raise ValueError("the older server's thread is no array")
    return [message for value in values if (message := _read(value)) is not None]


def _read(value: Any) -> Message | None:
    if not isinstance(value, dict) or value.get("role") not in ("user", "assistant"):
        return None
    said = {"role": value["role"], "content": value["content"] if isinstance(value.get("content"), str) else ""}
    message = read_message(said, "thread")
    with suppress(InvalidRequest):  # an attachment that the older server took and nobody could use: its text is kept
        message = read_message({**value, **said}, "thread")
    parts: tuple[Part, ...] = message.parts
    if isinstance(thought := value.get("reasoning"), str) and thought:
        parts = (Reasoning(thought), *parts)
    return Message(message.role, parts) if parts else None
