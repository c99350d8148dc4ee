"""One response over a WebSocket: the HTTP response of a handler, written as messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from tornado.httputil import HTTPConnection, RequestStartLine, ResponseStartLine

from handlers.server.websocket import WebSocket
from llm.dialects import openai_responses
from llm.errors import Internal, LLMError
from llm.wire.frames import Frame
from llm.wire.json_codec import Json, dump_bytes, loads
from llm.wire.json_lenient import as_dict, as_text
from llm.wire.sse import SseDecoder

_ENDS: Final = ("response.completed", "response.incomplete", "response.failed")
_STATES: Final = ("response.created", "response.queued", "response.in_progress", *_ENDS)  # they have the whole response
_DROPPED: Final = "X-Dropped-Fields"
_ERROR_HEADERS: Final = ("Retry-After", "X-Request-Id")


class TurnConnection(HTTPConnection):
    """The connection of a handler that answers one message: each event becomes a message, an error an ``error`` event.

    An ``error`` event before ``response.failed`` is left out, since clients take either for the end of the turn.
    """

    def __init__(self, socket: WebSocket, lane: str = "", previous_id: str | None = None) -> None:
        """``lane``: the client's ``stream_id``, which all events repeat. ``previous_id``: of the response before."""
        loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = loop.create_future()  # done when the handler has ended its response
        self.response: Mapping[str, Any] | None = None  # the last response object, in its final state
        self._sent: asyncio.Future[None] = loop.create_future()
        self._sent.set_result(None)
        self._socket = socket
        self._prefix = dump_bytes({"stream_id": lane})[1:-1] + b"," if lane else b""
        self._first = b""  # fields of the first event only
        self._previous_id = previous_id
        self._decoder = SseDecoder()
        self._error: Mapping[str, Any] | None = None  # an ``error`` event after which ``response.failed`` may come
        self._status = 0
        self._headers: Mapping[str, str] = {}
        self._body: list[bytes] | None = None  # of a response that is not a stream
        self._on_close: Callable[[], None] | None = None

    @property
    def failed(self) -> bool:
        """True if the turn has ended without a response that can be continued."""
        return self.response is None or self.response.get("status") == "failed"

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Sets the function that :meth:`cancel` calls."""
        self._on_close = callback

    def cancel(self) -> None:
        """Tells the handler that the client has left, if it has not ended."""
        on_close, self._on_close = self._on_close, None
        if on_close is not None and not self.done.done():
            on_close()

    def write_headers(
        self, start_line: RequestStartLine | ResponseStartLine, headers: Mapping[str, str], chunk: bytes | None = None
    ) -> asyncio.Future[None]:
        """Begins the response. Returns as :meth:`write` does."""
        assert isinstance(start_line, ResponseStartLine)
        self._status = start_line.code
        if headers.get("Content-Type", "").startswith("text/event-stream"):
            if dropped := headers.get(_DROPPED):
                self._first = dump_bytes({"dropped_fields": dropped.split(", ")})[1:-1] + b","
        else:
            self._body = []
            self._headers = {name.lower(): headers[name] for name in _ERROR_HEADERS if name in headers}
        return self.write(chunk) if chunk else self._sent

    def write(self, chunk: bytes) -> asyncio.Future[None]:
        """Sends the events in ``chunk``. Returns a future that is done when the client has taken them."""
        if self._body is not None:
            self._body.append(chunk)
            return self._sent
        frames = self._decoder.feed(chunk)
        if not frames and chunk.startswith(b":"):  # a keepalive
            self._socket.ping()
        texts = [text for frame in frames if (text := self._read_event(frame))]
        return (self._socket.send(*texts) if texts else None) or self._sent

    def finish(self) -> None:
        """Ends the turn; sends an error that is not a stream's as its only event."""
        if self._body is not None:
            self._send_error(self._status, as_dict(_parse(b"".join(self._body)).get("error")))
        elif self._error is not None:
            error = as_dict(self._error.get("error")) or {
                k: v for k, v in self._error.items() if k != "sequence_number"
            }
            self._send_error(500, {"type": "server_error", **{k: v for k, v in error.items() if v != "error"}})
        if not self.done.done():
            self.done.set_result(None)

    def close(self) -> None:
        """Ends the turn in the middle of its response."""
        if self.response is None and self._body is None:
            self.send_failure(Internal("The answer was broken off."))
        self._body = self._error = None
        self.finish()

    abort = close

    def send_failure(self, error: LLMError) -> None:
        """Sends an error as the only event of the turn."""
        wire = openai_responses.write_error(error)
        self._send_error(openai_responses.get_http_status(error), as_dict(wire["error"]))

    def _send_error(self, status: int, error: Mapping[str, Json]) -> None:
        wire: dict[str, Json] = {"type": "error", "status": status, "error": dict(error)}
        if self._headers:
            wire["headers"] = dict(self._headers)
        self._socket.send(self._add_prefix(dump_bytes(wire)))

    def _read_event(self, frame: Frame) -> bytes:
        """Returns the message of an event; empty if the client gets none."""
        text = frame.data.encode()
        name = frame.event or ("" if not text.startswith(b"{") else as_text(_parse(text).get("type")))
        if not text.startswith(b"{"):  # [DONE]
            return b""
        if name == "error":
            self._error = _parse(text)
            return b""
        if name in _STATES:
            text = self._read_state(name, text)
        return self._add_prefix(text)

    def _read_state(self, name: str, text: bytes) -> bytes:
        if name not in _ENDS and self._previous_id is None:
            return text
        wire = _parse(text)
        response = as_dict(wire.get("response"))
        if name in _ENDS:
            self.response, self._error = response, None
        if self._previous_id is None or not response:
            return text
        return dump_bytes({**wire, "response": {**response, "previous_response_id": self._previous_id}})

    def _add_prefix(self, text: bytes) -> bytes:
        prefix, self._first = self._first + self._prefix, b""
        return b"{" + prefix + text[1:] if prefix else text


def _parse(text: bytes) -> Mapping[str, Any]:
    try:
        return as_dict(loads(text))
    except ValueError:
        return {}
