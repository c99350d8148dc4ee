"""The prompts that this server adds: to a native chat without a system message, and to the request for a title."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from llm.chat.messages import Message, Text
from llm.chat.request import ChatRequest

_INSTRUCTIONS: Final = (
    "You are an AI assistant that gives accurate information, answers questions and makes helpful suggestions. "
    "Understand what the user needs, communicate clearly, and be informative, concise and relevant."
)
_TITLE_SYSTEM: Final = "Find the best title of a few words for the conversation that follows, in its own language."
_TITLE_PROMPT: Final = (
    "Give the conversation above a title of a few words. Answer with the title and nothing else, without quotes."
)
_TITLE_LENGTH: Final = 200  # characters


def default_instructions(now: datetime, *, clock: bool = True) -> str:
    """Returns the default system prompt. ``clock``: with the time of day, else with the date only."""
    when = f"Current date and time are {now:%A, %d %B %Y, %H:%M}." if clock else f"The date is {now:%A, %d %B %Y}."
    return f"{_INSTRUCTIONS} {when}"


def default_system_message(body: Mapping[str, Any]) -> Message:
    """Returns the default system message of a native chat: with the minute, unless it asks for prompt caching (T4)."""
    return _system_message(int(time.time()) // 60, not (body.get("options") or {}).get("caching"))


@lru_cache(maxsize=4)
def _system_message(minute: int, clock: bool) -> Message:
    """Returns the message for all chats of one minute. ``minute``: minutes since 1970."""
    now = datetime.fromtimestamp(60 * minute).astimezone()
    return Message("system", (Text(default_instructions(now, clock=clock)),))


def read_title_request(body: Mapping[str, Any]) -> ChatRequest:
    """Reads ``POST /llm/title``: a chat request that asks for a title of the conversation in ``body``."""
    texts = [(wire["role"], wire.get("content") or "") for wire in body["messages"] if wire["role"] != "system"]
    conversation = tuple(Message(role, (Text(content),)) for role, content in texts if content)
    system, prompt = Message("system", (Text(_TITLE_SYSTEM),)), Message("user", (Text(_TITLE_PROMPT),))
    return ChatRequest(model=body["model"], messages=(system, *conversation, prompt))


def clean_title(text: str) -> str:
    """Returns the first line with text, without quotes and marks that models put around a title."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    bare = line.lstrip("#").removeprefix("Title:").strip().strip("\"'“”«»*` ").strip()
    return bare[:_TITLE_LENGTH]
