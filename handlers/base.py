"""What every route does: who calls, what body, and how an error is written."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import lru_cache
from http.client import responses
from typing import Any, ClassVar, Final, Literal, TypeAlias

from tornado.httputil import HTTPServerRequest, format_timestamp
from tornado.web import HTTPError, RequestHandler, stream_request_body

from handlers.context import Context
from handlers.request.limits import MAX_OPEN_BODY, check_values, too_many
from llm import log
from llm.dialects import native
from llm.dialects.base import ClientDialect
from llm.errors import Cancelled, Draining, Internal, InvalidRequest, LLMError, NotAuthenticated, NotFound, TooLarge
from llm.gateway.callers import Caller, keys_from_body, keys_from_headers
from llm.upstream.call_record import Trace
from llm.wire.json_codec import Json, dump_bytes, loads

Access: TypeAlias = Literal["open", "caller", "client"]
"""``open``: anyone. ``caller``: a valid client id or a provider key of one's own. ``client``: a valid client id."""

_CLIENT_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{8,128}")
_STRANGER: Final = Caller(trusted=False)
_HEADERS: Final = {
    "Content-Type": "text/html; charset=UTF-8",
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # of a header, which has no line end to hide another one behind
_PATIENCE: Final = 4  # times MAX_BODY_SIZE that is read and thrown away to be able to answer 413


class ResponseHeaders(dict[str, str]):
    """The headers of an answer: what Tornado asks of ``HTTPHeaders``, in a plain dictionary."""

    __slots__ = ()
    get_all = dict.items


@stream_request_body
class Base(RequestHandler):
    """A route. Subclasses say ``methods``, ``access`` and :meth:`handle`, which runs only for whoever may call.

    The body is read as it comes, so that one that is too large is refused before it is sent.
    """

    methods: ClassVar[tuple[str, ...]] = ("GET",)
    access: ClassVar[Access] = "caller"
    while_draining: ClassVar[bool] = False
    costly: ClassVar[bool] = False  # an answer that MAX_ANSWERS counts
    dialect: ClientDialect = native  # whose shape errors take

    # An open stream keeps its handler: what is named here takes a fifth of what it would in a dictionary.
    __slots__ = (
        "_client_id", "_early", "_received", "_refusal", "_running", "_strange", "answer_task", "began", "caller",
        "context", "failure", "gone", "pieces", "request_id", "told",
    )  # fmt: skip

    context: Context
    caller: Caller
    request_id: str

    def __init__(self, application: Any, request: HTTPServerRequest, **kwargs: Any) -> None:
        self.request_id = ""
        self.caller = _STRANGER
        self.failure: LLMError | None = None  # for the log line
        self.told: dict[str, Any] = {}  # more for the log line
        self.began = time.monotonic()
        self.pieces: list[bytes] = []
        self._received = 0
        self._strange: int | None = None  # bytes kept of a stranger's body; None: of a known client's
        self._refusal: LLMError | None = None  # of a body that is read to its end and thrown away
        self._early: LLMError | None = None  # a refusal that waits for no body
        self.answer_task: asyncio.Task[None] | None = None  # of an answer that can be cancelled
        self.gone = False  # the client has left, or takes no more
        super().__init__(application, request, **kwargs)
        self.ui = None  # type: ignore[assignment]  # what renders templates: there are none, and it refers back to this

    def initialize(self, context: Context) -> None:
        """Knows from the headers what may be sent, before any of the body comes: :meth:`prepare` may come later."""
        self.context = context
        self._client_id = context.client_of(self._offered())
        length = self.request.headers.get("Content-Length", "")
        if context.running.draining and not self.while_draining:
            self._early = Draining("The server is shutting down.")
        elif length.isdecimal() and int(length) > self._largest:
            self._early = self._too_large()
        elif not self._client_id and not context.config.open_to_all:
            self._strange = 0

    def begin(self, args: Sequence[bytes]) -> None:
        """Answers in a task, from the next turn of the loop on: what has come of the body by then is there.

        Tornado's own delegate for handlers does the same, with seven times as many calls and no other way in than this.
        """
        loop = asyncio.get_running_loop()
        self.request._body_future = loop.create_future()
        self._running = loop.create_task(self._execute([], *args))

    def body_ended(self) -> None:
        whole = self.request._body_future
        if not whole.done():
            whole.set_result(None)

    async def handle(self, body: dict[str, Any]) -> None:
        raise NotImplementedError

    def clear(self) -> None:
        """A new answer, in a few calls of Tornado's fifty; all that it asks of ``_headers``, a dictionary has too."""
        self._headers = ResponseHeaders(_HEADERS, Date=_date(int(time.time())))  # type: ignore[assignment]
        if self.request_id:
            self._tell_id()
        self._write_buffer = []
        self.set_status(200)

    def set_header(self, name: str, value: Any) -> None:
        text = str(value)
        if not _VALUE.fullmatch(text):
            raise ValueError(f"not the value of a header: {text!r}")
        self._headers[name.title()] = text

    def prepare(self) -> None:
        self.request_id = self._chosen_id()
        self._tell_id()
        self._allow_origin()
        if self._early is not None:
            raise self._early

    @property
    def _largest(self) -> int:
        """Bytes that a body may have."""
        most = self.context.config.max_body_size
        return min(most, MAX_OPEN_BODY) if self.access == "open" else most

    def data_received(self, chunk: bytes) -> None:
        if self._early is not None:
            return
        self._received += len(chunk)
        if self._refusal is None:
            if self._received > self._largest:
                self._refusal = self._too_large()
            elif self._strange is not None and not self.context.kept_bodies.add(len(chunk)):
                self._refusal = too_many()
            else:
                self._strange = None if self._strange is None else self._strange + len(chunk)
                self.pieces.append(chunk)
                return
            self._forget_body()  # it is answered at its end, unless it has none
        if self._received > _PATIENCE * self.context.config.max_body_size:
            self.request.connection.close()  # type: ignore[union-attr]

    def _forget_body(self) -> None:
        self.pieces.clear()
        if self._strange:
            self.context.kept_bodies.remove(self._strange)
            self._strange = 0

    async def get(self, *_: str) -> None:
        if self.request.method not in self.methods:
            raise HTTPError(405)
        if self._refusal is not None:  # before it is asked who calls: that may have been in the body
            raise self._refusal
        body, fault = self.parse_body()
        self._authorize(body)
        if fault is not None:
            raise fault
        self.answer_task = self._running
        try:
            with self.context.answers.one(self.caller.names) if self.costly else nullcontext():
                await self.handle(body)
        except asyncio.CancelledError:
            if not self.gone:
                raise
            self.failure = Cancelled("The client is gone.")

    post = put = patch = delete = get

    async def options(self, *_: str) -> None:
        """A browser asks before it calls; the answer is in the headers."""
        self.set_status(204)

    def on_connection_close(self) -> None:
        """Nobody reads any more, so nothing may go on: the task's end closes the provider's socket (C1)."""
        self.gone = True
        super().on_connection_close()  # ends the wait for the rest of a body
        self._forget_body()
        if self.answer_task is not None:
            self.answer_task.cancel()
        else:  # it has not begun, and need not
            self._early = self._refusal = Cancelled("The client is gone.")

    def parse_body(self) -> tuple[dict[str, Any], LLMError | None]:
        """The JSON object that was sent, or why there is none; who calls is asked before that is told."""
        raw, self.pieces = b"".join(self.pieces), []
        if not raw or raw.isspace():
            return {}, None
        try:
            check_values(raw)
            body = loads(raw)
        except InvalidRequest as error:
            return {}, error
        except ValueError as error:
            return {}, InvalidRequest(f"body: is not JSON ({error})"[:200], param="body")
        if not isinstance(body, dict):
            return {}, InvalidRequest("body: has to be a JSON object", param="body")
        return body, None

    def _authorize(self, body: dict[str, Any]) -> None:
        if self.access == "open":
            return
        engines = self.context.config.engines
        keys = {**keys_from_headers(self.request.headers, engines), **keys_from_body(body, engines)}
        self.caller = self.context.caller(self._client_id, keys)
        if not self.caller.trusted and (self.access == "client" or not keys):
            raise NotAuthenticated("X-ClientId header is missing or invalid and no custom API keys provided")

    def _offered(self) -> Iterator[str]:
        """What may be a client id, from where clients put it."""
        headers = self.request.headers
        yield headers.get("X-ClientId", "")
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            yield token.strip()
        yield headers.get("x-api-key", "")

    def write_json(self, value: Json | dict[str, Json], status: int = 200) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.write(dump_bytes(value))

    def set_record_headers(self, record: Trace) -> None:
        """What the engine's answer said that is worth passing on, and the names of dropped fields."""
        for name, value in record.headers.items():
            self.set_header(name, value)
        if record.dropped:
            self.set_header("X-Dropped-Fields", ", ".join(record.dropped))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = self._error_of(status_code, (kwargs.get("exc_info") or (None, None))[1])
        self.failure = error
        self._allow_origin()  # what was set before is gone: an error starts anew
        for name, value in error.headers.items():
            self.set_header(name, value)
        if status_code == 405:
            self.set_header("Allow", ", ".join(self.methods))
        if isinstance(error, TooLarge | Draining):
            self.set_header("Connection", "close")
        if error.retry_after is not None and "retry-after" not in error.headers:
            self.set_header("Retry-After", f"{error.retry_after:.0f}")
        method = isinstance(error, InvalidRequest) and status_code == 405
        status = status_code if method else self.dialect.status_of(error)
        self.write_json(self.dialect.write_error(error), status)

    def _error_of(self, status_code: int, error: BaseException | None) -> LLMError:
        if isinstance(error, LLMError):
            return error
        if status_code == 404:
            return NotFound(f"There is nothing at {self.request.path[:200]}.")
        if status_code < 500:
            reason = (error.log_message or error.reason) if isinstance(error, HTTPError) else None
            reason = reason or responses.get(status_code, "Unknown")
            return InvalidRequest(f"{self.request.method} {self.request.path[:200]}: {reason}")
        return Internal(f"Something went wrong here; the request was {self.request_id}.")

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        """Only bugs leave a trace; an error that was told to the client is in the request's own line."""
        if not isinstance(value, LLMError | HTTPError):
            log.write("bug", 40, exc_info=value, id=self.request_id, path=self.request.path)

    def on_finish(self) -> None:
        self._forget_body()
        failure = self.failure
        log.write(
            "request",
            id=self.request_id,
            method=self.request.method,
            path=self.request.path,
            status=499 if self.gone else self.get_status(),
            code="cancelled" if self.gone else failure.code if failure else None,
            seconds=round(time.monotonic() - self.began, 3),
            **self.told,
            **self.outcome(),
        )

    def outcome(self) -> dict[str, Any]:
        """What is known only when the answer is out, for the log line."""
        return {}

    def compute_etag(self) -> None:
        return None

    def _chosen_id(self) -> str:
        """The client's own id, so that it can cancel before it has seen our headers; else a new one."""
        given = self.request.headers.get("X-Request-Id", "")
        if _CLIENT_REQUEST_ID.fullmatch(given) and given not in self.context.running:
            return given
        return f"req_{os.urandom(12).hex()}"

    def _tell_id(self) -> None:
        self.set_header("X-Request-Id", self.request_id)
        if self.dialect.REQUEST_ID != "X-Request-Id":
            self.set_header(self.dialect.REQUEST_ID, self.request_id)

    def _too_large(self) -> LLMError:
        return TooLarge(f"The body is larger than {self._largest} bytes (MAX_BODY_SIZE).")

    def _allow_origin(self) -> None:
        allowed = self.context.config.cors_origins
        origin = self.request.headers.get("Origin") if allowed else None
        if not origin:
            return
        self.set_header("Vary", "Origin")
        if "*" in allowed or origin in allowed:
            self.set_header("Access-Control-Allow-Origin", origin)
            self.set_header("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
            asked = self.request.headers.get("Access-Control-Request-Headers")
            self.set_header("Access-Control-Allow-Headers", asked or "Content-Type")
            self.set_header("Access-Control-Expose-Headers", "X-Request-Id, Retry-After")
            self.set_header("Access-Control-Max-Age", "600")


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    """As the header ``Date`` has it."""
    return format_timestamp(second)


class Nothing(Base):
    """Every path that is not in the table."""

    methods = ("GET", "POST", "PUT", "PATCH", "DELETE")
    access = "open"

    async def handle(self, body: dict[str, Any]) -> None:
        raise NotFound(f"There is nothing at {self.request.path[:200]}.")
