"""Ollama's API over every engine: what a client sends, what it gets, and Ollama's own client as a judge."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import ollama
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.chat.events import (
    Event,
    Finished,
    PartEnded,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from llm.chat.messages import Media, Reasoning, Text, ToolCall, ToolResult, Usage
from llm.chat.reply import collect
from llm.chat.request import ChatRequest
from llm.dialects import ollama as ollama_dialect
from llm.dialects.base import ClientDialect
from llm.dialects.registry import ENGINE_DIALECTS
from llm.engines.records import ENGINES
from llm.errors import InvalidRequest, LLMError
from tests.harness import CLIENT, CLIENT_ID, Client, Connection, Request, Script, Upstream, config, serving, soon
from tests.recordings import recordings
from tests.scripted import PNG, SAID, answering, calling, error_of
from tests.wires import WIRES, Wire

DIALECT: ClientDialect = ollama_dialect
REQUEST = ChatRequest(model="demo/m", messages=())
NOW = 1764000000
ALL = pytest.mark.parametrize("engine", WIRES)


def read(**body: Any) -> ChatRequest:
    return DIALECT.read_request({"model": "m", **body})


# --- what a client sends ---


def test_a_chat_is_read() -> None:
    request = read(
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Look", "images": ["/9j/AAAA", "iVBORw0K"]},
            {
                "role": "assistant",
                "content": "",
                "thinking": "Hm.",
                "tool_calls": [
                    {"function": {"name": "f", "arguments": {"x": 1}}},
                    {"id": "c9", "function": {"name": "g", "arguments": {}}},
                ],
            },
            {"role": "tool", "tool_name": "g", "content": "43"},
            {"role": "tool", "content": "42"},
            {"role": "user", "content": "And?"},
        ],
        tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    )
    assert request.stream
    system, user, assistant, results, last = request.messages
    assert (system.role, user.parts[0], last.parts) == ("system", Text("Look"), (Text("And?"),))
    assert [part.mime for part in user.parts if isinstance(part, Media)] == ["image/jpeg", "image/png"]
    assert assistant.parts == (Reasoning("Hm."), ToolCall("call_2_0", "f", '{"x":1}'), ToolCall("c9", "g", "{}"))
    assert results.parts == (ToolResult("c9", (Text("43"),), name="g"), ToolResult("call_2_0", (Text("42"),), name="f"))


def test_options_are_read_zeros_included() -> None:
    given = {"num_predict": 0, "temperature": 0, "top_p": 0, "top_k": 0, "seed": 0, "stop": ["x"], "num_ctx": 8192}
    options = read(messages=[], options={**given, "mirostat": 1}, think="high", format={"type": "object"}).options
    assert (options.max_tokens, options.temperature, options.top_p, options.top_k, options.seed) == (0, 0, 0, 0, 0)
    assert (options.stop, options.context_tokens, options.effort) == (("x",), 8192, "high")
    assert options.format and options.format.schema == {"type": "object"}
    assert read(messages=[], format="json", think=False).options.reasoning is False
    assert read(messages=[], options={"num_predict": -1}).options.max_tokens is None
    assert not read(messages=[], stream=False).stream


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"messages": 5}, "messages"),
        ({"messages": [5]}, "messages[0]"),
        ({"messages": [{"role": "robot"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "images": [5]}]}, "messages[0].images[0]"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0].function"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [], "think": "hard"}, "think"),
        ({"messages": [], "think": 5}, "think"),
        ({"messages": [], "format": "xml"}, "format"),
        ({"messages": [], "options": {"stop": 5}}, "options.stop"),
        ({"messages": [], "options": {"temperature": "hot"}}, "options.temperature"),
        ({"messages": [], "tools": [{}]}, "tools[0].function"),
    ],
)
def test_a_fault_names_its_place(body: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(**body)
    assert caught.value.param == place


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "user", "tool", "assistant"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "images", "tool_calls", "function", "name", "arguments", "stop", "thinking"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["messages", "prompt", "tools", "options", "think", "format", "system"]), _JSON))
def test_s8_no_body_is_answered_with_anything_but_an_error_of_ours(body: dict[str, Any]) -> None:
    with suppress(LLMError):
        ENGINE_DIALECTS["anthropic"].write_request(read(**body), ENGINES["anthropic"])


def test_every_recorded_request_is_read() -> None:
    total = 0
    for recording in recordings():
        if recording.api not in ("ollama-chat", "ollama-generate"):
            continue
        for request, response in recording.exchanges:
            if isinstance(request.body, dict) and response.status == 200:
                total += 1
                asked = DIALECT.read_request(request.body)
                ENGINE_DIALECTS["ollama"].write_request(asked, ENGINES["ollama"])
    print(f"recorded requests of Ollama's API: {total} of {total}")


# --- what a client gets ---

LOOP: list[Event] = [
    Started("x", "m"),
    ReasoningDelta(0, "Hm."),
    PartEnded(0),
    TextDelta(1, "Grüße "),
    TextDelta(1, "🦊"),
    PartEnded(1),
    ToolCallStarted(2, "c1", "f"),
    ToolCallStarted(3, "c2", "g"),
    ToolCallDelta(2, '{"a"'),
    ToolCallDelta(3, "broken"),
    ToolCallDelta(2, ": 1}"),
    PartEnded(3),
    PartEnded(2),
    UsageReported(Usage(fresh=5, cache_read=3, text=2, reasoning=4)),
    Finished("tool_calls"),
]


def lines(events: list[Event], size: int = 1) -> list[dict[str, Any]]:
    writer = DIALECT.writer(REQUEST, NOW)
    raw = b"".join(p for n in range(0, len(events), size) for p in writer.feed(events[n : n + size]))
    assert raw.endswith(b"\n")
    return [json.loads(line) for line in raw.splitlines()]


@pytest.mark.parametrize("size", [1, 100])
def test_s3_a_stream_is_lines_with_whole_calls(size: int) -> None:
    told = lines(LOOP, size)
    assert all(line["model"] == "demo/m" and line["created_at"].endswith("Z") for line in told)
    assert [line["message"].get("thinking") for line in told if "thinking" in line["message"]] == ["Hm."]
    assert "".join(line["message"]["content"] for line in told) == "Grüße 🦊"
    calls = [call for line in told for call in line["message"].get("tool_calls", ())]
    assert calls == [
        {"id": "c1", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}},
        {"id": "c2", "function": {"index": 1, "name": "g", "arguments": {"value": "broken"}}},
    ]
    assert [line["done"] for line in told] == [False] * (len(told) - 1) + [True]
    assert (told[-1]["done_reason"], told[-1]["prompt_eval_count"], told[-1]["eval_count"]) == ("stop", 8, 6)


def test_a_whole_answer_says_the_same() -> None:
    whole: Any = DIALECT.write_reply(collect(LOOP), REQUEST, NOW)
    assert (whole["message"]["content"], whole["message"]["thinking"], whole["done"]) == ("Grüße 🦊", "Hm.", True)
    assert [call["id"] for call in whole["message"]["tool_calls"]] == ["c1", "c2"]
    generated: Any = ollama_dialect.client_generate.write_reply(collect(LOOP), REQUEST, NOW)
    assert (generated["response"], generated["thinking"], "message" in generated) == ("Grüße 🦊", "Hm.", False)


# --- Ollama's own client ---


@asynccontextmanager
async def judged(wire: Wire, script: Script) -> AsyncIterator[tuple[ollama.AsyncClient, Upstream, Client]]:
    async with Upstream(script).running() as upstream, serving(config(**wire.environ(upstream, MAX_RETRIES="0"))) as s:
        client = ollama.AsyncClient(host=s.url, headers={"Authorization": f"Bearer {CLIENT_ID}"})
        try:
            yield client, upstream, s
        finally:
            await client._client.aclose()


HELLO = [{"role": "user", "content": "Hello"}]


@ALL
async def test_a_chat_streamed_and_whole(engine: str) -> None:
    wire = WIRES[engine]
    async with judged(wire, answering(wire)) as (client, _, _):
        parts = [part async for part in await client.chat(model=f"{engine}/m", messages=HELLO, stream=True)]
        whole = await client.chat(model=f"{engine}/m", messages=HELLO)
    assert "".join(part.message.content or "" for part in parts) == "Grüße 🦊"
    assert (parts[-1].done, parts[-1].prompt_eval_count, parts[-1].eval_count) == (True, 5, 2)
    assert (whole.message.content, whole.done, whole.done_reason) == ("Grüße 🦊", True, "stop")


@ALL
async def test_a_prompt_is_completed(engine: str) -> None:
    wire = WIRES[engine]
    pieces: tuple[bytes, ...] = (wire.head, wire.delta("Grüße "), wire.delta("🦊"), wire.end)
    if engine == "ollama":  # asked as it is, it answers so
        lines = [json.loads(piece) for piece in pieces if piece]
        pieces = tuple(
            json.dumps({**line, "response": line.pop("message")["content"]}).encode() + b"\n" for line in lines
        )
    async with judged(wire, answering(wire, *pieces)) as (client, _, _):
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
    async with judged(wire, calling(wire)) as (client, upstream, _):
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
    assert answer.message.content == SAID
    sent = json.dumps(upstream.requests[-1].json)
    assert "Sunny in Paris" in sent and "get_weather" in sent


@ALL
@pytest.mark.parametrize(
    ("status", "expected"), [(400, 400), (404, 404), (429, 429), (500, 502), (503, 503), (529, 503)]
)
async def test_errors_carry_their_status_and_sentence(engine: str, status: int, expected: int) -> None:
    wire = WIRES[engine]

    async def script(request: Request, connection: Connection) -> None:
        await connection.whole(error_of(engine, status, message="Slow down."), status, headers={"retry-after": "7"})

    async with judged(wire, script) as (client, _, _):
        for stream in (False, True):
            with pytest.raises(ollama.ResponseError, match=r"Slow down\.") as caught:
                asked: Any = await client.chat(model=f"{engine}/m", messages=HELLO, stream=stream)
                async for _ in asked:
                    pass
            assert caught.value.status_code == expected


async def test_a_wrong_client_id_is_refused() -> None:
    async with serving(config()) as server:
        client = ollama.AsyncClient(host=server.url, headers={"Authorization": "Bearer wrong"})
        with pytest.raises(ollama.ResponseError) as caught:
            await client.chat(model="demo/demo-chat", messages=HELLO)
        await client._client.aclose()
    assert caught.value.status_code == 401


@ALL
async def test_s2_an_error_in_mid_stream_is_raised(engine: str) -> None:
    wire = WIRES[engine]
    async with judged(wire, answering(wire, wire.head, wire.delta("Hi"), wire.error)) as (client, _, _):
        said = ""
        with pytest.raises(ollama.ResponseError, match="It broke"):
            async for part in await client.chat(model=f"{engine}/m", messages=HELLO, stream=True):
                said += part.message.content or ""
    assert said == "Hi"


@ALL
async def test_c1_abort_in_mid_stream_reaches_the_provider(engine: str) -> None:
    wire = WIRES[engine]
    closed: asyncio.Queue[float] = asyncio.Queue()

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream(wire.content_type)
        await connection.chunk(wire.head + wire.delta("Hi"))
        await connection.closed()
        closed.put_nowait(time.monotonic())

    async with judged(wire, script) as (client, _, _):

        async def attempt() -> float:
            stream: Any = await client.chat(model=f"{engine}/m", messages=HELLO, stream=True)
            await anext(stream)
            left = time.monotonic()
            await stream.aclose()
            return await asyncio.wait_for(closed.get(), 5) - left

        await soon(0.25, attempt)


@ALL
async def test_structured_output_and_pictures_go_along(engine: str) -> None:
    wire = WIRES[engine]
    model = f"{engine}/{'claude-sonnet-4-5' if engine == 'anthropic' else 'm'}"
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    said = answering(wire, whole=wire.whole('{"city": "Paris"}'))
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
        await connection.whole(models if request.path.endswith("/models") else answer)

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
    assert len({model.digest for model in listed.models}) == 2  # clients take models of one digest for one
    assert shown.capabilities == ["completion", "tools", "vision", "thinking"]
    assert (running.models, caught.value.status_code) == ([], 404)
    assert version["version"].count(".") == 2


async def test_the_older_call_for_one_vector_works_too() -> None:
    answer = {"object": "list", "data": [{"index": 0, "embedding": [0.25, -1]}], "usage": {"prompt_tokens": 3}}

    async def script(request: Request, connection: Connection) -> None:
        await connection.whole(answer)

    async with judged(WIRES["openai"], script) as (client, upstream, server):
        made = await client.embeddings(model="openai/text-embedding-3-small", prompt="Hello")
        bare = await server.post("/api/embeddings", {"model": "openai/text-embedding-3-small"})
        assert (bare.status, (await bare.json())["param"]) == (400, "prompt")
    assert [*made.embedding] == [0.25, -1.0]
    [sent] = upstream.requests
    assert sent.json["input"] in ("Hello", ["Hello"])


async def test_t12_where_the_engine_is_ollama_the_exchange_is_verbatim() -> None:
    said = (
        b'{"model":"m:latest","message":{"role":"assistant","content":"Gr\xc3\xbc"},"done":false,"x_new":[1]}\n'
        b'{"model":"m:latest","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop",'
        b'"prompt_eval_count":5,"eval_count":2,"x_later":{"a":null}}\n'
    )
    whole = {"model": "m:latest", "message": {"role": "assistant", "content": "Hi"}, "done": True, "x_new": 1}
    half = len(said) // 2

    async def script(request: Request, connection: Connection) -> None:
        if request.json.get("stream") is False:
            await connection.whole(whole)
            return
        await connection.stream("application/x-ndjson")
        for piece in (said[:half], said[half:]):
            await connection.chunk(piece)
        await connection.end()

    body = {"model": "ollama/m", "messages": [{"role": "user", "content": "Hi", "x_inner": 1}], "x_top": {"later": 2}}
    upstream = Upstream(script)
    async with upstream.running(), serving(config(**WIRES["ollama"].environ(upstream))) as server:
        assert await (await server.post("/api/chat", body)).body() == said
        answer = await server.post("/api/chat", {**body, "stream": False})
        assert await answer.json() == whole
    sent, _ = upstream.requests
    assert sent.path == "/api/chat" and sent.json == {**body, "model": "m"}


async def test_t12_a_prompt_goes_verbatim_to_ollama_and_with_its_own_words_nowhere_else() -> None:
    said = (
        b'{"model":"m:latest","response":"Gr\xc3\xbc","done":false,"x_new":[1]}\n'
        b'{"model":"m:latest","response":"","done":true,"done_reason":"stop","context":[1,2],"eval_count":2}\n'
    )

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream("application/x-ndjson")
        await connection.chunk(said)
        await connection.end()

    body: Any = {"model": "ollama/m", "prompt": "def f(", "suffix": "return", "raw": True, "options": {"num_ctx": 64}}
    async with Upstream(script).running() as upstream:
        environ = WIRES["ollama"].environ(upstream, ANTHROPIC_API_KEY="sk-12345678")
        async with serving(config(**environ)) as server:
            assert await (await server.post("/api/generate", body)).body() == said
            refused = await server.post("/api/generate", {**body, "model": "anthropic/m"})
            assert (refused.status, (await refused.json())["param"]) == (400, "raw")
        async with serving(config(**environ, OLLAMA_THINK_TAGS="true")) as server:  # which forces translation
            refused = await server.post("/api/generate", body)
            assert (refused.status, (await refused.json())["param"]) == (400, "raw")
    [sent] = upstream.requests
    assert sent.path == "/api/generate" and sent.json == {**body, "model": "m"}


async def test_a_window_s_size_is_no_reason_to_refuse_and_other_options_stay() -> None:
    options = {"num_ctx": 4096, "temperature": 0, "repeat_penalty": 1.1}
    for engine, environ in (("openai", {}), ("ollama", {"OLLAMA_THINK_TAGS": "true"})):
        wire = WIRES[engine]
        upstream = Upstream(answering(wire))
        async with upstream.running(), serving(config(**wire.environ(upstream, **environ))) as server:
            body = {"model": f"{engine}/m", "messages": HELLO, "options": options, "stream": False}
            answer = await server.post("/api/chat", body)
            assert answer.status == 200, await answer.body()
        [sent] = upstream.requests
        if engine == "ollama":
            assert sent.json["options"] == options
        else:
            assert sent.json["temperature"] == 0 and "num_ctx" not in json.dumps(sent.json)
            assert set(answer.headers["X-Dropped-Fields"].split(", ")) == {"options", "context_tokens"}


async def test_s1_the_verbatim_lane_appends_an_error_to_lines_without_their_end() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.stream("application/x-ndjson")
        await connection.chunk(b'{"model":"m","message":{"role":"assistant","content":"Half"},"done":false}\n{"mod')
        await connection.end()

    upstream = Upstream(script)
    async with upstream.running(), serving(config(**WIRES["ollama"].environ(upstream))) as server:
        answer = await server.post("/api/chat", {"model": "ollama/m", "messages": [{"role": "user", "content": "Hi"}]})
        first, last = (await answer.body()).splitlines()
    assert json.loads(first)["message"]["content"] == "Half"
    assert "error" in json.loads(last)
