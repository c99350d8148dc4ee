"""pydantic-ai, by its models for OpenAI and Anthropic, over engines of every wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, ModelHTTPError, NativeOutput
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from tests.clients.judging import STRUCTURED, Left, behind, refusing
from tests.support.harness import CLIENT_ID
from tests.support.scripted import ANSWER_TEXT, CHAT, PNG, make_call_script, make_text_script
from tests.support.wires import WIRES, Wire

Make = Callable[[str, str], Any]
ALL_WIRES = {**WIRES, "openai": CHAT}  # OpenAI itself would be asked over Responses where a client speaks that


def over_chat(url: str, model: str) -> Any:
    return OpenAIChatModel(model, provider=OpenAIProvider(base_url=f"{url}/v1", api_key=CLIENT_ID))


def over_responses(url: str, model: str) -> Any:
    return OpenAIResponsesModel(model, provider=OpenAIProvider(base_url=f"{url}/v1", api_key=CLIENT_ID))


def over_messages(url: str, model: str) -> Any:
    return AnthropicModel(model, provider=AnthropicProvider(base_url=url, api_key=CLIENT_ID))


CLIENTS = pytest.mark.parametrize("make", [over_chat, over_responses, over_messages])
EVERY = pytest.mark.parametrize("wire", ALL_WIRES.values(), ids=ALL_WIRES)


class Answer(BaseModel):
    city: str
    degrees: int


def get_weather(city: str) -> str:
    """The weather of a city"""
    return f"Sunny in {city}"


def model_of(wire: Wire) -> str:
    return f"{wire.engine}/{'claude-sonnet-4-5' if wire.engine == 'anthropic' else 'm'}"


@CLIENTS
@EVERY
async def test_a_chat_whole_and_streamed(make: Make, wire: Wire) -> None:
    async with behind(wire, make_text_script(wire)) as (url, _):
        agent = Agent(make(url, model_of(wire)), instructions="Be brief.")
        whole = await agent.run("Hello")
        async with agent.run_stream("Hello") as stream:
            streamed = await stream.get_output()
    assert whole.output == streamed == ANSWER_TEXT


@CLIENTS
@EVERY
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_it_runs_a_tool(make: Make, wire: Wire, stream: bool) -> None:
    async with behind(wire, make_call_script(wire)) as (url, upstream):
        agent = Agent(make(url, model_of(wire)), tools=[get_weather])
        if stream:
            async with agent.run_stream("Weather?") as answer:
                said = await answer.get_output()
        else:
            said = (await agent.run("Weather?")).output
    assert said == ANSWER_TEXT
    assert "Sunny in Paris" in json.dumps(upstream.requests[-1].json)


@pytest.mark.parametrize("make", [over_chat, over_responses])  # of Anthropic's models it asks those only that it knows
@EVERY
async def test_an_output_of_a_type_by_a_schema(make: Make, wire: Wire) -> None:
    script = make_text_script(wire, whole=wire.whole(STRUCTURED))
    async with behind(wire, script) as (url, upstream):
        agent = Agent(make(url, model_of(wire)), output_type=NativeOutput(Answer))
        assert (await agent.run("Weather?")).output == Answer(city="Paris", degrees=21)
    assert "degrees" in json.dumps(upstream.requests[0].json)


@CLIENTS
@EVERY
async def test_an_output_of_a_type_by_a_tool_that_must_be_called(make: Make, wire: Wire) -> None:
    if wire.engine == "ollama":
        pytest.skip("Ollama has no tool that must be called: refused with 400")
    script = make_call_script(wire, "final_result", {"city": "Paris", "degrees": 21})
    async with behind(wire, script) as (url, _):
        agent = Agent(make(url, model_of(wire)), output_type=Answer)
        assert (await agent.run("Weather?")).output == Answer(city="Paris", degrees=21)


@CLIENTS
@EVERY
async def test_a_picture_goes_in(make: Make, wire: Wire) -> None:
    from base64 import b64decode

    async with behind(wire, make_text_script(wire)) as (url, upstream):
        await Agent(make(url, model_of(wire))).run(["Look", BinaryContent(b64decode(PNG), media_type="image/png")])
    assert PNG in json.dumps(upstream.requests[0].json)


@CLIENTS
@EVERY
async def test_an_error_has_the_provider_s_status(make: Make, wire: Wire) -> None:
    async with behind(wire, refusing(wire, 404)) as (url, _):
        with pytest.raises(ModelHTTPError, match=r"No\.") as caught:
            await Agent(make(url, model_of(wire))).run("Hello")
    assert caught.value.status_code == 404


@CLIENTS
async def test_c1_abort_in_mid_stream_reaches_the_provider(make: Make) -> None:
    wire = WIRES["ollama"]
    left = Left(wire)
    async with behind(wire, left.script) as (url, _):
        begun = asyncio.Event()

        async def listen() -> None:
            async with Agent(make(url, "ollama/m")).run_stream("Hello") as stream:
                async for _ in stream.stream_text(debounce_by=None):
                    begun.set()

        task = asyncio.create_task(listen())
        await asyncio.wait_for(begun.wait(), 10)
        task.cancel()
        await left.seen()
