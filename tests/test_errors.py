"""What a provider's failure becomes, and when it is tried again."""

from __future__ import annotations

import asyncio

import pytest

from llm import errors
from llm.errors import LLMError, by_status
from llm.upstream.failures import retry_after
from llm.upstream.retry import RetryPolicy
from tests.harness import CLIENT, Connection, Request, Upstream, config, serving
from tests.wires import CLIENTS, WIRES, Wire

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
        await connection.whole(wire.rate_limit, 429, headers=LIMITS)

    async with Upstream(script).running() as upstream, serving(config(**wire.environ(upstream))) as server:
        for client in CLIENTS.values():
            answer = await server.post(client.path, client.request(wire.engine), client.headers)
            assert answer.status == 429
            for name, value in LIMITS.items():
                assert answer.headers.get(name) == (None if name == "Set-Cookie" else value)
            assert "Slow down." in (await answer.body()).decode()
    assert len(upstream.requests) == 3  # a retry-after beyond MAX_RETRY_WAIT is answered at once


async def test_e1_the_provider_s_request_id_does_not_hide_ours() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.whole(WIRES["openai"].rate_limit, 429, headers={"X-Request-Id": "theirs", "Retry-After": "99"})

    async with Upstream(script).running() as upstream:
        async with serving(config(**WIRES["openai"].environ(upstream))) as server:
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
async def test_e2_the_table_of_statuses(
    wire: Wire, status: int, server_key: tuple[int, str], own_key: tuple[int, str]
) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.whole({"error": {"message": "These are the words."}}, status)

    async with Upstream(script).running() as upstream:
        async with serving(config(**wire.environ(upstream, MAX_RETRIES="0"))) as server:
            for expected, headers in ((server_key, CLIENT), (own_key, {f"X-{wire.engine}-Key": "sk-own-key-1"})):
                answer = await server.post("/llm/chat", CLIENTS["native"].request(wire.engine), headers)
                body = await answer.json()
                assert (answer.status, body["code"]) == expected
                assert body["error"] == "These are the words."
                assert body["provider"]["status"] == status
                assert body["provider"]["message"] == "These are the words."


@pytest.mark.parametrize(
    "body", [b"<html><h1>502 Bad Gateway</h1></html>", b"", b"upstream connect error", b"null", b"[]"]
)
@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
async def test_e2_an_error_that_is_no_json_is_told_in_plain_words(wire: Wire, body: bytes) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.whole(body, 502, "text/html")

    async with Upstream(script).running() as upstream:
        async with serving(config(**wire.environ(upstream, MAX_RETRIES="0"))) as server:
            answer = await server.post("/llm/chat", CLIENTS["native"].request(wire.engine))
            error = await answer.json()
    assert (answer.status, error["code"]) == (502, "provider_error")
    assert error["error"] and "<" not in error["error"]


async def test_e2_a_refused_server_key_is_not_the_client_s_401() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.whole({"error": {"message": "Bad key.", "code": "invalid_api_key"}}, 401)

    async with Upstream(script).running() as upstream:
        async with serving(config(**WIRES["openai"].environ(upstream))) as server:
            for client in CLIENTS.values():
                answer = await server.post(client.path, client.request("openai"), client.headers)
                assert answer.status == 502
    assert len(upstream.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_e3_what_the_caller_did_wrong_is_asked_once(status: int) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.whole({"error": {"message": "No."}}, status)

    async with Upstream(script).running() as upstream:
        async with serving(config(**WIRES["openai"].environ(upstream))) as server:
            assert (await server.post("/llm/chat", CLIENTS["native"].request("openai"))).status >= 400
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
async def test_e3_what_may_pass_is_asked_again_before_the_first_byte(status: int) -> None:
    wire = WIRES["openai"]

    async def script(request: Request, connection: Connection) -> None:
        if len(upstream.requests) < 3:
            await connection.whole({"error": {"message": "Not now."}}, status, headers={"Retry-After-Ms": "10"})
        else:
            await connection.stream()
            await connection.chunk(wire.head + wire.delta("Now") + wire.end)
            await connection.end()

    async with Upstream(script).running() as upstream, serving(config(**wire.environ(upstream))) as server:
        objects = await server.chat(engine="openai", model="m")
    assert objects[0]["text"] == "Now"
    assert len(upstream.requests) == 3


async def test_e3_an_unreachable_provider_is_tried_again_and_then_named() -> None:
    async with serving(
        config(OPENAI_API_KEY="sk-1234567", OPENAI_BASE_URL="http://127.0.0.1:1", MAX_RETRIES="1")
    ) as server:
        answer = await server.post("/llm/chat", CLIENTS["native"].request("openai"))
        error = await answer.json()
    assert (answer.status, error["code"], error["engine"]) == (502, "provider_unreachable", "openai")


def test_e3_waits_stay_within_their_bound() -> None:
    policy = RetryPolicy(retries=2, max_wait=10)
    again = errors.Overloaded("later")
    assert policy.wait(again, 0, 0) is not None
    assert policy.wait(again, 2, 0) is None
    assert policy.wait(errors.RateLimited("later", retry_after=7), 0, 0) == 7
    assert policy.wait(errors.RateLimited("later", retry_after=7), 1, 7) is None
    assert policy.wait(errors.RateLimited("later", retry_after=11), 0, 0) is None
    assert policy.wait(errors.Overloaded("no", headers={"x-should-retry": "false"}), 0, 0) is None
    for kind in (
        errors.InvalidRequest,
        errors.NotAuthenticated,
        errors.QuotaExceeded,
        errors.Truncated,
        errors.IdleTimeout,
    ):
        assert policy.wait(kind("no"), 0, 0) is None


def test_retry_after_is_read_in_all_its_forms() -> None:
    assert retry_after({"retry-after": "3"}, 0) == 3
    assert retry_after({"retry-after-ms": "1500", "retry-after": "9"}, 0) == 1.5
    assert retry_after({"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}, 20) == 40
    assert retry_after({"retry-after": "soon"}, 0) is None
    assert retry_after({}, 0) is None


def test_an_empty_account_is_not_a_rate_limit() -> None:
    assert by_status(429, None) is errors.RateLimited
    assert by_status(429, "insufficient_quota") is errors.QuotaExceeded
    assert by_status(418) is errors.InvalidRequest
    assert by_status(599) is errors.EngineFailed


def test_every_error_has_the_status_and_code_that_its_tree_draws() -> None:
    def leaves(kind: type[LLMError]) -> list[type[LLMError]]:
        below = kind.__subclasses__()
        return [leaf for sub in below for leaf in leaves(sub)] if below else [kind]

    drawn = [
        line.split() for line in (errors.__doc__ or "").splitlines() if line.rstrip() and ("├" in line or "└" in line)
    ]
    table = {words[0]: (int(words[1]), words[2]) for words in (
        [w for w in line if w not in "│├└"] for line in drawn
    ) if len(words) > 2 and words[1].isdigit()}  # fmt: skip
    assert table == {leaf.__name__: (leaf.status, leaf.code) for leaf in leaves(LLMError)}


async def test_a_bug_of_ours_is_a_500_with_the_request_s_id_and_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        async def send(self, request: object) -> object:
            raise ZeroDivisionError("the inside")

        async def close(self) -> None: ...

    async with serving(config(), demo=Broken()) as server:  # type: ignore[arg-type]
        for client in CLIENTS.values():
            answer = await server.post(client.path, client.request("demo", "demo-chat"), client.headers)
            text = (await answer.body()).decode()
            assert answer.status == 500
            assert answer.headers["X-Request-Id"] in text
            assert "inside" not in text and "Traceback" not in text
    assert any("bug" in record.message for record in caplog.records)


async def test_nothing_and_the_wrong_method_are_told_in_json() -> None:
    async with serving(config()) as server:
        nothing = await server.get("/nowhere")
        assert (nothing.status, (await nothing.json())["code"]) == (404, "not_found")
        wrong = await server.get("/llm/chat")
        assert (wrong.status, wrong.headers["Allow"]) == (405, "POST")
        assert (await wrong.json())["code"] == "bad_request"


async def test_a_draining_server_says_so() -> None:
    async with serving(config(DRAIN_TIMEOUT="1")) as server:
        server.server.context.running.draining = True
        health = await server.get("/health", {})
        assert (health.status, await health.json()) == (503, {"status": "draining"})
        chat = await server.post("/llm/chat", CLIENTS["native"].request("demo", "demo-chat"))
        assert (chat.status, (await chat.json())["code"]) == (503, "draining")


async def test_o6_health_calls_nobody() -> None:
    async def never(request: Request, connection: Connection) -> None:
        raise AssertionError("health called a provider")

    async with Upstream(never).running() as upstream:
        async with serving(config(**WIRES["openai"].environ(upstream))) as server:
            health = await server.get("/health", {})
            assert (health.status, await health.json()) == (200, {"status": "ok"})


async def test_o7_a_running_answer_outlives_the_call_to_stop() -> None:
    """New requests get 503 while it finishes; ``tests/test_start.py`` sees the same from outside."""
    wire = WIRES["openai"]
    begun, go = asyncio.Event(), asyncio.Event()

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream()
        await connection.chunk(wire.head + wire.delta("One "))
        begun.set()
        await go.wait()
        await connection.chunk(wire.delta("two") + wire.end)
        await connection.end()

    async with Upstream(script).running() as upstream:
        async with serving(config(**wire.environ(upstream))) as server:
            answer = await server.post("/llm/chat", CLIENTS["native"].request("openai"))
            await begun.wait()
            draining = asyncio.create_task(server.server.context.running.drain(10))
            await asyncio.sleep(0)
            refused = await server.post("/llm/chat", CLIENTS["native"].request("openai"))
            assert refused.status == 503
            go.set()
            seen = CLIENTS["native"].read(await answer.body())
            await draining
    assert seen.text == "One two" and seen.ended
