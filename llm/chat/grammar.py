"""Checks the order of the events of ``llm.chat.events`` (S7), and the arguments of tool calls.

The tests check the order in every stream; with ``CHECK_GRAMMAR=true`` the server does too, and logs a violation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
from llm.errors import Malformed
from llm.wire.json_codec import is_json


class GrammarError(Exception):
    """A stream violates the grammar, because of a bug in a reader or a filter. The message names the event."""


_KINDS = {TextDelta: "text", Cited: "text", ReasoningDelta: "reasoning", ToolCallDelta: "call", ToolCallStarted: "call"}


class Grammar:
    """Checks the events of one answer, as a state machine."""

    def __init__(self) -> None:
        self._started = False
        self._ended = False
        self._called = False
        self._last = -1  # index of the newest part
        self._open: dict[int, str] = {}  # index -> kind

    def feed(self, events: Iterable[Event]) -> None:
        """Checks the next events. Raises ``GrammarError``."""
        for event in events:
            self._check(event)

    def close(self) -> None:
        """Checks that the stream is complete; called if it ended without an error. Raises ``GrammarError``."""
        self._require(self._ended, "the stream ended without Finished", None)

    def _check(self, event: Event) -> None:
        self._require(not self._ended, "comes after the end", event)
        match event:
            case Started():
                self._require(not self._started, "comes twice", event)
                self._started = True
                return
            case Failed():
                self._ended = True
                return
        self._require(self._started, "comes before Started", event)
        match event:
            case TextDelta(index) | ReasoningDelta(index) | Cited(index):
                self._check_delta(index, event)
            case ToolCallStarted(index, executor=executor):
                self._open_part(index, event)
                self._called = self._called or executor == "client"
            case ToolCallDelta(index, arguments):
                self._require(self._open.get(index) == "call", "belongs to no open call", event)
                self._require(arguments != "", "is empty", event)
            case PartEnded(index):
                self._require(index in self._open, "ends a part that is not open", event)
                del self._open[index]
            case WholePart(index):
                self._check_new_index(index, event)
            case Finished(reason):
                self._require(not self._open, f"leaves parts {sorted(self._open)} open", event)
                self._require(
                    reason != "stop" or not self._called, "has reason stop although there is a tool call", event
                )
                self._require(
                    reason != "tool_calls" or self._called, "has reason tool_calls without a tool call", event
                )
                self._ended = True
            case ToolProgress() | UsageReported():
                pass

    def _check_delta(self, index: int, event: Event) -> None:
        if index not in self._open:
            self._open_part(index, event)
        self._require(self._open[index] == _KINDS[type(event)], f"belongs to a {self._open[index]} part", event)

    def _open_part(self, index: int, event: Event) -> None:
        self._check_new_index(index, event)
        self._open[index] = _KINDS[type(event)]

    def _check_new_index(self, index: int, event: Event) -> None:
        self._require(index > self._last, f"opens a part with an index not above {self._last}", event)
        self._last = index

    @staticmethod
    def _require(holds: bool, what: str, event: Event | None) -> None:
        if not holds:
            raise GrammarError(f"{event} {what}" if event else what)


class ArgumentsCheck:
    """The stage that ends an answer with an error if a tool call's arguments are not one JSON value.

    It is for clients whose dialect promises a value: their libraries make one up. A broken call is held back until the
    end, since an interrupted answer (``length``, ``filtered``) may end within a call.
    """

    def __init__(self) -> None:
        self._arguments: dict[int, list[str]] = {}  # by part
        self._names: dict[int, str] = {}
        self._broken: list[PartEnded] = []

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        """Returns the events. Raises ``Malformed`` instead of a normal end after a broken call."""
        if len(events) == 1 and type(events[0]) is TextDelta:  # as nearly always
            return events
        out: list[Event] = []
        for event in events:
            match event:
                case ToolCallStarted(index, executor="client"):
                    self._names[index], self._arguments[index] = event.name, []
                case ToolCallDelta(index, arguments) if index in self._arguments:
                    self._arguments[index].append(arguments)
                case PartEnded(index) if index in self._arguments and not _is_value(self._arguments.pop(index)):
                    self._broken.append(event)
                    continue
                case Finished(reason) if self._broken:
                    if reason in ("stop", "tool_calls", "other"):
                        name = self._names[self._broken[0].index]
                        raise Malformed(f"The engine sent arguments of the tool {name!r} that are not one JSON value.")
                    out += self._broken
            out.append(event)
        return out


def _is_value(pieces: list[str]) -> bool:
    text = "".join(pieces)
    return not text.strip() or is_json(text)
