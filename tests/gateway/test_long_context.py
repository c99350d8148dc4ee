"""``[1m]`` behind a model's name, by which Claude Code selects a long context, is no part of the name."""

from __future__ import annotations

from typing import Any, Final

import pytest

from llm.engines.engine import split_long_context
from tests.support.field_cases import field_case
from tests.support.harness import CLIENT, CLIENT_ID, Connection, Request, Upstream, make_config, run_server
from tests.support.wires import WIRES

BETA: Final = "context-1m-2025-08-07"
QUESTION: Final = [{"role": "user", "content": "Hello"}]
CLIENTS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "messages": ("/v1/messages", {"max_tokens": 16, "messages": QUESTION}),
    "chat": ("/v1/chat/completions", {"messages": QUESTION}),
    "responses": ("/v1/responses", {"input": "Hello"}),
    "ollama chat": ("/api/chat", {"messages": QUESTION}),
    "ollama generate": ("/api/generate", {"prompt": "Hello"}),
    "native": ("/llm/chat", {"prompt": "Hello"}),
}
streamed = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])


async def ask(
    engine: str, model: str, client: str, stream: bool, headers: dict[str, str] | None = None
) -> tuple[int, str, list[str]]:
    """Returns the status, the model that the engine was asked for, and the betas."""
    wire, (path, body) = WIRES[engine], CLIENTS[client]

    async def script(request: Request, connection: Connection) -> None:
        streams = request.json.get("stream") or "stream" in request.path.rpartition(":")[2]
        if not streams:
            await connection.respond(wire.whole("Hi"))
            return
        await connection.stream(wire.content_type)
        await connection.chunk(wire.head + wire.delta("Hi") + wire.end)
        await connection.end()

    named = {"engine": engine, "model": model} if client == "native" else {"model": f"{engine}/{model}"}
    async with Upstream(script).run() as upstream, run_server(make_config(**wire.environ(upstream))) as server:
        answer = await server.post(path, {**body, **named, "stream": stream}, {**CLIENT, **(headers or {})})
        raw = await answer.body()
    assert b"Hi" in raw, raw
    assert not any("1m]" in request.body.decode() + request.path for request in upstream.requests)
    sent = upstream.requests[-1]
    asked = sent.json.get("model") or sent.path.rpartition("/")[2].partition(":")[0]
    return answer.status, asked, [beta for beta in sent.headers.get("anthropic-beta", "").split(",") if beta]


@streamed
async def test_gw_13_the_reported_request(stream: bool) -> None:
    case = field_case("gw-13")
    engine, _, model = case["request"]["model"].partition("/")
    assert await ask(engine, model, "messages", stream) == (200, model.removesuffix("[1m]"), [])


@streamed
@pytest.mark.parametrize("engine", WIRES)
@pytest.mark.parametrize("client", CLIENTS)
async def test_gw_13_every_engine_gets_the_bare_name(client: str, engine: str, stream: bool) -> None:
    assert (await ask(engine, "deepseek-v4-pro[1M][1m]", client, stream))[:2] == (200, "deepseek-v4-pro")


@streamed
@pytest.mark.parametrize("client", CLIENTS)
async def test_gw_13_a_model_of_anthropic_that_needs_the_beta_gets_it(client: str, stream: bool) -> None:
    for model, betas in (
        ("claude-sonnet-4-5", [BETA]),
        ("claude-sonnet-4-20250514", [BETA]),
        ("claude-sonnet-4-6", []),
        ("claude-opus-4-8", []),
        ("claude-haiku-4-5", []),  # refuses it
    ):
        assert await ask("anthropic", f"{model}[1m]", client, stream) == (200, model, betas)
        assert await ask("anthropic", model, client, stream) == (200, model, [])


@streamed
async def test_gw_13_the_client_s_own_betas_stay(stream: bool) -> None:
    own = {"anthropic-beta": f"claude-code-20250219, {BETA}"}
    for model in ("claude-sonnet-4-5[1m]", "claude-sonnet-4-5"):
        _, _, betas = await ask("anthropic", model, "messages", stream, own)
        assert sorted(beta.strip() for beta in betas) == ["claude-code-20250219", BETA]


@pytest.mark.parametrize("engine", ["anthropic", "google", "groq"])
async def test_gw_13_tokens_are_counted_for_the_bare_name(engine: str) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond({"input_tokens": 7, "totalTokens": 7})

    key = f"{engine.upper()}_API_KEY"
    async with Upstream(script).run() as upstream:
        config = make_config(**{key: "sk-canary-1234567", f"{engine.upper()}_BASE_URL": upstream.url})
        async with run_server(config) as server:
            body = {"model": f"{engine}/claude-sonnet-4-5[1m]", "messages": QUESTION}
            answer = await server.post("/v1/messages/count_tokens", body, CLIENT)
            assert answer.status == 200, await answer.body()
    for sent in upstream.requests:
        assert "[1m]" not in sent.path + sent.body.decode()
        assert (sent.headers.get("anthropic-beta") == BETA) == (engine == "anthropic")


async def test_gw_13_embeddings_and_the_list_take_such_a_name_too() -> None:
    async def script(request: Request, connection: Connection) -> None:
        if request.method == "GET":
            await connection.respond({"object": "list", "data": [{"id": "m", "object": "model"}]})
        else:
            await connection.respond({"data": [{"index": 0, "embedding": [0.5]}], "model": "m", "usage": {}})

    async with Upstream(script).run() as upstream:
        async with run_server(make_config(**WIRES["openai"].environ(upstream))) as server:
            answer = await server.post("/v1/embeddings", {"model": "openai/m[1m]", "input": "x"}, CLIENT)
            assert answer.status == 200
            listed = await server.request("GET", "/v1/models/openai/m[1m]", headers=CLIENT)
            assert (await listed.json())["id"] == "openai/m"
    assert upstream.requests[0].json["model"] == "m"


async def test_gw_13_the_list_by_which_claude_code_finds_models_has_names_that_it_takes() -> None:
    """Claude Code 2.1 asks ``/v1/models?limit=1000`` and takes ids that match ``^(claude|anthropic)``."""

    async def script(request: Request, connection: Connection) -> None:
        model = {"type": "model", "id": "claude-opus-5", "display_name": "Opus", "created_at": "2026-01-01T00:00:00Z"}
        await connection.respond({"data": [model], "has_more": False, "first_id": None, "last_id": None})

    headers = {"Authorization": f"Bearer {CLIENT_ID}", "anthropic-version": "2023-06-01"}
    async with Upstream(script).run() as upstream:
        async with run_server(make_config(**WIRES["anthropic"].environ(upstream))) as server:
            answer = await server.get("/v1/models?limit=1000", headers)
            [model] = (await answer.json())["data"]
    assert (model["id"], model["display_name"]) == ("anthropic/claude-opus-5", "Opus")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("m", ("m", False)),
        ("m[1m]", ("m", True)),
        ("m[1M][1m]", ("m", True)),
        ("m[2m]", ("m[2m]", False)),
        ("m[1m]x", ("m[1m]x", False)),
        ("[1m]x[1m]", ("[1m]x", True)),
    ],
)
def test_only_the_end_of_a_name_is_the_mark(name: str, parts: tuple[str, bool]) -> None:
    assert split_long_context(name) == parts
