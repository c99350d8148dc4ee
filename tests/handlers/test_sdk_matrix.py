"""One answer with a thought, a text and a tool call, between the official packages of both sides.

The vendor's package of each engine's wire builds the answer and checks the request; the package of each client's wire
reads what this server makes of it, streamed and whole. Errors are in the tests of each package (``test_sdk_openai``,
``test_sdk_anthropic``, ``test_ollama``).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anthropic.types
import ollama
import openai.types.chat
import openai.types.responses
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from tests.dialects.test_golden_sdk import load_validator
from tests.support.harness import CLIENT_ID, Connection, Request, Upstream, make_config, run_server
from tests.support.one_answer import sse, stream_of

THOUGHT, TEXT, CALL, PLACE = "Let me look.", "One moment.", "get_weather", {"city": "Paris"}
QUESTION: Any = [{"role": "user", "content": "How is the weather in Paris?"}]
SCHEMA: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
BOTH = [pytest.param(False, id="whole"), pytest.param(True, id="stream")]


@dataclass(frozen=True)
class Read:
    """What a client's package has read."""

    thought: str
    text: str
    name: str
    arguments: Any
    end: str | None
    tokens: tuple[int | None, int | None]


# --- answers, built with the vendors' types ---


def chat_answer() -> dict[str, Any]:
    call = {"id": "call_1", "type": "function", "function": {"name": CALL, "arguments": json.dumps(PLACE)}}
    message = {"role": "assistant", "content": TEXT, "reasoning_content": THOUGHT, "tool_calls": [call]}
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    choices = [{"index": 0, "message": message, "finish_reason": "tool_calls", "logprobs": None}]
    body = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": usage}
    read = openai.types.chat.ChatCompletion.model_validate(body)
    return read.model_dump(mode="json", exclude_unset=True)


def chat_stream(body: Mapping[str, Any]) -> bytes:
    """The message in pieces: calls have an index in a stream."""
    [choice] = body["choices"]
    [call] = choice["message"]["tool_calls"]
    first = {**body, "object": "chat.completion.chunk"}
    del first["usage"]
    deltas = (
        {"role": "assistant", "content": ""},
        {"reasoning_content": THOUGHT},
        {"content": TEXT},
        {"tool_calls": [{**call, "index": 0, "function": {"name": CALL, "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": json.dumps(PLACE)}}]},
    )
    chunks = [{**first, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({**first, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    chunks.append({**first, "choices": [], "usage": body["usage"]})
    for chunk in chunks:
        openai.types.chat.ChatCompletionChunk.model_validate(chunk)
    return sse(*chunks, "[DONE]")


def responses_answer() -> dict[str, Any]:
    summary = [{"type": "summary_text", "text": THOUGHT}]
    content = [{"type": "output_text", "text": TEXT, "annotations": []}]
    output = [
        {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": "e"},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content},
        {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "call_1",
            "status": "completed",
            "name": CALL,
            "arguments": json.dumps(PLACE),
        },
    ]
    details = {"input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}}
    usage = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12, **details}
    body = {
        "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m", "output": output,
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        "usage": {**usage, "output_tokens_details": {"reasoning_tokens": 2}},
    }  # fmt: skip
    read = openai.types.responses.Response.model_validate(body)
    return read.model_dump(mode="json", exclude_unset=True)


def responses_stream(body: Mapping[str, Any]) -> bytes:
    events: list[dict[str, Any]] = [{"type": "response.created", "response": {**body, "output": [], "usage": None}}]
    pieces: tuple[dict[str, Any], ...] = ({"summary": []}, {"content": []}, {"arguments": ""})
    for index, (item, empty) in enumerate(zip(body["output"], pieces, strict=True)):
        where = {"item_id": item["id"], "output_index": index}
        events.append({"type": "response.output_item.added", "output_index": index, "item": {**item, **empty}})
        if item["type"] == "reasoning":
            events.append(
                {"type": "response.reasoning_summary_text.delta", **where, "summary_index": 0, "delta": THOUGHT}
            )
        elif item["type"] == "message":
            part = {**item["content"][0], "text": ""}
            events.append({"type": "response.content_part.added", **where, "content_index": 0, "part": part})
            delta = {"type": "response.output_text.delta", "content_index": 0, "delta": TEXT, "logprobs": []}
            events.append({**delta, **where})
        else:
            events.append(
                {"type": "response.function_call_arguments.delta", **where, "delta": item["arguments"]},
            )
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    events.append({"type": "response.completed", "response": body})
    return sse(*({**event, "sequence_number": number} for number, event in enumerate(events)))


def messages_answer() -> dict[str, Any]:
    content = [
        {"type": "thinking", "thinking": THOUGHT, "signature": "c2ln"},
        {"type": "text", "text": TEXT, "citations": None},
        {"type": "tool_use", "id": "toolu_1", "name": CALL, "input": PLACE},
    ]
    body = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content,
        "stop_reason": "tool_use", "stop_sequence": None, "usage": {"input_tokens": 5, "output_tokens": 7},
    }  # fmt: skip
    read = anthropic.types.Message.model_validate(body)
    return read.model_dump(mode="json", exclude_unset=True)


def messages_stream(body: Mapping[str, Any]) -> bytes:
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**body, "content": [], "stop_reason": None}},
    ]
    pieces: tuple[tuple[dict[str, Any], tuple[dict[str, Any], ...]], ...] = (
        (
            {"thinking": "", "signature": ""},
            ({"type": "thinking_delta", "thinking": THOUGHT}, {"type": "signature_delta", "signature": "c2ln"}),
        ),
        ({"text": ""}, ({"type": "text_delta", "text": TEXT},)),
        ({"input": {}}, ({"type": "input_json_delta", "partial_json": json.dumps(PLACE)},)),
    )
    for index, (block, (empty, deltas)) in enumerate(zip(body["content"], pieces, strict=True)):
        events.append({"type": "content_block_start", "index": index, "content_block": {**block, **empty}})
        events += ({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas)
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": "tool_use", "stop_sequence": None}
    events += [{"type": "message_delta", "delta": delta, "usage": {"output_tokens": 7}}, {"type": "message_stop"}]
    return sse(*events)


def gemini_answer() -> dict[str, Any]:
    from google.genai import types  # its import takes a second

    parts = [
        types.Part(text=THOUGHT, thought=True),
        types.Part(text=TEXT),
        types.Part(
            function_call=types.FunctionCall(id="call_1", name=CALL, args=dict(PLACE)), thought_signature=b"sig"
        ),
    ]
    usage = types.GenerateContentResponseUsageMetadata(
        prompt_token_count=5, candidates_token_count=5, thoughts_token_count=2, total_token_count=12
    )
    candidate = types.Candidate(
        content=types.Content(role="model", parts=parts), finish_reason=types.FinishReason.STOP, index=0
    )
    answer = types.GenerateContentResponse(
        candidates=[candidate], usage_metadata=usage, model_version="m", response_id="r1"
    )
    return answer.model_dump(mode="json", by_alias=True, exclude_none=True)


def ollama_answer() -> dict[str, Any]:
    call = ollama.Message.ToolCall(function=ollama.Message.ToolCall.Function(name=CALL, arguments=PLACE))
    message = ollama.Message(role="assistant", content=TEXT, thinking=THOUGHT, tool_calls=[call])
    answer = ollama.ChatResponse(
        model="m", created_at="2026-01-01T00:00:00Z", message=message, done=True, done_reason="stop",
        prompt_eval_count=5, eval_count=7,
    )  # fmt: skip
    return answer.model_dump(mode="json", exclude_none=True)


@dataclass(frozen=True)
class Engine:
    """An engine of one wire: its model, its answer, its stream, and the validator of its requests."""

    model: str
    answer: Callable[[], dict[str, Any]]
    stream: Callable[[Mapping[str, Any]], bytes]
    validator: str = ""


ENGINES = {
    "openai-chat": Engine("together/m", chat_answer, chat_stream, "openai"),
    "openai-responses": Engine("box/m", responses_answer, responses_stream, "openai-responses"),
    "anthropic": Engine("anthropic/claude-sonnet-4-5", messages_answer, messages_stream, "anthropic"),
    "gemini": Engine("google/gemini-3.5-flash", gemini_answer, stream_of, "google"),
    "ollama": Engine("ollama/qwen3:8b", ollama_answer, stream_of),
}


@asynccontextmanager
async def serve(engine: Engine) -> AsyncIterator[tuple[str, Upstream]]:
    """Runs the server in front of the engine; yields its address and what the engine was asked."""
    body = engine.answer()

    async def script(request: Request, connection: Connection) -> None:
        if "streamGenerateContent" in request.path or request.json.get("stream") is True:
            await connection.stream("application/x-ndjson" if "done" in body else "text/event-stream")
            await connection.chunk(engine.stream(body))
            await connection.end()
        else:
            await connection.respond(body)

    upstream = Upstream(script)
    async with upstream.run():
        name = engine.model.partition("/")[0].upper()
        path = "/v1" if name in ("TOGETHER", "BOX") else ""
        settings = {f"{name}_API_KEY": f"sk-canary-{name}", f"{name}_BASE_URL": upstream.url + path}
        if name == "OLLAMA":
            settings = {"OLLAMA_ENABLED": "true", "OLLAMA_BASE_URL": upstream.url}
        if name == "BOX":
            settings |= {"CUSTOM_ENGINES": "box", "BOX_DIALECT": "openai-responses"}
        async with run_server(make_config(**settings, MAX_RETRIES="0")) as server:
            yield server.url, upstream


# --- clients ---


async def read_chat(url: str, model: str, stream: bool) -> Read:
    tool: Any = {"type": "function", "function": {"name": CALL, "parameters": SCHEMA}}
    asked: Any = {"model": model, "messages": QUESTION, "tools": [tool]}
    async with AsyncOpenAI(api_key=CLIENT_ID, base_url=f"{url}/v1", max_retries=0) as client:
        if stream:
            options: Any = {"include_usage": True}
            async with client.chat.completions.stream(**asked, stream_options=options) as events:
                thoughts = [
                    event.chunk.choices[0].delta.model_extra.get("reasoning_content") or ""
                    async for event in events
                    if event.type == "chunk" and event.chunk.choices and event.chunk.choices[0].delta.model_extra
                ]
                whole: Any = await events.get_final_completion()
            thought = "".join(thoughts)
        else:
            whole = await client.chat.completions.create(**asked)
            thought = whole.choices[0].message.reasoning_content
    [choice] = whole.choices
    [call] = choice.message.tool_calls
    tokens = (whole.usage.prompt_tokens, whole.usage.completion_tokens)
    arguments = json.loads(call.function.arguments)
    return Read(thought, choice.message.content, call.function.name, arguments, choice.finish_reason, tokens)


async def read_responses(url: str, model: str, stream: bool) -> Read:
    tool: Any = {"type": "function", "name": CALL, "parameters": SCHEMA, "strict": False}
    asked: Any = {"model": model, "input": QUESTION, "tools": [tool]}
    async with AsyncOpenAI(api_key=CLIENT_ID, base_url=f"{url}/v1", max_retries=0) as client:
        if stream:
            async with client.responses.stream(**asked) as events:
                kinds = [event.type async for event in events]
                whole: Any = await events.get_final_response()
            assert kinds.count("response.output_item.done") == len(whole.output)
        else:
            whole = await client.responses.create(**asked)
    items = {item.type: item for item in whole.output}
    assert [item.type for item in whole.output] == ["reasoning", "message", "function_call"]
    thought = "".join(one.text for one in (items["reasoning"].summary or items["reasoning"].content))
    call = items["function_call"]
    tokens = (whole.usage.input_tokens, whole.usage.output_tokens)
    return Read(thought, whole.output_text, call.name, json.loads(call.arguments), whole.status, tokens)


async def read_messages(url: str, model: str, stream: bool) -> Read:
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    tools: Any = [{"name": CALL, "input_schema": SCHEMA}]
    asked: Any = {"model": model, "max_tokens": 4000, "messages": QUESTION, "tools": tools, "thinking": thinking}
    async with AsyncAnthropic(api_key=CLIENT_ID, base_url=url, max_retries=0) as client:
        if stream:
            async with client.messages.stream(**asked) as events:
                whole: Any = await events.get_final_message()
        else:
            whole = await client.messages.create(**asked)
    thought, text, call = whole.content
    tokens = (whole.usage.input_tokens, whole.usage.output_tokens)
    return Read(thought.thinking, text.text, call.name, call.input, whole.stop_reason, tokens)


async def read_ollama(url: str, model: str, stream: bool) -> Read:
    tools: Any = [{"type": "function", "function": {"name": CALL, "parameters": SCHEMA}}]
    client = ollama.AsyncClient(host=url, headers={"Authorization": f"Bearer {CLIENT_ID}"})
    try:
        if stream:
            parts = [p async for p in await client.chat(model=model, messages=QUESTION, tools=tools, stream=True)]
        else:
            parts = [await client.chat(model=model, messages=QUESTION, tools=tools)]
    finally:
        await client._client.aclose()
    thought, text = ("".join(getattr(p.message, name) or "" for p in parts) for name in ("thinking", "content"))
    [call] = [call for part in parts for call in part.message.tool_calls or ()]
    last = parts[-1]
    tokens = (last.prompt_eval_count, last.eval_count)
    return Read(thought, text, call.function.name, dict(call.function.arguments), last.done_reason, tokens)


async def read_gemini(url: str, model: str, stream: bool) -> Read:
    from google import genai
    from google.genai import types

    declaration = types.FunctionDeclaration(name=CALL, parameters_json_schema=SCHEMA)
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[declaration])],
        thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=1024),
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    client = genai.Client(api_key=CLIENT_ID, http_options=types.HttpOptions(base_url=url))
    asked: Any = {"model": model, "contents": QUESTION[0]["content"], "config": config}
    chunks: list[Any]
    if stream:
        chunks = [chunk async for chunk in await client.aio.models.generate_content_stream(**asked)]
    else:
        chunks = [await client.aio.models.generate_content(**asked)]
    await client.aio.aclose()
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
    thought, text = ("".join(p.text or "" for p in parts if bool(p.thought) is wanted) for wanted in (True, False))
    [call] = [part.function_call for part in parts if part.function_call]
    end, usage = chunks[-1].candidates[0].finish_reason, chunks[-1].usage_metadata
    tokens = (usage.prompt_token_count, usage.candidates_token_count + (usage.thoughts_token_count or 0))
    return Read(thought, text, call.name, call.args, end, tokens)


Reader = Callable[[str, str, bool], Awaitable[Read]]
CLIENTS: dict[str, tuple[Reader, str]] = {  # with the word for an answer that calls a tool
    "openai-chat": (read_chat, "tool_calls"),
    "openai-responses": (read_responses, "completed"),
    "anthropic": (read_messages, "tool_use"),
    "gemini": (read_gemini, "STOP"),
    "ollama": (read_ollama, "stop"),
}


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("engine", ENGINES)
async def test_thought_text_call_and_usage_cross_between_the_official_packages(
    engine: str, client: str, stream: bool
) -> None:
    wire = ENGINES[engine]
    read, end = CLIENTS[client]
    async with serve(wire) as (url, upstream):
        got = await read(url, wire.model, stream)
    assert got == Read(THOUGHT, TEXT, CALL, PLACE, end, (5, 7))
    [request] = upstream.requests
    body = request.json
    if engine == "ollama":
        tools = [ollama.Tool.model_validate(tool) for tool in body["tools"]]
        assert [tool.function and tool.function.name for tool in tools] == [CALL]
        assert [ollama.Message.model_validate(message).role for message in body["messages"]] == ["user"]
    elif (engine, client) != ("gemini", "gemini"):  # as the package itself wrote it, in both spellings
        assert load_validator(wire.validator)(body) == []
