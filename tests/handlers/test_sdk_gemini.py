"""Our answers read by Google's own client (google-genai), over engines of its wire and of other wires."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.harness import CLIENT_ID, Client, Connection, Request, Script, Upstream, make_config, run_server
from tests.support.scripted import ANSWER_TEXT, PNG, make_call_script, make_error_body, make_text_script
from tests.support.wires import WIRES, Wire

ENGINES = pytest.mark.parametrize("engine", WIRES)
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
GOOGLE = {"x-goog-api-key": CLIENT_ID}
HELLO: Any = {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}


def model_of(engine: str) -> str:
    """Returns a model of the engine; only some of Anthropic's support structured output."""
    return f"{engine}/{ {'anthropic': 'claude-sonnet-4-5', 'google': 'gemini-3.5-flash'}.get(engine, 'm') }"


@asynccontextmanager
async def judged(wire: Wire, script: Script, **settings: str) -> AsyncIterator[tuple[Any, Upstream, Client]]:
    """Yields the asynchronous half of Google's client, the provider and a plain client."""
    from google import genai  # its import takes a second

    environment = wire.environ(Upstream(script), MAX_RETRIES="0", **settings)
    async with Upstream(script).run() as upstream:
        environment = wire.environ(upstream, MAX_RETRIES="0", **settings)
        async with run_server(make_config(**environment)) as server:
            client = genai.Client(api_key=CLIENT_ID, http_options=genai.types.HttpOptions(base_url=server.url))
            yield client.aio, upstream, server
            await client.aio.aclose()


async def ask(client: Any, stream: bool, **asked: Any) -> list[Any]:
    """Returns the chunks of an answer."""
    if stream:
        return [chunk async for chunk in await client.models.generate_content_stream(**asked)]
    return [await client.models.generate_content(**asked)]


def join(chunks: list[Any]) -> str:
    return "".join(chunk.text or "" for chunk in chunks)


@ENGINES
@BOTH
async def test_an_answer(engine: str, stream: bool) -> None:
    async with judged(WIRES[engine], make_text_script(WIRES[engine])) as (client, _, _):
        chunks = await ask(client, stream, model=model_of(engine), contents="Hello")
    last = chunks[-1]
    assert (join(chunks), last.candidates[0].finish_reason) == (ANSWER_TEXT, "STOP")
    assert last.usage_metadata.total_token_count and last.model_version and (engine == "google" or last.response_id)


@ENGINES
@BOTH
async def test_a_chat_calls_a_python_function_and_goes_on(engine: str, stream: bool) -> None:
    """The package calls the function by itself, and sends the history of its own chat in the second turn."""
    from google.genai import types

    called: list[str] = []

    def get_weather(city: str) -> str:
        """Returns the weather."""
        called.append(city)
        return "Sunny"

    async with judged(WIRES[engine], make_call_script(WIRES[engine])) as (client, upstream, _):
        chat = client.chats.create(model=model_of(engine), config=types.GenerateContentConfig(tools=[get_weather]))
        texts = []
        for question in ("Weather?", "And?"):
            if stream:
                texts.append(join([chunk async for chunk in await chat.send_message_stream(question)]))
            else:
                texts.append((await chat.send_message(question)).text)
        history = chat.get_history(curated=True)
    assert (texts, called) == ([ANSWER_TEXT, ANSWER_TEXT], ["Paris"])
    assert [content.role for content in history if content.role] and len(upstream.requests) == 3
    sent = json.dumps(upstream.requests[-1].json, ensure_ascii=False)
    answer = "🦊" if (engine, stream) == ("google", True) else ANSWER_TEXT  # the package keeps each chunk apart
    assert all(one in sent for one in ("Weather?", "Paris", "Sunny", answer, "And?", "get_weather"))


@ENGINES
async def test_structured_output_is_parsed(engine: str) -> None:
    from google.genai import types
    from pydantic import BaseModel

    class Answer(BaseModel):
        city: str | None
        degrees: int

    wire = WIRES[engine]
    async with judged(wire, make_text_script(wire, whole=wire.whole('{"degrees": 5, "city": "Paris"}'))) as made:
        client, upstream, _ = made
        config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=Answer)
        answer = await client.models.generate_content(model=model_of(engine), contents="Weather?", config=config)
    assert answer.parsed == Answer(city="Paris", degrees=5)
    sent = json.dumps(upstream.requests[0].json)
    assert ("degrees" in sent and "property_ordering" not in sent) or engine == "google"


@pytest.mark.parametrize("engine", [one for one in WIRES if one != "ollama"])
async def test_an_image_goes_in(engine: str) -> None:
    from base64 import b64decode

    from google.genai import types

    wire = WIRES[engine]
    async with judged(wire, make_text_script(wire)) as (client, upstream, _):
        image = types.Part.from_bytes(data=b64decode(PNG), mime_type="image/png")
        await client.models.generate_content(model=model_of(engine), contents=["Look", image])
    sent = json.dumps(upstream.requests[0].json)
    assert PNG in sent or (engine == "google" and PNG.replace("+", "-").replace("/", "_") in sent)


@pytest.mark.parametrize("name", ["{}", "models/{}"])
async def test_model_names_have_slashes_and_colons(name: str) -> None:
    wire = WIRES["ollama"]
    async with judged(wire, make_text_script(wire)) as (client, upstream, server):
        await ask(client, False, model=name.format("ollama/qwen3:8b"), contents="Hello")
        await ask(client, True, model=name.format("ollama/hf.co/a/b:Q4"), contents="Hello")
        path = f"/v1beta/models/{'ollama/qwen3:8b'.replace('/', '%2F').replace(':', '%3A')}:generateContent"
        assert (await server.post(path, HELLO, GOOGLE)).status == 200
        assert (await server.post("/v1/models/ollama/m:generateContent", HELLO, GOOGLE)).status == 200
        bearer = {"Authorization": f"Bearer {CLIENT_ID}"}
        assert (await server.post("/v1alpha/models/ollama/m:generateContent", HELLO, bearer)).status == 200
    asked = [request.json["model"] for request in upstream.requests]
    assert asked == ["qwen3:8b", "hf.co/a/b:Q4", "qwen3:8b", "m", "m"]


@ENGINES
@pytest.mark.parametrize(("status", "code"), [(400, 400), (404, 404), (429, 429), (500, 502), (529, 503)])
@BOTH
async def test_errors_are_raised_as_the_right_class(engine: str, status: int, code: int, stream: bool) -> None:
    from google.genai import errors

    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(make_error_body(engine, status, "model_not_found" if status == 404 else "bad"), status)

    async with judged(WIRES[engine], script) as (client, _, _):
        with pytest.raises(errors.ClientError if code < 500 else errors.ServerError) as caught:
            await ask(client, stream, model=model_of(engine), contents="Hello")
    assert caught.value.code == code and "No." in str(caught.value.message)


@ENGINES
async def test_s2_an_error_in_mid_stream_is_raised(engine: str) -> None:
    from google.genai import errors

    wire, got = WIRES[engine], ""
    async with judged(wire, make_text_script(wire, wire.head, wire.delta("Hi"), wire.error)) as (client, _, _):
        with pytest.raises(errors.APIError, match="It broke"):
            async for chunk in await client.models.generate_content_stream(model=model_of(engine), contents="Hello"):
                got += chunk.text or ""
    assert got == "Hi"


@ENGINES
async def test_s11_silence_keeps_the_connection_alive(engine: str) -> None:
    """The package fails at a comment, so nothing is sent but the headers."""
    wire, go_on = WIRES[engine], asyncio.Event()

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream(wire.content_type)
        await connection.chunk(wire.head + wire.ping)
        await go_on.wait()
        await connection.chunk(wire.delta("Hi") + wire.end)
        await connection.end()

    async with judged(wire, script, KEEPALIVE_INTERVAL="0.05") as (client, _, server):
        path = f"/v1beta/models/{model_of(engine)}:streamGenerateContent?alt=sse"
        raw = await server.post(path, HELLO, GOOGLE)  # the headers have come
        go_on.set()
        assert all(line.startswith(b"data: ") for line in (await raw.body()).splitlines() if line)
        chunks = await ask(client, True, model=model_of(engine), contents="Hello")
    assert join(chunks) == "Hi"


@ENGINES
async def test_without_alt_a_stream_is_one_json_array(engine: str) -> None:
    wire = WIRES[engine]
    async with judged(wire, make_text_script(wire)) as (_, upstream, server):
        answer = await server.post(f"/v1beta/models/{model_of(engine)}:streamGenerateContent", HELLO, GOOGLE)
        chunks = json.loads(await answer.body())
    assert answer.headers["content-type"] == "application/json"
    parts = [part for chunk in chunks for part in chunk["candidates"][0].get("content", {}).get("parts", ())]
    assert "".join(part["text"] for part in parts) == ANSWER_TEXT and len(chunks) > 1
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"
    assert engine != "google" or upstream.requests[0].path.endswith(":streamGenerateContent?alt=sse")


@ENGINES
async def test_an_error_in_mid_stream_is_the_last_item_of_the_array(engine: str) -> None:
    wire = WIRES[engine]
    async with judged(wire, make_text_script(wire, wire.head, wire.delta("Hi"), wire.error)) as (_, _, server):
        answer = await server.post(f"/v1beta/models/{model_of(engine)}:streamGenerateContent", HELLO, GOOGLE)
        *_, text, error = json.loads(await answer.body())
    assert text["candidates"][0]["content"]["parts"][0]["text"] == "Hi" and "It broke" in error["error"]["message"]


async def test_google_gets_the_body_and_the_query_as_they_came_and_its_answer_comes_back_to_the_byte() -> None:
    wire = WIRES["google"]
    body = {**HELLO, "generation_config": {"top_k": 1}, "newField": {"a": [1.0, None]}}
    document = b'{ "candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}],  "new": 1.50 }'

    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(document)

    async with judged(wire, script) as (_, upstream, server):
        path = "/v1beta/models/google/gemini-3.5-flash:generateContent?prettyPrint=false"
        answer = await server.post(path, body, GOOGLE)
        assert await answer.body() == document
    [request] = upstream.requests
    assert request.path == "/v1beta/models/gemini-3.5-flash:generateContent?prettyPrint=false"
    assert request.json == body and request.headers["x-goog-api-key"] == "sk-canary-GOOGLE"


async def test_an_error_of_google_keeps_its_fields() -> None:
    error = {
        "code": 429,
        "message": "Slow.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}, {"@type": "x"}],
    }

    async def script(request: Request, connection: Connection) -> None:
        await connection.respond({"error": error}, 429)

    async with judged(WIRES["google"], script) as (_, _, server):
        answer = await server.post("/v1beta/models/google/m:generateContent", HELLO, GOOGLE)
        got = (await answer.json())["error"]
    assert (answer.status, got["code"], got["message"], got["status"]) == (429, 429, "Slow.", "RESOURCE_EXHAUSTED")
    assert got["details"][:2] == error["details"]


@BOTH
@pytest.mark.parametrize("engine", ["openai", "google"])
async def test_a_refused_prompt_is_an_answer_with_feedback(engine: str, stream: bool) -> None:
    async def script(request: Request, connection: Connection) -> None:
        if engine == "openai":
            error = {"message": "Filtered.", "type": None, "code": "content_filter"}
            await connection.respond({"error": error}, 400)
        elif stream:
            await connection.stream("text/event-stream")
            await connection.chunk(b'data: {"promptFeedback": {"blockReason": "SAFETY"}}\n\n')
            await connection.end()
        else:
            await connection.respond({"promptFeedback": {"blockReason": "SAFETY"}})

    async with judged(WIRES[engine], script) as (client, _, _):
        [answer] = await ask(client, stream, model=model_of(engine), contents="Hello")
    reason = "PROHIBITED_CONTENT" if engine == "openai" else "SAFETY"
    assert answer.prompt_feedback.block_reason == reason and not answer.candidates


# --- keys, paths, models ---


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1beta/models"),
        ("GET", "/v1beta/models/demo/demo-chat"),
        ("POST", "/v1beta/models/demo/demo-chat:generateContent"),
        ("POST", "/v1/models/demo/demo-chat:streamGenerateContent"),
        ("POST", "/v1beta/models/demo/demo-chat:countTokens"),
        ("POST", "/v1beta/models/demo/demo-chat:embedContent"),
    ],
)
async def test_a_key_in_the_url_is_refused_with_a_sentence(method: str, path: str) -> None:
    async with run_server(make_config()) as server:
        answer = await server.request(method, f"{path}?key={CLIENT_ID}", HELLO if method == "POST" else None, {})
        error = (await answer.json())["error"]
    assert (answer.status, error["status"]) == (400, "INVALID_ARGUMENT")
    assert "x-goog-api-key" in error["message"] and CLIENT_ID not in json.dumps(error)


async def test_a_wrong_client_id_is_unauthenticated() -> None:
    from google import genai

    async with run_server(make_config()) as server:
        client = genai.Client(api_key="wrong", http_options=genai.types.HttpOptions(base_url=server.url))
        with pytest.raises(genai.errors.ClientError) as caught:
            await client.aio.models.generate_content(model="demo/demo-chat", contents="Hello")
        await client.aio.aclose()
    assert (caught.value.code, caught.value.status) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize("path", ["/v1beta/nothing", "/v1beta/cachedContents", "/v1beta/models/demo/m:predict"])
async def test_unknown_paths_are_not_found(path: str) -> None:
    async with run_server(make_config()) as server:
        answer = await server.post(path, {}, GOOGLE)
        assert (answer.status, (await answer.json())["error"]["status"]) == (404, "NOT_FOUND")


async def test_models_are_listed_and_looked_up() -> None:
    from google import genai

    async with run_server(make_config()) as server:
        for version in ("v1beta", "v1"):
            options = genai.types.HttpOptions(base_url=server.url, api_version=version)
            client = genai.Client(api_key=CLIENT_ID, http_options=options)
            listed = {model.name: model async for model in await client.aio.models.list()}
            model = listed["models/demo/demo-chat"]
            assert model.supported_actions and "generateContent" in model.supported_actions
            assert await client.aio.models.get(model="demo/demo-chat") == model
            with pytest.raises(genai.errors.ClientError) as caught:
                await client.aio.models.get(model="demo/nothing")
            assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")
            await client.aio.aclose()
        for header in ("x-goog-api-key", "x-goog-api-client"):
            headers = {"Authorization": f"Bearer {CLIENT_ID}", header: CLIENT_ID}
            assert "models" in await (await server.get("/v1/models", headers)).json()
        assert "data" in await (await server.get("/v1/models", {"Authorization": f"Bearer {CLIENT_ID}"})).json()


# --- token counts and embeddings ---


@ENGINES
async def test_tokens_are_counted(engine: str) -> None:
    async def script(request: Request, connection: Connection) -> None:
        counts = {"totalTokens": 7, "input_tokens": 7, "cachedContentTokenCount": 2}
        await connection.respond(counts)

    async with judged(WIRES[engine], script) as (client, upstream, _):
        counted = await client.models.count_tokens(model=model_of(engine), contents="Hello, how are you?")
    assert counted.total_tokens == 7 or (engine in ("openai", "responses", "ollama") and counted.total_tokens > 2)
    if engine == "google":
        assert upstream.requests[0].path == "/v1beta/models/gemini-3.5-flash:countTokens"
        assert counted.cached_content_token_count == 2 and [*upstream.requests[0].json] == ["contents"]


async def test_a_whole_request_is_counted_with_its_system_prompt() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond({"totalTokens": 7})

    inner = {**HELLO, "model": "models/google/m", "systemInstruction": {"parts": [{"text": "Be brief."}]}}
    async with judged(WIRES["google"], script) as (_, upstream, server):
        path = "/v1beta/models/google/m:countTokens"
        assert (await (await server.post(path, {"generateContentRequest": inner}, GOOGLE)).json())["totalTokens"] == 7
    assert upstream.requests[0].json == {"generateContentRequest": {**inner, "model": "models/m"}}


@pytest.mark.parametrize("engine", ["openai", "google", "ollama"])
@pytest.mark.parametrize("texts", [["Hello"], ["Hello", "Bye"]])
async def test_embeddings(engine: str, texts: list[str]) -> None:
    from google.genai import types

    vectors = [[0.25, -1.0], [1.0, 2.0]][: len(texts)]
    answers: dict[str, Any] = {
        "openai": {
            "object": "list",
            "data": [{"index": n, "embedding": v} for n, v in enumerate(vectors)],
            "model": "m",
        },
        "google": {"embeddings": [{"values": vector} for vector in vectors]},
        "ollama": {"embeddings": vectors},
    }
    async with judged(WIRES[engine], make_text_script(WIRES[engine], whole=answers[engine])) as (client, upstream, _):
        config = types.EmbedContentConfig(output_dimensionality=2, task_type="RETRIEVAL_QUERY")
        made = await client.models.embed_content(model=f"{engine}/m", contents=texts, config=config)
    assert [one.values for one in made.embeddings] == vectors
    sent = json.dumps(upstream.requests[0].json)
    assert all(text in sent for text in texts) and "2" in sent
    if engine == "google":
        assert [one["model"] for one in upstream.requests[0].json["requests"]] == ["models/m"] * len(texts)
        assert "RETRIEVAL_QUERY" in sent


async def test_one_text_is_embedded_and_what_another_engine_cannot_use_is_named() -> None:
    wire = WIRES["openai"]
    whole = {"object": "list", "data": [{"index": 0, "embedding": [0.5]}], "model": "m", "usage": {"prompt_tokens": 3}}
    async with judged(wire, make_text_script(wire, whole=whole)) as (_, _, server):
        body = {"content": {"parts": [{"text": "Hello"}]}, "taskType": "RETRIEVAL_QUERY", "title": "T"}
        answer = await server.post("/v1beta/models/openai/m:embedContent", body, GOOGLE)
        assert (await answer.json())["embedding"] == {"values": [0.5]}
        assert answer.headers["x-dropped-fields"] == "taskType, title"
        picture = {"content": {"parts": [{"inline_data": {"mime_type": "image/png", "data": PNG}}]}}
        refused = await server.post("/v1beta/models/openai/m:embedContent", picture, GOOGLE)
        assert (refused.status, (await refused.json())["error"]["status"]) == (400, "INVALID_ARGUMENT")
