"""``/v1/models``: lists all models of all engines, or describes one, in the client's dialect."""

from __future__ import annotations

from typing import Any

from handlers.base import BaseHandler
from llm.dialects import anthropic, gemini, openai_chat
from llm.dialects.base import ClientDialect
from llm.errors import UnknownModel


class CompatibleHandler(BaseHandler):
    """Base class of handlers that answer in the dialect whose headers are sent: Anthropic's, Gemini's or OpenAI's."""

    dialect: ClientDialect = openai_chat

    def prepare(self) -> None:
        """Chooses the dialect by the headers."""
        if "anthropic-version" in self.request.headers:
            self.dialect = anthropic
        elif "x-goog-api-key" in self.request.headers or "x-goog-api-client" in self.request.headers:
            self.dialect = gemini
        super().prepare()


class CompatibleModelsHandler(CompatibleHandler):
    """``GET /v1/models``: lists all models; ``X-Unlisted-Engines`` names engines that failed."""

    async def handle(self, body: dict[str, Any]) -> None:
        models, failures = await self.context.catalog.list_all_models(self.caller)
        if failures:
            self.set_header("X-Unlisted-Engines", ", ".join(failures))
            self.log_fields["unlisted_engines"] = {name: error.code for name, error in failures.items()}
        self.write_json(self.dialect.write_models(models))


class CompatibleModelHandler(CompatibleHandler):
    """``GET /v1/models/<engine/model>``: describes a model."""

    async def handle(self, body: dict[str, Any]) -> None:
        name = self.path_args[0]
        match self.dialect.write_models([await self.context.catalog.get_model(name, self.caller)]):
            case {"data": [dict(model)]} | {"models": [dict(model)]}:
                self.write_json(model)
            case _:  # Anthropic's list has chat models only, Gemini's those and models for embeddings
                raise UnknownModel(f"model {name[:100]!r} not found", param="model")
