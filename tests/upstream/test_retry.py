"""When a failed request is sent again, and after how long (E3)."""

from __future__ import annotations

import pytest

from llm import errors
from llm.upstream.failures import read_retry_after
from llm.upstream.retry import RetryPolicy
from tests.support.harness import Connection, Request, Upstream, make_config, run_server
from tests.support.wire_server import make_answer_script, make_tls_contexts, run_wire_server
from tests.support.wires import CLIENTS, WIRES


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_e3_a_client_error_is_not_retried(status: int) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond({"error": {"message": "No."}}, status)

    async with Upstream(script).run() as upstream:
        async with run_server(make_config(**WIRES["openai"].environ(upstream))) as server:
            assert (await server.post("/llm/chat", CLIENTS["native"].request("openai"))).status >= 400
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
async def test_e3_a_temporary_failure_is_retried_before_the_first_byte(status: int) -> None:
    wire = WIRES["openai"]

    async def script(request: Request, connection: Connection) -> None:
        if len(upstream.requests) < 3:
            await connection.respond({"error": {"message": "Not now."}}, status, headers={"Retry-After-Ms": "10"})
        else:
            await connection.stream()
            await connection.chunk(wire.head + wire.delta("Now") + wire.end)
            await connection.end()

    async with Upstream(script).run() as upstream, run_server(make_config(**wire.environ(upstream))) as server:
        objects = await server.chat(engine="openai", model="m")
    assert objects[0]["text"] == "Now"
    assert len(upstream.requests) == 3


async def test_e3_an_unreachable_provider_is_retried_and_then_reported() -> None:
    async with run_server(
        make_config(OPENAI_API_KEY="sk-1234567", OPENAI_BASE_URL="http://127.0.0.1:1", MAX_RETRIES="1")
    ) as server:
        answer = await server.post("/llm/chat", CLIENTS["native"].request("openai"))
        error = await answer.json()
    assert (answer.status, error["code"], error["engine"]) == (502, "provider_unreachable", "openai")


async def test_a_redirect_and_a_bad_certificate_are_not_asked_again() -> None:
    wire = WIRES["openai"]

    async def script(request: Request, connection: Connection) -> None:
        await connection.respond("", 302, headers={"Location": "https://elsewhere.example/"})

    async with Upstream(script).run() as upstream, run_server(make_config(**wire.environ(upstream))) as server:
        answer = await server.post("/llm/chat", CLIENTS["native"].request("openai"))
        assert answer.status == 502 and b"redirect" in await answer.body()
        assert len(upstream.requests) == 1
    ours, _ = make_tls_contexts()
    async with run_wire_server(make_answer_script(b""), tls=ours) as insecure:
        environ = {"OPENAI_API_KEY": "sk-1234567", "OPENAI_BASE_URL": f"https://127.0.0.1:{insecure.port}/v1"}
        async with run_server(make_config(**environ)) as server:
            answer = await server.post("/llm/chat", CLIENTS["native"].request("openai"))
            assert answer.status == 502 and b"certificate" in await answer.body()
        assert insecure.connections <= 1


def test_e3_waits_stay_within_the_limit() -> None:
    policy = RetryPolicy(retries=2, max_wait=10)
    again = errors.Overloaded("later")
    assert policy.compute_wait(again, 0, 0) is not None
    assert policy.compute_wait(again, 2, 0) is None
    assert policy.compute_wait(errors.RateLimited("later", retry_after=7), 0, 0) == 7
    assert policy.compute_wait(errors.RateLimited("later", retry_after=7), 1, 7) is None
    assert policy.compute_wait(errors.RateLimited("later", retry_after=11), 0, 0) is None
    assert policy.compute_wait(errors.Overloaded("no", headers={"x-should-retry": "false"}), 0, 0) is None
    for kind in (
        errors.InvalidRequest,
        errors.NotAuthenticated,
        errors.QuotaExceeded,
        errors.Truncated,
        errors.IdleTimeout,
    ):
        assert policy.compute_wait(kind("no"), 0, 0) is None


def test_all_forms_of_retry_after_are_read() -> None:
    assert read_retry_after({"retry-after": "3"}, 0) == 3
    assert read_retry_after({"retry-after-ms": "1500", "retry-after": "9"}, 0) == 1.5
    assert read_retry_after({"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}, 20) == 40
    assert read_retry_after({"retry-after": "soon"}, 0) is None
    assert read_retry_after({}, 0) is None
