"""Idle connections, kept for the next request to the same place."""

from __future__ import annotations

import asyncio
from typing import Final

from llm.transport.connection import Connection
from llm.transport.request_head import Place

_SWEEPS: Final = 2  # in one lifetime


class Pool:
    """Last in, first out, so that what is not needed grows old.

    ``most`` bounds the idle connections of all places together, ``lifetime`` (seconds) how long one is kept. Those in
    use are known, to be closed with the pool, but never counted, swept or evicted (O9).
    """

    def __init__(self, most: int, lifetime: float) -> None:
        self._most = most
        self._lifetime = lifetime
        self._all: set[Connection] = set()
        self._idle: dict[Connection, float] = {}  # since when, by the loop's time; the oldest first
        self._sweeper: asyncio.TimerHandle | None = None

    def add(self, connection: Connection) -> None:
        """A new connection, in use."""
        self._all.add(connection)

    def take(self, place: Place) -> Connection | None:
        """An idle connection to ``place``, which is in use from now on."""
        for connection in [*reversed(self._idle)]:
            # Its end may have come while the loop had no time to look, or an answer that belongs to nobody.
            if connection.place == place and connection.still_idle():
                del self._idle[connection]
                return connection
        return None

    def keep(self, connection: Connection) -> None:
        """From a connection in use: it is idle from now on."""
        loop = asyncio.get_running_loop()
        self._idle[connection] = loop.time()
        if len(self._idle) > self._most:
            next(iter(self._idle)).close()
        if self._idle and self._sweeper is None:
            self._sweeper = loop.call_later(self._lifetime / _SWEEPS, self._sweep)

    def forget(self, connection: Connection) -> None:
        """From a connection that was closed."""
        self._all.discard(connection)
        self._idle.pop(connection, None)

    def close(self) -> None:
        """Closes all connections; whoever waits for one is told."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for connection in [*self._all]:
            connection.abort()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self._lifetime
        for connection in [connection for connection, since in self._idle.items() if since <= oldest]:
            connection.close()
        self._sweeper = loop.call_later(self._lifetime / _SWEEPS, self._sweep) if self._idle else None
