"""Collects the deltas of one tool call of an engine's answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llm.chat.freeform import escape_input, split_wrapping
from llm.wire.json_codec import Json, dumps, loads
from llm.wire.json_lenient import as_dict, as_text, drop_null

_FIELDS: Final = ("index", "id", "type", "function", "custom")


class StreamedCall:
    """A streamed tool call. Its events are emitted once its name is known."""

    __slots__ = ("_is_text", "emitted", "fragments", "id", "index", "metadata", "name")

    def __init__(self, id: str) -> None:
        self.id = id
        self.name = ""
        self.fragments: list[str] = []  # of its arguments
        self.emitted = 0  # number of fragments already emitted
        self.index: int | None = None
        self.metadata: dict[str, Json] = {}
        self._is_text = False  # the input of a custom tool, which becomes JSON

    def add(self, wire: Mapping[str, Any]) -> None:
        """Adds a delta, or a whole call: its name, a piece of its arguments and its unknown fields."""
        inner = as_dict(wire.get("function"))
        if not inner and (inner := as_dict(wire.get("custom"))) and not self._is_text:
            self._is_text = True
            self.fragments.append(split_wrapping()[0])
        self.metadata.update({name: value for name, value in wire.items() if name not in _FIELDS and value is not None})
        self.name = self.name or as_text(inner.get("name"))
        arguments = inner.get("arguments", inner.get("input"))
        if arguments is not None and not isinstance(arguments, str):
            arguments = dumps(arguments)
        if arguments and not self.fragments:
            arguments = drop_null(arguments)
        if arguments:
            self.fragments.append(escape_input(arguments) if self._is_text else arguments)

    def end(self) -> None:
        """Adds what ends the arguments of a call whose input is text."""
        if self._is_text:
            self.fragments.append(split_wrapping()[1])

    def take(self) -> str:
        """Returns the arguments that have not been emitted yet; from now on they count as emitted."""
        arguments = "".join(self.fragments[self.emitted :])
        self.emitted = len(self.fragments)
        return arguments

    def note(self, arguments: str) -> None:
        """Adds a piece of the arguments that was emitted already."""
        self.fragments.append(arguments)
        self.emitted = len(self.fragments)

    def is_complete(self) -> bool:
        """True if the arguments so far are one JSON text."""
        last = next((fragment.rstrip() for fragment in reversed(self.fragments) if not fragment.isspace()), "")
        # Arguments in fragments are an object. Without this test each fragment would join all others (O3: linear cost).
        if len(self.fragments) > 2 and not last.endswith("}"):
            return False
        try:
            loads("".join(self.fragments))
        except ValueError:
            return False
        return True

    def is_followed_by(self, id: str, name: str) -> bool:
        """True if a delta with this id and name, with the index of this call, begins another call.

        Hosts without ids number all their calls 0 (S5: calls stay separate); others repeat the name in each delta.
        """
        if not name:
            return False
        if id and self.id:
            return id != self.id
        return bool(self.name) and (name != self.name or self.is_complete())

    def continues_with(self, id: str, name: str) -> bool:
        """True if a delta without index and known id belongs to this call, the last one."""
        return not name or (not id and name == self.name and bool(self.fragments) and not self.is_complete())
