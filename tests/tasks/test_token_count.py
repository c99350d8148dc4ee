"""Token counts of a request (T11): by the provider if it has an API for it, else a marked estimate."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic

from tests.support.harness import CLIENT, CLIENT_ID, Connection, Request, Upstream, make_config, run_server
from tests.support.wires import WIRES

ANSWERS: dict[str, dict[str, Any]] = {
    "anthropic": {"input_tokens": 4711},
    "google": {"totalTokens": 4711, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 4711}]},
    "openai": {"object": "response.input_tokens", "input_tokens": 4711},
}
TOOL: Any = {"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
BODY: Any = {
    "system": "Be brief.",
    "messages": [{"role": "user", "content": "Weather?"}],
    "tools": [TOOL],
    "thinking": {"type": "enabled", "budget_tokens": 2048},
}


async def count_tokens(engine: str, model: str, body: Any, **headers: str) -> tuple[Request, Any]:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(ANSWERS[engine])

    upstream = Upstream(script)
    async with upstream.run(), run_server(make_config(**WIRES[engine].environ(upstream))) as server:
        answer = await server.post(
            "/v1/messages/count_tokens", {"model": f"{engine}/{model}", **body}, {**CLIENT, **headers}
        )
        assert answer.status == 200 and "X-Tokens-Estimated" not in answer.headers
        counted = await answer.json()
    [request] = upstream.requests
    return request, counted


async def test_t11_anthropic_counts_the_unchanged_request() -> None:
    body = {**BODY, "unknown": {"later": [1]}}
    request, counted = await count_tokens(
        "anthropic", "claude-sonnet-4-5", body, **{"anthropic-beta": "context-1m-2025-08-07"}
    )
    assert counted == {"input_tokens": 4711}
    assert request.path == "/v1/messages/count_tokens"
    assert request.json == {"model": "claude-sonnet-4-5", **body}
    assert request.headers["anthropic-beta"] == "context-1m-2025-08-07"


async def test_t11_google_counts_the_system_prompt_and_tools_too() -> None:
    request, counted = await count_tokens("google", "gemini-2.5-flash", BODY)
    assert counted == {"input_tokens": 4711}
    assert request.path == "/v1beta/models/gemini-2.5-flash:countTokens"
    inner = request.json["generateContentRequest"]
    assert inner["model"] == "models/gemini-2.5-flash"
    assert inner["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    assert inner["tools"][0]["functionDeclarations"][0]["name"] == "get_weather"


async def test_t11_openai_counts_with_its_responses_api() -> None:
    request, counted = await count_tokens("openai", "gpt-5.4", BODY)
    assert counted == {"input_tokens": 4711}
    assert request.path == "/v1/responses/input_tokens"
    assert {"model", "input", "tools"} <= request.json.keys()
    assert not {"max_output_tokens", "store", "stream", "include"} & request.json.keys()


async def test_t11_other_engines_get_an_estimate_marked_with_its_error() -> None:
    async with run_server(make_config()) as server:
        counts = []
        for body in (
            {"messages": BODY["messages"]},
            {"messages": BODY["messages"], "system": "word " * 1000},
            {"messages": BODY["messages"], "system": "word " * 1000, "tools": [TOOL]},
        ):
            answer = await server.post("/v1/messages/count_tokens", {"model": "demo/demo-chat", **body})
            assert answer.headers["X-Tokens-Estimated"] == "true"
            assert answer.headers["X-Tokens-Error"] == "30% and 800"
            counts.append((await answer.json())["input_tokens"])
    assert counts[0] < 10 and 1000 < counts[1] < 1020 < counts[2] - 200


async def test_the_sdk_counts_and_raises_the_right_errors() -> None:
    async def script(request: Request, connection: Connection) -> None:
        if request.json["model"] == "missing":
            error = {"type": "error", "error": {"type": "not_found_error", "message": "model: missing"}}
            await connection.respond(error, 404)
        else:
            await connection.respond({"input_tokens": 12})

    upstream = Upstream(script)
    async with upstream.run(), run_server(make_config(**WIRES["anthropic"].environ(upstream))) as server:
        async with AsyncAnthropic(api_key=CLIENT_ID, base_url=server.url, max_retries=0) as client:
            counted = await client.messages.count_tokens(model="anthropic/m", messages=BODY["messages"])
            assert counted.input_tokens == 12
            with pytest.raises(anthropic.NotFoundError, match="model: missing"):
                await client.messages.count_tokens(model="anthropic/missing", messages=BODY["messages"])
            with pytest.raises(anthropic.BadRequestError, match=r"messages"):
                await client.messages.count_tokens(model="anthropic/m", messages=[])
        async with AsyncAnthropic(api_key="wrong", base_url=server.url, max_retries=0) as stranger:
            with pytest.raises(anthropic.AuthenticationError):
                await stranger.messages.count_tokens(model="anthropic/m", messages=BODY["messages"])


@pytest.mark.parametrize("answer", [{}, {"input_tokens": "many"}, {"input_tokens": -1}, [], {"input_tokens": True}])
async def test_an_answer_without_a_number_is_the_provider_s_fault(answer: Any) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(json.dumps(answer))

    upstream = Upstream(script)
    async with upstream.run(), run_server(make_config(**WIRES["anthropic"].environ(upstream))) as server:
        answered = await server.post(
            "/v1/messages/count_tokens", {"model": "anthropic/m", "messages": BODY["messages"]}
        )
        assert answered.status == 502


MISSING: dict[str, tuple[int, Any, str]] = {
    "fastapi": (404, {"detail": "Not Found"}, "application/json"),
    "its own form": (404, {"type": "error", "error": {"type": "not_found_error", "message": "Not Found"}}, "application/json"),
    "page": (404, "<html>404</html>", "text/html"),
    "text": (404, "404 page not found", "text/plain"),
    "empty": (404, "", "text/plain"),
    "method": (405, {"detail": "Method Not Allowed"}, "application/json"),
    "not implemented": (501, "", "text/plain"),
}  # fmt: skip


@pytest.mark.parametrize("missing", MISSING.values(), ids=MISSING)
@pytest.mark.parametrize("engine", ANSWERS)
async def test_an_engine_without_the_counter_gives_a_marked_estimate(
    engine: str, missing: tuple[int, Any, str]
) -> None:
    """As a proxy does whose address is the engine's base URL; Claude Code counts before each long turn."""
    status, said, kind = missing

    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(said, status, kind, headers={"Retry-After-Ms": "1"})

    async with Upstream(script).run() as upstream, run_server(make_config(**WIRES[engine].environ(upstream))) as server:
        body = {"model": f"{engine}/m", **BODY}
        answer = await server.post("/v1/messages/count_tokens", body, CLIENT)
        counted = await answer.json()
    assert (answer.status, answer.headers.get("X-Tokens-Estimated")) == (200, "true"), counted
    assert counted["input_tokens"] > 0


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("anthropic", {"type": "error", "error": {"type": "not_found_error", "message": "model: m"}}),
        ("google", {"error": {"code": 404, "message": "models/m is not found for API version v1beta", "status": "NOT_FOUND"}}),
        ("openai", {"error": {"message": "No such thing.", "code": "model_not_found"}}),
    ],
)  # fmt: skip
async def test_an_unknown_model_is_not_counted(engine: str, said: Any) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(said, 404)

    async with Upstream(script).run() as upstream, run_server(make_config(**WIRES[engine].environ(upstream))) as server:
        answer = await server.post("/v1/messages/count_tokens", {"model": f"{engine}/m", **BODY}, CLIENT)
    assert answer.status == 404
