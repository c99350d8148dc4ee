"""A client's connection as a WebSocket: receives its messages, sends frames, answers pings, closes."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from handlers.server.connection import ClientConnection
from llm.http1.websocket import (
    BINARY,
    CLOSE,
    NORMAL,
    PING,
    PONG,
    TEXT,
    UNSUPPORTED_DATA,
    FrameParser,
    Message,
    WebSocketError,
    encode_close,
    encode_frame,
)

_MAX_WAITING: Final = 16  # messages that wait; with more of them nothing is read from the socket


class WebSocket:
    """The messages of a connection whose response 101 has been written.

    Messages wait in order until they are received. While too many or too large ones wait, the socket is not read.
    """

    def __init__(self, connection: ClientConnection, max_message: int) -> None:
        """``max_message``: bytes of one message, and of all that wait."""
        self._connection = connection
        self._parser = FrameParser(max_message)
        self._max_waiting = max_message
        self._waiting: deque[bytes] = deque()
        self._size = 0  # bytes of the messages that wait
        self._arrived = asyncio.Event()
        self.closed: asyncio.Future[None] = connection.loop.create_future()  # done when the connection is to end
        connection.change_protocol(self._read)

    async def receive(self) -> bytes | None:
        """Returns the next message; None when the connection is closed."""
        while not self._waiting and not self.closed.done():
            self._arrived.clear()
            await self._arrived.wait()
        if self.closed.done():
            return None
        message = self._waiting.popleft()
        self._size -= len(message)
        if not self._is_full():
            self._connection.resume_reading()
        return message

    def send(self, *texts: bytes) -> asyncio.Future[None] | None:
        """Sends text messages. Returns None if they were sent, else a future that is done when they are."""
        if self.closed.done():
            return self._connection.make_closed_future()
        return self._connection.push(b"".join([encode_frame(TEXT, text) for text in texts]))

    def ping(self) -> None:
        """Sends a ping, unless bytes wait for the client."""
        if not self.closed.done() and not self._connection.unsent:
            self._connection.push(encode_frame(PING, b""))

    def close(self, code: int, reason: str = "") -> None:
        """Sends a close frame; the end of the response then closes the connection."""
        if not self.closed.done():
            self._connection.push(encode_close(code, reason))
            self.mark_closed()

    def mark_closed(self) -> None:
        """Ends :meth:`receive`: the client has left."""
        self._waiting.clear()
        if not self.closed.done():
            self.closed.set_result(None)
        self._arrived.set()

    def _read(self, data: bytes) -> None:
        if self.closed.done():  # what follows a close frame is not read
            return
        try:
            messages = self._parser.feed(data)
        except WebSocketError as error:
            self.close(error.code, error.reason)
            return
        for message in messages:
            self._take(message)

    def _take(self, message: Message) -> None:
        match message.opcode:
            case _ if self.closed.done():
                return
            case code if code == TEXT:
                self._waiting.append(message.data)
                self._size += len(message.data)
                self._arrived.set()
                if self._is_full():
                    self._connection.pause_reading()
            case code if code == PING and not self._connection.unsent:
                self._connection.push(encode_frame(PONG, message.data))
            case code if code == BINARY:
                self.close(UNSUPPORTED_DATA, "messages are JSON text")
            case code if code == CLOSE:
                self.close(message.code if message.code >= NORMAL and message.code != 1005 else NORMAL)

    def _is_full(self) -> bool:
        return len(self._waiting) >= _MAX_WAITING or self._size >= self._max_waiting
