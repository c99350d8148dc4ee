"""``/v1beta/models``: lists all models of all engines, or describes one."""

from __future__ import annotations

from typing import Any

from handlers.base import BaseHandler
from handlers.context import Context
from handlers.vendors.gemini.paths import find_url_key, read_model_name
from llm.dialects import gemini
from llm.dialects.base import ClientDialect
from llm.errors import NotFound, UnknownModel


class GeminiModelsHandler(BaseHandler):
    """``GET /v1beta/models``: one page with all models; ``X-Unlisted-Engines`` names engines that failed."""

    dialect: ClientDialect = gemini

    def initialize(self, context: Context) -> None:
        super().initialize(context)
        self.body.refusal = self.body.refusal or find_url_key(self.request)

    async def handle(self, body: dict[str, Any]) -> None:
        models, failures = await self.context.catalog.list_all_models(self.caller)
        if failures:
            self.set_header("X-Unlisted-Engines", ", ".join(failures))
            self.log_fields["unlisted_engines"] = {name: error.code for name, error in failures.items()}
        self.write_json(self.dialect.write_models(models))


class GeminiModelHandler(GeminiModelsHandler):
    """``GET /v1beta/models/<engine/model>``: describes a model. A method that this server does not have is 404."""

    methods = ("GET", "POST")

    def initialize(self, context: Context) -> None:
        super().initialize(context)
        if self.request.method == "POST":
            method = self.request.path.rpartition(":")[2][:100]
            self.body.refusal = NotFound(f"Models of this server have no method {method}.")

    async def handle(self, body: dict[str, Any]) -> None:
        name = read_model_name(self.path_args[0])
        match self.dialect.write_models([await self.context.catalog.get_model(name, self.caller)]):
            case {"models": [dict(model)]}:
                self.write_json(model)
            case _:  # the list has models for chats and embeddings only
                raise UnknownModel(f"model {name[:100]!r} not found", param="model")
