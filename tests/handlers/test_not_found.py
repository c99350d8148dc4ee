"""Paths without a route: the form of the error, and the base URL that was meant."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import openai
import pytest

from llm.dialects import gemini
from llm.errors import LLMError, NotFound, Overloaded, ProviderErrorDetails, RateLimited, ToolLimit
from tests.support.field_cases import field_case
from tests.support.harness import CLIENT, CLIENT_ID, Client, make_config, run_server

FORM = {**CLIENT, "Content-Type": "multipart/form-data; boundary=b"}
UPLOAD = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n%b\r\n--b--\r\n'
BODIES: dict[str, tuple[bytes | None, dict[str, str]]] = {
    "none": (None, CLIENT),
    "no id": (b'{"model": "demo/demo-chat"}', {}),
    "json": (b'{"model": "demo/demo-chat"}', CLIENT),
    "no json": (b"\xff\x00", CLIENT),
    "form": (UPLOAD % b"\x89PNG", FORM),
    "large form": (UPLOAD % bytes(300_000), FORM),
}


def is_openai(body: Any) -> bool:
    error = body["error"]
    return set(error) == {"message", "type", "param", "code"} and bool(error["type"] == "invalid_request_error")


def is_anthropic(body: Any) -> bool:
    return body["type"] == "error" and body["error"]["type"] == "not_found_error" and bool(body["error"]["message"])


def is_text(body: Any) -> bool:
    return isinstance(body["error"], str) and body["code"] == "not_found"


def is_gemini(body: Any) -> bool:
    return (body["error"]["code"], body["error"]["status"]) == (404, "NOT_FOUND") and bool(body["error"]["message"])


FORMS = {
    "/v1": is_openai,
    "/v1/none": is_openai,
    "/v1/conversations/x/items": is_openai,
    "/v1/realtime?model=x": is_openai,
    "/v1/messages/none": is_anthropic,
    "/v1/messages/batches/x/none": is_anthropic,
    "/v1/messagesx": is_openai,
    "/api/none": is_text,
    "/api/blobs/sha256:1": is_text,
    "/v1beta/none": is_gemini,
    "/v1beta/cachedContents": is_gemini,
    "/none": is_text,
    "/llm/none": is_text,
    "/v1betax": is_text,
}


async def ask(server: Client, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Any:
    answer = await server.request(method, path, body, headers)
    assert answer.status == 404, path
    assert answer.headers["Content-Type"] == "application/json"
    return await answer.json()


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_an_unknown_path_is_404_in_the_form_of_its_api(method: str, body: str) -> None:
    async with run_server(make_config()) as server:
        for path, is_form in FORMS.items():
            assert is_form(await ask(server, method, path, *BODIES[body])), path


async def test_clients_of_anthropic_get_their_own_form_below_v1() -> None:
    async with run_server(make_config()) as server:
        body = await ask(server, "GET", "/v1/none", None, {**CLIENT, "anthropic-version": "2023-06-01"})
    assert is_anthropic(body)


@pytest.mark.parametrize("case", ["nw-37", "gw-15", "su-13"])
async def test_nw_37_gw_15_su_13_a_path_of_the_reports_that_is_not_served(case: str) -> None:
    """The endpoints of the reports are served once they are built; an unknown one beside them stays 404."""
    found = field_case(case)
    path = (found.get("endpoint") or found["request"]["path"]).rpartition("/")[0] + "/none"
    async with run_server(make_config()) as server:
        assert is_openai(await ask(server, "POST", path, b"{}", CLIENT))


async def test_gw_14_a_form_to_an_unknown_path_is_not_called_bad_json() -> None:
    assert field_case("gw-14")["request_headers"] == {"content-type": "multipart/form-data"}
    async with run_server(make_config()) as server:
        for path in ("/v1/images/none", "/v1/images/mixtures", "/v1/audio/none"):
            body = await ask(server, "POST", path, UPLOAD % b"x", FORM)
            assert is_openai(body) and "JSON" not in body["error"]["message"]


async def test_the_official_clients_show_the_sentence() -> None:
    async with run_server(make_config()) as server:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=CLIENT_ID) as client:
            with pytest.raises(openai.NotFoundError, match="This server has no path /v1/none"):
                await client.post("/none", cast_to=object)
        async with anthropic.AsyncAnthropic(base_url=server.url, api_key=CLIENT_ID) as claude:
            with pytest.raises(anthropic.NotFoundError, match="This server has no path /v1/messages/none"):
                await claude.post("/v1/messages/none", cast_to=object)


@pytest.mark.parametrize(
    ("path", "meant", "base"),
    [
        ("/chat/completions", "/v1/chat/completions", "/v1"),
        ("/responses", "/v1/responses", "/v1"),
        ("/embeddings", "/v1/embeddings", "/v1"),
        ("/models", "/v1/models", "/v1"),
        ("/v1/v1/chat/completions", "/v1/chat/completions", "/v1"),
        ("/v1/chat/completions/chat/completions", "/v1/chat/completions", "/v1"),
        ("/v1/chat/completions/", "/v1/chat/completions", "/v1"),
        ("//v1/chat/completions", "/v1/chat/completions", "/v1"),
        ("/openai/v1/responses", "/v1/responses", "/v1"),
        ("/api/v1/chat/completions", "/v1/chat/completions", "/v1"),
        ("/v1beta/openai/chat/completions", "/v1/chat/completions", "/v1"),
        ("/v1/v1/models/demo/demo-chat", "/v1/models/demo/demo-chat", "/v1"),
        ("/v1/v1/messages", "/v1/messages", ""),
        ("/v1/v1/messages/count_tokens", "/v1/messages/count_tokens", ""),
        ("/messages", "/v1/messages", ""),
        ("/anthropic/v1/messages", "/v1/messages", ""),
        ("/v1/api/chat", "/api/chat", ""),
        ("/v1/api/tags", "/api/tags", ""),
        ("/api/api/generate", "/api/generate", ""),
    ],
)
async def test_a_wrong_beginning_of_a_path_is_answered_with_the_base_url(path: str, meant: str, base: str) -> None:
    async with run_server(make_config()) as server:
        body = await ask(server, "POST", path, b"{}", CLIENT)
        error = body["error"]
        text = error if isinstance(error, str) else error["message"]
        assert text == (
            f"This server has no path {path}. The path is {meant}: set the client's base URL to {server.url}{base}"
        )
        if "messages" in meant:
            assert is_anthropic(body)
        else:
            assert is_text(body) if meant.startswith("/api") else is_openai(body)


@pytest.mark.parametrize(
    "path", ["/chat/completion", "/v1/nothing", "/", "/thread/v1", "/" * 4000, "/a" * 4000 + "/v1/models"]
)
async def test_nothing_is_proposed_for_other_paths(path: str) -> None:
    async with run_server(make_config()) as server:
        answer = await server.post(path, {}, {})
        assert b"base URL" not in await answer.body()


async def test_the_proposed_address_is_that_of_the_client_if_it_is_one() -> None:
    async with run_server(make_config()) as server:
        for version, host, base in (
            ("1.1", "Host: llm.example.org\r\n", "https://llm.example.org/v1"),
            ("1.0", "", "http://127.0.0.1:"),
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            head = f"GET /responses HTTP/{version}\r\n{host}X-Forwarded-Proto: https\r\nConnection: close\r\n\r\n"
            writer.write(head.encode())
            answer = (await reader.read()).decode()
            writer.close()
            assert f"to {base}" in answer


async def test_a_body_above_every_limit_is_not_read_to_its_end() -> None:
    async with run_server(make_config(MAX_BODY_SIZE="1000")) as server:
        answer = await server.post("/v1/none", b"x" * 3000, CLIENT)
        assert answer.status == 404
        assert (await server.post("/v1/none", b"x" * 5000, CLIENT)).status == 413


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (NotFound("m"), 404, "NOT_FOUND"),
        (RateLimited("m", retry_after=7), 429, "RESOURCE_EXHAUSTED"),
        (Overloaded("m", provider=ProviderErrorDetails(529, "x", message="y")), 503, "UNAVAILABLE"),
        (ToolLimit("m"), 502, "UNAVAILABLE"),
    ],
)
def test_gemini_errors_have_the_wire_s_words(error: LLMError, code: int, status: str) -> None:
    body: Any = gemini.write_error(error)["error"]
    assert (body["code"], body["message"], body["status"]) == (code, "m", status)
    assert body["details"][0]["reason"] == error.code.upper()
    assert [detail.get("retryDelay") for detail in body["details"][1:]] == (["7s"] if error.retry_after else [])
