"""Threads in the format of the older server: a JSON array of messages with text and attachments.

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


def read_legacy_thread(text: str) -> list[Message]:
    """Reads the messages; empty ones and system prompts are left out. Raises ``ValueError`` if it is no JSON array."""
    values = loads(text)
    if not isinstance(values, list):
        raise ValueError("the thread of the older server is not an array")
    return [message for value in values if (message := _read(value)) is not None]


def _read(value: Any) -> Message | None:
    if not isinstance(value, dict) or value.get("role") not in ("user", "assistant"):
        return None
    plain = {"role": value["role"], "content": value["content"] if isinstance(value.get("content"), str) else ""}
    message = read_message(plain, "thread")
    with suppress(InvalidRequest):  # the older server accepted attachments that are not usable: only the text remains
        message = read_message({**value, **plain}, "thread")
    parts: tuple[Part, ...] = message.parts
    if isinstance(reasoning := value.get("reasoning"), str) and reasoning:
        parts = (Reasoning(reasoning), *parts)
    return Message(message.role, parts) if parts else None
