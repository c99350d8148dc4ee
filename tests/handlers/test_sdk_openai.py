"""Our answers read by OpenAI's own client, over engines of its wires and of other wires."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel

from tests.support.harness import CLIENT_ID, Client, Connection, Request, Script, Upstream, make_config, run_server
from tests.support.scripted import ANSWER_TEXT, CHAT, PNG, make_call_script, make_error_body, make_text_script
from tests.support.wires import WIRES, Wire

ENGINES = pytest.mark.parametrize("engine", WIRES)
HELLO: Any = [{"role": "user", "content": "Hello"}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def model_of(engine: str) -> str:
    """Returns a model of the engine; only some of Anthropic's support structured output."""
    return f"{engine}/{'claude-sonnet-4-5' if engine == 'anthropic' else 'm'}"


@asynccontextmanager
async def judged(wire: Wire, script: Script) -> AsyncIterator[tuple[AsyncOpenAI, Upstream, Client]]:
    async with (
        Upstream(script).run() as upstream,
        run_server(make_config(**wire.environ(upstream, MAX_RETRIES="0"))) as s,
    ):
        async with AsyncOpenAI(api_key=CLIENT_ID, base_url=f"{s.url}/v1", max_retries=0) as client:
            yield client, upstream, s


@ENGINES
async def test_a_chat_streamed_and_whole(engine: str) -> None:
    wire = WIRES[engine]
    async with judged(wire, make_text_script(wire)) as (client, _, _):
        stream = await client.chat.completions.create(
            model=f"{engine}/m", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        whole = await client.chat.completions.create(model=f"{engine}/m", messages=HELLO)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == ANSWER_TEXT
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    usage = next(c.usage for c in reversed(chunks) if c.usage)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (5, 2, 7)
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == (ANSWER_TEXT, "stop")
    assert whole.usage and whole.usage.total_tokens == 7


async def whole_call(client: AsyncOpenAI, **asked: Any) -> Any:
    return await client.chat.completions.create(**asked)


async def streamed_call(client: AsyncOpenAI, **asked: Any) -> Any:
    async with client.chat.completions.stream(**asked) as stream:
        async for _ in stream:
            pass
        return await stream.get_final_completion()


@ENGINES
@pytest.mark.parametrize("ask", [whole_call, streamed_call])
async def test_a_tool_s_round_trip(engine: str, ask: Callable[..., Awaitable[Any]]) -> None:
    wire = WIRES[engine]
    async with judged(wire, make_call_script(wire)) as (client, upstream, _):
        messages: list[Any] = [{"role": "user", "content": "Weather?"}]
        first = await ask(client, model=f"{engine}/m", messages=messages, tools=[TOOL])
        assert first.choices[0].finish_reason == "tool_calls"
        [call] = first.choices[0].message.tool_calls
        assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})
        result = {"role": "tool", "tool_call_id": call.id, "content": "Sunny"}
        messages += [first.choices[0].message.to_dict(), result]
        answer = await ask(client, model=f"{engine}/m", messages=messages, tools=[TOOL])
    assert answer.choices[0].message.content == ANSWER_TEXT
    sent = json.dumps(upstream.requests[-1].json, ensure_ascii=False)
    assert "Sunny" in sent and "get_weather" in sent and "Paris" in sent


class Answer(BaseModel):
    city: str
    degrees: int


@ENGINES
async def test_structured_output_is_parsed(engine: str) -> None:
    wire = WIRES[engine]
    script = make_text_script(wire, whole=wire.whole('{"city": "Paris", "degrees": 21}'))
    async with judged(wire, script) as (client, upstream, _):
        parsed = await client.chat.completions.parse(
            model=model_of(engine), messages=[{"role": "user", "content": "Weather?"}], response_format=Answer
        )
    assert parsed.choices[0].message.parsed == Answer(city="Paris", degrees=21)
    assert "degrees" in json.dumps(upstream.requests[0].json)


@ENGINES
async def test_an_image_goes_in(engine: str) -> None:
    wire = WIRES[engine]
    content: Any = [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
    ]
    async with judged(wire, make_text_script(wire)) as (client, upstream, _):
        await client.chat.completions.create(model=f"{engine}/m", messages=[{"role": "user", "content": content}])
    assert PNG in json.dumps(upstream.requests[0].json)


ERRORS: list[tuple[int, str, dict[str, str], type[openai.APIStatusError]]] = [
    (400, "bad", {}, openai.BadRequestError),
    (404, "model_not_found", {}, openai.NotFoundError),
    (429, "rate_limit_exceeded", {"retry-after": "7"}, openai.RateLimitError),
    (500, "server_error", {}, openai.InternalServerError),
    (529, "overloaded", {"retry-after": "3"}, openai.InternalServerError),
]


@ENGINES
@pytest.mark.parametrize(("status", "code", "headers", "kind"), ERRORS)
async def test_errors_are_raised_as_the_right_class(
    engine: str, status: int, code: str, headers: dict[str, str], kind: type[openai.APIStatusError]
) -> None:
    wire = WIRES[engine]

    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(make_error_body(engine, status, code), status, headers=headers)

    async with judged(wire, script) as (client, _, _):
        attempts: list[Callable[[], Awaitable[Any]]] = [
            lambda: client.chat.completions.create(model=f"{engine}/m", messages=HELLO),
            lambda: client.chat.completions.create(model=f"{engine}/m", messages=HELLO, stream=True),
            lambda: client.responses.create(model=f"{engine}/m", input="Hello"),
            lambda: client.responses.create(model=f"{engine}/m", input="Hello", stream=True),
        ]
        for attempt in attempts:
            with pytest.raises(kind) as caught:
                await attempt()
            assert "No." in caught.value.message
            assert caught.value.response.headers.get("retry-after") == headers.get("retry-after")
            assert caught.value.request_id


async def test_a_wrong_client_id_is_an_authentication_error_and_a_server_s_bad_key_is_not() -> None:
    wire = WIRES["openai"]

    async def script(request: Request, connection: Connection) -> None:
        error = {"message": "Incorrect API key", "type": "invalid_request_error", "code": "invalid_api_key"}
        await connection.respond({"error": error}, 401)

    async with judged(wire, script) as (client, _, server):
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model="openai/m", messages=HELLO)
        assert caught.value.status_code == 502
        async with AsyncOpenAI(api_key="wrong", base_url=f"{server.url}/v1", max_retries=0) as stranger:
            with pytest.raises(openai.AuthenticationError):
                await stranger.models.list()


async def test_a_caller_s_own_bad_key_is_an_authentication_error() -> None:
    wire = WIRES["anthropic"]

    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(make_error_body("anthropic", 401, type="authentication_error"), 401)

    async with judged(wire, script) as (_, upstream, server):
        own = {"X-Anthropic-Key": "sk-ant-own"}
        async with AsyncOpenAI(api_key="-", base_url=f"{server.url}/v1", max_retries=0, default_headers=own) as client:
            with pytest.raises(openai.AuthenticationError, match=r"No\."):
                await client.chat.completions.create(model="anthropic/m", messages=HELLO)
    assert upstream.requests[0].headers["x-api-key"] == "sk-ant-own"


@ENGINES
async def test_s2_an_error_in_mid_stream_is_raised(engine: str) -> None:
    wire = WIRES[engine]
    script = make_text_script(wire, wire.head, wire.delta("Hi"), wire.error)
    async with judged(wire, script) as (client, _, _):
        stream = await client.chat.completions.create(model=f"{engine}/m", messages=HELLO, stream=True)
        said = ""
        with pytest.raises(openai.APIError, match="It broke"):
            async for chunk in stream:
                said += chunk.choices[0].delta.content or ""
    assert said == "Hi"


async def chat_begun(client: AsyncOpenAI, model: str) -> Any:
    stream = await client.chat.completions.create(model=model, messages=HELLO, stream=True)
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            break
    return stream


async def response_begun(client: AsyncOpenAI, model: str) -> Any:
    stream = await client.responses.create(model=model, input="Hello", stream=True)
    async for event in stream:
        if event.type == "response.output_text.delta":
            break
    return stream


# An engine with the Responses API gets Responses requests, so another engine stands for Chat Completions.
WIRES_OF_RESPONSES = {**WIRES, "openai": CHAT}
# Chat Completions over the other engines: ``test_cancel``, without the SDK.
BEGUN = [(WIRES["google"], chat_begun)] + [(w, response_begun) for w in WIRES_OF_RESPONSES.values()]


@pytest.mark.parametrize(("wire", "begun"), BEGUN, ids=[f"{w.engine}-{begun.__name__}" for w, begun in BEGUN])
async def test_c1_abort_in_mid_stream_reaches_the_provider(wire: Wire, begun: Callable[..., Awaitable[Any]]) -> None:
    closed = asyncio.Event()

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream(wire.content_type)
        for piece in (wire.head, wire.delta("Hi")):
            if piece:
                await connection.chunk(piece)
        await connection.wait_closed()
        closed.set()

    async with judged(wire, script) as (client, _, _):
        async with asyncio.timeout(5):
            stream = await begun(client, f"{wire.engine}/m")
            await stream.close()
            await closed.wait()


async def test_models_are_listed_and_looked_up() -> None:
    async with run_server(make_config()) as server:
        async with AsyncOpenAI(api_key=CLIENT_ID, base_url=f"{server.url}/v1") as client:
            listed = {model.id: model async for model in client.models.list()}
            assert await client.models.retrieve("demo/demo-chat") == listed["demo/demo-chat"]
            for name in ("demo/nothing", "demo", "openai/gpt-5.4", "nobody/m"):
                with pytest.raises(openai.NotFoundError) as caught:
                    await client.models.retrieve(name)
                assert caught.value.code == "model_not_found"
        plain = await server.get("/v1/models/demo/demo-chat", {"Authorization": f"Bearer {CLIENT_ID}"})
        assert (plain.status, (await plain.json())["id"]) == (200, "demo/demo-chat")


async def test_raw_responses_have_the_request_id() -> None:
    wire = WIRES["openai"]
    async with judged(wire, make_text_script(wire)) as (client, _, _):
        raw = await client.chat.completions.with_raw_response.create(model="openai/m", messages=HELLO)
        chosen = await client.with_options(
            default_headers={"X-Request-Id": "my-own-id-1"}
        ).chat.completions.with_raw_response.create(model="openai/m", messages=HELLO)
        answer = raw.parse()
    assert raw.headers["x-request-id"].startswith("req_")
    assert answer._request_id == raw.headers["x-request-id"]
    assert chosen.headers["x-request-id"] == "my-own-id-1"


# --- /v1/responses ---

RESPONSES = pytest.mark.parametrize("wire", WIRES_OF_RESPONSES.values(), ids=WIRES_OF_RESPONSES)


@RESPONSES
async def test_a_response_streamed_and_whole(wire: Wire) -> None:
    async with judged(wire, make_text_script(wire)) as (client, _, _):
        async with client.responses.stream(model=f"{wire.engine}/m", input="Hello", instructions="Be brief.") as stream:
            events = [event async for event in stream]
            final = await stream.get_final_response()
        whole = await client.responses.create(model=f"{wire.engine}/m", input="Hello")
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == ANSWER_TEXT
    assert final.output_text == whole.output_text == ANSWER_TEXT
    assert final.usage and final.usage.total_tokens == 7
    assert (final.status, whole.status) == ("completed", "completed")


TRANSLATED = pytest.mark.parametrize(
    "wire", [CHAT, WIRES["anthropic"], WIRES["google"], WIRES["ollama"]], ids=lambda w: w.engine
)


@TRANSLATED
async def test_the_events_of_a_response_come_in_order_and_numbered(wire: Wire) -> None:
    async with judged(wire, make_text_script(wire)) as (client, _, _):
        stream = await client.responses.create(model=f"{wire.engine}/m", input="Hello", stream=True)
        events = [event async for event in stream]
    assert [event.sequence_number for event in events] == [*range(len(events))]
    told = [event.type.removeprefix("response.") for event in events if event.type != "response.output_text.delta"]
    assert told == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]


async def whole_response(client: AsyncOpenAI, **asked: Any) -> Any:
    return await client.responses.create(**asked)


async def streamed_response(client: AsyncOpenAI, **asked: Any) -> Any:
    async with client.responses.stream(**asked) as stream:
        async for _ in stream:
            pass
        return await stream.get_final_response()


@RESPONSES
@pytest.mark.parametrize("ask", [whole_response, streamed_response])
async def test_a_tool_s_round_trip_over_responses(wire: Wire, ask: Callable[..., Awaitable[Any]]) -> None:
    tool: Any = {"type": "function", **TOOL["function"], "strict": False}
    async with judged(wire, make_call_script(wire)) as (client, upstream, _):
        items: list[Any] = [{"role": "user", "content": "Weather?"}]
        first = await ask(client, model=f"{wire.engine}/m", input=items, tools=[tool])
        [call] = [item for item in first.output if item.type == "function_call"]
        assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Paris"})
        # As in OpenAI's documentation: all output items are sent back, then the results.
        items += [item.to_dict() for item in first.output]
        items += [{"type": "function_call_output", "call_id": call.call_id, "output": "Sunny"}]
        answer = await ask(client, model=f"{wire.engine}/m", input=items, tools=[tool])
    assert answer.output_text == ANSWER_TEXT
    sent = json.dumps(upstream.requests[-1].json, ensure_ascii=False)
    assert "Sunny" in sent and "get_weather" in sent and "Paris" in sent


@RESPONSES
async def test_structured_output_over_responses(wire: Wire) -> None:
    script = make_text_script(wire, whole=wire.whole('{"city": "Paris", "degrees": 21}'))
    async with judged(wire, script) as (client, upstream, _):
        parsed = await client.responses.parse(model=model_of(wire.engine), input="Weather?", text_format=Answer)
    assert parsed.output_parsed == Answer(city="Paris", degrees=21)
    assert "degrees" in json.dumps(upstream.requests[0].json)


@RESPONSES
async def test_an_image_goes_in_over_responses(wire: Wire) -> None:
    content: Any = [
        {"type": "input_text", "text": "Look"},
        {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{PNG}"},
    ]
    async with judged(wire, make_text_script(wire)) as (client, upstream, _):
        await client.responses.create(model=f"{wire.engine}/m", input=[{"role": "user", "content": content}])
    assert PNG in json.dumps(upstream.requests[0].json)


@TRANSLATED
async def test_an_error_in_a_stream_of_responses_fails_it(wire: Wire) -> None:
    async with judged(wire, make_text_script(wire, wire.head, wire.delta("Hi"), wire.error)) as (client, _, _):
        stream = await client.responses.create(model=f"{wire.engine}/m", input="Hello", stream=True)
        events = [event async for event in stream]
    assert [event.type for event in events[-2:]] == ["error", "response.failed"]


# --- embeddings ---


@pytest.mark.parametrize("engine", ["openai", "google", "ollama"])
async def test_embeddings_arrive_as_numbers(engine: str) -> None:
    wire = WIRES[engine]
    answers: dict[str, Any] = {
        "openai": {"object": "list", "data": [{"index": 0, "embedding": "AACAPgAAgL8="}], "model": "m"},
        "google": {"embeddings": [{"values": [0.25, -1]}]},
        "ollama": {"embeddings": [[0.25, -1]]},
    }
    async with judged(wire, make_text_script(wire, whole=answers[engine])) as (client, _, _):
        made = await client.embeddings.create(model=f"{engine}/m", input="Hello")  # the SDK requests base64 by default
    assert made.data[0].embedding == [0.25, -1.0]
