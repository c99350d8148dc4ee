"""A response in progress: the reader pulls the body, and the amount of unread data is limited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Final, Self

from llm.errors import FirstByteTimeout, IdleTimeout, Malformed, NoResponse, Truncated
from llm.http1.compression import Decompressor, create_inflater
from llm.http1.message import Headers
from llm.http1.response_parser import ResponseParser
from llm.http1.wakeup import Wakeup
from llm.transport.connection import Connection
from llm.transport.interface import READ_LIMIT

READ_AHEAD: Final = 256 * 1024  # bytes that may be unread before reading from the socket pauses
DRAIN_BYTES: Final = 64 * 1024  # bytes read of a body after its reader has left, to reuse the connection
DRAIN_TIME: Final = 1.0  # seconds for these bytes


class StaleConnection(Exception):
    """The connection was closed before the first byte of a response. ``unread``: the provider cannot have read the
    request.

    An unread request on a reused connection may then be sent once more, on a new one. Only
    ``Response.wait_for_headers`` raises this; it is not an ``LLMError``, because the caller decides between another
    attempt and an error.
    """

    def __init__(self, message: str, unread: bool) -> None:
        super().__init__(message)
        self.unread = unread


class Response:
    """An ``HttpResponse`` over one connection, which is returned to the pool or closed at the end.

    The idle timer counts only the time in which the reader waits, so a slow client of this server does not count as
    silence of the provider. One timer checks the elapsed time and re-arms itself; reads do not touch it.
    """

    __slots__ = (
        "_connection", "_drain_left", "_draining", "_failure", "_host", "_inflater", "_loop", "_parser",
        "_received_any", "_silent", "_since", "_timeout", "_timer", "_unread", "_unread_size", "_waiter", "_woken",
        "headers", "on_data", "status",
    )  # fmt: skip

    def __init__(self, connection: Connection, method: str, host: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = connection  # None once it is released or closed
        self._host = host
        self._parser = ResponseParser(method)
        self._inflater: Decompressor | None = None
        self._received_any = False  # at least one byte has arrived
        self._unread: list[bytes] = []
        self._unread_size = 0  # bytes as received, before decompression
        self._failure: Exception | None = None  # raised when everything received before it has been read
        self._waiter = Wakeup(self._loop)
        self._timeout = 0.0  # seconds of silence allowed: until the headers, then between pieces of content
        self._silent = 0.0  # seconds waited since the last content, without the current wait
        self._since = 0.0  # time.monotonic() at the start of the current wait
        self._timer: asyncio.TimerHandle | None = None
        self._drain_left = 0  # bytes that may still be read after the reader has left
        self._draining = False
        self.status = 0  # 0 until the headers have arrived
        self.headers: Headers = self._parser.headers
        self.on_data: Callable[[bytes], bool | None] | None = None
        self._woken = False  # ``on_data`` returned False: the reader gets an empty piece
        connection.receiver = self

    def send(self, head: bytes, body: bytes, timeout: float, pieces: tuple[bytes | memoryview, ...] = ()) -> None:
        """Starts to send. ``timeout``: seconds from the last byte that the socket took to the response headers.

        ``pieces``: the body, instead of ``body``.
        """
        assert self._connection is not None
        self._timeout = timeout
        self._connection.write(head, body, pieces)

    async def wait_for_headers(self, idle_timeout: float) -> None:
        """Waits for the response headers. ``idle_timeout``: seconds of silence allowed from then on.

        Raises ``StaleConnection``, ``EngineUnreachable``, ``FirstByteTimeout`` or ``Malformed``.
        """
        self._set_timer(
            min(self._timeout, idle_timeout)
        )  # the shorter one, since the timer is not set again for the body
        parser = self._parser
        while not parser.status:
            if self._failure is not None:
                raise self._failure
            await self._wait()
        self.status, self.headers = parser.status, parser.headers
        self._timeout, self._silent = idle_timeout, 0.0
        encoding = self.headers.get("Content-Encoding")
        if encoding is not None and (not parser.complete or self._unread):
            try:
                self._inflater = create_inflater(encoding)
            except Malformed as error:  # raised when the body is read: status and headers are usable
                self._unread.clear()
                self._end(error)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Returns the bytes that arrived since the last call."""
        if self._inflater is not None and self._inflater.pending:
            await asyncio.sleep(0)  # a small compressed body can expand to a large one: let other tasks run
        while True:
            if piece := self._take():
                return piece
            if self._failure is not None:
                raise self._failure
            if self._parser.complete:
                break
            if self._woken:
                self._woken = False
                return b""
            await self._wait()
        if self._inflater is not None:
            self._inflater.close()
        raise StopAsyncIteration

    async def read(self, limit: int = READ_LIMIT) -> bytes:
        """See ``HttpResponse.read``."""
        pieces = []
        size = 0
        async for piece in self:
            self.reset_idle_timer()
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                self.close()
                raise Malformed(f"The response of {self._host} is larger than {limit} bytes.")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def reset_idle_timer(self) -> None:
        """See ``HttpResponse.reset_idle_timer``."""
        self._silent = 0.0

    def allow_drain(self) -> None:
        """See ``HttpResponse.allow_drain``: up to ``DRAIN_BYTES`` within ``DRAIN_TIME``."""
        self._drain_left = DRAIN_BYTES

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.on_data = None  # breaks a reference cycle: the callback may refer to this response
        if self._connection is None or not self._drain_left:
            self.close()
            return
        self._draining = True
        self._unread.clear()
        self._connection.resume()
        self._set_timer(DRAIN_TIME)

    def close(self) -> None:
        """Closes the connection at once and drops all unread data."""
        self._unread.clear()
        if not self._parser.complete:
            self._end(Truncated(f"The response of {self._host} was closed before its end."))

    def receive(self, data: bytes) -> None:
        """Handles received bytes (``Receiver``): runs ``on_data`` or wakes the reader, in the same turn of the loop."""
        self._received_any = True
        parser, unread = self._parser, self._unread
        if piece := parser.single_chunk(data):
            unread.append(piece)
        else:
            try:
                parser.feed(data, unread)
            except Malformed as error:
                self._end(error)
                self._waiter.wake()
                return
        # While the reader waits, the unread data is exactly what has just arrived.
        if self.on_data is not None and unread and self._waiter.waiting and self._inflater is None:
            piece = unread[0] if len(unread) == 1 else b"".join(unread)
            unread.clear()
            try:
                result = self.on_data(piece)
                if result is not None:
                    self._silent, self._since = 0.0, monotonic()
                if result is not False and not parser.complete:
                    return
            except Exception as error:  # raised in the reader
                self._end(error)
                self._waiter.wake()
                return
            self._woken = True
        if parser.complete:
            self._end(None)
        elif self._draining:
            unread.clear()
            self._drain_left -= len(data)
            if self._drain_left <= 0:
                self.close()
        else:
            self._unread_size += len(data)
            if self._unread_size > READ_AHEAD and self._connection is not None:
                self._connection.pause()
        self._waiter.wake()

    def handle_end(self, error: OSError | None) -> None:
        """Handles the end of the connection (``Receiver``)."""
        unread = self._connection is not None and self._connection.unread
        self._connection = None
        event = f"{self._host} {'closed' if error is None else 'broke'} the connection"
        if not self._received_any:
            self._end(StaleConnection(f"{event} without a response.", unread))
        elif not self._parser.status:
            self._end(NoResponse(f"{event} before the headers of its response were complete."))
        elif error is None and self._parser.feed_eof():
            self._end(None)
        else:
            self._end(Truncated(f"{event} in the middle of its response."))
        self._waiter.wake_soon()

    def _take(self) -> bytes:
        inflater = self._inflater
        if inflater is not None and inflater.pending:
            return self._inflate(inflater, b"")
        unread = self._unread
        if not unread:
            return b""
        piece = unread[0] if len(unread) == 1 else b"".join(unread)
        unread.clear()
        self._unread_size = 0
        if self._connection is not None:
            self._connection.resume()
        return piece if inflater is None else self._inflate(inflater, piece)

    def _inflate(self, inflater: Decompressor, piece: bytes) -> bytes:
        try:
            return inflater.feed(piece)
        except Malformed:
            self.close()
            raise

    async def _wait(self) -> None:
        """Waits until data has arrived or the connection has ended. Cancelling closes the connection."""
        waiter = self._waiter
        if waiter.waiting:
            raise RuntimeError("a response has only one reader")
        self._since = monotonic()
        if self._timer is None:
            self._set_timer(self._timeout - self._silent)
        try:
            await waiter
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            self._silent += monotonic() - self._since

    def _end(self, failure: Exception | None) -> None:
        """Releases the connection, or closes it after a failure. Data that has arrived can still be read."""
        self._set_timer(None)
        self._failure = self._failure or failure
        connection, self._connection = self._connection, None
        if connection is not None:
            parser = self._parser
            if failure is None and parser.keep_alive and not parser.has_excess and not connection.unsent:
                connection.release()
            else:
                connection.close()

    def _set_timer(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self._loop.call_later(seconds, self._check_timer)

    def _check_timer(self) -> None:
        """Ends a response that was silent too long, or sets the timer again."""
        self._timer = None
        if self._draining:
            self.close()
        elif self._waiter.waiting:  # otherwise the next wait sets the timer
            left = self._timeout - self._count_silence()
            if left > 0:
                self._set_timer(left)
            elif self._parser.status:
                self._end(IdleTimeout(f"{self._host} sent no content for {self._timeout:g} seconds."))
            else:
                self._end(FirstByteTimeout(f"{self._host} did not start to respond within {self._timeout:g} seconds."))
            self._waiter.wake_soon()

    def _count_silence(self) -> float:
        now = monotonic()
        waited = self._silent + now - self._since
        if self._parser.status or self._connection is None:
            return waited
        return min(
            waited, now - self._connection.sent_at
        )  # a large request may take long, as long as bytes of it are sent
