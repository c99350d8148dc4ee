"""Sentences for what goes wrong first: a key in the wrong place, and a refused key of the server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.harness import CLIENT, Connection, Request, Upstream, make_config, run_server
from tests.support.wires import CLIENTS, WIRES

KEYS = {
    "sk-proj-made-up-canary-1": "OpenAI",
    "sk-made-up-canary-1": "OpenAI",
    "sk-ant-api03-made-up": "Anthropic",
    "sk-or-v1-made-up": "OpenRouter",
    "AIzaMadeUpCanary1": "Google",
    "gsk_made_up_canary": "Groq",
    "xai-made-up-canary": "xAI",
}


def sentence(body: Any) -> str:
    error = body["error"]
    return error if isinstance(error, str) else error["message"]


@pytest.mark.parametrize(("key", "label"), KEYS.items())
async def test_a_provider_s_key_in_place_of_the_client_id_is_explained(key: str, label: str) -> None:
    async with run_server(make_config()) as server:
        for client in CLIENTS.values():
            for headers in ({"Authorization": f"Bearer {key}"}, {"x-api-key": key}, {"Authorization": key}):
                answer = await server.post(client.path, client.request("demo", "demo-chat"), headers)
                assert answer.status == 401
                text = sentence(await answer.json())
                assert f"looks like a key of {label}." in text and "AUTHORIZED_CLIENT_ID" in text
                assert f"X-{label}-Key" in text.replace("Openai", "OpenAI").replace("Openrouter", "OpenRouter").replace(
                    "Xai", "xAI"
                )
                assert key not in text


async def test_other_wrong_ids_are_told_as_before() -> None:
    async with run_server(make_config()) as server:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"X-ClientId": "wrong"}):
            text = sentence(await (await server.get("/llm/engines", headers)).json())
            assert text == "X-ClientId header is missing or invalid and no custom API keys provided"


@pytest.mark.parametrize("status", [401, 402])
@pytest.mark.parametrize("engine", [name for name in WIRES if name not in ("ollama", "responses")])
async def test_a_refused_key_of_the_server_names_its_variable(engine: str, status: int) -> None:
    async def refuse(request: Request, connection: Connection) -> None:
        await connection.respond({"error": {"message": "Invalid API key."}}, status)

    verb = "refused" if status == 401 else "has no credit left for"
    async with Upstream(refuse).run() as upstream:
        async with run_server(make_config(**WIRES[engine].environ(upstream))) as server:
            for client in CLIENTS.values():
                answer = await server.post(client.path, client.request(engine), {**CLIENT, **client.headers})
                assert answer.status == 502
                text = sentence(await answer.json())
                assert f"{verb} this server's key, {engine.upper()}_API_KEY: Invalid API key." in text
            own = await server.post(
                "/llm/chat", {**CLIENTS["native"].request(engine), f"{engine}Key": "own-canary-4711"}
            )
            assert own.status == status
            assert sentence(await own.json()) == "Invalid API key."


@pytest.mark.parametrize(
    "body", [{"detail": "Not Found"}, "404 page not found\n", "<html>Not Found</html>", "", {"error": "not found"}]
)
async def test_a_wrong_base_url_of_an_engine_is_named(body: Any) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(body, 404, "application/json" if isinstance(body, dict) else "text/html")

    async with Upstream(script).run() as upstream:
        async with run_server(make_config(**WIRES["openai"].environ(upstream))) as server:
            for client in CLIENTS.values():
                answer = await server.post(client.path, client.request("openai"), {**CLIENT, **client.headers})
                assert answer.status == 404
                assert "the base URL of OpenAI, OPENAI_BASE_URL, may be wrong." in sentence(await answer.json())


async def test_a_model_that_is_not_there_is_not_a_wrong_base_url() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond({"error": {"message": "The model `m` does not exist", "code": "model_not_found"}}, 404)

    async with Upstream(script).run() as upstream:
        async with run_server(make_config(**WIRES["openai"].environ(upstream))) as server:
            answer = await server.post("/llm/chat", CLIENTS["native"].request("openai"))
            assert sentence(await answer.json()) == "The model `m` does not exist"
