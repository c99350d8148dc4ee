"""Requests of the clients in README's table, in their exact shape, over engines of every wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.client_requests import CLAUDE_CODE, CODEX, OPEN_WEBUI
from tests.support.harness import CLIENT_ID, Upstream, run_server
from tests.support.harness import make_config as configured
from tests.support.scripted import ANSWER_TEXT, make_call_script, make_text_script
from tests.support.wires import WIRES, Wire

EVERY = pytest.mark.parametrize("engine", WIRES)
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
    return wire, Upstream(make_text_script(wire))


@EVERY
async def test_claude_code(engine: str) -> None:
    """It sends ``?beta=true``, betas, ``cache_control``, and thinking blocks without a signature."""
    wire, upstream = upstream_of(engine)
    headers = {"x-api-key": CLIENT_ID, "anthropic-version": "2023-06-01", "anthropic-beta": "a-2025-01-01,b-2025-02-02"}
    async with upstream.run(), run_server(configured(**wire.environ(upstream))) as server:
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
    async with upstream.run(), run_server(configured(**wire.environ(upstream))) as server:
        body = {"model": f"{engine}/m", **CODEX}
        answer = await server.post("/v1/responses", body, {"Authorization": f"Bearer {CLIENT_ID}"})
        raw = await answer.body()
    assert answer.status == 200, raw
    text = json.dumps(upstream.requests[0].json)
    assert all(piece in text for piece in ("You are a coding agent.", "The sandbox is on.", "a.txt", "shell", "spawn"))
    if engine != "openai":  # the upstream of openai has the other wire here
        assert raw.decode().count("event: response.completed") == 1


@pytest.mark.parametrize("engine", ["anthropic", "google", "ollama"])
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_codex_calls_a_function_in_a_namespace(engine: str, stream: bool) -> None:
    """Its functions are grouped in namespaces; on other wires the function's name includes the namespace."""
    wire = WIRES[engine]
    upstream = Upstream(make_call_script(wire, "agents__spawn", {"task": "Look"}, "Done"))
    async with upstream.run(), run_server(configured(**wire.environ(upstream))) as server:
        body = {"model": f"{engine}/m", **CODEX, "stream": stream}
        raw = await (await server.post("/v1/responses", body)).body()
        events = [json.loads(line[6:]) for line in raw.splitlines() if line.startswith(b"data: {")]
        [call] = (events[-1]["response"] if stream else json.loads(raw))["output"]
        assert (call["type"], call["name"], call["namespace"]) == ("function_call", "spawn", "agents")
        assert json.loads(call["arguments"]) == {"task": "Look"}
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "Done"}
        again = {**body, "stream": False, "input": [*CODEX["input"], call, result]}
        answer = await (await server.post("/v1/responses", again)).json()
    assert answer["output"][0]["content"][0]["text"] == ANSWER_TEXT
    first, second = (json.dumps(request.json) for request in upstream.requests)
    assert "agents: Sub-agents." in first and "Starts one" in first
    assert "namespace" not in first + second and second.count("agents__spawn") >= 2


@EVERY
@pytest.mark.parametrize("body", [OPEN_WEBUI, LANGCHAIN], ids=["open webui", "langchain"])
async def test_clients_of_chat_completions(engine: str, body: dict[str, Any]) -> None:
    wire, upstream = upstream_of(engine)
    async with upstream.run(), run_server(configured(**wire.environ(upstream))) as server:
        answer = await server.post(
            "/v1/chat/completions", {"model": f"{engine}/m", **body}, {"Authorization": f"Bearer {CLIENT_ID}"}
        )
        raw = await answer.body()
    assert answer.status == 200, raw
    if body["stream"]:
        assert raw.endswith(b"data: [DONE]\n\n")
    else:
        assert json.loads(raw)["choices"][0]["message"]["content"] == "Grüße 🦊"
