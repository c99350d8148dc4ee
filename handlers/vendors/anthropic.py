"""``/v1/messages/count_tokens``: counts the tokens of a request, for clients that fill their context by it."""

from __future__ import annotations

from typing import Any

from handlers.chat import ChatHandler
from handlers.request.forwarding import select_headers, select_query
from llm.chat.token_estimate import ERROR_SHARE, ERROR_TOKENS
from llm.gateway.chat import ChatCall
from llm.upstream.tasks import OwnRequest, count_tokens


class CountTokensHandler(ChatHandler):
    """Answers ``{"input_tokens": n}``; headers mark an estimate and give its error."""

    async def handle(self, body: dict[str, Any]) -> None:
        self.context.schemas.check(self.schema, body)
        target = self.context.catalog.resolve_model_name(body["model"], self.caller)
        request = self.dialect.read_request(body)
        self.record.target = target
        call = ChatCall(self.request_id, body, self.dialect, self.record, select_headers(self.request, self.dialect))
        own = None
        if target.engine.dialect == self.dialect.NAME:
            own = OwnRequest(body, call.headers_for(target), select_query(self.request.query))
        counted = await count_tokens(request, target, self.context.client, self.record, own)
        self.set_record_headers(self.record)
        if counted.estimated:
            self.set_header("X-Tokens-Estimated", "true")
            self.set_header("X-Tokens-Error", f"{ERROR_SHARE:.0%} and {ERROR_TOKENS}")
        self.write_json({**counted.fields, "input_tokens": counted.tokens})
