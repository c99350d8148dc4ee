"""Images and files that an engine accepts, checked before the request is sent."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from llm.chat.messages import Media, Message, Part, ToolResult
from llm.chat.request import ChatRequest
from llm.errors import Unsupported

_MB: Final = 1024 * 1024
# First bytes of image files; WebP has its own after a length field.
_MAGIC: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_OTHER_NAMES: Final[Mapping[str, str]] = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg"}
_UNKNOWN_TYPE: Final = "application/octet-stream"


def detect_image_type(base64: str) -> str | None:
    """Returns the MIME type by the first bytes of an image in base64, or None for any other type."""
    try:
        head = b64decode(base64[:24])
    except ValueError:
        return None
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((mime for start, mime in _MAGIC if head.startswith(start)), None)


def has_media(request: ChatRequest) -> bool:
    """True if a message may have media, in a part or in a tool's result: most requests need no further look."""
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, Media | ToolResult):
                return True
    return False


def correct_image_types(request: ChatRequest) -> ChatRequest:
    """Returns the request with the types of its images by their bytes: engines refuse an image with a wrong type."""
    messages = tuple(_correct_message(message) for message in request.messages)
    return request if _is_same(messages, request.messages) else replace(request, messages=messages)


def _is_same(new: Sequence[object], old: Sequence[object]) -> bool:
    return all(one is other for one, other in zip(new, old, strict=True))


def _correct_message(message: Message) -> Message:
    parts = tuple(_correct_part(part) for part in message.parts)
    return message if _is_same(parts, message.parts) else replace(message, parts=parts)


def _correct_part(part: Part) -> Part:
    match part:
        case ToolResult(content=content):
            corrected = tuple(_correct_media(one) if isinstance(one, Media) else one for one in content)
            return part if _is_same(corrected, content) else replace(part, content=corrected)
        case Media():
            return _correct_media(part)
    return part


def _correct_media(media: Media) -> Media:
    if media.kind != "image" and media.mime != _UNKNOWN_TYPE:
        return media
    found = detect_image_type(media.base64) if media.base64 else None
    mime = found or _OTHER_NAMES.get(media.mime, media.mime)
    return media if mime == media.mime else replace(media, mime=mime)


def check_media(request: ChatRequest, takes: MediaLimits, label: str, engine: str) -> None:
    """Checks the media of a request against the limits. Raises ``Unsupported`` naming the attachment and the limit.

    Media given by URL or by the id of an uploaded file is not checked: the engine decides.
    """
    images = 0
    for position, media in _list_media(request):
        images += media.kind == "image"
        if media.base64 is None:
            continue
        types = {"image": takes.images, "document": takes.documents, "audio": takes.audio, "video": takes.video}
        allowed = types[media.kind]
        if allowed is not None and media.mime not in allowed:
            known = f"; it accepts {', '.join(allowed)}" if allowed else ""
            raise _unsupported(engine, f"{position}: {label} does not accept {media.mime}{known}.")
        size = len(media.base64) * 3 // 4 - media.base64[-2:].count("=")
        limit = takes.max_image_bytes if media.kind == "image" else takes.max_document_bytes
        if limit is not None and size > limit:
            problem = f"the {media.kind} has {size} bytes; {label} accepts at most {limit // _MB} MB"
            raise _unsupported(engine, f"{position}: {problem}.")
    if takes.max_images is not None and images > takes.max_images:
        raise _unsupported(engine, f"messages: has {images} images; {label} accepts at most {takes.max_images}.")


def _list_media(request: ChatRequest) -> Iterator[tuple[str, Media]]:
    """Yields each media part with its position. Message numbers leave out system messages, as most clients count."""
    number = -1
    for message in request.messages:
        number += message.role != "system"
        count = 0
        for part in message.parts:
            inner_parts: tuple[Part, ...] = ()
            match part:
                case Media():
                    inner_parts = (part,)
                case ToolResult(content=content):
                    inner_parts = content
            for inner in inner_parts:
                if isinstance(inner, Media):
                    count += 1
                    yield f"messages[{number}], attachment {count}", inner


def _unsupported(engine: str, message: str) -> Unsupported:
    return Unsupported(message, param="messages", engine=engine)


_IMAGE_TYPES: Final = ("image/png", "image/jpeg", "image/webp", "image/gif")


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLimits:
    """Media that an engine accepts: MIME types, sizes in decoded bytes. ``None``: not known, so not checked."""

    images: tuple[str, ...] | None = _IMAGE_TYPES
    documents: tuple[str, ...] | None = None
    audio: tuple[str, ...] | None = None
    video: tuple[str, ...] | None = None
    max_image_bytes: int | None = None  # per image
    max_document_bytes: int | None = None  # per file that is not an image
    max_images: int | None = None  # per request, history included
