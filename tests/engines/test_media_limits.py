"""Attachments: what is taken, in which form, and the clear 400 for what an engine would refuse."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from llm.engines.media_limits import image_type
from llm.engines.records import ENGINES
from tests.support.harness import CLIENT, Upstream, config, serving
from tests.support.scripted import answering
from tests.support.wires import WIRES

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 16
JPEG = b"\xff\xd8\xff\xe0" + b"\0" * 16
GIF = b"GIF89a" + b"\0" * 16
WEBP = b"RIFF\x10\0\0\0WEBPVP8 " + b"\0" * 16
PDF = b"%PDF-1.4\n%%EOF"
MB = 1024 * 1024


def given(mime: str, contents: bytes | str) -> dict[str, str]:
    raw = contents if isinstance(contents, str) else base64.b64encode(contents).decode()
    return {"mimeType": mime, "contents": raw}


def environ(engine: str, upstream: Upstream) -> dict[str, str]:
    path = "" if engine in ("anthropic", "google", "ollama", "mistralai") else "/v1"
    local = ENGINES[engine].local
    key = {f"{engine.upper()}_ENABLED": "true"} if local else {f"{engine.upper()}_API_KEY": f"sk-canary-{engine}"}
    return {f"{engine.upper()}_BASE_URL": upstream.url + path, **key}


async def asked(engine: str, **body: Any) -> tuple[int, dict[str, Any], Upstream]:
    """What the native API answers, and the upstream that was asked or not."""
    wire = WIRES[engine if engine in WIRES else "openai"]
    upstream = Upstream(answering(wire))
    async with upstream.running(), serving(config(**environ(engine, upstream))) as server:
        whole = {"engine": engine, "model": "m", "prompt": "Look", "stream": False, "tools": False, **body}
        answer = await server.post("/llm/chat", whole, CLIENT)
        return answer.status, await answer.json(), upstream


@pytest.mark.parametrize(
    ("mime", "contents"), [("image/png", PNG), ("image/jpeg", JPEG), ("image/gif", GIF), ("image/webp", WEBP)]
)
def test_a_picture_s_type_is_that_of_its_bytes(mime: str, contents: bytes) -> None:
    assert image_type(base64.b64encode(contents).decode()) == mime


@pytest.mark.parametrize("contents", ["", "A", "AAAA", base64.b64encode(b"<svg>").decode()])
def test_what_is_no_known_picture_has_no_type(contents: str) -> None:
    assert image_type(contents) is None


async def test_a_picture_under_another_type_s_name_is_sent_as_what_it_is() -> None:
    status, _, upstream = await asked("openai", attachment=given("image/png", JPEG))
    assert status == 200
    [part] = [p for p in upstream.requests[0].json["messages"][-1]["content"] if p["type"] == "image_url"]
    assert part["image_url"]["url"].startswith("data:image/jpeg;base64,")


async def test_several_attachments_go_along_in_their_order_in_history_too() -> None:
    history = [
        {"role": "user", "content": "First", "attachments": [given("image/png", PNG), given("text/csv", "a,b")]},
        {"role": "assistant", "content": "Seen."},
    ]
    more = [given("IMAGE/JPG", JPEG), given("text/markdown; charset=utf-8", "# Head"), given("application/pdf", PDF)]
    status, _, upstream = await asked("openai", messages=history, attachments=more)
    assert status == 200
    sent = upstream.requests[0].json["messages"]
    assert [part["type"] for part in sent[1]["content"]] == ["text", "image_url", "text"]
    assert [part["type"] for part in sent[-1]["content"]] == ["text", "image_url", "text", "file"]
    assert sent[-1]["content"][2]["text"].endswith("# Head")


async def test_text_in_base64_is_decoded_or_refused() -> None:
    coded = "data:text/plain;base64," + base64.b64encode("Grüße".encode()).decode()
    status, _, upstream = await asked("openai", attachment={"mimeType": "text/plain", "contents": coded})
    assert status == 200
    assert "Grüße" in str(upstream.requests[0].json["messages"][-1]["content"])
    latin = "data:text/plain;base64," + base64.b64encode("Grüße".encode("latin-1")).decode()
    status, error, upstream = await asked("openai", attachment={"mimeType": "text/plain", "contents": latin})
    assert (status, error["param"], upstream.requests) == (400, "attachment.contents", [])


REFUSED: list[tuple[str, str, bytes]] = [
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


@pytest.mark.parametrize(("engine", "mime", "contents"), REFUSED)
async def test_what_an_engine_does_not_take_is_a_400_before_it_is_asked(
    engine: str, mime: str, contents: bytes
) -> None:
    status, error, upstream = await asked(engine, attachments=[given("text/plain", "a"), given(mime, contents)])
    assert (status, error["code"], upstream.requests) == (400, "unsupported", [])
    assert mime in error["error"] and ENGINES[engine].label in error["error"]
    assert "messages[0], attachment 1" in error["error"]


@pytest.mark.parametrize("engine", ["openai", "anthropic", "google", "openrouter", "mistralai"])
async def test_a_pdf_goes_natively_where_it_is_taken(engine: str) -> None:
    status, answer, upstream = await asked(engine, attachment=given("application/pdf", PDF))
    assert status == 200, answer
    assert base64.b64encode(PDF).decode() in upstream.requests[0].body.decode()


@pytest.mark.parametrize(("engine", "most"), [("anthropic", 5 * MB), ("xai", 20 * MB), ("groq", 3 * MB)])
async def test_a_picture_may_be_as_large_as_the_engine_says_and_no_larger(engine: str, most: int) -> None:
    for size, status in ((most, 200), (most + 3, 400)):
        got, answer, upstream = await asked(engine, attachment=given("image/png", PNG + b"\0" * (size - len(PNG))))
        assert got == status, answer
        assert len(upstream.requests) == (status == 200)
        if status == 400:
            assert f"{most // MB} MB" in answer["error"]


@pytest.mark.parametrize(("engine", "most"), [("anthropic", 100), ("groq", 5)])
async def test_so_many_pictures_and_no_more(engine: str, most: int) -> None:
    one = given("image/png", PNG)
    history = [
        {"role": "user", "content": "x", "attachments": [one] * (most - 1)},
        {"role": "assistant", "content": "y"},
    ]
    status, answer, _ = await asked(engine, messages=history, attachment=one)
    assert status == 200, answer
    status, answer, upstream = await asked(engine, messages=history, attachments=[one, one])
    assert (status, answer["code"], upstream.requests) == (400, "unsupported", [])
    assert f"{most + 1} images" in answer["error"]


async def test_clients_of_other_apis_are_told_in_their_own_words() -> None:
    wire = WIRES["google"]
    content = [{"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lGODlh"}}]
    upstream = Upstream(answering(wire))
    async with upstream.running(), serving(config(**wire.environ(upstream))) as server:
        body = {"model": "google/m", "messages": [{"role": "user", "content": content}]}
        answer = await server.post("/v1/chat/completions", body, CLIENT)
        error = (await answer.json())["error"]
    assert (answer.status, error["code"], error["param"], upstream.requests) == (400, "unsupported", "messages", [])
