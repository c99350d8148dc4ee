"""Images and files an engine accepts, checked before the request is sent."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from llm.chat.messages import Media, Part, ToolResult
from llm.chat.request import ChatRequest
from llm.errors import Unsupported

_MB: Final = 1024 * 1024
# How the bytes of a picture begin; WebP's stand behind a length.
_MAGIC: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


def image_type(base64: str) -> str | None:
    """The type of a picture by how it begins; None for what none of them begins with."""
    try:
        head = b64decode(base64[:24])
    except ValueError:
        return None
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((mime for start, mime in _MAGIC if head.startswith(start)), None)


def check(request: ChatRequest, takes: Takes, label: str, engine: str) -> None:
    """Raises ``Unsupported`` for what the engine's record says that it does not take, naming it and the limit.

    What is given by an address, or was uploaded to the engine, is the engine's to judge.
    """
    images = 0
    for place, media in _media(request):
        images += media.kind == "image"
        if media.base64 is None:
            continue
        kinds = {"image": takes.images, "document": takes.documents, "audio": takes.audio, "video": takes.video}
        allowed = kinds[media.kind]
        if allowed is not None and media.mime not in allowed:
            known = f"; it takes {', '.join(allowed)}" if allowed else ""
            raise _refusal(engine, f"{place}: {label} takes no {media.mime}{known}.")
        size = len(media.base64) * 3 // 4 - media.base64[-2:].count("=")
        most = takes.image_bytes if media.kind == "image" else takes.document_bytes
        if most is not None and size > most:
            told = f"{size} bytes, and {label} takes {most // _MB} MB"
            raise _refusal(engine, f"{place}: the {media.kind} has {told}.")
    if takes.most_images is not None and images > takes.most_images:
        raise _refusal(engine, f"messages: hold {images} images, and {label} takes {takes.most_images}.")


def _media(request: ChatRequest) -> Iterator[tuple[str, Media]]:
    """Each with its place: the message counted without system messages, as clients count them or nearly so."""
    number = -1
    for message in request.messages:
        number += message.role != "system"
        at = 0
        for part in message.parts:
            held: tuple[Part, ...] = ()
            match part:
                case Media():
                    held = (part,)
                case ToolResult(content=content):
                    held = content
            for inner in held:
                if isinstance(inner, Media):
                    at += 1
                    yield f"messages[{number}], attachment {at}", inner


def _refusal(engine: str, message: str) -> Unsupported:
    return Unsupported(message, param="messages", engine=engine)


_PICTURES: Final = ("image/png", "image/jpeg", "image/webp", "image/gif")


@dataclass(frozen=True, slots=True, kw_only=True)
class Takes:
    """What an engine takes beside text, as far as it says: MIME types, decoded bytes. ``None``: it may know more."""

    images: tuple[str, ...] | None = _PICTURES
    documents: tuple[str, ...] | None = None
    audio: tuple[str, ...] | None = None
    video: tuple[str, ...] | None = None
    image_bytes: int | None = None  # of each
    document_bytes: int | None = None
    most_images: int | None = None  # in a request, history included
