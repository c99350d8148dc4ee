"""An answer on its way: pulled by its reader, bounded by what the reader leaves unread."""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from types import TracebackType
from typing import Final, Self

from tornado.httputil import HTTPHeaders

from llm.errors import EngineUnreachable, FirstByteTimeout, IdleTimeout, LLMError, Malformed, Truncated
from llm.http import READ_LIMIT
from llm.transport.connection import Connection
from llm.transport.parser import ResponseParser

READ_AHEAD: Final = 256 * 1024  # bytes that may wait unread before the provider has to wait
DRAIN_BYTES: Final = 64 * 1024  # of a body that nobody wants, to be able to use its connection again
DRAIN_TIME: Final = 1.0  # seconds
_NO_HEADERS: Final = "The provider closed the connection before it had answered."
_INFLATED: Final = 1024 * 1024  # bytes that one step of decompression may make


class Stale(Exception):
    """A kept connection was closed before it said anything: the request may be sent again on another one."""


class StreamReply:
    """``llm.http.HttpReply`` over one connection, which it gives back or closes at its end."""

    __slots__ = (
        "_clock", "_connection", "_draining", "_error", "_first_byte", "_idle", "_inflate", "_left_at", "_loop",
        "_parser", "_pieces", "_size", "_timer", "_waiter",
    )  # fmt: skip

    def __init__(self, connection: Connection, method: str, idle: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = connection
        self._parser = ResponseParser(method)
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._error: LLMError | Stale | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._inflate: zlib._Decompress | None = None
        self._idle = idle
        self._clock = 0.0  # when content last came, by the loop's time
        self._left_at: float | None = None  # since when the reader is busy elsewhere
        self._timer: asyncio.TimerHandle | None = None
        self._first_byte = False
        self._draining = 0
        connection.listener = self

    @property
    def status(self) -> int:
        return self._parser.status

    @property
    def headers(self) -> HTTPHeaders:
        return self._parser.headers

    async def begin(self, head: bytes, body: bytes, patience: float) -> None:
        """Sends the request and returns when the answer's headers are in, within ``patience`` seconds."""
        assert self._connection is not None
        self._connection.write(head + body)
        late = self._loop.call_later(
            patience, self._fail, FirstByteTimeout("The provider did not begin to answer in time.")
        )
        try:
            while not self.status:
                await self._wait()
        except BaseException:
            self.close()
            raise
        finally:
            late.cancel()
        self._clock = self._loop.time()
        if not self._over:
            self._timer = self._loop.call_later(self._idle, self._check_idle)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """What has come since the last call, as one piece."""
        if self._left_at is not None:
            self._clock += self._loop.time() - self._left_at  # the provider is not to blame for our own client
            self._left_at = None
        while not self._pieces:
            if self._over:
                self._raise()
                raise StopAsyncIteration
            await self._wait()
        piece = self._pieces.popleft() if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        if self._connection is not None:
            self._connection.resume()
            self._left_at = self._loop.time()
        return piece

    async def read(self, limit: int = READ_LIMIT) -> bytes:
        """The rest of the body. Raises ``Malformed`` if it is longer than ``limit`` bytes."""
        pieces = []
        size = 0
        async for piece in self:
            self.alive()
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise Malformed(f"The provider's answer is larger than {limit} bytes.")
        return b"".join(pieces)

    def alive(self) -> None:
        self._clock = self._loop.time()

    def drain(self) -> None:
        self._draining = DRAIN_BYTES

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._draining and error is None and self._connection is not None:
            self._pieces.clear()
            self._connection.resume()
            self._set_timer(DRAIN_TIME, self.close)
        else:
            self.close()

    def close(self) -> None:
        """Hangs up, unless the answer was complete."""
        self._set_timer(0, None)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.listener = None
            connection.close()

    def received(self, data: bytes) -> None:
        """From the connection."""
        self._first_byte = True
        pieces: list[bytes] = []
        try:
            try:
                self._parser.feed(data, pieces)
            finally:
                for piece in pieces:
                    self._keep(piece)
        except LLMError as error:
            self._fail(error)
            return
        if self._parser.complete:
            self._release()
        elif self._draining:
            self._draining -= len(data)
            if self._draining <= 0:
                self.close()
        elif self._size > READ_AHEAD and self._connection is not None:
            self._connection.pause()
        if self._pieces or self._over or self.status:
            self._wake()

    def ended(self, error: OSError | None) -> None:
        """From the connection: closed by the other side, or broken."""
        self._connection = None
        if not self._first_byte:
            self._fail(Stale())
            return
        try:
            if error is not None and not self._parser.complete:
                raise Truncated("The connection to the provider broke in the middle of its answer.")
            self._parser.eof()
        except LLMError as failure:
            self._fail(failure if self.status else EngineUnreachable(_NO_HEADERS))
            return
        self._set_timer(0, None)
        self._wake()

    @property
    def _over(self) -> bool:
        return self._error is not None or self._parser.complete

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    async def _wait(self) -> None:
        self._raise()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if not self.status:
            self._raise()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: LLMError | Stale) -> None:
        """What has come is still handed over before the error is raised."""
        self._error = error
        self.close()
        self._wake()

    def _release(self) -> None:
        self._set_timer(0, None)
        connection, self._connection = self._connection, None
        if connection is not None:
            sound = not (self._parser.excess or connection.writing or connection.broken)
            if self._parser.keep_alive and sound:
                connection.release()
            else:
                connection.listener = None
                connection.close()

    def _keep(self, piece: bytes) -> None:
        if self._draining:
            return
        if "Content-Encoding" not in self.headers:
            self._pieces.append(piece)
            self._size += len(piece)
            return
        for inflated in self._inflated(piece):
            self._pieces.append(inflated)
            self._size += len(inflated)

    def _inflated(self, piece: bytes) -> list[bytes]:
        """We ask for no compression; some compress all the same."""
        if self._inflate is None:
            encoding = self.headers["Content-Encoding"].strip().lower()
            if encoding == "identity":
                return [piece]
            if encoding not in ("gzip", "x-gzip", "deflate"):
                raise Malformed("The provider compressed its answer in a way that was not asked for.")
            self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
        pieces = []
        try:
            while piece:
                if inflated := self._inflate.decompress(piece, _INFLATED):
                    pieces.append(inflated)
                piece = self._inflate.unconsumed_tail
        except zlib.error:
            raise Malformed("The provider's compressed answer is broken.") from None
        if sum(map(len, pieces)) > READ_LIMIT:
            raise Malformed("The provider's compressed answer is too large.")
        return pieces

    def _set_timer(self, delay: float, action: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if callable(action):
            self._timer = self._loop.call_later(delay, action)

    def _check_idle(self) -> None:
        """One timer for the whole answer: it is set again for what is left, never by a read."""
        now = self._loop.time()
        self._timer = None
        if self._waiter is None:
            self._set_timer(self._idle, self._check_idle)
        elif now - self._clock >= self._idle:
            self._fail(IdleTimeout(f"The provider's answer stood still for {self._idle:g} seconds."))
        else:
            self._set_timer(self._clock + self._idle - now, self._check_idle)
