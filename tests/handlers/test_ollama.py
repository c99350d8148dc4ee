"""Ollama's API over every engine, used by Ollama's own client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ollama
import pytest

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
from tests.support.scripted import ANSWER_TEXT, PNG, make_call_script, make_error_body, make_text_script
from tests.support.wires import WIRES, Wire

ALL = pytest.mark.parametrize("engine", WIRES)


# --- Ollama's own client ---


@asynccontextmanager
async def judged(wire: Wire, script: Script) -> AsyncIterator[tuple[ollama.AsyncClient, Upstream, Client]]:
    async with (
        Upstream(script).run() as upstream,
        run_server(make_config(**wire.environ(upstream, MAX_RETRIES="0"))) as s,
    ):
        client = ollama.AsyncClient(host=s.url, headers={"Authorization": f"Bearer {CLIENT_ID}"})
        try:
            yield client, upstream, s
        finally:
            await client._client.aclose()


HELLO = [{"role": "user", "content": "Hello"}]


@ALL
async def test_a_chat_streamed_and_whole(engine: str) -> None:
    wire = WIRES[engine]
    async with judged(wire, make_text_script(wire)) as (client, _, _):
        parts = [part async for part in await client.chat(model=f"{engine}/m", messages=HELLO, stream=True)]
        whole = await client.chat(model=f"{engine}/m", messages=HELLO)
    assert "".join(part.message.content or "" for part in parts) == "Grüße 🦊"
    assert (parts[-1].done, parts[-1].prompt_eval_count, parts[-1].eval_count) == (True, 5, 2)
    assert (whole.message.content, whole.done, whole.done_reason) == ("Grüße 🦊", True, "stop")


@ALL
async def test_a_prompt_is_completed(engine: str) -> None:
    wire = WIRES[engine]
    pieces: tuple[bytes, ...] = (wire.head, wire.delta("Grüße "), wire.delta("🦊"), wire.end)
    if engine == "ollama":  # passthrough: the answer is Ollama's own
        lines = [json.loads(piece) for piece in pieces if piece]
        pieces = tuple(
            json.dumps({**line, "response": line.pop("message")["content"]}).encode() + b"\n" for line in lines
        )
    async with judged(wire, make_text_script(wire, *pieces)) as (client, _, _):
        parts = [
            p async for p in await client.generate(model=f"{engine}/m", prompt="Hello", system="Be brief.", stream=True)
        ]
        loaded = await client.generate(model=f"{engine}/m")
    assert "".join(part.response or "" for part in parts) == "Grüße 🦊"
    assert (loaded.done, loaded.done_reason, loaded.response) == (True, "load", "")


@ALL
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_tool_s_round_trip(engine: str, stream: bool) -> None:
    def get_weather(city: str) -> str:
        """The weather

        Args:
          city: Where
        """
        return f"Sunny in {city}"

    wire = WIRES[engine]
    async with judged(wire, make_call_script(wire)) as (client, upstream, _):
        messages: list[Any] = [{"role": "user", "content": "Weather?"}]
        called: list[Any] = []
        more: Any = {"stream": stream}
        asked: Any = await client.chat(model=f"{engine}/m", messages=messages, tools=[get_weather], **more)
        for part in [part async for part in asked] if stream else [asked]:
            called += part.message.tool_calls or []
        [call] = called
        assert (call.function.name, dict(call.function.arguments)) == ("get_weather", {"city": "Paris"})
        messages += [
            {"role": "assistant", "content": "", "tool_calls": called},
            {"role": "tool", "tool_name": "get_weather", "content": get_weather(**call.function.arguments)},
        ]
        answer = await client.chat(model=f"{engine}/m", messages=messages, tools=[get_weather])
    assert answer.message.content == ANSWER_TEXT
    sent = json.dumps(upstream.requests[-1].json)
    assert "Sunny in Paris" in sent and "get_weather" in sent


@ALL
@pytest.mark.parametrize(
    ("status", "expected"), [(400, 400), (404, 404), (429, 429), (500, 502), (503, 503), (529, 503)]
)
async def test_errors_carry_their_status_and_sentence(engine: str, status: int, expected: int) -> None:
    wire = WIRES[engine]

    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(
            make_error_body(engine, status, message="Slow down."), status, headers={"retry-after": "7"}
        )

    async with judged(wire, script) as (client, _, _):
        for stream in (False, True):
            with pytest.raises(ollama.ResponseError, match=r"Slow down\.") as caught:
                asked: Any = await client.chat(model=f"{engine}/m", messages=HELLO, stream=stream)
                async for _ in asked:
                    pass
            assert caught.value.status_code == expected


async def test_a_wrong_client_id_is_refused() -> None:
    async with run_server(make_config()) as server:
        client = ollama.AsyncClient(host=server.url, headers={"Authorization": "Bearer wrong"})
        with pytest.raises(ollama.ResponseError) as caught:
            await client.chat(model="demo/demo-chat", messages=HELLO)
        await client._client.aclose()
    assert caught.value.status_code == 401


@ALL
async def test_s2_an_error_in_mid_stream_is_raised(engine: str) -> None:
    wire = WIRES[engine]
    async with judged(wire, make_text_script(wire, wire.head, wire.delta("Hi"), wire.error)) as (client, _, _):
        said = ""
        with pytest.raises(ollama.ResponseError, match="It broke"):
            async for part in await client.chat(model=f"{engine}/m", messages=HELLO, stream=True):
                said += part.message.content or ""
    assert said == "Hi"


@ALL
async def test_c1_abort_in_mid_stream_reaches_the_provider(engine: str) -> None:
    wire = WIRES[engine]
    closed = asyncio.Event()

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream(wire.content_type)
        await connection.chunk(wire.head + wire.delta("Hi"))
        await connection.wait_closed()
        closed.set()

    async with judged(wire, script) as (client, _, _):
        stream: Any = await client.chat(model=f"{engine}/m", messages=HELLO, stream=True)
        await anext(stream)
        await stream.aclose()
        await asyncio.wait_for(closed.wait(), 5)


@ALL
async def test_structured_output_and_images_are_forwarded(engine: str) -> None:
    wire = WIRES[engine]
    model = f"{engine}/{'claude-sonnet-4-5' if engine == 'anthropic' else 'm'}"
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    said = make_text_script(wire, whole=wire.whole('{"city": "Paris"}'))
    async with judged(wire, said) as (client, upstream, _):
        message = {"role": "user", "content": "Look", "images": [PNG]}
        answer = await client.chat(model=model, messages=[message], format=schema, options={"temperature": 0})
    assert json.loads(answer.message.content or "") == {"city": "Paris"}
    sent = json.dumps(upstream.requests[0].json)
    assert PNG in sent and '"temperature": 0' in sent and '"city"' in sent


async def test_embeddings_and_lists() -> None:
    answer = {"object": "list", "data": [{"index": 0, "embedding": [0.25, -1]}], "usage": {"prompt_tokens": 3}}
    models = {"data": [{"id": "gpt-5.4-mini", "created": 1764000000}, {"id": "text-embedding-3-small", "created": 1}]}

    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(models if request.path.endswith("/models") else answer)

    async with judged(WIRES["openai"], script) as (client, _, server):
        made = await client.embed(model="openai/text-embedding-3-small", input="Hello", truncate=True)
        listed = await client.list()
        shown = await client.show("openai/gpt-5.4-mini")
        running = await client.ps()
        version = await (await server.get("/api/version", CLIENT)).json()
        with pytest.raises(ollama.ResponseError) as caught:
            await client.show("openai/nothing")
    assert [[*vector] for vector in made.embeddings] == [[0.25, -1.0]]
    assert [model.model for model in listed.models] == ["openai/gpt-5.4-mini", "openai/text-embedding-3-small"]
    assert len({model.digest for model in listed.models}) == 2  # clients treat models with the same digest as one
    assert shown.capabilities == ["completion", "tools", "vision", "thinking"]
    assert (running.models, caught.value.status_code) == ([], 404)
    assert version["version"].count(".") == 2


async def test_the_legacy_embeddings_call_works() -> None:
    answer = {"object": "list", "data": [{"index": 0, "embedding": [0.25, -1]}], "usage": {"prompt_tokens": 3}}

    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(answer)

    async with judged(WIRES["openai"], script) as (client, upstream, server):
        made = await client.embeddings(model="openai/text-embedding-3-small", prompt="Hello")
        bare = await server.post("/api/embeddings", {"model": "openai/text-embedding-3-small"})
        assert (bare.status, (await bare.json())["param"]) == (400, "prompt")
    assert [*made.embedding] == [0.25, -1.0]
    [sent] = upstream.requests
    assert sent.json["input"] in ("Hello", ["Hello"])


async def test_t12_ollama_to_ollama_is_passthrough() -> None:
    said = (
        b'{"model":"m:latest","message":{"role":"assistant","content":"Gr\xc3\xbc"},"done":false,"x_new":[1]}\n'
        b'{"model":"m:latest","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop",'
        b'"prompt_eval_count":5,"eval_count":2,"x_later":{"a":null}}\n'
    )
    whole = {"model": "m:latest", "message": {"role": "assistant", "content": "Hi"}, "done": True, "x_new": 1}
    half = len(said) // 2

    async def script(request: Request, connection: Connection) -> None:
        if request.json.get("stream") is False:
            await connection.respond(whole)
            return
        await connection.stream("application/x-ndjson")
        for piece in (said[:half], said[half:]):
            await connection.chunk(piece)
        await connection.end()

    body = {"model": "ollama/m", "messages": [{"role": "user", "content": "Hi", "x_inner": 1}], "x_top": {"later": 2}}
    upstream = Upstream(script)
    async with upstream.run(), run_server(make_config(**WIRES["ollama"].environ(upstream))) as server:
        assert await (await server.post("/api/chat", body)).body() == said
        answer = await server.post("/api/chat", {**body, "stream": False})
        assert await answer.json() == whole
    sent, _ = upstream.requests
    assert sent.path == "/api/chat" and sent.json == {**body, "model": "m"}


async def test_t12_a_generate_prompt_is_passthrough_to_ollama_only() -> None:
    said = (
        b'{"model":"m:latest","response":"Gr\xc3\xbc","done":false,"x_new":[1]}\n'
        b'{"model":"m:latest","response":"","done":true,"done_reason":"stop","context":[1,2],"eval_count":2}\n'
    )

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream("application/x-ndjson")
        await connection.chunk(said)
        await connection.end()

    body: Any = {"model": "ollama/m", "prompt": "def f(", "suffix": "return", "raw": True, "options": {"num_ctx": 64}}
    async with Upstream(script).run() as upstream:
        environ = WIRES["ollama"].environ(upstream, ANTHROPIC_API_KEY="sk-12345678")
        async with run_server(make_config(**environ)) as server:
            assert await (await server.post("/api/generate", body)).body() == said
            refused = await server.post("/api/generate", {**body, "model": "anthropic/m"})
            assert (refused.status, (await refused.json())["param"]) == (400, "raw")
        async with run_server(make_config(**environ, OLLAMA_THINK_TAGS="true")) as server:  # which forces translation
            answer = await server.post("/api/generate", body)
            assert "Grü" in (await answer.body()).decode()
            assert answer.headers["X-Dropped-Fields"] == "suffix"  # Ollama itself ignores it with ``raw``
    sent, translated = upstream.requests
    assert sent.path == translated.path == "/api/generate" and sent.json == {**body, "model": "m"}
    assert translated.json == {n: v for n, v in {**body, "model": "m", "stream": True}.items() if n != "suffix"}


async def test_num_ctx_is_dropped_and_other_options_stay() -> None:
    options = {"num_ctx": 4096, "temperature": 0, "repeat_penalty": 1.1}
    for engine, environ in (("openai", {}), ("ollama", {"OLLAMA_THINK_TAGS": "true"})):
        wire = WIRES[engine]
        upstream = Upstream(make_text_script(wire))
        async with upstream.run(), run_server(make_config(**wire.environ(upstream, **environ))) as server:
            body = {"model": f"{engine}/m", "messages": HELLO, "options": options, "stream": False}
            answer = await server.post("/api/chat", body)
            assert answer.status == 200, await answer.body()
        [sent] = upstream.requests
        if engine == "ollama":
            assert sent.json["options"] == options
        else:
            assert sent.json["temperature"] == 0 and "num_ctx" not in json.dumps(sent.json)
            assert set(answer.headers["X-Dropped-Fields"].split(", ")) == {"options", "context_tokens"}


async def test_s1_passthrough_appends_an_error_to_lines_without_an_end() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.stream("application/x-ndjson")
        await connection.chunk(b'{"model":"m","message":{"role":"assistant","content":"Half"},"done":false}\n{"mod')
        await connection.end()

    upstream = Upstream(script)
    async with upstream.run(), run_server(make_config(**WIRES["ollama"].environ(upstream))) as server:
        answer = await server.post("/api/chat", {"model": "ollama/m", "messages": [{"role": "user", "content": "Hi"}]})
        first, last = (await answer.body()).splitlines()
    assert json.loads(first)["message"]["content"] == "Half"
    assert "error" in json.loads(last)
