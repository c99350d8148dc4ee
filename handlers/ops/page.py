"""The web page: a simple chat in three static files, open to anyone; its API requests need a client id."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from handlers.base import BaseHandler
from handlers.context import Context

_FILES: Final = Path(__file__).parent / "static"
_TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}

# Nothing from other origins, no inline script or style, not in a frame. Images are generated here or attached.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class PageHandler(BaseHandler):
    """Sends one of the static files."""

    access = "open"

    def initialize(self, context: Context, file: str = "index.html") -> None:
        super().initialize(context)
        self._path = _FILES / file

    async def handle(self, body: dict[str, Any]) -> None:
        self.set_header("Content-Type", f"{_TYPES[self._path.suffix]}; charset=utf-8")
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("Referrer-Policy", "no-referrer")
        self.write(self._path.read_bytes())
