"""Parts for wires that have no part numbers: which part a delta belongs to, and when a part has ended."""

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
    """Turns "some text", "some thought", "a piece of that call" into events with part indexes.

    At most one of text and reasoning is open; a piece of the other kind, a call or a whole part ends it. Calls stay
    open until :meth:`end_all`, since their pieces may be interleaved. Every method appends to ``out``.
    """

    __slots__ = ("_calls", "_kind", "_next", "_open", "called", "out")

    def __init__(self) -> None:
        self.out: list[Event] = []
        self.called = False  # the client was given a call
        self._next = 0
        self._open: int | None = None  # index of the open text or reasoning part
        self._kind: type[TextDelta] | type[ReasoningDelta] | None = None
        self._calls: list[int] = []

    def take(self) -> list[Event]:
        """The events so far, handed over."""
        taken, self.out = self.out, []
        return taken

    @property
    def thinking(self) -> bool:
        """A thought is open."""
        return self._kind is ReasoningDelta

    @property
    def speaking(self) -> bool:
        """A text is open."""
        return self._kind is TextDelta

    def text(self, text: str) -> None:
        if text:
            self.out.append(TextDelta(self._in(TextDelta), text))

    def reasoning(self, text: str, *, withheld: bool = False) -> None:
        """``withheld`` opens a part although there is no text to show."""
        if text or withheld:
            self.out.append(ReasoningDelta(self._in(ReasoningDelta), text))

    def cite(self, citation: Citation) -> None:
        """Cites for the open text; where there is none, for an empty one."""
        if self._kind is not TextDelta:
            self.out.append(TextDelta(self._in(TextDelta), ""))
        self.out.append(Cited(self._in(TextDelta), citation))

    def call(self, id: str, name: str, executor: Executor = "client") -> int:
        """Opens a tool call and returns its index."""
        self.end_open()
        index = self._new()
        self.out.append(ToolCallStarted(index, id, name, executor))
        self._calls.append(index)
        self.called = self.called or executor == "client"
        return index

    def arguments(self, index: int, fragment: str) -> None:
        if fragment:
            self.out.append(ToolCallDelta(index, fragment))

    def end_call(self, index: int, keep: Keep = ()) -> None:
        if index in self._calls:
            self._calls.remove(index)
            self.out.append(PartEnded(index, keep))

    def whole(self, part: Part) -> None:
        self.end_open()
        self.out.append(WholePart(self._new(), part))

    def end_open(self, keep: Keep = ()) -> None:
        """Ends the open text or reasoning part, if any."""
        if self._open is not None:
            self.out.append(PartEnded(self._open, keep))
            self._open = self._kind = None

    def end_all(self) -> None:
        self.end_open()
        for index in self._calls:
            self.out.append(PartEnded(index))
        self._calls.clear()

    def _in(self, kind: type[TextDelta] | type[ReasoningDelta]) -> int:
        if self._open is None or self._kind is not kind:
            self.end_open()
            self._open, self._kind = self._new(), kind
        return self._open

    def _new(self) -> int:
        index, self._next = self._next, self._next + 1
        return index
