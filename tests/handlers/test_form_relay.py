"""Forms that are passed on as they came: image edits and variations, translations of audio; and moderations."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import openai
import pytest
from openai import AsyncOpenAI
from tornado.httputil import parse_multipart_form_data

from tests.support.field_cases import field_case
from tests.support.harness import CLIENT_ID, Client, Connection, Request, Upstream, make_config, run_server
from tests.support.recordings import recordings

PICTURE: Final = bytes(range(256)) * 8192  # 2 MB: kept in a file
PICTURES: Final = {"created": 1, "data": [{"b64_json": "AAAA", "x_inner": [1]}], "usage": {"total_tokens": 7}}
BOUNDARY: Final = "form-of-the-test"


async def script(request: Request, connection: Connection) -> None:
    if "translations" in request.path:
        await connection.respond({"text": "Good day"})
    elif "moderations" in request.path:
        await connection.respond({"id": "modr-1", "model": "m", "results": []})
    else:
        await connection.respond(PICTURES)


@asynccontextmanager
async def running(answers: Any = script, **more: str) -> AsyncIterator[tuple[AsyncOpenAI, Upstream, Client]]:
    async with Upstream(answers).run() as upstream:
        environ = {"OPENAI_API_KEY": "sk-canary-openai-1234", "OPENAI_BASE_URL": f"{upstream.url}/v1"}
        environ |= {
            "MISTRALAI_API_KEY": "sk-canary-mistral-1234",
            "MISTRALAI_BASE_URL": upstream.url,
            "MAX_RETRIES": "0",
        }
        environ |= {"ANTHROPIC_API_KEY": "sk-canary-anthropic", "GROQ_API_KEY": "sk-canary-groq-1234"}
        environ |= {"GROQ_BASE_URL": f"{upstream.url}/groq", **more}
        async with run_server(make_config(**environ)) as server:
            async with AsyncOpenAI(api_key=CLIENT_ID, base_url=f"{server.url}/v1", max_retries=0) as client:
                yield client, upstream, server


def read_form(request: Request) -> tuple[dict[str, list[bytes]], dict[str, list[Any]]]:
    boundary = request.headers["Content-Type"].partition("boundary=")[2].strip('"')
    texts: dict[str, list[bytes]] = {}
    files: dict[str, list[Any]] = {}
    parse_multipart_form_data(boundary.encode(), request.body, texts, files)
    return texts, files


def make_form(*fields: tuple[str, bytes], file: bytes = PICTURE) -> bytes:
    """Returns a form with a file between its first field and the others."""
    parts = [(f'name="{name}"', value) for name, value in fields]
    parts.insert(1, ('name="image[]"; filename="a.png"\r\nContent-Type: image/png', file))
    lines = [f"--{BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + v for head, v in parts]
    return b"\r\n".join([*lines, f"--{BOUNDARY}--\r\n".encode()])


FORM: Final = {"Authorization": f"Bearer {CLIENT_ID}", "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


async def test_gw_14_images_are_edited() -> None:
    assert field_case("gw-14")["endpoint"] == "/v1/images/edits"
    async with running() as (client, upstream, _):
        made = await client.images.edit(model="openai/gpt-image-2", image=[("a.png", PICTURE)], prompt="A red hat")
        assert made.data is not None and made.data[0].b64_json == "AAAA"
    [sent] = upstream.requests
    texts, files = read_form(sent)
    assert sent.path == "/v1/images/edits" and sent.headers["Authorization"] == "Bearer sk-canary-openai-1234"
    assert texts["model"] == [b"gpt-image-2"] and texts["prompt"] == [b"A red hat"]
    [[file]] = files.values()
    assert file.body == PICTURE and file.filename == "a.png"


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # by the newest package
async def test_gw_14_audio_is_translated() -> None:
    async with running() as (client, upstream, _):
        for engine, path in (("openai", "/v1/audio/translations"), ("groq", "/groq/audio/translations")):
            made = await client.audio.translations.create(model=f"{engine}/whisper-1", file=("a.mp3", PICTURE))
            assert made.text == "Good day"
            assert upstream.requests[-1].path == path
            texts, files = read_form(upstream.requests[-1])
            assert texts["model"] == [b"whisper-1"] and files["file"][0].body == PICTURE
        with pytest.raises(openai.BadRequestError, match="MistralAI has no translation API"):
            await client.audio.translations.create(model="mistralai/voxtral", file=("a.mp3", b"x"))


async def test_gw_14_only_the_model_of_a_form_changes() -> None:
    fields = (
        ("prompt", b"A \xff hat"),
        ("model", b"openai/m"),
        ("n", b"1"),
        ("n", b"2"),
        ("openaiKey", b"sk-own-key-12345"),
    )
    async with running() as (_, upstream, server):
        for path in ("/v1/images/edits", "/v1/images/variations"):
            answer = await server.request("POST", path, make_form(*fields), FORM)
            assert await answer.json() == PICTURES
    for sent in upstream.requests:
        assert sent.body == make_form(*fields[:1], ("model", b"m"), *fields[2:4])
        assert sent.headers["Authorization"] == "Bearer sk-own-key-12345"
        assert sent.headers["Content-Type"] == FORM["Content-Type"]


async def test_gw_14_images_are_edited_by_json() -> None:
    body = {"model": "openai/m", "prompt": "A hat", "images": [{"file_id": "file-1"}]}
    async with running() as (_, upstream, server):
        assert await (await server.post("/v1/images/edits", body)).json() == PICTURES
    assert upstream.requests[0].json == {**body, "model": "m"}


async def test_gw_14_an_edited_image_is_streamed() -> None:
    events = b'event: image_edit.partial_image\ndata: {"b64_json": "AA"}\n\n'

    async def stream(request: Request, connection: Connection) -> None:
        await connection.stream()
        await connection.chunk(events)
        await connection.end()

    async with running(stream) as (_, _upstream, server):
        form = make_form(("model", b"openai/m"), ("prompt", b"x"), ("stream", b"true"))
        answer = await server.request("POST", "/v1/images/edits", form, FORM)
        assert answer.headers["Content-Type"] == "text/event-stream" and await answer.body() == events


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (make_form(("prompt", b"x")), "model"), (make_form(("model", b"m")), "model"), (b"no form at all", "body"),
        (make_form(("model", b"openai/m"))[:-30], "body"), (make_form(("model", b"anthropic/m")), "model"),
        (b"", "body"),
    ],
    ids=["no model", "no engine", "no form", "cut", "no images", "empty"],
)  # fmt: skip
async def test_gw_14_a_form_that_cannot_be_passed_on_is_refused(body: bytes, param: str) -> None:
    async with running() as (_, upstream, server):
        answer = await server.request("POST", "/v1/images/edits", body, FORM)
        error = (await answer.json())["error"]
        assert answer.status in (400, 404) and error["param"] == param
        assert not upstream.requests


async def test_an_upload_is_limited_by_settings_of_its_own() -> None:
    body = make_form(("model", b"openai/m"), file=b"x" * 3_000_000)
    async with running(MAX_BODY_SIZE="1MB", MAX_UPLOAD_SIZE="4MB") as (_, upstream, server):
        assert (await server.request("POST", "/v1/images/edits", body, FORM)).status == 200
        assert read_form(upstream.requests[0])[1]["image[]"][0].body == b"x" * 3_000_000
        large = make_form(("model", b"openai/m"), file=b"x" * 5_000_000)
        refused = await server.request("POST", "/v1/images/edits", large, FORM)
        assert refused.status == 413 and "MAX_UPLOAD_SIZE" in (await refused.body()).decode()
        own = {"Content-Type": FORM["Content-Type"], "X-Openai-Key": "sk-own-key-12345"}
        assert (await server.request("POST", "/v1/images/edits", body, own)).status == 413
        assert server.server.context.upload_budget.reserved == server.server.context.body_budget.reserved == 0
    async with running(MAX_KEPT_UPLOADS="2MB") as (_, upstream, server):
        refused = await server.request("POST", "/v1/images/edits", body, FORM)
        assert refused.status == 429 and "MAX_KEPT_UPLOADS" in (await refused.body()).decode()


async def test_a_slow_engine_slows_no_other_request_and_gets_the_whole_form() -> None:
    """More than sockets hold is taken by the engine piece by piece."""
    read = asyncio.Event()

    async def wait(request: Request, connection: Connection) -> None:
        read.set()
        await connection.respond(PICTURES)

    file = b"y" * 20_000_000
    async with running(wait) as (_, upstream, server):
        form = make_form(("model", b"openai/m"), file=file)
        answer = await server.request("POST", "/v1/images/edits", form, FORM)
        assert answer.status == 200 and read.is_set()
    assert len(read_form(upstream.requests[0])[1]["image[]"][0].body) == len(file)


async def test_texts_are_judged() -> None:
    async with running() as (client, upstream, server):
        made = await client.moderations.create(model="openai/omni-moderation-latest", input=["a", "b"])
        assert made.id == "modr-1"
        await client.moderations.create(input="a")  # the engine's default model
        got = await server.post("/v1/moderations", {"model": "mistralai/mistral-moderation-latest", "input": "x"})
        assert got.status == 200
        with pytest.raises(openai.BadRequestError, match="Groq has no moderation API"):
            await client.moderations.create(model="groq/m", input="a")
    first, second, third = upstream.requests
    assert first.json == {"input": ["a", "b"], "model": "omni-moderation-latest"} and second.json == {"input": "a"}
    assert {first.path, second.path, third.path} == {"/v1/moderations"}
    assert third.json == {"input": "x", "model": "mistral-moderation-latest"}


async def test_recorded_moderations_are_passed_on_to_the_byte() -> None:
    count = 0
    for recording in recordings():
        sent, got = recording.exchanges[0]
        if recording.api != "moderation" or sent.path != "/v1/moderations":
            continue

        async def answer(request: Request, connection: Connection, whole: Any = got) -> None:
            await connection.respond(whole.body, whole.status)

        async with running(answer) as (_, upstream, server):
            body = {**sent.body, **({"model": f"openai/{sent.body['model']}"} if "model" in sent.body else {})}
            reply = await server.post("/v1/moderations", body)
            if got.status == 200:
                assert await reply.body() == got.body
            else:
                assert reply.status == 502 and "OPENAI_API_KEY" in (await reply.body()).decode()
            assert json.loads(upstream.requests[0].body) == sent.body
        count += 1
    assert count >= 4
