"""Images, speech and transcripts for OpenAI's clients, used by OpenAI's package."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.support.harness import (
    CLIENT,
    CLIENT_ID,
    Client,
    Connection,
    Request,
    Script,
    Upstream,
    make_config,
    run_server,
)

AUDIO = bytes(range(256)) * 64
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
PICTURES = {"created": 1, "data": [{"b64_json": PNG, "x_inner": [1]}], "usage": {"total_tokens": 7}, "x_new": {"a": 1}}


@asynccontextmanager
async def judged(script: Script) -> AsyncIterator[tuple[AsyncOpenAI, Upstream, Client]]:
    upstream = Upstream(script)
    async with upstream.run():
        environ = {"OPENAI_API_KEY": "sk-server-key", "OPENAI_BASE_URL": f"{upstream.url}/v1", "MAX_RETRIES": "0"}
        environ |= {
            "ANTHROPIC_API_KEY": "sk-other",
            "XAI_API_KEY": "sk-canary-xai",
            "XAI_BASE_URL": f"{upstream.url}/x",
        }
        async with run_server(make_config(**environ)) as server:
            async with AsyncOpenAI(api_key=CLIENT_ID, base_url=f"{server.url}/v1", max_retries=0) as client:
                yield client, upstream, server


async def test_images_are_generated() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(PICTURES, headers={"x-request-id": "there-1"})

    async with judged(script) as (client, upstream, server):
        made = await client.images.generate(model="openai/gpt-image-1", prompt="A cat", size="1024x1024", n=1)
        assert made.data is not None and made.data[0].b64_json == PNG
        body = {"model": "xai/grok-imagine", "prompt": "A fox", "x_top": {"later": [True]}}
        answer = await server.post("/v1/images/generations", body)
        assert await answer.json() == PICTURES  # with all unknown fields (T12)
    first, second = upstream.requests
    assert first.path == "/v1/images/generations" and first.headers["Authorization"] == "Bearer sk-server-key"
    assert first.json == {"model": "gpt-image-1", "prompt": "A cat", "size": "1024x1024", "n": 1}
    assert second.path == "/x/images/generations" and second.json == {**body, "model": "grok-imagine"}


async def test_images_are_streamed_on_request() -> None:
    events = [
        b"event: image_generation.partial_image\ndata: {}\n\n",
        b"event: image_generation.completed\ndata: {}\n\n",
    ]

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream()
        for event in events:
            await connection.chunk(event)
        await connection.end()

    async with judged(script) as (_, _, server):
        body = {"model": "openai/gpt-image-1", "prompt": "A cat", "stream": True}
        answer = await server.post("/v1/images/generations", body)
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert await answer.body() == b"".join(events)


async def test_speech_is_streamed_through() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.stream("audio/wav")
        for start in range(0, len(AUDIO), 4096):
            await connection.chunk(AUDIO[start : start + 4096])
        await connection.end()

    async with judged(script) as (client, upstream, _):
        async with client.audio.speech.with_streaming_response.create(
            model="openai/gpt-4o-mini-tts",
            voice="coral",
            input="Hello",
            response_format="wav",
            speed=1.5,
            extra_body={"x_new": 1},
        ) as spoken:
            assert spoken.headers["content-type"] == "audio/wav"
            assert b"".join([piece async for piece in spoken.iter_bytes()]) == AUDIO
    [request] = upstream.requests
    assert request.json == {
        "model": "gpt-4o-mini-tts",
        "voice": "coral",
        "input": "Hello",
        "response_format": "wav",
        "speed": 1.5,
        "x_new": 1,
    }


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"voice": None, "speed": None},
        {"voice": {"id": "voice_1"}},
        {"response_format": "m4a", "instructions": "Whisper.", "new": {"a": [1]}},
    ],
)
@pytest.mark.parametrize("kind", ["audio/wav", "audio/x-new", "application/octet-stream"])
async def test_a_request_for_speech_is_sent_as_it_is(fields: dict[str, Any], kind: str) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(AUDIO, 200, kind)

    async with judged(script) as (_, upstream, server):
        body = {"model": "openai/gpt-4o-mini-tts", "input": "Hello", **fields}
        answer = await server.post("/v1/audio/speech", body, {"Authorization": f"Bearer {CLIENT_ID}"})
        assert (answer.status, await answer.body()) == (200, AUDIO)
    [request] = upstream.requests
    assert request.json == {**body, "model": "gpt-4o-mini-tts"}


@pytest.mark.parametrize(
    ("format", "content_type", "answer"),
    [
        ("json", "application/json", b'{"text":"Hello","x_new":1}'),
        ("srt", "text/plain; charset=utf-8", b"1\n00:00:00,000 --> 00:00:01,000\nHello\n"),
    ],
)
async def test_audio_is_transcribed_in_the_requested_format(format: Any, content_type: str, answer: bytes) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(answer, content_type=content_type)

    async with judged(script) as (client, upstream, _):
        told = await client.audio.transcriptions.with_raw_response.create(
            model="openai/whisper-1",
            file=("speech.wav", AUDIO, "audio/wav"),
            language="en",
            temperature=0,
            response_format=format,
            timestamp_granularities=["word", "segment"],
            extra_body={"x_new": "1"},
        )
        assert told.content == answer and told.headers["content-type"] == content_type
    form = upstream.requests[0].body
    for name, value in (("model", "whisper-1"), ("language", "en"), ("response_format", format), ("x_new", "1")):
        assert f'name="{name}"\r\n\r\n{value}\r\n'.encode() in form
    assert form.count(b'name="timestamp_granularities[]"') == 2 and AUDIO in form


async def test_errors_are_raised_as_the_right_class() -> None:
    async def script(request: Request, connection: Connection) -> None:
        error = {"error": {"message": "Slow down", "type": "requests", "code": "rate_limit_exceeded"}}
        await connection.respond(error, 429, headers={"retry-after": "7"})

    async with judged(script) as (client, upstream, server):
        with pytest.raises(openai.RateLimitError, match="Slow down") as limited:
            await client.images.generate(model="openai/gpt-image-1", prompt="A cat")
        assert limited.value.response.headers["retry-after"] == "7"
        with pytest.raises(openai.BadRequestError, match="Anthropic has no images API"):
            await client.images.generate(model="anthropic/claude", prompt="A cat")
        with pytest.raises(openai.BadRequestError, match="no speech API"):
            await client.audio.speech.create(model="xai/grok", input="Hi", voice="x")
        with pytest.raises(openai.BadRequestError, match="no transcription API"):
            await client.audio.transcriptions.create(model="xai/grok", file=("a.wav", AUDIO, "audio/wav"))
        with pytest.raises(openai.BadRequestError, match="stream_format"):
            await client.audio.speech.create(model="openai/m", input="Hi", voice="x", stream_format="sse")
        for body, place in (({"model": "openai/m"}, "prompt"), ({"prompt": "x"}, "model"), ({}, "model")):
            answer = await server.post("/v1/images/generations", body)
            assert answer.status == 400 and (await answer.json())["error"]["param"] == place
        answer = await server.post("/v1/audio/transcriptions", {"model": "openai/whisper-1"})
        assert answer.status == 400 and (await answer.json())["error"]["param"] == "file"
        async with AsyncOpenAI(api_key="wrong", base_url=f"{server.url}/v1", max_retries=0) as stranger:
            with pytest.raises(openai.AuthenticationError):
                await stranger.images.generate(model="openai/gpt-image-1", prompt="A cat")
    assert len(upstream.requests) == 1


async def test_a_caller_s_own_key_is_used_and_nothing_of_the_server_s() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(PICTURES)

    async with judged(script) as (_, upstream, server):
        body = {"model": "openai/gpt-image-1", "prompt": "A cat"}
        assert (await server.post("/v1/images/generations", body, {"X-OpenAI-Key": "sk-own-canary"})).status == 200
        body = {"model": "xai/grok-imagine", "prompt": "A cat"}
        assert (await server.post("/v1/images/generations", body, {"X-OpenAI-Key": "sk-own-canary"})).status == 400
    [request] = upstream.requests
    assert request.headers["Authorization"] == "Bearer sk-own-canary"


@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/audio/speech"])
async def test_c1_a_client_that_leaves_ends_the_provider_s_request(path: str) -> None:
    began, left = asyncio.Event(), asyncio.Event()

    async def script(request: Request, connection: Connection) -> None:
        began.set()
        await connection.wait_closed()
        left.set()

    async with judged(script) as (_, _, server):
        body = {"model": "openai/m", "prompt": "A cat", "input": "Hi"}
        async with asyncio.timeout(5):
            answer = await server.send("POST", path, body, CLIENT)
            await began.wait()
            answer.close()
            await left.wait()
