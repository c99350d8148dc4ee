"""SIGTERM to ``python server.py`` with 200 running answers (O7), and many connections at the same time (O9)."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.faults import STREAMED, TEXT, WHOLE, Lane, read_outcome
from tests.support.harness import CLIENT, CLIENT_ID, Answer, Client
from tests.support.processes import find_url, start_server
from tests.support.wire_server import LAST_CHUNK, Wire, WireServer, chunk, run_wire_server, wait_until
from tests.support.wires import WIRES

STREAMS = 200
LANES = [lane for lane in STREAMED if lane.wire.engine in ("openai", "anthropic")]
PATIENCE = 30.0  # seconds until a hanging test fails; a passing test does not wait for it


@dataclass
class Provider:
    """A provider with OpenAI's and Anthropic's wire; sends a first piece, and the rest after ``go``."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    begun: int = 0
    flood: bool = False
    server: WireServer = field(default_factory=WireServer)

    async def serve(self, wire: Wire) -> None:
        while True:
            request = await wire.request()
            lanes = STREAMED if b'"stream":true' in request.body.replace(b" ", b"") else WHOLE
            engine = "anthropic" if "messages" in request.target else "openai"
            lane = next(lane for lane in lanes if lane.wire.engine == engine)
            self.begun += 1
            if lane.stream:
                await wire.send(lane.head + chunk(lane.first_payload))
                while self.flood:
                    await wire.send(chunk(lane.wire.delta("x" * 10_000)))
            if b"never" in request.body:
                await wire.wait_closed()
                return
            await self.go.wait()
            await wire.send(chunk(lane.wire.end) + LAST_CHUNK if lane.stream else lane.response)

    def environ(self) -> dict[str, str]:
        settings: dict[str, str] = {"AUTHORIZED_CLIENT_ID": CLIENT_ID, "MAX_RETRIES": "0", "MAX_ANSWERS": "1000"}
        return WIRES["openai"].environ(self.server) | WIRES["anthropic"].environ(self.server) | settings


@asynccontextmanager
async def under_way(folder: Path, **environ: str) -> AsyncIterator[tuple[Provider, Client, subprocess.Popen[str]]]:
    provider = Provider()
    async with run_wire_server(provider.serve) as provider.server:
        settings = {**provider.environ(), "DATA_DIR": str(folder), **environ}
        with start_server("--port", "0", cwd=folder, **settings) as (process, lines):
            client = Client(int(find_url(lines).rpartition(":")[2]), None)  # type: ignore[arg-type]
            try:
                yield provider, client, process
            finally:
                for answer in client.open:
                    answer.close()


async def ask(client: Client, lane: Lane, prompt: str, limit: int = 1 << 16) -> Answer:
    said: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}]}
    body = {**lane.body, **({"prompt": prompt} if lane.client.name == "native" else said)}
    return await client.send("POST", lane.client.path, body, lane.client.headers, limit=limit)


async def ended(process: subprocess.Popen[str]) -> int:
    return await asyncio.to_thread(process.wait, PATIENCE)


async def test_o7_of_200_streams_those_that_end_in_time_are_complete_and_the_others_get_an_error(
    tmp_path: Path,
) -> None:
    async with under_way(tmp_path, DRAIN_TIMEOUT="3") as (provider, client, process), asyncio.timeout(PATIENCE):
        lanes = [LANES[number % len(LANES)] for number in range(STREAMS)]
        prompts = ["soon" if number % 8 < 4 else "never" for number in range(STREAMS)]
        answers = [await ask(client, lane, prompt) for lane, prompt in zip(lanes, prompts, strict=True)]
        waiting = await ask(client, WHOLE[0], "never")  # for an answer that is not streamed
        for answer in answers:
            await answer.head()
            assert answer.status == 200
        await wait_until(lambda: provider.begun == STREAMS + 1)
        process.send_signal(signal.SIGTERM)
        while (health := await client.get("/health")).status == 200:
            pass
        assert (health.status, (await health.json())["status"]) == (503, "draining")
        refused = await client.post("/llm/chat", {"engine": "openai", "model": "m", "prompt": "x"}, CLIENT)
        assert (refused.status, (await refused.json())["code"]) == (503, "draining")
        provider.go.set()
        for lane, prompt, answer in zip(lanes, prompts, answers, strict=True):
            outcome = read_outcome(lane, 200, await answer.body())
            assert outcome.text == TEXT
            assert (outcome.ended, outcome.code) == ((True, None) if prompt == "soon" else (False, "draining")), lane
        await waiting.head()
        assert (waiting.status, (await waiting.json())["code"]) == (503, "draining")
        assert await ended(process) == 0
        await wait_until(lambda: not provider.server.wires)
        assert provider.begun == STREAMS + 1


async def test_o7_clients_that_do_not_read_delay_no_other(tmp_path: Path) -> None:
    async with under_way(tmp_path, DRAIN_TIMEOUT="0.5") as (provider, client, process), asyncio.timeout(PATIENCE):
        provider.flood = True
        answers = [await ask(client, LANES[number % len(LANES)], "never", limit=1024) for number in range(20)]
        for answer in answers:
            await answer.head()
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == 0
        await wait_until(lambda: not provider.server.wires)


async def test_o9_a_thousand_kept_connections_and_200_streams_lose_nothing(tmp_path: Path) -> None:
    """Clients hold a thousand idle connections; so many requests run at the same time that most provider connections close."""
    async with under_way(tmp_path) as (provider, client, _), asyncio.timeout(PATIENCE * 2):
        streams = [await ask(client, LANES[number % len(LANES)], "soon") for number in range(STREAMS)]
        for answer in streams:
            await answer.head()
        await wait_until(lambda: provider.begun == STREAMS)
        idle = [await client.get("/health") for _ in range(1000)]
        for answer in idle:
            assert answer.status == 200 and b"ok" in await answer.body()
        provider.go.set()
        for number in range(2):  # these are answered at once, over connections of which 64 are kept
            whole = [await ask(client, WHOLE[0], "soon") for _ in range(100)]
            for answer in whole:
                await answer.head()
                assert answer.status == 200 and (await answer.json())["content"] == TEXT, number
        for number, answer in enumerate(streams):
            lane = LANES[number % len(LANES)]
            outcome = read_outcome(lane, answer.status, await answer.body())
            assert (outcome.text, outcome.ended) == (TEXT, True), lane
        await wait_until(lambda: len(provider.server.wires) <= 64)
        again = [await client.get("/health") for _ in range(10)]
        assert all(answer.status == 200 for answer in again)
