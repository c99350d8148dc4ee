"""Part indexes for wires without any: which part a delta belongs to, and where a part ends."""

from __future__ import annotations

from llm.chat.events import (
    Cited,
    Event,
    PartEnded,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    WholePart,
)
from llm.chat.messages import Citation, Executor, Part
from llm.chat.provider_metadata import Keep


class Flow:
    """Turns pieces of text, reasoning and tool calls into events with part indexes, appended to ``events``.

    At most one text or reasoning part is open; a piece of the other kind, a call or a whole part ends it. Calls stay
    open until ``end_call`` or ``end_all``, because their pieces may be interleaved.
    """

    __slots__ = ("_calls", "_kind", "_next", "_open", "called", "out")

    def __init__(self) -> None:
        self.out: list[Event] = []
        self.called = False  # True once a call for the client was opened
        self._next = 0
        self._open: int | None = None  # index of the open text or reasoning part
        self._kind: type[TextDelta] | type[ReasoningDelta] | None = None  # of the open part
        self._calls: list[int] = []  # indexes of the open calls

    def take(self) -> list[Event]:
        """Returns the events so far and removes them."""
        events, self.out = self.out, []
        return events

    @property
    def thinking(self) -> bool:
        """True if a reasoning part is open."""
        return self._kind is ReasoningDelta

    @property
    def speaking(self) -> bool:
        """True if a text part is open."""
        return self._kind is TextDelta

    def text(self, text: str) -> None:
        """Appends to the open text part, or opens one; "" is ignored."""
        if text:
            self.out.append(TextDelta(self._open_index(TextDelta), text))

    def reasoning(self, text: str, *, withheld: bool = False) -> None:
        """Appends to the open reasoning part, or opens one; "" is ignored unless the text is ``withheld``."""
        if text or withheld:
            self.out.append(ReasoningDelta(self._open_index(ReasoningDelta), text))

    def cite(self, citation: Citation) -> None:
        """Adds a citation to the open text part, or to a new, empty one."""
        if self._kind is not TextDelta:
            self.out.append(TextDelta(self._open_index(TextDelta), ""))
        self.out.append(Cited(self._open_index(TextDelta), citation))

    def call(self, id: str, name: str, executor: Executor = "client") -> int:
        """Opens a tool call and returns its index."""
        self.end_open()
        index = self._next_index()
        self.out.append(ToolCallStarted(index, id, name, executor))
        self._calls.append(index)
        self.called = self.called or executor == "client"
        return index

    def arguments(self, index: int, fragment: str) -> None:
        """Appends to the arguments of an open call."""
        if fragment:
            self.out.append(ToolCallDelta(index, fragment))

    def end_call(self, index: int, keep: Keep = ()) -> None:
        """Ends a call; does nothing if it has ended already."""
        if index in self._calls:
            self._calls.remove(index)
            self.out.append(PartEnded(index, keep))

    def whole(self, part: Part) -> None:
        """Adds a complete part."""
        self.end_open()
        self.out.append(WholePart(self._next_index(), part))

    def end_open(self, keep: Keep = ()) -> None:
        """Ends the open text or reasoning part, if there is one."""
        if self._open is not None:
            self.out.append(PartEnded(self._open, keep))
            self._open = self._kind = None

    def end_all(self) -> None:
        """Ends all open parts."""
        self.end_open()
        for index in self._calls:
            self.out.append(PartEnded(index))
        self._calls.clear()

    def _open_index(self, kind: type[TextDelta] | type[ReasoningDelta]) -> int:
        if self._open is None or self._kind is not kind:
            self.end_open()
            self._open, self._kind = self._next_index(), kind
        return self._open

    def _next_index(self) -> int:
        index, self._next = self._next, self._next + 1
        return index
