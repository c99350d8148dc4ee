"""``/health``, and draining."""

from __future__ import annotations

import asyncio

from tests.support.harness import Connection, Request, Upstream, make_config, run_server
from tests.support.wires import CLIENTS, WIRES


async def test_health_reports_that_the_server_drains() -> None:
    async with run_server(make_config(DRAIN_TIMEOUT="1")) as server:
        server.server.context.active.draining = True
        health = await server.get("/health", {})
        assert (health.status, await health.json()) == (503, {"status": "draining"})
        chat = await server.post("/llm/chat", CLIENTS["native"].request("demo", "demo-chat"))
        assert (chat.status, (await chat.json())["code"]) == (503, "draining")


async def test_o6_health_calls_no_provider() -> None:
    async def never(request: Request, connection: Connection) -> None:
        raise AssertionError("health called a provider")

    async with Upstream(never).run() as upstream:
        async with run_server(make_config(**WIRES["openai"].environ(upstream))) as server:
            health = await server.get("/health", {})
            assert (health.status, await health.json()) == (200, {"status": "ok"})


async def test_o7_a_running_answer_outlives_the_call_to_stop() -> None:
    """New requests get 503 while it finishes; ``tests/system/test_start.py`` tests the same with a process."""
    wire = WIRES["openai"]
    begun, go = asyncio.Event(), asyncio.Event()

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream()
        await connection.chunk(wire.head + wire.delta("One "))
        begun.set()
        await go.wait()
        await connection.chunk(wire.delta("two") + wire.end)
        await connection.end()

    async with Upstream(script).run() as upstream:
        async with run_server(make_config(**wire.environ(upstream))) as server:
            answer = await server.post("/llm/chat", CLIENTS["native"].request("openai"))
            await begun.wait()
            draining = asyncio.create_task(server.server.context.active.drain(10))
            await asyncio.sleep(0)
            refused = await server.post("/llm/chat", CLIENTS["native"].request("openai"))
            assert refused.status == 503
            go.set()
            seen = CLIENTS["native"].read(await answer.body())
            await draining
    assert seen.text == "One two" and seen.ended
