"""Agent frameworks of Python: a tool round and a second turn, over engines of every wire.

They want older versions of the vendors' packages than the other clients, so they have a virtual environment of their own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from tests.clients.judging import STRUCTURED, behind
from tests.support.harness import CLIENT_ID
from tests.support.scripted import ANSWER_TEXT, CHAT, make_call_script, make_text_script
from tests.support.wires import WIRES, Wire

ALL_WIRES = {**WIRES, "openai": CHAT}
EVERY = pytest.mark.parametrize("wire", ALL_WIRES.values(), ids=ALL_WIRES)
HEADERS = {"Authorization": f"Bearer {CLIENT_ID}"}

# Runs in a thread: asks "Hello", then "And again" in the same conversation; returns both answers.
Turns = Callable[[str, str], list[str]]


class Answer(BaseModel):
    city: str
    degrees: int


def get_weather(city: str) -> str:
    """The weather of a city

    Args:
        city: its name
    """
    return f"Sunny in {city}"


def model_of(wire: Wire) -> str:
    return f"{wire.engine}/{'claude-sonnet-4-5' if wire.engine == 'anthropic' else 'm'}"


# --- strands ---


def ask_strands(make: Callable[[str, str], Any]) -> Turns:
    def turns(url: str, model: str) -> list[str]:
        from strands import Agent, tool

        agent = Agent(model=make(url, model), tools=[tool(get_weather)], callback_handler=None)
        return [str(agent(text)).strip() for text in ("Hello", "And again")]

    return turns


def strands_chat(url: str, model: str) -> Any:
    from strands.models.openai import OpenAIModel

    return OpenAIModel(client_args={"base_url": f"{url}/v1", "api_key": CLIENT_ID}, model_id=model)


def strands_messages(url: str, model: str) -> Any:
    from strands.models.anthropic import AnthropicModel

    return AnthropicModel(client_args={"base_url": url, "api_key": CLIENT_ID}, model_id=model, max_tokens=1000)


def strands_ollama(url: str, model: str) -> Any:
    from strands.models.ollama import OllamaModel

    return OllamaModel(host=url, ollama_client_args={"headers": HEADERS}, model_id=model)


# --- LlamaIndex ---


def ask_llama_index(make: Callable[[str, str], Any]) -> Turns:
    def turns(url: str, model: str) -> list[str]:
        from llama_index.core.agent.workflow import FunctionAgent
        from llama_index.core.memory import ChatMemoryBuffer

        async def run() -> list[str]:
            agent = FunctionAgent(tools=[get_weather], llm=make(url, model))
            memory = ChatMemoryBuffer.from_defaults(token_limit=50_000)
            return [str(await agent.run(text, memory=memory)) for text in ("Hello", "And again")]

        return asyncio.run(run())

    return turns


def llama_index_chat(url: str, model: str) -> Any:
    from llama_index.llms.openai_like import OpenAILike

    more: Any = {"is_chat_model": True, "is_function_calling_model": True, "context_window": 100_000}
    return OpenAILike(model=model, api_base=f"{url}/v1", api_key=CLIENT_ID, **more)


def llama_index_ollama(url: str, model: str) -> Any:
    from llama_index.llms.ollama import Ollama

    return Ollama(model=model, base_url=url, headers=HEADERS, request_timeout=60, context_window=100_000)


# --- smolagents ---


def ask_smolagents(url: str, model: str) -> list[str]:
    from smolagents import OpenAIModel, ToolCallingAgent, tool

    made = OpenAIModel(model_id=model, api_base=f"{url}/v1", api_key=CLIENT_ID)
    agent = ToolCallingAgent(tools=[tool(get_weather)], model=made, verbosity_level=0)
    return [str(agent.run(text, reset=text == "Hello")) for text in ("Hello", "And again")]


TURNS: dict[str, Turns] = {
    "strands, Chat": ask_strands(strands_chat),
    "strands, Messages": ask_strands(strands_messages),
    "strands, Ollama": ask_strands(strands_ollama),
    "LlamaIndex, Chat": ask_llama_index(llama_index_chat),
    "LlamaIndex, Ollama": ask_llama_index(llama_index_ollama),
}


@EVERY
@pytest.mark.parametrize("client", TURNS)
async def test_two_turns_with_a_tool(client: str, wire: Wire) -> None:
    async with behind(wire, make_call_script(wire)) as (url, upstream):
        answers = await asyncio.to_thread(TURNS[client], url, model_of(wire))
    assert answers == [ANSWER_TEXT, ANSWER_TEXT]
    last = json.dumps(upstream.requests[-1].json)
    assert "Hello" in last and "Sunny in Paris" in last and "And again" in last


@EVERY
async def test_smolagents_ends_with_its_own_tool(wire: Wire) -> None:
    """It forces a call in each step, and takes a call of ``final_answer`` for the end."""
    if wire.engine == "responses":
        pytest.skip("it always sends `stop`, which the Responses API does not have")
    script = make_call_script(wire, "final_answer", {"answer": ANSWER_TEXT}, result="nothing has this result")
    if wire.engine == "ollama":  # asked for a name and arguments, since Ollama cannot force a call
        call = json.dumps({"name": "final_answer", "arguments": {"answer": ANSWER_TEXT}})
        script = make_text_script(wire, whole=wire.whole(call))
    async with behind(wire, script) as (url, upstream):
        answers = await asyncio.to_thread(ask_smolagents, url, model_of(wire))
    assert answers == [ANSWER_TEXT, ANSWER_TEXT]
    assert "And again" in json.dumps(upstream.requests[-1].json)


# --- instructor ---


def instruct_chat(url: str, model: str) -> Any:
    import instructor
    from openai import OpenAI

    client = instructor.from_openai(OpenAI(base_url=f"{url}/v1", api_key=CLIENT_ID, max_retries=0))
    return client.chat.completions.create(
        model=model, response_model=Answer, max_retries=0, messages=[{"role": "user", "content": "Weather?"}]
    )


def instruct_messages(url: str, model: str) -> Any:
    import instructor
    from anthropic import Anthropic

    client = instructor.from_anthropic(Anthropic(base_url=url, api_key=CLIENT_ID, max_retries=0))
    messages = [{"role": "user", "content": "Weather?"}]
    return client.messages.create(model=model, response_model=Answer, max_retries=0, max_tokens=1000, messages=messages)


@EVERY
@pytest.mark.parametrize("ask", [instruct_chat, instruct_messages])
async def test_instructor_gets_structured_output(ask: Callable[[str, str], Any], wire: Wire) -> None:
    arguments = json.loads(STRUCTURED)
    script = make_call_script(wire, "Answer", arguments, result="nothing has this result")
    if wire.engine == "ollama":
        script = make_text_script(wire, whole=wire.whole(STRUCTURED))
    async with behind(wire, script) as (url, _):
        answer = await asyncio.to_thread(ask, url, model_of(wire))
    assert answer.model_dump() == arguments
