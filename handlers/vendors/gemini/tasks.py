"""``:countTokens``, ``:embedContent`` and ``:batchEmbedContents``."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from handlers.base import BaseHandler
from handlers.chat import ChatHandler
from handlers.context import Context
from handlers.request.forwarding import forward, select_headers, select_query
from handlers.vendors.gemini.paths import find_url_key, read_model_name
from llm.chat.token_estimate import ERROR_SHARE, ERROR_TOKENS
from llm.dialects import gemini
from llm.dialects.base import ClientDialect
from llm.gateway.chat import ChatCall
from llm.tasks import gemini_embeddings
from llm.upstream.call_record import CallRecord
from llm.upstream.tasks import OwnRequest, count_tokens, embed, embed_passthrough

COUNT: Final = "countTokens"
EMBED: Final = "embedContent"
EMBED_BATCH: Final = "batchEmbedContents"
_INNER: Final = ("generateContentRequest", "generate_content_request")


class GeminiCountHandler(ChatHandler):
    """Answers ``{"totalTokens": n}``; headers mark an estimate and give its error."""

    dialect: ClientDialect = gemini

    def initialize(self, context: Context) -> None:  # type: ignore[override]
        super().initialize(context, gemini, "gemini.generate")
        self.body.refusal = self.body.refusal or find_url_key(self.request)

    async def handle(self, body: dict[str, Any]) -> None:
        name = read_model_name(self.path_args[0])
        inner = next((body[one] for one in _INNER if isinstance(body.get(one), dict)), body)
        chat = {**inner, "model": name, "stream": False}
        self.context.schemas.check(self.schema, chat)
        target = self.record.target = self.context.catalog.resolve_model_name(name, self.caller)
        request = self.dialect.read_request(chat)
        call = ChatCall(self.request_id, chat, self.dialect, self.record, select_headers(self.request, self.dialect))
        own = None
        if target.engine.dialect == self.dialect.NAME:
            own = OwnRequest(body, call.headers_for(target), select_query(self.request.query))
        counted = await count_tokens(request, target, self.context.client, self.record, own)
        self.set_record_headers(self.record)
        if counted.estimated:
            self.set_header("X-Tokens-Estimated", "true")
            self.set_header("X-Tokens-Error", f"{ERROR_SHARE:.0%} and {ERROR_TOKENS}")
        self.write_json({**counted.fields, "totalTokens": counted.tokens})


class GeminiEmbedHandler(BaseHandler):
    """Answers with the vectors of one or several texts."""

    methods = ("POST",)
    counts_as_answer = True
    dialect: ClientDialect = gemini

    def initialize(self, context: Context) -> None:
        super().initialize(context)
        self.body.refusal = self.body.refusal or find_url_key(self.request)

    async def handle(self, body: dict[str, Any]) -> None:
        path, method = self.path_args
        target = self.context.catalog.resolve_model_name(read_model_name(path), self.caller)
        self.log_fields |= {"engine": target.engine.name, "model": target.model}
        record = CallRecord(started=self.started_at)
        if target.engine.dialect == self.dialect.NAME:
            outgoing = gemini_embeddings.passthrough_request(body, target.model, method)
            outgoing = forward(outgoing, self.request, self.dialect, target, record)
            check = partial(gemini_embeddings.check_reply, engine=target.engine)
            raw = await embed_passthrough(outgoing, check, target, self.context.client, record)
            self.set_record_headers(record)
            self.set_header("Content-Type", "application/json")
            self.write(raw)
            return
        batch = method == EMBED_BATCH
        request, dropped = gemini_embeddings.read_request(body, batch=batch)
        result = await embed(request, target, self.context.client, record)
        record.dropped = (*record.dropped, *dropped)
        self.set_record_headers(record)
        self.write_json(gemini_embeddings.write_reply(result, batch=batch))
