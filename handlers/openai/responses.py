"""``/v1/responses``: answers of the Responses API, and those that are kept."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from handlers.chat import ChatHandler, ClientAnswer
from handlers.openai.kept_responses import write_events
from llm.chat.reply import Reply
from llm.chat.request import ChatRequest
from llm.dialects import openai_responses
from llm.dialects.base import Writer
from llm.gateway.chat import ChatCall
from llm.gateway.responses.keeper import Turn
from llm.wire.json_codec import Json, loads
from llm.wire.json_lenient import as_dict


class ResponsesHandler(ChatHandler):
    """``POST /v1/responses``: answers a request, which may refer to answers before it, and keeps the answer."""

    __slots__ = ("turn", "writer", "written")

    turn: Turn

    async def answer(self, call: ChatCall, answer: ClientAnswer) -> None:
        """Resolves what the request refers to, lets the chat service answer it, and stores the answer."""
        keeper, record = self.context.responses, self.record
        turn = self.turn = await keeper.resolve(call.body, self.caller, heavy=record.heavy)
        self.writer: Any = None  # of a translated stream
        self.written: dict[str, Json] | None = None  # a translated answer that is not streamed
        call.body, turn.body = turn.body, {}
        if call.body.get("background") is True and not turn.kept_by_engine:
            await self._answer_in_background(call, turn)
            return
        keeper.begin(turn, heavy=record.heavy)
        if turn.kept:
            answer.holds_end = True
            record.on_start = lambda started: keeper.note_start(turn, started)
        try:
            await self.context.chat.answer(call, self.caller, answer)
        except BaseException:
            keeper.abandon(turn, record.passed_start)
            raise
        finally:
            record.on_start = None
        if turn.kept:
            written = self.written or (self.writer.final if self.writer is not None else None)
            await keeper.finish(turn, written or self._find_passed(answer), passed=written is None)

    async def _answer_in_background(self, call: ChatCall, turn: Turn) -> None:
        """Starts an answer that goes on without this client, and answers with its state or its stream."""
        background, active = self.context.background, self.context.active
        stream = call.body.get("stream") is True
        answer = await background.start(call, turn, self.caller)
        active.add(answer.id, answer)
        answer.on_end = partial(active.remove, answer.id)
        if stream:
            await write_events(self, background.follow(answer.id, turn.owner, -1))
        else:
            self.write_json(answer.queued)

    def set_answer_headers(self) -> None:
        """Sets the headers that are known once the engine has accepted the request."""
        if self.turn.dropped:
            self.record.dropped = tuple(dict.fromkeys((*self.record.dropped, *self.turn.dropped)))
        super().set_answer_headers()

    def make_writer(self, request: ChatRequest) -> Writer:
        """Returns the writer of a streamed answer."""
        writer = self.writer = openai_responses.create_writer(request, int(time.time()), self._kept_fields())
        return writer

    def make_reply_body(self, reply: Reply, request: ChatRequest) -> dict[str, Json]:
        """Returns the body of an answer that is not streamed."""
        self.written = openai_responses.write_reply(reply, request, int(time.time()), self._kept_fields())
        return self.written

    def _kept_fields(self) -> openai_responses.KeptFields:
        return openai_responses.KeptFields(store=self.turn.kept, previous_response_id=self.turn.previous_id)

    def _find_passed(self, answer: ClientAnswer) -> dict[str, Any] | None:
        """Returns the response object of an answer that was passed through; None if it is not complete."""
        raw = answer.body or self.record.last_event
        try:
            value = as_dict(loads(raw)) if raw else {}
        except ValueError:
            return None
        response = as_dict(value.get("response")) if answer.body is None else value
        return dict(response) if response.get("id") else None
