"""``/v1/moderations``: judges texts and images, over engines with OpenAI's API for it."""

from __future__ import annotations

from typing import Any

from handlers.base import BaseHandler
from handlers.request.forwarding import forward
from llm.dialects import openai_chat
from llm.dialects.base import ClientDialect, EngineRequest
from llm.engines.engine import Target
from llm.errors import EngineNotConfigured, Malformed, Unsupported
from llm.upstream.attempts import request_body
from llm.upstream.call_record import CallRecord
from llm.wire.json_codec import loads


class ModerationsHandler(BaseHandler):
    """``POST /v1/moderations``: request and answer are passed on as they are, but for the model's name."""

    body_schema = "openai.moderations"
    methods = ("POST",)
    counts_as_answer = True
    dialect: ClientDialect = openai_chat

    async def handle(self, body: dict[str, Any]) -> None:
        self.context.schemas.check(self.body_schema, body)
        target = self._find_target(body.get("model"))
        self.log_fields |= {"engine": target.engine.name, "model": target.model}
        record = CallRecord(started=self.started_at)
        outgoing = EngineRequest(
            path="/moderations", body={**body, **({"model": target.model} if target.model else {})}
        )
        outgoing = forward(outgoing, self.request, self.dialect, target, record)
        raw = await request_body(outgoing, _check_answer, target, self.context.client, record)
        self.set_record_headers(record)
        self.set_header("Content-Type", "application/json")
        self.write(raw)

    def _find_target(self, model: str | None) -> Target:
        """Returns the engine of the model; without one the caller's first engine that judges, with its own default."""
        catalog = self.context.catalog
        if model:
            target = catalog.resolve_model_name(model, self.caller)
            if not target.engine.moderates:
                message = f"{target.engine.label} has no moderation API on this server."
                raise Unsupported(message, param="model", engine=target.engine.name)
            return target
        for engine in catalog.list_engines(self.caller):
            if engine.moderates:
                return catalog.resolve_target(engine.name, "", self.caller)
        raise EngineNotConfigured("No engine with a moderation API is configured for this caller.", param="model")


def _check_answer(raw: bytes) -> bytes:
    """Returns the answer. Raises ``Malformed`` if it is not a JSON object, such as a page of a proxy."""
    try:
        is_object = isinstance(loads(raw), dict)
    except ValueError:
        is_object = False
    if not is_object:
        raise Malformed("The engine's answer is not JSON.")
    return raw
