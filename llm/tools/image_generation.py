"""``image_generation``: a picture from words, made by the engine that the owner chose and kept by this server.

Wires: https://platform.openai.com/docs/api-reference/images/create and
https://huggingface.co/docs/inference-providers/tasks/text-to-image
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Final

from llm.chat.request import ToolSpec
from llm.dialects.base import Outgoing
from llm.engines.engine import Target
from llm.errors import LLMError
from llm.storage.images import ImageStore
from llm.tasks import images
from llm.tools.base import ToolFailed, ToolState
from llm.tools.fetcher import Fetcher
from llm.transport.interface import HttpReply
from llm.upstream.attempts import asked
from llm.upstream.call_record import Trace
from llm.upstream.engine_client import Services
from llm.wire.json_codec import Json, in_address, loads

_MOST_TIME: Final = 300.0  # seconds
_MOST_BYTES: Final = 64 * 1024 * 1024  # of an answer
_ROUTED: Final = "/hf-inference"  # where its router hands on to its own machines


@dataclass(frozen=True, slots=True)
class Wire:
    """What a model takes beside the prompt, as JSON Schema, and what is always sent to it."""

    parameters: Mapping[str, Json]
    sent: Mapping[str, Json]


def _one_of(*choices: str) -> Json:
    return {"type": "string", "enum": [*choices]}


_PIXELS: Final[Json] = {"type": "integer", "minimum": 64, "maximum": 4096}
_HUGGINGFACE: Final = Wire({"width": _PIXELS, "height": _PIXELS}, {})

# By model; the first glob that fits. All but the dall-e models answer base64 unasked, and refuse to be asked for it.
_OPENAI: Final = (
    ("dall-e-2", Wire({"size": _one_of("256x256", "512x512", "1024x1024")}, {"response_format": "b64_json"})),
    (
        "dall-e-3",
        Wire(
            {
                "size": _one_of("1024x1024", "1792x1024", "1024x1792"),
                "quality": _one_of("standard", "hd"),
                "style": _one_of("vivid", "natural"),
            },
            {"response_format": "b64_json"},
        ),
    ),
    (
        "*",
        Wire(
            {
                "size": _one_of("auto", "1024x1024", "1536x1024", "1024x1536"),
                "quality": _one_of("auto", "low", "medium", "high"),
            },
            {},
        ),
    ),
)


class ImageGeneration:
    """``target`` holds the server's key. ``public_url`` begins the links to what is made, or is ``""``."""

    paid = True

    def __init__(
        self, target: Target, services: Services, fetcher: Fetcher, images: ImageStore, public_url: str
    ) -> None:
        self._target = target
        self._services = services
        self._fetcher = fetcher
        self._images = images
        self._public_url = public_url
        self._wire = _wire_of(target)
        prompt: Json = {"type": "string", "description": "What the picture shows, in detail"}
        self.spec = ToolSpec(
            "image_generation",
            "Makes a picture from a description. The result's path is its URL: show the picture in your final answer, "
            "as a Markdown image with that path.",
            {
                "type": "object",
                "properties": {"prompt": prompt, **self._wire.parameters},
                "required": ["prompt"],
                "additionalProperties": False,
            },
            executor="server",
        )

    def describe(self, state: ToolState, arguments: Mapping[str, Json]) -> str:
        return "Painting pixels…" if state == "running" else ""

    async def __call__(self, arguments: Mapping[str, Json]) -> Json:
        try:
            async with asyncio.timeout(_MOST_TIME):
                image = await self._made(arguments)
                name = await asyncio.to_thread(self._images.save, image)
        except TimeoutError:
            raise ToolFailed(f"The image was not made within {_MOST_TIME:g} seconds.") from None
        except OSError:
            raise ToolFailed("The image was made, but this server could not keep it.") from None
        except LLMError as error:
            raise ToolFailed(f"The image could not be made: {error.message}") from None
        return {"path": f"{self._public_url}/images/{name}", "description": arguments["prompt"]}

    async def _made(self, arguments: Mapping[str, Json]) -> bytes:
        target, outgoing = self._written(arguments)
        answers = asked(outgoing, _whole, target, self._services, Trace())
        async with aclosing(answers):
            raw = await anext(answers)
        if raw[:16].lstrip()[:1] != b"{":
            return raw  # the image itself
        try:
            found = _image_in(loads(raw))
        except ValueError:
            found = b""
        if isinstance(found, bytes) and found:
            return found
        if isinstance(found, str):
            fetched = await self._fetcher.fetch(found, _is_image, most_bytes=_MOST_BYTES)
            return fetched.body
        raise ToolFailed("The image could not be made: the answer holds none.")

    def _written(self, arguments: Mapping[str, Json]) -> tuple[Target, Outgoing]:
        target, chosen = self._target, {name: value for name, value in arguments.items() if name != "prompt"}
        if self._wire is not _HUGGINGFACE:
            body = {"model": target.model, "prompt": arguments["prompt"], "n": 1, **self._wire.sent, **chosen}
            return target, Outgoing(path=images.PATH, body=body)
        engine = replace(target.engine, base_url=target.engine.base_url.removesuffix("/v1"))
        inputs: dict[str, Json] = {"inputs": arguments["prompt"], **({"parameters": chosen} if chosen else {})}
        path = f"{_ROUTED}/models/{in_address(target.model, '/')}"
        headers = {"accept": "image/png, image/jpeg;q=0.9, application/json;q=0.8"}
        return replace(target, engine=engine), Outgoing(path=path, body=inputs, headers=headers)


async def _whole(reply: HttpReply) -> AsyncGenerator[bytes, None]:
    yield await reply.read(_MOST_BYTES)


def _wire_of(target: Target) -> Wire:
    if target.engine.image_tool == "text-to-image":
        return _HUGGINGFACE
    return next(wire for pattern, wire in _OPENAI if fnmatchcase(target.model, pattern))


def _image_in(answer: Any) -> bytes | str:
    """The bytes of an image or its URL, from ``{"data": [{"b64_json" or "url"}]}`` or ``{"output": [url]}``."""
    match answer:
        case {"data": [{"b64_json": str(text)}, *_]}:
            return _from_base64(text)
        case {"data": [{"url": str(url)}, *_]} | {"output": [str(url), *_] | str(url)}:
            head, comma, text = url.partition(";base64,")
            return _from_base64(text) if comma and head.startswith("data:") else url
    return b""


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""


def _is_image(content_type: str) -> bool:
    """What it really is the store sees from its bytes."""
    return content_type.startswith("image/") or content_type in ("", "application/octet-stream", "binary/octet-stream")
