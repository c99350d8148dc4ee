"""The state of one item of an engine's response while its events arrive."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from typing import Any

from llm.wire.json_lenient import as_text


class Section:
    """One text of a message or of reasoning, or the arguments of a call."""

    __slots__ = ("buffer", "cited", "length", "part")

    def __init__(self) -> None:
        self.part: int | None = None  # the index of its part, None until its first event
        self.buffer = StringIO()
        self.length = 0
        self.cited = 0  # number of citations already emitted


class Item:
    """One item of the response."""

    __slots__ = ("ended", "part", "sections", "wire")

    def __init__(self, wire: Mapping[str, Any]) -> None:
        self.wire = wire
        self.part: int | None = None  # the part of reasoning or a call
        self.sections: dict[object, Section] = {}
        self.ended = False

    @property
    def type(self) -> str:
        """The item's type; "" if the engine has not sent it."""
        return as_text(self.wire.get("type"))

    @property
    def is_text_call(self) -> bool:
        """True for a call whose input is text."""
        return self.type == "custom_tool_call"

    def section(self, key: object) -> Section:
        """Returns the section, which is created on its first use."""
        return self.sections.setdefault(key, Section())
