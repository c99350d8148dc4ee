"""Text completions: ``/v1/completions``, ``/v1/fim/completions`` and Ollama's ``suffix``, over engines of every form."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import openai
import pytest
from openai import AsyncOpenAI

from tests.support.field_cases import field_case
from tests.support.harness import CLIENT_ID, Client, Connection, Request, Upstream, make_config, run_server

USAGE: Final = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
TEXT_PATHS: Final = ("/v1/completions", "/beta/completions")
LOGPROBS: Final = {"tokens": ["a"], "token_logprobs": [-0.5], "top_logprobs": None, "text_offset": [0]}


def _text(text: str, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
    return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice], **more}


def _chat(kind: str, text: str, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, kind: {"role": "assistant", "content": text}, "finish_reason": finish}
    return {"id": "c-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], **more}


async def _answer_ollama(request: Request, connection: Connection) -> None:
    def line(text: str, done: bool) -> dict[str, Any]:
        part = {"response": text} if "generate" in request.path else {"message": {"role": "assistant", "content": text}}
        end = {"done_reason": "stop", "prompt_eval_count": 7, "eval_count": 2} if done else {}
        return {"model": "m", "created_at": "2026-11-01T00:00:00Z", **part, "done": done, **end}

    if request.json.get("stream") is False:
        await connection.respond(line("a, b", True))
        return
    await connection.stream("application/x-ndjson")
    for piece in (line("a, ", False), line("b", False), line("", True)):
        await connection.chunk(json.dumps(piece) + "\n")
    await connection.end()


async def script(request: Request, connection: Connection) -> None:
    """Answers ``a, b`` in the form of the path."""
    if request.path.startswith("/api/"):
        await _answer_ollama(request, connection)
        return
    is_text = request.path in TEXT_PATHS
    stream = bool(request.json.get("stream"))
    if not stream:
        whole = _text("a, b", "stop", usage=USAGE) if is_text else _chat("message", "a, b", "stop", usage=USAGE)
        await connection.respond(whole)
        return
    pieces = [_text("a, "), _text("b"), _text("", "stop")] if is_text else []
    pieces = pieces or [_chat("delta", "a, "), _chat("delta", "b"), _chat("delta", "", "stop")]
    if request.json.get("stream_options"):
        pieces.append({**pieces[0], "choices": [], "usage": USAGE})
    await connection.stream()
    for piece in pieces:
        await connection.chunk(f"data: {json.dumps(piece)}\n\n")
    await connection.chunk("data: [DONE]\n\n")
    await connection.end()


@asynccontextmanager
async def running(answers: Any = script) -> AsyncIterator[tuple[AsyncOpenAI, Upstream, Client]]:
    async with Upstream(answers).run() as upstream:
        url = upstream.url
        environ = {
            "CUSTOM_ENGINES": "vllm", "VLLM_BASE_URL": f"{url}/v1", "OLLAMA_ENABLED": "true", "OLLAMA_BASE_URL": url,
            "DEEPSEEK_API_KEY": "sk-canary-deepseek", "DEEPSEEK_BASE_URL": f"{url}/v1",
            "MISTRALAI_API_KEY": "sk-canary-mistral", "MISTRALAI_BASE_URL": url,
            "GROQ_API_KEY": "sk-canary-groq", "GROQ_BASE_URL": f"{url}/groq", "MAX_RETRIES": "0",
            "OPENROUTER_API_KEY": "sk-canary-router", "OPENROUTER_BASE_URL": f"{url}/v1",
        }  # fmt: skip
        async with run_server(make_config(**environ)) as server:
            async with AsyncOpenAI(api_key=CLIENT_ID, base_url=f"{server.url}/v1", max_retries=0) as client:
                yield client, upstream, server


async def _complete(client: AsyncOpenAI, stream: bool, **body: Any) -> tuple[str, str | None, int | None]:
    """Returns text, finish reason and the tokens of the prompt, if they were reported."""
    if not stream:
        whole = await client.completions.create(**body)
        assert whole.object == "text_completion"
        return whole.choices[0].text, whole.choices[0].finish_reason, whole.usage and whole.usage.prompt_tokens
    text, finish, tokens = "", None, None
    async for chunk in await client.completions.create(stream=True, **body):
        for choice in chunk.choices:
            text, finish = text + choice.text, choice.finish_reason or finish
        tokens = chunk.usage.prompt_tokens if chunk.usage else tokens
    return text, finish, tokens


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("suffix", [None, ")"], ids=["plain", "suffix"])
@pytest.mark.parametrize(
    ("engine", "path", "plain_path"),
    [
        ("vllm", "/v1/completions", "/v1/completions"),
        ("deepseek", "/beta/completions", "/beta/completions"),
        ("mistralai", "/v1/fim/completions", "/v1/chat/completions"),
        ("ollama", "/api/generate", "/api/chat"),
        ("groq", "", "/groq/chat/completions"),
        ("openrouter", "/v1/completions", "/v1/completions"),
    ],
)
async def test_a_text_is_completed(engine: str, path: str, plain_path: str, suffix: str | None, stream: bool) -> None:
    async with running() as (client, upstream, _):
        body: dict[str, Any] = {"model": f"{engine}/m", "prompt": "def f(", "max_tokens": 5, "temperature": 0.0}
        body |= {"suffix": suffix} if suffix else {}
        if suffix and not path:
            with pytest.raises(openai.BadRequestError, match="'suffix' cannot be sent to Groq") as refused:
                await _complete(client, stream, **body)
            assert refused.value.param == "suffix"
            assert not upstream.requests
            return
        text, finish, tokens = await _complete(client, stream, **body)
    assert (text, finish) == ("a, b", "stop")
    assert tokens == (None if stream else 7)  # a stream has usage for those who ask for it
    [sent] = upstream.requests
    assert sent.path == (path if suffix else plain_path)
    assert sent.json.get("suffix") == suffix
    if "chat" in sent.path:
        assert sent.json["messages"] == [{"role": "user", "content": "def f("}]
    else:
        assert sent.json["prompt"] == "def f("


@pytest.mark.parametrize("case", ["cl-13", "gw-28"])
async def test_the_field_cases_of_completions(case: str) -> None:
    found = field_case(case)
    asked = found["request"]
    body = asked.get("body", asked)
    async with running() as (_, upstream, server):
        answer = await server.post("/v1/completions", body)
        assert answer.status == 200
        assert "text_completion" in (await answer.body()).decode()
    [sent] = upstream.requests
    options = {"stream_options": {"include_usage": True}} if body.get("stream") else {}
    assert (sent.path, sent.json) == ("/v1/completions", {**body, "model": "m", **options})


async def test_everything_is_carried_to_an_engine_that_has_it() -> None:
    """Lists, tokens and unknown fields too, and the answer to the byte."""
    extra = {"n": 2, "best_of": 3, "echo": True, "logprobs": 1, "min_p": 0.1, "x_new": {"a": [1]}}
    whole = _text("a", "stop", usage=USAGE, x_answer={"b": 1.0})
    whole["choices"] = [{**whole["choices"][0], "index": n, "logprobs": LOGPROBS} for n in range(4)]

    async def answer(request: Request, connection: Connection) -> None:
        await connection.respond(json.dumps(whole, indent=1))

    async with running(answer) as (_, upstream, server):
        for prompt in (["a", "b"], [1, 2, 3], [[1, 2], [3]], "x"):
            body = {"model": "vllm/m", "prompt": prompt, **extra}
            got = await server.post("/v1/completions", body)
            assert (await got.body()).decode() == json.dumps(whole, indent=1)
    assert [sent.json["prompt"] for sent in upstream.requests] == [["a", "b"], [1, 2, 3], [[1, 2], [3]], "x"]
    assert all(sent.json == {**extra, "model": "m", "prompt": sent.json["prompt"]} for sent in upstream.requests)


@pytest.mark.parametrize(
    ("field", "value"),
    [("n", 2), ("best_of", 2), ("echo", True), ("logprobs", 1), ("prompt", ["a", "b"]), ("prompt", [1, 2]),
     ("prompt", None)],
)  # fmt: skip
@pytest.mark.parametrize("engine", ["groq", "ollama"])
async def test_what_a_chat_cannot_answer_is_refused_by_name(engine: str, field: str, value: Any) -> None:
    async with running() as (_, upstream, server):
        answer = await server.post("/v1/completions", {"model": f"{engine}/m", "prompt": "x", field: value})
        error = (await answer.json())["error"]
        defaults = {"n": 1, "best_of": 1, "echo": False, "logprobs": None, "user": "me", "prompt": ["one"]}
        allowed = await server.post("/v1/completions", {"model": f"{engine}/m", **defaults})
        assert allowed.status == 200, await allowed.body()
    assert (answer.status, error["param"]) == (400, field)
    assert len(upstream.requests) == 1


async def test_usage_of_a_stream_is_sent_to_those_who_ask_and_recorded_for_all() -> None:
    async with running() as (client, _, server):
        for engine in ("vllm", "groq"):
            options = {"stream_options": {"include_usage": True}}
            assert (await _complete(client, True, model=f"{engine}/m", prompt="x", **options))[2] == 7
            plain = await server.post("/v1/completions", {"model": f"{engine}/m", "prompt": "x", "stream": True})
            assert b'"usage"' not in await plain.body()


async def test_a_stream_without_its_end_is_an_error() -> None:
    async def cut(request: Request, connection: Connection) -> None:
        await connection.stream()
        await connection.chunk(f"data: {json.dumps(_text('a'))}\n\n")
        await connection.end()

    async with running(cut) as (client, _, _server):
        for engine in ("vllm", "groq"):
            with pytest.raises(openai.APIError, match="before it was complete"):
                await _complete(client, True, model=f"{engine}/m", prompt="x")


async def test_an_engine_s_refusal_is_the_client_s() -> None:
    async def refuse(request: Request, connection: Connection) -> None:
        error = {"message": "suffix is not currently supported", "type": "BadRequestError", "param": None, "code": 400}
        await connection.respond({"error": error}, 400)

    async with running(refuse) as (client, _, _server):
        with pytest.raises(openai.BadRequestError, match="suffix is not currently supported"):
            await client.completions.create(model="vllm/m", prompt="x", suffix="y")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("engine", "path"),
    [("mistralai", "/v1/fim/completions"), ("vllm", "/v1/completions"), ("deepseek", "/beta/completions"),
     ("ollama", "/api/generate")],
)  # fmt: skip
async def test_a_hole_is_filled_for_mistral_s_clients(engine: str, path: str, stream: bool) -> None:
    body = {"model": f"{engine}/m", "prompt": "def f(", "suffix": ")", "max_tokens": 5, "random_seed": 3}
    body |= {"stream": True} if stream else {}
    async with running() as (_, upstream, server):
        answer = await server.post("/v1/fim/completions", body)
        got = (await answer.body()).decode()
    frames = [json.loads(one[6:]) for one in got.split("\n\n") if one[:7] == "data: {"] if stream else [json.loads(got)]
    kind = "delta" if stream else "message"
    assert "".join(c[kind].get("content") or "" for f in frames for c in f["choices"]) == "a, b"
    [sent] = upstream.requests
    assert sent.path == path and sent.json["suffix"] == ")"
    if engine == "mistralai":
        assert sent.json == {**body, "model": "m"}
    elif engine != "ollama":
        assert sent.json["seed"] == 3


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("engine", "path"),
    [("vllm", "/v1/completions"), ("deepseek", "/beta/completions"), ("mistralai", "/v1/fim/completions"),
     ("ollama", "/api/generate"), ("groq", ""), ("openrouter", "")],
)  # fmt: skip
async def test_cl_14_ollama_s_suffix_is_carried_where_holes_are_filled(engine: str, path: str, stream: bool) -> None:
    body = {"model": f"{engine}/m", "prompt": "def f(", "suffix": ")", "stream": stream, "options": {"num_predict": 5}}
    async with running() as (_, upstream, server):
        answer = await server.post("/api/generate", body)
        got = await answer.body()
    if not path:
        assert answer.status == 400 and json.loads(got)["param"] == "suffix" and not upstream.requests
        return
    lines = [json.loads(line) for line in got.splitlines()]
    assert "".join(line["response"] for line in lines) == "a, b" and lines[-1]["done"]
    [sent] = upstream.requests
    assert (sent.path, sent.json["prompt"], sent.json["suffix"]) == (path, "def f(", ")")


async def test_cl_14_a_raw_prompt_is_completed_without_a_chat() -> None:
    body = {"model": "vllm/m", "prompt": "<fim>a", "raw": True, "stream": False}
    async with running() as (_, upstream, server):
        assert (await (await server.post("/api/generate", body)).json())["response"] == "a, b"
        system = await server.post("/api/generate", {**body, "system": "Be short."})
        assert (system.status, (await system.json())["param"]) == (400, "system")
    [sent] = upstream.requests
    assert sent.json == {"model": "m", "prompt": "<fim>a", "stream": False}


async def test_what_a_text_has_no_place_for_is_named() -> None:
    async def think(request: Request, connection: Connection) -> None:
        message = {"role": "assistant", "reasoning": "Hm.", "content": "a, b"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        await connection.respond({"id": "c-1", "object": "chat.completion", "model": "m", "choices": [choice]})

    async with running(think) as (_, _upstream, server):
        answer = await server.post("/v1/completions", {"model": "groq/m", "prompt": "x"})
        assert (await answer.json())["choices"][0]["text"] == "a, b"
        assert answer.headers["X-Dropped-Fields"] == "reasoning"
