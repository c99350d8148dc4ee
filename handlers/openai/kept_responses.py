"""``/v1/responses/<id>``: answers that are kept, here or by their engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from time import monotonic
from typing import Any, Final, Literal

from tornado.iostream import StreamClosedError

from handlers.base import BaseHandler
from handlers.request.forwarding import select_query
from handlers.request.output import Output
from llm.dialects import openai_responses
from llm.dialects.base import EngineRequest, ErrorDialect, add_query
from llm.engines.engine import Target
from llm.errors import InvalidRequest, LLMError, NotFound, UnknownModel
from llm.gateway.responses.background import read_state
from llm.gateway.responses.items import write_item_page
from llm.gateway.responses.references import RUNNING, make_response_error
from llm.storage.responses import StoredResponse
from llm.upstream.attempts import request_body
from llm.upstream.call_record import CallRecord
from llm.upstream.tasks import ResponseInfo, stream_body
from llm.wire.json_codec import loads, quote_url_part
from llm.wire.json_lenient import as_dict

_MAX_DIGITS: Final = 16  # of the number of an event
PAGE_SIZE: Final = 20  # items in a list without ``limit``
MAX_PAGE_SIZE: Final = 100  # largest ``limit``


class KeptResponseHandler(BaseHandler):
    """Base class: finds a response, and asks the engine that keeps it."""

    dialect: ErrorDialect = openai_responses
    suffix = ""  # of the path, behind the id

    async def handle(self, body: dict[str, Any]) -> None:
        id = self.path_args[0]
        with_input = self.suffix == "/input_items"
        stored, target = await self.context.responses.find(id, self.caller, with_input=with_input)
        if target is not None:
            await self.ask_engine(id, stored, target)
        elif stored is not None:
            await self.answer(stored)

    async def answer(self, stored: StoredResponse) -> None:
        """Answers for a response that is kept here alone."""
        raise NotImplementedError

    async def ask_engine(self, id: str, stored: StoredResponse | None, target: Target) -> None:
        """Answers what the engine that keeps the response answers."""
        raw = await self.request_engine(id, target)
        if stored is not None and self.request.method != "DELETE" and not self.suffix.endswith("items"):
            await self.context.responses.refresh(stored, _read_object(raw))
        self.set_header("Content-Type", "application/json")
        self.write(raw)

    async def request_engine(self, id: str, target: Target) -> bytes:
        """Sends the request to the engine and returns the body of its answer. Raises ``LLMError``."""
        self.log_fields["engine"] = target.engine.name
        record = CallRecord(started=self.started_at)
        try:
            raw = await request_body(self.make_request(id), bytes, target, self.context.client, record)
        except UnknownModel as error:
            raise NotFound(error.message, engine=error.engine, provider=error.provider, headers=error.headers) from None
        self.set_record_headers(record)
        return raw

    def make_request(self, id: str) -> EngineRequest:
        """Returns the client's request for the engine."""
        method: Literal["GET", "POST", "DELETE"] = "GET"
        if self.request.method in ("POST", "DELETE"):
            method = "POST" if self.request.method == "POST" else "DELETE"
        request = EngineRequest(path=f"/responses/{quote_url_part(id)}{self.suffix}", method=method)
        query = select_query(self.request.query)
        return add_query(request, query) if query else request


class ResponseHandler(KeptResponseHandler):
    """``GET /v1/responses/<id>`` returns a response, or its stream; ``DELETE`` deletes it."""

    methods = ("GET", "DELETE", "POST")

    async def handle(self, body: dict[str, Any]) -> None:
        if self.request.method == "POST":  # what may be sent there has a path of its own
            raise NotFound(f"This server has no path {self.request.path[:200]} for POST.")
        await super().handle(body)

    async def answer(self, stored: StoredResponse) -> None:
        """Answers for a response that is kept here alone."""
        if self.request.method == "DELETE":
            await self._delete(stored.id)
        elif self._wants_stream():
            await self._follow(stored)
        else:
            self.write_json(read_state(stored))

    async def ask_engine(self, id: str, stored: StoredResponse | None, target: Target) -> None:
        """Answers what the engine that keeps the response answers."""
        if self.request.method != "DELETE" and self._wants_stream():
            await self._pass_stream(id, target)
            return
        await super().ask_engine(id, stored, target)
        if self.request.method == "DELETE" and stored is not None:
            await self.context.responses.store.delete(id, self.caller.make_thread_owner())

    def _wants_stream(self) -> bool:
        return self.get_query_argument("stream", "false") in ("true", "1")

    async def _follow(self, stored: StoredResponse) -> None:
        """Sends the events of a response that was made in the background."""
        if not stored.background:
            raise InvalidRequest(
                "Only a response that was created with background=true can be streamed.", param="stream"
            )
        after = self.get_query_argument("starting_after", "-1")
        if after != "-1" and not (after.isascii() and after.isdecimal() and len(after) < _MAX_DIGITS):
            raise InvalidRequest("starting_after: is not the number of an event", param="starting_after")
        owner = self.caller.make_thread_owner()
        await write_events(self, self.context.background.follow(stored.id, owner, int(after)))

    async def _delete(self, id: str) -> None:
        self.context.active.cancel(id, self.caller.names)
        await self.context.responses.store.delete(id, self.caller.make_thread_owner())
        self.write_json({"id": id, "object": "response", "deleted": True})

    async def _pass_stream(self, id: str, target: Target) -> None:
        """Passes on the stream of a response that the engine keeps."""
        info, output = ResponseInfo(), Output(self)
        record = CallRecord(started=self.started_at)
        pieces = stream_body(self.make_request(id), target, self.context.client, record, info)
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    if not output.started:
                        self.set_record_headers(record)
                        self.set_header("Content-Type", info.content_type)
                        output.start()
                    if not output.send(piece):
                        await output.drain()
            await output.end()
        except StreamClosedError:
            self.client_gone = True
        except LLMError as error:
            if not output.started:
                raise
            self.failure = error
            output.abort()


class InputItemsHandler(KeptResponseHandler):
    """``GET /v1/responses/<id>/input_items``: lists the input of a response, page by page."""

    suffix = "/input_items"

    async def answer(self, stored: StoredResponse) -> None:
        """Answers for a response that is kept here alone."""
        limit, order = self.get_query_argument("limit", str(PAGE_SIZE)), self.get_query_argument("order", "desc")
        if not limit.isascii() or not limit.isdecimal() or not 0 < int(limit[:9]) <= MAX_PAGE_SIZE:
            raise InvalidRequest(f"limit: has to be a number from 1 to {MAX_PAGE_SIZE}", param="limit")
        if order not in ("asc", "desc"):
            raise InvalidRequest("order: is not one of asc, desc", param="order")
        after = self.get_query_argument("after", None)
        page = write_item_page(stored.input, ascending=order == "asc", after=after, limit=int(limit))
        if page is None:
            raise InvalidRequest(f"after: no item of the input has the id '{after}'", param="after")
        self.write_json(page)


class CancelResponseHandler(KeptResponseHandler):
    """``POST /v1/responses/<id>/cancel``: cancels a response that is made in the background."""

    methods = ("POST",)
    suffix = "/cancel"

    async def answer(self, stored: StoredResponse) -> None:
        """Answers for a response that is kept here alone."""
        if not stored.background:
            raise InvalidRequest("Cannot cancel a synchronous response.")
        names = self.caller.names
        if stored.status in RUNNING and not self.context.active.cancel(stored.id, names):
            await self.context.peers.cancel(stored.id, names)
        ended = await self.context.background.end(stored, self.caller.make_thread_owner())
        if ended is None:
            raise make_response_error(stored.id)
        self.write_json(ended.value)


async def write_events(handler: BaseHandler, events: AsyncGenerator[bytes, None]) -> None:
    """Sends the events of a response as a stream. An empty piece shows that nothing happens: pings are sent then."""
    interval = handler.context.config.keepalive_interval
    output = Output(handler)
    handler.set_header("Content-Type", "text/event-stream")
    output.start()
    try:
        async with aclosing(events):
            async for piece in events:
                if piece:
                    if not output.send(piece):
                        await output.drain()
                elif monotonic() - max(output.last_write, output.pinged) >= interval:
                    output.send_keepalive(b": ping\n\n")
        await output.end()
    except StreamClosedError:
        handler.client_gone = True
    except LLMError as error:
        handler.failure = error
        output.abort()


def _read_object(raw: bytes) -> dict[str, Any]:
    try:
        return dict(as_dict(loads(raw)))
    except ValueError:
        return {}
