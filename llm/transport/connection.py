"""One connection to a provider: writes requests and passes received bytes to a receiver."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import socket
import ssl
import struct
import termios
from time import monotonic
from typing import Final, Protocol

from llm.http1.event_loop import get_watch_function
from llm.transport.request_head import Origin

_RECORD: Final = 2 * 1024  # bytes; after a smaller TLS read more data is unlikely (a record has up to 16 KB)
_READ: Final = 64 * 1024  # bytes per call of recv
_READ_TURN: Final = 256 * 1024  # bytes read before other connections get their turn
_WRITE_TURN: Final = 1024 * 1024  # bytes written before other connections get their turn
_WRITE: Final = 256 * 1024  # bytes per call of send
_JOIN_SIZE: Final = 64 * 1024  # bytes; a smaller body is sent in one write with its head
_LARGE_UNREAD: Final = 300_000  # milliseconds in which the other side has to take more of a large body
_WOULD_BLOCK: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Receiver(Protocol):
    """Receives the bytes of a response."""

    def receive(self, data: bytes) -> None:
        """Handles received bytes; at least one."""
        ...

    def handle_end(self, error: OSError | None) -> None:
        """Handles the end of the connection: closed by the other side, or broken with ``error``. No call follows."""
        ...


class ConnectionOwner(Protocol):
    """Owns connections: the pool."""

    def release(self, connection: Connection) -> None:
        """Takes a connection back that has become idle."""
        ...

    def remove(self, connection: Connection) -> None:
        """Removes a connection that was closed."""
        ...


class Connection:
    """Reads and writes one connected socket, plain or TLS, which it owns.

    Tornado's ``IOStream`` buffers the data of each connection and re-registers with the poller for every read; this
    class does neither (``llm.http1.event_loop``). Without a receiver the connection is idle; then any byte or the end
    of the stream closes it.
    """

    __slots__ = (
        "_fd",
        "_full",
        "_loop",
        "_out",
        "_owner",
        "_paused",
        "_reading",
        "_size",
        "_socket",
        "_watch_fd",
        "_writing",
        "origin",
        "receiver",
        "sent_at",
        "unread",
        "unsent",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, origin: Origin, owner: ConnectionOwner) -> None:
        self.receiver: Receiver | None = None
        self.origin = origin
        self.sent_at = 0.0  # time.monotonic() when the socket last took bytes of the request
        self.unread = False  # set at the end: the other side cannot have read the request
        self.unsent = False  # a part of the request has not been written yet
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._watch_fd = get_watch_function(self._loop)
        # After a read of fewer bytes than this, reading stops until the next event: asyncio's poller (epoll) is level-
        # triggered and reports data that is left. libuv reports the last bytes and a reset only once (uv__poll_io), so
        # under uvloop every read goes on until the socket would block.
        level_triggered = isinstance(self._loop, asyncio.SelectorEventLoop)
        self._full = (_RECORD if isinstance(sock, ssl.SSLSocket) else _READ) if level_triggered else 0
        self._out: list[memoryview] = []  # bytes still to be written
        self._paused = False
        self._size = 0  # bytes of the last request
        self._socket = sock
        self._fd: int = sock.fileno()
        self._reading = self._writing = False  # events that the loop watches for
        self._watch()

    @property
    def closed(self) -> bool:
        """True once the socket is closed."""
        return self._fd < 0

    def write(self, head: bytes, body: bytes, pieces: tuple[bytes | memoryview, ...] = ()) -> None:
        """Starts to write a request; the rest is written whenever the socket takes more."""
        self._size = len(head) + (sum(map(len, pieces)) if pieces else len(body))
        if pieces:
            self._out = [memoryview(piece) for piece in (head, *pieces) if len(piece)]
        elif len(body) < _JOIN_SIZE:
            self._out = [memoryview(head + body)]
        else:
            self._out = [memoryview(head), memoryview(body)]
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # a provider that is busy may read a large body late
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _LARGE_UNREAD)
        self.unsent = True
        self.sent_at = monotonic()
        self._write()

    def pause(self) -> None:
        """Stops reading: the socket buffers fill up until the provider has to wait (back-pressure)."""
        self._paused = True
        self._watch()

    def resume(self) -> None:
        """Continues reading after :meth:`pause`."""
        if self._paused:
            self._paused = False
            self._watch()

    def release(self) -> None:
        """Makes the connection idle and returns it to its owner for the next request."""
        self.receiver = None
        self._owner.release(self)

    def check_idle(self) -> bool:
        """Checks that an idle connection is usable: no byte and no end has arrived. Closes it otherwise."""
        try:
            self._socket.recv(_READ)
        except _WOULD_BLOCK:
            return True
        except OSError:
            pass
        self.close()
        return False

    def close(self) -> None:
        """Closes the connection without a call to the receiver."""
        if self.closed:
            return
        self._watch_fd(self._fd, None, None)
        self._fd = -1
        self._out.clear()
        self._socket.close()
        self.receiver = None
        self._owner.remove(self)

    def abort(self) -> None:
        """Closes the connection and reports it to the receiver as an error."""
        self._end(ConnectionAbortedError("closed by this server"))

    def _read(self) -> None:
        turn = 0
        while (listener := self.receiver) is not None and not self._paused:
            try:
                data = self._socket.recv(_READ)
            except _WOULD_BLOCK:
                return
            except OSError as error:
                self._end(error)
                return
            if not data:
                self._end(None)
                return
            listener.receive(data)
            if len(data) < self._full:
                return
            turn += len(data)
            if turn >= _READ_TURN:
                if not self._full:
                    self._loop.call_soon(self._read)
                return
        if not self._paused and not self.closed:
            self.check_idle()

    def _write(self) -> None:
        turn = 0
        while self._out and turn < _WRITE_TURN:
            try:
                sent = self._socket.send(self._out[0][:_WRITE])
            except _WOULD_BLOCK:
                break
            except OSError:
                self._out.clear()  # a response that the provider sent before, or the error, is still to be read
                break
            turn += sent
            self.sent_at = monotonic()
            self._out[0] = self._out[0][sent:]
            if not self._out[0]:
                del self._out[0]
                self.unsent = bool(self._out)
        self._watch()

    def _watch(self) -> None:
        """Updates the events that the loop watches for, if they changed; for most responses they never do."""
        if self._fd < 0:
            return
        reading, writing = not self._paused, bool(self._out)
        if (reading, writing) != (self._reading, self._writing):
            self._reading, self._writing = reading, writing
            self._watch_fd(self._fd, self._read if reading else None, self._write if writing else None)

    def _end(self, error: OSError | None) -> None:
        listener = self.receiver
        if listener is not None:
            # A reset, or a time limit, may also follow what was read and not acknowledged yet.
            ended = error is None or error.errno == errno.EPIPE or isinstance(error, ssl.SSLEOFError)
            self.unread = self.unsent or (ended and self._is_unacknowledged())
        self.close()
        if listener is not None:
            listener.handle_end(error)

    def _is_unacknowledged(self) -> bool:
        """True if the other side's system has acknowledged nothing of the request: it had closed the connection."""
        try:
            (waiting,) = struct.unpack("i", fcntl.ioctl(self._fd, termios.TIOCOUTQ, b"\0" * 4))
        except OSError:  # not every system has this ioctl
            return False
        return int(waiting) >= self._size
