"""The clients' connections: how many there may be, and how long one may take for what."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import sys
from collections.abc import Sequence
from time import monotonic
from typing import Final

from handlers.server.connection import App, ClientConnection, refusal
from llm import log
from llm.http1.event_loop import watch_of

_FILES_KEPT: Final = 64  # files that are no connection: logs, the database, the loop's own
_AT_ONCE: Final = 64  # connections that are accepted before others have their turn
_READ: Final = 64 * 1024  # bytes, of one read
_LOOKS: Final = 8  # at each connection, in the shortest time that one may take
_LONGEST: Final = 1.0  # seconds between two looks
_OUT_OF_FILES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_RECOVERY: Final = 1.0  # seconds


class Listener:
    """Accepts connections and gives each the same (``client.Home``).

    Headers, bodies and idleness have their time. So has a client that does not read: what waits for it would stay in
    memory, and its answer under way, for ever. One timer looks at all of them.
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
        """Times in seconds, ``max_header_size`` in bytes; ``max_connections`` 0: any number."""
        self.app: App = app
        self.loop = asyncio.get_running_loop()
        self.watch = watch_of(self.loop)
        self.connections: set[ClientConnection] = set()
        self.done: asyncio.Future[None] = self.loop.create_future()
        self.done.set_result(None)
        self.tells_again = isinstance(self.loop, asyncio.SelectorEventLoop)
        self.header_timeout = header_timeout
        self.body_timeout = body_timeout
        self.max_header_size = max_header_size
        self.refused = 0  # connections that were one too many
        self._patience = client_timeout
        self._most = most_connections(max_connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self._period = min(*(t / _LOOKS for t in (self.header_timeout, self.body_timeout, self._patience)), _LONGEST)
        self._too_many = refusal(app.overload_body(), 429, "Retry-After: 1")
        self._sockets: list[socket.socket] = []
        self._stuck: dict[ClientConnection, tuple[int, float]] = {}  # how far it was when it last moved, and when
        self._looking: asyncio.TimerHandle | None = None

    def start(self, sockets: Sequence[socket.socket]) -> None:
        self._sockets = [*sockets]
        for sock in self._sockets:
            self.loop.add_reader(sock.fileno(), self._accept, sock)
        self._look_later()

    def stop(self) -> None:
        """No new connections; those that there are go on."""
        for sock in self._sockets:
            self.loop.remove_reader(sock.fileno())
            sock.close()
        self._sockets.clear()

    async def close(self) -> None:
        """Ends all connections, and returns when their handlers know."""
        self.stop()
        if self._looking is not None:
            self._looking.cancel()
        for connection in [*self.connections]:
            connection.close()
        await asyncio.sleep(0)

    def _accept(self, sock: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                client, _address = sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF_FILES:
                    raise
                log.write("connections", 40, problem=f"cannot accept one: {error.strerror}")
                self.loop.remove_reader(sock.fileno())
                self.loop.call_later(_RECOVERY, self._accept_again, sock)
                return
            self.take(client)

    def _accept_again(self, sock: socket.socket) -> None:
        if sock in self._sockets:
            self.loop.add_reader(sock.fileno(), self._accept, sock)

    def take(self, client: socket.socket) -> None:
        try:
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is written is meant to leave
            if len(self.connections) < self._most:
                ClientConnection(client, self)
                return
            self.refused += 1
            if self.refused == 1:
                log.write("connections", 30, problem=f"there are {self._most}, more are refused (MAX_CONNECTIONS)")
            client.send(self._too_many)
            client.recv(_READ)  # what is left unread would turn the end into a reset
        except OSError:  # it has left already, or has not sent anything
            pass
        client.close()

    def _look_later(self) -> None:
        self._looking = self.loop.call_later(self._period, self._look)

    def _look(self) -> None:
        now = monotonic()
        before, self._stuck = self._stuck, {}
        for connection in [*self.connections]:
            if connection.until <= now:
                connection.close()
            elif connection.unsent:
                taken = connection.progress()
                last, since = before.get(connection, (-1, now))
                if taken == last and now - since >= self._patience:
                    log.write("connections", problem=f"a client took nothing for {self._patience:g} seconds")
                    connection.close()
                else:
                    self._stuck[connection] = (taken, since if taken == last else now)
        self._look_later()


def most_connections(asked: int, files: int) -> int:
    """As many as were asked for (0: any number), but no more than there can be: a stream takes two files."""
    if files == resource.RLIM_INFINITY:
        return asked or sys.maxsize
    most = max((files - _FILES_KEPT) // 2, 1)
    return min(asked, most) if asked else most
