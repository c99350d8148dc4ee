"""Ollama's endpoints that change models, and the context size of every model."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import ollama
import pytest

from tests.support.harness import CLIENT, CLIENT_ID, Client, Connection, Request, Upstream, make_config, run_server

CALLS: Final[dict[str, dict[str, Any]]] = {
    "/api/pull": {"model": "{}llama3.2:1b", "insecure": True, "future": {"a": 1}},
    "/api/push": {"model": "{}me/llama3.2"},
    "/api/create": {"model": "{}mine", "from": "{}llama3.2", "system": "Be short.", "parameters": {"temperature": 1.0}},
    "/api/copy": {"source": "{}llama3.2", "destination": "{}other"},
    "/api/delete": {"model": "{}llama3.2"},
}
PROGRESS: Final[list[dict[str, Any]]] = [
    {"status": "pulling manifest"},
    {"status": "pulling", "total": 9, "completed": 3},
    {"status": "success"},
]


def make_body(path: str, prefix: str) -> dict[str, Any]:
    return {n: v.format(prefix) if isinstance(v, str) else v for n, v in CALLS[path].items()}


def method_of(path: str) -> str:
    return "DELETE" if path == "/api/delete" else "POST"


async def script(request: Request, connection: Connection) -> None:
    if request.path in ("/api/copy", "/api/delete"):
        await connection.respond(b"")
    elif request.json.get("stream") is False:
        await connection.respond(PROGRESS[-1])
    else:
        await connection.stream("application/x-ndjson")
        for line in PROGRESS:
            await connection.chunk(json.dumps(line) + "\n")
        await connection.end()


@asynccontextmanager
async def running(environ: dict[str, str] | None = None) -> AsyncIterator[tuple[Upstream, Client]]:
    async with Upstream(script).run() as upstream:
        local = {"OLLAMA_ENABLED": "true", "OLLAMA_BASE_URL": upstream.url, "OPENAI_API_KEY": "sk-canary-1234567"}
        async with run_server(make_config(**{**local, **(environ or {})})) as server:
            yield upstream, server


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize("prefix", ["ollama/", ""], ids=["engine", "bare"])
async def test_a_call_passes_to_the_ollama_engine(path: str, prefix: str) -> None:
    async with running() as (upstream, server):
        answer = await server.request(method_of(path), path, make_body(path, prefix))
        text = await answer.body()
    assert answer.status == 200
    [sent] = upstream.requests
    assert (sent.method, sent.path, sent.json) == (method_of(path), path, make_body(path, ""))
    if path in ("/api/copy", "/api/delete"):
        assert text == b""
    else:
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        assert [json.loads(line) for line in text.splitlines()] == PROGRESS


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize("prefix", ["openai/", "demo/"])
async def test_other_engines_are_501_with_a_sentence(path: str, prefix: str) -> None:
    async with running({"DEMO_ENABLED": "true"}) as (upstream, server):
        answer = await server.request(method_of(path), path, make_body(path, prefix))
        body = await answer.json()
    assert (answer.status, body["code"]) == (501, "unsupported")
    assert body["error"].startswith(f"{path}: the models of ")
    assert not upstream.requests


@pytest.mark.parametrize("path", CALLS)
async def test_without_an_ollama_engine_it_is_501_and_without_an_id_401(path: str) -> None:
    async with running({"OLLAMA_ENABLED": "false"}) as (upstream, server):
        answer = await server.request(method_of(path), path, make_body(path, ""))
        assert answer.status == 501
        assert "no Ollama engine is configured" in (await answer.json())["error"]
    async with running() as (upstream, server):
        assert (await server.request(method_of(path), path, make_body(path, ""), {})).status == 401
        own = {**make_body(path, "ollama/"), "openaiKey": "sk-own-canary-4711"}
        assert (await server.request(method_of(path), path, own, {})).status == 400
    assert not upstream.requests


async def test_an_unknown_engine_s_name_is_part_of_the_model_s() -> None:
    async with running() as (upstream, server):
        await (await server.post("/api/pull", {"name": "hf.co/me/model:Q4"})).body()
        assert upstream.requests[0].json == {"name": "hf.co/me/model:Q4"}
        assert (await server.post("/api/pull", {})).status == 400
        assert (await server.post("/api/pull", {"model": 3})).status == 400


async def test_the_engine_s_refusal_is_passed_on() -> None:
    async def refuse(request: Request, connection: Connection) -> None:
        await connection.respond({"error": "pull model manifest: file does not exist"}, 404)

    async with Upstream(refuse).run() as upstream:
        async with run_server(make_config(OLLAMA_ENABLED="true", OLLAMA_BASE_URL=upstream.url)) as server:
            answer = await server.post("/api/pull", {"model": "nothing"})
    assert (answer.status, (await answer.json())["error"]) == (404, "pull model manifest: file does not exist")


async def test_the_ollama_package_manages_models() -> None:
    async with running() as (upstream, server):
        async with ollama.AsyncClient(server.url, headers={"Authorization": f"Bearer {CLIENT_ID}"}) as client:
            progress = [part.status async for part in await client.pull("ollama/llama3.2", stream=True)]
            assert progress == ["pulling manifest", "pulling", "success"]
            assert (await client.pull("llama3.2")).status == "success"
            assert (await client.create(model="mine", from_="ollama/llama3.2")).status == "success"
            assert (await client.copy("ollama/a", "ollama/b")).status == "success"
            assert (await client.delete("ollama/b")).status == "success"
            with pytest.raises(ollama.ResponseError) as caught:
                await client.delete("openai/gpt-5.4")
    assert caught.value.status_code == 501
    assert [request.path for request in upstream.requests][2:] == ["/api/create", "/api/copy", "/api/delete"]


async def test_every_model_has_a_context_length() -> None:
    async def lists(request: Request, connection: Connection) -> None:
        known = {"id": "gpt-5.4", "context_window": 400_000}
        await connection.respond({"data": [known, {"id": "gpt-5.4-mini"}, {"id": "text-embedding-3-small"}]})

    async with Upstream(lists).run() as upstream:
        environ = {"OPENAI_API_KEY": "sk-canary-1234567", "OPENAI_BASE_URL": upstream.url}
        async with run_server(make_config(**environ, DEMO_ENABLED="true")) as server:
            tags = await (await server.get("/api/tags", CLIENT)).json()
            found = {}
            for model in tags["models"]:
                shown = await (await server.post("/api/show", {"model": model["name"]})).json()
                info = shown["model_info"]
                found[model["name"]] = info[f"{info['general.architecture']}.context_length"]
    assert found["openai/gpt-5.4"] == 400_000
    assert found["openai/gpt-5.4-mini"] == 128_000
    assert found["openai/text-embedding-3-small"] == 8_192
    assert all(isinstance(length, int) and length > 0 for length in found.values())
