"""``/v1/models``: every model of every engine, in the shape that the client speaks."""

from __future__ import annotations

from typing import Any

from handlers.base import Base
from llm.dialects import ClientDialect, anthropic, openai_chat


class CompatibleModelsHandler(Base):
    """Anthropic's shape when ``anthropic-version`` is sent, else OpenAI's."""

    dialect: ClientDialect = openai_chat

    def prepare(self) -> None:
        if "anthropic-version" in self.request.headers:
            self.dialect = anthropic
        super().prepare()

    async def handle(self, body: dict[str, Any]) -> None:
        models, failures = await self.context.catalog.all_models(self.caller)
        if failures:
            self.set_header("X-Unlisted-Engines", ", ".join(failures))
            self.told["unlisted"] = {name: error.code for name, error in failures.items()}
        self.write_json(self.dialect.write_models(models))
