"""Finds and starts the handler of a request, in a tenth of the steps of Tornado's own router and delegates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from string import ascii_letters, digits
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

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

from handlers.base import BaseHandler
from handlers.ops.not_found import HIDDEN_ID
from llm.dialects import native
from llm.errors import InvalidRequest, LLMError, RateLimited
from llm.http1.message import Headers
from llm.wire.json_codec import dump_bytes

Route: TypeAlias = tuple[str, type[BaseHandler], dict[str, Any]]
"""A path or a pattern with groups, the handler class, and its arguments."""

HEALTH: Final = "/health"  # is answered above MAX_CONNECTIONS too
_MAX_ARGUMENTS: Final = 1000  # arguments of a query
_PATH_ID: Final = re.compile(r"/c/([^/]*)(/.*)?")  # a path that begins with a client id
_ENCODED: Final = re.compile(r"%([0-7][0-9A-Fa-f])")
_PLAIN: Final = frozenset(ascii_letters + digits + "-._~")
_IDS: Final = re.compile(r"/c/[^/]+")


class Request(HTTPServerRequest):
    """A request with the attributes that handlers use, without the rest that Tornado creates for each."""

    headers: Headers  # type: ignore[assignment]  # handlers use it as a mapping only

    # Used only by Tornado's ``__repr__``.
    protocol = "http"
    remote_ip = None
    host = ""

    def __init__(self, connection: HTTPConnection, line: RequestStartLine, headers: Headers) -> None:
        self.connection = connection
        self.headers = headers
        self.method, self.uri, self.version = line
        self.path, _, self.query = self.uri.partition("?")
        if "%" in self.path:
            self.path = _ENCODED.sub(_decode_plain, self.path)
        self.path_id = ""  # the client id that was part of the path
        self.query_arguments = self.arguments = _arguments(self.query) if self.query else {}


def _decode_plain(match: re.Match[str]) -> str:
    """Decodes a character that means the same with and without percent encoding (RFC 3986, section 2.3)."""
    character = chr(int(match[1], 16))
    return character if character in _PLAIN else match[0]


def _arguments(query: str) -> dict[str, list[bytes]]:
    try:
        return parse_qs_bytes(query, keep_blank_values=True, max_num_fields=_MAX_ARGUMENTS)
    except ValueError:
        raise InvalidRequest("The query of the URL cannot be parsed.") from None


class Router(Application):
    """The application. Looks a path up in a dictionary, then tries the patterns in order.

    ``handlers.server`` calls :meth:`begin`; Tornado's own ``HTTPServer`` calls :meth:`start_request`.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        not_found: tuple[type[BaseHandler], dict[str, Any]],
        *,
        path_ids: bool = False,
        protected: bool = False,
    ) -> None:
        """``path_ids``: client ids are read from paths. ``protected``: pages of other origins may send nothing."""
        super().__init__(cross_origin_protection=protected)
        self.routes = routes
        self._path_ids = path_ids
        self._by_path = {path: (handler, kwargs, ()) for path, handler, kwargs in routes if "(" not in path}
        self._patterns = [(re.compile(path), handler, kwargs) for path, handler, kwargs in routes if "(" in path]
        self._not_found = not_found

    def begin(self, connection: HTTPConnection, line: RequestStartLine, headers: Headers) -> BaseHandler:
        """Starts the handler of a request whose body may still be incomplete. Raises ``InvalidRequest``."""
        request = Request(connection, line, headers)
        if request.path.startswith("/c/"):
            self._cut_path_id(request)
        if request.path != HEALTH and getattr(connection, "over_limit", False):
            raise self._make_overload_error()
        handler_class, kwargs, args = self._by_path.get(request.path) or self._match(request.path)
        handler = handler_class(self, request, **kwargs)
        handler.begin(args)
        return handler

    def _cut_path_id(self, request: Request) -> None:
        """Takes the client id out of the path, so that it is in no log line and no error, served or not."""
        match = _PATH_ID.fullmatch(request.path)
        if match and self._path_ids:
            request.path_id, request.path = unquote(match[1]), match[2] or "/"
        if request.path.startswith("/c/"):
            request.path = _IDS.sub(f"/c/{HIDDEN_ID}", request.path)

    def find(self, path: str) -> tuple[type[BaseHandler], Mapping[str, Any]] | None:
        """Returns the handler class of a path and its arguments; None if the path has no route."""
        handler_class, kwargs, _ = self._by_path.get(path) or self._match(path)
        return (handler_class, kwargs) if handler_class is not self._not_found[0] else None

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> StockRequest:
        """Serves the same handlers behind Tornado's ``HTTPServer``: a fallback if its connection interface changes."""
        return StockRequest(self, request_conn)

    def _match(self, path: str) -> tuple[type[BaseHandler], dict[str, Any], tuple[bytes, ...]]:
        for pattern, handler, kwargs in self._patterns:
            if match := pattern.fullmatch(path):
                return handler, kwargs, tuple(url_unescape(arg, encoding=None, plus=False) for arg in match.groups())
        return *self._not_found, ()

    def error_body(self, error: LLMError) -> bytes:
        """Returns the JSON of an error that belongs to no handler."""
        return dump_bytes(native.write_error(error))

    def overload_body(self) -> bytes:
        """Returns the JSON of the error for a connection above ``MAX_CONNECTIONS``."""
        return self.error_body(self._make_overload_error())

    def _make_overload_error(self) -> LLMError:
        return RateLimited("Too many clients are connected (MAX_CONNECTIONS).", retry_after=1.0)

    def log_request(self, handler: RequestHandler) -> None:
        """Does nothing: handlers write the log line themselves."""


class StockRequest(HTTPMessageDelegate):
    """Passes a request that Tornado's ``HTTP1Connection`` reads to its handler."""

    def __init__(self, routes: Router, connection: HTTPConnection) -> None:
        self._connection = connection
        self._handler: BaseHandler | None = None
        self._routes = routes

    def headers_received(self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders) -> None:
        """Starts the handler."""
        assert isinstance(start_line, RequestStartLine)
        self._handler = self._routes.begin(self._connection, start_line, headers)  # type: ignore[arg-type]
        self._connection.set_close_callback(self._handler.on_connection_close)  # type: ignore[attr-defined]

    def data_received(self, chunk: bytes) -> None:
        """Passes on a piece of the body."""
        assert self._handler is not None
        self._handler.data_received(chunk)

    def finish(self) -> None:
        """Passes on that the body is complete."""
        assert self._handler is not None
        self._handler.on_body_end()

    def on_connection_close(self) -> None:
        """Passes on that the client has left."""
        if self._handler is not None:
            self._handler.on_connection_close()
