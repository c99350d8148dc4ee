"""What both sides share."""

from __future__ import annotations

from typing import Final

NAME: Final = "ollama"
GENERATE: Final = "ollama-generate"  # whose words ``/api/chat`` does not have

_IMAGES: Final = (("/9j/", "image/jpeg"), ("UklGR", "image/webp"), ("R0lGOD", "image/gif"))  # how their base64 begins


def image_type(data: str) -> str:
    """Of bare base64: the wire does not say."""
    return next((mime for start, mime in _IMAGES if data.startswith(start)), "image/png")
