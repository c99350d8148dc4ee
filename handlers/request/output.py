"""Writes a streamed answer to the client, by ``RequestHandler.write`` and ``flush``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from tornado.httputil import HTTPConnection, HTTPHeaders
from tornado.web import RequestHandler

from llm.chat.events import Event, Failed, Finished
from llm.dialects.base import Writer

_NO_HEADERS: Final = HTTPHeaders()
_ENDS: Final = (Finished, Failed)  # the last event of an answer


class Output:
    """Sends the pieces of one answer.

    ``spacing``: seconds between two pieces. If it is set, pieces are queued and :meth:`drain` sends them.
    """

    __slots__ = (
        "_connection",
        "_ended",
        "_handler",
        "_last",
        "_queue",
        "_spacing",
        "_unsent",
        "last_write",
        "pinged",
        "started",
    )

    def __init__(self, handler: RequestHandler, spacing: float = 0) -> None:
        self._connection: HTTPConnection = handler.request.connection  # type: ignore[assignment]
        self._ended = False  # once True, the connection belongs to the next request
        self._handler = handler
        self._last = b""  # a piece that leaves together with the end of the answer
        self._queue: list[bytes] | None = None  # pieces that wait, where they are spaced
        self._spacing = spacing
        self._unsent: asyncio.Future[None] | None = None  # done when the client has taken what was sent
        self.last_write = monotonic()  # when something of the answer was last sent
        self.pinged = self.last_write  # when anything was, signs of life included
        self.started = False  # the headers are out: from now on an error is part of the stream

    @property
    def all_taken(self) -> bool:
        """False while pieces wait for the client."""
        return not self._queue and self._unsent is None

    def start(self) -> None:
        """Sends the status and the headers."""
        if not self.started:
            self.started = True
            self._handler.flush()
            self._handler._headers = _NO_HEADERS  # the others would be kept for as long as the answer takes
            self.pinged = monotonic()

    def send(self, piece: bytes) -> bool:
        """Sends a piece of an answer that has started.

        Returns False if the client is slow or gone: :meth:`drain` has to be awaited before more is sent.
        """
        if self._spacing:
            if self._queue is None:
                self._queue = []
            self._queue.append(piece)
            return False
        self.last_write = monotonic()
        self._handler.write(piece)
        sent = self._handler.flush()
        if sent.done() and sent.exception() is None:
            return True
        self._unsent = sent
        return False

    def send_passthrough(self, piece: bytes) -> bool:
        """Sends a piece of a passthrough answer directly to the connection. Returns as :meth:`send` does.

        The only bypass of ``RequestHandler.write`` and ``flush``, which are an eighth of a passthrough event's cost.
        """
        self.last_write = monotonic()
        sent = self._connection.write(piece)
        if sent.done() and sent.exception() is None:
            return True
        self._unsent = sent
        return False

    def send_last(self, piece: bytes) -> bool:
        """Sends the last piece together with the end of the answer, for which :meth:`end` has to be called at once."""
        if self._spacing:
            return self.send(piece)
        self.last_write = monotonic()
        self._last += piece
        return True

    async def drain(self) -> None:
        """Returns when all bytes have been sent. Raises ``StreamClosedError`` when the client is gone."""
        while self._queue:
            delay = self.last_write + self._spacing - monotonic()
            if delay > 0:
                await asyncio.sleep(delay)
            self.last_write = monotonic()
            self._handler.write(self._queue.pop(0))
            await self._handler.flush()
        unsent, self._unsent = self._unsent, None
        if unsent is not None:
            await unsent

    def send_keepalive(self, piece: bytes) -> None:
        """Sends a keepalive unless bytes are already queued for the client."""
        self.start()
        if not self._ended and not self._queue and (self._unsent is None or self._unsent.done()):
            self._handler.write(piece)
            self._handler.flush()
            self.pinged = monotonic()

    async def end(self) -> None:
        """Sends all queued pieces, then the end of the answer."""
        if not self.started:
            self.start()
        if self._queue or self._unsent is not None:
            await self.drain()
        self._ended = True
        if self._last:
            write_last = getattr(self._connection, "write_last", self._connection.write)  # or Tornado's own server
            write_last(self._last)
        await self._handler.finish()

    def abort(self) -> None:
        """Closes the connection without the end of the answer, so that the client sees that it is incomplete."""
        connection = self._handler.request.connection
        abort = getattr(connection, "abort", None)
        if abort is not None:
            abort()
        elif connection is not None:  # Tornado's own HTTP server
            connection.stream.close()  # type: ignore[attr-defined]


class EventOutput(Output):
    """Sends the events of one answer in the client's dialect.

    ``set_headers`` sets those headers that are known once the engine has accepted the request.
    """

    __slots__ = ("_set_headers", "_writer")

    def __init__(self, handler: RequestHandler, writer: Writer, set_headers: Callable[[], None]) -> None:
        super().__init__(handler, writer.write_interval)
        self._set_headers: Callable[[], None] | None = set_headers  # until it was called
        self._writer = writer

    def accept(self, content_type: str | None = None) -> None:
        """Sends the headers if that has not happened. ``content_type``: that of a passthrough answer."""
        if not self.started and self._set_headers is not None:
            self._set_headers()
            self._set_headers = None
            self._start_stream(content_type)

    def skip(self, events: Sequence[Event]) -> None:
        """Lets the writer go on after ``events``, which the client has got in another way."""
        self._writer.feed(events)

    def feed(self, events: Sequence[Event]) -> bool:
        """Sends events. Returns as :meth:`send` does, whose lines are repeated here: they save a call per event."""
        if not self.started:
            self.accept()
        pieces = self._writer.feed(events)
        if pieces and type(events[-1]) in _ENDS and not self._spacing:
            return self.send_last(b"".join(pieces))
        if len(pieces) != 1 or self._spacing:
            ready = True
            for piece in pieces:
                ready = self.send(piece)
            return ready
        self.last_write = monotonic()
        self._handler.write(pieces[0])
        sent = self._handler.flush()
        if sent.done() and sent.exception() is None:
            return True
        self._unsent = sent
        return False

    def send_sign_of_life(self, now: float, silence: float) -> None:
        """Sends a keepalive if nothing was written for ``silence`` seconds before ``now``."""
        if now - max(self.last_write, self.pinged) >= silence:
            self._start_stream(None)
            if piece := self._writer.write_keepalive():
                self.send_keepalive(piece)

    def _start_stream(self, content_type: str | None) -> None:
        if not self.started:
            self._handler.set_header("Content-Type", content_type or self._writer.content_type)
            self.start()
