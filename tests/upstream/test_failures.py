"""Errors of a provider as the client gets them: headers, statuses, messages (E1, E2)."""

from __future__ import annotations

import pytest

from llm import errors
from llm.dialects.base import choose_error_class
from tests.support.harness import CLIENT, Connection, Request, Upstream, make_config, run_server
from tests.support.wires import CLIENTS, WIRES, Wire

LIMITS = {
    "Retry-After": "120",
    "Retry-After-Ms": "120000",
    "X-RateLimit-Remaining-Tokens": "0",
    "Anthropic-RateLimit-Requests-Reset": "2026-01-01T00:00:00Z",
    "X-Should-Retry": "true",
    "Request-Id": "req_of_the_provider",
    "Set-Cookie": "secret=1",
}


@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
async def test_e1_rate_limit_headers_reach_the_client(wire: Wire) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(wire.rate_limit, 429, headers=LIMITS)

    async with Upstream(script).run() as upstream, run_server(make_config(**wire.environ(upstream))) as server:
        for client in CLIENTS.values():
            answer = await server.post(client.path, client.request(wire.engine), client.headers)
            assert answer.status == 429
            for name, value in LIMITS.items():
                assert answer.headers.get(name) == (None if name == "Set-Cookie" else value)
            assert "Slow down." in (await answer.body()).decode()
    assert len(upstream.requests) == 3  # a retry-after beyond MAX_RETRY_WAIT is answered at once


async def test_e1_the_provider_s_request_id_does_not_replace_the_server_s() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(
            WIRES["openai"].rate_limit, 429, headers={"X-Request-Id": "theirs", "Retry-After": "99"}
        )

    async with Upstream(script).run() as upstream:
        async with run_server(make_config(**WIRES["openai"].environ(upstream))) as server:
            answer = await server.post("/llm/chat", CLIENTS["native"].request("openai"))
    assert answer.headers["X-Provider-Request-Id"] == "theirs"
    assert answer.headers["X-Request-Id"].startswith("req_")


# What a provider says, what we say with the server's key, and with the caller's own.
STATUSES = [
    (400, (400, "bad_request"), (400, "bad_request")),
    (401, (502, "provider_auth"), (401, "unauthorized")),
    (402, (502, "provider_auth"), (402, "quota_exceeded")),
    (403, (502, "provider_permission"), (401, "unauthorized")),
    (404, (404, "model_not_found"), (404, "model_not_found")),
    (413, (413, "too_large"), (413, "too_large")),
    (422, (400, "bad_request"), (400, "bad_request")),
    (429, (429, "rate_limited"), (429, "rate_limited")),
    (500, (502, "provider_error"), (502, "provider_error")),
    (502, (502, "provider_error"), (502, "provider_error")),
    (503, (503, "provider_overloaded"), (503, "provider_overloaded")),
    (504, (502, "provider_error"), (502, "provider_error")),
    (529, (503, "provider_overloaded"), (503, "provider_overloaded")),
]


@pytest.mark.parametrize(("status", "server_key", "own_key"), STATUSES, ids=[str(s[0]) for s in STATUSES])
@pytest.mark.parametrize("wire", [WIRES["openai"], WIRES["anthropic"], WIRES["google"]], ids=lambda w: w.engine)
async def test_e2_statuses_of_engine_errors(
    wire: Wire, status: int, server_key: tuple[int, str], own_key: tuple[int, str]
) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond({"error": {"message": "These are the words."}}, status)

    async with Upstream(script).run() as upstream:
        async with run_server(make_config(**wire.environ(upstream, MAX_RETRIES="0"))) as server:
            for expected, headers in ((server_key, CLIENT), (own_key, {f"X-{wire.engine}-Key": "sk-own-key-1"})):
                answer = await server.post("/llm/chat", CLIENTS["native"].request(wire.engine), headers)
                body = await answer.json()
                assert (answer.status, body["code"]) == expected
                assert body["error"].endswith("These are the words.")
                assert body["provider"]["status"] == status
                assert body["provider"]["message"] == "These are the words."


@pytest.mark.parametrize(
    "body", [b"<html><h1>502 Bad Gateway</h1></html>", b"", b"upstream connect error", b"null", b"[]"]
)
@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
async def test_e2_an_error_body_that_is_not_json_becomes_a_plain_message(wire: Wire, body: bytes) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(body, 502, "text/html")

    async with Upstream(script).run() as upstream:
        async with run_server(make_config(**wire.environ(upstream, MAX_RETRIES="0"))) as server:
            answer = await server.post("/llm/chat", CLIENTS["native"].request(wire.engine))
            error = await answer.json()
    assert (answer.status, error["code"]) == (502, "provider_error")
    assert error["error"] and "<" not in error["error"]


async def test_e2_a_refused_server_key_is_not_the_client_s_401() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond({"error": {"message": "Bad key.", "code": "invalid_api_key"}}, 401)

    async with Upstream(script).run() as upstream:
        async with run_server(make_config(**WIRES["openai"].environ(upstream))) as server:
            for client in CLIENTS.values():
                answer = await server.post(client.path, client.request("openai"), client.headers)
                assert answer.status == 502
    assert len(upstream.requests) == 3


def test_an_exhausted_account_is_not_a_rate_limit() -> None:
    assert choose_error_class(429, None) is errors.RateLimited
    assert choose_error_class(429, "insufficient_quota") is errors.QuotaExceeded
    assert choose_error_class(418) is errors.InvalidRequest
    assert choose_error_class(599) is errors.EngineFailed
