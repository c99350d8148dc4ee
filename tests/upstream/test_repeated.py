"""``x-should-retry: false``: the retries of clients do not multiply with those of this server."""

from __future__ import annotations

from typing import Any, Final

import anthropic
import openai
import pytest

from tests.support.field_cases import field_case
from tests.support.harness import CLIENT, CLIENT_ID, Connection, Request, Script, Upstream, make_config, run_server
from tests.support.wires import CLIENTS, WIRES

FAST: Final = {"Retry-After-Ms": "5"}


def fail(status: int, **headers: str) -> Script:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond({"error": {"message": "boom"}}, status, headers={**FAST, **headers})

    return script


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("engine", WIRES)
@pytest.mark.parametrize("name", CLIENTS)
async def test_cl_12_a_failure_that_was_retried_is_not_to_be_asked_again(
    name: str, engine: str, streamed: bool
) -> None:
    client = CLIENTS[name]
    async with Upstream(fail(500)).run() as upstream:
        async with run_server(make_config(**WIRES[engine].environ(upstream))) as server:
            body = {**client.request(engine), "stream": streamed}
            answer = await server.post(client.path, body, {**CLIENT, **client.headers})
    assert (answer.status, answer.headers.get("X-Should-Retry")) == (502, "false")
    assert len(upstream.requests) == 3


OTHER_CLIENTS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "responses": ("/v1/responses", {"input": "Hello"}),
    "codex": (
        "/v1/responses",
        {
            "instructions": "Be brief.",
            "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]}],
            "tools": [{"type": "custom", "name": "apply_patch"}, {"type": "function", "name": "f", "parameters": {}}],
            "store": False,
            "include": ["reasoning.encrypted_content"],
        },
    ),
    "ollama chat": ("/api/chat", {"messages": [{"role": "user", "content": "Hello"}]}),
    "ollama generate": ("/api/generate", {"prompt": "Hello"}),
}


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("engine", WIRES)
@pytest.mark.parametrize("name", OTHER_CLIENTS)
async def test_cl_12_an_engine_that_fails_gets_three_requests_for_each_of_a_client(
    name: str, engine: str, streamed: bool
) -> None:
    path, body = OTHER_CLIENTS[name]
    async with Upstream(fail(500)).run() as upstream:
        async with run_server(make_config(**WIRES[engine].environ(upstream))) as server:
            for count in (3, 6):
                answer = await server.post(path, {**body, "model": f"{engine}/m", "stream": streamed})
                assert (answer.status, answer.headers.get("X-Should-Retry")) == (502, "false"), await answer.body()
                assert len(upstream.requests) == count


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("name", ["responses", "codex"])
async def test_cl_12_the_request_that_finds_no_responses_api_counts_too(name: str, streamed: bool) -> None:
    async def script(request: Request, connection: Connection) -> None:
        if request.path.endswith("/responses"):
            await connection.respond({"detail": "Not Found"}, 404)
        else:
            await fail(500)(request, connection)

    path, body = OTHER_CLIENTS[name]
    async with Upstream(script).run() as upstream:
        async with run_server(make_config(CUSTOM_ENGINES="vllm", VLLM_BASE_URL=f"{upstream.url}/v1")) as server:
            answer = await server.post(path, {**body, "model": "vllm/m", "stream": streamed}, CLIENT)
    assert (answer.status, answer.headers.get("X-Should-Retry")) == (502, "false")
    assert len(upstream.requests) == 3


async def test_cl_12_the_reported_request() -> None:
    case = field_case("cl-12")
    given, said = case["request"], case["provider_response"]
    headers = {name: value.replace("CLIENT-ID", CLIENT_ID) for name, value in given["headers"].items()}
    async with Upstream(fail(said["status"])).run() as upstream:
        async with run_server(
            make_config(OPENAI_API_KEY="sk-canary-1234567", OPENAI_BASE_URL=upstream.url + "/v1")
        ) as server:
            answer = await server.post(given["path"], given["body"], headers)
    assert answer.headers["X-Should-Retry"] == "false"
    assert len(upstream.requests) == 3


@pytest.mark.parametrize("status", [429, 500, 503, 529])
async def test_cl_12_the_official_packages_ask_once(status: int) -> None:
    async with Upstream(fail(status)).run() as upstream:
        environ = {**WIRES["openai"].environ(upstream), **WIRES["anthropic"].environ(upstream)}
        async with run_server(make_config(**environ)) as server:
            async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=CLIENT_ID) as client:
                for call in (
                    client.chat.completions.create(model="openai/m", messages=[{"role": "user", "content": "Hi"}]),
                    client.responses.create(model="openai/m", input="Hi"),
                    client.embeddings.create(model="openai/m", input="Hi"),
                ):
                    upstream.requests.clear()
                    with pytest.raises(openai.APIStatusError):
                        await call
                    assert len(upstream.requests) == 3
            upstream.requests.clear()
            async with anthropic.AsyncAnthropic(base_url=server.url, api_key=CLIENT_ID) as claude:
                with pytest.raises(anthropic.APIStatusError):
                    message: Any = {"role": "user", "content": "Hi"}
                    await claude.messages.create(model="anthropic/m", max_tokens=9, messages=[message])
    assert len(upstream.requests) == 3


async def test_the_provider_s_own_word_is_kept() -> None:
    for word, count in (("true", 3), ("false", 1)):
        async with Upstream(fail(500, **{"X-Should-Retry": word})).run() as upstream:
            async with run_server(make_config(**WIRES["openai"].environ(upstream))) as server:
                answer = await server.post("/v1/chat/completions", CLIENTS["openai"].request("openai"))
        assert (answer.headers["X-Should-Retry"], len(upstream.requests)) == (word, count)


@pytest.mark.parametrize(
    ("status", "headers", "environ"),
    [
        (400, {}, {}),
        (429, {"Retry-After-Ms": "60000"}, {}),  # beyond MAX_RETRY_WAIT: the client waits
        (500, {}, {"MAX_RETRIES": "0"}),
    ],
    ids=["refusal", "long wait", "no retries"],
)
async def test_what_was_not_retried_is_left_to_the_client(
    status: int, headers: dict[str, str], environ: dict[str, str]
) -> None:
    async with Upstream(fail(status, **headers)).run() as upstream:
        async with run_server(make_config(**WIRES["openai"].environ(upstream), **environ)) as server:
            answer = await server.post("/v1/chat/completions", CLIENTS["openai"].request("openai"))
    assert "X-Should-Retry" not in answer.headers
    assert len(upstream.requests) == 1


async def test_an_unreachable_engine_is_not_to_be_asked_again() -> None:
    environ = {"OPENAI_API_KEY": "sk-canary-1234567", "OPENAI_BASE_URL": "http://127.0.0.1:1", "MAX_RETRIES": "1"}
    async with run_server(make_config(**environ)) as server:
        answer = await server.post("/v1/chat/completions", CLIENTS["openai"].request("openai"))
    assert (answer.status, answer.headers["X-Should-Retry"]) == (502, "false")
