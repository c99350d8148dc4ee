"""Writes to a client's socket: sends at once, and queues what the kernel does not accept yet."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from typing import Final

from tornado.iostream import StreamClosedError

from llm.http1.event_loop import WatchFunction

_MAX_PER_TURN: Final = 1024 * 1024  # bytes written in one turn of the event loop
_MAX_SEND: Final = 256 * 1024  # bytes passed to one ``send``


class SocketWriter:
    """Writes bytes to a non-blocking socket.

    A future is created only while the client reads too slowly; otherwise a write creates no object to wait for.
    """

    __slots__ = ("_all_sent", "_fd", "_sent", "_watch", "closed", "held", "loop", "reading", "sock", "unsent")

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop, watch: WatchFunction) -> None:
        self.sock = sock
        self._fd: int = sock.fileno()
        self.loop = loop
        self._watch = watch
        self.reading = self.closed = False
        self.unsent: list[memoryview] = []  # queued until the socket is writable
        self.held = b""  # sent with the next ``push``, or in the next turn of the loop
        self._sent = 0  # bytes of ``unsent`` that were sent
        self._all_sent: asyncio.Future[None] | None = None  # done when ``unsent`` is empty

    @property
    def address(self) -> str:
        """The address of the client; empty where it has none."""
        try:
            name = self.sock.getpeername()
        except OSError:
            return ""
        return str(name[0]) if isinstance(name, tuple) else ""

    def count_delivered(self) -> int:
        """Returns a count of bytes that grows whenever the client's system acknowledges queued bytes."""
        try:
            # Subtracts the kernel's send buffer: a socket is writable only when a third of it (up to 4 MB) is free.
            (buffered,) = struct.unpack("i", fcntl.ioctl(self._fd, termios.TIOCOUTQ, b"\0" * 4))
        except OSError:  # not every system has this ioctl
            buffered = 0
        return self._sent - int(buffered)

    def close(self) -> None:
        """Closes the socket at once and discards queued bytes. A pending future fails with ``StreamClosedError``."""
        if self.closed:
            return
        self._watch(self._fd, None, None)
        self._fd, self.closed = -1, True
        self.sock.close()
        self.held = b""
        self.unsent.clear()
        if self._all_sent is not None and not self._all_sent.done():
            self._all_sent.set_exception(StreamClosedError())
            self._all_sent.exception()  # marks it as retrieved: it need not be awaited

    def push(self, data: bytes) -> asyncio.Future[None] | None:
        """Sends ``data`` after anything that is queued.

        Returns None if everything was sent, else a future that is done when the queue is empty. The future fails with
        ``StreamClosedError`` when the connection is closed.
        """
        if self.held:
            data, self.held = self.held + data, b""
        if self.unsent or not data:
            return (
                self._enqueue(memoryview(data))
                if data
                else self.make_closed_future()
                if self.closed
                else self._all_sent
            )
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:  # the client has closed the connection, or the socket is closed already
            self.close()
            return self.make_closed_future()
        return None if sent == len(data) else self._enqueue(memoryview(data)[sent:])

    def hold(self, data: bytes) -> None:
        """Sends ``data`` together with the next :meth:`push`, at the latest in the next turn of the event loop."""
        if not self.held:
            self.loop.call_soon(self._flush_held)
        self.held += data

    def _flush_held(self) -> None:
        if self.held:
            self.push(b"")

    def _enqueue(self, data: memoryview) -> asyncio.Future[None]:
        self.unsent.append(data)
        if len(self.unsent) == 1:
            self.update_watch()
        if self._all_sent is None or self._all_sent.done():  # it may have been cancelled by the task that awaited it
            self._all_sent = self.loop.create_future()
        return self._all_sent

    def make_closed_future(self) -> asyncio.Future[None]:
        """Returns a future that has failed with ``StreamClosedError``."""
        future = self.loop.create_future()
        future.set_exception(StreamClosedError())
        future.exception()  # marks it as retrieved: it need not be awaited
        return future

    def _write_queued(self) -> None:
        turn = 0
        while self.unsent and turn < _MAX_PER_TURN:
            try:
                sent = self.sock.send(self.unsent[0][:_MAX_SEND])
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            turn += sent
            self._sent += sent
            self.unsent[0] = self.unsent[0][sent:]
            if not self.unsent[0]:
                del self.unsent[0]
        if self.unsent:
            return
        self.update_watch()
        all_sent, self._all_sent = self._all_sent, None
        if all_sent is not None and not all_sent.done():
            all_sent.set_result(None)
        self.on_all_sent()

    def update_watch(self) -> None:
        """Registers with the event loop for what is needed now: reading, writing, both or neither."""
        if not self.closed:
            self._watch(
                self._fd, self.on_readable if self.reading else None, self._write_queued if self.unsent else None
            )

    def on_all_sent(self) -> None:
        """Called when the queue has become empty."""
        raise NotImplementedError

    def on_readable(self) -> None:
        """Called when bytes have arrived or the client has closed its side."""
        raise NotImplementedError
