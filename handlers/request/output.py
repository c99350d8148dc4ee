"""A streamed answer on its way to the client: one write a piece, straight to the socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final

from tornado.httputil import HTTPHeaders
from tornado.web import RequestHandler

from handlers.server.connection import ClientConnection
from llm.chat.events import Delta
from llm.dialects.base import Writer

_SAID: Final = HTTPHeaders()


class Output:
    """Writes pieces below ``RequestHandler.flush``, by which only the headers leave."""

    __slots__ = ("_ended", "_handler", "connection", "started")

    def __init__(self, handler: RequestHandler) -> None:
        self._handler = handler
        self.connection: ClientConnection = handler.request.connection  # type: ignore[assignment]
        self._ended = False  # what the connection is told from now on belongs to another request
        self.started = False  # the headers are out: from now on an error is part of the stream
        self.connection.last = monotonic()

    def start(self) -> None:
        """Sends the status and the headers."""
        if not self.started:
            self.started = True
            self._handler.flush()
            self._handler._headers = _SAID  # they would be kept for as long as the answer takes
            self.connection.last = monotonic()

    @property
    def last(self) -> float:
        """When something was last written."""
        return self.connection.last

    async def write(self, piece: bytes) -> None:
        """Returns when the piece is out of our hands. Raises ``StreamClosedError`` when the client is gone."""
        self.start()
        waiting = self.send(piece) if not self._ended else None
        if waiting is not None:
            await waiting

    async def write_spaced(self, piece: bytes, spacing: float) -> None:
        """:meth:`write`, at least ``spacing`` seconds after what was written before."""
        early = self.last + spacing - monotonic()
        if early > 0:
            await asyncio.sleep(early)
        await self.write(piece)

    def ping(self, piece: bytes) -> None:
        """Sends a sign of life, unless bytes are waiting for the client already."""
        self.start()
        if not self._ended and not self.connection.unsent:
            self.send(piece)

    async def end(self) -> None:
        self.start()
        self._ended = True
        await self._handler.finish()

    def abort(self) -> None:
        """Breaks the answer off, so that nobody takes it for whole: its end never comes."""
        self.connection.abort()

    def send(self, piece: bytes) -> asyncio.Future[None] | None:
        """Sends a piece of an answer that has started.

        What is returned is to be awaited: the client is slow, or it is gone, which raises ``StreamClosedError``.
        """
        return self.connection.send(piece)


class Direct:
    """The end of the short way (``llm.upstream.fast_path``) at a client, once its answer has started."""

    __slots__ = ("_connection", "_feed", "pass_on")

    def __init__(self) -> None:
        self._connection: ClientConnection | None = None
        self.pass_on: Callable[[bytes], bool] = _not_yet

    def open(self, output: Output, writer: Writer) -> None:
        self._connection, self._feed = output.connection, writer.feed
        self.pass_on = output.connection.offer

    def ready(self) -> bool:
        return self._connection is not None and not self._connection.unsent

    def send(self, delta: Delta) -> None:
        assert self._connection is not None
        for piece in self._feed((delta,)):
            self._connection.send(piece)  # which waits if one before it does


def _not_yet(piece: bytes) -> bool:
    return False
