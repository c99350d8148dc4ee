"""``/v1/responses/compact`` and ``/v1/responses/input_tokens``: what may be done with the input of a response."""

from __future__ import annotations

import time
from secrets import token_hex
from typing import Any

from handlers.chat import ChatHandler
from llm.chat.token_estimate import ERROR_SHARE, ERROR_TOKENS
from llm.dialects import openai_responses
from llm.dialects.base import EngineRequest
from llm.engines.api_choice import RESPONSES, use_responses
from llm.errors import LLMError
from llm.gateway.responses.compaction import summarize, write_compaction
from llm.gateway.responses.items import give_ids, list_items
from llm.gateway.responses.keeper import Turn, keeps_answers
from llm.upstream.attempts import request_json
from llm.upstream.tasks import OwnRequest, count_tokens
from llm.wire.json_lenient import as_dict


class InputHandler(ChatHandler):
    """Base class: checks the request and resolves what it refers to."""

    async def handle(self, body: dict[str, Any]) -> None:
        self.context.schemas.check(self.schema, body)
        turn = await self.context.responses.resolve(body, self.caller)
        self.record.target = turn.target
        await self.answer_turn(body, turn)

    async def answer_turn(self, body: dict[str, Any], turn: Turn) -> None:
        """Answers the request; ``turn.body`` is the same without references to what its engine does not keep."""
        raise NotImplementedError


class CompactHandler(InputHandler):
    """``POST /v1/responses/compact``: by the engine's own API if it has one, else by a summary of the same model."""

    async def answer_turn(self, body: dict[str, Any], turn: Turn) -> None:
        """Answers with the compacted conversation."""
        target = turn.target
        if target.engine.dialect == RESPONSES or keeps_answers(target):
            try:
                await self._pass_on(turn)
                return
            except LLMError as error:
                if error.lack != "api":
                    raise
            turn = await self.context.responses.resolve(body, self.caller, expand=True)
        items = give_ids(list_items(turn.body.get("input")))
        instructions = body.get("instructions")
        instructions = instructions if isinstance(instructions, str) else ""
        request, reply = await summarize(items, instructions, target, self.context.client, self.record)
        now = int(time.time())
        written = openai_responses.write_reply(reply, request, now)
        self.set_record_headers(self.record)
        self.write_json(
            {
                "id": f"resp_{token_hex(16)}",
                "object": "response.compaction",
                "created_at": now,
                "output": write_compaction(items, reply.text),
                "usage": written["usage"],
            }
        )

    async def _pass_on(self, turn: Turn) -> None:
        target = use_responses(turn.target)
        headers = self.make_call({}).headers_for(target)
        outgoing = EngineRequest(path="/responses/compact", body={**turn.body, "model": target.model}, headers=headers)
        compacted = await request_json(outgoing, as_dict, target, self.context.client, self.record)
        self.set_record_headers(self.record)
        self.write_json(dict(compacted))


class InputTokensHandler(InputHandler):
    """``POST /v1/responses/input_tokens``: counts the tokens of the input; an estimate is marked."""

    async def answer_turn(self, body: dict[str, Any], turn: Turn) -> None:
        """Answers ``{"object": "response.input_tokens", "input_tokens": n}``."""
        target, own = turn.target, None
        request = self.dialect.read_request({"input": [], **turn.body})
        if keeps_answers(target):
            target = use_responses(target)
            own = OwnRequest(turn.body, self.make_call({}).headers_for(target))
        counted = await count_tokens(request, target, self.context.client, self.record, own)
        self.set_record_headers(self.record)
        fields = {"object": "response.input_tokens", **counted.fields, "input_tokens": counted.tokens}
        if counted.estimated:
            self.set_header("X-Tokens-Estimated", "true")
            self.set_header("X-Tokens-Error", f"{ERROR_SHARE:.0%} and {ERROR_TOKENS}")
            fields["estimated"] = True
        self.write_json(fields)
