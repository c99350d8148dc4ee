"""Limits: running answers per caller, bytes of bodies from callers without a client id, JSON values per body.

Each process counts for itself: with ``PROCESSES`` above 1 the limits hold for each process.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from llm.errors import InvalidRequest, RateLimited

MAX_VALUES: Final = 500_000  # JSON values in one body; 32 MB of ``[],[],…`` would be 1 GB of Python objects
MAX_OPEN_BODY: Final = 64 * 1024  # bytes of a body on routes with access ``open``

LARGE_SIZE: Final = 1024 * 1024  # bytes of a body that is always heavy
LARGE_SIZE_COUNTED: Final = 64 * 1024  # the same for one that counts for MAX_KEPT_BODIES, as only one copy is counted
LIGHT_SIZE: Final = 4 * 1024  # bytes of a body that is never heavy
_LIGHT_REFERENCES: Final = 20  # references in schemas
_LIGHT_OBJECTS: Final = 1500  # JSON objects; each takes about 5 microseconds, from the parser to the engine's request

_RETRY_AFTER: Final = 1.0  # seconds; an answer may end at any time
# A JSON string. It may lack its closing quote: if such a string did not match, each quote in it would be tried again.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)


class ConcurrencyLimit:
    """Limits the running answers of each caller name (``Caller.names``)."""

    def __init__(self, limit: int) -> None:
        self._most = limit  # answers of one name; 0: no limit
        self._running: dict[str, int] = {}

    def __len__(self) -> int:
        """Number of names that have a running answer."""
        return len(self._running)

    def acquire(self, names: frozenset[str]) -> _Answer:
        """Returns a context manager that counts one running answer. Raises ``RateLimited``.

        Each name is counted by itself, so that an invented second key does not avoid the limit.
        """
        if self._most and any(self._running.get(name, 0) >= self._most for name in names):
            message = f"You have {self._most} running answers, the largest number allowed at a time (MAX_ANSWERS)."
            raise RateLimited(message, retry_after=_RETRY_AFTER)
        return _Answer(self._running, names)


class _Answer:
    """Counts one running answer. A class, since a generator would need five times the memory for each open stream."""

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


class BodyBudget:
    """Limits the bytes of all bodies from callers without a client id, from the first byte to the end of the answer.

    Such a caller may send a provider key in the body, so the body has to be read before the caller is refused; and any
    string passes as a key until the provider checks it. Callers with a client id in a header are not limited by this.
    """

    def __init__(self, limit: int) -> None:
        self._most = limit
        self.reserved = 0

    def reserve(self, size: int) -> bool:
        """Reserves ``reserved`` bytes. Returns False if there is no room; reserved bytes go back by ``release``."""
        if self.reserved + size > self._most:
            return False
        self.reserved += size
        return True

    def release(self, size: int) -> None:
        """Returns ``reserved`` reserved bytes."""
        self.reserved -= size


def is_heavy(pieces: Sequence[bytes]) -> bool:
    """True for a JSON body with so many objects or references that the work on it may take more than a few ms."""
    if sum(piece.count(b"{") for piece in pieces) > _LIGHT_OBJECTS:
        return True
    return sum(piece.count(b'"$ref"') for piece in pieces) > _LIGHT_REFERENCES


def make_budget_error(*, uploads: bool = False) -> RateLimited:
    """Returns the error for a body that exceeds the budget. ``uploads``: that of all uploads."""
    message = "Callers without a client id are sending too much data at the moment (MAX_KEPT_BODIES)."
    if uploads:
        message = "There are too many uploads at the moment (MAX_KEPT_UPLOADS)."
    return RateLimited(message, retry_after=_RETRY_AFTER)


def check_values(body: bytes) -> None:
    """Raises ``InvalidRequest`` if the JSON has more than ``MAX_VALUES`` values, before any is parsed."""
    if len(body) <= MAX_VALUES or _count_values(body) <= MAX_VALUES:  # the usual case
        return
    most = 2 * MAX_VALUES + 2  # a value may have a name
    without_strings, strings = _STRING.subn(b"", body, most)
    if strings == most or _count_values(without_strings) > MAX_VALUES:
        raise InvalidRequest(f"body: holds more than {MAX_VALUES} values", param="body")


def _count_values(body: bytes) -> int:
    """Counts the characters that precede a value; exact for JSON without strings, else an upper bound."""
    return sum(map(body.count, (b",", b"[", b"{")))
