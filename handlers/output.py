"""A streamed answer on its way to the client: one write a piece, straight to the socket."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Awaitable, Callable

from tornado.iostream import SSLIOStream, StreamClosedError
from tornado.web import RequestHandler

from llm.dialects import Writer
from llm.events import Delta


class Output:
    """Writes pieces below ``RequestHandler.flush``, which costs three times as much per event.

    The headers leave by ``flush``; every later piece is framed here as one HTTP chunk and sent at once when nothing is
    waiting. That also makes :meth:`ping` safe beside a blocked :meth:`write`: two flushes in flight would leave the
    first one waiting for ever (tornado http1connection.py, ``_pending_write``).
    """

    __slots__ = ("_chunked", "_flushed", "_handler", "_write_some", "last", "stream", "waiting")

    def __init__(self, handler: RequestHandler) -> None:
        self._handler = handler
        self.stream = handler.request.connection.stream  # type: ignore[union-attr]
        # The socket's own method: nothing that a stream adds to it is of use while nothing waits in the stream.
        plain = not isinstance(self.stream, SSLIOStream) and not self.stream.closed()
        self._write_some = self.stream.socket.send if plain else self.stream.write_to_fd
        self._chunked = handler.request.version == "HTTP/1.1"
        self._flushed: asyncio.Future[None] | None = None
        self.waiting: asyncio.Future[None] | None = None  # done when the client has taken all that was sent
        self.last = time.monotonic()  # when something was last written

    @property
    def started(self) -> bool:
        """The headers are out: from now on an error is part of the stream."""
        return self._flushed is not None

    def start(self) -> None:
        """Sends the status and the headers."""
        if self._flushed is None:
            self.stream.set_nodelay(True)  # Tornado leaves Nagle on while streaming: 40 ms for the first event
            self.waiting = self._flushed = self._handler.flush()
            self.last = time.monotonic()

    async def write(self, piece: bytes) -> None:
        """Returns when the piece is out of our hands. Raises ``StreamClosedError`` when the client is gone."""
        self.start()
        waiting = self.send(piece)
        if waiting is not None:
            await waiting

    async def write_spaced(self, piece: bytes, spacing: float) -> None:
        """:meth:`write`, at least ``spacing`` seconds after what was written before."""
        early = self.last + spacing - time.monotonic()
        if early > 0:
            await asyncio.sleep(early)
        await self.write(piece)

    def ping(self, piece: bytes) -> None:
        """Sends a sign of life, unless bytes are waiting for the client already."""
        self.start()
        if not self.stream.writing():
            self.send(piece)

    async def end(self) -> None:
        """Ends the answer; for a client of HTTP/1.0, which cannot see the end otherwise, by closing."""
        self.start()
        await self._handler.finish()
        if not self._chunked:
            self.stream.close()

    def abort(self) -> None:
        """Breaks the answer off, so that nobody takes it for whole: the last chunk never comes.

        Without chunks the end is the connection's own, which has to be a reset then.
        """
        if not self._chunked and not self.stream.closed():
            self.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.close()

    def send(self, piece: bytes) -> Awaitable[None] | None:
        """Sends a piece of an answer that has started; what is returned is to be awaited, for a client that is slow.

        Raises ``StreamClosedError`` when the client is gone.
        """
        stream = self.stream
        if stream.closed():
            raise StreamClosedError(real_error=stream.error)
        data = b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece
        if not stream.writing():
            return self._push(data)
        self.last = time.monotonic()
        self.waiting = stream.write(data)
        return self.waiting

    def push(self, piece: bytes) -> bool:
        """:meth:`send`, if nothing waits for the client already; returns whether the piece is out of our hands."""
        if (waiting := self.waiting) is not None and not waiting.done():
            return False
        self._push(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)
        return True

    def _push(self, data: bytes) -> Awaitable[None] | None:
        self.last = time.monotonic()
        try:
            sent = self._write_some(data) or 0
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.stream.close(exc_info=error)
            raise StreamClosedError(real_error=error) from error
        if sent == len(data):
            self.waiting = None
            return None
        self.waiting = self.stream.write(data[sent:])
        return self.waiting


class Direct:
    """The end of the short way (``llm.express``) at a client, once its answer has started."""

    __slots__ = ("_feed", "_gone", "_output")

    def __init__(self, gone: Callable[[], None]) -> None:
        self._gone = gone
        self._output: Output | None = None

    @property
    def opened(self) -> bool:
        return self._output is not None

    def open(self, output: Output, writer: Writer) -> None:
        self._output, self._feed = output, writer.feed

    def ready(self) -> bool:
        output = self._output
        return output is not None and ((waiting := output.waiting) is None or waiting.done())

    def send(self, delta: Delta) -> None:
        for piece in self._feed((delta,)):
            self.pass_on(piece)

    def pass_on(self, piece: bytes) -> bool:
        try:
            return self._output is not None and self._output.push(piece)
        except StreamClosedError:
            self._gone()
            return True
