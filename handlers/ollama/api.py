"""Ollama's API (``/api/*``) over every engine: chats, embeddings, model lists."""

from __future__ import annotations

import time
from typing import Any, Final

from handlers.base import BaseHandler
from handlers.chat import ChatHandler
from llm.chat.events import Timing
from llm.dialects import ollama
from llm.dialects.base import ClientDialect
from llm.errors import InvalidRequest
from llm.tasks import embeddings
from llm.upstream.call_record import CallRecord
from llm.upstream.tasks import embed
from llm.wire.json_codec import Json
from llm.wire.json_strict import Fields

# The version of Ollama's API that is implemented: clients read it before they use newer features.
OLLAMA_VERSION: Final = "0.12.0"

# Fields of an embedding request that only Ollama has; they do not change the vectors of a text that fits.
_OLLAMA_ONLY: Final = ("truncate", "keep_alive", "options")


class OllamaChatHandler(ChatHandler):
    """``POST /api/chat`` and ``/api/generate``."""

    async def handle(self, body: dict[str, Any]) -> None:
        self.context.schemas.check(self.schema, body)
        if not body.get("messages") and not body.get("prompt") and not body.get("images"):
            self.context.catalog.resolve_model_name(body["model"], self.caller)
            unload = body.get("keep_alive") in (0, "0")
            chat = "messages" in body
            self.write_json(ollama.write_load(body["model"], chat=chat, unload=unload, now=int(time.time())))
            return
        await super().handle(body)


class TagsHandler(BaseHandler):
    """``GET /api/tags``: lists every model of every engine."""

    dialect: ClientDialect = ollama

    async def handle(self, body: dict[str, Any]) -> None:
        models, failures = await self.context.catalog.list_all_models(self.caller)
        if failures:
            self.set_header("X-Unlisted-Engines", ", ".join(failures))
            self.log_fields["unlisted_engines"] = {name: error.code for name, error in failures.items()}
        self.write_json(self.dialect.write_models(models))


class ShowHandler(BaseHandler):
    """``POST /api/show``: describes a model and its capabilities."""

    methods = ("POST",)
    dialect: ClientDialect = ollama

    async def handle(self, body: dict[str, Any]) -> None:
        fields = Fields(body)
        name = fields.read_text("model") or fields.read_required_text("name")
        self.write_json(ollama.write_show(await self.context.catalog.get_model(name, self.caller)))


class EmbedHandler(BaseHandler):
    """``POST /api/embed``: returns the vectors of one or more texts."""

    methods = ("POST",)
    counts_as_answer = True
    dialect: ClientDialect = ollama

    async def handle(self, body: dict[str, Any]) -> None:
        if not body.get("input"):
            raise InvalidRequest("input: is required, as text or a list of texts", param="input")
        result = await self.request_embeddings(body)
        vectors: list[Json] = [[*vector] for vector in result.vectors]
        durations = ollama.write_durations(Timing(time.monotonic() - self.started_at))
        self.write_json(
            {
                "model": body["model"],
                "embeddings": vectors,
                "total_duration": durations["total_duration"],
                "load_duration": durations["load_duration"],
                "prompt_eval_count": result.input_tokens or 0,
            }
        )

    async def request_embeddings(self, body: dict[str, Any]) -> embeddings.Embeddings:
        """Requests the embeddings from the engine and sets the headers."""
        name = Fields(body).read_required_text("model")
        target = self.context.catalog.resolve_model_name(name, self.caller)
        self.log_fields |= {"engine": target.engine.name, "model": target.model}
        same_dialect = target.engine.dialect == self.dialect.NAME
        request = embeddings.read_request(self._select_fields(body, same_dialect=same_dialect))
        record = CallRecord(started=self.started_at)
        result = await embed(request, target, self.context.client, record)
        for header, value in record.headers.items():
            self.set_header(header, value)
        return result

    def _select_fields(self, body: dict[str, Any], *, same_dialect: bool) -> dict[str, Any]:
        """Returns the fields for the engine; those that only Ollama has are dropped for another dialect."""
        dropped = [name for name in _OLLAMA_ONLY if name in body]
        if not same_dialect and dropped:
            self.set_header("X-Dropped-Fields", ", ".join(dropped))
        return {name: value for name, value in body.items() if same_dialect or name not in _OLLAMA_ONLY}


class LegacyEmbedHandler(EmbedHandler):
    """``POST /api/embeddings``: returns the vector of one text; the predecessor of ``/api/embed``, still in use."""

    async def handle(self, body: dict[str, Any]) -> None:
        prompt = Fields(body).read_required_text("prompt")
        result = await self.request_embeddings({**{n: v for n, v in body.items() if n != "prompt"}, "input": prompt})
        self.write_json({"embedding": [*result.vectors[0]]})


class VersionHandler(BaseHandler):
    """``GET /api/version``: the version of Ollama's API."""

    dialect: ClientDialect = ollama

    async def handle(self, body: dict[str, Any]) -> None:
        self.write_json({"version": OLLAMA_VERSION})


class RunningModelsHandler(BaseHandler):
    """``GET /api/ps``: an empty list, since this server loads no models itself."""

    dialect: ClientDialect = ollama

    async def handle(self, body: dict[str, Any]) -> None:
        self.write_json({"models": []})
