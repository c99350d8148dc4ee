"""``/openapi.json`` and ``/llms.txt``: the API of this server, for programs; open to anyone."""

from __future__ import annotations

import re
from typing import Any, Final, Protocol, cast

from handlers.base import BaseHandler
from handlers.ops.api_document import Routes, write_llms_txt, write_openapi
from llm import VERSION
from llm.wire.json_codec import dump_bytes

_HOST: Final = re.compile(r"[A-Za-z0-9.:\[\]-]{1,100}")
_KEY: Final = "openapi.json"  # of the application's settings: the document, once it was made


class _Application(Protocol):
    """The application with its table of routes."""

    settings: dict[str, Any]
    routes: Routes


class OpenApiHandler(BaseHandler):
    """``GET /openapi.json``: this description."""

    access = "open"

    async def handle(self, body: dict[str, Any]) -> None:
        application = cast(_Application, self.application)
        if _KEY not in application.settings:
            document = write_openapi(application.routes, self.context.schemas.documents, VERSION)
            application.settings[_KEY] = dump_bytes(document)
        self.set_header("Content-Type", "application/json")
        self.write(application.settings[_KEY])


class LlmsTextHandler(BaseHandler):
    """``GET /llms.txt``: how to use this server, for programs that write code."""

    access = "open"

    async def handle(self, body: dict[str, Any]) -> None:
        config, host = self.context.config, self.request.headers.get("Host", "")
        forwarded = self.request.headers.get("X-Forwarded-Proto", "").lower()
        scheme = "https" if forwarded == "https" else "http"
        origin = f"{scheme}://{host if _HOST.fullmatch(host) else f'{config.host}:{config.port}'}"
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.write(write_llms_txt(cast(_Application, self.application).routes, origin))
