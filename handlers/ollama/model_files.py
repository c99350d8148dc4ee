"""Ollama's endpoints that change the models of a server: passed to an Ollama engine."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal

from handlers.context import Context
from handlers.media import MediaHandler
from llm.dialects import ollama
from llm.dialects.base import ClientDialect, EngineRequest
from llm.engines.engine import Target
from llm.errors import NotOffered
from llm.upstream.tasks import ResponseInfo, stream_body
from llm.wire.json_strict import Fields

_NAMES: Final = ("model", "name", "source", "destination", "from")  # fields that may hold ``engine/model``


class ModelFilesHandler(MediaHandler):
    """``POST /api/pull``, ``/api/push``, ``/api/create`` and ``/api/copy``: the answer is streamed to the client."""

    dialect: ClientDialect = ollama
    engine_method: ClassVar[Literal["POST", "DELETE"]] = "POST"

    def initialize(self, context: Context, path: str = "") -> None:
        """``path``: of the endpoint, which is also that of the engine."""
        super().initialize(context)
        self._path = path

    async def answer(self, body: dict[str, Any]) -> None:
        """Passes the request on with the engine's own names of models."""
        fields = Fields(body)
        name = fields.read_text("model") or fields.read_text("name") or fields.read_required_text("source")
        target, response = self._find_target(name), ResponseInfo()
        prefix = f"{target.engine.name}/"
        for field in _NAMES:
            if value := fields.read_text(field):
                body[field] = value.removeprefix(prefix)
        self.log_fields |= {"engine": target.engine.name, "model": target.model}
        outgoing = EngineRequest(path=self._path, body=body, method=self.engine_method)
        await self.stream_answer(stream_body(outgoing, target, self.context.client, self.record, response), response)

    def _find_target(self, name: str) -> Target:
        """Returns the engine of ``engine/model``, else the caller's first Ollama engine with the whole name.

        Raises ``NotOffered`` if that is no Ollama engine.
        """
        catalog = self.context.catalog
        prefix, slash, model = name.partition("/")
        if slash and model and prefix in self.context.config.engines:
            target = catalog.resolve_target(prefix, model, self.caller)
        else:
            engines = [one for one in catalog.list_engines(self.caller) if one.dialect == ollama.NAME]
            if not engines:
                raise NotOffered(f"{self._path}: no Ollama engine is configured here (OLLAMA_ENABLED).", param="model")
            target = catalog.resolve_target(engines[0].name, name, self.caller)
        if target.engine.dialect != ollama.NAME:
            raise NotOffered(
                f"{self._path}: the models of {target.engine.label} cannot be changed through this server.",
                param="model",
                engine=target.engine.name,
            )
        return target


class DeleteModelHandler(ModelFilesHandler):
    """``DELETE /api/delete``."""

    methods = ("DELETE",)
    counts_as_answer = False
    engine_method = "DELETE"
