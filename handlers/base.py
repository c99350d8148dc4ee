"""Base class of all handlers: authorization, the request body, errors and the log line."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Sequence
from functools import partial
from http.client import responses
from itertools import chain
from typing import Any, ClassVar, Final, Literal, TypeAlias

from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError, RequestHandler, stream_request_body

from handlers.context import Context
from handlers.request.body import MAX_DISCARDED, RequestBody
from handlers.request.idempotency import HEADER
from handlers.request.limits import MAX_OPEN_BODY, check_values
from handlers.request.response_headers import ResponseHeaders, forget_frames, format_date, join_names
from llm import log
from llm.dialects import native
from llm.dialects.base import ErrorDialect
from llm.engines.engine import guess_key_engine
from llm.errors import (
    Cancelled,
    Draining,
    Internal,
    InvalidRequest,
    LLMError,
    NotAuthenticated,
    NotFound,
    TooLarge,
    WebSocketNotServed,
)
from llm.gateway.callers import Caller, list_client_ids, pop_body_keys, read_header_keys
from llm.http1.threads import run_in_thread
from llm.upstream.call_record import CallRecord
from llm.wire.json_codec import Json, dump_bytes, loads, quote_url_part
from llm.wire.json_steps import loads_in_steps

Access: TypeAlias = Literal["open", "caller", "client"]
"""Who may call a route. ``open``: anyone. ``caller``: a valid client id or an own provider key. ``client``: only the
former."""

_CLIENT_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{8,128}")
_UNKNOWN_CALLER: Final = Caller(trusted=False)
_NO_NAMES: Final[frozenset[str]] = frozenset()
_HEADERS: Final = {
    "Content-Type": "text/html; charset=UTF-8",
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # without line ends, which would allow header injection


@stream_request_body
class BaseHandler(RequestHandler):
    """Base class of the handlers of all routes.

    Subclasses define ``methods``, ``access`` and :meth:`handle`, which is called only if the caller is authorized. The
    body is received in pieces, so that one that is too large is refused before the client has sent all of it.
    """

    methods: ClassVar[tuple[str, ...]] = ("GET",)
    access: ClassVar[Access] = "caller"
    serves_while_draining: ClassVar[bool] = False  # also serves while the server shuts down
    counts_as_answer: ClassVar[bool] = False  # the answer counts for MAX_ANSWERS
    has_costs: ClassVar[bool] = False  # a POST is billed though it is no answer: an Idempotency-Key is honoured too
    body_schema: ClassVar[str] = ""  # name of the schema of its bodies; "": none, or an argument of the route
    dialect: ErrorDialect = native  # the dialect that errors are written in
    searched: ClassVar[bytes] = b""  # :meth:`parse_body` notes whether this is in the body

    # An open stream keeps its handler in memory: slots take a fifth of the memory of an instance dictionary.
    __slots__ = (
        "_client_id",
        "_early",
        "_task",
        "answer_task",
        "body",
        "body_matches",
        "caller",
        "client_gone",
        "context",
        "failure",
        "log_fields",
        "request_id",
        "started_at",
    )  # fmt: skip

    body: RequestBody
    context: Context
    caller: Caller
    request_id: str

    def __init__(self, application: Any, request: HTTPServerRequest, **kwargs: Any) -> None:
        self.request_id = ""
        self.caller = _UNKNOWN_CALLER
        self.failure: LLMError | None = None  # for the log line
        self.log_fields: dict[str, Any] = {}  # additional fields of the log line
        self.started_at = time.monotonic()
        self._early: LLMError | None = None  # raised before the body is read
        self.answer_task: asyncio.Task[None] | None = None  # set while the answer can be cancelled
        self.client_gone = False  # the client has left, or reads no more
        super().__init__(application, request, **kwargs)
        self.ui = None  # type: ignore[assignment]  # Tornado's template helpers, unused; they refer back to the handler

    def initialize(self, context: Context) -> None:
        """Checks the headers before any of the body is received; Tornado may call :meth:`prepare` later."""
        self.context = context
        path_id: str = getattr(self.request, "path_id", "")
        self._client_id = context.find_client_id(chain((path_id,), list_client_ids(self.request.headers)))
        self.body = self.create_body(bool(self._client_id) or context.config.open_to_all)
        if HEADER in self.request.headers and self.request.method == "POST":
            self.body.digest = b"" if self.counts_as_answer or self.has_costs else None
        length = self.request.headers.get("Content-Length", "")
        if context.active.draining and not self.serves_while_draining:
            self._early = Draining("The server is shutting down.")
        elif length.isdecimal() and int(length) > self.body.limit:
            self._early = self.body.make_size_error()

    def create_body(self, known: bool) -> RequestBody:
        """Returns what receives the body. ``known``: the caller has sent a client id."""
        discard_limit = MAX_DISCARDED * self.context.config.max_body_size
        return RequestBody(self.max_body, discard_limit, None if known else self.context.body_budget)

    def begin(self, args: Sequence[bytes]) -> None:
        """Starts the task that answers the request, in the next turn of the event loop.

        Tornado's own delegate for handlers does the same with seven times as many calls, and by the same private
        attributes.
        """
        loop = asyncio.get_running_loop()
        self.request._body_future = loop.create_future()
        self._task = loop.create_task(self._execute([], *args))

    def on_body_end(self) -> None:
        """Marks the body as complete: the task calls the method of the request."""
        complete = self.request._body_future
        if not complete.done():
            complete.set_result(None)

    async def handle(self, body: dict[str, Any]) -> None:
        """Answers a request of an authorized caller. ``body`` is the JSON object, without the caller's keys."""
        raise NotImplementedError

    def clear(self) -> None:
        """Resets the response. Replaces Tornado's method, which makes fifty calls; a dictionary is enough here."""
        self._headers = ResponseHeaders(_HEADERS, Date=format_date(int(time.time())))  # type: ignore[assignment]
        if self.request_id:
            self._set_request_id_headers()
        self._write_buffer = []
        self.set_status(200)

    def set_header(self, name: str, value: Any) -> None:
        """Sets a header. Raises ``ValueError`` for a value with a control character, such as a line end."""
        text = str(value)
        if not _HEADER_VALUE.fullmatch(text):
            raise ValueError(f"not a valid header value: {text!r}")
        self._headers[name.title()] = text

    def prepare(self) -> None:
        """Sets the request id and the CORS headers, then raises the error that needs no body, if any."""
        self.request_id = self._choose_request_id()
        self._set_request_id_headers()
        if self.context.config.cors_origins:
            self._set_cors_headers()
        if self._early is not None:
            raise self._early
        if self.context.config.open_to_all and self.access != "open":
            self.context.check_host(self.request.headers.get("Host", ""))

    def check_trusted_origin(self, origin: str) -> bool:
        """Returns whether a page of another origin may send requests (Tornado's cross-origin protection)."""
        allowed = self.context.config.cors_origins
        return "*" in allowed or origin in allowed

    @property
    def max_body(self) -> int:
        """Maximum size of the body, in bytes."""
        limit = self.context.config.max_body_size
        return min(limit, MAX_OPEN_BODY) if self.access == "open" else limit

    def data_received(self, chunk: bytes) -> None:
        """Keeps a piece of the body; closes the connection when too much of a refused one has been discarded."""
        if self._early is None and not self.body.receive(chunk):
            self.request.connection.close()  # type: ignore[union-attr]

    async def get(self, *_: str) -> None:
        """Authorizes the caller and calls :meth:`handle`; the same for every HTTP method."""
        if self.request.method not in self.methods and not self._is_head():
            raise self._make_method_error()
        if self.body.refusal is not None:  # before authorization: the caller's key may have been in the discarded body
            raise self.body.refusal
        if encoding := self.request.headers.get("Content-Encoding"):
            await self.body.decompress(encoding)
        if self.body.weigh():
            body, fault = await run_in_thread(self.parse_body)
            if self.client_gone:
                raise Cancelled("The client is gone.")
        else:
            body, fault = self.parse_body()
        await self.authorize(body)
        if fault is not None:
            raise fault
        self.answer_task = self._task
        try:
            if self.body.digest is not None:
                await self.context.repeated.answer(self, partial(self._answer_caller, body))
                return
            # In this coroutine: an open stream would keep another one.
            with self.context.concurrency.acquire(self.caller.names if self.counts_as_answer else _NO_NAMES):
                await self.handle(body)
        except asyncio.CancelledError:
            if not self.client_gone:
                raise
            self.failure = Cancelled("The client is gone.")

    head = post = put = patch = delete = get

    async def _answer_caller(self, body: dict[str, Any]) -> None:
        with self.context.concurrency.acquire(self.caller.names if self.counts_as_answer else _NO_NAMES):
            await self.handle(body)

    def digest_request(self) -> bytes:
        """Returns a digest of the body, for a request with an ``Idempotency-Key``; called in a thread."""
        return self.body.digest or b""

    def _make_method_error(self) -> Exception:
        if self.request.method == "GET" and "websocket" in self.request.headers.get("Upgrade", "").lower():
            # Codex asks by HTTP at once after a 426, and only after seven attempts after any other status.
            message = f"There is no WebSocket at {self.request.path[:200]}: send the request by HTTP POST."
            return WebSocketNotServed(message, headers={"Upgrade": "HTTP/1.1", "Connection": "Upgrade"})
        return HTTPError(405)

    def _is_head(self) -> bool:
        """True for HEAD where GET is served; Tornado and the connection leave the body out of the response."""
        return self.request.method == "HEAD" and "GET" in self.methods

    async def options(self, *_: str) -> None:
        """Answers a browser's CORS preflight; the answer is in the headers."""
        self.set_status(204)

    def on_connection_close(self) -> None:
        """Cancels the answer when the client has left; the end of the task closes the provider's socket (C1)."""
        self.client_gone = True
        super().on_connection_close()  # ends the wait for the rest of the body
        self.body.release()
        if self.answer_task is not None:
            self.answer_task.cancel()
        else:  # the answer has not started
            self._early = self.body.refusal = Cancelled("The client is gone.")

    def parse_body(self) -> tuple[dict[str, Any], LLMError | None]:
        """Returns the JSON object of the body and None, or an empty one and the error.

        The error is returned so that an unauthorized caller gets 401 and not a description of the body.
        """
        raw = self.body.take()
        self.body_matches = bool(self.searched) and self.searched in raw
        if not raw or raw.isspace():
            return {}, None
        try:
            check_values(raw)
            body = loads_in_steps(raw) if self.body.heavy else loads(raw)
        except InvalidRequest as error:
            return {}, error
        except ValueError as error:
            return {}, InvalidRequest(f"body: is not JSON ({error})"[:200], param="body")
        if not isinstance(body, dict):
            return {}, InvalidRequest("body: has to be a JSON object", param="body")
        return body, None

    async def authorize(self, body: dict[str, Any]) -> None:
        """Sets the caller. Raises ``NotAuthenticated`` if it may not call this route, late after many wrong ids."""
        if self.access == "open":
            return
        engines = self.context.config.engines
        keys = {**read_header_keys(self.request.headers, engines), **pop_body_keys(body, engines)}
        self.caller = self.context.make_caller(self._client_id, keys)
        if not self.caller.trusted and (self.access == "client" or not self.caller.keys):
            sent = (getattr(self.request, "path_id", ""), *list_client_ids(self.request.headers))
            await self.context.wrong_ids.wait(self.request, [id for id in sent if id], self.log_fields)
            raise NotAuthenticated(self._explain_refusal())

    def _explain_refusal(self) -> str:
        """Returns the sentence for a caller without access; names whose key was sent in place of a client id."""
        engines = self.context.config.engines.values()
        for sent in list_client_ids(self.request.headers):
            if engine := guess_key_engine(sent, engines):
                return (
                    f"The API key of this request looks like a key of {engine.label}. This server takes client ids as "
                    "API keys (AUTHORIZED_CLIENT_ID); a provider's key goes into the header "
                    f"X-{engine.name.title()}-Key."
                )
        return "X-ClientId header is missing or invalid and no custom API keys provided"

    def write_json(self, value: Json | dict[str, Json], status: int = 200) -> None:
        """Writes a JSON response."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.write(dump_bytes(value))

    def set_record_headers(self, record: CallRecord) -> None:
        """Sets the headers that are passed on from the engine's response, ``X-Dropped-Fields`` and ``X-Model``."""
        for name, value in record.headers.items():
            self.set_header(name, value)
        if record.dropped:
            self.set_header("X-Dropped-Fields", join_names(record.dropped))
        if record.model:
            self.set_header("X-Model", quote_url_part(record.model[:200], "/:@+,;=()[] "))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Writes the error response in the client's dialect. Tornado calls it for every exception of a handler."""
        error = self._to_error(status_code, (kwargs.get("exc_info") or (None, None))[1])
        self.failure = error
        if self.context.config.cors_origins:
            self._set_cors_headers()  # again: Tornado has cleared the headers
        for name, value in error.headers.items():
            self.set_header(name, value)
        if status_code == 405:
            self.set_header("Allow", ", ".join([*self.methods, *(["HEAD"] if "GET" in self.methods else [])]))
        if isinstance(error, TooLarge | Draining):
            self.set_header("Connection", "close")
        if error.retry_after is not None and "retry-after" not in error.headers:
            self.set_header("Retry-After", f"{error.retry_after:.0f}")
        own_status = isinstance(error, InvalidRequest) and status_code in (403, 405)
        status = status_code if own_status else self.dialect.get_http_status(error)
        self.write_json(self.dialect.write_error(error), status)

    def _to_error(self, status_code: int, error: BaseException | None) -> LLMError:
        if isinstance(error, LLMError):
            return error
        if status_code == 404:
            return NotFound(f"This server has no path {self.request.path[:200]}.")
        if status_code < 500:
            reason = (error.log_message or error.reason) if isinstance(error, HTTPError) else None
            reason = reason or responses.get(status_code, "Unknown")
            return InvalidRequest(f"{self.request.method} {self.request.path[:200]}: {reason}")
        return Internal(f"The server failed to handle the request {self.request_id}; its log has the details.")

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        """Logs a bug with its stack trace. An error that was sent to the client is in the request's own log line."""
        if not isinstance(value, LLMError | HTTPError):
            log.write("bug", 40, exc_info=value, id=self.request_id, path=self.request.path)

    def on_finish(self) -> None:
        """Releases the body and writes the request's log line."""
        self.body.release()
        failure = self.failure
        if failure is not None:
            forget_frames(failure)
        log.write(
            "request",
            id=self.request_id,
            method=self.request.method,
            path=self.request.path,
            status=499 if self.client_gone else self.get_status(),
            code="cancelled" if self.client_gone else failure.code if failure else None,
            seconds=round(time.monotonic() - self.started_at, 3),
            **self.log_fields,
            **self.final_log_fields(),
        )

    def final_log_fields(self) -> dict[str, Any]:
        """Returns fields of the log line that are known only when the answer has ended."""
        return {}

    def compute_etag(self) -> None:
        """Returns None: responses have no ETag."""

    def _choose_request_id(self) -> str:
        """Returns the client's own id, with which it can cancel before it has received the headers; else a new id."""
        own = self.request.headers.get("X-Request-Id", "")
        if _CLIENT_REQUEST_ID.fullmatch(own) and own not in self.context.active:
            return own
        return f"req_{os.urandom(12).hex()}"

    def _set_request_id_headers(self) -> None:
        self._headers["X-Request-Id"] = self.request_id  # it has no character that a header may not have
        if self.dialect.REQUEST_ID != "X-Request-Id":
            self.set_header(self.dialect.REQUEST_ID, self.request_id)

    def _set_cors_headers(self) -> None:
        allowed = self.context.config.cors_origins
        origin = self.request.headers.get("Origin")
        if not origin:
            return
        self.set_header("Vary", "Origin")
        if "*" in allowed or origin in allowed:
            self.set_header("Access-Control-Allow-Origin", origin)
            self.set_header("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
            requested = self.request.headers.get("Access-Control-Request-Headers")
            self.set_header("Access-Control-Allow-Headers", requested or "Content-Type")
            self.set_header("Access-Control-Expose-Headers", "X-Request-Id, Retry-After")
            self.set_header("Access-Control-Max-Age", "600")
