"""The prompts that this server adds: to a native chat without a system message, and to the request for a title."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import lru_cache
from typing import Any, Final

from llm.chat.messages import Message, Text
from llm.chat.provider_metadata import ProviderMetadata, metadata_for_client
from llm.chat.request import ChatRequest
from llm.dialects import native

_INSTRUCTIONS: Final = (
    "You are an AI assistant that gives accurate information, answers questions and makes helpful suggestions. "
    "Understand what the user needs, communicate clearly, and be informative, concise and relevant."
)
_DATE_FORMAT: Final = "%A, %d %B %Y"
_DATE_FIELD: Final = "date"  # in the metadata of a stored prompt
_TITLE_SYSTEM: Final = "Find the best title of a few words for the conversation that follows, in its own language."
_TITLE_PROMPT: Final = (
    "Give the conversation above a title of a few words. Answer with the title and nothing else, without quotes."
)
_TITLE_LENGTH: Final = 200  # characters


@lru_cache(maxsize=8)
def default_system_message(day: date | None) -> Message:
    """Returns the default system message of a native chat. It has no time of day: prompt caches compare prefixes (T4).

    ``day``: the date that it names; None: it names none.
    """
    when = f" The date is {day:{_DATE_FORMAT}}." if day else ""
    return Message("system", (Text(f"{_INSTRUCTIONS}{when}"),))


def date_prompt(history: Sequence[Message], prompt: Message, today: date) -> Message:
    """Returns the prompt of a thread, with today's date in its metadata if it is not the date of the turn before."""
    if next((day for message in reversed(history) if (day := read_date(message))), None) == today:
        return prompt
    noted = ProviderMetadata(native.NAME, native.NAME, {_DATE_FIELD: today.isoformat()})
    return replace(prompt, metadata=(*prompt.metadata, noted))


def add_dates(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Returns the messages of a thread behind the default system message, each turn as it was first sent.

    Current Claude models refuse signed reasoning after any change of the messages before it. So the system message
    names the date on which the thread began, and a prompt of a later day ends with its own date.
    """
    first = read_date(messages[0])
    dated = (
        replace(message, parts=(*message.parts, Text(f"\n\nThe date is now {day:{_DATE_FORMAT}}.")))
        if number and (day := read_date(message))
        else message
        for number, message in enumerate(messages)
    )
    return (default_system_message(first), *dated)


def read_today() -> date:
    """Returns today's date where this server runs."""
    return date.fromtimestamp(time.time())


def read_date(message: Message) -> date | None:
    """Returns the date that :func:`date_prompt` has noted in the message, or None."""
    noted = metadata_for_client(message.metadata, native.NAME).get(_DATE_FIELD)
    return date.fromisoformat(noted) if isinstance(noted, str) else None


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
