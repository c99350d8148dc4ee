"""Maps names of tools that the engine's wire does not accept: names with dots, or longer than its limit.

The same name always gives the same one, in tools, history and tool choice, so prompt caches hold; in the answer the
client gets its own name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Final

from llm.chat.events import Event, ToolCallStarted
from llm.chat.messages import Message, Part, ToolCall, ToolResult
from llm.chat.request import ChatRequest

_LONGEST: Final = 64  # characters that every wire accepts
_DIGEST: Final = 8  # hexadecimal digits that keep two names different
_OTHER: Final = re.compile(r"[^a-zA-Z0-9_-]")
_CHOICE: Final = "tool:"


def fit_tool_names(request: ChatRequest, accepted: re.Pattern[str]) -> tuple[ChatRequest, Mapping[str, str]]:
    """Returns the request with names that match ``accepted``, and the client's name for each that was changed."""
    sent = {name: _shorten(name) for name in _names_of(request) if not accepted.fullmatch(name)}
    if not sent:
        return request, {}
    options, choice = request.options, request.options.tool_choice or ""
    if choice.startswith(_CHOICE) and choice[len(_CHOICE) :] in sent:
        options = replace(options, tool_choice=_CHOICE + sent[choice[len(_CHOICE) :]])
    if options.allowed_tools:
        options = replace(options, allowed_tools=tuple(sent.get(name, name) for name in options.allowed_tools))
    tools = tuple(replace(tool, name=sent[tool.name]) if tool.name in sent else tool for tool in request.tools)
    messages = tuple(_rename(message, sent) for message in request.messages)
    renamed = replace(request, messages=messages, tools=tools, options=options)
    return renamed, {short: name for name, short in sent.items()}


def _names_of(request: ChatRequest) -> Iterator[str]:
    for tool in request.tools:
        if tool.executor != "provider":
            yield tool.name
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, ToolCall) and part.executor != "provider":
                yield part.name


def _shorten(name: str) -> str:
    digest = sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    clean = _OTHER.sub("_", name)[: _LONGEST - _DIGEST - 1]
    return f"{clean if clean[:1].isalpha() else 't' + clean[1:]}_{digest}"


def _rename(message: Message, sent: Mapping[str, str]) -> Message:
    parts = tuple(_rename_part(part, sent) for part in message.parts)
    return message if parts == message.parts else replace(message, parts=parts)


def _rename_part(part: Part, sent: Mapping[str, str]) -> Part:
    if isinstance(part, ToolCall) and part.executor != "provider" and part.name in sent:
        return replace(part, name=sent[part.name])
    if isinstance(part, ToolResult) and part.name is not None and part.name in sent:
        return replace(part, name=sent[part.name])
    return part


class ClientToolNames:
    """The stage that gives calls the names under which the client knows its tools."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names  # by the name that the engine was sent

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        """Returns the events with the client's names."""
        if not any(type(event) is ToolCallStarted and event.name in self._names for event in events):
            return events
        return [
            replace(event, name=self._names[event.name])
            if isinstance(event, ToolCallStarted) and event.name in self._names
            else event
            for event in events
        ]
