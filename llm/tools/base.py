"""The interface of the server's tools, and the selection of tools for a request.

A tool object is created once, at start, and called by many requests concurrently: it holds a key or a transport, but no
state of a call. ``llm.gateway.tool_loop`` runs it under a time limit and cancels it when the client disconnects, so a
tool waits with ``await`` only and moves long work to a thread or process.
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
    """A tool call failed. ``str()`` is a sentence with the reason, for the model and the user."""


class Tool(Protocol):
    """A tool that the server runs for a model."""

    spec: ToolSpec  # executor "server"; ``parameters`` is a JSON Schema: a call's arguments are validated before
    paid: bool  # uses the server's own keys, so only callers with a client id may use it

    def describe(self, state: ToolState, arguments: Mapping[str, Json]) -> str:
        """Returns the ``status`` text for people ("Downloading example.org…"), or ``""`` for none."""
        ...

    async def __call__(self, arguments: Mapping[str, Json]) -> Json | tuple[Text | Media, ...]:
        """Returns the result for the model: a JSON value (a string is sent as it is), or parts if it has images.

        Raises ``ToolFailed``. Any other exception counts as a bug: the model gets only the fact that the tool failed.
        """
        ...


Tools: TypeAlias = Mapping[str, Tool]

# Tools of the older server that this one never offers, with the reason.
_DISABLED: Final = {"run_python_code": "this server does not run code that a model wrote"}


def pick_tools(requested: bool | Sequence[str] | None, tools: Tools, *, trusted: bool) -> dict[str, Tool]:
    """Selects the tools of one request by name: all that this caller may use, none, or the named ones.

    ``requested`` is the native API's ``tools`` (``None`` means true). ``trusted``: the caller has a client id. Raises
    ``InvalidRequest`` with the path (``tools[1]``) for a name that is unknown or that this caller may not use.
    """
    usable = {name: tool for name, tool in tools.items() if trusted or not tool.paid}
    if requested is None or requested is True:
        return usable
    picked: dict[str, Tool] = {}
    for number, name in enumerate(requested or ()):
        path = f"tools[{number}]"
        if name in usable:
            picked[name] = usable[name]
        elif name in _DISABLED:
            raise InvalidRequest(f"{path}: {name!r} is disabled: {_DISABLED[name]}", param=path)
        elif name in tools:
            raise InvalidRequest(f"{path}: {name!r} needs a client id", param=path)
        else:
            raise InvalidRequest(f"{path}: unknown tool {name[:60]!r}", param=path)
    return picked
