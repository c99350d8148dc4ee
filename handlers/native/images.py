"""``/images/<name>``: images generated on this server, open to anyone who has the unguessable name."""

from __future__ import annotations

from typing import Any, Final

from tornado.iostream import StreamClosedError

from handlers.base import BaseHandler
from llm.errors import NotFound

_MAX_READ: Final = 64 * 1024  # bytes that are read and sent at a time
_MAX_AGE: Final = 365 * 86400  # seconds that a cache may store the image: a name never refers to another image


class ImageHandler(BaseHandler):
    """``GET /images/<name>``: sends an image."""

    access = "open"

    async def handle(self, body: dict[str, Any]) -> None:
        image = self.context.images.open(self.path_args[0])
        if image is None:
            raise NotFound("There is no such image.")
        with image.file as file:
            self.set_header("Content-Type", image.content_type)
            self.set_header("Content-Length", str(image.size))
            self.set_header("Cache-Control", f"public, max-age={_MAX_AGE}, immutable")
            # If a browser treats the file as a page, it runs no scripts, has no origin and loads nothing.
            self.set_header("Content-Security-Policy", "default-src 'none'; sandbox")
            try:
                while piece := file.read(_MAX_READ):
                    self.write(piece)
                    await self.flush()
            except StreamClosedError:
                self.client_gone = True
