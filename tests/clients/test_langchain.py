"""LangChain, by its packages for OpenAI, Anthropic and Ollama, over engines of every wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import anthropic
import ollama
import openai
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from tests.clients.judging import STRUCTURED, Left, behind, refusing
from tests.support.harness import CLIENT_ID
from tests.support.scripted import (
    ANSWER_TEXT,
    CHAT,
    PNG,
    make_call_reply,
    make_call_script,
    make_call_stream,
    make_text_script,
)
from tests.support.setups import read_code
from tests.support.wires import WIRES, Wire

Make = Callable[[str, str], Any]
ALL_WIRES = {**WIRES, "openai": CHAT}  # OpenAI itself would be asked over Responses where a client speaks that


def over_chat(url: str, model: str) -> Any:
    return ChatOpenAI(base_url=f"{url}/v1", api_key=CLIENT_ID, model=model, max_retries=0, stream_usage=True)


def over_responses(url: str, model: str) -> Any:
    return ChatOpenAI(base_url=f"{url}/v1", api_key=CLIENT_ID, model=model, max_retries=0, use_responses_api=True)


def over_messages(url: str, model: str) -> Any:
    return ChatAnthropic(base_url=url, api_key=CLIENT_ID, model=model, max_retries=0, max_tokens=100)


def over_ollama(url: str, model: str) -> Any:
    headers = {"headers": {"Authorization": f"Bearer {CLIENT_ID}"}}
    return ChatOllama(base_url=url, model=model, client_kwargs=headers)


CLIENTS = pytest.mark.parametrize("make", [over_chat, over_responses, over_messages, over_ollama])
EVERY = pytest.mark.parametrize("wire", ALL_WIRES.values(), ids=ALL_WIRES)


class Answer(BaseModel):
    """Where and how warm."""

    city: str
    degrees: int


def weather(city: str) -> str:
    """The weather of a city"""
    return f"Sunny in {city}"


get_weather: Any = tool("get_weather")(weather)


def model_of(wire: Wire) -> str:
    return f"{wire.engine}/{'claude-sonnet-4-5' if wire.engine == 'anthropic' else 'm'}"


@CLIENTS
@EVERY
async def test_a_chat_whole_and_streamed(make: Make, wire: Wire) -> None:
    async with behind(wire, make_text_script(wire)) as (url, _):
        model = make(url, model_of(wire))
        whole = await model.ainvoke("Hello")
        streamed: Any = None
        async for chunk in model.astream("Hello"):
            streamed = chunk if streamed is None else streamed + chunk
    assert whole.text == streamed.text == ANSWER_TEXT
    assert (whole.usage_metadata["input_tokens"], whole.usage_metadata["output_tokens"]) == (5, 2)
    # It reads a stream's usage from the last event; there the scripted provider, unlike the real one, tells output only.
    before = 0 if (make, wire.engine) == (over_messages, "anthropic") else 5
    assert (streamed.usage_metadata["input_tokens"], streamed.usage_metadata["output_tokens"]) == (before, 2)


@CLIENTS
@EVERY
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_tool_s_round_trip(make: Make, wire: Wire, stream: bool) -> None:
    async with behind(wire, make_call_script(wire)) as (url, upstream):
        model = make(url, model_of(wire)).bind_tools([get_weather])
        messages: list[Any] = [HumanMessage("Weather?")]
        said: Any = None
        if stream:
            async for chunk in model.astream(messages):
                said = chunk if said is None else said + chunk
        else:
            said = await model.ainvoke(messages)
        [call] = said.tool_calls
        assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})
        messages += [said, ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])]
        answer = await model.ainvoke(messages)
    assert answer.text == ANSWER_TEXT
    assert "Sunny in Paris" in json.dumps(upstream.requests[-1].json)


@CLIENTS
@EVERY
async def test_structured_output_is_parsed(make: Make, wire: Wire) -> None:
    """Each by its own default: a schema, or a tool that has to be called."""
    called = make_call_reply(wire.engine, "Answer", json.loads(STRUCTURED))
    streamed = make_call_stream(wire.engine, "Answer", json.loads(STRUCTURED))
    by_tool = make is over_messages
    if by_tool and wire.engine == "ollama":
        pytest.skip("Ollama has no tool that must be called: refused with 400")
    spoken = make_text_script(wire, wire.head, wire.delta(STRUCTURED), wire.end, whole=wire.whole(STRUCTURED))
    script = make_text_script(wire, *streamed, whole=called) if by_tool else spoken
    async with behind(wire, script) as (url, upstream):
        answer = await make(url, model_of(wire)).with_structured_output(Answer).ainvoke("Weather?")
    assert answer == Answer(city="Paris", degrees=21)
    assert "degrees" in json.dumps(upstream.requests[0].json)


@CLIENTS
@EVERY
async def test_a_picture_goes_in(make: Make, wire: Wire) -> None:
    picture = {"type": "image", "base64": PNG, "mime_type": "image/png"}
    async with behind(wire, make_text_script(wire)) as (url, upstream):
        await make(url, model_of(wire)).ainvoke([HumanMessage([{"type": "text", "text": "Look"}, picture])])
    assert PNG in json.dumps(upstream.requests[0].json)


@CLIENTS
@EVERY
async def test_errors_are_raised_as_the_right_class(make: Make, wire: Wire) -> None:
    kinds: Any = {over_messages: anthropic.RateLimitError, over_ollama: ollama.ResponseError}
    async with behind(wire, refusing(wire, 429)) as (url, _):
        model = make(url, model_of(wire))
        with pytest.raises(kinds.get(make, openai.RateLimitError), match=r"No\.") as caught:
            await model.ainvoke("Hello")
        assert caught.value.status_code == 429
        with pytest.raises(kinds.get(make, openai.RateLimitError)):
            await anext(model.astream("Hello"))
    if make is not over_ollama:
        assert caught.value.response.headers["retry-after"] == "7"


@CLIENTS
async def test_c1_abort_in_mid_stream_reaches_the_provider(make: Make) -> None:
    wire = WIRES["google"]
    left = Left(wire)
    async with behind(wire, left.script) as (url, _):
        begun = asyncio.Event()

        async def listen() -> None:
            async for chunk in make(url, "google/m").astream("Hello"):
                if chunk.text:
                    begun.set()

        task = asyncio.create_task(listen())
        await asyncio.wait_for(begun.wait(), 10)
        task.cancel()
        await left.seen()


async def test_the_readme_sets_it_up() -> None:
    wire = WIRES["google"]
    async with behind(wire, make_text_script(wire)) as (url, upstream):
        [code] = read_code("LangChain", url)
        model = eval(code, {"ChatOpenAI": ChatOpenAI, "client_id": CLIENT_ID})
        assert (await model.ainvoke("Hello")).text == ANSWER_TEXT
    assert "gemini" in upstream.requests[0].path
