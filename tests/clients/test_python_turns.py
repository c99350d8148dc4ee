"""LiteLLM and OpenAI's Agents SDK as clients: two turns with a tool, over engines of every wire."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest

from tests.clients.judging import behind
from tests.support.harness import CLIENT_ID
from tests.support.scripted import ANSWER_TEXT, CHAT, make_call_script
from tests.support.wires import WIRES, Wire

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would ask the network
ALL_WIRES = {**WIRES, "openai": CHAT}
EVERY = pytest.mark.parametrize("wire", ALL_WIRES.values(), ids=ALL_WIRES)
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "The weather", "parameters": PARAMETERS}}


def get_weather(city: str) -> str:
    """The weather of a city"""
    return f"Sunny in {city}"


def model_of(wire: Wire) -> str:
    return f"{wire.engine}/{'claude-sonnet-4-5' if wire.engine == 'anthropic' else 'm'}"


async def ask_litellm(messages: list[Any], **where: Any) -> str:
    """Asks, streamed, until the model calls no more tools; appends what was said to ``messages``."""
    import litellm

    while True:
        stream = await litellm.acompletion(messages=messages, tools=[TOOL], stream=True, num_retries=0, **where)
        chunks = [chunk async for chunk in stream]
        answer: Any = litellm.stream_chunk_builder(chunks, messages=messages)
        message = answer.choices[0].message
        messages.append(message.model_dump(exclude_none=True))
        if not message.tool_calls:
            return str(message.content)
        for call in message.tool_calls:
            result = get_weather(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


LITELLM = {
    "LiteLLM, OpenAI": ("openai", "/v1"),
    "LiteLLM, Anthropic": ("anthropic", ""),
    "LiteLLM, Ollama": ("ollama_chat", "/c/" + CLIENT_ID),
}


@EVERY
@pytest.mark.parametrize("client", LITELLM)
async def test_two_turns_with_litellm(client: str, wire: Wire) -> None:
    provider, path = LITELLM[client]
    if wire.engine == "responses":
        pytest.skip("responses/… in a name is LiteLLM's own word for the Responses API")
    async with behind(wire, make_call_script(wire), PATH_IDS="true") as (url, upstream):
        where = {"model": f"{provider}/{model_of(wire)}", "api_base": url + path, "api_key": CLIENT_ID}

        async def ask() -> list[str]:
            messages: list[Any] = [{"role": "user", "content": "Hello"}]
            first = await ask_litellm(messages, **where)
            messages.append({"role": "user", "content": "And again"})
            return [first, await ask_litellm(messages, **where)]

        # In a thread, since it asks for the model's facts without asyncio.
        assert await asyncio.to_thread(asyncio.run, ask()) == [ANSWER_TEXT, ANSWER_TEXT]
    last = json.dumps(upstream.requests[-1].json)
    assert "Hello" in last and "Sunny in Paris" in last and "And again" in last


@EVERY
@pytest.mark.parametrize("client", ["OpenAI Agents, Responses", "OpenAI Agents, Chat"])
async def test_two_turns_with_openai_agents(client: str, wire: Wire) -> None:
    from agents import (
        Agent,
        OpenAIChatCompletionsModel,
        OpenAIResponsesModel,
        Runner,
        function_tool,
        set_tracing_disabled,
    )
    from openai import AsyncOpenAI

    set_tracing_disabled(True)
    async with behind(wire, make_call_script(wire)) as (url, upstream):
        kind = OpenAIResponsesModel if client.endswith("Responses") else OpenAIChatCompletionsModel
        model = kind(model_of(wire), openai_client=AsyncOpenAI(base_url=f"{url}/v1", api_key=CLIENT_ID, max_retries=0))
        agent = Agent(name="here", instructions="Help.", model=model, tools=[function_tool(get_weather)])
        first = await Runner.run(agent, "Hello")
        asked: Any = [*first.to_input_list(), {"role": "user", "content": "And again"}]
        second = Runner.run_streamed(agent, asked)
        async for _ in second.stream_events():
            pass
        assert [first.final_output, second.final_output] == [ANSWER_TEXT, ANSWER_TEXT]
    last = json.dumps(upstream.requests[-1].json)
    assert "Hello" in last and "Sunny in Paris" in last and "And again" in last
