"""Speech to text: over real sockets, and with recorded answers."""

from __future__ import annotations

import base64
import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPFile, parse_multipart_form_data

from llm import log
from llm.engines.records import ENGINES
from llm.errors import InvalidRequest, LLMError
from llm.tasks import transcription
from llm.tasks.transcription import TranscriptionRequest, Upload
from tests.support.harness import CLIENT, CLIENT_ID, Connection, Request, Upstream, make_config, run_server
from tests.support.voice import LISTENERS, OWN_KEY, SERVER_KEY, find_recorded_answers, make_environ, make_script

# --- speech to text ---

BOUNDARY = "a-boundary-of-the-client"


def form(fields: dict[str, str], *files: tuple[str, str, str, bytes]) -> bytes:
    """Returns a multipart body; a file is its field, file name, content type and bytes."""
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
    """Reads the fields and the file of the form that the upstream received."""
    arguments: dict[str, list[bytes]] = {}
    files: dict[str, list[HTTPFile]] = {}
    kind, _, boundary = sent.headers["Content-Type"].partition("; boundary=")
    assert kind == "multipart/form-data"
    parse_multipart_form_data(boundary.encode(), sent.body, arguments, files)
    [name] = files
    assert name == "file"
    return {name: value[0] for name, value in arguments.items()}, files["file"][0]


@pytest.mark.parametrize("body_kind", ["form", "json", "data-url"])
async def test_audio_is_transcribed_from_a_form_and_from_json(body_kind: str) -> None:
    transcript = {"text": "Hello", "usage": {"type": "duration", "seconds": 4}}
    async with Upstream(make_script(transcript, x_request_id="req-up")).run() as upstream:
        async with run_server(make_config(**make_environ(upstream, "openai"))) as server:
            more = {"language": "en", "prompt": "Names: Ünal"}
            encoded = base64.b64encode(WAV).decode()
            if body_kind == "form":
                body: Any = form(more | {"temperature": "0.5"}, ("file", "my holiday.WAV", "application/unknown", WAV))
                answer = await server.post("/voice/stt", body, CLIENT | FORM)
            elif body_kind == "json":
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


async def test_every_form_has_its_own_boundary() -> None:
    async with Upstream(make_script({"text": "ok"})).run() as upstream:
        async with run_server(make_config(**make_environ(upstream, "groq"))) as server:
            for _ in range(2):
                body = form({}, ("file", "blob", "audio/webm;codecs=opus", b"\x1aE\xdf\xa3"))
                assert (await server.post("/voice/stt", body, CLIENT | FORM)).status == 200
    first, second = upstream.requests
    assert first.headers["Content-Type"] != second.headers["Content-Type"]
    assert read_form(first)[1].filename == "audio.webm"


@pytest.mark.parametrize("engine", LISTENERS, ids=lambda engine: engine.name)
async def test_every_transcription_engine_is_used(engine: Any) -> None:
    async with Upstream(make_script({"text": "ok"})).run() as upstream:
        async with run_server(make_config(**make_environ(upstream, engine.name))) as server:
            body = form({"engine": engine.name, "model": "some/model"}, ("audio", "a.mp3", "audio/mpeg", b"ID3"))
            answer = await server.post("/voice/stt", body, CLIENT | FORM)
            assert await answer.json() == {"text": "ok"}
    assert upstream.requests[0].path == f"{engine.path}/audio/transcriptions"
    assert read_form(upstream.requests[0])[0]["model"] == b"some/model"


async def test_the_settings_choose_the_transcription_engine() -> None:
    async with Upstream(make_script({"text": "ok"})).run() as upstream:
        more = {"STT_ENGINE": "mistralai", "STT_MODEL": "voxtral-next"}
        async with run_server(make_config(**make_environ(upstream, "openai", "mistralai", **more))) as server:
            body = {"audio": "UklGRg==", "mimeType": "audio/wav"}
            assert (await server.post("/voice/stt", body)).status == 200
            refused = await server.post("/voice/stt", {**body, "prompt": "Names"})
            assert (await refused.json())["param"] == "prompt"
    [sent] = upstream.requests
    assert read_form(sent)[0]["model"] == b"voxtral-next"


async def test_x9_a_key_in_a_form_is_used_and_never_shown(capsys: pytest.CaptureFixture[str]) -> None:
    body = form({"openaiKey": OWN_KEY, "language": "en"}, ("file", "a.wav", "audio/wav", WAV))
    broken = body.replace(b'name="language"', b"name=")
    log.setup([SERVER_KEY], logging.DEBUG)
    seen = b""
    async with Upstream(make_script({"text": "ok"})).run() as upstream:
        async with run_server(make_config(**make_environ(upstream, "openai"))) as server:
            for headers in ({}, CLIENT):
                answer = await server.post("/voice/stt", body, headers | FORM)
                assert (answer.status, await answer.json()) == (200, {"text": "ok"})
            # A form that cannot be parsed gives no key to authenticate with, and its content is not shown.
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
    ("body", "headers", "field"),
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
async def test_an_error_for_transcription_names_the_bad_field(body: Any, headers: dict[str, str], field: str) -> None:
    async with Upstream(make_script({"text": "ok"})).run() as upstream:
        async with run_server(make_config(**make_environ(upstream, "openai"))) as server:
            answer = await server.post("/voice/stt", body, CLIENT | headers)
            error = await answer.json()
            assert (answer.status, error["code"]) == (400, "bad_request"), error
            assert error["error"].startswith(f"{field}: "), error
            assert (await server.post("/voice/stt", body, headers)).status == 401
    assert not upstream.requests


async def test_an_upload_beyond_max_body_size_is_refused() -> None:
    async with run_server(make_config(MAX_BODY_SIZE="1KB")) as server:
        answer = await server.post("/voice/stt", form({}, ("file", "a.wav", "audio/wav", b"x" * 2048)), CLIENT | FORM)
        assert (answer.status, (await answer.json())["code"]) == (413, "too_large")


@pytest.mark.parametrize("body", ["[]", "{}", '{"text": 3}', "<p>", ""])
async def test_an_answer_without_a_transcript_is_an_error(body: str) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(body)

    async with (
        Upstream(script).run() as upstream,
        run_server(make_config(**make_environ(upstream, "openai"))) as server,
    ):
        answer = await server.post("/voice/stt", {"audio": "UklGRg==", "mimeType": "audio/wav"})
        assert (answer.status, (await answer.json())["code"]) == (502, "upstream_malformed")


def test_recorded_transcripts_are_read() -> None:
    found = find_recorded_answers("transcription")
    assert len(found) >= 10
    written = {}
    for recording, response in found:
        if response.status != 200:
            continue
        wire = json.loads(response.body)
        transcript = transcription.read_reply(wire, ENGINES["openai"])
        assert transcript.text == wire["text"]
        written[recording.provider, recording.exchanges[0][0].path] = transcription.write_native(transcript)
    usage = written["mistral", "/v1/audio/transcriptions"]["usage"]
    assert isinstance(usage, dict)
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (378, 11)  # 389 in all
    assert written["mistral", "/v1/audio/transcriptions"]["duration"] == 3
    assert written["venice", "/api/v1/audio/transcriptions"]["duration"] == pytest.approx(5.496, abs=0.001)


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
def test_any_transcript_raises_only_llm_errors(wire: Any) -> None:
    try:
        transcript = transcription.read_reply(wire, ENGINES["openai"])
    except LLMError:
        return
    json.dumps(transcription.write_native(transcript), allow_nan=False)


@given(st.binary(max_size=300), st.text(max_size=30), st.text(max_size=30))
def test_a_written_form_can_be_parsed(audio: bytes, prompt: str, model: str) -> None:
    request = TranscriptionRequest(audio=audio, extension="wav", prompt=prompt)
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
def test_a_file_name_is_never_sent(filename: str, mime: str) -> None:
    upload = Upload(data=b"x", filename=filename, mime=mime)
    try:
        request, _ = transcription.read_native({}, upload)
    except InvalidRequest:
        return
    outgoing = transcription.write_request(request, ENGINES["openai"], "m")
    assert outgoing.raw is not None
    assert f'filename="audio.{request.extension}"'.encode() in outgoing.raw
