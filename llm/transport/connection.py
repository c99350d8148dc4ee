"""One connection to a provider: writes a request, hands what comes to whoever asked."""

from __future__ import annotations

import asyncio
import socket
import ssl
from time import monotonic
from typing import Final, Protocol

from llm.http1.event_loop import watch_of
from llm.transport.request_head import Place

_RECORD: Final = 2 * 1024  # bytes: behind a smaller read of TLS there is hardly more (a record is up to 16 KB)
_READ: Final = 64 * 1024  # bytes for one call
_READ_TURN: Final = 256 * 1024  # bytes read before other connections have their turn
_WRITE_TURN: Final = 1024 * 1024  # bytes written before other connections have their turn
_WRITE: Final = 256 * 1024  # bytes for one call
_TOGETHER: Final = 64 * 1024  # bytes: a smaller body leaves in one packet with its head
_NOT_NOW: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Listener(Protocol):
    def received(self, data: bytes) -> None: ...

    def ended(self, error: OSError | None) -> None:
        """The other side has closed, or the connection broke. No call follows."""
        ...


class Home(Protocol):
    """Where connections live between two requests."""

    def keep(self, connection: Connection) -> None: ...

    def forget(self, connection: Connection) -> None: ...


class Connection:
    """Takes over a connected socket, plain or TLS: from now on it is read and written here only.

    A stream of Tornado's own keeps buffers for each connection and tells the poller about every read; this one keeps
    nothing and leaves the poller alone (``llm.http1.event_loop``). Without a listener a connection is idle: then
    any byte, or the end, closes it.
    """

    __slots__ = (
        "_fd", "_full", "_home", "_loop", "_out", "_paused", "_reading", "_socket", "_watch_fd",
        "_writing", "listener", "place", "sent_at", "unsent",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, place: Place, home: Home) -> None:
        self.listener: Listener | None = None
        self.place = place
        self.sent_at = 0.0  # when the socket last took something of the request, by the monotonic clock
        self.unsent = False  # the request is not out, or not wholly
        self._home = home
        self._loop = asyncio.get_running_loop()
        self._watch_fd = watch_of(self._loop)
        # A smaller read leaves nothing behind, or the loop tells of it again, as epoll does. libuv does not once a
        # connection has been reset: it tells of the last bytes and the reset at once, and looks no more (uv__poll_io).
        tells_again = isinstance(self._loop, asyncio.SelectorEventLoop)
        self._full = (_RECORD if isinstance(sock, ssl.SSLSocket) else _READ) if tells_again else 0
        self._out: list[memoryview] = []  # what is still to be written
        self._paused = False
        self._socket = sock
        self._fd: int = sock.fileno()
        self._reading = self._writing = False  # what the loop watches for
        self._watch()

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def write(self, head: bytes, body: bytes) -> None:
        """Begins to send; the rest goes out as the provider takes it."""
        if len(body) < _TOGETHER:
            self._out = [memoryview(head + body)]
        else:
            self._out = [memoryview(head), memoryview(body)]
        self.unsent = True
        self.sent_at = monotonic()
        self._write()

    def pause(self) -> None:
        """Reads no more: the buffers fill up on the way, until the provider has to wait."""
        self._paused = True
        self._watch()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._watch()

    def release(self) -> None:
        """Another request may follow."""
        self.listener = None
        self._home.keep(self)

    def still_idle(self) -> bool:
        """Looks whether an idle connection can be used, and closes it if not."""
        try:
            self._socket.recv(_READ)
        except _NOT_NOW:
            return True
        except OSError:
            pass
        self.close()
        return False

    def close(self) -> None:
        """Without telling the listener."""
        if self.closed:
            return
        self._watch_fd(self._fd, None, None)
        self._fd = -1
        self._out.clear()
        self._socket.close()
        self.listener = None
        self._home.forget(self)

    def abort(self) -> None:
        self._end(ConnectionAbortedError("closed by this server"))

    def _read(self) -> None:
        turn = 0
        while (listener := self.listener) is not None and not self._paused:
            try:
                data = self._socket.recv(_READ)
            except _NOT_NOW:
                return
            except OSError as error:
                self._end(error)
                return
            if not data:
                self._end(None)
                return
            listener.received(data)
            if len(data) < self._full:
                return
            turn += len(data)
            if turn >= _READ_TURN:
                if not self._full:
                    self._loop.call_soon(self._read)
                return
        if not self._paused and not self.closed:
            self.still_idle()

    def _write(self) -> None:
        turn = 0
        while self._out and turn < _WRITE_TURN:
            try:
                sent = self._socket.send(self._out[0][:_WRITE])
            except _NOT_NOW:
                break
            except OSError:
                self._out.clear()  # the reason, or an answer that came before, is there to be read
                break
            turn += sent
            self.sent_at = monotonic()
            self._out[0] = self._out[0][sent:]
            if not self._out[0]:
                del self._out[0]
                self.unsent = bool(self._out)
        self._watch()

    def _watch(self) -> None:
        """Tells the loop what to look for, if that has changed: for most answers it never does."""
        if self._fd < 0:
            return
        reading, writing = not self._paused, bool(self._out)
        if (reading, writing) != (self._reading, self._writing):
            self._reading, self._writing = reading, writing
            self._watch_fd(self._fd, self._read if reading else None, self._write if writing else None)

    def _end(self, error: OSError | None) -> None:
        listener = self.listener
        self.close()
        if listener is not None:
            listener.ended(error)
