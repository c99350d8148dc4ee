"""``/llm/engines``, ``/llm/models`` and ``/auth/verify``."""

from __future__ import annotations

from typing import Any

from handlers.base import BaseHandler
from llm.dialects import native


class EnginesHandler(BaseHandler):
    """``/llm/engines``: lists the engines that this caller can use."""

    methods = ("GET", "POST")

    async def handle(self, body: dict[str, Any]) -> None:
        engines = self.context.catalog.list_engines(self.caller)
        self.write_json({"engines": [{"id": engine.name, "name": engine.label} for engine in engines]})


class ModelsHandler(BaseHandler):
    """``/llm/models/<engine>``: lists the models of an engine."""

    methods = ("GET", "POST")

    async def handle(self, body: dict[str, Any]) -> None:
        self.write_json(native.write_models(await self.context.catalog.list_models(self.path_args[0], self.caller)))


class VerifyHandler(BaseHandler):
    """``POST /auth/verify``: checks a client id."""

    methods = ("POST",)
    access = "open"

    async def handle(self, body: dict[str, Any]) -> None:
        client_id = body.get("clientId")
        if isinstance(client_id, str) and client_id and self.context.is_client_id(client_id):
            self.set_header("Content-Type", "text/plain")
            self.write("OK")
        else:
            await self.context.wrong_ids.wait(self.request, [str(client_id or "")], self.log_fields)
            self.write_json({"error": "Invalid client Id", "code": "unauthorized"}, 401)
