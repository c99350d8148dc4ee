"""Connects to the first of several addresses that answers (Happy Eyeballs, RFC 8305)."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import Final

from llm.transport.names import Address

ATTEMPT_DELAY: Final = 0.25  # seconds until the next address is tried too (RFC 8305 section 5)
DEAD_TIME: Final = 300.0  # seconds in which an address that did not answer is tried last
MAX_ADDRESSES: Final = 16  # of one name that are tried

_MAX_DEAD: Final = 256  # addresses that are remembered


class Dialler:
    """Opens TCP connections and remembers addresses that did not answer."""

    def __init__(self) -> None:
        self._dead: dict[Address, float] = {}  # time.monotonic() until which each is tried last, oldest first

    async def dial(self, addresses: Sequence[Address]) -> socket.socket:
        """Returns a connected socket, non-blocking. Raises ``OSError`` if no address can be connected to.

        While one attempt waits, the next address is tried after ``ATTEMPT_DELAY``, or at once after a failure.
        Cancelling closes every socket.
        """
        if len(addresses) == 1:
            return await connect_socket(addresses[0])
        waiting = deque(self._sort(addresses)[:MAX_ADDRESSES])
        pending: dict[asyncio.Task[socket.socket], tuple[Address, float]] = {}
        failure: OSError | None = None
        try:
            while waiting or pending:
                if waiting:
                    address = waiting.popleft()
                    pending[asyncio.create_task(connect_socket(address))] = address, monotonic()
                timeout = ATTEMPT_DELAY if waiting else None
                done, _ = await asyncio.wait(pending, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    address = pending.pop(task)[0]
                    error = task.exception()
                    if error is None:
                        self._dead.pop(address, None)
                        return task.result()
                    if not isinstance(error, OSError):
                        raise error
                    self._mark(address)
                    failure = failure or error
        finally:
            now = monotonic()
            for task, (address, since) in pending.items():
                if not task.done() and now - since >= ATTEMPT_DELAY:
                    self._mark(address)
                task.cancel()
                task.add_done_callback(_close_result)
        raise failure or OSError("there is no address to connect to")

    def _mark(self, address: Address) -> None:
        self._dead.pop(address, None)
        self._dead[address] = monotonic() + DEAD_TIME
        if len(self._dead) > _MAX_DEAD:
            del self._dead[next(iter(self._dead))]

    def _sort(self, addresses: Sequence[Address]) -> list[Address]:
        """Alternates between the families, beginning with the system's first; puts dead addresses last."""
        first = [address for address in addresses if address[0] == addresses[0][0]]
        other = [address for address in addresses if address[0] != addresses[0][0]]
        mixed = [address for pair in zip(first, other, strict=False) for address in pair]
        shorter = len(mixed) // 2
        mixed += first[shorter:] + other[shorter:]
        now = monotonic()
        return sorted(mixed, key=lambda address: self._dead.get(address, 0.0) > now)


async def connect_socket(address: Address) -> socket.socket:
    """Returns a socket that is connected to ``address``. Raises ``OSError``."""
    family, place = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, place)
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError) and error.errno:  # asyncio's text is "Connect call failed", without the reason
            raise OSError(error.errno, os.strerror(error.errno)) from None
        raise
    return sock


def _close_result(task: asyncio.Task[socket.socket]) -> None:
    """Closes the socket of an attempt that was not needed any more when it succeeded."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()
