"""What a caller may have under way, and what those without a client id may make this server keep.

One process counts for itself: with ``PROCESSES`` above 1 each has these limits.
"""

from __future__ import annotations

import re
from typing import Final

from llm.errors import InvalidRequest, RateLimited

MAX_VALUES: Final = 500_000  # in one body: as Python objects, 32 MB of ``[],[],…`` are a gigabyte
MAX_OPEN_BODY: Final = 64 * 1024  # bytes, where anyone may call: such a route has little to be told

_RETRY_AFTER: Final = 1.0  # seconds: answers end at any time
# A text, which may be without its end: one that failed to match would be tried again from each quote in it.
_TEXT: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)


class Answers:
    """The answers under way, by the names of their callers (``Caller.names``)."""

    def __init__(self, most: int) -> None:
        self._most = most  # of one name; 0: any number
        self._running: dict[str, int] = {}

    def __len__(self) -> int:
        """How many names have one under way."""
        return len(self._running)

    def one(self, names: frozenset[str]) -> _Answer:
        """An answer, for as long as a ``with`` takes. Raises ``RateLimited``.

        Each name counts for itself: a made-up key beside a real one does not make its owner somebody else.
        """
        if self._most and any(self._running.get(name, 0) >= self._most for name in names):
            told = f"You have {self._most} answers under way, and more are not made at a time (MAX_ANSWERS)."
            raise RateLimited(told, retry_after=_RETRY_AFTER)
        return _Answer(self._running, names)


class _Answer:
    """A class of its own, since a generator would weigh five times as much beside every open stream."""

    __slots__ = ("_names", "_running")

    def __init__(self, running: dict[str, int], names: frozenset[str]) -> None:
        self._running, self._names = running, names

    def __enter__(self) -> None:
        for name in self._names:
            self._running[name] = self._running.get(name, 0) + 1

    def __exit__(self, *_: object) -> None:
        for name in self._names:
            self._running[name] -= 1
            if not self._running[name]:
                del self._running[name]


class KeptBodies:
    """Bytes of the bodies of all callers without a client id together, from their first one to the end of the answer.

    A stranger may bring a key in its body, so the body has to be read before he can be turned away; and any text will
    do for a key until its provider is asked. Whoever shows a client id in a header is never turned away by this.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.size = 0

    def add(self, size: int) -> bool:
        """Whether they may be kept; if so, they are to be given back by :meth:`remove`."""
        if self.size + size > self._most:
            return False
        self.size += size
        return True

    def remove(self, size: int) -> None:
        self.size -= size


def too_many() -> RateLimited:
    told = "Too much is being sent by callers without a client id (MAX_KEPT_BODIES)."
    return RateLimited(told, retry_after=_RETRY_AFTER)


def check_values(body: bytes) -> None:
    """Raises ``InvalidRequest`` for JSON of more than ``MAX_VALUES`` values, before they are made."""
    if len(body) <= MAX_VALUES or _marks(body) <= MAX_VALUES:  # as it is but for very long texts
        return
    most = 2 * MAX_VALUES + 2  # a value may have a name
    bare, texts = _TEXT.subn(b"", body, most)
    if texts == most or _marks(bare) > MAX_VALUES:
        raise InvalidRequest(f"body: holds more than {MAX_VALUES} values", param="body")


def _marks(body: bytes) -> int:
    """Of values, in a text where no other text is."""
    return sum(map(body.count, (b",", b"[", b"{")))
