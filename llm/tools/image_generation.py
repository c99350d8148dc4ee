"""The tool ``image_generation``: generates an image with the configured engine and stores it on this server.

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
from llm.dialects.base import EngineRequest
from llm.engines.engine import Target
from llm.errors import LLMError
from llm.storage.images import ImageStore
from llm.tasks import images
from llm.tools.base import ToolFailed, ToolState
from llm.tools.fetcher import Fetcher
from llm.transport.interface import HttpResponse
from llm.upstream.attempts import request_stream
from llm.upstream.call_record import CallRecord
from llm.upstream.engine_client import EngineClient
from llm.wire.json_codec import Json, loads, quote_url_part

_TIMEOUT: Final = 300.0  # seconds
_MAX_BYTES: Final = 64 * 1024 * 1024  # bytes of a response
_HF_PATH: Final = "/hf-inference"  # path of Hugging Face's router to its own machines


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """The options of an image model: the tool's parameters as JSON Schema, and fields that are always sent."""

    parameters: Mapping[str, Json]
    fixed_fields: Mapping[str, Json]


def _make_enum(*choices: str) -> Json:
    return {"type": "string", "enum": [*choices]}


_PIXELS: Final[Json] = {"type": "integer", "minimum": 64, "maximum": 4096}
_HUGGINGFACE: Final = ImageOptions({"width": _PIXELS, "height": _PIXELS}, {})

# By model id: the first matching glob counts. All models except dall-e return base64 and refuse ``response_format``.
_OPENAI: Final = (
    (
        "dall-e-2",
        ImageOptions({"size": _make_enum("256x256", "512x512", "1024x1024")}, {"response_format": "b64_json"}),
    ),
    (
        "dall-e-3",
        ImageOptions(
            {
                "size": _make_enum("1024x1024", "1792x1024", "1024x1792"),
                "quality": _make_enum("standard", "hd"),
                "style": _make_enum("vivid", "natural"),
            },
            {"response_format": "b64_json"},
        ),
    ),
    (
        "*",
        ImageOptions(
            {
                "size": _make_enum("auto", "1024x1024", "1536x1024", "1024x1536"),
                "quality": _make_enum("auto", "low", "medium", "high"),
            },
            {},
        ),
    ),
)


class ImageGeneration:
    """Generates images. ``target`` holds the server's key; ``public_url`` is the prefix of image links, or ``""``."""

    paid = True

    def __init__(
        self, target: Target, client: EngineClient, fetcher: Fetcher, images: ImageStore, public_url: str
    ) -> None:
        self._target = target
        self._client = client
        self._fetcher = fetcher
        self._images = images
        self._public_url = public_url
        self._options = _find_options(target)
        prompt: Json = {"type": "string", "description": "What the picture shows, in detail"}
        self.spec = ToolSpec(
            "image_generation",
            "Makes a picture from a description. The result's path is its URL: show the picture in your final answer, "
            "as a Markdown image with that path.",
            {
                "type": "object",
                "properties": {"prompt": prompt, **self._options.parameters},
                "required": ["prompt"],
                "additionalProperties": False,
            },
            executor="server",
        )

    def describe(self, state: ToolState, arguments: Mapping[str, Json]) -> str:
        """Returns the ``status`` text for people."""
        return "Painting pixels…" if state == "running" else ""

    async def __call__(self, arguments: Mapping[str, Json]) -> Json:
        """Returns the path and the description of the image. Raises ``ToolFailed``."""
        try:
            async with asyncio.timeout(_TIMEOUT):
                image = await self._generate(arguments)
                name = await asyncio.to_thread(self._images.save, image)
        except TimeoutError:
            raise ToolFailed(f"The image was not generated within {_TIMEOUT:g} seconds.") from None
        except OSError:
            raise ToolFailed("The image was generated, but this server could not store it.") from None
        except LLMError as error:
            raise ToolFailed(f"The image could not be generated: {error.message}") from None
        return {"path": f"{self._public_url}/images/{name}", "description": arguments["prompt"]}

    async def _generate(self, arguments: Mapping[str, Json]) -> bytes:
        target, outgoing = self._write_request(arguments)
        answers = request_stream(outgoing, _read_whole, target, self._client, CallRecord())
        async with aclosing(answers):
            raw = await anext(answers)
        if raw[:16].lstrip()[:1] != b"{":
            return raw  # the image itself
        try:
            found = _find_image(loads(raw))
        except ValueError:
            found = b""
        if isinstance(found, bytes) and found:
            return found
        if isinstance(found, str):
            fetched = await self._fetcher.fetch(found, _is_image, max_bytes=_MAX_BYTES)
            return fetched.body
        raise ToolFailed("The image could not be generated: the response contains no image.")

    def _write_request(self, arguments: Mapping[str, Json]) -> tuple[Target, EngineRequest]:
        target, chosen = self._target, {name: value for name, value in arguments.items() if name != "prompt"}
        if self._options is not _HUGGINGFACE:
            body = {
                "model": target.model,
                "prompt": arguments["prompt"],
                "n": 1,
                **self._options.fixed_fields,
                **chosen,
            }
            return target, EngineRequest(path=images.PATH, body=body)
        engine = replace(target.engine, base_url=target.engine.base_url.removesuffix("/v1"))
        inputs: dict[str, Json] = {"inputs": arguments["prompt"], **({"parameters": chosen} if chosen else {})}
        path = f"{_HF_PATH}/models/{quote_url_part(target.model, '/')}"
        headers = {"accept": "image/png, image/jpeg;q=0.9, application/json;q=0.8"}
        return replace(target, engine=engine), EngineRequest(path=path, body=inputs, headers=headers)


async def _read_whole(reply: HttpResponse) -> AsyncGenerator[bytes, None]:
    yield await reply.read(_MAX_BYTES)


def _find_options(target: Target) -> ImageOptions:
    if target.engine.image_tool == "text-to-image":
        return _HUGGINGFACE
    return next(wire for pattern, wire in _OPENAI if fnmatchcase(target.model, pattern))


def _find_image(answer: Any) -> bytes | str:
    """Returns the bytes of an image or its URL, from ``{"data": [{"b64_json" or "url"}]}`` or ``{"output": [url]}``."""
    match answer:
        case {"data": [{"b64_json": str(text)}, *_]}:
            return _decode_base64(text)
        case {"data": [{"url": str(url)}, *_]} | {"output": [str(url), *_] | str(url)}:
            head, comma, text = url.partition(";base64,")
            return _decode_base64(text) if comma and head.startswith("data:") else url
    return b""


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""


def _is_image(content_type: str) -> bool:
    """Accepts types of images and unknown ones; the image store checks the bytes."""
    return content_type.startswith("image/") or content_type in ("", "application/octet-stream", "binary/octet-stream")
