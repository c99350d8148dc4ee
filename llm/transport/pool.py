"""The pool of idle connections, for the next request to the same origin."""

from __future__ import annotations

import asyncio
from typing import Final

from llm.transport.connection import Connection
from llm.transport.request_head import Origin

_SWEEPS: Final = 2  # per lifetime


class Pool:
    """Holds all connections and reuses idle ones, the last used first, so that unneeded ones expire.

    ``max_idle`` limits the idle connections of all origins together, ``lifetime`` (seconds) the time that one stays
    idle. Connections in use are closed together with the pool, but they are never counted, expired or evicted (O9).
    """

    def __init__(self, max_idle: int, lifetime: float) -> None:
        self._max_idle = max_idle
        self._lifetime = lifetime
        self._all: set[Connection] = set()
        self._idle: dict[Connection, float] = {}  # the loop's time at which each became idle, oldest first
        self._sweeper: asyncio.TimerHandle | None = None

    def add(self, connection: Connection) -> None:
        """Adds a new connection, which is in use."""
        self._all.add(connection)

    def take(self, origin: Origin) -> Connection | None:
        """Removes and returns an idle connection to ``origin``, or None."""
        for connection in [*reversed(self._idle)]:
            # The provider may have closed it, or sent bytes, since the loop last polled it.
            if connection.origin == origin and connection.check_idle():
                del self._idle[connection]
                return connection
        return None

    def release(self, connection: Connection) -> None:
        """Makes a connection idle; closes the oldest idle one if there are too many."""
        loop = asyncio.get_running_loop()
        self._idle[connection] = loop.time()
        if len(self._idle) > self._max_idle:
            next(iter(self._idle)).close()
        if self._idle and self._sweeper is None:
            self._sweeper = loop.call_later(self._lifetime / _SWEEPS, self._sweep)

    def remove(self, connection: Connection) -> None:
        """Removes a connection that was closed."""
        self._all.discard(connection)
        self._idle.pop(connection, None)

    def close(self) -> None:
        """Closes all connections. Requests that use one fail."""
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
