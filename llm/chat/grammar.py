"""Checks that a stream of events keeps the grammar of ``llm.chat.events`` (S7).

The tests run every stream through it; ``CHECK_GRAMMAR=true`` does so in production, where a breach is logged.
"""

from __future__ import annotations

from collections.abc import Iterable

from llm.chat.events import (
    Cited,
    Event,
    Failed,
    Finished,
    PartEnded,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    ToolProgress,
    UsageReported,
    WholePart,
)


class GrammarBroken(Exception):
    """A bug in a reader or a filter; says which event and why."""


_KINDS = {TextDelta: "text", Cited: "text", ReasoningDelta: "reasoning", ToolCallDelta: "call", ToolCallStarted: "call"}


class Grammar:
    """A state machine over the events of one answer."""

    def __init__(self) -> None:
        self._started = False
        self._ended = False
        self._called = False
        self._last = -1
        self._open: dict[int, str] = {}

    def feed(self, events: Iterable[Event]) -> None:
        for event in events:
            self._one(event)

    def close(self) -> None:
        """The stream is over without an error."""
        self._need(self._ended, "the stream ended without Finished", None)

    def _one(self, event: Event) -> None:
        self._need(not self._ended, "comes after the end", event)
        match event:
            case Started():
                self._need(not self._started, "comes twice", event)
                self._started = True
                return
            case Failed():
                self._ended = True
                return
        self._need(self._started, "comes before Started", event)
        match event:
            case TextDelta(index) | ReasoningDelta(index) | Cited(index):
                self._delta(index, event)
            case ToolCallStarted(index, executor=executor):
                self._opened(index, event)
                self._called = self._called or executor == "client"
            case ToolCallDelta(index, arguments):
                self._need(self._open.get(index) == "call", "is of no open call", event)
                self._need(arguments != "", "is empty", event)
            case PartEnded(index):
                self._need(index in self._open, "ends a part that is not open", event)
                del self._open[index]
            case WholePart(index):
                self._new(index, event)
            case Finished(reason):
                self._need(not self._open, f"leaves parts {sorted(self._open)} open", event)
                self._need(reason != "stop" or not self._called, "says stop beside a call", event)
                self._need(reason != "tool_calls" or self._called, "says tool_calls without a call", event)
                self._ended = True
            case ToolProgress() | UsageReported():
                pass

    def _delta(self, index: int, event: Event) -> None:
        if index not in self._open:
            self._opened(index, event)
        self._need(self._open[index] == _KINDS[type(event)], f"is of a part that is {self._open[index]}", event)

    def _opened(self, index: int, event: Event) -> None:
        self._new(index, event)
        self._open[index] = _KINDS[type(event)]

    def _new(self, index: int, event: Event) -> None:
        self._need(index > self._last, f"opens a part although {self._last} was before", event)
        self._last = index

    @staticmethod
    def _need(holds: bool, what: str, event: Event | None) -> None:
        if not holds:
            raise GrammarBroken(f"{event} {what}" if event else what)
