"""From the head of a request to its handler, in a tenth of the steps that Tornado's own router and delegates take."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from tornado.escape import parse_qs_bytes, url_unescape
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.web import Application, RequestHandler

from handlers.base import Base
from llm.dialects import native
from llm.errors import InvalidRequest, LLMError, RateLimited
from llm.http1.message import Headers
from llm.wire.json_codec import dump_bytes

Route: TypeAlias = tuple[str, type[Base], dict[str, Any]]
"""A path, or a pattern with groups; a handler, and what it is made with."""

_MAX_ARGUMENTS: Final = 1000  # of a query


class Request(HTTPServerRequest):
    """What Tornado's handlers and ours ask of a request, which is less than Tornado would make of each."""

    headers: Headers  # type: ignore[assignment]  # a mapping is all that is asked for

    # Of Tornado's, for whoever prints one.
    protocol = "http"
    remote_ip = None
    host = ""

    def __init__(self, connection: HTTPConnection, line: RequestStartLine, headers: Headers) -> None:
        self.connection = connection
        self.headers = headers
        self.method, self.uri, self.version = line
        self.path, _, self.query = self.uri.partition("?")
        self.query_arguments = self.arguments = _arguments(self.query) if self.query else {}


def _arguments(query: str) -> dict[str, list[bytes]]:
    try:
        return parse_qs_bytes(query, keep_blank_values=True, max_num_fields=_MAX_ARGUMENTS)
    except ValueError:
        raise InvalidRequest("The query cannot be read.") from None


class Routes(Application):
    """Tornado's application, for its handlers. A path is looked up, and what is no path is tried in turn.

    ``handlers.server`` calls :meth:`begin`; Tornado's own ``HTTPServer`` calls :meth:`start_request`.
    """

    def __init__(self, routes: Sequence[Route], otherwise: tuple[type[Base], dict[str, Any]]) -> None:
        super().__init__()
        self._by_path = {path: (handler, more, ()) for path, handler, more in routes if "(" not in path}
        self._patterns = [(re.compile(path), handler, more) for path, handler, more in routes if "(" in path]
        self._otherwise = otherwise

    def begin(self, connection: HTTPConnection, line: RequestStartLine, headers: Headers) -> Base:
        """The handler of a request whose body may be still to come (``client.App``). Raises ``InvalidRequest``."""
        request = Request(connection, line, headers)
        handler_class, more, args = self._by_path.get(request.path) or self._matching(request.path)
        handler = handler_class(self, request, **more)
        handler.begin(args)
        return handler

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> StockRequest:
        """The same handlers behind Tornado's ``HTTPServer``: the way back, should its connection interface change."""
        return StockRequest(self, request_conn)

    def _matching(self, path: str) -> tuple[type[Base], dict[str, Any], tuple[bytes, ...]]:
        for pattern, handler, more in self._patterns:
            if match := pattern.fullmatch(path):
                return handler, more, tuple(url_unescape(arg, encoding=None, plus=False) for arg in match.groups())
        return *self._otherwise, ()

    def error_body(self, error: LLMError) -> bytes:
        return dump_bytes(native.write_error(error))

    def overload_body(self) -> bytes:
        return self.error_body(RateLimited("Too many clients are connected (MAX_CONNECTIONS).", retry_after=1.0))

    def log_request(self, handler: RequestHandler) -> None:
        """Handlers write their own line."""


class StockRequest(HTTPMessageDelegate):
    """One request read by Tornado's ``HTTP1Connection``."""

    def __init__(self, routes: Routes, connection: HTTPConnection) -> None:
        self._connection = connection
        self._handler: Base | None = None
        self._routes = routes

    def headers_received(self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders) -> None:
        assert isinstance(start_line, RequestStartLine)
        self._handler = self._routes.begin(self._connection, start_line, headers)  # type: ignore[arg-type]
        self._connection.set_close_callback(self._handler.on_connection_close)  # type: ignore[attr-defined]

    def data_received(self, chunk: bytes) -> None:
        assert self._handler is not None
        self._handler.data_received(chunk)

    def finish(self) -> None:
        assert self._handler is not None
        self._handler.body_ended()

    def on_connection_close(self) -> None:
        if self._handler is not None:
            self._handler.on_connection_close()
