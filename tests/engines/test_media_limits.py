"""Attachments: which ones engines accept, how they are sent, and the 400 for those that an engine would reject."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from llm.chat.messages import Media, Message
from llm.chat.request import ChatRequest
from llm.engines.media_limits import correct_image_types, detect_image_type
from llm.engines.records import ENGINES
from tests.support.crossed_requests import cross
from tests.support.field_cases import field_case
from tests.support.harness import CLIENT, Upstream, make_config, run_server
from tests.support.scripted import make_text_script
from tests.support.wires import WIRES

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 16
JPEG = b"\xff\xd8\xff\xe0" + b"\0" * 16
GIF = b"GIF89a" + b"\0" * 16
WEBP = b"RIFF\x10\0\0\0WEBPVP8 " + b"\0" * 16
PDF = b"%PDF-1.4\n%%EOF"
MB = 1024 * 1024


def attachment(mime: str, contents: bytes | str) -> dict[str, str]:
    raw = contents if isinstance(contents, str) else base64.b64encode(contents).decode()
    return {"mimeType": mime, "contents": raw}


def environ(engine: str, upstream: Upstream) -> dict[str, str]:
    path = "" if engine in ("anthropic", "google", "ollama", "mistralai") else "/v1"
    local = ENGINES[engine].local
    key = {f"{engine.upper()}_ENABLED": "true"} if local else {f"{engine.upper()}_API_KEY": f"sk-canary-{engine}"}
    return {f"{engine.upper()}_BASE_URL": upstream.url + path, **key}


async def send_chat(engine: str, **body: Any) -> tuple[int, dict[str, Any], Upstream]:
    """Sends a chat to the native API; returns its status, its body and the upstream, which may have got no request."""
    wire = WIRES[engine if engine in WIRES else "openai"]
    upstream = Upstream(make_text_script(wire))
    async with upstream.run(), run_server(make_config(**environ(engine, upstream))) as server:
        whole = {"engine": engine, "model": "m", "prompt": "Look", "stream": False, "tools": False, **body}
        answer = await server.post("/llm/chat", whole, CLIENT)
        return answer.status, await answer.json(), upstream


@pytest.mark.parametrize(
    ("mime", "contents"), [("image/png", PNG), ("image/jpeg", JPEG), ("image/gif", GIF), ("image/webp", WEBP)]
)
def test_the_type_of_an_image_comes_from_its_bytes(mime: str, contents: bytes) -> None:
    assert detect_image_type(base64.b64encode(contents).decode()) == mime


@pytest.mark.parametrize("contents", ["", "A", "AAAA", base64.b64encode(b"<svg>").decode()])
def test_unknown_image_bytes_have_no_type(contents: str) -> None:
    assert detect_image_type(contents) is None


async def test_a_wrong_image_type_is_corrected() -> None:
    status, _, upstream = await send_chat("openai", attachment=attachment("image/png", JPEG))
    assert status == 200
    [part] = [p for p in upstream.requests[0].json["messages"][-1]["content"] if p["type"] == "image_url"]
    assert part["image_url"]["url"].startswith("data:image/jpeg;base64,")


async def test_several_attachments_are_sent_in_order_in_history_too() -> None:
    history = [
        {
            "role": "user",
            "content": "First",
            "attachments": [attachment("image/png", PNG), attachment("text/csv", "a,b")],
        },
        {"role": "assistant", "content": "Seen."},
    ]
    more = [
        attachment("IMAGE/JPG", JPEG),
        attachment("text/markdown; charset=utf-8", "# Head"),
        attachment("application/pdf", PDF),
    ]
    status, _, upstream = await send_chat("openai", messages=history, attachments=more)
    assert status == 200
    sent = upstream.requests[0].json["messages"]
    assert [part["type"] for part in sent[1]["content"]] == ["text", "image_url", "text"]
    assert [part["type"] for part in sent[-1]["content"]] == ["text", "image_url", "text", "file"]
    assert sent[-1]["content"][2]["text"].endswith("# Head")


async def test_text_in_base64_is_decoded_or_refused() -> None:
    coded = "data:text/plain;base64," + base64.b64encode("Grüße".encode()).decode()
    status, _, upstream = await send_chat("openai", attachment={"mimeType": "text/plain", "contents": coded})
    assert status == 200
    assert "Grüße" in str(upstream.requests[0].json["messages"][-1]["content"])
    latin = "data:text/plain;base64," + base64.b64encode("Grüße".encode("latin-1")).decode()
    status, error, upstream = await send_chat("openai", attachment={"mimeType": "text/plain", "contents": latin})
    assert (status, error["param"], upstream.requests) == (400, "attachment.contents", [])


UNSUPPORTED: list[tuple[str, str, bytes]] = [
    ("openai", "image/bmp", b"BM"),
    ("openai", "video/mp4", b"\0"),
    ("openai", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", b"PK"),
    ("anthropic", "image/svg+xml", b"<svg>"),
    ("anthropic", "audio/mpeg", b"\0"),
    ("google", "image/gif", GIF),
    ("groq", "application/pdf", PDF),
    ("xai", "image/webp", WEBP),
    ("deepseek", "image/png", PNG),
    ("cerebras", "application/pdf", PDF),
    ("together", "application/pdf", PDF),
    ("huggingface", "application/pdf", PDF),
    ("meta", "application/pdf", PDF),
    ("lmstudio", "application/pdf", PDF),
    ("ollama", "application/pdf", PDF),
]


@pytest.mark.parametrize(("engine", "mime", "contents"), UNSUPPORTED)
async def test_an_unsupported_type_is_a_400_without_a_request(engine: str, mime: str, contents: bytes) -> None:
    status, error, upstream = await send_chat(
        engine, attachments=[attachment("text/plain", "a"), attachment(mime, contents)]
    )
    assert (status, error["code"], upstream.requests) == (400, "unsupported", [])
    assert mime in error["error"] and ENGINES[engine].label in error["error"]
    assert "messages[0], attachment 1" in error["error"]


@pytest.mark.parametrize("engine", ["openai", "anthropic", "google", "openrouter", "mistralai"])
async def test_a_pdf_is_sent_as_a_pdf_where_supported(engine: str) -> None:
    status, answer, upstream = await send_chat(engine, attachment=attachment("application/pdf", PDF))
    assert status == 200, answer
    assert base64.b64encode(PDF).decode() in upstream.requests[0].body.decode()


@pytest.mark.parametrize(("engine", "limit"), [("anthropic", 5 * MB), ("xai", 20 * MB), ("groq", 3 * MB)])
async def test_an_image_beyond_the_engine_s_size_limit_is_refused(engine: str, limit: int) -> None:
    for size, status in ((limit, 200), (limit + 3, 400)):
        got, answer, upstream = await send_chat(
            engine, attachment=attachment("image/png", PNG + b"\0" * (size - len(PNG)))
        )
        assert got == status, answer
        assert len(upstream.requests) == (status == 200)
        if status == 400:
            assert f"{limit // MB} MB" in answer["error"]


@pytest.mark.parametrize(("engine", "limit"), [("anthropic", 100), ("groq", 5)])
async def test_images_beyond_the_engine_s_number_are_refused(engine: str, limit: int) -> None:
    one = attachment("image/png", PNG)
    history = [
        {"role": "user", "content": "x", "attachments": [one] * (limit - 1)},
        {"role": "assistant", "content": "y"},
    ]
    status, answer, _ = await send_chat(engine, messages=history, attachment=one)
    assert status == 200, answer
    status, answer, upstream = await send_chat(engine, messages=history, attachments=[one, one])
    assert (status, answer["code"], upstream.requests) == (400, "unsupported", [])
    assert f"{limit + 1} images" in answer["error"]


async def test_clients_of_other_apis_get_the_error_in_their_format() -> None:
    wire = WIRES["google"]
    content = [{"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lGODlh"}}]
    upstream = Upstream(make_text_script(wire))
    async with upstream.run(), run_server(make_config(**wire.environ(upstream))) as server:
        body = {"model": "google/m", "messages": [{"role": "user", "content": content}]}
        answer = await server.post("/v1/chat/completions", body, CLIENT)
        error = (await answer.json())["error"]
    assert (answer.status, error["code"], error["param"], upstream.requests) == (400, "unsupported", "messages", [])


# --- a picture under a wrong type ---

PICTURES = {"image/png": PNG, "image/jpeg": JPEG, "image/gif": GIF, "image/webp": WEBP}
ENGINE_MODELS = [
    "anthropic/claude-opus-4-8",
    "google/gemini-3.5-flash",
    "mistralai/m",
    "openai/gpt-6-sol",
    "responses/m",
]


def send_picture(path: str, model: str, mime: str, data: str) -> str:
    """Returns the engine's request as text, for a picture in a message and in the result of a tool."""
    url = f"data:{mime};base64,{data}"
    body: dict[str, Any] = {"model": model, "max_tokens": 100, "stream": False}
    match path:
        case "/v1/chat/completions":
            tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
            content = [{"type": "image_url", "image_url": {"url": url}}]
            body |= {"tools": [tool], "messages": [{"role": "user", "content": content}]}
        case "/v1/responses":
            result = {
                "type": "function_call_output",
                "call_id": "c",
                "output": [{"type": "input_image", "image_url": url}],
            }
            call: dict[str, Any] = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
            body |= {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": url}]}, call, result]}
            del body["max_tokens"]
        case "/v1/messages":
            block = {"type": "image", "source": {"type": "base64", "media_type": mime, "data": data}}
            call = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
            result = {"type": "tool_result", "tool_use_id": "c", "content": [block]}
            body["messages"] = [
                {"role": "user", "content": [block]},
                {"role": "assistant", "content": [call]},
                {"role": "user", "content": [result]},
            ]
    out = cross(path, body)
    return "" if out.verbatim else json.dumps(out.body)


def test_gw_23_the_engine_gets_the_true_type_of_a_picture() -> None:
    body = field_case("gw-23")["request"]
    sent = json.dumps(cross("/v1/chat/completions", body).body)
    assert '"image/jpeg"' in sent and "image/jpg" not in sent


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
@pytest.mark.parametrize("model", ENGINE_MODELS)
def test_a_picture_is_sent_as_what_its_bytes_are(model: str, path: str) -> None:
    labels = (*PICTURES, "image/jpg", "image/pjpeg")
    for mime, raw in PICTURES.items():
        if mime == "image/gif" and model.startswith("google"):
            continue  # not accepted
        for label in labels:
            sent = send_picture(path, model, label, base64.b64encode(raw).decode())
            wrong = [other for other in labels if other != mime and f"{other}" in sent]
            assert not sent or (mime in sent and not wrong), (mime, label)


def test_a_picture_without_a_type_is_found_and_an_unknown_one_keeps_its_own() -> None:
    data = base64.b64encode(PNG).decode()
    assert "image/png" in send_picture("/v1/chat/completions", "google/m", "application/octet-stream", data)
    other = base64.b64encode(b"\0\0\0\x18ftypheic").decode()
    request = ChatRequest(model="m", messages=(Message("user", (Media(mime="image/heic", base64=other),)),))
    assert correct_image_types(request) is request


async def test_gw_23_over_http() -> None:
    status, answer, upstream = await send_chat(
        "anthropic", attachment=attachment("image/jpg", PNG), model="claude-opus-4-8", prompt="x"
    )
    assert status == 200, answer
    assert b"image/png" in upstream.requests[0].body and b"image/jpg" not in upstream.requests[0].body
