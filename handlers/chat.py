"""Chat endpoints of every client dialect: read the request, call the chat service, write its answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from tornado.iostream import StreamClosedError

from handlers.base import BaseHandler
from handlers.context import Context
from handlers.request.forwarding import select_headers, select_query
from handlers.request.output import EventOutput
from llm import log
from llm.chat.events import Event, Failed
from llm.chat.messages import Usage
from llm.chat.reply import Reply
from llm.chat.request import ChatRequest
from llm.dialects import native
from llm.dialects.base import ClientDialect, Writer
from llm.dialects.losses import lost_parts
from llm.errors import LLMError, NotFound
from llm.gateway.chat import ChatCall
from llm.http1.threads import run_in_thread
from llm.tasks.engine_ids import MARK
from llm.upstream.call_record import CLIENT, CallRecord
from llm.wire.json_codec import Json

_NO_HEADERS: Final[Mapping[str, str]] = {}
_STALL: Final = 2  # times KEEPALIVE_INTERVAL without anything of an answer: the log says what it waits for


class ChatHandler(BaseHandler):
    """Answers a chat request; one class for every client dialect."""

    methods = ("POST",)
    counts_as_answer = True
    searched = MARK
    __slots__ = ("_answer", "_stalled", "_stopped", "record", "schema")

    dialect: ClientDialect = native
    schema: str

    def initialize(self, context: Context, dialect: ClientDialect = native, schema: str = "llm.chat") -> None:
        super().initialize(context)
        self.dialect = dialect
        self.schema = schema
        self._answer: ClientAnswer | None = None
        self.record = CallRecord(started=self.started_at)
        self._stalled = 0.0  # when the answer last moved before a stall that was logged
        self._stopped: LLMError | None = None  # why the answer was stopped, if not by its client leaving

    @property
    def names(self) -> frozenset[str]:
        """Names of the caller (``ActiveRequest``)."""
        return self.caller.names

    async def handle(self, body: dict[str, Any]) -> None:
        if self.body.heavy:
            self.record.heavy = True
            await run_in_thread(self.context.schemas.check, self.schema, body)
        else:
            self.context.schemas.check(self.schema, body)
        if self.body_matches:
            body = await self._restore_file_ids(body)
        answer = self._answer = self.create_answer()
        active = self.context.active
        active.add(self.request_id, self)
        try:
            await self.answer(self.make_call(body), answer)
            await answer.end()
        except StreamClosedError:
            self.client_gone = True
        except LLMError as error:
            if not answer.started:
                raise
            await self._fail(error, answer)
        except asyncio.CancelledError:
            if self._stopped is None:
                raise
            asyncio.current_task().uncancel()  # type: ignore[union-attr]
            if not answer.started:
                raise self._stopped from None
            await self._fail(self._stopped, answer)
        finally:
            active.remove(self.request_id)
            self._answer = None  # breaks the reference cycle, so that memory is freed without the garbage collector
            self.failure = self.failure or self.record.failure

    async def _restore_file_ids(self, body: dict[str, Any]) -> dict[str, Any]:
        """Returns the body with ids of files as the engine of the model knows them. Raises ``LLMError``."""
        engine = body.get("engine") or str(body.get("model")).partition("/")[0]
        restored: dict[str, Any] = await self.context.files.restore_ids(
            body, engine, self.caller, heavy=self.body.heavy
        )
        return restored

    def make_call(self, body: dict[str, Any]) -> ChatCall:
        """Returns the call for the chat service."""
        headers = select_headers(self.request, self.dialect) if self.dialect.CLIENT_HEADERS.names else _NO_HEADERS
        query = select_query(self.request.query) if self.request.query else ""
        return ChatCall(self.request_id, body, self.dialect, self.record, headers, query)

    def answer(self, call: ChatCall, answer: ClientAnswer) -> Coroutine[Any, Any, None]:
        """Lets the chat service answer the call."""
        return self.context.chat.answer(call, self.caller, answer)

    def create_answer(self) -> ClientAnswer:
        """Returns the sink of the answer."""
        return ClientAnswer(self)

    def make_writer(self, request: ChatRequest) -> Writer:
        """Returns the dialect's writer of a streamed answer."""
        return self.dialect.create_writer(request, int(time.time()))

    def make_reply_body(self, reply: Reply, request: ChatRequest) -> dict[str, Json]:
        """Returns the JSON body of an answer that is not streamed."""
        return self.dialect.write_reply(reply, request, int(time.time()))

    def set_answer_headers(self) -> None:
        """Sets the headers that are known once the engine has accepted the request."""
        self.set_record_headers(self.record)

    def stop(self, reason: LLMError) -> None:
        """Ends the answer with this error (``ActiveRequest``)."""
        self._stopped = reason
        if self.answer_task is not None:
            self.answer_task.cancel()

    def send_keepalive(self, now: float, silence: float) -> None:
        """Sends a keepalive after ``silence`` seconds without output, and the headers before the first one."""
        if self._answer is not None and not self.client_gone:
            self._answer.send_keepalive(now, silence)
            self._log_stall(now, self._answer)

    def _log_stall(self, now: float, answer: ClientAnswer) -> None:
        """Logs, once for each stall, what a stalled answer waits for."""
        since = answer.last_sent(self.started_at)
        seconds = now - since
        if since == self._stalled or seconds < _STALL * self.context.config.keepalive_interval:
            return
        self._stalled = since
        engine = self.record.target.engine.name if self.record.target else None
        waiting_for = self.record.waiting_for or None
        log.write("stalled", id=self.request_id, engine=engine, waiting_for=waiting_for, seconds=round(seconds, 1))

    async def _fail(self, failure: LLMError, answer: ClientAnswer) -> None:
        """Ends a started stream with an error, since the status is sent already."""
        self.failure = failure
        try:
            await answer.fail(failure)
        except StreamClosedError:
            self.client_gone = True

    def final_log_fields(self) -> dict[str, Any]:
        """Returns engine, model, attempts, timing and usage of the chat for the log line."""
        record, usage = self.record, self._billable_usage()
        engine = {"engine": record.target.engine.name, "model": record.target.model} if record.target else {}
        return {
            **engine,
            "attempts": record.attempts,
            "first_token": round(record.first_token, 3) if record.first_token is not None else None,
            "finish_reason": record.finish_reason,
            "input_tokens": usage.input if usage else None,
            "output_tokens": usage.output if usage else None,
            "estimated": True if usage and usage.estimated else None,
            "dropped_fields": [*record.dropped] or None,
            "thread_error": record.save_error_code,
        }

    def _billable_usage(self) -> Usage | None:
        """Returns the usage, estimated if the answer is incomplete: the provider may bill it, but not a refusal."""
        incomplete = self.client_gone or self._stopped is not None or self.record.characters
        return self.record.compute_usage() if incomplete else self.record.usage


class ClientAnswer:
    """Writes the events of a chat in the client's dialect (implements ``llm.gateway.chat.Sink``)."""

    __slots__ = ("_content_type", "_handler", "_output", "_whole", "feed", "holds_end")

    feed: Callable[[Sequence[Event]], bool]  # of a streamed answer: ``EventOutput.feed``

    def __init__(self, handler: ChatHandler) -> None:
        self._content_type = "application/json"  # of an answer that is not streamed
        self._handler = handler
        self._output: EventOutput | None = None  # of an answer that is streamed
        self._whole: WholeBody | None = None  # of an answer that is not
        self.holds_end = False  # the last piece of a passed-through stream leaves with the end

    @property
    def body(self) -> bytes | None:
        """The body of an answer that is not streamed, if it is passed through and complete."""
        return self._whole.body if self._whole is not None else None

    @property
    def started(self) -> bool:
        """True when the headers are sent: from then on an error can only be part of the stream."""
        return self._output is not None and self._output.started

    def begin(self, request: ChatRequest) -> None:
        """Prepares the output for the request that was read, streamed or not."""
        handler = self._handler
        handler.log_fields["stream"] = request.stream
        if request.stream:
            output = self._output = EventOutput(handler, handler.make_writer(request), handler.set_answer_headers)
            self.feed = output.feed
        else:
            self._whole = WholeBody()

    @property
    def send(self) -> Callable[[bytes], bool]:
        """The function that sends the bytes of a passed-through answer."""
        if self._output is not None:
            return self._output.send_passthrough
        assert self._whole is not None
        return self._whole.send

    @property
    def send_last(self) -> Callable[[bytes], bool]:
        """The function that sends the last bytes of a passed-through stream."""
        assert self._output is not None
        return self._output.send_last

    def accept(self, content_type: str | None = None) -> None:
        """Sends the headers of a stream if that has not happened. ``content_type``: that of a passthrough answer."""
        if self._output is None:
            self._content_type = content_type or self._content_type
        else:
            self._output.accept(content_type)

    async def drain(self) -> None:
        """Returns when the client has received all queued bytes."""
        if self._output is None or self._output.all_taken:
            return
        record = self._handler.record
        waiting_for, record.waiting_for = record.waiting_for, CLIENT
        await self._output.drain()
        record.waiting_for = waiting_for

    def last_sent(self, began: float) -> float:
        """Returns the monotonic time at which a part of this answer was last sent; ``began`` if none was."""
        return self._output.last_write if self._output is not None and self._output.started else began

    def write_reply(self, reply: Reply, request: ChatRequest) -> None:
        """Writes a translated answer that is not streamed."""
        dialect, record = self._handler.dialect, self._handler.record
        if lost := lost_parts(reply, request, dialect.NAME, dialect.ANSWER_FORMS):
            record.dropped = tuple(dict.fromkeys((*record.dropped, *lost)))
        self._handler.set_answer_headers()
        self._handler.write_json(self._handler.make_reply_body(reply, request))

    async def end(self) -> None:
        """Ends the answer after the service has written all of it."""
        if self._output is not None:
            await self._output.end()
        elif self._whole is not None and self._whole.body is not None:
            self._handler.set_answer_headers()
            self._handler.set_header("Content-Type", self._content_type)
            self._handler.write(self._whole.body)

    async def fail(self, failure: LLMError) -> None:
        """Ends a stream with an error."""
        assert self._output is not None
        if (started := self._handler.record.passed_start) is not None:
            self._output.skip([started])
        self._output.feed([Failed(failure)])
        await self._output.end()

    def send_keepalive(self, now: float, silence: float) -> None:
        """Sends a keepalive if nothing was written for ``silence`` seconds before ``now``."""
        if self._output is not None:
            self._output.send_sign_of_life(now, silence)


class WholeBody:
    """The body of an answer that is not streamed, passed through."""

    __slots__ = ("body",)

    def __init__(self) -> None:
        self.body: bytes | None = None

    def send(self, piece: bytes) -> bool:
        """Keeps the body until the answer ends."""
        self.body = piece
        return True


class CancelHandler(BaseHandler):
    """``DELETE /llm/chat/<id>``: cancels an answer, for clients behind proxies that hide a disconnect (C2)."""

    methods = ("DELETE",)

    async def handle(self, body: dict[str, Any]) -> None:
        id, names = self.path_args[0], self.caller.names
        here, there = self.context.active.cancel(id, names), await self.context.peers.cancel(id, names)
        if not here and not there:
            raise NotFound(f"No running answer has the id {id[:128]}.")
        self.set_status(204)
