"""``Idempotency-Key``: a repeated request gets the same answer, and the engine is asked once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.support.harness import (
    CLIENT,
    CLIENT_ID,
    Answer,
    Client,
    Connection,
    Request,
    Script,
    Upstream,
    make_config,
    run_server,
)
from tests.support.wires import CLIENTS, WIRES, ClientWire
from tests.support.workers import run_workers, wait_until

OPENAI = WIRES["openai"]
KEY = {"Idempotency-Key": "k-1"}
REPLAYED = "Idempotent-Replayed"
CHAT = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}
PATH = "/v1/chat/completions"
ME = {**CLIENT, **KEY}
SPEECH = bytes(range(256)) * 20


class Engine:
    """Answers every request with another text; holds the answers until ``released``."""

    def __init__(self, held: bool = False) -> None:
        self.count = 0
        self.released = asyncio.Event()
        if not held:
            self.released.set()
        self.status = 200

    async def __call__(self, request: Request, connection: Connection) -> None:
        if request.path.endswith("/responses"):  # this engine has only the other API
            await connection.respond({"error": {"message": "Not Found"}}, 404)
            return
        self.count += 1
        word = f"answer {self.count}"
        if request.path.endswith("/audio/speech"):
            await connection.respond(SPEECH + bytes([self.count]), content_type="audio/mpeg")
        elif request.path.endswith("/embeddings"):
            data = [{"object": "embedding", "index": 0, "embedding": [float(self.count)]}]
            await connection.respond(
                {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}}
            )
        elif request.path.endswith("/images/generations"):
            await connection.respond({"created": self.count, "data": [{"b64_json": "iVBORw0KGgo="}]})
        elif request.path.endswith("/audio/transcriptions"):
            await connection.respond({"text": word})
        elif self.status != 200:
            await connection.respond({"error": {"message": "no"}}, self.status)
        elif request.json.get("stream"):
            await connection.stream(OPENAI.content_type)
            await connection.chunk(OPENAI.head + OPENAI.delta("One "))
            await self.released.wait()
            await connection.chunk(OPENAI.delta(word) + OPENAI.end)
            await connection.end()
        else:
            await self.released.wait()
            message = {"role": "assistant", "content": word}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            await connection.respond(
                {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
            )


@asynccontextmanager
async def serving(script: Script, **environ: str) -> AsyncIterator[Client]:
    with TemporaryDirectory() as folder:
        async with Upstream(script).run() as upstream:
            environ = {**OPENAI.environ(upstream), "MAX_RETRIES": "0", "DATA_DIR": folder, **environ}
            async with run_server(make_config(**environ)) as server:
                yield server


async def read(answer: Answer) -> tuple[int, bytes]:
    return answer.status, await answer.body()


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
async def test_a_stream_of_every_client_is_repeated(client: ClientWire) -> None:
    engine = Engine()
    async with serving(engine) as server:
        body, headers = client.request("openai"), {**client.headers, **KEY}
        first = await server.post(client.path, body, headers)
        shown = await read(first)
        again = await server.post(client.path, body, headers)
        assert await read(again) == shown and shown[0] == 200 and b"answer 1" in shown[1]
        assert (first.headers.get(REPLAYED), again.headers[REPLAYED]) == (None, "true")
        for name in ("Content-Type", "X-Request-Id"):
            assert again.headers[name] == first.headers[name]
    assert engine.count == 1


BILLED: list[tuple[str, dict[str, Any]]] = [
    (PATH, CHAT),
    (PATH, {**CHAT, "stream": True}),
    ("/v1/responses", {"model": "openai/gpt-4o", "input": "Hi", "store": False}),
    ("/v1/messages", {"model": "openai/gpt-4o", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}),
    ("/api/chat", {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "stream": False}),
    ("/llm/chat", {"engine": "openai", "model": "gpt-4o", "prompt": "Hi", "stream": False, "tools": False}),
    ("/llm/title", {"engine": "openai", "model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}),
    ("/v1/embeddings", {"model": "openai/text-embedding-3-small", "input": "Hi"}),
    ("/v1/images/generations", {"model": "openai/gpt-image-1", "prompt": "A cat"}),
    ("/v1/audio/speech", {"model": "openai/tts-1", "input": "Hi", "voice": "alloy"}),
    ("/voice/tts", {"engine": "openai", "text": "Hi"}),
]


@pytest.mark.parametrize(("path", "body"), BILLED, ids=[f"{path} {len(body)}" for path, body in BILLED])
async def test_each_post_that_an_engine_bills_is_repeated(path: str, body: dict[str, Any]) -> None:
    engine = Engine()
    async with serving(engine) as server:
        shown = [await read(await server.post(path, body, ME)) for _ in range(3)]
        assert shown[0] == shown[1] == shown[2] and shown[0][0] == 200, shown
        assert engine.count == 1
        other = await read(await server.post(path, body, {**CLIENT, "Idempotency-Key": "k-2"}))
        assert other[0] == 200 and engine.count == 2
        assert (await read(await server.post(path, body)))[0] == 200
        assert engine.count == 3


async def test_a_form_is_the_same_with_another_boundary() -> None:
    engine = Engine()
    async with serving(engine) as server:
        shown = []
        for boundary, sound in (("aa", b"RIFF"), ("bb", b"RIFF"), ("cc", b"OTHER")):
            fields = b'--%b\r\nContent-Disposition: form-data; name="model"\r\n\r\nopenai/whisper-1\r\n'
            file = b'--%b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n%b\r\n--%b--\r\n'
            mark = boundary.encode()
            raw = fields % mark + file % (mark, sound, mark)
            headers = {**ME, "Content-Type": f"multipart/form-data; boundary={boundary}"}
            shown.append(await read(await server.post("/v1/audio/transcriptions", raw, headers)))
    assert shown[0] == shown[1] and shown[0][0] == 200
    assert shown[2][0] == 422 and engine.count == 1


async def test_another_body_under_the_key_is_422_and_another_path_or_client_is_its_own() -> None:
    engine = Engine()
    async with serving(engine, AUTHORIZED_CLIENT_ID=f"{CLIENT_ID},second-client-id") as server:
        assert (await read(await server.post(PATH, CHAT, ME)))[0] == 200
        refused = await server.post(PATH, {**CHAT, "temperature": 0}, ME)
        assert refused.status == 422 and "Idempotency-Key" in (await refused.json())["error"]["message"]
        assert engine.count == 1
        body = {"model": "openai/gpt-4o", "max_tokens": 9, "messages": CHAT["messages"]}
        assert (await read(await server.post("/v1/messages", body, ME)))[0] == 200
        assert (await read(await server.post(PATH, CHAT, {"X-ClientId": "second-client-id", **KEY})))[0] == 200
        assert engine.count == 3
        assert (await read(await server.post(PATH, CHAT, {"X-ClientId": "wrong", **KEY})))[0] == 401


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\xe9"])
async def test_a_key_that_is_none_is_refused(key: str) -> None:
    async with serving(Engine()) as server:
        answer = await server.post(PATH, CHAT, {**CLIENT, "Idempotency-Key": key})
        assert answer.status == 400 and "Idempotency-Key" in (await answer.json())["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_under_way_is_shared(stream: bool) -> None:
    engine = Engine(held=True)
    async with serving(engine) as server:
        body = {**CHAT, "stream": stream}
        answers = [await server.send("POST", PATH, body, ME) for _ in range(5)]
        await wait_until(lambda: engine.count)
        await wait_until(lambda: len(server.server.listener.connections) == 5)
        assert engine.count == 1
        assert (await server.post(PATH, {**body, "seed": 1}, ME)).status == 422
        engine.released.set()
        for answer in answers:
            await answer.head()
        shown = [await read(answer) for answer in answers]
    assert len({*shown}) == 1 and shown[0][0] == 200 and engine.count == 1


@pytest.mark.parametrize("status", [400, 429, 500])
async def test_an_error_is_not_kept(status: int) -> None:
    engine = Engine()
    async with serving(engine) as server:
        engine.status = status
        assert (await read(await server.post(PATH, CHAT, ME)))[0] >= 400
        engine.status = 200
        assert (await read(await server.post(PATH, CHAT, ME)))[0] == 200
        assert engine.count == 2


async def test_a_stream_that_fails_in_the_middle_is_not_kept() -> None:
    count = 0

    async def script(request: Request, connection: Connection) -> None:
        nonlocal count
        count += 1
        await connection.stream(OPENAI.content_type)
        await connection.chunk(OPENAI.head + OPENAI.delta("One "))
        connection.cut()

    async with serving(script) as server:
        for _ in range(2):
            answer = await server.post(PATH, {**CHAT, "stream": True}, ME)
            assert answer.status == 200
            assert b"error" in await answer.body()
    assert count == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_the_answer_of_a_client_that_left_is_not_kept(stream: bool) -> None:
    engine = Engine(held=True)
    async with serving(engine) as server:
        body = {**CHAT, "stream": stream}
        first = await server.send("POST", PATH, body, ME)
        await wait_until(lambda: engine.count)
        waiting = await server.send("POST", PATH, body, ME)
        first.close()
        await wait_until(lambda: engine.count == 2)
        engine.released.set()
        await waiting.head()
        assert b"answer 2" in (await read(waiting))[1]
        assert b"answer 2" in (await read(await server.post(PATH, body, ME)))[1]
    assert engine.count == 2


async def test_a_waiting_client_that_leaves_takes_nothing_along() -> None:
    engine = Engine(held=True)
    async with serving(engine) as server:
        first = await server.send("POST", PATH, CHAT, ME)
        await wait_until(lambda: engine.count)
        waiting = await server.send("POST", PATH, CHAT, ME)
        await wait_until(lambda: len(server.server.listener.connections) == 2)
        waiting.close()
        await wait_until(lambda: len(server.server.listener.connections) == 1)
        engine.released.set()
        await first.head()
        assert b"answer 1" in (await read(first))[1]
        assert b"answer 1" in (await read(await server.post(PATH, CHAT, ME)))[1]


async def test_an_answer_is_forgotten_at_its_age() -> None:
    engine = Engine()
    async with serving(engine, IDEMPOTENCY_MAX_AGE="1s") as server:
        await read(await server.post(PATH, CHAT, ME))

        async def asked_again() -> None:
            while engine.count == 1:
                await read(await server.post(PATH, CHAT, ME))
                await asyncio.sleep(0.05)

        await asyncio.wait_for(asked_again(), 10)
        assert (await read(await server.post(PATH, {**CHAT, "seed": 1}, ME)))[0] == 422


async def test_an_answer_above_a_quarter_of_the_store_is_not_kept() -> None:
    engine = Engine()
    async with serving(engine, IDEMPOTENCY_MAX_SIZE="4KB") as server:
        body = {"model": "openai/tts-1", "input": "Hi", "voice": "alloy"}
        for number in (1, 2):
            assert (await read(await server.post("/v1/audio/speech", body, ME)))[1] == SPEECH + bytes([number])


async def test_a_store_that_fails_stops_no_answer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    async with serving(Engine(), DATA_DIR=str(tmp_path / "file")) as server:
        assert (await read(await server.post(PATH, CHAT, ME)))[0] == 200


async def test_what_is_not_billed_has_no_use_for_a_key() -> None:
    async with serving(Engine()) as server:
        for body in ({"model": "gpt-4o", "messages": CHAT["messages"]}, {"model": "gpt-4o", "messages": []}):
            answer = await server.post("/v1/messages/count_tokens", body, ME)
            assert answer.status != 422


async def test_the_log_line_says_that_an_answer_was_repeated(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with serving(Engine()) as server:
        for _ in range(2):
            await read(await server.post(PATH, CHAT, ME))
        lines = [vars(record) for record in caplog.records if record.message == "request"]
    assert [line.get("fields", line).get("replayed") for line in lines] == [None, True]
    assert "k-1" not in json.dumps([str(line) for line in lines])


# --- several processes ---


async def test_processes_share_answers_and_what_is_under_way(tmp_path: Path) -> None:
    engine = Engine(held=True)
    async with Upstream(engine).run() as upstream, run_workers(tmp_path, **OPENAI.environ(upstream)) as server:
        one, other = server.workers
        first = await server.send_to(one, "POST", PATH, CHAT, ME)
        await wait_until(lambda: engine.count)
        second = await server.send_to(other, "POST", PATH, CHAT, ME)
        engine.released.set()
        await first.head()
        await second.head()
        shown = await read(first)
        assert await read(second) == shown and b"answer 1" in shown[1]
        assert await read(await server.request_to(other, "POST", PATH, CHAT, ME)) == shown
        assert (await server.request_to(other, "POST", PATH, {**CHAT, "seed": 1}, ME)).status == 422
        os.kill(one, signal.SIGKILL)
        os.kill(other, signal.SIGKILL)
        await wait_until(lambda: len(server.workers) == 2 and not {one, other} & {*server.workers})
        assert await read(await server.post(PATH, CHAT, ME)) == shown
    assert engine.count == 1
