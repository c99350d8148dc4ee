"""``/images/<name>``: images that the server made, open to whoever was given their unguessable name."""

from __future__ import annotations

from typing import Any, Final

from tornado.iostream import StreamClosedError

from handlers.base import Base
from llm.errors import NotFound

_PIECE: Final = 64 * 1024  # bytes that are read and sent at a time
_AGE: Final = 365 * 86400  # seconds that anyone may keep a copy: a name never means another image


class ImageHandler(Base):
    access = "open"

    async def handle(self, body: dict[str, Any]) -> None:
        image = self.context.images.open(self.path_args[0])
        if image is None:
            raise NotFound("There is no such image.")
        with image.file as file:
            self.set_header("Content-Type", image.content_type)
            self.set_header("Content-Length", str(image.size))
            self.set_header("Cache-Control", f"public, max-age={_AGE}, immutable")
            # Should a browser ever take it for a page of ours, it has no scripts, no origin and loads nothing.
            self.set_header("Content-Security-Policy", "default-src 'none'; sandbox")
            try:
                while piece := file.read(_PIECE):
                    self.write(piece)
                    await self.flush()
            except StreamClosedError:
                self.gone = True
