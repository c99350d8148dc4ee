"""Idle connections, kept for the next request to the same place."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Final

from llm.transport.connection import Connection

_SWEEPS: Final = 2  # a lifetime


class Pool:
    """Last in, first out, so that what is not needed grows old. Connections in use are not in it: none is ever evicted.

    ``most`` bounds the idle connections of all places together, ``lifetime`` (seconds) how long one is kept.
    """

    def __init__(self, most: int, lifetime: float) -> None:
        self._most = most
        self._lifetime = lifetime
        self._idle: dict[Connection, tuple[Hashable, float]] = {}  # the oldest first
        self._homes: dict[Connection, Hashable] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._idle)

    def adopt(self, connection: Connection, place: Hashable) -> None:
        """A connection that may come back some day."""
        self._homes[connection] = place

    def take(self, place: Hashable) -> Connection | None:
        for connection, (where, _) in reversed(self._idle.items()):
            if where == place:
                del self._idle[connection]
                return connection
        return None

    def keep(self, connection: Connection) -> None:
        now = asyncio.get_running_loop().time()
        self._idle[connection] = (self._homes[connection], now)
        if len(self._idle) > self._most:
            next(iter(self._idle)).close()
        if self._sweeping is None:
            self._sweep_later()

    def forget(self, connection: Connection) -> None:
        self._homes.pop(connection, None)
        self._idle.pop(connection, None)

    def close(self) -> None:
        """Closes all of them, those in use too."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for connection in [*self._homes]:
            connection.close()

    def _sweep_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweeping = loop.call_later(self._lifetime / _SWEEPS, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        oldest = asyncio.get_running_loop().time() - self._lifetime
        for connection in [c for c, (_, since) in self._idle.items() if since <= oldest]:
            connection.close()
        if self._idle:
            self._sweep_later()
