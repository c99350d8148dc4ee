"""``OPENAI_BASE_URL`` of another server: it may not know ``max_completion_tokens``, and the limit must not be lost."""

from __future__ import annotations

from typing import Any, Final

import pytest

from llm.config.settings import Config
from tests.support.harness import CLIENT, Connection, Request, Upstream, make_config, run_server
from tests.support.wires import WIRES

QUESTION: Final = [{"role": "user", "content": "Hello"}]
CLIENTS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "native": ("/llm/chat", {"prompt": "Hello", "options": {"maxTokens": 9}}),
    "messages": ("/v1/messages", {"messages": QUESTION, "max_tokens": 9}),
    "responses": ("/v1/responses", {"input": "Hello", "max_output_tokens": 9}),
    "ollama": ("/api/chat", {"messages": QUESTION, "options": {"num_predict": 9}}),
    "generate": ("/api/generate", {"prompt": "Hello", "options": {"num_predict": 9}}),
}


async def ask(client: str, model: str, stream: bool) -> dict[str, Any]:
    """Returns what the server got that is asked by Chat Completions."""
    wire, (path, body) = WIRES["openai"], CLIENTS[client]

    async def script(request: Request, connection: Connection) -> None:
        if request.path.endswith("/responses"):
            await connection.respond({"detail": "Not Found"}, 404)
        elif not request.json.get("stream"):
            await connection.respond(wire.whole("Hi"))
        else:
            await connection.stream(wire.content_type)
            await connection.chunk(wire.head + wire.delta("Hi") + wire.end)
            await connection.end()

    named = {"engine": "openai", "model": model} if client == "native" else {"model": f"openai/{model}"}
    async with Upstream(script).run() as upstream, run_server(make_config(**wire.environ(upstream))) as server:
        answer = await server.post(path, {**body, **named, "stream": stream}, CLIENT)
        assert b"Hi" in await answer.body()
    return dict(upstream.requests[-1].json)


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_server_that_resembles_openai_s_gets_the_limit_in_the_older_field(client: str, stream: bool) -> None:
    for model in ("llama-3.3-70b", "openai/gpt-oss-120b", "gpt-4o"):
        sent = await ask(client, model, stream)
        assert (sent.get("max_tokens"), sent.get("max_completion_tokens")) == (9, None), model


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_model_that_refuses_the_older_field_gets_the_newer_one(client: str) -> None:
    sent = await ask(client, "gpt-5.4", False)  # as behind a proxy
    assert (sent.get("max_tokens"), sent.get("max_completion_tokens")) == (None, 9)


@pytest.mark.parametrize(
    ("url", "field"),
    [
        ("https://api.openai.com/v1", "max_completion_tokens"),
        ("https://eu.api.openai.com/v1", "max_completion_tokens"),
        ("http://127.0.0.1:8000/v1", "max_tokens"),
        ("https://api.openai.com.example/v1", "max_tokens"),
        ("http://[::1]:8000/v1", "max_tokens"),
    ],
)
def test_openai_s_own_hosts_get_the_newer_field(url: str, field: str) -> None:
    config = Config.from_env({"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "sk-canary-1234567"})
    assert config.engines["openai"].quirks.max_tokens_field == field
