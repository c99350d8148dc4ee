"""Text to speech, streamed through, and speech to text: over real sockets, and against what providers really sent."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPFile, parse_multipart_form_data

from llm import log
from llm.engines.records import ENGINES
from llm.errors import InvalidRequest, LLMError, Malformed
from llm.tasks import speech, transcription
from llm.tasks.speech import FORMATS, SpeechRequest
from llm.tasks.transcription import TranscriptionRequest, Upload
from tests.harness import (
    CLIENT,
    CLIENT_ID,
    Answer,
    Client,
    Connection,
    Request,
    Script,
    Upstream,
    config,
    serving,
    soon,
)
from tests.recordings import Recording, Response, recordings

SERVER_KEY = "sk-server-canary-4711"
OWN_KEY = "sk-own-canary-0815"
SPEAKERS = [engine for engine in ENGINES.values() if engine.speech is not None]
LISTENERS = [engine for engine in ENGINES.values() if engine.transcription is not None]
LIMIT = 0.25  # seconds between the client's leaving and the provider's seeing it (C1)


def environ(upstream: Upstream, *engines: str, **more: str) -> dict[str, str]:
    found = dict(more)
    for engine in engines:
        found |= {f"{engine.upper()}_API_KEY": SERVER_KEY, f"{engine.upper()}_BASE_URL": upstream.url}
    return found


def audio(*chunks: bytes, content_type: str = "audio/mpeg") -> Script:
    async def script(request: Request, connection: Connection) -> None:
        await connection.stream(content_type)
        for chunk in chunks:
            await connection.chunk(chunk)
        await connection.end()

    return script


def says(body: dict[str, Any], status: int = 200, **headers: str) -> Script:
    async def script(request: Request, connection: Connection) -> None:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        await connection.whole(body, status, headers=told)

    return script


# --- text to speech ---


async def test_speech_is_streamed_through_as_it_comes() -> None:
    heard = asyncio.Event()

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream("audio/mpeg", {"x-request-id": "req-up", "x-ratelimit-remaining-requests": "7"})
        await connection.chunk(b"\xff\xf3one")
        async with asyncio.timeout(5):
            await heard.wait()  # the client has the first piece before there is a second
        await connection.chunk(b"two")
        await connection.end()

    async with Upstream(script).running() as upstream, serving(config(**environ(upstream, "openai"))) as server:
        answer = await server.post("/voice/tts", {"text": "Hello"})
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "audio/mpeg"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["x-provider-request-id"] == "req-up"
        assert answer.headers["x-ratelimit-remaining-requests"] == "7"
        pieces = answer.chunks()
        assert await anext(pieces) == b"\xff\xf3one"
        heard.set()
        assert [piece async for piece in pieces] == [b"two"]
    [sent] = upstream.requests
    assert (sent.method, sent.path) == ("POST", "/audio/speech")
    assert sent.headers["Authorization"] == f"Bearer {SERVER_KEY}"
    assert sent.json == {"model": "gpt-4o-mini-tts", "input": "Hello", "voice": "alloy", "response_format": "mp3"}


async def test_speech_takes_what_the_request_names() -> None:
    async with Upstream(audio(b"fLaC", content_type="application/octet-stream")).running() as upstream:
        async with serving(config(**environ(upstream, "openai", "groq"))) as server:
            wanted = {"engine": "openai", "model": "m", "voice": "sage", "format": "flac", "speed": 1.5}
            answer = await server.post(
                "/voice/tts", {"text": "Hello", "instructions": "Whisper.", "pitch": 2, "a\r\nb": 1, **wanted}
            )
            assert (answer.status, await answer.body()) == (200, b"fLaC")
            assert answer.headers["Content-Type"] == "audio/flac"  # the engine told nothing better
            assert answer.headers["X-Dropped-Fields"] == "a??b, pitch"
    assert upstream.requests[0].json == {
        "model": "m",
        "input": "Hello",
        "voice": "sage",
        "response_format": "flac",
        "speed": 1.5,
        "instructions": "Whisper.",
    }


@pytest.mark.parametrize("engine", SPEAKERS, ids=lambda engine: engine.name)
async def test_every_engine_that_speaks_is_asked_in_its_own_words(engine: Any) -> None:
    async with Upstream(audio(b"\0")).running() as upstream:
        async with serving(config(**environ(upstream, engine.name))) as server:
            answer = await server.post("/voice/tts", {"text": "Hi", "engine": engine.name, "model": "some/model"})
            assert (answer.status, await answer.body()) == (200, b"\0")
    sent = upstream.requests[0]
    assert sent.path == f"{engine.path}/audio/speech"
    expected = {"model": "some/model", "input": "Hi", "response_format": engine.speech.formats[engine.speech.format]}
    if engine.speech.voice:
        expected["voice"] = engine.speech.voice
    assert sent.json == expected


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, ("openai", "gpt-4o-mini-tts", "alloy")),
        ({"TTS_ENGINE": "groq"}, ("groq", "canopylabs/orpheus-v1-english", "autumn")),
        ({"TTS_ENGINE": "groq", "TTS_MODEL": "m", "TTS_VOICE": "troy"}, ("groq", "m", "troy")),
        ({"TTS_ENGINE": "azure", "TTS_MODEL": "my-voice", "TTS_VOICE": "coral"}, ("azure", "my-voice", "coral")),
        ({"TTS_ENGINE": "openai", "TTS_MODEL": "next-tts"}, ("openai", "next-tts", "alloy")),
    ],
    ids=["first", "engine", "all", "azure", "model"],
)
async def test_the_owner_chooses_who_speaks(chosen: dict[str, str], expected: tuple[str, str, str]) -> None:
    async with Upstream(audio(b"\0")).running() as upstream:
        own = environ(upstream, **chosen)
        for name in ("groq", "openai", "azure"):
            own |= {f"{name.upper()}_API_KEY": f"key-of-{name}", f"{name.upper()}_BASE_URL": f"{upstream.url}/{name}"}
        async with serving(config(**own)) as server:
            assert (await server.post("/voice/tts", {"text": "Hi"})).status == 200
    [sent] = upstream.requests
    assert (sent.path.split("/")[1], sent.json["model"], sent.json["voice"]) == expected


async def test_a_custom_engine_speaks_when_it_is_named() -> None:
    async with Upstream(audio(b"\0")).running() as upstream:
        own = {"CUSTOM_ENGINES": "kokoro", "KOKORO_BASE_URL": f"{upstream.url}/v1"}
        async with serving(config(**own)) as server:
            answer = await server.post(
                "/voice/tts", {"text": "Hi", "engine": "kokoro", "model": "k", "voice": "af_sky"}
            )
            assert answer.status == 200
            unnamed = await server.post("/voice/tts", {"text": "Hi"})
            assert (unnamed.status, (await unnamed.json())["code"]) == (400, "engine_not_configured")
            assert (await server.post("/voice/tts", {"text": "Hi", "engine": "kokoro"})).status == 400
    assert [sent.path for sent in upstream.requests] == ["/v1/audio/speech"]


@pytest.mark.parametrize("path", ["/voice/tts", "/voice/stt"])
@pytest.mark.parametrize("client_id", [None, "wrong"], ids=["no-id", "wrong-id"])
async def test_a_caller_s_key_for_one_engine_never_spends_the_server_s_key_for_another(
    path: str, client_id: str | None
) -> None:
    """In the older server whoever had a Groq key spoke on the server's OpenAI key."""
    headers = {} if client_id is None else {"X-ClientId": client_id}
    body = {"text": "Hi", "audio": base64.b64encode(b"RIFF").decode(), "mimeType": "audio/wav"}
    async with Upstream(says({"text": "ok"})).running() as upstream:
        async with serving(config(**environ(upstream, "openai", "groq"))) as server:
            nothing = await server.post(path, body, headers)
            assert (nothing.status, (await nothing.json())["code"]) == (401, "unauthorized")
            for keys in ({"anthropicKey": OWN_KEY}, {"deepseekKey": OWN_KEY, "openaiKey": ""}):
                answer = await server.post(path, {**body, **keys}, headers)
                assert (answer.status, (await answer.json())["code"]) == (400, "engine_not_configured")
            other = await server.post(path, {**body, "engine": "openai", "groqKey": OWN_KEY}, headers)
            assert (other.status, (await other.json())["code"]) == (400, "engine_not_configured")
            assert not upstream.requests
            await (await server.post(path, {**body, "groqKey": OWN_KEY}, headers)).body()
    [sent] = upstream.requests
    assert sent.headers["Authorization"] == f"Bearer {OWN_KEY}"
    assert OWN_KEY.encode() not in sent.body


async def test_a_key_that_the_caller_brings_comes_first() -> None:
    async with Upstream(audio(b"\0")).running() as upstream:
        async with serving(config(**environ(upstream, "openai", "groq"))) as server:
            for own in ({"openaiKey": OWN_KEY}, {"groqKey": OWN_KEY}):
                assert (await server.post("/voice/tts", {"text": "Hi", **own})).status == 200
    assert [sent.headers["Authorization"] for sent in upstream.requests] == [f"Bearer {OWN_KEY}"] * 2
    assert [sent.json["voice"] for sent in upstream.requests] == ["alloy", "autumn"]


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "text"),
        ({"text": None}, "text"),
        ({"text": ""}, "text"),
        ({"text": " \n"}, "text"),
        ({"text": ["x"]}, "text"),
        ({"text": "x" * 4097}, "text"),
        ({"text": "x" * (speech.MAX_TEXT + 1), "engine": "groq"}, "text"),
        ({"text": "x", "format": "midi"}, "format"),
        ({"text": "x", "speed": "fast"}, "speed"),
        ({"text": "x", "speed": 0}, "speed"),
        ({"text": "x", "voice": 3}, "voice"),
    ],
)
async def test_bad_input_for_speech_is_told_with_its_place(body: dict[str, Any], place: str) -> None:
    async with Upstream(audio(b"\0")).running() as upstream:
        async with serving(config(**environ(upstream, "openai", "groq"))) as server:
            answer = await server.post("/voice/tts", body)
            error = await answer.json()
            assert (answer.status, error["code"]) == (400, "bad_request")
            assert error["error"].startswith(f"{place}: "), error
            assert error["param"] == place
    assert not upstream.requests


@pytest.mark.parametrize(
    ("engine", "field", "value"),
    [
        ("groq", "instructions", "Whisper."),
        ("groq", "format", "pcm"),
        ("mistralai", "speed", 2),
        ("together", "format", "flac"),
        ("anthropic", "engine", "anthropic"),
    ],
)
async def test_what_an_engine_cannot_speak_is_refused_by_name(engine: str, field: str, value: Any) -> None:
    async with Upstream(audio(b"\0")).running() as upstream, serving(config(**environ(upstream, engine))) as server:
        answer = await server.post("/voice/tts", {"text": "Hi", "engine": engine, field: value})
        error = await answer.json()
        assert (answer.status, error["code"], error["param"]) == (400, "unsupported", field)
    assert not upstream.requests


@pytest.mark.parametrize(
    ("status", "own", "expected"),
    [
        (400, False, (400, "bad_request")),
        (401, False, (502, "provider_auth")),
        (401, True, (401, "unauthorized")),
        (403, False, (502, "provider_permission")),
        (404, False, (404, "model_not_found")),
        (429, False, (429, "rate_limited")),
        (500, False, (502, "provider_error")),
        (503, False, (503, "provider_overloaded")),
    ],
)
@pytest.mark.parametrize("path", ["/voice/tts", "/voice/stt"])
async def test_e2_a_provider_s_status_and_words_are_forwarded(
    path: str, status: int, own: bool, expected: tuple[int, str]
) -> None:
    key = OWN_KEY if own else SERVER_KEY
    failure = {"error": {"message": f"No: {key}", "type": "some_error", "param": None, "code": "some_code"}}
    body = {"text": "Hi", "audio": "UklGRg==", "mimeType": "audio/wav"} | ({"openaiKey": OWN_KEY} if own else {})
    async with Upstream(says(failure, status, retry_after="77", x_request_id="req-up")).running() as upstream:
        async with serving(config(**environ(upstream, "openai", MAX_RETRIES="0"))) as server:
            answer = await server.post(path, body)
            error = await answer.json()
    assert (answer.status, error["code"]) == expected
    assert error["provider"]["status"] == status
    assert error["provider"]["code"] == "some_code"
    assert error["engine"] == "openai"
    assert answer.headers["retry-after"] == "77"
    assert answer.headers["x-provider-request-id"] == "req-up"
    assert key not in json.dumps(error)


@pytest.mark.parametrize("path", ["/voice/tts", "/voice/stt"])
async def test_e3_a_failure_that_passes_is_tried_again_before_the_first_byte(path: str) -> None:
    async def script(request: Request, connection: Connection) -> None:
        if len(upstream.requests) == 1:
            await connection.whole({"error": {"message": "Busy."}}, 503, headers={"Retry-After": "0"})
        elif path == "/voice/stt":
            await connection.whole({"text": "ok"})
        else:
            await connection.whole(b"\xff\xf3", content_type="audio/mpeg")

    body = {"text": "Hi", "audio": "UklGRg==", "mimeType": "audio/wav"}
    async with Upstream(script).running() as upstream, serving(config(**environ(upstream, "openai"))) as server:
        answer = await server.post(path, body)
        assert (answer.status, len(upstream.requests)) == (200, 2)


async def hung_up(connection: Connection) -> None:
    """The provider dies without an end."""
    await connection.stream("audio/mpeg")
    connection.cut()


@pytest.mark.parametrize(
    ("content_type", "body", "code"),
    [
        ("audio/mpeg", None, "upstream_truncated"),
        ("audio/mpeg", b"", "upstream_malformed"),
        ("text/html", b"<p>Hello</p>", "upstream_malformed"),
        ("text/event-stream", b"data: {}\n\n", "upstream_malformed"),
        ("application/json", b"{}", "upstream_malformed"),
        ("application/json", b"{", "upstream_malformed"),
        ("application/json", b'{"audio_data": "?"}', "upstream_malformed"),
    ],
    ids=["cut", "empty", "page", "events", "no-audio", "no-json", "no-base64"],
)
async def test_an_answer_without_audio_is_an_error_with_a_status(
    content_type: str, body: bytes | None, code: str
) -> None:
    async def script(request: Request, connection: Connection) -> None:
        if body is None:
            await hung_up(connection)
        else:
            await connection.whole(body, content_type=content_type)

    async with Upstream(script).running() as upstream:
        async with serving(config(**environ(upstream, "openai", MAX_RETRIES="0"))) as server:
            answer = await server.post("/voice/tts", {"text": "Hi"})
            assert (answer.status, (await answer.json())["code"]) == (502, code)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("how", ["cut", "silence"])
async def test_s1_speech_that_breaks_off_never_looks_whole(
    version: str, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.stream("audio/mpeg")
        await connection.chunk(b"\xff\xf3half")
        async with asyncio.timeout(5):
            await heard.wait()
        if how == "cut":
            connection.cut()
        else:
            await connection.closed()

    heard = asyncio.Event()
    log.setup()
    async with Upstream(script).running() as upstream:
        async with serving(config(**environ(upstream, "openai", IDLE_TIMEOUT="0.3"))) as server:
            answer = await server.request("POST", "/voice/tts", {"text": "Hi"}, CLIENT, version)
            assert answer.status == 200
            heard.set()
            async with asyncio.timeout(5):
                with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                    await answer.body()
    logging.getLogger().handlers.clear()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    [line] = [line for line in lines if line["event"] == "request"]
    assert line["code"] == ("upstream_truncated" if how == "cut" else "idle_timeout")
    assert not any("trace" in line for line in lines)


class Watcher:
    """An upstream script that goes as far as ``stage`` and then watches for the hang-up."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.reached = asyncio.Event()
        self.hung_up = asyncio.Event()
        self.at = 0.0

    async def __call__(self, request: Request, connection: Connection) -> None:
        if self.stage != "waiting":
            await connection.stream("audio/mpeg")
        if self.stage == "streaming":
            await connection.chunk(b"\xff\xf3one")
        self.reached.set()
        await connection.closed()
        self.at = time.monotonic()
        self.hung_up.set()


async def ends(stage: str, path: str, end: Callable[[Client, Answer], Awaitable[None]]) -> float:
    """Seconds between ``end`` and the provider's seeing it."""
    watcher = Watcher(stage)
    body = {"text": "Hi", "audio": "UklGRg==", "mimeType": "audio/wav"}
    async with Upstream(watcher).running() as upstream, serving(config(**environ(upstream, "openai"))) as server:
        answer = await server.send("POST", path, body, {**CLIENT, "X-Request-Id": "my-speech"})
        async with asyncio.timeout(5):
            await watcher.reached.wait()
            if stage == "streaming" and path == "/voice/tts":
                await answer.head()
            said = time.monotonic()
            await end(server, answer)
            await watcher.hung_up.wait()
            while len(server.server.context.running):
                await asyncio.sleep(0.01)
        return watcher.at - said


@pytest.mark.parametrize("stage", ["waiting", "headers", "streaming"])
@pytest.mark.parametrize("path", ["/voice/tts", "/voice/stt"])
async def test_c1_a_client_that_leaves_ends_the_provider_s_work(path: str, stage: str) -> None:
    async def leave(server: Client, answer: Answer) -> None:
        answer.close()

    await soon(LIMIT, lambda: ends(stage, path, leave))


@pytest.mark.parametrize("stage", ["waiting", "streaming"])
@pytest.mark.parametrize("path", ["/voice/tts", "/voice/stt"])
async def test_c2_speech_is_cancelled_by_its_id(path: str, stage: str) -> None:
    async def cancel(server: Client, answer: Answer) -> None:
        assert (await server.request("DELETE", "/llm/chat/my-speech")).status == 204
        if stage == "streaming" and path == "/voice/tts":
            with pytest.raises(asyncio.IncompleteReadError):
                await answer.body()
        else:
            await answer.head()
            assert (answer.status, (await answer.json())["code"]) == (499, "cancelled")

    await soon(LIMIT, lambda: ends(stage, path, cancel))


async def test_a_slow_listener_slows_the_speaker() -> None:
    """The client reads nothing: the upstream can send no more than the socket buffers hold."""
    sent = 0
    stuck = asyncio.Event()

    async def script(request: Request, connection: Connection) -> None:
        nonlocal sent
        await connection.stream("audio/mpeg")
        for _ in range(20_000):  # 200 MB
            try:
                async with asyncio.timeout(1):
                    await connection.chunk(b"x" * 10_000)
            except TimeoutError:
                stuck.set()
                break
            sent += 10_000
        await connection.closed()

    async with Upstream(script).running() as upstream, serving(config(**environ(upstream, "openai"))) as server:
        answer = await server.send("POST", "/voice/tts", {"text": "Hi"}, CLIENT, limit=65536)
        await answer.head()
        async with asyncio.timeout(30):
            await stuck.wait()
        assert sent < 40_000_000
        answer.close()


# --- speech to text ---

BOUNDARY = "a-boundary-of-the-client"


def form(fields: dict[str, str], *files: tuple[str, str, str, bytes]) -> bytes:
    """A multipart body; files as field, file name, content type and bytes."""
    parts = [(f'name="{name}"', value.encode()) for name, value in fields.items()]
    parts += [(f'name="{n}"; filename="{file}"\r\nContent-Type: {type}', data) for n, file, type, data in files]
    lines = [
        b"--%b\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % (BOUNDARY.encode(), h.encode(), v)
        for h, v in parts
    ]
    return b"".join(lines) + f"--{BOUNDARY}--\r\n".encode()


FORM = {"Content-Type": f'multipart/form-data; boundary="{BOUNDARY}"'}
WAV = b"RIFF\x24\0\0\0WAVEfmt \r\n--not-a-boundary\r\n" + bytes(range(256))


def read_form(sent: Request) -> tuple[dict[str, bytes], HTTPFile]:
    """What reached the upstream."""
    arguments: dict[str, list[bytes]] = {}
    files: dict[str, list[HTTPFile]] = {}
    kind, _, boundary = sent.headers["Content-Type"].partition("; boundary=")
    assert kind == "multipart/form-data"
    parse_multipart_form_data(boundary.encode(), sent.body, arguments, files)
    [name] = files
    assert name == "file"
    return {name: value[0] for name, value in arguments.items()}, files["file"][0]


@pytest.mark.parametrize("way", ["form", "json", "data-url"])
async def test_audio_is_transcribed_from_a_form_and_from_json(way: str) -> None:
    told = {"text": "Hello", "usage": {"type": "duration", "seconds": 4}}
    async with Upstream(says(told, x_request_id="req-up")).running() as upstream:
        async with serving(config(**environ(upstream, "openai"))) as server:
            more = {"language": "en", "prompt": "Names: Ünal"}
            encoded = base64.b64encode(WAV).decode()
            if way == "form":
                body: Any = form(more | {"temperature": "0.5"}, ("file", "my holiday.WAV", "application/unknown", WAV))
                answer = await server.post("/voice/stt", body, CLIENT | FORM)
            elif way == "json":
                body = {"audio": encoded, "mimeType": "audio/x-wav", "temperature": 0.5, **more}
                answer = await server.post("/voice/stt", body)
            else:
                body = {"audio": f"data:audio/wav;base64,{encoded}", "temperature": 0.5, **more}
                answer = await server.post("/voice/stt", body)
            assert answer.status == 200, await answer.body()
            assert await answer.json() == {"text": "Hello", "duration": 4}
            assert answer.headers["x-provider-request-id"] == "req-up"
    [sent] = upstream.requests
    assert (sent.method, sent.path) == ("POST", "/audio/transcriptions")
    fields, file = read_form(sent)
    assert {name: value.decode() for name, value in fields.items()} == {
        "model": "gpt-transcribe",
        "language": "en",
        "prompt": "Names: Ünal",
        "temperature": "0.5",
    }
    assert (file.body, file.filename, file.content_type) == (WAV, "audio.wav", "audio/wav")


async def test_every_form_that_is_sent_has_a_boundary_of_its_own() -> None:
    async with Upstream(says({"text": "ok"})).running() as upstream:
        async with serving(config(**environ(upstream, "groq"))) as server:
            for _ in range(2):
                body = form({}, ("file", "blob", "audio/webm;codecs=opus", b"\x1aE\xdf\xa3"))
                assert (await server.post("/voice/stt", body, CLIENT | FORM)).status == 200
    first, second = upstream.requests
    assert first.headers["Content-Type"] != second.headers["Content-Type"]
    assert read_form(first)[1].filename == "audio.webm"


@pytest.mark.parametrize("engine", LISTENERS, ids=lambda engine: engine.name)
async def test_every_engine_that_listens_is_asked(engine: Any) -> None:
    async with Upstream(says({"text": "ok"})).running() as upstream:
        async with serving(config(**environ(upstream, engine.name))) as server:
            body = form({"engine": engine.name, "model": "some/model"}, ("audio", "a.mp3", "audio/mpeg", b"ID3"))
            answer = await server.post("/voice/stt", body, CLIENT | FORM)
            assert await answer.json() == {"text": "ok"}
    assert upstream.requests[0].path == f"{engine.path}/audio/transcriptions"
    assert read_form(upstream.requests[0])[0]["model"] == b"some/model"


async def test_the_owner_chooses_who_listens() -> None:
    async with Upstream(says({"text": "ok"})).running() as upstream:
        more = {"STT_ENGINE": "mistralai", "STT_MODEL": "voxtral-next"}
        async with serving(config(**environ(upstream, "openai", "mistralai", **more))) as server:
            body = {"audio": "UklGRg==", "mimeType": "audio/wav"}
            assert (await server.post("/voice/stt", body)).status == 200
            refused = await server.post("/voice/stt", {**body, "prompt": "Names"})
            assert (await refused.json())["param"] == "prompt"
    [sent] = upstream.requests
    assert read_form(sent)[0]["model"] == b"voxtral-next"


async def test_x9_a_key_in_a_form_is_used_and_seen_by_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    body = form({"openaiKey": OWN_KEY, "language": "en"}, ("file", "a.wav", "audio/wav", WAV))
    broken = body.replace(b'name="language"', b"name=")
    log.setup([SERVER_KEY], logging.DEBUG)
    seen = b""
    async with Upstream(says({"text": "ok"})).running() as upstream:
        async with serving(config(**environ(upstream, "openai"))) as server:
            for headers in ({}, CLIENT):
                answer = await server.post("/voice/stt", body, headers | FORM)
                assert (answer.status, await answer.json()) == (200, {"text": "ok"})
            # A form that cannot be read tells neither who sent it nor what it holds.
            for headers, status in (({}, 401), (CLIENT, 400)):
                answer = await server.post("/voice/stt", broken, headers | FORM)
                assert answer.status == status
                seen += str(answer.headers).encode() + await answer.body()
    printed = capsys.readouterr()
    logging.getLogger().handlers.clear()
    assert len(upstream.requests) == 2
    for sent in upstream.requests:
        assert sent.headers["Authorization"] == f"Bearer {OWN_KEY}"
        assert OWN_KEY.encode() not in sent.body
    assert printed.err.count('"event": "request"') == 4
    for text in (seen.decode(), printed.out, printed.err):
        assert OWN_KEY not in text and SERVER_KEY not in text and CLIENT_ID not in text


@pytest.mark.parametrize(
    ("body", "headers", "place"),
    [
        ({}, {}, "audio"),
        ({"audio": ""}, {}, "audio"),
        ({"audio": "?"}, {}, "audio"),
        ({"audio": ["UklGRg=="]}, {}, "audio"),
        ({"audio": "UklGRg=="}, {}, "mimeType"),
        ({"audio": "UklGRg==", "mimeType": "text/html"}, {}, "mimeType"),
        (form({"language": "en"}), FORM, "audio"),
        (form({"temperature": "warm"}, ("file", "a.wav", "audio/wav", WAV)), FORM, "temperature"),
        (form({"temperature": "NaN"}, ("file", "a.wav", "audio/wav", WAV)), FORM, "temperature"),
        (form({}, ("file", "a.wav", "audio/wav", WAV), ("file", "b.wav", "audio/wav", WAV)), FORM, "file"),
        (form({}, ("file", "a.exe", "application/unknown", b"MZ")), FORM, "mimeType"),
        (form({}, ("file", "a.wav", "audio/wav", b"")), FORM, "audio"),
        (b"--nothing", FORM, "body"),
        (b"", FORM, "body"),
        (form({}), {"Content-Type": "multipart/form-data"}, "body"),
    ],
)
async def test_bad_input_for_transcription_is_told_with_its_place(
    body: Any, headers: dict[str, str], place: str
) -> None:
    async with Upstream(says({"text": "ok"})).running() as upstream:
        async with serving(config(**environ(upstream, "openai"))) as server:
            answer = await server.post("/voice/stt", body, CLIENT | headers)
            error = await answer.json()
            assert (answer.status, error["code"]) == (400, "bad_request"), error
            assert error["error"].startswith(f"{place}: "), error
            assert (await server.post("/voice/stt", body, headers)).status == 401
    assert not upstream.requests


async def test_an_upload_beyond_max_body_size_is_refused() -> None:
    async with serving(config(MAX_BODY_SIZE="1KB")) as server:
        answer = await server.post("/voice/stt", form({}, ("file", "a.wav", "audio/wav", b"x" * 2048)), CLIENT | FORM)
        assert (answer.status, (await answer.json())["code"]) == (413, "too_large")


@pytest.mark.parametrize("body", ["[]", "{}", '{"text": 3}', "<p>", ""])
async def test_an_answer_without_a_transcript_is_an_error(body: str) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.whole(body)

    async with Upstream(script).running() as upstream, serving(config(**environ(upstream, "openai"))) as server:
        answer = await server.post("/voice/stt", {"audio": "UklGRg==", "mimeType": "audio/wav"})
        assert (answer.status, (await answer.json())["code"]) == (502, "upstream_malformed")


async def test_the_log_tells_sizes_and_no_words(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup()
    async with Upstream(says({"text": "said-in-confidence"})).running() as upstream:
        async with serving(config(**environ(upstream, "openai"))) as server:
            await server.post("/voice/stt", {"audio": "UklGRg==", "mimeType": "audio/wav", "prompt": "confidence"})
            await server.post("/voice/tts", {"text": "in confidence"})
    logging.getLogger().handlers.clear()
    err = capsys.readouterr().err
    assert "confidence" not in err
    first, second = map(json.loads, err.splitlines())
    assert (first["engine"], first["model"], first["bytes"]) == ("openai", "gpt-transcribe", 4)
    assert (second["characters"], second["code"]) == (13, "upstream_malformed")


# --- what providers really sent ---


def told_of(api: str) -> list[tuple[Recording, Response]]:
    """The recorded answers that we could have asked for: whole ones."""
    return [
        (recording, response)
        for recording in recordings()
        if recording.api == api and "stream" not in recording.features
        for _, response in recording.exchanges
    ]


NAMES = {"mistral": "mistralai"}


def test_recorded_speech_comes_out_as_audio_in_any_chunking() -> None:
    found = told_of("speech")
    assert len(found) >= 7
    for recording, response in found:
        engine = ENGINES.get(NAMES.get(recording.provider, recording.provider), ENGINES["openai"])
        told = response.headers["content-type"]
        wants_json = told == "application/json"
        expected = base64.b64decode(json.loads(response.body)["audio_data"]) if wants_json else response.body
        for size in (1000, 10**9):
            reader = speech.reader(told, engine)
            audio = b"".join(reader.feed(piece) for piece in response.pieces(size)) + reader.close()
            assert audio == expected, recording.name
        told_type = speech.content_type(SpeechRequest(text="x"), engine, told)
        assert told_type == ("audio/mpeg" if wants_json else told), recording.name


def test_recorded_requests_for_speech_are_what_we_would_send() -> None:
    """Field by field, but for the format, which we always name, and a speed of 1, which we leave out."""
    for recording in recordings():
        if recording.api != "speech":
            continue
        sent = dict(recording.exchanges[0][0].body)
        engine = ENGINES.get(NAMES.get(recording.provider, recording.provider), ENGINES["openai"])
        request = SpeechRequest(
            text=sent["input"],
            voice=sent["voice"],
            format=sent.get("response_format"),
            speed=sent.get("speed") if sent.get("speed") != 1 else None,
            instructions=sent.get("instructions"),
        )
        ours = speech.write_request(request, engine, sent["model"])
        wanted = {name: value for name, value in sent.items() if name != "speed"} | {
            "response_format": sent.get("response_format", "mp3")
        }
        assert ours.body == wanted, recording.name


def test_recorded_transcripts_are_read() -> None:
    found = told_of("transcription")
    assert len(found) >= 10
    told = {}
    for recording, response in found:
        if response.status != 200:
            continue
        wire = json.loads(response.body)
        transcript = transcription.read_reply(wire, ENGINES["openai"])
        assert transcript.text == wire["text"]
        told[recording.provider, recording.exchanges[0][0].path] = transcription.write_native(transcript)
    usage = told["mistral", "/v1/audio/transcriptions"]["usage"]
    assert isinstance(usage, dict)
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (378, 11)  # 389 in all
    assert told["mistral", "/v1/audio/transcriptions"]["duration"] == 3
    assert told["venice", "/api/v1/audio/transcriptions"]["duration"] == pytest.approx(5.496, abs=0.001)


# --- the pure parts, on anything ---


@given(st.binary(max_size=200), st.sampled_from(["audio/mpeg", "application/json", "text/html", "", "x"]))
def test_no_answer_for_speech_raises_anything_but_an_llm_error(body: bytes, told: str) -> None:
    try:
        reader = speech.reader(told, ENGINES["openai"])
        assert reader.feed(body) + reader.close()
    except Malformed:
        pass


@given(st.text(max_size=80))
def test_a_content_type_is_passed_on_only_if_it_is_one_of_audio(told: str) -> None:
    kind = speech.content_type(SpeechRequest(text="x", format="wav"), ENGINES["openai"], told)
    assert kind == "audio/wav" or (kind == told.strip() and kind.startswith("audio/") and kind.isascii())
    assert "\n" not in kind and "\r" not in kind


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["text", "language", "languages", "duration", "usage", "seconds", "total_tokens", "input_tokens",
                         "output_tokens", "prompt_tokens", "input_token_details", "audio_tokens", "segments", "code"]),
        inner,
        max_size=6,
    ),
    max_leaves=12,
)  # fmt: skip


@given(JSON)
def test_no_transcript_raises_anything_but_an_llm_error(wire: Any) -> None:
    try:
        transcript = transcription.read_reply(wire, ENGINES["openai"])
    except LLMError:
        return
    json.dumps(transcription.write_native(transcript), allow_nan=False)


@given(st.binary(max_size=300), st.text(max_size=30), st.text(max_size=30))
def test_a_form_holds_what_was_put_in(audio: bytes, prompt: str, model: str) -> None:
    request = TranscriptionRequest(audio=audio, ending="wav", prompt=prompt)
    outgoing = transcription.write_request(request, ENGINES["openai"], model)
    arguments: dict[str, list[bytes]] = {}
    files: dict[str, list[HTTPFile]] = {}
    boundary = outgoing.headers["content-type"].partition("boundary=")[2]
    assert outgoing.raw is not None
    parse_multipart_form_data(boundary.encode(), outgoing.raw, arguments, files)
    assert files["file"][0].body == audio
    assert arguments["prompt"][0].decode() == prompt.encode("utf-8", "replace").decode()
    assert arguments["model"][0].decode() == model.encode("utf-8", "replace").decode()


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_file_s_name_never_travels(filename: str, mime: str) -> None:
    upload = Upload(data=b"x", filename=filename, mime=mime)
    try:
        request, _ = transcription.read_native({}, upload)
    except InvalidRequest:
        return
    outgoing = transcription.write_request(request, ENGINES["openai"], "m")
    assert outgoing.raw is not None
    assert f'filename="audio.{request.ending}"'.encode() in outgoing.raw


def test_records_name_only_formats_and_fields_that_there_are() -> None:
    for engine in SPEAKERS:
        assert engine.speech is not None
        assert set(engine.speech.formats) <= set(FORMATS)
        assert engine.speech.format in engine.speech.formats
        assert engine.speech.refuses <= {"speed", "instructions"}
    for engine in LISTENERS:
        assert engine.transcription is not None
        assert engine.transcription.refuses <= {"language", "prompt", "temperature"}
