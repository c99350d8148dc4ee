"""``/v1/rerank`` and ``/v2/rerank``: documents in the order of their relevance, over any engine that has it."""

from __future__ import annotations

from typing import Any

from handlers.base import BaseHandler
from handlers.context import Context
from llm.dialects.base import ErrorDialect
from llm.tasks import rerank
from llm.upstream.call_record import CallRecord
from llm.upstream.tasks import rank


class RerankHandler(BaseHandler):
    """``POST /v1/rerank`` and ``/v2/rerank``."""

    body_schema = "rerank"
    methods = ("POST",)
    counts_as_answer = True
    dialect: ErrorDialect = rerank

    def initialize(self, context: Context, version: rerank.Version = 1) -> None:
        """``version``: of the form of the answer."""
        super().initialize(context)
        self._version = version

    async def handle(self, body: dict[str, Any]) -> None:
        self.context.schemas.check(self.body_schema, body)
        request = rerank.read_request(body)
        target = self.context.catalog.resolve_model_name(body["model"], self.caller)
        self.log_fields |= {"engine": target.engine.name, "model": target.model, "documents": len(request.documents)}
        record = CallRecord(started=self.started_at)
        ranking = await rank(request, target, self.context.client, record)
        self.log_fields["input_tokens"] = ranking.input_tokens
        self.set_record_headers(record)
        self.write_json(rerank.write_reply(ranking, request, self._version, body["model"]))
