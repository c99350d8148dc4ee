"""Names and image types, shared by both sides of the dialect."""

from __future__ import annotations

from typing import Final

NAME: Final = "ollama"
GENERATE_NAME: Final = "ollama-generate"  # marks metadata of ``/api/generate`` that ``/api/chat`` has no fields for

_IMAGES: Final = (("/9j/", "image/jpeg"), ("UklGR", "image/webp"), ("R0lGOD", "image/gif"))  # base64 prefix, type


def guess_image_type(data: str) -> str:
    """Returns the MIME type of base64 image data, since the wire does not name it; PNG by default."""
    return next((mime for start, mime in _IMAGES if data.startswith(start)), "image/png")
