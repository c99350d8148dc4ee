"""Ollama's API over every engine: chats by :class:`OllamaChatHandler`, what there is by the others."""

from __future__ import annotations

from typing import Any, Final

from handlers.base import Base
from handlers.chat import ChatHandler
from llm.dialects import ollama
from llm.dialects.base import ClientDialect
from llm.errors import InvalidRequest
from llm.tasks import embeddings
from llm.upstream.call_record import Trace
from llm.upstream.tasks import embed
from llm.wire.json_codec import Json
from llm.wire.json_strict import Fields

# Of Ollama's API as it is spoken here: clients ask it before they use what is newer.
VERSION: Final = "0.12.0"

_LOCAL: Final = ("truncate", "keep_alive", "options")  # do not change the vectors of a text that fits


class OllamaChatHandler(ChatHandler):
    """``POST /api/chat`` and ``/api/generate``."""

    async def handle(self, body: dict[str, Any]) -> None:
        self.context.schemas.check(self.schema, body)
        if not body.get("messages") and not body.get("prompt") and not body.get("images"):
            self.context.catalog.target_of(body["model"], self.caller)
            # Nothing to answer: a client wants the model loaded, or let go.
            empty: dict[str, Json] = {"message": {"role": "assistant", "content": ""}}
            said: dict[str, Json] = empty if "messages" in body else {"response": ""}
            reason = "unload" if body.get("keep_alive") in (0, "0") else "load"
            self.write_json({"model": body["model"], **said, "done": True, "done_reason": reason})
            return
        await super().handle(body)


class TagsHandler(Base):
    """``GET /api/tags``: every model of every engine."""

    dialect: ClientDialect = ollama

    async def handle(self, body: dict[str, Any]) -> None:
        models, failures = await self.context.catalog.all_models(self.caller)
        if failures:
            self.set_header("X-Unlisted-Engines", ", ".join(failures))
            self.told["unlisted"] = {name: error.code for name, error in failures.items()}
        self.write_json(self.dialect.write_models(models))


class ShowHandler(Base):
    """``POST /api/show``: what a model is and can do."""

    methods = ("POST",)
    dialect: ClientDialect = ollama

    async def handle(self, body: dict[str, Any]) -> None:
        fields = Fields(body)
        name = fields.text("model") or fields.required_text("name")
        self.write_json(ollama.write_show(await self.context.catalog.model(name, self.caller)))


class EmbedHandler(Base):
    """``POST /api/embed``."""

    methods = ("POST",)
    costly = True
    dialect: ClientDialect = ollama

    async def handle(self, body: dict[str, Any]) -> None:
        if not body.get("input"):
            raise InvalidRequest("input: is required, as text or a list of texts", param="input")
        made = await self.made(body)
        vectors: list[Json] = [[*vector] for vector in made.vectors]
        self.write_json({"model": body["model"], "embeddings": vectors, "prompt_eval_count": made.tokens or 0})

    async def made(self, body: dict[str, Any]) -> embeddings.Embeddings:
        name = Fields(body).required_text("model")
        target = self.context.catalog.target_of(name, self.caller)
        self.told |= {"engine": target.engine.name, "model": target.model}
        request = embeddings.read_request(self._known(body, own=target.engine.dialect == self.dialect.NAME))
        trace = Trace(started=self.began)
        made = await embed(request, target, self.context.services, trace)
        for header, value in trace.headers.items():
            self.set_header(header, value)
        return made

    def _known(self, body: dict[str, Any], *, own: bool) -> dict[str, Any]:
        """The fields that go to the engine: those that only a server of this wire can mean, to such a one."""
        hints = [name for name in _LOCAL if name in body]
        if not own and hints:
            self.set_header("X-Dropped-Fields", ", ".join(hints))
        return {name: value for name, value in body.items() if own or name not in _LOCAL}


class OlderEmbedHandler(EmbedHandler):
    """``POST /api/embeddings``: one text, as clients asked before there was ``/api/embed``, and many still do."""

    async def handle(self, body: dict[str, Any]) -> None:
        prompt = Fields(body).required_text("prompt")
        made = await self.made({**{n: v for n, v in body.items() if n != "prompt"}, "input": prompt})
        self.write_json({"embedding": [*made.vectors[0]]})


class VersionHandler(Base):
    """``GET /api/version``."""

    dialect: ClientDialect = ollama

    async def handle(self, body: dict[str, Any]) -> None:
        self.write_json({"version": VERSION})


class RunningModelsHandler(Base):
    """``GET /api/ps``: nothing is loaded here, every model is at hand."""

    dialect: ClientDialect = ollama

    async def handle(self, body: dict[str, Any]) -> None:
        self.write_json({"models": []})
