"""``/v1/rerank`` and ``/v2/rerank``, over every engine that ranks documents."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from tests.support.harness import CLIENT, Client, Connection, Request, Upstream, make_config, run_server

DOCUMENTS: Final = ["Berlin", {"text": "Paris", "id": 7}, "Rome"]
SCORES: Final = [(1, 0.9), (2, 0.4), (0, 0.1)]


def _results(documents: list[Any], top: int | None) -> list[dict[str, Any]]:
    return [{"index": n, "relevance_score": score} for n, score in SCORES[:top] if n < len(documents)]


def make_answer(request: Request) -> dict[str, Any]:
    """Returns the answer of the engine whose name begins the path."""
    engine, body = request.path.split("/")[1], request.json
    top = body.get("top_n", body.get("top_k"))
    results = _results(body["documents"], top)
    if engine == "cohere":
        meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
        return {"id": "of-cohere", "results": results, "meta": meta}
    if engine == "voyage":
        return {"object": "list", "data": results, "model": body["model"], "usage": {"total_tokens": 26}}
    if engine == "vllm":  # in the order of the documents, with all of them and the documents' texts
        unsorted = sorted(_results(body["documents"], None), key=lambda one: one["index"])
        texts = [{**one, "document": {"text": "x"}} for one in unsorted]
        return {"id": "rerank-1", "model": body["model"], "results": texts, "usage": {"total_tokens": 26}}
    return {"model": body["model"], "results": results, "usage": {"prompt_tokens": 26, "total_tokens": 26}}


async def script(request: Request, connection: Connection) -> None:
    await connection.respond(make_answer(request))


ENGINES: Final = {
    "cohere": "/cohere/v2/rerank",
    "jina": "/jina/v1/rerank",
    "voyage": "/voyage/v1/rerank",
    "openrouter": "/openrouter/v1/rerank",
    "together": "/together/v1/rerank",
    "vllm": "/vllm/v1/rerank",
}


@asynccontextmanager
async def running(answers: Any = script, **more: str) -> AsyncIterator[tuple[Upstream, Client]]:
    async with Upstream(answers).run() as upstream:
        environ = {"CUSTOM_ENGINES": "vllm", "GROQ_API_KEY": "sk-canary-groq", "MAX_RETRIES": "0", **more}
        for name in ENGINES:
            environ[f"{name.upper()}_API_KEY"] = f"sk-canary-{name}"
            environ[f"{name.upper()}_BASE_URL"] = f"{upstream.url}/{name}{'' if name == 'cohere' else '/v1'}"
        async with run_server(make_config(**environ)) as server:
            yield upstream, server


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("version", [1, 2])
async def test_documents_are_ranked(engine: str, version: int) -> None:
    body = {"model": f"{engine}/m", "query": "Where is the Louvre?", "documents": DOCUMENTS, "top_n": 2}
    async with running() as (upstream, server):
        answer = await server.post(f"/v{version}/rerank", body)
        got = await answer.json()
    [sent] = upstream.requests
    assert sent.path == ENGINES[engine] and sent.headers["Authorization"] == f"Bearer sk-canary-{engine}"
    more = {"top_k" if engine == "voyage" else "top_n": 2} | ({"return_documents": False} if engine == "jina" else {})
    documents = ["Berlin", "Paris", "Rome"]
    assert sent.json == {"model": "m", "query": "Where is the Louvre?", "documents": documents, **more}
    assert [(one["index"], one["relevance_score"]) for one in got["results"]] == SCORES[:2]
    assert got["id"] and got["meta"]["api_version"] == {"version": str(version)}
    if engine == "cohere":
        assert got["id"] == "of-cohere" and got["meta"]["billed_units"] == {"search_units": 1}
    else:
        assert got["meta"]["tokens"] == {"input_tokens": 26}
    if version == 1:
        assert [one["document"] for one in got["results"]] == [{"text": "Paris", "id": 7}, {"text": "Rome"}]
        assert got["usage"]["total_tokens"] == (0 if engine == "cohere" else 26)
    else:
        assert set(got) == {"id", "results", "meta"} and "document" not in got["results"][0]


async def test_documents_come_back_as_the_client_asks() -> None:
    body = {"model": "cohere/m", "query": "q", "documents": DOCUMENTS}
    async with running() as (_, server):
        for version, asked in ((1, False), (2, True)):
            got = await (await server.post(f"/v{version}/rerank", {**body, "return_documents": asked})).json()
            assert all(("document" in one) is asked for one in got["results"])


async def test_fields_of_documents_are_ranked_by_name() -> None:
    documents = [{"title": "A", "year": 1999, "text": "left out"}, {"title": "B"}]
    body = {"model": "voyage/m", "query": "q", "documents": documents, "rank_fields": ["title", "year"]}
    async with running() as (upstream, server):
        assert (await server.post("/v1/rerank", body)).status == 200
    assert upstream.requests[0].json["documents"] == ["title: A\nyear: 1999", "title: B"]


async def test_documents_that_are_no_texts_go_to_engines_that_take_them() -> None:
    documents = [{"image": "https://example.com/a.png"}, "text"]
    async with running() as (upstream, server):
        body = {"query": "q", "documents": documents}
        assert (await server.post("/v1/rerank", {**body, "model": "jina/m"})).status == 200
        refused = await server.post("/v1/rerank", {**body, "model": "cohere/m"})
        assert (refused.status, (await refused.json())["error"]["param"]) == (400, "documents[0]")
    assert upstream.requests[0].json["documents"] == documents


@pytest.mark.parametrize(
    ("engine", "field", "value", "status"),
    [
        ("cohere", "max_tokens_per_doc", 512, 200), ("voyage", "truncation", False, 200), ("vllm", "x_any", 1, 200),
        ("cohere", "truncation", True, 400), ("jina", "max_chunks_per_doc", 3, 400), ("cohere", "user", "me", 200),
    ],
)  # fmt: skip
async def test_a_field_is_carried_or_refused_by_name(engine: str, field: str, value: Any, status: int) -> None:
    body = {"model": f"{engine}/m", "query": "q", "documents": ["a", "b", "c"], field: value}
    async with running() as (upstream, server):
        answer = await server.post("/v1/rerank", body)
        got = await answer.json()
    assert answer.status == status
    if status == 400:
        assert got["error"]["param"] == field and got["message"] == got["error"]["message"]
    elif field == "user":
        assert answer.headers["X-Dropped-Fields"] == "user"
    else:
        assert upstream.requests[0].json[field] == value


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"documents": []}, "documents"), ({"query": ""}, "query"), ({"top_n": 0}, "top_n"),
        ({"documents": ["a", 1]}, "documents[1]"), ({"model": "groq/m"}, "model"), ({"model": "m"}, "model"),
    ],
)  # fmt: skip
async def test_a_wrong_request_is_refused_by_name(change: dict[str, Any], param: str) -> None:
    async with running() as (upstream, server):
        answer = await server.post("/v2/rerank", {"model": "jina/m", "query": "q", "documents": ["a"], **change})
        error = await answer.json()
    assert answer.status in (400, 404) and error["error"]["param"] == param and error["message"]
    assert not upstream.requests


@pytest.mark.parametrize(
    "results",
    [[], [{"index": 3, "relevance_score": 1}], [{"index": 0}], [{"index": 0, "relevance_score": 1}] * 2],
    ids=["none", "unknown document", "no score", "one twice"],
)
async def test_an_answer_without_a_score_for_each_result_is_an_error(results: list[Any]) -> None:
    async def answer(request: Request, connection: Connection) -> None:
        await connection.respond({"results": results})

    async with running(answer) as (_, server):
        got = await server.post("/v1/rerank", {"model": "vllm/m", "query": "q", "documents": ["a", "b"]})
        assert (got.status, (await got.json())["error"]["code"]) == (502, "upstream_malformed")


async def test_a_refusal_has_the_engine_s_status_and_words() -> None:
    async def refuse(request: Request, connection: Connection) -> None:
        await connection.respond({"message": "invalid request: too many documents"}, 400)

    async with running(refuse) as (_, server):
        got = await server.post("/v2/rerank", {"model": "cohere/m", "query": "q", "documents": ["a"]})
        assert (got.status, (await got.json())["message"]) == (400, "invalid request: too many documents")


@pytest.mark.parametrize("engine", ["cohere", "jina", "voyage"])
async def test_engines_that_rank_embed_too_and_do_not_chat(engine: str) -> None:
    async def embed(request: Request, connection: Connection) -> None:
        data = [{"object": "embedding", "index": 0, "embedding": [0.5, 1.0]}]
        await connection.respond({"object": "list", "data": data, "model": "m", "usage": {"total_tokens": 1}})

    async with running(embed) as (upstream, server):
        body = {"model": f"{engine}/m", "input": "x", "dimensions": 2, "encoding_format": "float"}
        assert (await (await server.post("/v1/embeddings", body)).json())["data"][0]["embedding"] == [0.5, 1.0]
        messages = [{"role": "user", "content": "Hi"}]
        for path, more in (("/v1/chat/completions", {}), ("/v1/messages", {"max_tokens": 5}), ("/v1/responses", {})):
            chat = {"model": f"{engine}/m", "messages": messages, **more}
            chat = {"model": f"{engine}/m", "input": "Hi"} if "responses" in path else chat
            refused = await server.post(path, chat)
            text = (await refused.body()).decode()
            assert refused.status == 400 and "has no chat API" in text, path
        models = (await (await server.get(f"/llm/models/{engine}", CLIENT)).json())["models"]
        assert models["rerank"] and models["embedding"] and not models["chat"]
    [sent] = upstream.requests
    assert sent.path == (f"/{engine}/compatibility/v1/embeddings" if engine == "cohere" else f"/{engine}/v1/embeddings")
    if engine == "voyage":
        assert sent.json == {"model": "m", "input": "x", "output_dimension": 2}
    else:
        assert sent.json == {**body, "model": "m"}
    assert json.loads(sent.body)["model"] == "m"
