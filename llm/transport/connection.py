"""One connection to a provider: writes a request, feeds what comes to whoever waits for it.

It reads the socket itself: an ``IOStream`` makes a Future, two ``epoll_ctl`` and a second ``recv`` of every event.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Final, Protocol

_READ: Final = bytearray(64 * 1024)  # one buffer for all connections: a read is consumed before the next
_VIEW: Final = memoryview(_READ)
_TURN: Final = 256 * 1024  # bytes read before other connections get their turn
_SMALL: Final = 2 * 1024  # bytes: after a smaller read there is hardly more
_WRITE: Final = 256 * 1024  # bytes handed to the socket at once


class Listener(Protocol):
    def received(self, data: bytes) -> None: ...
    def ended(self, error: OSError | None) -> None:
        """The other side has closed, or the connection broke."""
        ...


class Home(Protocol):
    """Where idle connections live."""

    def keep(self, connection: Connection) -> None: ...
    def forget(self, connection: Connection) -> None: ...


class Connection:
    """Without a listener it is idle; whatever happens to it then closes it."""

    __slots__ = ("_fd", "_home", "_loop", "_out", "_paused", "_sock", "broken", "listener")

    def __init__(self, sock: socket.socket, home: Home) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._fd = sock.fileno()
        self._home = home
        self._out: memoryview | None = None  # what is still to be written
        self._paused = False
        self.broken = False  # a write failed; what the provider said before may still be read
        self.listener: Listener | None = None
        self._loop.add_reader(self._fd, self._readable)

    @property
    def closed(self) -> bool:
        return self._fd < 0

    @property
    def writing(self) -> bool:
        """The request is not out yet."""
        return self._out is not None

    def write(self, data: bytes) -> None:
        self._out = memoryview(data)
        self._writable()
        if self._out is not None and not self.closed:
            self._loop.add_writer(self._fd, self._writable)

    def pause(self) -> None:
        """Reads no more: the provider's own buffers fill up, and then it waits."""
        if not self._paused and not self.closed:
            self._paused = True
            self._loop.remove_reader(self._fd)

    def resume(self) -> None:
        if self._paused and not self.closed:
            self._paused = False
            self._loop.add_reader(self._fd, self._readable)

    def release(self) -> None:
        """The answer ended at its frame's end and nobody asked to close: another request may follow."""
        self.listener = None
        self.resume()
        self._home.keep(self)

    def close(self) -> None:
        if self.closed:
            return
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._fd = -1
        self._out = None
        self._sock.close()
        self._home.forget(self)

    def _readable(self) -> None:
        turn = 0
        while turn < _TURN and not self._paused and not self.closed:
            try:
                size = self._sock.recv_into(_READ)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError as error:
                self._over(error)
                return
            if not size:
                self._over(None)
                return
            if self.listener is None:
                self.close()  # nobody asked: it cannot be used again
                return
            self.listener.received(bytes(_VIEW[:size]))
            if size <= _SMALL:
                return
            turn += size

    def _writable(self) -> None:
        while self._out is not None:
            try:
                sent = self._sock.send(self._out[:_WRITE])
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError:
                self.broken = True
                self._written()
                return
            self._out = self._out[sent:] if sent < len(self._out) else None
        self._written()

    def _written(self) -> None:
        self._out = None
        if not self.closed:
            self._loop.remove_writer(self._fd)

    def _over(self, error: OSError | None) -> None:
        listener, self.listener = self.listener, None
        self.close()
        if listener is not None:
            listener.ended(error)
