"""A client that disconnects or cancels ends the provider's answer at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.support.harness import CLIENT, Answer, Client, Connection, Request, Upstream
from tests.support.watcher import Watcher
from tests.support.wires import CLIENTS, WIRES, ClientWire, Wire, make_config, run_server

EVERY = pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
CLIENT_WIRES = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)


async def leaves(wire: Wire, stage: str, start: Callable[[Client], Awaitable[Answer]]) -> None:
    """Disconnects the client at ``stage``; the provider notices it long before any timeout."""
    watcher = Watcher(wire, stage)
    async with Upstream(watcher).run() as upstream, run_server(make_config(**watcher.wire.environ(upstream))) as server:
        answer = await start(server)
        async with asyncio.timeout(5):
            await watcher.reached.wait()
            answer.close()
            await watcher.hung_up.wait()
            while len(server.server.context.active):
                await asyncio.sleep(0.01)


@EVERY
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("stage", ["waiting", "headers", "streaming"])
async def test_c1_a_client_that_leaves_ends_the_provider_s_answer(wire: Wire, stage: str, stream: bool) -> None:
    body = CLIENTS["native"].request(wire.engine, stream=stream)
    await leaves(wire, stage, lambda server: server.send("POST", "/llm/chat", body, CLIENT))


@CLIENT_WIRES
@EVERY
async def test_c1_holds_in_every_client_dialect(wire: Wire, client: ClientWire) -> None:
    body = client.request(wire.engine)
    start = lambda server: server.send("POST", client.path, body, client.headers)  # noqa: E731
    await leaves(wire, "streaming", start)


async def test_c1_a_request_that_waits_for_its_retry_is_dropped_too() -> None:
    asked = asyncio.Event()

    async def script(request: Request, connection: Connection) -> None:
        asked.set()
        await connection.respond(WIRES["openai"].rate_limit, 429, headers={"Retry-After": "0.3"})

    async with Upstream(script).run() as upstream:
        async with run_server(make_config(**WIRES["openai"].environ(upstream))) as server:
            answer = await server.send("POST", "/llm/chat", CLIENTS["native"].request("openai"), CLIENT)
            await asked.wait()
            answer.close()
            async with asyncio.timeout(2):
                while len(server.server.context.active):
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.4)  # longer than the retry wait that was cancelled
            assert len(upstream.requests) == 1


@EVERY
@pytest.mark.parametrize("stage", ["waiting", "headers", "streaming"])
async def test_c2_a_running_answer_is_cancelled_by_its_id(wire: Wire, stage: str) -> None:
    watcher = Watcher(wire, stage)
    async with Upstream(watcher).run() as upstream, run_server(make_config(**wire.environ(upstream))) as server:
        mine = {**CLIENT, "X-Request-Id": "my-request-1"}
        answer = await server.send("POST", "/llm/chat", CLIENTS["native"].request(wire.engine), mine)
        async with asyncio.timeout(5):
            await watcher.reached.wait()
            if stage != "waiting":
                await answer.head()  # the headers are sent: from here on an error is part of the stream
            deleted = await server.request("DELETE", "/llm/chat/my-request-1")
            await watcher.hung_up.wait()
            assert deleted.status == 204
            if stage == "waiting":
                await answer.head()
            assert answer.headers["X-Request-Id"] == "my-request-1"
            if stage == "waiting":
                assert answer.status == 499
                assert (await answer.json())["code"] == "cancelled"
            else:
                last = (await answer.objects())[-1]
                assert (last["type"], last["code"], last["done"]) == ("error", "cancelled", True)
        again = await server.request("DELETE", "/llm/chat/my-request-1")
        assert again.status == 404


async def test_c2_nobody_cancels_another_s_answer() -> None:
    wire = WIRES["openai"]
    watcher = Watcher(wire, "streaming")
    async with (
        Upstream(watcher).run() as upstream,
        run_server(make_config(**wire.environ(upstream, AUTHORIZED_CLIENT_ID="first-client,second-client"))) as server,
    ):
        mine = {"X-ClientId": "first-client", "X-Request-Id": "my-request-1"}
        answer = await server.send("POST", "/llm/chat", CLIENTS["native"].request("openai"), mine)
        await watcher.reached.wait()
        for other in ({"X-ClientId": "second-client"}, {"X-OpenAI-Key": "sk-of-a-stranger"}):
            assert (await server.request("DELETE", "/llm/chat/my-request-1", headers=other)).status == 404
        assert not watcher.hung_up.is_set()
        own = {"X-ClientId": "first-client"}
        assert (await server.request("DELETE", "/llm/chat/my-request-1", headers=own)).status == 204
        async with asyncio.timeout(5):
            await watcher.hung_up.wait()
        answer.close()


async def test_a_request_id_that_is_in_use_or_ill_formed_is_replaced() -> None:
    wire = WIRES["openai"]
    watcher = Watcher(wire, "streaming")
    async with Upstream(watcher).run() as upstream, run_server(make_config(**wire.environ(upstream))) as server:
        mine = {**CLIENT, "X-Request-Id": "my-request-1"}
        first = await server.post("/llm/chat", CLIENTS["native"].request("openai"), mine)
        second = await server.post("/llm/chat", CLIENTS["native"].request("openai"), mine)
        bad = await server.get("/health", {"X-Request-Id": "no spaces here"})
        assert first.headers["X-Request-Id"] == "my-request-1"
        assert second.headers["X-Request-Id"].startswith("req_")
        assert bad.headers["X-Request-Id"].startswith("req_")


async def test_a_slow_client_slows_the_provider_and_memory_stays_bounded() -> None:
    """The client reads nothing: the upstream can send only what fits into the socket buffers."""
    wire = WIRES["openai"]
    sent = 0
    stuck = asyncio.Event()
    piece = wire.delta("x" * 10_000)

    async def script(request: Request, connection: Connection) -> None:
        nonlocal sent
        await connection.stream()
        await connection.chunk(wire.head)
        for _ in range(20_000):  # 200 MB
            try:
                async with asyncio.timeout(1):
                    await connection.chunk(piece)
            except TimeoutError:
                stuck.set()
                break
            sent += len(piece)
        await connection.wait_closed()

    async with Upstream(script).run() as upstream, run_server(make_config(**wire.environ(upstream))) as server:
        answer = await server.send("POST", "/llm/chat", CLIENTS["native"].request("openai"), CLIENT, limit=65536)
        await answer.head()
        async with asyncio.timeout(30):
            await stuck.wait()
        assert sent < 40_000_000
        other = await server.get("/health")
        assert other.status == 200
        answer.close()


@EVERY
@pytest.mark.parametrize("stage", ["waiting", "streaming"])
async def test_c3_the_usage_of_an_abandoned_answer_is_logged(
    wire: Wire, stage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The usage is marked as an estimate, covers at least what was received, and is never zero."""
    caplog.set_level("INFO")
    body = CLIENTS["native"].request(wire.engine, prompt="Hello " * 40)
    await leaves(wire, stage, lambda server: server.send("POST", "/llm/chat", body, CLIENT))
    [line] = [getattr(record, "fields", {}) for record in caplog.records if record.getMessage() == "request"]
    assert (line["status"], line["code"]) == (499, "cancelled")
    told = (
        wire.engine == "anthropic" and stage == "streaming"
    )  # its first event has the input tokens and one output token
    assert line.get("estimated") == (None if told else True)
    assert line["input_tokens"] == 5 if told else 40 <= line["input_tokens"] <= 400
    assert line["output_tokens"] == (1 if stage == "streaming" else 0)


async def test_c3_no_usage_is_logged_for_a_refused_request(caplog: pytest.LogCaptureFixture) -> None:
    wire = WIRES["openai"]
    caplog.set_level("INFO")

    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(wire.rate_limit, 429)

    async with Upstream(script).run() as upstream:
        async with run_server(make_config(**wire.environ(upstream, MAX_RETRIES="0"))) as server:
            await server.post("/llm/chat", CLIENTS["native"].request("openai"))
    [line] = [getattr(record, "fields", {}) for record in caplog.records if record.getMessage() == "request"]
    assert line["status"] == 429
    assert not {"input_tokens", "output_tokens", "estimated"} & set(line)
