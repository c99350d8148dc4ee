"""What a tool of the server is, and which of them a request may use.

A tool is made once, at start, and called by many requests at once: it holds what it needs (a key, a transport) and no
state of a call. ``llm.gateway.tool_loop`` runs it under a time limit and cancels it when the client goes away, so a
tool does its waiting in ``await`` and moves long work to a thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, Protocol, TypeAlias

from llm.chat.messages import Media, Text
from llm.chat.request import ToolSpec
from llm.errors import InvalidRequest
from llm.wire.json_codec import Json

ToolState: TypeAlias = Literal["running", "completed", "canceled", "error"]


class ToolFailed(Exception):
    """A tool could not do what it was asked. ``str()`` is a sentence that is told to the model and to the person."""


class Tool(Protocol):
    """Something that the server does for a model."""

    spec: ToolSpec  # executor "server"; ``parameters`` is a JSON Schema, against which the arguments were checked
    paid: bool  # spends the server's own keys, so it is only for callers with a client id

    def describe(self, state: ToolState, arguments: Mapping[str, Json]) -> str:
        """The ``status`` text for people ("Downloading example.org…"); ``""`` where there is nothing to say."""
        ...

    async def __call__(self, arguments: Mapping[str, Json]) -> Json | tuple[Text | Media, ...]:
        """The result for the model: a JSON value (a string is told as it is), or parts where it has pictures.

        Raises ``ToolFailed``. Anything else that is raised counts as a bug, and the model is told only that it failed.
        """
        ...


Tools: TypeAlias = Mapping[str, Tool]

# Tools of the older server that this one never offers.
_OFF: Final = {"run_python_code": "this server does not run code that a model wrote"}


def pick(wanted: bool | Sequence[str] | None, tools: Tools, *, trusted: bool) -> dict[str, Tool]:
    """The tools of one request: all that this caller may use, none, or the named ones.

    ``wanted`` is the native API's ``tools`` (``None`` is true). ``trusted`` is a caller with a client id. Raises
    ``InvalidRequest`` with the place (``tools[1]``) for a name that is unknown, or not for this caller.
    """
    usable = {name: tool for name, tool in tools.items() if trusted or not tool.paid}
    if wanted is None or wanted is True:
        return usable
    picked: dict[str, Tool] = {}
    for number, name in enumerate(wanted or ()):
        place = f"tools[{number}]"
        if name in usable:
            picked[name] = usable[name]
        elif name in _OFF:
            raise InvalidRequest(f"{place}: {name!r} is off: {_OFF[name]}", param=place)
        elif name in tools:
            raise InvalidRequest(f"{place}: {name!r} is only for callers with a client id", param=place)
        else:
            raise InvalidRequest(f"{place}: there is no tool {name[:60]!r} here", param=place)
    return picked
