"""The image tool against a server on loopback."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from llm.tools.base import ToolFailed
from tests.support.harness import Connection, Request, Upstream
from tests.support.tool_server import PNG, run_tools

# --- images ---


async def generate(
    tmp_path: Path, whole: Any, arguments: dict[str, Any] | None = None, /, **environ: str
) -> tuple[Any, list[Request]]:
    async def script(request: Request, connection: Connection) -> None:
        if request.path == "/made.png":
            await connection.respond(PNG, content_type="image/png")
            return
        status, body = whole if isinstance(whole, tuple) else (200, whole)
        body = json.dumps(body).replace("{url}", upstream.url) if isinstance(body, dict) else body
        await connection.respond(body, status)

    async with Upstream(script).run() as upstream, run_tools(upstream.port, tmp_path, **environ) as made:
        try:
            result = await made["image_generation"]({"prompt": "a cat", **(arguments or {})})
        except ToolFailed as failed:
            result = str(failed)
    return result, upstream.requests


HF = {
    "IMAGE_ENGINE": "huggingface",
    "IMAGE_MODEL": "black-forest-labs/FLUX.1-schnell",
    "HUGGINGFACE_API_KEY": "hf_image",
}
IN_BASE64 = {"data": [{"b64_json": base64.b64encode(PNG).decode()}]}


def load_image(tmp_path: Path, result: Any) -> bytes:
    name: str = result["path"].rpartition("/")[2]
    return (tmp_path / name).read_bytes()


@pytest.mark.parametrize(
    ("model", "arguments", "body"),
    [
        ("gpt-image-1", {"size": "1536x1024", "quality": "low"}, {"size": "1536x1024", "quality": "low"}),
        ("dall-e-3", {"style": "natural"}, {"style": "natural", "response_format": "b64_json"}),
        ("dall-e-2", {"size": "256x256"}, {"size": "256x256", "response_format": "b64_json"}),
    ],
)
async def test_an_image_is_generated_and_stored(
    tmp_path: Path, model: str, arguments: dict[str, Any], body: dict[str, Any]
) -> None:
    result, requests = await generate(tmp_path, IN_BASE64, arguments, IMAGE_MODEL=model)
    assert (
        result["path"].startswith("/images/") and result["path"].endswith(".png") and result["description"] == "a cat"
    )
    assert load_image(tmp_path, result) == PNG
    assert requests[0].path == "/v1/images/generations" and requests[0].headers["Authorization"] == "Bearer sk-image"
    assert requests[0].json == {"model": model, "prompt": "a cat", "n": 1, **body}


async def test_an_image_of_hugging_face_is_generated_and_stored(tmp_path: Path) -> None:
    result, requests = await generate(
        tmp_path, PNG, {"width": 512, "height": 256}, PUBLIC_URL="https://llm.example.org/", **HF
    )
    assert result["path"].startswith("https://llm.example.org/images/") and load_image(tmp_path, result) == PNG
    assert requests[0].path == "/hf-inference/models/black-forest-labs/FLUX.1-schnell"
    assert requests[0].headers["Authorization"] == "Bearer hf_image"
    assert requests[0].json == {"inputs": "a cat", "parameters": {"width": 512, "height": 256}}


@pytest.mark.parametrize(
    "answer",
    [IN_BASE64, {"data": [{"url": "{url}/made.png"}]}, {"output": ["{url}/made.png"]}, {"output": "{url}/made.png"},
     {"output": ["data:image/png;base64," + base64.b64encode(PNG).decode()]}],
)  # fmt: skip
async def test_all_forms_of_an_image_response_are_read(tmp_path: Path, answer: Any) -> None:
    result, _ = await generate(tmp_path, answer, **HF)
    assert load_image(tmp_path, result) == PNG


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            (400, {"error": {"message": "No, not with sk-image.", "code": "content_policy_violation"}}),
            r"No, not with \*\*\*\.",
        ),
        ((401, {"error": {"message": "bad key"}}), "bad key"),
        ((503, {"error": "Model is loading"}), "loading"),
        ({"data": []}, "contains no image"),
        ({"data": [{"b64_json": "!"}]}, "contains no image"),
        ({"data": [{"url": "http://169.254.169.254/x"}]}, "is not public"),
        (b"<html>no image</html>", "not a png, jpeg, webp or gif"),
        (b"{broken", "contains no image"),
    ],
)
async def test_a_failed_generation_reports_the_reason(tmp_path: Path, answer: Any, reason: str) -> None:
    result, _ = await generate(tmp_path, answer)
    assert isinstance(result, str)
    with pytest.raises(ToolFailed, match=reason):
        raise ToolFailed(result)
    assert "sk-image" not in result and not [*tmp_path.iterdir()]


async def test_a_failing_disk_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    result, _ = await generate(tmp_path / "file", IN_BASE64)
    assert result == "The image was generated, but this server could not store it."
