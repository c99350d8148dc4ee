"""The short way: a piece of text from the read that brought it to the client's socket, in one turn of the loop.

Nearly all events of a stream are like the one before but for their text. Such an event needs neither a look at the
rest of its JSON nor the stages that an answer otherwise passes one by one: whoever has to know of it is told in one
call. Everything else goes the long way, and so does every piece while the client has not taken what was sent before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, Final, Protocol

from llm.chat.events import Delta, Event, Piece, ReasoningDelta, TextDelta, ToolCallDelta, text_of_piece
from llm.wire.json_codec import dumps

_BACKSLASH: Final = 0x5C  # as a number, like in ``llm.framing``
_LF: Final = 0x0A


class Express(Protocol):
    """The end of the short way: a client that is ready to be written to."""

    def ready(self) -> bool:
        """Whether a piece would leave at once."""
        ...

    def send(self, delta: Delta) -> None: ...

    def pass_on(self, piece: bytes) -> bool:
        """Bytes of the client's own wire. Returns whether they are on their way: not while it is not :meth:`ready`."""
        ...


class Through:
    """A stage on the short way: what ``seen`` makes of each delta goes on. All else is the end's own."""

    __slots__ = ("_beyond", "_seen", "_send", "ready")

    def __init__(self, beyond: Express, seen: Callable[[Delta], Delta]) -> None:
        self.ready = beyond.ready
        self._beyond = beyond
        self._send = beyond.send
        self._seen = seen

    def send(self, delta: Delta) -> None:
        self._send(self._seen(delta))

    def pass_on(self, piece: bytes) -> bool:
        return self._beyond.pass_on(piece)


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
    the same of it with another text. ``noise`` are values that it never looks at, though they differ in each event
    (``Reader.noise``): they are taken out before events are compared. Nothing is learnt from an event with an
    ``unlike`` member (``Reader.unlike``), and from a piece of a call only if ``calls``. ``border`` ends an event.
    """

    __slots__ = ("_before", "_behind", "_border", "_calls", "_joint", "_like", "_noise", "_noisy", "_unlike")

    def __init__(
        self,
        noise: re.Pattern[bytes] | None = None,
        unlike: re.Pattern[bytes] | None = None,
        border: bytes = b"\n\n",
        *,
        calls: bool = False,
    ) -> None:
        self._noise = noise
        self._unlike = unlike
        self._border = border
        self._calls = calls
        self._noisy: re.Pattern[bytes] | None = None  # the same, where the last event had some
        self._before = b""  # with the quotes around the text
        self._behind = b""  # with the border
        self._joint = b""  # of two events: all that is between their texts
        self._like: Piece | None = None

    def forget(self) -> None:
        """The reader was given an event that is like none: what it makes of the next one may depend on it."""
        self._like = None

    def learn(self, read: bytes, events: list[Event]) -> None:
        """From bytes that begin with an event, and all that was read of them: the last whole event, if each was a piece
        of one kind and the text is found.
        """
        self._like = None
        last = events[-1] if events else None
        if not isinstance(last, TextDelta | ReasoningDelta) and not (self._calls and isinstance(last, ToolCallDelta)):
            return
        if type(events[0]) is not type(last):  # as in the first read, which begins with the start
            return
        blocks = read.split(self._border)[:-1]
        if len(blocks) != len(events) or not all(type(event) is type(last) for event in events):
            return
        block, noises = (blocks[-1], 0) if self._noise is None else self._noise.subn(b"", blocks[-1])
        if self._unlike is not None and self._unlike.search(block):
            return
        text = text_of_piece(last)
        spelled = {dumps(text).encode(), json.dumps(text).encode()}  # as they are, or escaped
        found = [literal for literal in spelled if literal in block]
        if len(found) == 1 and block.count(found[0]) == 1:
            before, _, behind = block.partition(found[0])
            self._before, self._behind = before + b'"', b'"' + behind + self._border
            self._joint = self._behind + self._before
            self._noisy = self._noise if noises else None
            self._like = last

    def plain(self, read: bytes) -> bytes:
        """What such events say, if the read is nothing else, however many, and no text of theirs has an escape."""
        if self._noisy is not None:
            read = self._noisy.sub(b"", read)
        before, behind, joint = self._before, self._behind, self._joint
        if self._like is None or not (read.startswith(before) and read.endswith(behind)):
            return b""
        texts = []
        start, last = len(before), len(read) - len(behind)
        while (end := read.find(b'"', start)) != last:
            if not read.startswith(joint, end):
                return b""
            texts.append(read[start:end])
            start = end + len(joint)
        texts.append(read[start:end])
        said = texts[0] if len(texts) == 1 else b"".join(texts)
        return b"" if _BACKSLASH in said or _LF in said else said

    def read(self, read: bytes) -> tuple[Piece | None, int]:
        """One piece with the texts of all whole events in a read, and the bytes that they are; nothing where one of
        them is of another kind.
        """
        like = self._like
        if like is None:
            return None, 0
        border = self._border
        if not read.endswith(border):
            read = read[: read.rfind(border) + len(border)]
        text = _printable(self.plain(read)) or self._decoded(read)
        return (type(like)(like.index, text), len(read)) if text else (None, 0)

    def _decoded(self, read: bytes) -> str:
        """The texts of such events, with their escapes; nothing where one is of another kind."""
        if self._noisy is not None:
            read = self._noisy.sub(b"", read)
        before, behind = self._before, self._behind.removesuffix(self._border)
        start, end = len(before) - 1, 1 - len(behind)
        texts = []
        for block in read.split(self._border)[:-1]:
            if not (block.startswith(before) and block.endswith(behind)):
                return ""
            try:
                spelled = block[start : end or None].decode()
                text, after = scanstring(spelled, 1)
            except ValueError:
                return ""
            if after != len(spelled) or not text:
                return ""
            texts.append(text)
        return "".join(texts)


def _printable(said: bytes) -> str:
    """As text; nothing where that is no UTF-8, or might hold what no JSON may."""
    try:
        text = said.decode()
    except UnicodeDecodeError:
        return ""
    return text if text.isprintable() else ""
