"""Accepts client connections and enforces their number and their timeouts."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import sys
from collections.abc import Sequence
from time import monotonic
from typing import Final

from handlers.server.connection import App, ClientConnection
from handlers.server.refusal import make_refusal
from llm import log
from llm.http1.event_loop import get_watch_function

_RESERVED_FILES: Final = 64  # file descriptors for everything else: logs, the database, the event loop
_OVER_LIMIT: Final = 16  # connections above the limit whose request is read: the application may answer it
_OVER_LIMIT_TIME: Final = 1.0  # seconds for that request
_ACCEPTS_PER_TURN: Final = 64  # connections accepted in one turn of the event loop
_MAX_READ: Final = 64 * 1024  # bytes of one ``recv``
_CHECKS_PER_TIMEOUT: Final = 8  # checks of each connection within the shortest timeout
_MAX_PERIOD: Final = 1.0  # seconds between two checks
_OUT_OF_FILES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_KEEPALIVE: Final = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}  # seconds, and a count
_UNACKNOWLEDGED: Final = 30.0  # seconds in which a client's system has to acknowledge bytes, at least
_RETRY_ACCEPT: Final = 1.0  # seconds until connections are accepted again after ``_OUT_OF_FILES``


class Listener:
    """Accepts connections and closes those that exceed a timeout. It is the ``ServerState`` of its connections.

    Timeouts hold for headers, bodies and idle connections, and for a client that stops reading: its queued bytes and
    its running answer would otherwise stay in memory without limit. One timer checks all connections.
    """

    def __init__(
        self,
        app: App,
        *,
        header_timeout: float,
        body_timeout: float,
        client_timeout: float,
        max_header_size: int,
        max_connections: int,
    ) -> None:
        """Timeouts are in seconds, ``max_header_size`` in bytes; ``max_connections`` 0: no limit."""
        self.app: App = app
        self.loop = asyncio.get_running_loop()
        self.watch = get_watch_function(self.loop)
        self.connections: set[ClientConnection] = set()
        self.completed: asyncio.Future[None] = self.loop.create_future()
        self.completed.set_result(None)
        self.level_triggered = isinstance(self.loop, asyncio.SelectorEventLoop)
        self.header_timeout = header_timeout
        self.body_timeout = body_timeout
        self.max_header_size = max_header_size
        self.refused_count = 0  # number of connections above ``max_connections``
        self._client_timeout = client_timeout
        self._max_connections = limit_connections(max_connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self._period = min(
            *(t / _CHECKS_PER_TIMEOUT for t in (self.header_timeout, self.body_timeout, self._client_timeout)),
            _MAX_PERIOD,
        )
        self._refusal = make_refusal(app.overload_body(), 429, "Retry-After: 1")
        self._sockets: list[socket.socket] = []
        # Connections with queued bytes: their count of delivered bytes, and the time of its last change.
        self._slow: dict[ClientConnection, tuple[int, float]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self, sockets: Sequence[socket.socket]) -> None:
        """Accepts connections of these listening sockets from now on."""
        self._sockets = [*sockets]
        for sock in self._sockets:
            self._detect_dead_clients(sock)
            self.loop.add_reader(sock.fileno(), self._accept, sock)
        self._schedule_check()

    def _detect_dead_clients(self, sock: socket.socket) -> None:
        """Sets keep-alive probes, for clients that are gone without a word; accepted sockets inherit them."""
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            return
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # A client that reads nothing acknowledges nothing new either: CLIENT_TIMEOUT decides about that one.
        unacknowledged = int(max(self._client_timeout, _UNACKNOWLEDGED) * 1000)
        for option, value in {**_KEEPALIVE, "TCP_USER_TIMEOUT": unacknowledged}.items():
            if hasattr(socket, option):  # not on every system
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

    def stop(self) -> None:
        """Stops accepting connections; open ones continue."""
        for sock in self._sockets:
            self.loop.remove_reader(sock.fileno())
            sock.close()
        self._sockets.clear()

    async def close(self) -> None:
        """Closes all connections and returns after their close callbacks have run."""
        self.stop()
        if self._timer is not None:
            self._timer.cancel()
        for connection in [*self.connections]:
            connection.close()
        await asyncio.sleep(0)

    def _accept(self, sock: socket.socket) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                client, _address = sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF_FILES:
                    raise
                log.write("connections", 40, problem=f"cannot accept a connection: {error.strerror}")
                self.loop.remove_reader(sock.fileno())
                self.loop.call_later(_RETRY_ACCEPT, self._accept_again, sock)
                return
            self.add_client(client)

    def _accept_again(self, sock: socket.socket) -> None:
        if sock in self._sockets:
            self.loop.add_reader(sock.fileno(), self._accept, sock)

    def add_client(self, client: socket.socket) -> None:
        """Creates a connection for an accepted socket, or answers 429 and closes it if there are too many."""
        try:
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # small stream events are sent at once
            if len(self.connections) < self._max_connections:
                ClientConnection(client, self)
                return
            if len(self.connections) < self._max_connections + _OVER_LIMIT:
                ClientConnection(client, self, over_limit=True).deadline = monotonic() + _OVER_LIMIT_TIME
                self._count_refused()
                return
            self._count_refused()
            client.send(self._refusal)
            client.recv(_MAX_READ)  # closing with unread bytes would send a reset, which may discard the response
        except OSError:  # the client has left already, or has sent nothing yet
            pass
        client.close()

    def _count_refused(self) -> None:
        self.refused_count += 1
        if self.refused_count == 1:
            problem = f"{self._max_connections} are open, more are refused (MAX_CONNECTIONS)"
            log.write("connections", 30, problem=problem)

    def _schedule_check(self) -> None:
        self._timer = self.loop.call_later(self._period, self._check_connections)

    def _check_connections(self) -> None:
        now = monotonic()
        before, self._slow = self._slow, {}
        for connection in [*self.connections]:
            if connection.deadline <= now:
                connection.expire()
            elif connection.unsent:
                delivered = connection.count_delivered()
                last, since = before.get(connection, (-1, now))
                if delivered == last and now - since >= self._client_timeout:
                    log.write("connections", problem=f"a client read nothing for {self._client_timeout:g} seconds")
                    connection.close()
                else:
                    self._slow[connection] = (delivered, since if delivered == last else now)
        self._schedule_check()


def limit_connections(configured: int, files: int) -> int:
    """Returns the configured number (0: no limit), at most what the limit of open files allows: two per stream."""
    if files == resource.RLIM_INFINITY:
        return configured or sys.maxsize
    limit = max((files - _RESERVED_FILES) // 2, 1)
    return min(configured, limit) if configured else limit
