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
from llm.chat.messages import Citation, Executor, Part, ProviderToolRun
from llm.chat.provider_metadata import Metadata


class PartsManager:
    """Turns pieces of text, reasoning and tool calls into events with part indexes, appended to ``events``.

    At most one text or reasoning part is open; a piece of the other kind, a call or a whole part ends it. Calls stay
    open until ``end_call`` or ``end_all``, because their pieces may be interleaved.
    """

    __slots__ = ("_calls", "_kind", "_next", "_open", "events", "has_client_call", "has_output")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.has_client_call = False  # True once a call for the client was opened
        self.has_output = False  # True once there is a part other than reasoning
        self._next = 0
        self._open: int | None = None  # index of the open text or reasoning part
        self._kind: type[TextDelta] | type[ReasoningDelta] | None = None  # of the open part
        self._calls: list[int] = []  # indexes of the open calls

    def take_events(self) -> list[Event]:
        """Returns the events so far and removes them."""
        events, self.events = self.events, []
        return events

    @property
    def in_reasoning(self) -> bool:
        """True if a reasoning part is open."""
        return self._kind is ReasoningDelta

    @property
    def part_count(self) -> int:
        """Number of parts so far."""
        return self._next

    @property
    def open_kind(self) -> type[TextDelta] | type[ReasoningDelta] | None:
        """The kind of the open text or reasoning part; None if there is none."""
        return self._kind

    @property
    def in_text(self) -> bool:
        """True if a text part is open."""
        return self._kind is TextDelta

    def add_text(self, text: str) -> None:
        """Appends to the open text part, or opens one; "" is ignored."""
        if text:
            self.events.append(TextDelta(self._open_index(TextDelta), text))
            self.has_output = True

    def add_reasoning(self, text: str, *, withheld: bool = False) -> None:
        """Appends to the open reasoning part, or opens one; "" is ignored unless the text is ``withheld``."""
        if text or withheld:
            self.events.append(ReasoningDelta(self._open_index(ReasoningDelta), text))

    def add_citation(self, citation: Citation) -> None:
        """Adds a citation to the open text part, or to a new, empty one."""
        if self._kind is not TextDelta:
            self.events.append(TextDelta(self._open_index(TextDelta), ""))
        self.events.append(Cited(self._open_index(TextDelta), citation))

    def open_call(self, id: str, name: str, executor: Executor = "client") -> int:
        """Opens a tool call and returns its index."""
        self.end_open_part()
        index = self._next_index()
        self.events.append(ToolCallStarted(index, id, name, executor))
        self._calls.append(index)
        self.has_client_call = self.has_client_call or executor == "client"
        self.has_output = True
        return index

    def add_arguments(self, index: int, fragment: str) -> None:
        """Appends to the arguments of an open call."""
        if fragment:
            self.events.append(ToolCallDelta(index, fragment))

    def end_call(self, index: int, metadata: Metadata = (), run: ProviderToolRun | None = None) -> None:
        """Ends a call, which the provider has run if ``run`` says so; does nothing if it has ended already."""
        if index in self._calls:
            self._calls.remove(index)
            self.events.append(PartEnded(index, metadata, run))

    def add_whole_part(self, part: Part) -> None:
        """Adds a complete part."""
        self.end_open_part()
        self.events.append(WholePart(self._next_index(), part))
        self.has_output = True

    def end_open_part(self, metadata: Metadata = ()) -> None:
        """Ends the open text or reasoning part, if there is one."""
        if self._open is not None:
            self.events.append(PartEnded(self._open, metadata))
            self._open = self._kind = None

    def end_all(self) -> None:
        """Ends all open parts."""
        self.end_open_part()
        for index in self._calls:
            self.events.append(PartEnded(index))
        self._calls.clear()

    def _open_index(self, kind: type[TextDelta] | type[ReasoningDelta]) -> int:
        if self._open is None or self._kind is not kind:
            self.end_open_part()
            self._open, self._kind = self._next_index(), kind
        return self._open

    def _next_index(self) -> int:
        index, self._next = self._next, self._next + 1
        return index
