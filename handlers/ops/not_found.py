"""404 for every path that has no route, in the form of the API whose path was meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol, cast

from handlers.base import BaseHandler
from handlers.context import Context
from handlers.request.body import MAX_DISCARDED
from llm.dialects import anthropic, gemini, native, ollama, openai_chat, openai_responses
from llm.dialects.base import ErrorDialect
from llm.errors import NotFound

HIDDEN_ID: Final = "<client id>"  # in the place of a client id in a path
_MAX_PATH: Final = 300  # characters of a path that is compared with the routes
_MAX_SEGMENTS: Final = 12
_APIS: Final = ("/v1/", "/v1beta/", "/api/")  # the routes that are proposed
_HOST: Final = re.compile(r"[A-Za-z0-9.:\[\]-]{1,100}")

# Prefixes of paths and the dialects in which errors below them are written; the first match wins.
_FORMS: Final[tuple[tuple[str, ErrorDialect], ...]] = (
    ("/v1/messages", anthropic),
    ("/v1beta", gemini),
    ("/v1", openai_chat),
    ("/api", ollama),
)
_WITH_VERSION: Final = (openai_chat.NAME, openai_responses.NAME)  # the base URL of their clients ends with ``/v1``


class Routes(Protocol):
    """The table of routes."""

    def find(self, path: str) -> tuple[type[BaseHandler], Mapping[str, Any]] | None:
        """Returns the handler class of a path and its arguments; None if the path has no route."""
        ...


class NotFoundHandler(BaseHandler):
    """Answers 404 without reading the body. Names the base URL if the path is known with another beginning."""

    methods = ("GET", "POST", "PUT", "PATCH", "DELETE")
    access = "open"

    def initialize(self, context: Context) -> None:
        """Chooses the form of the error and refuses the body."""
        super().initialize(context)
        path = self.request.path
        intended = find_intended(path, cast(Routes, self.application))
        versioned = "anthropic-version" in self.request.headers
        form = intended[1] if intended else find_form(path)
        self.dialect = anthropic if versioned and form is openai_chat else form
        message = f"This server has no path {path[:200]}."
        if path.startswith(f"/c/{HIDDEN_ID}"):
            message += " Client ids in paths are not read here (PATH_IDS)."
        elif intended:
            message += f" The path is {intended[0][:200]}: set the client's base URL to {self._base_url(self.dialect)}"
        self.body.refusal = NotFound(message)

    @property
    def max_body(self) -> int:
        """Bytes of the body that are read and discarded, so that the client can read the answer."""
        return MAX_DISCARDED * self.context.config.max_body_size

    def _base_url(self, dialect: ErrorDialect) -> str:
        """Returns the base URL for clients of a dialect, with the address by which this client reached the server."""
        host = self.request.headers.get("Host", "")
        config = self.context.config
        if _HOST.fullmatch(host):
            forwarded = self.request.headers.get("X-Forwarded-Proto", "").lower()
            origin = f"{'https' if forwarded == 'https' else 'http'}://{host}"
        else:
            origin = f"http://{config.host}:{config.port}"
        if getattr(self.request, "path_id", ""):
            origin += f"/c/{HIDDEN_ID}"
        return origin + ("/v1" if dialect.NAME in _WITH_VERSION else "")


def find_form(path: str) -> ErrorDialect:
    """Returns the dialect of the API whose prefix a path has; the native one for other paths.

    >>> find_form("/v1/messages/batches").NAME
    'anthropic'
    """
    return next((form for prefix, form in _FORMS if path == prefix or path.startswith(f"{prefix}/")), native)


def find_intended(path: str, routes: Routes) -> tuple[str, ErrorDialect] | None:
    """Returns the path of a compatible API that was meant and its dialect: ``/v1`` is missing, doubled or misplaced."""
    if len(path) > _MAX_PATH or path.count("/") > _MAX_SEGMENTS:
        return None
    for candidate in _candidates(path.rstrip("/")):
        found = routes.find(candidate) if candidate.startswith(_APIS) else None
        if found is not None:
            handler, arguments = found
            return candidate, arguments.get("dialect", handler.dialect)
    return None


def _candidates(path: str) -> Iterator[str]:
    """Yields the ends of a path, the longest first, each also below ``/v1``."""
    for at in [index for index, character in enumerate(path) if character == "/"]:
        yield path[at:]
        yield f"/v1{path[at:]}"
