"""Our answers read by Anthropic's own client, over engines of its wire and of other wires."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic, beta_async_tool
from pydantic import BaseModel

from tests.support.harness import CLIENT_ID, Client, Connection, Request, Script, Upstream, make_config, run_server
from tests.support.scripted import ANSWER_TEXT, PNG, make_call_script, make_error_body, make_text_script
from tests.support.wires import WIRES, Wire, _chunk, _sse

ENGINES = pytest.mark.parametrize("engine", WIRES)
TOOL: Any = {
    "name": "get_weather",
    "description": "The weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
HELLO: Any = [{"role": "user", "content": "Hello"}]
PICTURE: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
PDF = "JVBERi0xLjQK"


@asynccontextmanager
async def judged(wire: Wire, script: Script) -> AsyncIterator[tuple[AsyncAnthropic, Upstream, Client]]:
    async with (
        Upstream(script).run() as upstream,
        run_server(make_config(**wire.environ(upstream, MAX_RETRIES="0"))) as s,
    ):
        async with AsyncAnthropic(api_key=CLIENT_ID, base_url=s.url, max_retries=0) as client:
            yield client, upstream, s


async def whole(client: AsyncAnthropic, **asked: Any) -> Any:
    return await client.messages.create(max_tokens=100, **asked)


async def streamed(client: AsyncAnthropic, **asked: Any) -> Any:
    async with client.messages.stream(max_tokens=100, **asked) as stream:
        return await stream.get_final_message()


BOTH = pytest.mark.parametrize("ask", [whole, streamed])
Ask = Callable[..., Awaitable[Any]]


@ENGINES
async def test_a_message_streamed_and_whole(engine: str) -> None:
    wire = WIRES[engine]
    async with judged(wire, make_text_script(wire)) as (client, _, _):
        async with client.messages.stream(model=f"{engine}/m", max_tokens=100, messages=HELLO) as stream:
            text = "".join([piece async for piece in stream.text_stream])
            final = await stream.get_final_message()
        made = await client.messages.create(model=f"{engine}/m", max_tokens=100, messages=HELLO)
    assert text == ANSWER_TEXT
    for message in (final, made):
        assert [block.text for block in message.content if block.type == "text"] == [ANSWER_TEXT]
        assert (message.stop_reason, message.usage.input_tokens, message.usage.output_tokens) == ("end_turn", 5, 2)


@ENGINES
@BOTH
async def test_a_tool_s_round_trip(engine: str, ask: Ask) -> None:
    wire = WIRES[engine]
    async with judged(wire, make_call_script(wire)) as (client, upstream, _):
        messages: list[Any] = [{"role": "user", "content": "Weather?"}]
        message = await ask(client, model=f"{engine}/m", messages=messages, tools=[TOOL])
        assert message.stop_reason == "tool_use"
        [call] = [block for block in message.content if block.type == "tool_use"]
        assert (call.name, call.input) == ("get_weather", {"city": "Paris"})
        result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "Sunny"}]}
        messages += [
            {"role": "assistant", "content": [block.to_dict() for block in message.content]},
            {"role": "user", "content": [result]},
        ]
        answer = await ask(client, model=f"{engine}/m", messages=messages, tools=[TOOL])
    assert answer.content[0].type == "text" and answer.content[0].text == ANSWER_TEXT
    sent = json.dumps(upstream.requests[-1].json, ensure_ascii=False)
    assert "Sunny" in sent and "get_weather" in sent and "Paris" in sent


@ENGINES
async def test_its_tool_runner_runs_the_loop(engine: str) -> None:
    """It sends betas, and a query that the route has to ignore."""

    @beta_async_tool
    async def get_weather(city: str) -> str:
        """The weather

        Args:
            city: Where
        """
        return f"Sunny in {city}"

    wire = WIRES[engine]
    async with judged(wire, make_call_script(wire)) as (client, upstream, _):
        runner = client.beta.messages.tool_runner(
            model=f"{engine}/m", max_tokens=100, messages=HELLO, tools=[get_weather]
        )
        last = await runner.until_done()
    assert last.content[0].type == "text" and last.content[0].text == ANSWER_TEXT
    assert len(upstream.requests) == 2
    assert "Sunny in Paris" in json.dumps(upstream.requests[-1].json)


class Answer(BaseModel):
    city: str
    degrees: int


@ENGINES
async def test_structured_output_is_parsed(engine: str) -> None:
    wire = WIRES[engine]
    model = f"{engine}/{'claude-sonnet-4-5' if engine == 'anthropic' else 'm'}"
    script = make_text_script(wire, whole=wire.whole('{"city": "Paris", "degrees": 21}'))
    async with judged(wire, script) as (client, upstream, _):
        parsed = await client.messages.parse(model=model, max_tokens=100, messages=HELLO, output_format=Answer)
    assert parsed.parsed_output == Answer(city="Paris", degrees=21)
    assert "degrees" in json.dumps(upstream.requests[0].json)


THOUGHT = "The user greets."


def thinking_of(engine: str) -> tuple[bytes, ...]:
    """Returns a stream with thinking and then text."""
    wire = WIRES[engine]
    match engine:
        case "openai":
            return wire.head, _chunk({"reasoning_content": THOUGHT}), wire.delta(ANSWER_TEXT), wire.end
        case "google":
            thought = {"text": THOUGHT, "thought": True}
            first = {"candidates": [{"content": {"role": "model", "parts": [thought]}, "index": 0}]}
            return _sse(first), wire.delta(ANSWER_TEXT), wire.end
    block = {"type": "thinking", "thinking": "", "signature": ""}
    start, text = wire.head.split(b"\n\n")[:2]
    return (
        start + b"\n\n",
        _sse({"type": "content_block_start", "index": 0, "content_block": block}, "content_block_start"),
        *(
            _sse({"type": "content_block_delta", "index": 0, "delta": delta}, "content_block_delta")
            for delta in (
                {"type": "thinking_delta", "thinking": THOUGHT},
                {"type": "signature_delta", "signature": "c2ln"},
            )
        ),
        _sse({"type": "content_block_stop", "index": 0}, "content_block_stop"),
        text.replace(b'"index": 0', b'"index": 1') + b"\n\n",
        wire.delta(ANSWER_TEXT).replace(b'"index": 0', b'"index": 1'),
        wire.end.replace(b'"index": 0', b'"index": 1'),
    )


@pytest.mark.parametrize("engine", ["openai", "anthropic", "google"])
async def test_t1_thinking_is_streamed_and_sent_back_unchanged(engine: str) -> None:
    wire = WIRES[engine]
    async with judged(wire, make_text_script(wire, *thinking_of(engine))) as (client, upstream, _):
        kinds = []
        async with client.messages.stream(
            model=f"{engine}/m",
            max_tokens=4000,
            messages=HELLO,
            thinking={"type": "enabled", "budget_tokens": 2000},
        ) as stream:
            async for event in stream:
                kinds.append(event.type)
            message = await stream.get_final_message()
        thought, text = message.content
        assert thought.type == "thinking" and thought.thinking == THOUGHT
        assert text.type == "text" and text.text == ANSWER_TEXT
        assert kinds.index("thinking") < kinds.index("text")
        again: list[Any] = [*HELLO, {"role": "assistant", "content": message.content}, {"role": "user", "content": "?"}]
        await client.messages.create(model=f"{engine}/m", max_tokens=100, messages=again)
    sent = json.dumps(upstream.requests[-1].json)
    if engine == "anthropic":
        assert thought.signature == "c2ln"
        assert {"type": "thinking", "thinking": THOUGHT, "signature": "c2ln"} in upstream.requests[-1].json["messages"][
            1
        ]["content"]
    else:
        assert "llm-server" not in sent  # our sealed metadata is not sent to an engine


@ENGINES
async def test_an_image_goes_in(engine: str) -> None:
    wire = WIRES[engine]
    content: Any = [PICTURE, {"type": "text", "text": "Look"}]
    async with judged(wire, make_text_script(wire)) as (client, upstream, _):
        await client.messages.create(
            model=f"{engine}/m", max_tokens=100, messages=[{"role": "user", "content": content}]
        )
    assert PNG in json.dumps(upstream.requests[0].json)


@ENGINES
async def test_a_document_goes_in_or_is_refused_by_name(engine: str) -> None:
    wire = WIRES[engine]
    source = {"type": "base64", "media_type": "application/pdf", "data": PDF}
    content: Any = [{"type": "document", "source": source, "title": "Report"}, {"type": "text", "text": "Sum up"}]
    async with judged(wire, make_text_script(wire)) as (client, upstream, _):
        asked = client.messages.create(
            model=f"{engine}/m", max_tokens=100, messages=[{"role": "user", "content": content}]
        )
        if engine == "ollama":  # its models accept images only
            with pytest.raises(anthropic.BadRequestError, match="application/pdf"):
                await asked
            return
        await asked
    assert PDF in json.dumps(upstream.requests[0].json)


@ENGINES
async def test_an_image_in_a_tool_s_result_goes_in(engine: str) -> None:
    wire = WIRES[engine]
    messages: Any = [
        {"role": "user", "content": "Look"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "get_weather", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [PICTURE]}]},
    ]
    async with judged(wire, make_text_script(wire)) as (client, upstream, _):
        await client.messages.create(model=f"{engine}/m", max_tokens=100, messages=messages, tools=[TOOL])
    assert PNG in json.dumps(upstream.requests[0].json)


@ENGINES
async def test_system_blocks_and_cache_control_are_forwarded(engine: str) -> None:
    wire = WIRES[engine]
    system: Any = [
        {"type": "text", "text": "Be brief."},
        {"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}},
    ]
    async with judged(wire, make_text_script(wire)) as (client, upstream, _):
        await client.messages.create(model=f"{engine}/m", max_tokens=100, messages=HELLO, system=system)
    sent = json.dumps(upstream.requests[0].json)
    assert "Be brief." in sent and "Be kind." in sent
    assert ("cache_control" in sent) == (engine == "anthropic")


@ENGINES
async def test_tokens_are_counted(engine: str) -> None:
    counts: dict[str, Any] = {"google": {"totalTokens": 11}}
    wire = WIRES[engine]
    script = make_text_script(wire, whole=counts.get(engine, {"input_tokens": 11}))
    async with judged(wire, script) as (client, upstream, _):
        told = await client.messages.count_tokens(model=f"{engine}/m", messages=HELLO, tools=[TOOL], system="Be brief.")
    assert told.input_tokens == 11 if upstream.requests else told.input_tokens > 0
    assert bool(upstream.requests) == (engine in ("openai", "anthropic", "google"))


ERRORS: list[tuple[int, str, dict[str, str], type[anthropic.APIStatusError]]] = [
    (400, "invalid_request_error", {}, anthropic.BadRequestError),
    (404, "not_found_error", {}, anthropic.NotFoundError),
    (429, "rate_limit_error", {"retry-after": "7"}, anthropic.RateLimitError),
    (500, "api_error", {}, anthropic.InternalServerError),
    (503, "overloaded_error", {"retry-after": "3"}, anthropic.ServiceUnavailableError),
    (529, "overloaded_error", {"retry-after": "3"}, anthropic.OverloadedError),
]


@ENGINES
@pytest.mark.parametrize(("status", "type", "headers", "kind"), ERRORS)
async def test_errors_are_raised_as_the_right_class(
    engine: str, status: int, type: str, headers: dict[str, str], kind: type[anthropic.APIStatusError]
) -> None:
    wire = WIRES[engine]

    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(make_error_body(engine, status, type=type), status, headers=headers)

    async with judged(wire, script) as (client, _, _):
        for ask in (whole, streamed):
            with pytest.raises(kind) as caught:
                await ask(client, model=f"{engine}/m", messages=HELLO)
            assert "No." in caught.value.message
            assert caught.value.type == type
            assert caught.value.response.headers.get("retry-after") == headers.get("retry-after")
            assert caught.value.request_id == caught.value.response.headers["x-request-id"]


async def test_a_wrong_client_id_is_an_authentication_error() -> None:
    async with run_server(make_config()) as server:
        async with AsyncAnthropic(api_key="wrong", base_url=server.url, max_retries=0) as stranger:
            with pytest.raises(anthropic.AuthenticationError) as caught:
                await stranger.messages.create(model="demo/demo-chat", max_tokens=5, messages=HELLO)
    assert caught.value.type == "authentication_error"
    assert caught.value.request_id


async def test_a_client_id_is_accepted_as_bearer_token() -> None:
    """``ANTHROPIC_AUTH_TOKEN`` is sent as a bearer token."""
    async with run_server(make_config()) as server:
        async with AsyncAnthropic(auth_token=CLIENT_ID, base_url=server.url, max_retries=0) as client:
            made = await client.messages.create(model="demo/demo-chat", max_tokens=5, messages=HELLO)
    assert made.content[0].type == "text"


async def test_the_provider_s_request_id_is_passed_on() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(WIRES["anthropic"].whole(ANSWER_TEXT), headers={"request-id": "req_there"})

    async with judged(WIRES["anthropic"], script) as (client, _, _):
        made = await client.messages.create(model="anthropic/m", max_tokens=100, messages=HELLO)
    assert made._request_id == "req_there"


@ENGINES
async def test_s2_an_error_in_mid_stream_is_raised(engine: str) -> None:
    wire = WIRES[engine]
    async with judged(wire, make_text_script(wire, wire.head, wire.delta("Hi"), wire.error)) as (client, _, _):
        said = ""
        with pytest.raises(anthropic.APIError, match="It broke"):
            async with client.messages.stream(model=f"{engine}/m", max_tokens=100, messages=HELLO) as stream:
                async for piece in stream.text_stream:
                    said += piece
    assert said == "Hi"


async def test_c1_abort_in_mid_stream_reaches_the_provider() -> None:
    """Over one engine; over all of them in ``test_cancel``, without the SDK."""
    wire = WIRES["google"]
    closed = asyncio.Event()

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream(wire.content_type)
        for piece in (wire.head, wire.delta("Hi")):
            if piece:
                await connection.chunk(piece)
        await connection.wait_closed()
        closed.set()

    async with judged(wire, script) as (client, _, _):
        stream = await client.messages.create(model="google/m", max_tokens=100, messages=HELLO, stream=True)
        async for event in stream:
            if event.type == "content_block_delta":
                break
        await stream.close()
        await asyncio.wait_for(closed.wait(), 5)


async def test_models_are_listed_and_looked_up_in_its_shape() -> None:
    async with run_server(make_config()) as server:
        async with AsyncAnthropic(api_key=CLIENT_ID, base_url=server.url) as client:
            listed = {model.id: model async for model in client.models.list()}
            assert all(model.type == "model" and model.display_name for model in listed.values())
            assert await client.models.retrieve("demo/demo-chat") == listed["demo/demo-chat"]
            for name in ("demo/nothing", "claude-sonnet-4-5", "openai/gpt-5.4"):
                with pytest.raises(anthropic.NotFoundError) as caught:
                    await client.models.retrieve(name)
                assert caught.value.type == "not_found_error"
