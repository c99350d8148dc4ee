"""``kill -9`` during fifty chats with threads: every answer reported as saved is complete, and no other is there."""

from __future__ import annotations

import asyncio
import re
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

from llm.storage.sqlite.database import FILE_NAME
from tests.support.harness import CLIENT, CLIENT_ID, Client, Connection, Request, Upstream
from tests.support.processes import find_url, start_server
from tests.support.threads import NDJSON, read_thread, read_thread_state
from tests.support.wires import WIRES, _chunk

CHATS = 50
BEFORE = 150  # answers reported as saved before the server is killed
PIECES = 8


def answer_to(prompt: str) -> list[str]:
    return [f"{prompt}: piece {n}. " for n in range(PIECES)]


@contextmanager
def client(lines: list[str]) -> Iterator[Client]:
    port = re.search(r":(\d+)$", find_url(lines))
    assert port is not None
    server = Client(int(port[1]), cast(Any, None))
    try:
        yield server
    finally:
        for answer in server.open:
            answer.close()


async def test_kill_9_during_fifty_chats_loses_no_saved_answer(tmp_path: Path) -> None:
    ended: set[str] = set()  # prompts whose answers the provider sent completely

    async def script(request: Request, connection: Connection) -> None:
        prompt = request.json["messages"][-1]["content"]
        await connection.stream()
        for piece in answer_to(prompt):
            await connection.chunk(_chunk({"content": piece}))
            await asyncio.sleep(
                0.001 * (1 + hash(prompt) % 7)
            )  # so that each is at a different point when the server is killed
        await connection.chunk(_chunk({}, "stop"))
        ended.add(prompt)
        await connection.chunk("data: [DONE]\n\n")
        await connection.end()

    upstream = Upstream(script)
    async with upstream.run():
        environ = {**WIRES["openai"].environ(upstream), "DATA_DIR": str(tmp_path), "AUTHORIZED_CLIENT_ID": CLIENT_ID}
        told: dict[str, list[str]] = {}
        enough = asyncio.Event()

        async def chats(server: Client, number: int) -> None:
            id = (await (await server.request("PUT", "/thread")).json())["id"]
            told[id] = []
            for turn in range(1000):
                prompt = f"chat {number} turn {turn}"
                body = {"engine": "openai", "model": "gpt-4o", "thread": id, "tools": False, "prompt": prompt}
                answer = await server.post("/llm/chat", body, {**CLIENT, **NDJSON})
                assert read_thread_state(await answer.objects())["saved"]
                told[id].append(prompt)
                if sum(map(len, told.values())) >= BEFORE:
                    enough.set()

        with start_server("--port", "0", cwd=tmp_path, **environ) as (process, lines), client(lines) as server:
            tasks = [asyncio.create_task(chats(server, number)) for number in range(CHATS)]
            await asyncio.wait([asyncio.create_task(enough.wait()), *tasks], return_when=asyncio.FIRST_COMPLETED)
            process.send_signal(signal.SIGKILL)
            failures = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(failure, OSError | EOFError) for failure in failures), failures

        with closing(sqlite3.connect(tmp_path / FILE_NAME)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        with start_server("--port", "0", cwd=tmp_path, **environ) as (_, lines), client(lines) as server:
            for id, prompts in told.items():
                messages = await read_thread(server, id)
                asked = [message["content"] for message in messages[::2]]
                assert [m["content"] for m in messages[1::2]] == ["".join(answer_to(prompt)) for prompt in asked]
                assert asked[: len(prompts)] == prompts  # all that were reported as saved
                assert len(asked) <= len(prompts) + 1  # the answer that was running when the server was killed
                assert set(asked) <= ended  # and that one only if it was complete
            again = await server.chat(
                NDJSON, engine="openai", model="gpt-4o", thread=next(iter(told)), tools=False, prompt="still there?"
            )
            assert read_thread_state(again)["saved"]
    assert len(told) == CHATS
