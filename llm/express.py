"""The short way: a piece of text from the read that brought it to the client's socket, in one turn of the loop.

Nearly all events of a stream are like the one before but for their text. Such an event needs neither a look at the
rest of its JSON nor the stages that an answer otherwise passes one by one: whoever has to know of it is told in one
call. Everything else goes the long way, and so does every piece while the client has not taken what was sent before.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, Protocol

from llm.codec import dumps
from llm.events import Delta, Event, ReasoningDelta, TextDelta


class Express(Protocol):
    """The end of the short way: a client that is ready to be written to."""

    def ready(self) -> bool:
        """Whether a piece would leave at once."""
        ...

    def send(self, delta: Delta) -> None: ...

    def pass_on(self, piece: bytes) -> None:
        """Bytes of the client's own wire."""
        ...


class Through:
    """A stage on the short way: what ``seen`` makes of each delta goes on. All else is the end's own."""

    __slots__ = ("_seen", "_send", "pass_on", "ready")

    def __init__(self, beyond: Express, seen: Callable[[Delta], Delta]) -> None:
        self.ready = beyond.ready
        self.pass_on = beyond.pass_on
        self._send = beyond.send
        self._seen = seen

    def send(self, delta: Delta) -> None:
        self._send(self._seen(delta))


class Told(Through):
    """One that only wants to know of it."""

    __slots__ = ()

    def send(self, delta: Delta) -> None:
        self._seen(delta)
        self._send(delta)


def through(express: Express | None, seen: Callable[[Delta], Delta]) -> Express | None:
    return None if express is None else Through(express, seen)


def told(express: Express, tell: Callable[[Delta], Any]) -> Express:
    return Told(express, tell)


class Alike:
    """Events of an event stream that are like the last one but for one text.

    The bytes before and behind that text are learnt from an event which the dialect's reader has read. Where another
    event has the same bytes around one JSON text, its JSON differs in that value alone, and the reader would have said
    the same of it with another text.
    """

    __slots__ = ("_before", "_behind", "_like")

    BORDER = b"\n\n"

    def __init__(self) -> None:
        self._before = b""
        self._behind = b""
        self._like: Delta | None = None

    def learn(self, read: bytes, events: list[Event]) -> None:
        """From bytes that begin with an event, and all that was read of them: the last whole event, if each was a delta
        and the text is found.
        """
        self._like = None
        last = events[-1] if events else None
        if not isinstance(last, TextDelta | ReasoningDelta):
            return
        blocks = read.split(self.BORDER)[:-1]
        if len(blocks) != len(events) or not all(type(event) is type(last) for event in events):
            return
        spelled = {dumps(last.text).encode(), json.dumps(last.text).encode()}  # as they are, or escaped
        found = [literal for literal in spelled if literal in blocks[-1]]
        if len(found) == 1 and blocks[-1].count(found[0]) == 1:
            self._before, _, self._behind = blocks[-1].partition(found[0])
            self._like = last

    def only(self, read: bytes) -> bool:
        """Whether these are such events and nothing else, told without decoding them: their texts have no escapes."""
        if self._like is None or not read.endswith(self.BORDER):
            return False
        before, behind = self._before, self._behind
        first, rest = len(before), len(behind) + 1
        for block in read[: -len(self.BORDER)].split(self.BORDER):
            last = len(block) - rest
            if (
                not (block.startswith(before) and block.endswith(behind))
                or block.find(b'"', first) != first
                or block.find(b'"', first + 1) != last
                or block.find(b"\\", first, last) >= 0
            ):
                return False
        return True

    def read(self, read: bytes) -> tuple[Delta | None, int]:
        """One delta with the texts of all whole events in a read, and the bytes that they are; nothing where one of
        them is of another kind.
        """
        like = self._like
        whole = read.rfind(self.BORDER)
        if like is None or whole < 0:
            return None, 0
        before, behind = self._before, self._behind
        start, end = len(before), -len(behind) or None
        texts = []
        for block in read[:whole].split(self.BORDER):
            if not (block.startswith(before) and block.endswith(behind)):
                return None, 0
            literal = block[start:end]
            if literal[:1] != b'"':
                return None, 0
            try:
                spelled = literal.decode()
                text, after = scanstring(spelled, 1)
            except ValueError:
                return None, 0
            if after != len(spelled) or not text:
                return None, 0
            texts.append(text)
        return type(like)(like.index, texts[0] if len(texts) == 1 else "".join(texts)), whole + len(self.BORDER)
