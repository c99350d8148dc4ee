"""Text to speech: streamed over real sockets, and compared with recorded answers."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm import log
from llm.engines.records import ENGINES
from llm.errors import Malformed
from llm.tasks import speech
from llm.tasks.speech import FORMATS, SpeechRequest
from tests.support.harness import CLIENT, Answer, Client, Connection, Request, Script, Upstream, make_config, run_server
from tests.support.recordings import recordings
from tests.support.voice import LISTENERS, OWN_KEY, SERVER_KEY, find_recorded_answers, make_environ, make_script

SPEECH_ENGINES = [engine for engine in ENGINES.values() if engine.speech is not None]


def audio(*chunks: bytes, content_type: str = "audio/mpeg") -> Script:
    async def script(request: Request, connection: Connection) -> None:
        await connection.stream(content_type)
        for chunk in chunks:
            await connection.chunk(chunk)
        await connection.end()

    return script


# --- text to speech ---


async def test_speech_is_streamed_without_waiting_for_its_end() -> None:
    received = asyncio.Event()

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream("audio/mpeg", {"x-request-id": "req-up", "x-ratelimit-remaining-requests": "7"})
        await connection.chunk(b"\xff\xf3one")
        async with asyncio.timeout(5):
            await received.wait()  # the client has the first chunk before the second one is sent
        await connection.chunk(b"two")
        await connection.end()

    async with (
        Upstream(script).run() as upstream,
        run_server(make_config(**make_environ(upstream, "openai"))) as server,
    ):
        answer = await server.post("/voice/tts", {"text": "Hello"})
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "audio/mpeg"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["x-provider-request-id"] == "req-up"
        assert answer.headers["x-ratelimit-remaining-requests"] == "7"
        pieces = answer.chunks()
        assert await anext(pieces) == b"\xff\xf3one"
        received.set()
        assert [piece async for piece in pieces] == [b"two"]
    [sent] = upstream.requests
    assert (sent.method, sent.path) == ("POST", "/audio/speech")
    assert sent.headers["Authorization"] == f"Bearer {SERVER_KEY}"
    assert sent.json == {"model": "gpt-4o-mini-tts", "input": "Hello", "voice": "alloy", "response_format": "mp3"}


async def test_speech_options_are_sent_to_the_engine() -> None:
    async with Upstream(audio(b"fLaC", content_type="application/octet-stream")).run() as upstream:
        async with run_server(make_config(**make_environ(upstream, "openai", "groq"))) as server:
            wanted = {"engine": "openai", "model": "m", "voice": "sage", "format": "flac", "speed": 1.5}
            answer = await server.post(
                "/voice/tts", {"text": "Hello", "instructions": "Whisper.", "pitch": 2, "a\r\nb": 1, **wanted}
            )
            assert (answer.status, await answer.body()) == (200, b"fLaC")
            assert answer.headers["Content-Type"] == "audio/flac"  # the type of the engine is no audio type
            assert answer.headers["X-Dropped-Fields"] == "a??b, pitch"
    assert upstream.requests[0].json == {
        "model": "m",
        "input": "Hello",
        "voice": "sage",
        "response_format": "flac",
        "speed": 1.5,
        "instructions": "Whisper.",
    }


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/voice/tts", {"text": "Hello", "engine": "openai", "model": "m"}),
        ("/v1/audio/speech", {"input": "Hello", "model": "openai/m"}),
    ],
)
async def test_nw_53_a_custom_voice_is_sent_to_the_engine(path: str, body: dict[str, Any]) -> None:
    voice = {"id": "voice_1234"}
    async with Upstream(audio(b"fLaC")).run() as upstream:
        async with run_server(make_config(**make_environ(upstream, "openai"))) as server:
            answer = await server.post(path, {**body, "voice": voice})
            assert (answer.status, await answer.body()) == (200, b"fLaC")
    assert upstream.requests[0].json["voice"] == voice


@pytest.mark.parametrize("engine", SPEECH_ENGINES, ids=lambda engine: engine.name)
async def test_every_speech_engine_gets_its_own_defaults(engine: Any) -> None:
    async with Upstream(audio(b"\0")).run() as upstream:
        async with run_server(make_config(**make_environ(upstream, engine.name))) as server:
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
async def test_the_settings_choose_the_speech_engine(chosen: dict[str, str], expected: tuple[str, str, str]) -> None:
    async with Upstream(audio(b"\0")).run() as upstream:
        own = make_environ(upstream, **chosen)
        for name in ("groq", "openai", "azure"):
            own |= {f"{name.upper()}_API_KEY": f"key-of-{name}", f"{name.upper()}_BASE_URL": f"{upstream.url}/{name}"}
        async with run_server(make_config(**own)) as server:
            assert (await server.post("/voice/tts", {"text": "Hi"})).status == 200
    [sent] = upstream.requests
    assert (sent.path.split("/")[1], sent.json["model"], sent.json["voice"]) == expected


async def test_a_custom_engine_is_used_for_speech_when_named() -> None:
    async with Upstream(audio(b"\0")).run() as upstream:
        own = {"CUSTOM_ENGINES": "kokoro", "KOKORO_BASE_URL": f"{upstream.url}/v1"}
        async with run_server(make_config(**own)) as server:
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
    """The older server let a caller with a Groq key use the server's OpenAI key."""
    headers = {} if client_id is None else {"X-ClientId": client_id}
    body = {"text": "Hi", "audio": base64.b64encode(b"RIFF").decode(), "mimeType": "audio/wav"}
    async with Upstream(make_script({"text": "ok"})).run() as upstream:
        async with run_server(make_config(**make_environ(upstream, "openai", "groq"))) as server:
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


async def test_the_engine_of_the_caller_s_key_is_preferred() -> None:
    async with Upstream(audio(b"\0")).run() as upstream:
        async with run_server(make_config(**make_environ(upstream, "openai", "groq"))) as server:
            for own in ({"openaiKey": OWN_KEY}, {"groqKey": OWN_KEY}):
                assert (await server.post("/voice/tts", {"text": "Hi", **own})).status == 200
    assert [sent.headers["Authorization"] for sent in upstream.requests] == [f"Bearer {OWN_KEY}"] * 2
    assert [sent.json["voice"] for sent in upstream.requests] == ["alloy", "autumn"]


@pytest.mark.parametrize(
    ("body", "field"),
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
async def test_an_error_for_speech_names_the_bad_field(body: dict[str, Any], field: str) -> None:
    async with Upstream(audio(b"\0")).run() as upstream:
        async with run_server(make_config(**make_environ(upstream, "openai", "groq"))) as server:
            answer = await server.post("/voice/tts", body)
            error = await answer.json()
            assert (answer.status, error["code"]) == (400, "bad_request")
            assert error["error"].startswith(f"{field}: "), error
            assert error["param"] == field
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
async def test_an_unsupported_speech_field_is_refused_by_name(engine: str, field: str, value: Any) -> None:
    async with (
        Upstream(audio(b"\0")).run() as upstream,
        run_server(make_config(**make_environ(upstream, engine))) as server,
    ):
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
async def test_e2_a_provider_s_status_and_error_are_forwarded(
    path: str, status: int, own: bool, expected: tuple[int, str]
) -> None:
    key = OWN_KEY if own else SERVER_KEY
    failure = {"error": {"message": f"No: {key}", "type": "some_error", "param": None, "code": "some_code"}}
    body = {"text": "Hi", "audio": "UklGRg==", "mimeType": "audio/wav"} | ({"openaiKey": OWN_KEY} if own else {})
    async with Upstream(make_script(failure, status, retry_after="77", x_request_id="req-up")).run() as upstream:
        async with run_server(make_config(**make_environ(upstream, "openai", MAX_RETRIES="0"))) as server:
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
async def test_e3_a_temporary_failure_is_retried_before_the_first_byte(path: str) -> None:
    async def script(request: Request, connection: Connection) -> None:
        if len(upstream.requests) == 1:
            await connection.respond({"error": {"message": "Busy."}}, 503, headers={"Retry-After": "0"})
        elif path == "/voice/stt":
            await connection.respond({"text": "ok"})
        else:
            await connection.respond(b"\xff\xf3", content_type="audio/mpeg")

    body = {"text": "Hi", "audio": "UklGRg==", "mimeType": "audio/wav"}
    async with (
        Upstream(script).run() as upstream,
        run_server(make_config(**make_environ(upstream, "openai"))) as server,
    ):
        answer = await server.post(path, body)
        assert (answer.status, len(upstream.requests)) == (200, 2)


async def cut_answer(connection: Connection) -> None:
    """Closes the connection in the middle of an answer."""
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
            await cut_answer(connection)
        else:
            await connection.respond(body, content_type=content_type)

    async with Upstream(script).run() as upstream:
        async with run_server(make_config(**make_environ(upstream, "openai", MAX_RETRIES="0"))) as server:
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
            await received.wait()
        if how == "cut":
            connection.cut()
        else:
            await connection.wait_closed()

    received = asyncio.Event()
    log.setup()
    async with Upstream(script).run() as upstream:
        async with run_server(make_config(**make_environ(upstream, "openai", IDLE_TIMEOUT="0.3"))) as server:
            answer = await server.request("POST", "/voice/tts", {"text": "Hi"}, CLIENT, version)
            assert answer.status == 200
            received.set()
            async with asyncio.timeout(5):
                with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                    await answer.body()
    logging.getLogger().handlers.clear()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    [line] = [line for line in lines if line["event"] == "request"]
    assert line["code"] == ("upstream_truncated" if how == "cut" else "idle_timeout")
    assert not any("trace" in line for line in lines)


class Watcher:
    """An upstream script that stops at ``stage`` and then waits until the connection is closed."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.reached = asyncio.Event()
        self.hung_up = asyncio.Event()

    async def __call__(self, request: Request, connection: Connection) -> None:
        if self.stage != "waiting":
            await connection.stream("audio/mpeg")
        if self.stage == "streaming":
            await connection.chunk(b"\xff\xf3one")
        self.reached.set()
        await connection.wait_closed()
        self.hung_up.set()


async def check_end(stage: str, path: str, end: Callable[[Client, Answer], Awaitable[None]]) -> None:
    """Ends the request at ``stage`` and awaits the closed connection at the provider; no other limit is near."""
    watcher = Watcher(stage)
    body = {"text": "Hi", "audio": "UklGRg==", "mimeType": "audio/wav"}
    async with (
        Upstream(watcher).run() as upstream,
        run_server(make_config(**make_environ(upstream, "openai"))) as server,
    ):
        answer = await server.send("POST", path, body, {**CLIENT, "X-Request-Id": "my-speech"})
        async with asyncio.timeout(5):
            await watcher.reached.wait()
            if stage == "streaming" and path == "/voice/tts":
                await answer.head()
            await end(server, answer)
            await watcher.hung_up.wait()
            while len(server.server.context.active):
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("stage", ["waiting", "headers", "streaming"])
@pytest.mark.parametrize("path", ["/voice/tts", "/voice/stt"])
async def test_c1_a_client_that_leaves_closes_the_provider_s_connection(path: str, stage: str) -> None:
    async def leave(server: Client, answer: Answer) -> None:
        answer.close()

    await check_end(stage, path, leave)


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

    await check_end(stage, path, cancel)


async def test_a_slow_client_slows_the_provider() -> None:
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
        await connection.wait_closed()

    async with (
        Upstream(script).run() as upstream,
        run_server(make_config(**make_environ(upstream, "openai"))) as server,
    ):
        answer = await server.send("POST", "/voice/tts", {"text": "Hi"}, CLIENT, limit=65536)
        await answer.head()
        async with asyncio.timeout(30):
            await stuck.wait()
        assert sent < 40_000_000
        answer.close()


async def test_the_log_has_sizes_and_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup()
    async with Upstream(make_script({"text": "said-in-confidence"})).run() as upstream:
        async with run_server(make_config(**make_environ(upstream, "openai"))) as server:
            await server.post("/voice/stt", {"audio": "UklGRg==", "mimeType": "audio/wav", "prompt": "confidence"})
            await server.post("/voice/tts", {"text": "in confidence"})
    logging.getLogger().handlers.clear()
    err = capsys.readouterr().err
    assert "confidence" not in err
    first, second = map(json.loads, err.splitlines())
    assert (first["engine"], first["model"], first["bytes"]) == ("openai", "gpt-transcribe", 4)
    assert (second["characters"], second["code"]) == (13, "upstream_malformed")


NAMES = {"mistral": "mistralai"}


def test_recorded_speech_is_decoded_in_any_chunking() -> None:
    found = find_recorded_answers("speech")
    assert len(found) >= 7
    for recording, response in found:
        engine = ENGINES.get(NAMES.get(recording.provider, recording.provider), ENGINES["openai"])
        content_type = response.headers["content-type"]
        wants_json = content_type == "application/json"
        expected = base64.b64decode(json.loads(response.body)["audio_data"]) if wants_json else response.body
        for size in (1000, 10**9):
            reader = speech.create_reader(content_type, engine)
            audio = b"".join(reader.feed(piece) for piece in response.pieces(size)) + reader.close()
            assert audio == expected, recording.name
        chosen = speech.choose_content_type(SpeechRequest(text="x"), engine, content_type)
        assert chosen == ("audio/mpeg" if wants_json else content_type), recording.name


def test_recorded_speech_requests_equal_ours() -> None:
    """All fields, except that we always send the format and leave out a speed of 1."""
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


# --- the pure parts, with any input ---


@given(st.binary(max_size=200), st.sampled_from(["audio/mpeg", "application/json", "text/html", "", "x"]))
def test_any_answer_for_speech_raises_only_llm_errors(body: bytes, content_type: str) -> None:
    try:
        reader = speech.create_reader(content_type, ENGINES["openai"])
        assert reader.feed(body) + reader.close()
    except Malformed:
        pass


@given(st.text(max_size=80))
def test_only_audio_content_types_are_forwarded(content_type: str) -> None:
    kind = speech.choose_content_type(SpeechRequest(text="x", format="wav"), ENGINES["openai"], content_type)
    assert kind == "audio/wav" or (kind == content_type.strip() and kind.startswith("audio/") and kind.isascii())
    assert "\n" not in kind and "\r" not in kind


def test_records_name_only_existing_formats_and_fields() -> None:
    for engine in SPEECH_ENGINES:
        assert engine.speech is not None
        assert set(engine.speech.formats) <= set(FORMATS)
        assert engine.speech.format in engine.speech.formats
        assert engine.speech.unsupported_fields <= {"speed", "instructions"}
    for engine in LISTENERS:
        assert engine.transcription is not None
        assert engine.transcription.unsupported_fields <= {"language", "prompt", "temperature"}
