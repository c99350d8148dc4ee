"""Reasoning of engines that speak Chat Completions goes back with the tool's result, from every client."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from llm.chat.messages import Message, Reasoning, Text, ToolCall
from llm.chat.request import ChatRequest
from llm.config.parsers import ConfigError
from llm.config.settings import Config
from llm.dialects import openai_chat
from llm.engines.records import ENGINES
from tests.support.field_cases import field_case
from tests.support.harness import CLIENT, Client, Connection, Request, Upstream, make_config, run_server
from tests.support.wires import WIRES, _sse

SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "Bash", "arguments": '{"command": "ls"}'}}
THOUGHT = "I must list."
FIELDS = ("reasoning_content", "reasoning", "content")


def environ(upstream: Upstream, **more: str) -> dict[str, str]:
    """Configures a custom engine, and one without the Responses API, so that its clients are translated."""
    cerebras = {"CEREBRAS_BASE_URL": f"{upstream.url}/v1", "CEREBRAS_API_KEY": "sk-canary-cerebras"}
    return {"CUSTOM_ENGINES": "vllm", "VLLM_BASE_URL": f"{upstream.url}/v1", **cerebras, **more}


def make_message(field: str) -> dict[str, Any]:
    """Returns the provider's message with a thought in this field and a call."""
    if field == "content":
        content = [{"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}]
        return {"role": "assistant", "content": content, "tool_calls": [CALL]}
    return {"role": "assistant", "content": None, field: THOUGHT, "tool_calls": [CALL]}


def make_upstream(field: str) -> Upstream:
    """Returns a provider that calls a tool with a thought, and then answers with a text."""

    async def script(request: Request, connection: Connection) -> None:
        message: dict[str, Any]
        if len(upstream.requests) > 1:
            message, finish = {"role": "assistant", "content": "Done."}, "stop"
        else:
            message, finish = make_message(field), "tool_calls"
        usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
        head: dict[str, Any] = {"id": "c1", "created": 1, "model": "m", "usage": usage}
        if not request.json.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": finish}
            await connection.respond({**head, "object": "chat.completion", "choices": [choice]})
            return
        if "tool_calls" in message:
            message = {**message, "tool_calls": [{"index": 0, **CALL}]}
        await connection.stream()
        for delta, end in ((message, None), ({}, finish)):
            choice = {"index": 0, "delta": delta, "finish_reason": end}
            await connection.chunk(_sse({**head, "object": "chat.completion.chunk", "choices": [choice]}))
        await connection.chunk(b"data: [DONE]\n\n")
        await connection.end()

    upstream = Upstream(script)
    return upstream


# --- clients: ask, read the answer, send it back with the tool's result ---


async def post(server: Client, path: str, body: Mapping[str, Any]) -> str:
    answer = await server.post(path, body)
    assert answer.status == 200, await answer.body()
    return (await answer.body()).decode()


def read_events(raw: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in raw.splitlines() if line.startswith("data: {")]


@dataclass(frozen=True)
class Asking:
    """How a client asks through the server: with streams, and with its thoughts dropped."""

    stream: bool
    strips: bool


async def ask_messages(server: Client, asking: Asking) -> None:
    tool = {"name": "Bash", "input_schema": SCHEMA}
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Hello"}]
    body: dict[str, Any] = {"model": "vllm/kimi-k2.6", "max_tokens": 2000, "tools": [tool], "stream": asking.stream}
    body["thinking"] = {"type": "adaptive"}  # else the answer has no thinking
    raw = await post(server, "/v1/messages", {**body, "messages": messages})
    blocks: list[dict[str, Any]] = []
    if asking.stream:
        for event in read_events(raw):
            if event["type"] == "content_block_start":
                blocks.append({**event["content_block"], "json": ""})
            elif event["type"] == "content_block_delta":
                delta, block = event["delta"], blocks[-1]
                block["json"] += delta.get("partial_json", "")
                for name in ("text", "thinking", "signature"):
                    if name in delta:
                        block[name] = block.get(name, "") + delta[name]
        for block in blocks:
            if arguments := block.pop("json"):
                block["input"] = json.loads(arguments)
    else:
        blocks = json.loads(raw)["content"]
    if asking.strips:
        blocks = [block for block in blocks if block["type"] != "thinking"]
    result = {"type": "tool_result", "tool_use_id": "call_1", "content": "a.txt"}
    messages = [*messages, {"role": "assistant", "content": blocks}, {"role": "user", "content": [result]}]
    await post(server, "/v1/messages", {**body, "messages": messages})


async def ask_responses(server: Client, asking: Asking) -> None:
    tool = {"type": "function", "name": "Bash", "parameters": SCHEMA}
    items: list[dict[str, Any]] = [{"role": "user", "content": "Hello"}]
    body: dict[str, Any] = {"model": "cerebras/gpt-oss-120b", "store": False, "tools": [tool], "stream": asking.stream}
    raw = await post(server, "/v1/responses", {**body, "input": items})
    if asking.stream:
        output = [event["item"] for event in read_events(raw) if event["type"] == "response.output_item.done"]
    else:
        output = json.loads(raw)["output"]
    if asking.strips:
        output = [item for item in output if item["type"] != "reasoning"]
    result = {"type": "function_call_output", "call_id": "call_1", "output": "a.txt"}
    await post(server, "/v1/responses", {**body, "input": [*items, *output, result]})


async def ask_ollama(server: Client, asking: Asking) -> None:
    tool = {"type": "function", "function": {"name": "Bash", "parameters": SCHEMA}}
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Hello"}]
    body: dict[str, Any] = {"model": "vllm/kimi-k2.6", "tools": [tool], "stream": asking.stream}
    raw = await post(server, "/api/chat", {**body, "messages": messages})
    message: dict[str, Any] = {"role": "assistant", "content": "", "thinking": "", "tool_calls": []}
    for line in raw.splitlines():
        piece = json.loads(line)["message"]
        message["thinking"] += piece.get("thinking") or ""
        message["tool_calls"] += [{"function": call["function"]} for call in piece.get("tool_calls") or ()]
    if asking.strips:
        message.pop("thinking")
    result = {"role": "tool", "tool_name": "Bash", "content": "a.txt"}
    await post(server, "/api/chat", {**body, "messages": [*messages, message, result]})


CLIENTS = {"messages": ask_messages, "responses": ask_responses, "ollama": ask_ollama}


@pytest.mark.parametrize("strips", [False, True], ids=["", "stripped"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("client", CLIENTS)
async def test_gw_07_a_thought_goes_back_with_the_result_in_its_own_field(
    client: str, field: str, stream: bool, strips: bool
) -> None:
    upstream = make_upstream(field)
    async with upstream.run(), run_server(make_config(**environ(upstream))) as server:
        await CLIENTS[client](server, Asking(stream, strips))
    _, again = upstream.requests
    [message] = [message for message in again.json["messages"] if message["role"] == "assistant"]
    for name in ("reasoning_content", "reasoning"):
        assert message.get(name) == (THOUGHT if name == field else None)
    assert message["content"] == (make_message(field)["content"] if field == "content" else None)


@pytest.mark.parametrize(
    ("setting", "field"), [("with_tools", "reasoning_content"), ("always", "reasoning_content"), ("never", None)]
)
async def test_gw_07_the_case_as_reported(setting: str, field: str | None) -> None:
    """The thought has no signature of ours, so that only the record says in which field it goes back."""
    body = field_case("gw-07")["request"]
    for more, name in (({}, field), ({"VLLM_REASONING_FIELD": "reasoning"}, field and "reasoning")):
        upstream = make_upstream("reasoning")
        configured = {"VLLM_REASONING_BACK": setting, **more}
        async with upstream.run(), run_server(make_config(**environ(upstream, **configured))) as server:
            answer = await server.post("/v1/messages", body, CLIENT)
            assert answer.status == 200, await answer.body()
            assert ("reasoning" in answer.headers.get("X-Dropped-Fields", "")) == (field is None)
        [request] = upstream.requests
        message = request.json["messages"][1]
        assert {n: message[n] for n in ("reasoning_content", "reasoning") if n in message} == (
            {name: THOUGHT} if name else {}
        )


async def test_gw_07_a_custom_engine_gets_it_without_any_setting() -> None:
    upstream = make_upstream("reasoning_content")
    async with upstream.run(), run_server(make_config(**environ(upstream))) as server:
        await post(server, "/v1/messages", field_case("gw-07")["request"])
    assert upstream.requests[0].json["messages"][1]["reasoning_content"] == THOUGHT


@pytest.mark.parametrize(
    ("engine", "field"),
    [
        ("deepseek", "reasoning_content"), ("lmstudio", "reasoning_content"), ("groq", "reasoning"),
        ("cerebras", "reasoning"), ("together", "reasoning"), ("openrouter", "reasoning"), ("mistralai", "content"),
    ],
)  # fmt: skip
def test_gw_07_each_engine_gets_reasoning_of_calls_in_its_field(engine: str, field: str) -> None:
    for parts, is_sent in (((Reasoning(THOUGHT), ToolCall("a", "f")), True), ((Reasoning(THOUGHT), Text("A")), False)):
        request = ChatRequest(model="m", messages=(Message("user", (Text("Hi"),)), Message("assistant", parts)))
        outgoing = openai_chat.write_request(request, ENGINES[engine])
        assert (THOUGHT in json.dumps(outgoing.body)) == is_sent
        assert outgoing.dropped == (() if is_sent else ("reasoning",))
        message: Any = (outgoing.body or {})["messages"][1]  # type: ignore[index]
        if is_sent:
            assert message[field] == (make_message("content")["content"] if field == "content" else THOUGHT)


async def test_gw_07_a_thought_from_think_tags_goes_back_in_them() -> None:
    """The models that write tags are trained on their own tags; other servers take them out of the prompt."""

    async def script(request: Request, connection: Connection) -> None:
        whole = WIRES["openai"].whole(f"<think>{THOUGHT}</think>")
        if len(upstream.requests) == 1:
            whole["choices"][0] |= {"finish_reason": "tool_calls"}
            whole["choices"][0]["message"]["tool_calls"] = [CALL]
        await connection.respond(whole)

    upstream = Upstream(script)
    async with (
        upstream.run(),
        run_server(make_config(**environ(upstream, VLLM_THINK_TAGS="true"))) as server,
    ):
        await ask_messages(server, Asking(stream=False, strips=False))
    message = upstream.requests[1].json["messages"][1]
    assert message["content"].strip() == f"<think>\n{THOUGHT}\n</think>" and "reasoning_content" not in message


@pytest.mark.parametrize("name", ["VLLM_REASONING_BACK", "VLLM_REASONING_FIELD"])
def test_gw_07_a_wrong_setting_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Config.from_env({"CUSTOM_ENGINES": "vllm", "VLLM_BASE_URL": "http://127.0.0.1:1/v1", name: "sometimes"})


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_gw_07_ollama_gets_the_thought_of_a_call_that_a_client_dropped(stream: bool) -> None:
    """Its thoughts have no signature and no field of their own to be known by; Chat clients strip them."""

    async def script(request: Request, connection: Connection) -> None:
        call = {"function": {"name": "Bash", "arguments": {"command": "ls"}}}
        message = {"role": "assistant", "content": "", "thinking": THOUGHT, "tool_calls": [call]}
        end = {"done": True, "done_reason": "stop", "prompt_eval_count": 5, "eval_count": 2}
        line = {"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": message, **end}
        if len(upstream.requests) > 1:
            line["message"] = {"role": "assistant", "content": "Done."}
        await connection.respond(json.dumps(line) + "\n", content_type="application/x-ndjson")

    upstream = Upstream(script)
    tool = {"type": "function", "function": {"name": "Bash", "parameters": SCHEMA}}
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Hello"}]
    body: dict[str, Any] = {"model": "ollama/qwen3:8b", "tools": [tool], "stream": stream}
    async with upstream.run(), run_server(make_config(**WIRES["ollama"].environ(upstream))) as server:
        raw = await post(server, "/v1/chat/completions", {**body, "messages": messages})
        if stream:
            deltas = [choice["delta"] for event in read_events(raw) for choice in event["choices"]]
            call = {**CALL, "id": next(delta["tool_calls"][0]["id"] for delta in deltas if "tool_calls" in delta)}
        else:
            call = json.loads(raw)["choices"][0]["message"]["tool_calls"][0]
        answer = {"role": "assistant", "content": None, "tool_calls": [call]}
        result = {"role": "tool", "tool_call_id": call["id"], "content": "a.txt"}
        await post(server, "/v1/chat/completions", {**body, "messages": [*messages, answer, result]})
    assert upstream.requests[1].json["messages"][1]["thinking"] == THOUGHT
