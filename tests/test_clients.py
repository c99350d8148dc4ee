"""What the clients in README's table send, as they send it, over engines of every wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.harness import CLIENT_ID, Upstream, serving
from tests.harness import config as configured
from tests.scripted import SAID, answering, calling
from tests.wires import WIRES, Wire

EVERY = pytest.mark.parametrize("engine", WIRES)

CLAUDE_CODE: Any = {
    "max_tokens": 32000,
    "stream": True,
    "metadata": {"user_id": "user_1_account__session_2"},
    "system": [
        {"type": "text", "text": "You are a coding agent.", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "The project is small.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ],
    "tools": [
        {
            "name": "Bash",
            "description": "Runs a command",
            "input_schema": {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "type": "object",
                "properties": {"command": {"type": "string"}, "timeout": {"type": "number"}},
                "required": ["command"],
                "additionalProperties": False,
            },
        }
    ],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "List files", "cache_control": {"type": "ephemeral"}}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "A command.", "signature": ""},
                {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "a.txt", "is_error": False},
                {"type": "text", "text": "Go on"},
            ],
        },
    ],
}
CODEX: Any = {
    "input": [
        {
            "type": "message",
            "id": "msg_5ff5",
            "role": "developer",
            "content": [{"type": "input_text", "text": "You are a coding agent."}],
        },
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "The sandbox is on."}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "List files"}]},
        {"type": "function_call", "name": "shell", "arguments": '{"command":["ls"]}', "call_id": "call_1"},
        {"type": "function_call_output", "call_id": "call_1", "output": '{"output":"a.txt"}'},
    ],
    "tools": [
        {
            "type": "function",
            "name": "shell",
            "description": "Runs a command",
            "strict": False,
            "parameters": {
                "type": "object",
                "properties": {"command": {"type": "array", "items": {"type": "string"}}},
                "required": ["command"],
                "additionalProperties": False,
            },
        },
        {
            "type": "namespace",
            "name": "agents",
            "description": "Sub-agents.",
            "tools": [
                {
                    "type": "function",
                    "name": "spawn",
                    "description": "Starts one",
                    "strict": False,
                    "parameters": {"type": "object", "properties": {"task": {"type": "string"}}},
                }
            ],
        },
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"summary": "auto"},
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "0199",
    "client_metadata": {"x": "y"},
}
OPEN_WEBUI: Any = {
    "stream": True,
    "stream_options": {"include_usage": True},
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": [{"type": "text", "text": "And now?"}]},
    ],
    "temperature": 0.7,
}
LANGCHAIN: Any = {
    "stream": False,
    "messages": [{"role": "user", "content": "Hello"}],
    "tools": [
        {
            "type": "function",
            "function": {"name": "add", "description": "", "parameters": {"type": "object", "properties": {}}},
        }
    ],
    "temperature": 0,
}


def upstream_of(engine: str) -> tuple[Wire, Upstream]:
    wire = WIRES[engine]
    return wire, Upstream(answering(wire))


@EVERY
async def test_claude_code(engine: str) -> None:
    """It sends ``?beta=true``, betas, cache marks, and thoughts that nobody has signed."""
    wire, upstream = upstream_of(engine)
    headers = {"x-api-key": CLIENT_ID, "anthropic-version": "2023-06-01", "anthropic-beta": "a-2025-01-01,b-2025-02-02"}
    async with upstream.running(), serving(configured(**wire.environ(upstream))) as server:
        answer = await server.post("/v1/messages?beta=true", {"model": f"{engine}/m", **CLAUDE_CODE}, headers)
        raw = await answer.body()
    assert answer.status == 200, raw
    assert raw.decode().count("event: message_stop") == 1
    [sent] = upstream.requests
    text = json.dumps(sent.json)
    assert all(
        piece in text for piece in ("You are a coding agent.", "The project is small.", "a.txt", "Go on", "Bash")
    )
    if engine == "anthropic":
        assert sent.headers["anthropic-beta"] == "a-2025-01-01,b-2025-02-02"
        assert text.count('"ephemeral"') == 3
    else:
        assert "cache_control" not in text


@EVERY
async def test_codex(engine: str) -> None:
    wire, upstream = upstream_of(engine)
    async with upstream.running(), serving(configured(**wire.environ(upstream))) as server:
        body = {"model": f"{engine}/m", **CODEX}
        answer = await server.post("/v1/responses", body, {"Authorization": f"Bearer {CLIENT_ID}"})
        raw = await answer.body()
    assert answer.status == 200, raw
    text = json.dumps(upstream.requests[0].json)
    assert all(piece in text for piece in ("You are a coding agent.", "The sandbox is on.", "a.txt", "shell", "spawn"))
    if engine != "openai":  # whose upstream here speaks the other wire
        assert raw.decode().count("event: response.completed") == 1


@pytest.mark.parametrize("engine", ["anthropic", "google", "ollama"])
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_codex_s_call_of_a_function_in_a_namespace_there_and_back(engine: str, stream: bool) -> None:
    """Its functions come in groups, which no other wire has: there the function bears both names."""
    wire = WIRES[engine]
    upstream = Upstream(calling(wire, "agents__spawn", {"task": "Look"}, "Done"))
    async with upstream.running(), serving(configured(**wire.environ(upstream))) as server:
        body = {"model": f"{engine}/m", **CODEX, "stream": stream}
        raw = await (await server.post("/v1/responses", body)).body()
        events = [json.loads(line[6:]) for line in raw.splitlines() if line.startswith(b"data: ")]
        [call] = (events[-1]["response"] if stream else json.loads(raw))["output"]
        assert (call["type"], call["name"], call["namespace"]) == ("function_call", "spawn", "agents")
        assert json.loads(call["arguments"]) == {"task": "Look"}
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "Done"}
        again = {**body, "stream": False, "input": [*CODEX["input"], call, result]}
        answer = await (await server.post("/v1/responses", again)).json()
    assert answer["output"][0]["content"][0]["text"] == SAID
    first, second = (json.dumps(request.json) for request in upstream.requests)
    assert "agents: Sub-agents." in first and "Starts one" in first
    assert "namespace" not in first + second and second.count("agents__spawn") >= 2


@EVERY
@pytest.mark.parametrize("body", [OPEN_WEBUI, LANGCHAIN], ids=["open webui", "langchain"])
async def test_clients_of_chat_completions(engine: str, body: dict[str, Any]) -> None:
    wire, upstream = upstream_of(engine)
    async with upstream.running(), serving(configured(**wire.environ(upstream))) as server:
        answer = await server.post(
            "/v1/chat/completions", {"model": f"{engine}/m", **body}, {"Authorization": f"Bearer {CLIENT_ID}"}
        )
        raw = await answer.body()
    assert answer.status == 200, raw
    if body["stream"]:
        assert raw.endswith(b"data: [DONE]\n\n")
    else:
        assert json.loads(raw)["choices"][0]["message"]["content"] == "Grüße 🦊"
