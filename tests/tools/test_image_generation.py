"""The image tool against a server on loopback."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from llm.tools.base import ToolFailed
from tests.support.harness import Connection, Request, Upstream
from tests.support.tool_server import PNG, tools

# --- images ---


async def painted(
    tmp_path: Path, whole: Any, arguments: dict[str, Any] | None = None, /, **environ: str
) -> tuple[Any, list[Request]]:
    async def script(request: Request, connection: Connection) -> None:
        if request.path == "/made.png":
            await connection.whole(PNG, content_type="image/png")
            return
        status, body = whole if isinstance(whole, tuple) else (200, whole)
        body = json.dumps(body).replace("{url}", upstream.url) if isinstance(body, dict) else body
        await connection.whole(body, status)

    async with Upstream(script).running() as upstream, tools(upstream.port, tmp_path, **environ) as made:
        try:
            told = await made["image_generation"]({"prompt": "a cat", **(arguments or {})})
        except ToolFailed as failed:
            told = str(failed)
    return told, upstream.requests


HF = {
    "IMAGE_ENGINE": "huggingface",
    "IMAGE_MODEL": "black-forest-labs/FLUX.1-schnell",
    "HUGGINGFACE_API_KEY": "hf_image",
}
IN_BASE64 = {"data": [{"b64_json": base64.b64encode(PNG).decode()}]}


def kept(tmp_path: Path, told: Any) -> bytes:
    name: str = told["path"].rpartition("/")[2]
    return (tmp_path / name).read_bytes()


@pytest.mark.parametrize(
    ("model", "arguments", "body"),
    [
        ("gpt-image-1", {"size": "1536x1024", "quality": "low"}, {"size": "1536x1024", "quality": "low"}),
        ("dall-e-3", {"style": "natural"}, {"style": "natural", "response_format": "b64_json"}),
        ("dall-e-2", {"size": "256x256"}, {"size": "256x256", "response_format": "b64_json"}),
    ],
)
async def test_an_image_is_made_and_kept(
    tmp_path: Path, model: str, arguments: dict[str, Any], body: dict[str, Any]
) -> None:
    told, requests = await painted(tmp_path, IN_BASE64, arguments, IMAGE_MODEL=model)
    assert told["path"].startswith("/images/") and told["path"].endswith(".png") and told["description"] == "a cat"
    assert kept(tmp_path, told) == PNG
    assert requests[0].path == "/v1/images/generations" and requests[0].headers["Authorization"] == "Bearer sk-image"
    assert requests[0].json == {"model": model, "prompt": "a cat", "n": 1, **body}


async def test_an_image_of_the_other_wire_is_made_and_kept(tmp_path: Path) -> None:
    told, requests = await painted(
        tmp_path, PNG, {"width": 512, "height": 256}, PUBLIC_URL="https://llm.example.org/", **HF
    )
    assert told["path"].startswith("https://llm.example.org/images/") and kept(tmp_path, told) == PNG
    assert requests[0].path == "/hf-inference/models/black-forest-labs/FLUX.1-schnell"
    assert requests[0].headers["Authorization"] == "Bearer hf_image"
    assert requests[0].json == {"inputs": "a cat", "parameters": {"width": 512, "height": 256}}


@pytest.mark.parametrize(
    "answer",
    [IN_BASE64, {"data": [{"url": "{url}/made.png"}]}, {"output": ["{url}/made.png"]}, {"output": "{url}/made.png"},
     {"output": ["data:image/png;base64," + base64.b64encode(PNG).decode()]}],
)  # fmt: skip
async def test_an_image_may_come_in_several_forms(tmp_path: Path, answer: Any) -> None:
    told, _ = await painted(tmp_path, answer, **HF)
    assert kept(tmp_path, told) == PNG


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            (400, {"error": {"message": "No, not with sk-image.", "code": "content_policy_violation"}}),
            r"No, not with \*\*\*\.",
        ),
        ((401, {"error": {"message": "bad key"}}), "bad key"),
        ((503, {"error": "Model is loading"}), "loading"),
        ({"data": []}, "holds none"),
        ({"data": [{"b64_json": "!"}]}, "holds none"),
        ({"data": [{"url": "http://169.254.169.254/x"}]}, "is not public"),
        (b"<html>no image</html>", "not a png, jpeg, webp or gif"),
        (b"{broken", "holds none"),
    ],
)
async def test_an_image_that_cannot_be_made_is_told_why(tmp_path: Path, answer: Any, reason: str) -> None:
    told, _ = await painted(tmp_path, answer)
    assert isinstance(told, str)
    with pytest.raises(ToolFailed, match=reason):
        raise ToolFailed(told)
    assert "sk-image" not in told and not [*tmp_path.iterdir()]


async def test_a_disk_that_fails_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    told, _ = await painted(tmp_path / "file", IN_BASE64)
    assert told == "The image was made, but this server could not keep it."
