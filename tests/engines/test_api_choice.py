"""The choice between Chat Completions and Responses: by the model, by the caller, by the engine's error."""

from __future__ import annotations

from typing import Any

import pytest

from llm import errors
from llm.chat.messages import Message, Text
from llm.chat.request import ChatRequest, Options, ToolSpec
from llm.engines.api_choice import choose_api
from llm.engines.engine import Target
from llm.engines.records import ENGINES
from tests.support.harness import CLIENT, Connection, Request, Upstream, make_config, run_server
from tests.support.wires import CLIENTS, WIRES

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def dialect_for(engine: str, model: str, *, tools: bool = False, forced: bool | None = None) -> str:
    request = ChatRequest(
        model=model,
        messages=(Message("user", (Text("Hello"),)),),
        tools=(ToolSpec("f"),) if tools else (),
        options=Options(responses_api=forced),
    )
    return choose_api(request, Target(engine=ENGINES[engine], model=model)).engine.dialect


@pytest.mark.parametrize(
    ("model", "plain", "with_tools"),
    [
        ("gpt-4o", "openai-chat", "openai-chat"),
        ("gpt-5", "openai-chat", "openai-chat"),
        ("gpt-5.4-mini", "openai-chat", "openai-chat"),
        ("gpt-5.6-sol", "openai-chat", "openai-responses"),
        ("gpt-6-luna", "openai-chat", "openai-responses"),
        ("gpt-6.1-sol", "openai-chat", "openai-responses"),
        ("o3", "openai-chat", "openai-chat"),
        ("o3-pro", "openai-responses", "openai-responses"),
        ("gpt-5-pro", "openai-responses", "openai-responses"),
        ("gpt-5.2-pro-2026-01-01", "openai-responses", "openai-responses"),
        ("codex-mini-latest", "openai-responses", "openai-responses"),
        ("gpt-5.1-codex-max", "openai-responses", "openai-responses"),
        ("o4-mini-deep-research", "openai-responses", "openai-responses"),
    ],
)
def test_the_model_id_decides(model: str, plain: str, with_tools: str) -> None:
    assert dialect_for("openai", model) == plain
    assert dialect_for("openai", model, tools=True) == with_tools
    assert dialect_for("azure", model, tools=True) == with_tools
    assert dialect_for("xai", model, tools=True) == "openai-chat"  # the rules are for OpenAI's models


@pytest.mark.parametrize(
    ("model", "effort", "dialect"),
    [
        ("gpt-6-astra", "max", "openai-responses"),
        ("gpt-6-astra", "xhigh", "openai-chat"),
        ("gpt-6-astra", None, "openai-chat"),
        ("gpt-6-sol", "max", "openai-chat"),
    ],
)
def test_the_effort_max_needs_responses_where_chat_completions_refuses_it(
    model: str, effort: Any, dialect: str
) -> None:
    request = ChatRequest(model=model, messages=(), options=Options(effort=effort))
    assert choose_api(request, Target(engine=ENGINES["openai"], model=model)).engine.dialect == dialect


def test_the_caller_can_force_either_api() -> None:
    assert dialect_for("openai", "gpt-4o", forced=True) == "openai-responses"
    assert dialect_for("openai", "o3-pro", forced=False) == "openai-chat"
    assert dialect_for("groq", "openai/gpt-oss-20b", forced=True) == "openai-responses"
    assert dialect_for("anthropic", "claude-haiku-4-5", forced=False) == "anthropic"
    with pytest.raises(errors.Unsupported, match="Anthropic has no Responses API") as caught:
        dialect_for("anthropic", "claude-haiku-4-5", forced=True)
    assert caught.value.param == "responses_api"


def script(*, chat_error: int = 0) -> Any:
    """Answers both APIs. ``chat_error``: status of an error of Chat Completions that names the other API; 0: none."""

    async def answer(request: Request, connection: Connection) -> None:
        if request.path == RESPONSES:
            wire = WIRES["responses"]
        elif chat_error:
            text = "Function tools with reasoning_effort are not supported for m in /v1/chat/completions. Please use /v1/responses instead."
            error = {"message": text, "type": "invalid_request_error", "param": "reasoning_effort", "code": None}
            await connection.respond({"error": error}, chat_error)
            return
        else:
            wire = WIRES["openai"]
        if not request.json.get("stream"):
            await connection.respond(wire.whole("Hi"))
            return
        await connection.stream(wire.content_type)
        for piece in (wire.head, wire.delta("Hi"), wire.end):
            await connection.chunk(piece)
        await connection.end()

    return answer


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"model": "gpt-4o"}, CHAT),
        ({"model": "o3-pro"}, RESPONSES),
        ({"model": "gpt-4o", "options": {"useResponsesApi": True}}, RESPONSES),
        ({"model": "o3-pro", "options": {"useResponsesApi": False}}, CHAT),
    ],
)
async def test_the_native_api_uses_either_api(body: dict[str, Any], path: str, stream: bool) -> None:
    async with Upstream(script()).run() as upstream, run_server(openai(upstream)) as server:
        answer = await server.post("/llm/chat", {"engine": "openai", "prompt": "Hello", "stream": stream, **body})
        raw = await answer.body()
    assert answer.status == 200, raw
    assert b'"Hi"' in raw
    assert [sent.path for sent in upstream.requests] == [path]
    assert ("input" in upstream.requests[0].json) == (path == RESPONSES)


def openai(upstream: Upstream) -> Any:
    return make_config(OPENAI_API_KEY="sk-12345678", OPENAI_BASE_URL=f"{upstream.url}/v1")


async def test_a_client_of_the_same_dialect_is_translated_when_the_model_needs_the_other_api() -> None:
    wire = CLIENTS["openai"]
    async with Upstream(script()).run() as upstream, run_server(openai(upstream)) as server:
        for model, tools in (("gpt-5.6-sol", []), ("gpt-5.6-sol", [TOOL])):
            body = wire.request("openai", model, **({"tools": tools} if tools else {}))
            seen = wire.read(await (await server.post(wire.path, body, wire.headers)).body())
            assert (seen.text, seen.finish, seen.ended) == ("Hi", "stop", True)
            assert seen.usage and seen.usage["prompt_tokens"] == 5
    assert [sent.path for sent in upstream.requests] == [CHAT, RESPONSES]


@pytest.mark.parametrize("status", [400, 404])
async def test_an_error_that_names_the_other_api_is_retried_there(status: int) -> None:
    async with Upstream(script(chat_error=status)).run() as upstream, run_server(openai(upstream)) as server:
        objects = await server.chat(engine="openai", model="gpt-new")
        assert [o.get("text") for o in objects[:-1]] == ["Hi", ""]
        forced = {"engine": "openai", "model": "gpt-new", "prompt": "Hello", "options": {"useResponsesApi": False}}
        answer = await server.post("/llm/chat", forced, CLIENT)
        error = await answer.json()
    assert (answer.status, error["code"]) == (400, "unsupported")
    assert "/v1/responses" in error["error"]
    assert [sent.path for sent in upstream.requests] == [CHAT, RESPONSES, CHAT]


async def test_an_api_that_the_engine_does_not_have_is_refused() -> None:
    async with run_server(make_config(ANTHROPIC_API_KEY="sk-12345678")) as server:
        body = {"engine": "anthropic", "model": "m", "prompt": "Hello", "options": {"useResponsesApi": True}}
        answer = await server.post("/llm/chat", body)
        error = await answer.json()
    assert (answer.status, error["code"], error["param"]) == (400, "unsupported", "useResponsesApi")


@pytest.mark.parametrize(("deployment", "model"), [({}, "my-o3-pro"), ({"AZURE_DEPLOYMENT": "d"}, "d")])
async def test_azure_s_classic_url_for_responses_does_not_name_the_deployment(
    deployment: dict[str, str], model: str
) -> None:
    async with Upstream(script()).run() as upstream:
        environ = {"AZURE_API_KEY": "azure-key-1", "AZURE_BASE_URL": upstream.url, "AZURE_API_VERSION": "2025-04-01"}
        async with run_server(make_config(**environ, **deployment)) as server:
            body = {"engine": "azure", "model": "my-o3-pro", "prompt": "Hello", "options": {"useResponsesApi": True}}
            await (await server.post("/llm/chat", body)).body()
    [sent] = upstream.requests
    assert (sent.path, sent.json["model"]) == ("/openai/responses?api-version=2025-04-01", model)
