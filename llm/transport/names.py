"""Looks up host names in threads of their own: one at a time for each name, so that a slow one delays no other."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from contextlib import suppress
from time import monotonic
from typing import Any, Final, NamedTuple, TypeAlias

Address: TypeAlias = tuple[int, Any]
"""The family and the socket address (numeric host, port, ...) of one address of a name."""

# ``getaddrinfo`` reports no lifetime of an answer. It is asked since it also reads /etc/hosts and nsswitch.conf.
FRESH_TIME: Final = 60.0  # seconds in which an answer is used without a new look-up
STALE_TIME: Final = 3600.0  # seconds in which an older answer is used while the name is looked up again
MAX_ANSWERS: Final = 256  # names whose answers are kept


class _Answer(NamedTuple):
    addresses: list[Address]
    since: float  # time.monotonic() of the look-up


class NameLookups:
    """Finds the addresses of host names, for one event loop.

    - ``max_running``: look-ups at the same time; more wait for their turn. Without it each name may have one.
    - ``keep_answers``: False looks every name up again for each connection.
    """

    def __init__(self, max_running: int | None = None, *, keep_answers: bool = True) -> None:
        self._turn = None if max_running is None else asyncio.Semaphore(max_running)
        self._keep_answers = keep_answers
        self._answers: dict[str, _Answer] = {}  # by name, the oldest look-up first
        self._running: dict[str, asyncio.Task[list[Address]]] = {}

    @property
    def running(self) -> int:
        """How many look-ups run or wait for their turn."""
        return len(self._running)

    async def find(self, host: str, port: int) -> list[Address]:
        """Returns the addresses of ``host``, at least one, in the system's order. A numeric host is not looked up.

        Raises ``OSError`` and ``UnicodeError``.
        """
        if (numeric := _read_numeric(host, port)) is not None:
            return numeric
        answer = self._answers.get(host)
        age = monotonic() - answer.since if answer is not None else STALE_TIME
        if answer is not None and age < STALE_TIME:
            addresses = answer.addresses
            if age >= FRESH_TIME:
                self._start(host)
        else:
            addresses = await asyncio.shield(self._start(host))
        return _with_port(addresses, port)

    async def renew(self, host: str, port: int) -> list[Address]:
        """Looks a name up again whose addresses could not be reached. Returns the addresses that are new."""
        answer = self._answers.get(host)
        if answer is None:
            return []
        try:
            addresses = await asyncio.shield(self._start(host))
        except (OSError, UnicodeError):
            return []
        return _with_port([address for address in addresses if address not in answer.addresses], port)

    def renew_later(self, host: str) -> None:
        """Starts to look a name up again, if its answer is kept, without waiting for it."""
        if host in self._answers:
            self._start(host)

    def close(self) -> None:
        """Ends all waits. Threads that still run end by themselves and hold up no exit of the process."""
        for task in self._running.values():
            task.cancel()

    def _start(self, host: str) -> asyncio.Task[list[Address]]:
        """Returns the running look-up of a name; starts it if there is none."""
        task = self._running.get(host)
        if task is None:
            task = self._running[host] = asyncio.create_task(self._look_up(host))
            task.add_done_callback(lambda ended: self._finish(host, ended))
        return task

    async def _look_up(self, host: str) -> list[Address]:
        if self._turn is None:
            return await _run_thread(host)
        async with self._turn:
            return await _run_thread(host)

    def _finish(self, host: str, task: asyncio.Task[list[Address]]) -> None:
        del self._running[host]
        if task.cancelled() or task.exception() is not None or not self._keep_answers:
            return
        self._answers.pop(host, None)
        self._answers[host] = _Answer(task.result(), monotonic())
        if len(self._answers) > MAX_ANSWERS:
            del self._answers[next(iter(self._answers))]


def look_up(host: str) -> list[Address]:
    """Returns the addresses of a name, with port 0. Blocks. Raises ``OSError`` and ``UnicodeError``."""
    found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    return [(int(family), address) for family, _, _, _, address in found]


async def _run_thread(host: str) -> list[Address]:
    """Runs ``look_up`` in a thread of its own, which a look-up without an answer does not take from others."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[list[Address]] = loop.create_future()

    def finish(addresses: list[Address] | None, error: Exception | None) -> None:
        if result.done():  # cancelled
            return
        if addresses is not None:
            result.set_result(addresses)
        else:
            result.set_exception(error or OSError(errno.EIO, "the look-up failed"))

    def run() -> None:
        addresses, failure = None, None
        try:
            addresses = look_up(host)
        except Exception as error:
            failure = error
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(finish, addresses, failure)

    try:
        threading.Thread(target=run, name="look-up", daemon=True).start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, "no thread for the name look-up could be started") from error
    return await result


def _read_numeric(host: str, port: int) -> list[Address] | None:
    """Returns the address that ``host`` is; None for a name and for other spellings, such as ``0x7f.1``."""
    try:
        socket.inet_pton(socket.AF_INET, host)
    except (OSError, ValueError):
        if ":" not in host:
            return None
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        return [(int(family), address) for family, _, _, _, address in found]
    return [(int(socket.AF_INET), (host, port))]


def _with_port(addresses: list[Address], port: int) -> list[Address]:
    return [(family, (address[0], port, *address[2:])) for family, address in addresses]
