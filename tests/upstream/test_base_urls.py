"""Base URLs of engines, with and without the version that the API's paths have already."""

from __future__ import annotations

from typing import Final

import pytest

from tests.support.field_cases import field_case
from tests.support.harness import CLIENT, Connection, Request, Upstream, make_config, run_server
from tests.support.wires import CLIENTS

ENDS: Final = {  # ends of base URLs, by engine: all mean the same
    "anthropic": ("", "/", "/v1", "/v1/", "/v1/messages"),
    "google": ("", "/v1beta", "/v1beta/", "/v1", "/v1beta/models"),
    "ollama": ("", "/v1", "/v1/", "/api", "/api/chat"),
    "mistralai": ("", "/v1", "/v1/chat/completions"),
    "openai": ("/v1", "/v1/", "/v1/chat/completions"),
    "groq": ("/openai/v1", "/openai/v1/chat/completions"),
}
PATHS: Final = {
    "anthropic": "/v1/messages",
    "google": "/v1beta/models/m:",
    "ollama": "/api/chat",
    "mistralai": "/v1/chat/completions",
    "openai": "/v1/chat/completions",
    "groq": "/openai/v1/chat/completions",
}


async def refuse(request: Request, connection: Connection) -> None:
    await connection.respond({"error": "not found"}, 404)


async def path_of(engine: str, url_end: str, name: str = "native", before: str = "") -> str:
    """Returns the path at which the engine is asked with such a base URL."""
    async with Upstream(refuse).run() as upstream:
        variable = engine.upper()
        environ = {
            f"{variable}_API_KEY": f"sk-canary-{variable}",
            f"{variable}_BASE_URL": upstream.url + before + url_end,
        }
        if engine == "ollama":
            environ["OLLAMA_ENABLED"] = "true"
        async with run_server(make_config(**environ)) as server:
            client = CLIENTS[name]
            await server.post(client.path, client.request(engine), {**CLIENT, **client.headers})
        return upstream.requests[0].path


@pytest.mark.parametrize("engine", ENDS)
async def test_gw_26_the_version_is_not_sent_twice(engine: str) -> None:
    for url_end in ENDS[engine]:
        assert (await path_of(engine, url_end)).startswith(PATHS[engine]), url_end
        assert (await path_of(engine, url_end, before="/proxy")).startswith(f"/proxy{PATHS[engine]}"), url_end


@pytest.mark.parametrize("name", ["native", "openai", "anthropic"])
async def test_gw_26_whoever_asks(name: str) -> None:
    end = field_case("gw-26")["settings"]["ANTHROPIC_BASE_URL"].removeprefix("http://127.0.0.1:PORT")
    assert await path_of("anthropic", end, name) == "/v1/messages"


async def test_custom_engines_have_base_urls_of_their_dialect() -> None:
    async with Upstream(refuse).run() as upstream:
        for dialect, url_end, path in (
            ("anthropic", "/v1", "/v1/messages"),
            ("openai-responses", "/v1/responses", "/v1/responses"),
            ("openai-chat", "/v1/chat/completions", "/v1/chat/completions"),
            ("ollama", "/v1", "/api/chat"),
        ):
            environ = {"CUSTOM_ENGINES": "box", "BOX_BASE_URL": upstream.url + url_end, "BOX_DIALECT": dialect}
            async with run_server(make_config(**environ)) as server:
                await server.post("/llm/chat", CLIENTS["native"].request("box"))
            assert upstream.requests.pop().path == path


@pytest.mark.parametrize("engine", ["anthropic", "google", "ollama"])
async def test_model_lists_use_the_same_base_url(engine: str) -> None:
    async with Upstream(refuse).run() as upstream:
        variable = engine.upper()
        end = "/v1beta" if engine == "google" else "/v1"
        environ = {f"{variable}_API_KEY": f"sk-canary-{variable}", f"{variable}_BASE_URL": upstream.url + end}
        async with run_server(make_config(**environ, OLLAMA_ENABLED="true")) as server:
            await server.get(f"/llm/models/{engine}")
        paths = {request.path.partition("?")[0] for request in upstream.requests}
    assert paths == {{"anthropic": "/v1/models", "google": "/v1beta/models", "ollama": "/api/tags"}[engine]}
