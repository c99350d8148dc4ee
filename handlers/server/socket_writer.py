"""The way out of a client's connection: bytes leave at once, or behind what waits, as the client takes them."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from typing import Final

from tornado.iostream import StreamClosedError

from llm.http1.event_loop import Watch

_TURN: Final = 1024 * 1024  # bytes written before other connections have their turn
_WRITE: Final = 256 * 1024  # bytes for one call


class Sender:
    """A socket that is written to. Only for a client that is slow, something is made that can be waited for."""

    __slots__ = ("_fd", "_held", "_sent", "_taken", "_watch_fd", "closed", "loop", "reading", "sock", "unsent")

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop, watch: Watch) -> None:
        self.sock = sock
        self._fd: int = sock.fileno()
        self.loop = loop
        self._watch_fd = watch
        self.reading = self.closed = False
        self.unsent: list[memoryview] = []  # what waits for the client
        self._held = b""  # leaves with what follows, or in the next turn of the loop
        self._sent = 0  # bytes of what waited
        self._taken: asyncio.Future[None] | None = None  # done when all of that is taken

    def progress(self) -> int:
        """Grows with every byte that the client takes of what waits, or that its system does for it."""
        try:
            # What the kernel holds: it asks for more only when a third of that, up to 4 MB, has gone.
            (held,) = struct.unpack("i", fcntl.ioctl(self._fd, termios.TIOCOUTQ, b"\0" * 4))
        except OSError:  # not every system tells
            held = 0
        return self._sent - int(held)

    def close(self) -> None:
        """At once: nothing that waits will leave."""
        if self.closed:
            return
        self._watch_fd(self._fd, None, None)
        self._fd, self.closed = -1, True
        self.sock.close()
        self._held = b""
        self.unsent.clear()
        if self._taken is not None and not self._taken.done():
            self._taken.set_exception(StreamClosedError())
            self._taken.exception()  # nobody has to wait for it

    def push(self, data: bytes) -> asyncio.Future[None] | None:
        """Nothing if all has left, else done when the client has taken what waits; it fails if the client is gone."""
        if self._held:
            data, self._held = self._held + data, b""
        if self.unsent or not data:
            return self._wait(memoryview(data)) if data else self.closed_future() if self.closed else self._taken
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:  # it is gone, or was closed before
            self.close()
            return self.closed_future()
        return None if sent == len(data) else self._wait(memoryview(data)[sent:])

    def hold(self, data: bytes) -> None:
        """Sends it with what follows in this turn of the loop, or alone."""
        self._held = data
        self.loop.call_soon(self._let_go)

    def _let_go(self) -> None:
        if self._held:
            self.push(b"")

    def _wait(self, data: memoryview) -> asyncio.Future[None]:
        self.unsent.append(data)
        if len(self.unsent) == 1:
            self.update_watch()
        if self._taken is None or self._taken.done():  # cancelled, perhaps, by whom it was for
            self._taken = self.loop.create_future()
        return self._taken

    def closed_future(self) -> asyncio.Future[None]:
        future = self.loop.create_future()
        future.set_exception(StreamClosedError())
        future.exception()  # nobody has to wait for it
        return future

    def _write(self) -> None:
        turn = 0
        while self.unsent and turn < _TURN:
            try:
                sent = self.sock.send(self.unsent[0][:_WRITE])
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
        taken, self._taken = self._taken, None
        if taken is not None and not taken.done():
            taken.set_result(None)
        self.on_all_sent()

    def update_watch(self) -> None:
        if not self.closed:
            self._watch_fd(self._fd, self.on_readable if self.reading else None, self._write if self.unsent else None)

    def on_all_sent(self) -> None:
        """Nothing waits any more."""
        raise NotImplementedError

    def on_readable(self) -> None:
        """Something came, or the other side has closed."""
        raise NotImplementedError
