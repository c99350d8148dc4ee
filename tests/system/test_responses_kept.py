"""Kept responses of real processes: over all workers, and after ``kill -9``."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

from tests.support.harness import CLIENT, CLIENT_ID, Client, Connection, Request, Upstream
from tests.support.processes import find_url, start_server
from tests.support.wires import WIRES
from tests.support.workers import RunningServer, run_workers

ANTHROPIC: Final = WIRES["anthropic"]
ENDED: Final = ("completed", "failed", "cancelled", "incomplete")


def text_of(response: Any) -> str:
    return "".join(part["text"] for item in response["output"] for part in item.get("content", ()))


async def read_json(answer: Any, status: int = 200) -> Any:
    value = await answer.json()
    assert answer.status == status, value
    return value


class Provider:
    """Streams the prompt back word by word; the word "wait" waits for the test."""

    def __init__(self) -> None:
        self.goes_on, self.waits = asyncio.Event(), asyncio.Event()
        self.closed = 0
        self.upstream = Upstream(self._answer)

    async def _answer(self, request: Request, connection: Connection) -> None:
        prompt = request.json["messages"][-1]["content"]
        prompt = prompt if isinstance(prompt, str) else prompt[-1]["text"]
        if not request.json.get("stream"):
            await connection.respond(ANTHROPIC.whole(prompt))
            return
        await connection.stream(ANTHROPIC.content_type)
        await connection.chunk(ANTHROPIC.head)
        for word in prompt.split():
            if word == "wait":
                self.waits.set()
                going, gone = (
                    asyncio.ensure_future(self.goes_on.wait()),
                    asyncio.ensure_future(connection.wait_closed()),
                )
                await asyncio.wait((going, gone), return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    self.closed += 1
                    return
                gone.cancel()
                await asyncio.wait([gone])
            await connection.chunk(ANTHROPIC.delta(f"{word} "))
        await connection.chunk(ANTHROPIC.end)
        await connection.end()


@asynccontextmanager
async def two_workers(folder: Path) -> AsyncIterator[tuple[RunningServer, Provider, int, int]]:
    provider = Provider()
    async with provider.upstream.run():
        async with run_workers(folder, **ANTHROPIC.environ(provider.upstream, MAX_RETRIES="0")) as server:
            here, there = server.workers
            yield server, provider, here, there


def ask(prompt: str, **more: Any) -> dict[str, Any]:
    return {"model": "anthropic/m", "input": prompt, **more}


async def test_a_conversation_goes_on_in_another_worker(tmp_path: Path) -> None:
    async with two_workers(tmp_path) as (server, provider, here, there):
        for stream in (False, True):
            first = await server.request_to(here, "POST", "/v1/responses", ask("one", stream=stream))
            if stream:
                [id] = set(re.findall(rb'"id":"(resp_[0-9a-f]+)"', await first.body()))
                id = id.decode()
            else:
                id = (await read_json(first))["id"]
            more = ask("two", previous_response_id=id)
            await read_json(await server.request_to(there, "POST", "/v1/responses", more))
            said = [json.dumps(message) for message in provider.upstream.requests[-1].json["messages"]]
            assert len(said) == 3 and "one" in said[0] and "one" in said[1] and "two" in said[2]
            assert (await read_json(await server.request_to(there, "GET", f"/v1/responses/{id}")))["id"] == id


async def test_an_answer_in_the_background_is_followed_and_cancelled_in_another_worker(tmp_path: Path) -> None:
    async with two_workers(tmp_path) as (server, provider, here, there):
        ids = []
        for _ in range(2):
            provider.waits.clear()
            queued = await read_json(
                await server.request_to(here, "POST", "/v1/responses", ask("one wait two", background=True))
            )
            assert queued["status"] == "queued"
            ids.append(queued["id"])
            await asyncio.wait_for(provider.waits.wait(), 20)
        followed = await server.request_to(there, "GET", f"/v1/responses/{ids[0]}?stream=true")
        chunks = followed.chunks()
        seen = b""
        async with asyncio.timeout(20):
            while b"response.output_text.delta" not in seen:
                seen += await anext(chunks)
        cancelled = await read_json(await server.request_to(there, "POST", f"/v1/responses/{ids[1]}/cancel"))
        assert (cancelled["id"], cancelled["status"]) == (ids[1], "cancelled")
        async with asyncio.timeout(20):
            while not provider.closed:
                await asyncio.sleep(0.01)
        provider.goes_on.set()
        async for chunk in chunks:
            seen += chunk
        events = [json.loads(line[6:]) for line in seen.decode().splitlines() if line.startswith("data: {")]
        assert [event["sequence_number"] for event in events] == [*range(len(events))]
        assert events[-1]["type"] == "response.completed" and text_of(events[-1]["response"]) == "one wait two "
        assert (
            text_of(await read_json(await server.request_to(there, "GET", f"/v1/responses/{ids[0]}")))
            == "one wait two "
        )


async def test_an_answer_in_the_background_goes_on_when_its_client_leaves_and_its_server_is_told_to_end(
    tmp_path: Path,
) -> None:
    provider = Provider()
    environ = {"DATA_DIR": str(tmp_path / "data"), "AUTHORIZED_CLIENT_ID": CLIENT_ID}
    async with provider.upstream.run():
        environ |= ANTHROPIC.environ(provider.upstream, MAX_RETRIES="0", DRAIN_TIMEOUT="20")
        with start_server("--port", "0", cwd=tmp_path, **environ) as (process, lines):
            async with client(lines) as server:
                queued = await read_json(await server.post("/v1/responses", ask("one wait two", background=True)))
                await asyncio.wait_for(provider.waits.wait(), 20)
            process.send_signal(signal.SIGTERM)
            provider.goes_on.set()
            assert await asyncio.to_thread(process.wait, 20) == 0
        with start_server("--port", "0", cwd=tmp_path, **environ) as (_, lines):
            async with client(lines) as server:
                found = await read_json(await server.get(f"/v1/responses/{queued['id']}"))
                assert (found["status"], text_of(found)) == ("completed", "one wait two ")


@asynccontextmanager
async def client(lines: list[str]) -> AsyncIterator[Client]:
    port = re.search(r":(\d+)$", find_url(lines))
    assert port is not None
    server = Client(int(port[1]), cast(Any, None))
    try:
        yield server
    finally:
        for answer in server.open:
            answer.close()


async def test_kill_9_during_fifty_conversations_loses_no_answer_that_was_given(tmp_path: Path) -> None:
    """Each client continues its last answer; after the kill every answer that a client has got is there."""
    provider = Provider()
    environ = {"DATA_DIR": str(tmp_path / "data"), "AUTHORIZED_CLIENT_ID": CLIENT_ID}
    got: dict[int, list[tuple[str, str]]] = {number: [] for number in range(50)}  # ids and prompts
    enough = asyncio.Event()

    async def converse(server: Client, number: int) -> None:
        for turn in range(1000):
            prompt = f"conversation {number} turn {turn}"
            more = {"previous_response_id": got[number][-1][0]} if got[number] else {}
            answer = await server.post("/v1/responses", ask(prompt, stream=turn % 2 == 0, **more))
            raw = await answer.body()
            assert answer.status == 200 and b'"status":"completed"' in raw
            found = re.search(rb'"id":"(resp_[0-9a-f]+)"', raw)
            assert found is not None
            got[number].append((found[1].decode(), prompt))
            if sum(map(len, got.values())) >= 150:
                enough.set()

    async with provider.upstream.run():
        environ |= ANTHROPIC.environ(provider.upstream, MAX_RETRIES="0")
        with start_server("--port", "0", cwd=tmp_path, **environ) as (process, lines):
            async with client(lines) as server:
                waiting = await read_json(await server.post("/v1/responses", ask("one wait two", background=True)))
                tasks = [asyncio.create_task(converse(server, number)) for number in got]
                await asyncio.wait([asyncio.create_task(enough.wait()), *tasks], return_when=asyncio.FIRST_COMPLETED)
                process.send_signal(signal.SIGKILL)
                failures = await asyncio.gather(*tasks, return_exceptions=True)
                assert all(isinstance(failure, OSError | EOFError) for failure in failures), failures
        with start_server("--port", "0", cwd=tmp_path, **environ) as (_, lines):
            async with client(lines) as server:
                for number, turns in got.items():
                    for id, prompt in turns:
                        found = await read_json(await server.get(f"/v1/responses/{id}"))
                        assert text_of(found).strip() == prompt
                    if turns:
                        again = ask("still there?", previous_response_id=turns[-1][0])
                        await read_json(await server.post("/v1/responses", again))
                        said = provider.upstream.requests[-1].json["messages"]
                        assert len(said) == 2 * len(turns) + 1, number
                assert (await server.get(f"/v1/responses/{waiting['id']}")).status == 200
                cancelled = await read_json(await server.post(f"/v1/responses/{waiting['id']}/cancel", {}))
                assert cancelled["status"] in ("cancelled", "failed")
                unknown = await server.get("/v1/responses/resp_0", CLIENT)
                assert unknown.status == 404
