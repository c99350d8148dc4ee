"""In which fields Chat clients get reasoning (client facts, reasoning-has-two-names; measured with 17 clients).

Each reader is what the client of that name was seen to do with a streamed answer that has one field or both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from llm.config.parsers import ConfigError
from llm.config.settings import Config
from tests.support.harness import CLIENT, Connection, Request, Upstream, make_config, run_server
from tests.support.wires import WIRES, _sse

Delta = Mapping[str, Any]


def only(field: str) -> Callable[[Delta], str]:
    return lambda delta: delta.get(field) or ""


def first(*fields: str) -> Callable[[Delta], str]:
    return lambda delta: next((delta[field] for field in fields if delta.get(field)), "")


def read_all(delta: Delta) -> str:
    """As openai-agents 0.24.0 (PyPI): one field becomes the summary, the other the content of one item."""
    return (delta.get("reasoning_content") or "") + (delta.get("reasoning") or "")


# Name and version, its ``User-Agent`` where that decides, and what it reads. Not listed are those that read neither:
# langchain-openai 1.7.4, smolagents 1.26.0, haystack-ai 3.4.1, semantic-kernel 1.45.0.
CLIENTS: dict[str, tuple[str, Callable[[Delta], str]]] = {
    "@langchain/openai 1.5.8": ("", only("reasoning_content")),
    "@ai-sdk/deepseek 2.0.69": ("", only("reasoning_content")),
    "autogen-ext 0.7.5": ("", only("reasoning_content")),
    "@openai/agents 0.20.0": ("Agents/JavaScript 0.20.0", only("reasoning")),
    "@openrouter/ai-sdk-provider 2.10.0": ("", only("reasoning")),
    "huggingface_hub 2.4.0": ("", only("reasoning")),
    "@ai-sdk/openai-compatible 3.0.92": ("", first("reasoning_content", "reasoning")),
    "langchain-deepseek 1.1.1": ("", first("reasoning_content", "reasoning")),
    "litellm 1.110.2": ("", first("reasoning_content", "reasoning")),
    "pydantic-ai 2.68.0": ("", first("reasoning", "reasoning_content")),
    "agno 3.1.10": ("", first("reasoning_content", "reasoning")),
    "llama-index-llms-openai-like 0.8.1": ("", first("reasoning_content", "reasoning")),
    "strands-agents 1.62.0": ("", first("reasoning_content", "reasoning")),
    "openai-agents 0.24.0": ("Agents/Python 0.24.0", read_all),
}
THINKING = {"type": "thinking", "thinking": "", "signature": ""}


async def script(request: Request, connection: Connection) -> None:
    """Answers with a thought and a text, in Anthropic's dialect, so that Chat clients are translated."""
    wire = WIRES["anthropic"]
    if not request.json.get("stream"):
        thought = {"type": "thinking", "thinking": "I see.", "signature": "s"}
        await connection.respond({**wire.whole("Yes."), "content": [thought, {"type": "text", "text": "Yes."}]})
        return
    await connection.stream()
    start, _, _ = wire.head.partition(b"event: content_block_start")
    events: list[dict[str, Any]] = [{"type": "content_block_start", "index": 0, "content_block": THINKING}]
    for delta in (
        {"type": "thinking_delta", "thinking": "I "},
        {"type": "thinking_delta", "thinking": "see."},
        {"type": "signature_delta", "signature": "s"},
    ):
        events.append({"type": "content_block_delta", "index": 0, "delta": delta})
    events += [{"type": "content_block_stop", "index": 0}]
    await connection.chunk(start + b"".join(_sse(event, event["type"]) for event in events))
    await connection.chunk(_sse({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, "message_delta"))
    await connection.chunk(_sse({"type": "message_stop"}, "message_stop"))
    await connection.end()


async def ask(agent: str, stream: bool, **environ: str) -> list[Delta]:
    """Returns the deltas of the answer, or its message."""
    upstream = Upstream(script)
    headers = {**CLIENT, "User-Agent": agent} if agent else CLIENT
    body = {"model": "anthropic/claude-sonnet-4-5", "messages": [{"role": "user", "content": "x"}], "stream": stream}
    async with (
        upstream.run(),
        run_server(make_config(**WIRES["anthropic"].environ(upstream, **environ))) as server,
    ):
        answer = await server.post("/v1/chat/completions", body, headers)
        assert answer.status == 200, await answer.body()
        raw = (await answer.body()).decode()
    if not stream:
        return [json.loads(raw)["choices"][0]["message"]]
    chunks = [json.loads(line[6:]) for line in raw.splitlines() if line.startswith("data: {")]
    return [choice["delta"] for chunk in chunks for choice in chunk["choices"]]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", CLIENTS)
async def test_t3_each_client_sees_a_thought_once(name: str, stream: bool) -> None:
    agent, read = CLIENTS[name]
    assert "".join(read(delta) for delta in await ask(agent, stream)) == "I see."


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_t3_a_setting_chooses_one_field(field: str, stream: bool) -> None:
    for agent in ("", "Agents/Python 0.24.0"):
        deltas = await ask(agent, stream, CHAT_REASONING_FIELD=field)
        assert "".join(delta.get(field) or "" for delta in deltas) == "I see."
        other = {"reasoning_content": "reasoning", "reasoning": "reasoning_content"}[field]
        assert not any(other in delta for delta in deltas)


def test_t3_another_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="CHAT_REASONING_FIELD"):
        Config.from_env({"CHAT_REASONING_FIELD": "thinking"})
