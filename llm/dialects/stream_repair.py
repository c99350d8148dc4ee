"""Makes the events of a passed-through stream whole for clients that are strict: what all dialects share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from llm.errors import LLMError
from llm.wire.frames import Frame
from llm.wire.json_codec import loads

# Half a surrogate pair as an escape: the first half at the end of a JSON string, the second half at the start of one.
_FIRST_HALF: Final = re.compile(rb'(?<!\\)(?:\\\\)*(\\u[dD][89abAB][0-9a-fA-F]{2})"')
_SECOND_HALF: Final = re.compile(rb'(?<!\\)"(\\u[dD][c-fC-F][0-9a-fA-F]{2})')


def find_first(text: bytes, marks: Sequence[bytes]) -> int:
    """Returns where the first of the marks is, or -1."""
    end = len(text)
    for mark in marks:
        if (at := text.find(mark, 0, end)) >= 0:  # faster than ``in``, and than a pattern
            end = at
    return end if end < len(text) else -1


class StreamRepair:
    """Repairs the events of one stream. Of each read, it gets the first event with one of ``MARKS``, and all after it.

    Half of a surrogate pair at the end of a delta waits for its other half, which some hosts send in the next delta:
    clients in Python cannot encode either half.
    """

    NUMBERED: ClassVar[bool] = False  # the events have numbers (:meth:`find_next_number`)
    MARKS: ClassVar[tuple[bytes, ...]] = (b"\\ud", b"\\uD")

    START: ClassVar[bytes] = b""  # a read that begins in another way is repaired too
    keeps_comments: ClassVar[bool] = True  # False: clients fail at events without data

    __slots__ = ("_half", "needs_start")

    def __init__(self) -> None:
        self._half = b""  # the first half of a pair, as an escape
        self.needs_start = False  # True until :meth:`note_start` has found what the repair needs of the first event

    def note_start(self, frame: Frame) -> None:
        """Notes what the events of the stream share, from one of the first that needed no repair."""

    def check_start(self, start: bytes) -> None:
        """Raises ``LLMError`` if the first bytes of the stream are those of another API. They were not sent yet."""

    def repair(self, event: bytes, frame: Frame) -> bytes:
        """Returns the bytes to send instead of ``event``, which may be none or several events.

        Raises ``LLMError`` if the answer has to end with an error instead of this event.
        """
        return self.join_halves(event)

    def end(self) -> bytes:
        """Returns what is to be sent after the last event of a stream that has no end marker."""
        return b""

    def find_next_number(self, last: bytes) -> int | None:
        """Returns the number of the event after ``last``, whole events; for ``NUMBERED`` wires."""
        return None

    def shows_error(self, frame: Frame, error: LLMError) -> bool:
        """True if the dialect's clients take ``frame`` for the end of a failed answer. ``error``: as it was read."""
        raise NotImplementedError

    def join_halves(self, event: bytes) -> bytes:
        """Moves half a surrogate pair to the event with its other half."""
        if event.find(b"\\u") < 0:
            return event
        if self._half and (second := _SECOND_HALF.search(event)) is not None:
            event = event[: second.start(1)] + self._half + event[second.start(1) :]
            self._half = b""
        first = _FIRST_HALF.findall(event)
        if len(first) == 1 and (match := _FIRST_HALF.search(event)) is not None:
            self._half = match[1]
            event = event[: match.start(1)] + event[match.end(1) :]
        return event


def keep_document(document: bytes) -> bytes:
    """Returns a whole answer as it is, for dialects whose clients read it so."""
    return document


def read_object(frame: Frame) -> dict[str, Any]:
    """Returns the JSON object of a frame; an empty one if it holds anything else."""
    try:
        value = loads(frame.data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
