"""Limits: answers per caller, bytes of bodies from callers without a client id, JSON values per body, wrong ids.

Each process counts for itself: with ``PROCESSES`` above 1 the limits hold for each process.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, MutableMapping, Sequence
from ipaddress import IPv6Address, ip_address, ip_network
from time import monotonic
from typing import Any, Final

from tornado.httputil import HTTPServerRequest

from llm import log
from llm.errors import InvalidRequest, RateLimited

MAX_VALUES: Final = 500_000  # JSON values in one body; 32 MB of ``[],[],…`` would be 1 GB of Python objects
MAX_OPEN_BODY: Final = 64 * 1024  # bytes of a body on routes with access ``open``

LARGE_SIZE: Final = 1024 * 1024  # bytes of a body that is always heavy
LARGE_SIZE_COUNTED: Final = 64 * 1024  # the same for one that counts for MAX_KEPT_BODIES, as only one copy is counted
LIGHT_SIZE: Final = 4 * 1024  # bytes of a body that is never heavy
_LIGHT_REFERENCES: Final = 20  # references in schemas
_LIGHT_OBJECTS: Final = 1500  # JSON objects; each takes about 5 microseconds, from the parser to the engine's request

_RETRY_AFTER: Final = 1.0  # seconds; an answer may end at any time
MOST_WRONG_IDS: Final = 10  # of one address in a minute; each further 401 is late
MAX_ADDRESSES: Final = 10_000  # addresses that are counted at a time; the oldest are forgotten
DELAY: Final = 1.0  # seconds
_WINDOW: Final = 60.0  # seconds
_IPV6_PREFIX: Final = 64  # bits: one household has so many addresses

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


class WrongIds:
    """Counts the wrong client ids of each address, except those of this computer."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()  # by address: when it began, and the number

    async def wait(self, request: HTTPServerRequest, ids: Sequence[str], log_fields: MutableMapping[str, Any]) -> None:
        """Waits before a 401, after too many wrong ids. ``ids``: those that the request has; adds the address."""
        address: str = getattr(request.connection, "address", "")
        log_fields["address"] = address or None
        if self.count(address, is_wrong=bool(ids)):
            await asyncio.sleep(DELAY)

    def count(self, address: str, *, is_wrong: bool) -> bool:
        """Counts a wrong id, if it is one; returns whether there were too many in a minute."""
        group = _group(address)
        if not group:
            return False
        now = self._clock()
        since, number = self._counts.pop(group, (now, 0))
        if now - since >= _WINDOW:
            since, number = now, 0
        number += is_wrong
        if not number:
            return False
        self._counts[group] = since, number
        if len(self._counts) > MAX_ADDRESSES:
            self._counts.popitem(last=False)
        if is_wrong and number == MOST_WRONG_IDS + 1:
            problem = f"more than {MOST_WRONG_IDS} wrong client ids in a minute: further 401s come a second late"
            log.write("wrong_ids", 30, address=address, problem=problem)
        return number > MOST_WRONG_IDS


def _group(address: str) -> str:
    """Returns the address, or the network of an IPv6 address; empty for this computer and what is no address."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(ip, IPv6Address):
        ip = ip.ipv4_mapped or ip
    if ip.is_loopback:
        return ""
    return str(ip) if ip.version == 4 else str(ip_network((ip, _IPV6_PREFIX), strict=False))
