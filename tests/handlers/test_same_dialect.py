"""Same dialect, the rest of the exchange: errors, headers, the query and token counts (nw-33 to 36, 52)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import anthropic
import openai
import pytest

from tests.support.field_cases import field_case
from tests.support.harness import CLIENT_ID, Connection, Request, Upstream, make_config, run_server
from tests.support.wires import WIRES

BEARER: Final = {"Authorization": f"Bearer {CLIENT_ID}"}
MESSAGES: Final = {"model": "anthropic/m", "max_tokens": 10, "messages": [{"role": "user", "content": "x"}]}
CHAT: Final = {"model": "openai/m", "messages": [{"role": "user", "content": "x"}]}
RESPONSE: Final = {"model": "responses/m", "input": "x"}
PATHS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "anthropic": ("/v1/messages", MESSAGES),
    "openai": ("/v1/chat/completions", CHAT),
    "responses": ("/v1/responses", RESPONSE),
}


async def exchange(
    engine: str, path: str, body: Any, answer: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> tuple[Request, int, Mapping[str, str], Any]:
    """Returns what the provider got, and status, headers and JSON of the client's answer."""

    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(answer, status)

    async with Upstream(script).run() as upstream:
        async with run_server(make_config(**WIRES[engine].environ(upstream, MAX_RETRIES="0"))) as server:
            got = await server.post(path, body, {**BEARER, **(headers or {})})
            return upstream.requests[0], got.status, got.headers, json.loads(await got.body())


# --- errors (nw-33) ---


ANTHROPIC_ERROR: Final[dict[str, Any]] = {
    "type": "error",
    "error": {
        "type": "invalid_request_error",
        "message": "too large",
        "details": {
            "error_code": "image_dimensions_too_large",
            "max_side_length_pixels": 8000,
            "paths": ["messages.0"],
        },
        "more": [1],
    },
    "request_id": "req_1",
}
OPENAI_ERROR: Final[dict[str, Any]] = {
    "error": {
        "type": "invalid_request_error",
        "message": "Bad.",
        "param": "input[0]",
        "code": "bad_thing",
        "metadata": {"provider_name": "Acme", "raw": {"deep": "text"}},
    },
    "user_id": "u1",
}


@pytest.mark.parametrize("status", [400, 404, 413, 429, 500, 503])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_nw_33_an_error_of_the_same_dialect_has_all_its_fields(stream: bool, status: int) -> None:
    *_, got_status, _, got = await exchange(
        "anthropic", "/v1/messages", {**MESSAGES, "stream": stream}, ANTHROPIC_ERROR, status
    )
    assert got_status >= 400
    assert got["request_id"] == "req_1"
    assert got["type"] == "error"
    for name, value in ANTHROPIC_ERROR["error"].items():
        assert got["error"][name] == value
    for engine in ("openai", "responses"):
        path, body = PATHS[engine]
        *_, got = await exchange(engine, path, {**body, "stream": stream}, OPENAI_ERROR, status)
        assert got["user_id"] == "u1"
        for name, value in OPENAI_ERROR["error"].items():
            assert got["error"][name] == value


async def test_nw_33_as_recorded() -> None:
    case = field_case("nw-33")
    sent = case["provider_response"]
    *_, status, _, got = await exchange("anthropic", case["endpoint"], case["request"], sent["body"], sent["status"])
    assert status == sent["status"]
    assert got["error"]["details"] == sent["body"]["error"]["details"]
    assert got["request_id"] == sent["body"]["request_id"]


async def test_nw_33_an_error_that_concerns_the_servers_key_tells_nothing_of_it() -> None:
    for status in (401, 403):
        *_, got_status, _, got = await exchange("anthropic", "/v1/messages", MESSAGES, ANTHROPIC_ERROR, status)
        assert got_status == 502
        assert "request_id" not in got and "more" not in got["error"]


async def test_nw_33_keys_in_any_field_are_masked() -> None:
    key = "sk-canary-ANTHROPIC"
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": "x", "details": {"at": [key]}}}
    *_, got = await exchange("anthropic", "/v1/messages", MESSAGES, error, 400)
    assert got["error"]["details"]["at"] == ["***"]


async def test_nw_33_an_error_of_another_dialect_has_none_of_its_fields() -> None:
    body = {**MESSAGES, "model": "openai/m"}
    *_, got = await exchange("openai", "/v1/messages", body, OPENAI_ERROR, 400)
    assert "user_id" not in got and "metadata" not in got["error"]


# --- headers (nw-34, nw-35, nw-36) ---


ACCOUNTS: Final = {"anthropic-user-profile-id": "up_1", "anthropic-workspace-id": "ws_1"}


@pytest.mark.parametrize("name", ACCOUNTS)
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_nw_34_nw_35_whose_request_it_is_reaches_the_provider(path: str, name: str) -> None:
    answer = WIRES["anthropic"].whole("a") if path == "/v1/messages" else {"input_tokens": 5}
    sent, status, headers, _ = await exchange("anthropic", path, MESSAGES, answer, headers={name: ACCOUNTS[name]})
    assert status == 200
    assert sent.headers[name] == ACCOUNTS[name]
    assert "X-Dropped-Fields" not in headers


@pytest.mark.parametrize("name", ACCOUNTS)
async def test_nw_34_nw_35_an_engine_of_another_dialect_does_not_get_it_and_it_is_named(name: str) -> None:
    body = {**MESSAGES, "model": "openai/m"}
    sent, status, headers, _ = await exchange(
        "openai", "/v1/messages", body, WIRES["openai"].whole("a"), headers={name: "1", "anthropic-beta": "b"}
    )
    assert status == 200
    assert name not in sent.headers
    assert name in headers["X-Dropped-Fields"].split(", ")
    assert "anthropic-beta" not in headers["X-Dropped-Fields"]


@pytest.mark.parametrize("case_id", ["nw-34", "nw-36"])
async def test_nw_34_nw_36_as_recorded(case_id: str) -> None:
    case = field_case(case_id)
    engine = {"anthropic": "anthropic", "openai-responses": "responses"}[case["engine_dialect"]]
    body = {**case["request"], "model": f"{engine}/{case['request']['model'].partition('/')[2]}"}
    sent, status, *_ = await exchange(
        engine, case["endpoint"], body, case["provider_response"]["body"], headers=case["request_headers"]
    )
    assert status == 200
    for name, value in case["request_headers"].items():
        assert sent.headers[name] == value


@pytest.mark.parametrize("engine", ["openai", "responses"])
async def test_nw_36_betas_reach_the_provider(engine: str) -> None:
    path, body = PATHS[engine]
    sent, *_ = await exchange(engine, path, body, WIRES[engine].whole("a"), headers={"OpenAI-Beta": "a=v1"})
    assert sent.headers["OpenAI-Beta"] == "a=v1"


@pytest.mark.parametrize("engine", ["openai", "responses"])
@pytest.mark.parametrize("own", [False, True], ids=["the server's key", "the caller's own"])
async def test_nw_36_an_account_of_the_key_s_owner_is_sent_with_the_callers_own_key_only(
    own: bool, engine: str
) -> None:
    path, body = PATHS[engine]
    given = {"OpenAI-Organization": "org_1", "OpenAI-Project": "proj_1"}
    key = {f"X-{engine.title()}-Key": "sk-canary-own-key-of-the-caller"} if own else {}
    sent, _, headers, _ = await exchange(engine, path, body, WIRES[engine].whole("a"), headers={**given, **key})
    if own:
        assert {name: sent.headers.get(name) for name in given} == given
        assert "X-Dropped-Fields" not in headers
    else:
        assert not [name for name in given if name in sent.headers]
        assert headers["X-Dropped-Fields"] == "openai-organization, openai-project"


# --- the query ---


@pytest.mark.parametrize(("engine", "path", "body"), [(engine, *PATHS[engine]) for engine in PATHS])
async def test_nw_34_nw_36_the_query_reaches_the_provider_without_keys(engine: str, path: str, body: Any) -> None:
    query = "beta=true&key=abc&api-version=1&x=%20%3D&API%5Fkey=abc"
    sent, status, *_ = await exchange(engine, f"{path}?{query}", body, WIRES[engine].whole("a"))
    assert status == 200
    assert sent.path.partition("?")[2] == "beta=true&x=%20%3D"
    sent, *_ = await exchange(engine, path, body, WIRES[engine].whole("a"))
    assert "?" not in sent.path


async def test_the_query_stands_beside_the_version_of_an_azure_address() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(WIRES["openai"].whole("a"))

    async with Upstream(script).run() as upstream:
        environ = {
            "AZURE_API_KEY": "sk-canary-AZURE",
            "AZURE_BASE_URL": upstream.url,
            "AZURE_API_VERSION": "2026-01-01",
        }
        async with run_server(make_config(**environ)) as server:
            answer = await server.post("/v1/chat/completions?beta=true", {**CHAT, "model": "azure/m"}, BEARER)
            assert answer.status == 200, await answer.body()
        assert upstream.requests[0].path.endswith("?beta=true&api-version=2026-01-01")


async def test_the_query_of_a_translated_request_stays_here() -> None:
    body = {**MESSAGES, "model": "openai/m"}
    sent, *_ = await exchange("openai", "/v1/messages?beta=true", body, WIRES["openai"].whole("a"))
    assert "?" not in sent.path


# --- the other endpoints of OpenAI's clients ---


TASKS: Final[dict[str, tuple[str, dict[str, Any], Any]]] = {
    "embeddings": (
        "/v1/embeddings", {"model": "openai/m", "input": "x"}, {"data": [{"index": 0, "embedding": [1]}]},
    ),
    "images": ("/v1/images/generations", {"model": "openai/m", "prompt": "x"}, {"data": []}),
    "speech": (
        "/v1/audio/speech", {"model": "openai/m", "input": "x", "voice": "v"},
        {"audio_data": "AAAA"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("own", [False, True], ids=["the server's key", "the caller's own"])
@pytest.mark.parametrize("task", TASKS)
async def test_nw_36_headers_and_query_of_other_tasks_reach_the_provider(task: str, own: bool) -> None:
    path, body, answer = TASKS[task]
    given = {"OpenAI-Beta": "a=v1", "OpenAI-Organization": "org_1", "OpenAI-Project": "proj_1"}
    key = {"X-OpenAI-Key": "sk-canary-own-key-of-the-caller"} if own else {}

    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(answer)

    async with Upstream(script).run() as upstream:
        async with run_server(make_config(**WIRES["openai"].environ(upstream))) as server:
            got = await server.post(f"{path}?beta=true&key=abc", body, {**BEARER, **given, **key})
            assert got.status == 200, await got.body()
        [sent] = upstream.requests
    assert sent.path.endswith("?beta=true")
    assert sent.headers["OpenAI-Beta"] == "a=v1"
    assert [sent.headers.get(name) for name in ("OpenAI-Organization", "OpenAI-Project")] == (
        ["org_1", "proj_1"] if own else [None, None]
    )
    assert got.headers.get("X-Dropped-Fields") == (None if own else "openai-organization, openai-project")


# --- token counts (nw-52) ---


async def test_nw_52_a_token_count_of_the_same_dialect_is_verbatim() -> None:
    case = field_case("nw-52")
    answer = case["provider_response"]["body"]
    sent, status, _, got = await exchange("anthropic", case["endpoint"], case["request"], answer)
    assert (status, got) == (200, answer)
    assert sent.json == {**case["request"], "model": case["request"]["model"].partition("/")[2]}


async def test_nw_52_every_field_of_request_and_answer_passes() -> None:
    body = {**MESSAGES, "context_management": {"edits": []}, "speed": "fast", "new": {"a": [1]}}
    answer = {"input_tokens": 5, "context_management": {"original_input_tokens": 9}, "new": None}
    sent, _, _, got = await exchange("anthropic", "/v1/messages/count_tokens?beta=true", body, answer)
    assert got == answer
    assert sent.json == {**body, "model": "m"}
    assert sent.path == "/v1/messages/count_tokens?beta=true"


@pytest.mark.parametrize("answer", [{"tokens": 5}, [5], {"input_tokens": "5"}])
async def test_nw_52_a_count_without_a_number_is_an_error(answer: Any) -> None:
    _, status, *_ = await exchange("anthropic", "/v1/messages/count_tokens", MESSAGES, json.dumps(answer))
    assert status == 502


# --- by the official clients ---


async def test_the_official_clients_send_their_headers_and_read_the_details() -> None:
    async def script(request: Request, connection: Connection) -> None:
        if "count_tokens" in request.path:
            await connection.respond({"input_tokens": 5, "context_management": {"original_input_tokens": 9}})
        else:
            await connection.respond(ANTHROPIC_ERROR if "messages" in request.path else OPENAI_ERROR, 400)

    async with Upstream(script).run() as upstream:
        environ = {**WIRES["anthropic"].environ(upstream), **WIRES["responses"].environ(upstream)}
        async with run_server(make_config(**environ)) as server:
            async with anthropic.AsyncAnthropic(base_url=server.url, api_key=CLIENT_ID) as claude:
                with pytest.raises(anthropic.BadRequestError) as refused:
                    await claude.beta.messages.create(
                        model="anthropic/m",
                        max_tokens=10,
                        messages=[{"role": "user", "content": "x"}],
                        user_profile_id="up_1",
                        workspace_id="ws_1",
                    )
                counted = await claude.beta.messages.count_tokens(
                    model="anthropic/m", messages=[{"role": "user", "content": "x"}]
                )
            async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=CLIENT_ID) as client:
                with pytest.raises(openai.BadRequestError) as refused_too:
                    await client.beta.responses.create(
                        model="responses/m", input="x", betas=["responses_multi_agent=v1"]
                    )
        first, _, third = upstream.requests
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["error"]["details"] == ANTHROPIC_ERROR["error"]["details"]
    assert refused.value.body["request_id"] == "req_1"
    assert counted.context_management is not None and counted.context_management.original_input_tokens == 9
    assert (first.headers["anthropic-user-profile-id"], first.headers["anthropic-workspace-id"]) == ("up_1", "ws_1")
    assert isinstance(refused_too.value.body, dict) and refused_too.value.body["metadata"]["provider_name"] == "Acme"
    assert third.headers["openai-beta"] == "responses_multi_agent=v1" and third.path.endswith("?beta=true")
