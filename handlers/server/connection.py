"""One connection of a client: reads its requests one after the other, and sends what is answered."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Mapping
from http.client import responses
from math import inf
from time import monotonic
from typing import Final, Protocol

from tornado.httputil import HTTPConnection, HTTPOutputError, RequestStartLine, ResponseStartLine

from handlers.server.socket_writer import Sender
from llm import log
from llm.errors import LLMError, TooLarge
from llm.http1.event_loop import Watch
from llm.http1.message import Headers
from llm.http1.request_parser import RequestParser

_READ: Final = 64 * 1024  # bytes of one read
_READ_TURN: Final = 256 * 1024  # bytes read before other connections have their turn
_TOGETHER: Final = 64 * 1024  # bytes: a smaller body leaves in one packet with its head
_AHEAD: Final = 4 * 1024  # bytes of a next request that are read while the last one is answered
_LINGER: Final = 2.0  # seconds in which a client may read its last answer and close by itself
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Handler(Protocol):
    """Who answers a request. Nothing that these return is waited for."""

    def data_received(self, chunk: bytes) -> object:
        """Some of the body."""
        ...

    def body_ended(self) -> None: ...


class App(Protocol):
    """Has a handler for every request, and the bodies of the answers that no handler gives."""

    def begin(self, connection: ClientConnection, line: RequestStartLine, headers: Headers) -> Handler:
        """Called with the head of a request. Raises ``LLMError``."""
        ...

    def error_body(self, error: LLMError) -> bytes:
        """JSON, for a request that cannot be read."""
        ...

    def overload_body(self) -> bytes:
        """JSON, for a client that is one too many."""
        ...


class Home(Protocol):
    """What all connections of a server share."""

    app: App
    connections: set[ClientConnection]
    done: asyncio.Future[None]  # of whatever was sent at once
    loop: asyncio.AbstractEventLoop
    watch: Watch
    tells_again: bool  # of what is left unread, as epoll does and libuv does not (``llm.transport.connection``)
    header_timeout: float  # seconds
    body_timeout: float  # seconds
    max_header_size: int  # bytes


class ClientConnection(Sender, HTTPConnection):
    """Tornado's ``HTTPConnection`` over a bare socket, for a request at a time, and the reader of these requests.

    Nothing of it waits: it is called by the loop, and calls the request's handler. A body is handed over as it comes,
    what came with the head at once, so that a handler which begins has all of a small request; it takes its body at any
    time. It learns of a client that left by its close callback, whether its request was whole or not.
    """

    __slots__ = (
        "_answering", "_bare", "_chunked", "_ended", "_handler", "_home", "_keep", "_left", "_modern", "_on_close",
        "_parser", "_rest", "_started", "until",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, home: Home) -> None:
        super().__init__(sock, home.loop, home.watch)
        self.until = monotonic() + home.header_timeout  # when it is closed unless it gets on
        self._home = home
        self._parser: RequestParser | None = None  # of a request that has begun to come
        self._handler: Handler | None = None  # while its body comes
        self._on_close: Callable[[], None] | None = None
        self._answering = False  # a request is whole, or refused; until its answer has ended and was taken
        self._started = self._ended = False  # of the answer, as far as we are concerned
        self._modern = self._keep = True  # of the request: HTTP/1.1; another one may follow
        self._bare = self._chunked = False  # of the answer: it has no body; its body comes in chunks
        self._left: int | None = None  # bytes to come of an answer whose length was told
        self._rest = b""  # of a next request
        home.connections.add(self)
        self._resume()

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Called once, if the connection closes before the answer has ended."""
        self._on_close = callback

    def write_headers(
        self, start_line: RequestStartLine | ResponseStartLine, headers: Mapping[str, str], chunk: bytes | None = None
    ) -> asyncio.Future[None]:
        assert isinstance(start_line, ResponseStartLine)
        length = headers.get("Content-Length")
        bodiless = self._bare or start_line.code in (204, 304)
        self._chunked = self._modern and length is None and not bodiless
        self._left = 0 if bodiless else None if length is None else int(length)
        told = headers.get("Connection") == "close"
        # A body without length and chunks ends with the connection; one that is not wholly read is in the way.
        if told or not self._answering or (self._left is None and not self._chunked):
            self._keep = False
        lines = [f"HTTP/1.1 {start_line.code} {start_line.reason}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if self._chunked:
            lines.append("Transfer-Encoding: chunked")
        if not self._keep and not told:
            lines.append("Connection: close")
        elif self._keep and not self._modern:
            lines.append("Connection: keep-alive")
        head = "\r\n".join(lines)
        if not head.count("\r") == head.count("\n") == len(lines) - 1:
            raise ValueError("a header with a line end in it")
        self._started = True
        data = head.encode("latin-1") + b"\r\n\r\n"
        if self._chunked and not chunk and not self.closed:
            self.hold(data)  # the first piece of a stream is likely to follow at once
            return self._home.done
        return self._send(data, self._framed(chunk or b""))

    def write(self, chunk: bytes) -> asyncio.Future[None]:
        """Returns a future that is done when the client has taken what waits; at once if all has left.

        It fails with ``StreamClosedError`` when the client is gone.
        """
        if self._ended:
            return self.closed_future()
        if self._chunked and chunk:  # as nearly always: one call less
            return self.push(b"%x\r\n%b\r\n" % (len(chunk), chunk)) or self._home.done
        return self.push(self._framed(chunk)) or self._home.done

    def finish(self) -> None:
        if self.closed or self._ended:
            return
        if self._left:
            self.close()
            raise HTTPOutputError(f"an answer is {self._left} bytes shorter than was told")
        if self._chunked:
            self.push(b"0\r\n\r\n")
        self._end()

    def abort(self) -> None:
        """Breaks the answer off, so that nobody takes it for whole: without chunks, a reset says so."""
        if not self._chunked and not self.closed:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """At once. Whoever answers is told in the next turn, so that this may be called from anywhere."""
        if self.closed:
            return
        super().close()
        self._home.connections.discard(self)
        self._parser = self._handler = None
        if self._on_close is not None:
            self.loop.call_soon(self._tell)

    def _tell(self) -> None:
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()

    # --- requests ---

    def on_readable(self) -> None:
        home, turn = self._home, 0
        while self.reading and not self.closed:
            try:
                data = self.sock.recv(_READ)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:  # who has closed half a connection has left too
                self.close()
                return
            self._received(data)
            turn += len(data)
            if turn >= _READ_TURN and not home.tells_again:
                self.loop.call_soon(self.on_readable)
            if turn >= _READ_TURN or (len(data) < _READ and home.tells_again):
                return

    def _received(self, data: bytes) -> None:
        if not self._answering:
            if self._rest:
                data, self._rest = self._rest + data, b""
            try:
                self._feed(data)
            except Exception as error:  # a bug, which may not take the connection's other half along
                log.write("bug", 40, exc_info=error)
                self.close()
        elif self._keep:
            self._rest += data
            if len(self._rest) > _AHEAD:
                self._pause()

    def _feed(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:
            parser = self._parser = RequestParser(self._home.max_header_size)
        pieces: list[bytes] = []
        try:
            parser.feed(data, pieces)
            if self._handler is None and parser.line is not None:
                self._handler = self._begin(parser, parser.line)
        except LLMError as error:
            self._refuse(error)
            return
        handler = self._handler
        if handler is None:
            return
        if pieces:
            handler.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if parser.complete and not self.closed:
            self._parser = self._handler = None
            self._answering, self.until = True, inf
            if self._keep:
                self._rest = parser.rest
                if len(self._rest) > _AHEAD:
                    self._pause()
                else:
                    self._resume()
            handler.body_ended()

    def _begin(self, parser: RequestParser, line: RequestStartLine) -> Handler:
        home = self._home
        self.until = monotonic() + home.body_timeout
        self._modern, self._bare, self._keep = line.version == "HTTP/1.1", line.method == "HEAD", parser.keep
        handler = home.app.begin(self, line, parser.headers)
        if not parser.complete and self._modern and parser.headers.get("Expect", "").lower() == "100-continue":
            self.loop.call_soon(self._go_ahead)  # behind the handler's first step, which may refuse it
        return handler

    def _go_ahead(self) -> None:
        if self._handler is not None and not self._started:
            self.push(_CONTINUE)

    def _refuse(self, error: LLMError) -> None:
        """A request that cannot be read; no handler has it, or none that could answer."""
        log.write("connections", problem=error.message)
        self._tell()
        if self._started:
            self.close()
            return
        self._answering, self._keep, self._chunked = True, False, False
        body = self._home.app.error_body(error)
        self.push(refusal(body, 431 if isinstance(error, TooLarge) else error.status))
        self._end()

    # --- answers ---

    def _framed(self, chunk: bytes) -> bytes:
        if self._chunked:
            return b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunk else b""
        if self._left is not None:
            self._left -= len(chunk)
            if self._left < 0:
                self.close()
                raise HTTPOutputError("an answer is longer than was told")
        return chunk

    def _send(self, head: bytes, body: bytes) -> asyncio.Future[None]:
        if len(body) < _TOGETHER:
            return self.push(head + body) or self._home.done
        self.push(head)
        return self.push(body) or self._home.done

    def _end(self) -> None:
        """Nothing more will be said to this request."""
        self._ended = True
        self._on_close = None
        if not self._answering:  # the rest of its body is not wanted
            self._answering, self._keep = True, False
        self._parser = self._handler = None
        if not self.unsent and not self.closed:
            self._next()

    def on_all_sent(self) -> None:
        if self._ended:
            self._next()

    def _next(self) -> None:
        """The client has been told all: it may ask again, or close."""
        home = self._home
        if self._keep:
            self._answering = self._started = self._ended = self._chunked = False
            self._left = None
            self.until = monotonic() + home.header_timeout
            if self._rest:
                self.loop.call_soon(self._go_on)
            else:
                self._resume()
            return
        # What a client sends to a closed socket is answered with a reset, which may take away what it has not read yet.
        self.until = monotonic() + _LINGER
        self._resume()
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()

    def _go_on(self) -> None:
        if self._rest and not self._answering and not self.closed:
            self._received(b"")
        if not self._answering and not self.closed:  # what was there is half a request
            self._resume()

    def _pause(self) -> None:
        """Reads no more, so that it learns only by writing that the client is gone."""
        if self.reading:
            self.reading = False
            self.update_watch()

    def _resume(self) -> None:
        if not self.reading:
            self.reading = True
            self.update_watch()


def refusal(body: bytes, status: int, *headers: str) -> bytes:
    """Returns a whole JSON answer that ends the connection."""
    head = f"HTTP/1.1 {status} {responses[status]}", "Content-Type: application/json", f"Content-Length: {len(body)}"
    return "\r\n".join((*head, *headers, "Connection: close", "", "")).encode() + body
