"""While an answer stalls, the log says for whom the server waits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from llm.wire.json_codec import Json
from tests.support.harness import CLIENT, Connection, Request, Upstream, make_config, run_server
from tests.support.tool_rounds import ScriptedTool, make_round, make_upstream
from tests.support.wires import CLIENTS, WIRES

WIRE = WIRES["openai"]


def stalls(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [getattr(record, "fields", {}) for record in caplog.records if record.getMessage() == "stalled"]


async def stalled(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """The first such line."""
    async with asyncio.timeout(10):
        while not stalls(caplog):
            await asyncio.sleep(0.01)
    return stalls(caplog)[0]


@pytest.mark.parametrize("client", ["native", "openai"])
@pytest.mark.parametrize("stage", ["first byte", "next event"])
async def test_a_stalled_answer_names_what_the_engine_owes(
    client: str, stage: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    async def script(request: Request, connection: Connection) -> None:
        if stage == "next event":
            await connection.stream()
            await connection.chunk(WIRE.head + WIRE.delta("Hel"))
        await connection.wait_closed()

    upstream, asks = Upstream(script), CLIENTS[client]
    async with upstream.run(), run_server(make_config(**WIRE.environ(upstream, KEEPALIVE_INTERVAL="0.05"))) as server:
        answer = await server.send("POST", asks.path, asks.request("openai"), {**CLIENT, **asks.headers})
        line = await stalled(caplog)
        answer.close()
    assert line["waiting_for"] == f"the engine's {stage}"
    assert line["engine"] == "openai" and line["seconds"] >= 0.1 and line["id"].startswith("req_")


async def test_a_stalled_answer_names_the_client_that_does_not_read(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream()
        await connection.chunk(WIRE.head)
        try:
            while True:
                await connection.chunk(WIRE.delta("x" * 60_000))
        except ConnectionError:
            pass

    upstream = Upstream(script)
    async with upstream.run(), run_server(make_config(**WIRE.environ(upstream, KEEPALIVE_INTERVAL="0.05"))) as server:
        answer = await server.send("POST", "/llm/chat", CLIENTS["native"].request("openai"), CLIENT, limit=1024)
        line = await stalled(caplog)
        answer.close()
    assert line["waiting_for"] == "the client"


async def test_a_stalled_answer_names_the_tool_that_runs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    async def waits(arguments: Mapping[str, Json]) -> Json:
        await asyncio.Event().wait()
        return ""

    upstream = make_upstream("openai", [make_round("openai", "x", [("waits", "{}")])])
    async with upstream.run():
        settings = make_config(**WIRE.environ(upstream, KEEPALIVE_INTERVAL="0.05"))
        async with run_server(settings, tools={"waits": ScriptedTool("waits", waits)}) as server:
            answer = await server.send("POST", "/llm/chat", {"engine": "openai", "model": "m", "prompt": "Go"}, CLIENT)
            line = await stalled(caplog)
            answer.close()
    assert line["waiting_for"] == "a tool"
