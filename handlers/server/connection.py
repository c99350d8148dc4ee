"""A client's connection: reads requests one after another and writes their responses."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Mapping
from math import inf
from time import monotonic
from typing import Final, Protocol

from tornado.httputil import HTTPConnection, HTTPOutputError, RequestStartLine, ResponseStartLine

from handlers.server.refusal import make_refusal
from handlers.server.socket_writer import SocketWriter
from llm import log
from llm.errors import BodyTimeout, LLMError
from llm.http1.event_loop import WatchFunction
from llm.http1.message import CHUNK_SIZES, Headers
from llm.http1.request_parser import RequestParser

_MAX_READ: Final = 64 * 1024  # bytes of one ``recv``
_READ_PER_TURN: Final = 256 * 1024  # bytes read in one turn of the event loop
_JOIN_BELOW: Final = 64 * 1024  # bytes: a smaller body is sent in one call with its head
_MAX_PIPELINED: Final = 4 * 1024  # bytes of the next request that are read before the current response has ended
_LINGER: Final = 2.0  # seconds for a client to read the last response and close the connection itself
_UPLOAD_LINGER: Final = 30.0  # the same for a client that still sends a refused body, which is read and discarded
_LOWEST_RATE: Final = 64.0  # bytes a second of a body on average, after BODY_TIMEOUT
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Handler(Protocol):
    """Answers one request. What these methods return is not awaited."""

    def data_received(self, chunk: bytes) -> object:
        """Receives a piece of the body, in order."""
        ...

    def on_body_end(self) -> None:
        """Called once when the whole body has been received."""
        ...


class App(Protocol):
    """The application: creates handlers, and writes the bodies of responses that have no handler."""

    def begin(self, connection: ClientConnection, line: RequestStartLine, headers: Headers) -> Handler:
        """Returns the handler of a request whose head has been read. Raises ``LLMError``."""
        ...

    def error_body(self, error: LLMError) -> bytes:
        """Returns the JSON body of the response to a request that cannot be parsed."""
        ...

    def overload_body(self) -> bytes:
        """Returns the JSON body of the response to a connection above ``MAX_CONNECTIONS``."""
        ...


class ServerState(Protocol):
    """State that all connections of a server share."""

    app: App
    connections: set[ClientConnection]
    completed: asyncio.Future[None]  # a completed future, returned for whatever was sent at once
    loop: asyncio.AbstractEventLoop
    watch: WatchFunction
    level_triggered: bool  # level-triggered: unread bytes are reported again; true of epoll, false of libuv
    header_timeout: float  # seconds
    body_timeout: float  # seconds
    max_header_size: int  # bytes


class ClientConnection(SocketWriter, HTTPConnection):
    """Reads requests from a socket and implements Tornado's ``HTTPConnection`` for their responses, one at a time.

    It has no task: the event loop calls it, and it calls the request's handler. Each piece of a body goes to the
    handler when it is received, bytes that came with the head at once, so that a handler has all of a small request
    when it starts. The close callback reports that the client has left, also before the request is complete.
    """

    __slots__ = (
        "_answering", "_bodiless", "_body_left", "_chunked", "_ended", "_handler", "_http11", "_keep_alive", "_latest",
        "_on_close", "_parser", "_pipelined", "_receiver", "_started", "_state", "deadline", "over_limit",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, state: ServerState, *, over_limit: bool = False) -> None:
        super().__init__(sock, state.loop, state.watch)
        self.over_limit = over_limit  # there are too many: for one request, which the application may refuse
        self.deadline = monotonic() + state.header_timeout  # time at which the listener closes this connection
        self._state = state
        self._parser: RequestParser | None = None  # set while a request is being received
        self._handler: Handler | None = None  # set while the body is being received
        self._on_close: Callable[[], None] | None = None
        self._answering = False  # from the end (or refusal) of a request until its response has been sent
        self._started = self._ended = False  # the handler has begun / ended its response
        self._http11 = self._keep_alive = True  # of the request: HTTP/1.1; another request may follow
        self._bodiless = self._chunked = False  # of the response: no body (HEAD); chunked transfer coding
        self._body_left: int | None = None  # bytes of the response body still to write; None: no Content-Length
        # Time at which a body that comes at the lowest rate has to be complete; then the seconds to linger at the end.
        self._latest = 0.0
        self._pipelined = b""  # bytes of the next request
        self._receiver: Callable[[bytes], None] | None = None  # of all bytes after a change of the protocol
        state.connections.add(self)
        self.resume_reading()

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Sets a function that is called once if the connection closes before the response has ended."""
        self._on_close = callback

    def write_headers(
        self, start_line: RequestStartLine | ResponseStartLine, headers: Mapping[str, str], chunk: bytes | None = None
    ) -> asyncio.Future[None]:
        """Starts the response and sends its head with the first chunk. Returns a future as :meth:`write` does."""
        assert isinstance(start_line, ResponseStartLine)
        length = headers.get("Content-Length")
        bodiless = self._bodiless or start_line.code in (101, 204, 304)
        self._chunked = self._http11 and length is None and not bodiless
        self._body_left = 0 if bodiless else None if length is None else int(length)
        close_requested = headers.get("Connection") == "close"
        # A response with neither length nor chunks ends with the connection. The unread rest of a request body
        # would be parsed as the next request.
        if close_requested or not self._answering or (self._body_left is None and not self._chunked):
            self._keep_alive = False
        if start_line.code == 101:
            self._keep_alive, close_requested = False, True  # the response says itself what becomes of the connection
        lines = [f"HTTP/1.1 {start_line.code} {start_line.reason}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if self._chunked:
            lines.append("Transfer-Encoding: chunked")
        if not self._keep_alive and not close_requested:
            lines.append("Connection: close")
        elif self._keep_alive and not self._http11:
            lines.append("Connection: keep-alive")
        head = "\r\n".join(lines)
        if not head.count("\r") == head.count("\n") == len(lines) - 1:
            raise ValueError("a header with a line end in it")
        self._started = True
        data = head.encode("latin-1") + b"\r\n\r\n"
        if self._chunked and not chunk and not self.closed:
            self.hold(data)  # the first piece of a stream is likely to follow in the same turn
            return self._state.completed
        return self._send_response_start(data, self._frame(chunk or b""))

    def write(self, chunk: bytes) -> asyncio.Future[None]:
        """Sends a piece of the body. Returns a future that is done when all queued bytes have been sent.

        The future fails with ``StreamClosedError`` when the client has closed the connection.
        """
        if self._ended:
            return self.make_closed_future()
        if self._chunked and chunk:  # the usual case, without the call of ``_frame``
            size = len(chunk)
            line = CHUNK_SIZES[size] if size < len(CHUNK_SIZES) else b"%x\r\n" % size
            return self.push(line + chunk + b"\r\n") or self._state.completed
        if not chunk and self.held:  # it leaves with what comes next
            return self._state.completed
        return self.push(self._frame(chunk)) or self._state.completed

    def write_last(self, chunk: bytes) -> None:
        """Sends the last piece of the body together with the end of the response (:meth:`finish`)."""
        if not self._ended and not self.closed:
            self.hold(self._frame(chunk))

    def change_protocol(self, receive: Callable[[bytes], None]) -> None:
        """Gives all further bytes of the client to ``receive``. The response 101 has been written.

        From then on bytes are sent by :meth:`push`, and :meth:`finish` closes the connection.
        """
        self._receiver = receive
        early, self._pipelined = self._pipelined, b""
        if early:
            receive(early)

    def finish(self) -> None:
        """Ends the response. Raises ``HTTPOutputError`` if the body is shorter than its Content-Length."""
        if self.closed or self._ended:
            return
        if self._body_left:
            self.close()
            raise HTTPOutputError(f"the response body is {self._body_left} bytes shorter than its Content-Length")
        if self._chunked:
            self.push(b"0\r\n\r\n")
        self._end_response()

    def abort(self) -> None:
        """Closes the connection in the middle of a response, so that the client sees that it is incomplete.

        A response without chunked coding is ended by a TCP reset; a chunked one lacks its last chunk.
        """
        if not self._chunked and not self.closed:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Closes the connection at once. The close callback runs in the next turn of the event loop."""
        if self.closed:
            return
        super().close()
        self._state.connections.discard(self)
        self._parser = self._handler = self._receiver = None
        if self._on_close is not None:
            self.loop.call_soon(self._call_on_close)

    def expire(self) -> None:
        """Closes the connection at its deadline; a body that stood still or came too slowly is answered with 408."""
        if self.over_limit and self._handler is None and not self._answering:
            self._answering, self._keep_alive = True, False
            self.push(make_refusal(self._state.app.overload_body(), 429, "Retry-After: 1"))
            self._end_response()
        elif self._handler is None or self._started or self._parser is None or self._parser.start_line is None:
            self.close()
        else:
            self._refuse_slow_body(self._parser.start_line)

    def _refuse_slow_body(self, line: RequestStartLine) -> None:
        what = f"The body of {line.method} {line.path[:100]}"
        seconds = f"{self._state.body_timeout:g} seconds"
        self._refuse(BodyTimeout(f"{what} stood still for {seconds}, or came too slowly (BODY_TIMEOUT)."))

    def _call_on_close(self) -> None:
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()

    # --- requests ---

    def on_readable(self) -> None:
        """Reads from the socket, up to a limit for each turn of the event loop, and feeds the request parser."""
        state, read = self._state, 0
        while self.reading and not self.closed:
            try:
                data = self.sock.recv(_MAX_READ)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:  # a client that has closed its sending side counts as gone
                self.close()
                return
            self._receive(data)
            read += len(data)
            if read >= _READ_PER_TURN and not state.level_triggered:
                self.loop.call_soon(self.on_readable)
            if read >= _READ_PER_TURN or (len(data) < _MAX_READ and state.level_triggered):
                return

    def _receive(self, data: bytes) -> None:
        if self._receiver is not None:
            self._receiver(data)
        elif not self._answering:
            if self._pipelined:
                data, self._pipelined = self._pipelined + data, b""
            try:
                self._feed(data)
            except Exception as error:  # a bug in a handler: only this connection ends
                log.write("bug", 40, exc_info=error)
                self.close()
        elif self._keep_alive:
            self._pipelined += data
            if len(self._pipelined) > _MAX_PIPELINED:
                self.pause_reading()

    def _feed(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:
            parser = self._parser = RequestParser(self._state.max_header_size)
        pieces: list[bytes] = []
        try:
            parser.feed(data, pieces)
            if self._handler is None and parser.start_line is not None:
                self._handler = self._start_handler(parser, parser.start_line)
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
            self._answering, self.deadline = True, inf
            if self._keep_alive:
                self._pipelined = parser.unparsed
                if len(self._pipelined) > _MAX_PIPELINED:
                    self.pause_reading()
                else:
                    self.resume_reading()
            handler.on_body_end()
        elif pieces:
            self._latest += len(data) / _LOWEST_RATE
            self.deadline = min(monotonic() + self._state.body_timeout, self._latest)

    def _start_handler(self, parser: RequestParser, line: RequestStartLine) -> Handler:
        state = self._state
        self.deadline = self._latest = monotonic() + state.body_timeout
        self._http11, self._bodiless, self._keep_alive = (
            line.version == "HTTP/1.1",
            line.method == "HEAD",
            parser.keep_alive and not self.over_limit,
        )
        handler = state.app.begin(self, line, parser.headers)
        if not parser.complete and self._http11 and parser.headers.get("Expect", "").lower() == "100-continue":
            self.loop.call_soon(self._send_continue)  # after the handler's first step, which may refuse the request
        return handler

    def _send_continue(self) -> None:
        if self._handler is not None and not self._started:
            self.push(_CONTINUE)

    def _refuse(self, error: LLMError) -> None:
        """Answers a request that cannot be parsed, and closes the connection."""
        if not self.over_limit:
            log.write("connections", problem=error.message)
        self._call_on_close()
        if self._started:
            self.close()
            return
        self._answering, self._keep_alive, self._chunked = True, False, False
        body = self._state.app.error_body(error)
        status = self._parser.refusal_status if self._parser is not None else 0
        wait = [] if error.retry_after is None else [f"Retry-After: {error.retry_after:.0f}"]
        self.push(make_refusal(body, status or error.status, *wait))
        self._end_response()

    # --- answers ---

    def _frame(self, chunk: bytes) -> bytes:
        if self._chunked:
            return b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunk else b""
        if self._body_left is not None:
            self._body_left -= len(chunk)
            if self._body_left < 0:
                self.close()
                raise HTTPOutputError("the response body is longer than its Content-Length")
        return chunk

    def _send_response_start(self, head: bytes, body: bytes) -> asyncio.Future[None]:
        if len(body) < _JOIN_BELOW:
            return self.push(head + body) or self._state.completed
        self.push(head)
        return self.push(body) or self._state.completed

    def _end_response(self) -> None:
        """Ends the response of the current request."""
        self._ended = True
        self._on_close = None
        self._latest = _LINGER
        if not self._answering:  # the rest of the request body will not be given to a handler
            self._answering, self._keep_alive, self._latest = True, False, _UPLOAD_LINGER
        self._parser = self._handler = None
        if not self.unsent and not self.closed:
            self._finish_exchange()

    def on_all_sent(self) -> None:
        """Goes on to the next request if the response has ended."""
        if self._ended:
            self._finish_exchange()

    def _finish_exchange(self) -> None:
        """Called when the whole response has been sent: waits for the next request, or for the client to close."""
        state = self._state
        if self._keep_alive:
            self._answering = self._started = self._ended = self._chunked = False
            self._body_left = None
            self.deadline = monotonic() + state.header_timeout
            if self._pipelined:
                self.loop.call_soon(self._read_pipelined)
            else:
                self.resume_reading()
            return
        # Bytes sent to a closed socket are answered with a reset, which may discard what the client has not read yet.
        self.deadline = monotonic() + self._latest
        self.resume_reading()
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()

    def _read_pipelined(self) -> None:
        if self._pipelined and not self._answering and not self.closed:
            self._receive(b"")
        if not self._answering and not self.closed:  # the next request is incomplete
            self.resume_reading()

    def pause_reading(self) -> None:
        """Stops reading. From then on only a failed write shows that the client has left."""
        if self.reading:
            self.reading = False
            self.update_watch()

    def resume_reading(self) -> None:
        if not self.reading:
            self.reading = True
            self.update_watch()
