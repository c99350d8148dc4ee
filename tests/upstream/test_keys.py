"""Keys are masked in errors if they are long enough for a secret; answers are never changed (X4)."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from llm import log
from tests.support.canaries import PLACEHOLDERS, WATCH
from tests.support.field_cases import field_case
from tests.support.harness import CLIENT_ID, Client, Connection, Request, Script, Upstream, make_config, run_server
from tests.support.wires import WIRES, Wire

BEARER: Final = {"Authorization": f"Bearer {CLIENT_ID}"}
SECRET: Final = "canary-of-a-long-and-random-key-7Zq"
# The dialects that pass verbatim: the wire, the client's path, and what its body needs beside model and prompt.
_MESSAGES: Final[dict[str, Any]] = {"messages": [{"role": "user", "content": "Hello"}]}
LANES: Final[dict[str, tuple[Wire, str, dict[str, Any]]]] = {
    "openai-chat": (WIRES["openai"], "/v1/chat/completions", _MESSAGES),
    "openai-responses": (WIRES["responses"], "/v1/responses", {"input": "Hello"}),
    "anthropic": (WIRES["anthropic"], "/v1/messages", {**_MESSAGES, "max_tokens": 100}),
    "ollama": (WIRES["ollama"], "/api/chat", _MESSAGES),
}
WORDS: Final = ("Once ", "index {} and token {} in the test", "x0{}x0 none EMPTY", "{}")


@asynccontextmanager
async def engine_with_key(dialect: str, key: str, script: Script) -> AsyncIterator[Client]:
    """A server whose engine ``box`` speaks this dialect and has this key."""
    async with Upstream(script).run() as upstream:
        environ = {"CUSTOM_ENGINES": "box", "BOX_BASE_URL": upstream.url, "BOX_DIALECT": dialect, "BOX_API_KEY": key}
        async with run_server(make_config(**environ, MAX_RETRIES="0")) as server:
            yield server


async def answered(dialect: str, key: str, script: Script, stream: bool, headers: dict[str, str] = BEARER) -> bytes:
    _, path, body = LANES[dialect]
    more = {"stream_options": {"include_usage": True}} if dialect == "openai-chat" and stream else {}
    async with engine_with_key(dialect, key, script) as server:
        answer = await server.post(path, {"model": "box/m", "stream": stream, **body, **more}, headers)
        return await answer.body()


def streams(wire: Wire, *events: bytes) -> Script:
    """Each event in a read of its own, so that the fast path is used too."""

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream(wire.content_type)
        for event in events:
            await connection.chunk(event)
        await connection.end()

    return script


def sends(body: bytes, status: int = 200, content_type: str = "application/json") -> Script:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(body, status, content_type)

    return script


def events_with_key(wire: Wire, key: str) -> list[bytes]:
    """A streamed answer with the key in every kind of text."""
    return [
        event for event in (wire.head, *(wire.delta(word.format(key, key)) for word in WORDS * 3), wire.end) if event
    ]


def whole_of(wire: Wire, key: str) -> bytes:
    return json.dumps(wire.whole(" ".join(WORDS).format(*[key] * 4)), indent=1).encode()


def seen_in_good_answers() -> None:
    """Disables the leak check of the test suite for answers: a model may output any text, also a key."""
    assert WATCH.leaks
    WATCH.leaks.clear()


# --- answers ---


@pytest.mark.parametrize("key", PLACEHOLDERS)
@pytest.mark.parametrize("dialect", LANES)
async def test_a_placeholder_key_is_not_masked_in_an_answer(dialect: str, key: str) -> None:
    wire = LANES[dialect][0]
    events = events_with_key(wire, key)
    assert await answered(dialect, key, streams(wire, *events), True) == b"".join(events)
    assert await answered(dialect, key, sends(b"".join(events), 200, wire.content_type), True) == b"".join(events)
    assert await answered(dialect, key, sends(whole_of(wire, key)), False) == whole_of(wire, key)


@pytest.mark.parametrize("dialect", LANES)
async def test_a_long_key_is_not_masked_in_an_answer(dialect: str) -> None:
    wire = LANES[dialect][0]
    events = events_with_key(wire, SECRET)
    assert await answered(dialect, SECRET, streams(wire, *events), True) == b"".join(events)
    assert await answered(dialect, SECRET, sends(b"".join(events), 200, wire.content_type), True) == b"".join(events)
    assert await answered(dialect, SECRET, sends(whole_of(wire, SECRET)), False) == whole_of(wire, SECRET)
    seen_in_good_answers()


@pytest.mark.parametrize("key", PLACEHOLDERS)
async def test_a_placeholder_key_is_not_masked_in_the_answer_of_a_task(key: str) -> None:
    vector = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    embedded = {"object": "list", "data": [vector], "model": f"m-{key}", "usage": usage}
    sound = f"RIFF{key} none EMPTY x0".encode() * 50
    heard = {"text": f"I ran {key} and py{key} -q {key}s/."}

    async def script(request: Request, connection: Connection) -> None:
        if request.path.endswith("embeddings"):
            await connection.respond(embedded)
        elif request.path.endswith("speech"):
            await connection.respond(sound, content_type="audio/wav")
        else:
            await connection.respond(heard)

    form = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % part
        for part in ((b"model", b"", b"box/m"), (b"file", b'; filename="a.wav"\r\nContent-Type: audio/wav', b"RIFF"))
    )
    async with engine_with_key("openai-chat", key, script) as server:
        answer = await server.post("/v1/embeddings", {"model": "box/m", "input": "a"}, BEARER)
        assert await answer.json() == embedded
        speech = {"model": "box/m", "input": "Hi", "voice": "v", "response_format": "wav"}
        answer = await server.post("/v1/audio/speech", speech, BEARER)
        assert await answer.body() == sound
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        answer = await server.post("/v1/audio/transcriptions", form + b"--b--\r\n", {**BEARER, **kind})
        assert (await answer.json())["text"] == heard["text"]


# --- errors ---


def error_with_key(wire: Wire, key: str) -> bytes:
    """The dialect's own error event, with the key in its message."""
    return wire.error.replace(b"It broke.", f"It broke by the key {key}.".encode())


@pytest.mark.parametrize("own", [False, True], ids=["the server's", "the caller's own"])
@pytest.mark.parametrize("dialect", LANES)
async def test_x4_a_secret_in_an_error_is_masked(dialect: str, own: bool) -> None:
    wire = LANES[dialect][0]
    headers = {**BEARER, "X-Box-Key": SECRET} if own else BEARER
    key = "another-key-that-is-long-enough" if own else SECRET
    good = b"".join(events_with_key(wire, "no key")[:-1])
    error = error_with_key(wire, SECRET)
    masked = error_with_key(wire, "***")
    assert await answered(dialect, key, streams(wire, error), True, headers) == masked
    for script in (
        streams(wire, good, error),
        streams(wire, good + error),
        sends(good + error, 200, wire.content_type),
    ):
        assert await answered(dialect, key, script, True, headers) == good + masked
    if dialect == "openai-chat":  # without the blank line that ends an event
        assert await answered(dialect, key, streams(wire, good, error[:-2]), True, headers) == good + masked
    sent = json.dumps({"error": {"message": f"Never seen {SECRET} before.", "type": "invalid_request_error"}}).encode()
    for status in (200, 400, 401, 404, 500):
        body = await answered(dialect, key, sends(sent, status), False, headers)
        assert SECRET.encode() not in body
        assert b"Never seen *** before." in body


@pytest.mark.parametrize("dialect", LANES)
async def test_x4_of_events_in_one_read_only_the_error_is_masked(dialect: str) -> None:
    wire = LANES[dialect][0]
    good = b"".join(events_with_key(wire, SECRET)[:-1])
    script = streams(wire, good + error_with_key(wire, SECRET))
    assert await answered(dialect, SECRET, script, True) == good + error_with_key(wire, "***")
    seen_in_good_answers()


@pytest.mark.parametrize("dialect", LANES)
async def test_x4_a_secret_is_masked_in_events_that_are_not_part_of_an_answer(dialect: str) -> None:
    wire = LANES[dialect][0]
    begun = b"".join(events_with_key(wire, "no key")[:-1])
    comments = (
        (b"data: Bad gateway for %b\n\n", b": for %b\n\n")
        if wire.content_type == "text/event-stream"
        else (b"for %b\n",)
    )
    for sent in comments:
        got = await answered(dialect, SECRET, streams(wire, begun, sent % SECRET.encode(), wire.end), True)
        assert got == begun + sent % b"***" + wire.end


@pytest.mark.parametrize("key", PLACEHOLDERS)
@pytest.mark.parametrize("dialect", LANES)
async def test_a_placeholder_key_is_not_masked_in_an_error(dialect: str, key: str) -> None:
    wire = LANES[dialect][0]
    event = error_with_key(wire, key)
    assert await answered(dialect, key, streams(wire, event), True) == event
    sent = json.dumps({"error": {"message": "index 0 of the test: none, EMPTY, token x."}}).encode()
    assert b"index 0 of the test: none, EMPTY, token x." in await answered(dialect, key, sends(sent, 400), False)


def test_errors_and_the_log_use_the_same_minimum_length_of_a_secret() -> None:
    longest = max(PLACEHOLDERS, key=len)
    assert len(longest) < log.MIN_SECRET == 16
    for key, masked in (("k" * log.MIN_SECRET, "***"), ("k" * (log.MIN_SECRET - 1), "k" * 15)):
        assert log.mask(f"Bad key {key}.", key) == f"Bad key {masked}."
        assert log.Redactor([key])(f"Bad key {key}.") == f"Bad key {masked}."
    for none in ("", None):
        assert log.mask("Bad key.", none) == "Bad key."


# --- cases from the field ---


async def replayed(case: dict[str, Any], settings: dict[str, str], stream: bool | None = None) -> tuple[bytes, bytes]:
    """Returns the bytes that the provider of a case sends and the bytes that its client gets."""
    asked = case["request"]
    body, path = asked.get("body", asked), asked.get("path") or case["endpoint"]
    if "provider_response" in case:
        sent = json.dumps(case["provider_response"]["body"]).encode()
    else:  # an engine that echoes the prompt
        sent = json.dumps(WIRES["openai"].whole(body["messages"][0]["content"])).encode()
    script = sends(sent)
    if stream:
        sent = b"".join(events_with_key(WIRES["openai"], json.loads(sent)["choices"][0]["message"]["content"]))
        script = sends(sent, 200, "text/event-stream")
        body = {**body, "stream": True, "stream_options": {"include_usage": True}}
    async with Upstream(script).run() as upstream:
        environ = {"CUSTOM_ENGINES": "vllm", **settings, "VLLM_BASE_URL": upstream.url}
        async with run_server(make_config(**environ)) as server:
            answer = await server.post(path, body, {**BEARER, **case.get("request_headers", {})})
            assert answer.status == 200
            return sent, await answer.body()


# Case and key: cl-06 and br-06 name theirs in a sentence.
CASES: Final = [
    ("gw-01", None),
    *(("cl-06", key) for key in ("EMPTY", "ollama", "none", "dummy", "test", "sk-1234", "0", "x")),
    *(("br-06", key) for key in ("token", "x", "none", "EMPTY")),
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("name", "key"), CASES, ids=[f"{name}-{key}" if key else name for name, key in CASES])
async def test_a_recorded_field_case_arrives_byte_for_byte(name: str, key: str | None, stream: bool) -> None:
    case = field_case(name)
    settings = dict(case.get("settings", {}))
    if key is not None:
        named = json.dumps([case.get("neighbours"), settings])
        assert key in re.split(r"[ ,:|\"]+", named)
        settings["VLLM_API_KEY"] = key
    sent, got = await replayed(case, settings, stream)
    assert got == sent
