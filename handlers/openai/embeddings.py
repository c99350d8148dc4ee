"""``/v1/embeddings``: vectors of texts, over any engine with embedding models."""

from __future__ import annotations

from functools import partial
from typing import Any

from handlers.base import BaseHandler
from handlers.request.forwarding import forward
from llm.dialects import openai_chat
from llm.dialects.base import ClientDialect
from llm.tasks import embeddings
from llm.upstream.call_record import CallRecord
from llm.upstream.tasks import embed, embed_passthrough


class EmbeddingsHandler(BaseHandler):
    """``POST /v1/embeddings``."""

    body_schema = "openai.embeddings"
    methods = ("POST",)
    counts_as_answer = True
    dialect: ClientDialect = openai_chat

    async def handle(self, body: dict[str, Any]) -> None:
        self.context.schemas.check(self.body_schema, body)
        request = embeddings.read_request(body)
        target = self.context.catalog.resolve_model_name(body["model"], self.caller)
        self.log_fields |= {"engine": target.engine.name, "model": target.model, "inputs": len(request.inputs)}
        record = CallRecord(started=self.started_at)
        if target.engine.dialect in embeddings.PASSTHROUGH_DIALECTS:
            outgoing = embeddings.passthrough_request(body, target.model, target.engine)
            outgoing = forward(outgoing, self.request, self.dialect, target, record)
            check = partial(embeddings.check_reply, request=request, engine=target.engine)
            raw = await embed_passthrough(outgoing, check, target, self.context.client, record)
            self.set_record_headers(record)
            self.set_header("Content-Type", "application/json")
            self.write(raw)
            return
        result = await embed(request, target, self.context.client, record)
        self.set_record_headers(record)
        self.write_json(embeddings.write_reply(result, request, body["model"]))
