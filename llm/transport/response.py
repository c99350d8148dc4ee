"""An answer on its way: pulled by its reader, bounded by what the reader leaves unread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Final, Self

from llm.errors import EngineUnreachable, FirstByteTimeout, IdleTimeout, Malformed, Truncated
from llm.http1.compression import Inflater, inflater
from llm.http1.message import Headers
from llm.http1.response_parser import ResponseParser
from llm.http1.wakeup import Waiter
from llm.transport.connection import Connection
from llm.transport.interface import READ_LIMIT

READ_AHEAD: Final = 256 * 1024  # bytes that may wait unread before the provider has to wait
DRAIN_BYTES: Final = 64 * 1024  # of a body that nobody wants, to be able to use its connection again
DRAIN_TIME: Final = 1.0  # seconds


class Stale(Exception):
    """Closed before a byte of an answer. On a connection that was kept, the request may be sent once more.

    Only ``Reply.begin`` raises it; it is no error of the tree, since whoever sends has to decide what it means.
    """


class Reply:
    """``llm.transport.interface.HttpReply`` over one connection, which goes back to the pool or is closed at the end.

    Its clock counts only the time in which somebody waits for the provider, so that a slow client of ours is not taken
    for the provider's silence. One timer looks at the clock and sets itself again; reads do not touch it.
    """

    __slots__ = (
        "_connection", "_drain_left", "_draining", "_failure", "_host", "_inflater", "_loop", "_parser", "_patience",
        "_quiet", "_since", "_spoken", "_timer", "_unread", "_unread_size", "_waiter", "_woken", "headers", "on_data",
        "status",
    )  # fmt: skip

    def __init__(self, connection: Connection, method: str, host: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = connection  # None once it is given back or closed
        self._host = host
        self._parser = ResponseParser(method)
        self._inflater: Inflater | None = None
        self._spoken = False  # a byte has come
        self._unread: list[bytes] = []
        self._unread_size = 0  # bytes, as they came
        self._failure: Exception | None = None  # raised when all that came before it has been read
        self._waiter = Waiter(self._loop)
        self._patience = 0.0  # seconds of silence
        self._quiet = 0.0  # seconds waited since the last sign of life, but for a wait that goes on
        self._since = 0.0  # when that began
        self._timer: asyncio.TimerHandle | None = None
        self._drain_left = 0  # bytes that may run out after the reader has left
        self._draining = False
        self.status = 0  # until the head is in, as the parser has it
        self.headers: Headers = self._parser.headers
        self.on_data: Callable[[bytes], bool | None] | None = None
        self._woken = False  # ``on_data`` asked for the reader
        connection.listener = self

    def send(self, head: bytes, body: bytes, patience: float) -> None:
        """Begins to send. ``patience``: seconds in which the answer has to begin, from the last byte that was taken."""
        assert self._connection is not None
        self._patience = patience
        self._connection.write(head, body)

    async def begun(self, idle: float) -> None:
        """Returns when the answer's headers are in; ``idle``: seconds of silence that it may have from then on."""
        self._set_timer(min(self._patience, idle))  # soon enough for both
        parser = self._parser
        while not parser.status:
            if self._failure is not None:
                raise self._failure
            await self._wait()
        self.status, self.headers = parser.status, parser.headers
        self._patience, self._quiet = idle, 0.0
        packed = self.headers.get("Content-Encoding")
        if packed is not None and (not parser.complete or self._unread):
            try:
                self._inflater = inflater(packed)
            except Malformed as error:  # for whoever reads the body: status and headers are still worth having
                self._unread.clear()
                self._end(error)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """What has come since the last call."""
        if self._inflater is not None and self._inflater.pending:
            await asyncio.sleep(0)  # a little on the wire can stand for a lot, which may not keep the loop to itself
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
        pieces = []
        size = 0
        async for piece in self:
            self.alive()
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                self.close()
                raise Malformed(f"The answer of {self._host} is larger than {limit} bytes.")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def alive(self) -> None:
        self._quiet = 0.0

    def drain(self) -> None:
        self._drain_left = DRAIN_BYTES

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.on_data = None  # it may refer to this answer
        if self._connection is None or not self._drain_left:
            self.close()
            return
        self._draining = True
        self._unread.clear()
        self._connection.resume()
        self._set_timer(DRAIN_TIME)

    def close(self) -> None:
        """Hangs up at once. What was not read is gone."""
        self._unread.clear()
        if not self._parser.complete:
            self._end(Truncated(f"The answer of {self._host} was given up before its end."))

    def received(self, data: bytes) -> None:
        """Called by the loop, so that whoever waits goes on in here."""
        self._spoken = True
        parser, unread = self._parser, self._unread
        if piece := parser.alone(data):
            unread.append(piece)
        else:
            try:
                parser.feed(data, unread)
            except Malformed as error:
                self._end(error)
                self._waiter.wake()
                return
        # While the reader waits, nothing is unread but what has just come.
        if self.on_data is not None and unread and self._waiter.waiting and self._inflater is None:
            piece = unread[0] if len(unread) == 1 else b"".join(unread)
            unread.clear()
            try:
                found = self.on_data(piece)
                if found is not None:
                    self._quiet, self._since = 0.0, monotonic()
                if found is not False and not parser.complete:
                    return
            except Exception as error:  # raised where the reader waits
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

    def ended(self, error: OSError | None) -> None:
        self._connection = None
        how = f"{self._host} {'closed' if error is None else 'broke'} the connection"
        if not self._spoken:
            self._end(Stale(f"{how} without an answer."))
        elif not self._parser.status:
            self._end(EngineUnreachable(f"{how} before its answer had begun."))
        elif error is None and self._parser.eof():
            self._end(None)
        else:
            self._end(Truncated(f"{how} in the middle of its answer."))
        self._waiter.wake_soon()

    def _take(self) -> bytes:
        packed = self._inflater
        if packed is not None and packed.pending:
            return self._inflated(packed, b"")
        unread = self._unread
        if not unread:
            return b""
        piece = unread[0] if len(unread) == 1 else b"".join(unread)
        unread.clear()
        self._unread_size = 0
        if self._connection is not None:
            self._connection.resume()
        return piece if packed is None else self._inflated(packed, piece)

    def _inflated(self, packed: Inflater, piece: bytes) -> bytes:
        try:
            return packed.feed(piece)
        except Malformed:
            self.close()
            raise

    async def _wait(self) -> None:
        """Until something has come or the connection is over. Cancelled, it hangs up."""
        waiter = self._waiter
        if waiter.waiting:
            raise RuntimeError("an answer has one reader")
        self._since = monotonic()
        if self._timer is None:
            self._set_timer(self._patience - self._quiet)
        try:
            await waiter
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            self._quiet += monotonic() - self._since

    def _end(self, failure: Exception | None) -> None:
        """The connection has done its part, for better or worse. What has come is still there to be read."""
        self._set_timer(None)
        self._failure = self._failure or failure
        connection, self._connection = self._connection, None
        if connection is not None:
            parser = self._parser
            if failure is None and parser.keep and not parser.excess and not connection.unsent:
                connection.release()
            else:
                connection.close()

    def _set_timer(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        """At the clock."""
        self._timer = None
        if self._draining:
            self.close()
        elif self._waiter.waiting:  # otherwise the next wait sets the timer
            left = self._patience - self._silence()
            if left > 0:
                self._set_timer(left)
            elif self._parser.status:
                self._end(IdleTimeout(f"The answer of {self._host} stood still for {self._patience:g} seconds."))
            else:
                self._end(FirstByteTimeout(f"{self._host} did not begin to answer within {self._patience:g} seconds."))
            self._waiter.wake_soon()

    def _silence(self) -> float:
        now = monotonic()
        waited = self._quiet + now - self._since
        if self._parser.status or self._connection is None:
            return waited
        return min(waited, now - self._connection.sent_at)  # a large request may take its time, as long as it moves
