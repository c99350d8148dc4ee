"""What one worker remembers of a call, another finds: in the SQLite file, bounded, and never at the cost of a chat."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from llm.chat.events import Event, PartEnded, ReasoningDelta, ToolCallStarted
from llm.chat.messages import Message, Part, Reasoning, Text, ToolCall
from llm.chat.provider_metadata import Opaque
from llm.chat.request import ChatRequest
from llm.gateway.signature_cache import Memo, Remembered, Remembering
from llm.storage.sqlite.database import FILE, transaction
from llm.storage.sqlite.signatures import SqliteSignatures
from tests.support.harness import Connection, Request, Upstream, config, serving
from tests.support.wires import CLIENTS, WIRES, _sse
from tests.support.workers import running

KEEP = (Opaque("gemini", "google", {"thoughtSignature": "c2lnbmVk \ud83d"}),)
SIGNED = (Opaque("anthropic", "anthropic", {"signature": "s"}),)


@contextmanager
def shelves(
    folder: Path, count: int = 2, size: int = 10**6, clock: Callable[[], float] = time.time
) -> Iterator[list[SqliteSignatures]]:
    made = [SqliteSignatures(folder, 60, size, clock) for _ in range(count)]
    try:
        yield made
    finally:
        for shelf in made:
            shelf.close()


def asked(*parts: Part) -> ChatRequest:
    return ChatRequest(model="m", messages=(Message("user", (Text("Go"),)), Message("assistant", parts)))


async def test_t2_another_worker_completes_a_bare_call_and_only_its_owner_s(tmp_path: Path) -> None:
    with shelves(tmp_path) as [one, other]:
        here, there = Memo(one), Memo(other)
        remembering = Remembering(here, "me")
        batches: list[list[Event]] = [
            [ReasoningDelta(0, "I see."), PartEnded(0, SIGNED), ToolCallStarted(1, "c1", "f"), PartEnded(1, KEEP)],
            [ToolCallStarted(2, "\ud83d", "f"), PartEnded(2, KEEP), ToolCallStarted(3, "c3", "f"), PartEnded(3)],
        ]
        for batch in batches:
            remembering.feed(batch)
            await remembering.share()
        bare = asked(ToolCall("c1", "f"), ToolCall("\ud83d", "f"), ToolCall("c3", "f"))
        for memo in (here, there):
            await memo.fetch("me", bare)
            assert memo.completed("me", bare).messages[1].parts == (
                Reasoning("I see.", SIGNED),
                ToolCall("c1", "f", keep=KEEP),
                ToolCall("\ud83d", "f", keep=KEEP),
                ToolCall("c3", "f"),
            )
            await memo.fetch("you", bare)
            assert memo.completed("you", bare) == bare
    raw = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"c2lnbmVk" in raw and (tmp_path / FILE).stat().st_mode & 0o77 == 0


async def test_a_thousand_calls_are_found_in_one_request(tmp_path: Path) -> None:
    with shelves(tmp_path) as [one, other]:
        ids = [f"c{n}" for n in range(1200)]
        await one.put("me", dict.fromkeys(ids, "x"))
        assert await other.get("me", [*ids, "c-none"]) == dict.fromkeys(ids, "x")


async def test_what_is_old_is_forgotten_and_leaves_the_file(tmp_path: Path) -> None:
    now = 1000.0
    with shelves(tmp_path, clock=lambda: now) as [one, other]:
        await one.put("me", {"c1": "first"})
        now = 1060.0
        assert await other.get("me", ["c1"]) == {"c1": "first"}
        now = 1061.0
        assert await other.get("me", ["c1"]) == {}
        await other.put("me", {"c2": "second"})  # the first write of a worker, and each hundredth, cleans up
    with sqlite3.connect(tmp_path / FILE) as raw:
        assert raw.execute("SELECT value FROM memo").fetchall() == [("second",)]
    raw.close()


async def test_the_oldest_are_forgotten_when_there_is_too_much(tmp_path: Path) -> None:
    with shelves(tmp_path, size=1000) as [one, other]:
        for n in range(150):
            await one.put("me", {f"c{n}": "x" * 100})
        await one.put("me", {"c0": "x" * 100})  # put again, it is new
        await other.put("me", {"last": "x" * 100})
        assert {*await one.get("me", [f"c{n}" for n in range(150)])} == {"c0", *(f"c{n}" for n in range(142, 150))}


async def test_o2_a_locked_database_costs_a_moment_once_and_then_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm.storage.sqlite.signatures.LIMIT", 0.2)
    monkeypatch.setattr("llm.storage.sqlite.signatures.REST", 0.5)
    with shelves(tmp_path) as [one, other]:
        await one.put("me", {"c1": "first"})
        tried: list[sqlite3.Connection] = []

        def counted(connection: sqlite3.Connection) -> AbstractContextManager[None]:
            tried.append(connection)
            return transaction(connection)

        monkeypatch.setattr("llm.storage.sqlite.signatures.transaction", counted)
        lock = sqlite3.connect(tmp_path / FILE, isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
        await one.put("me", {"c2": "second"})
        for _ in range(100):
            await one.put("me", {"c3": "third"})
        assert len(tried) == 1
        lock.execute("ROLLBACK")
        lock.close()
        await asyncio.sleep(0.5)
        await one.put("me", {"c4": "fourth"})
        assert (await other.get("me", ["c1", "c3", "c4"])) == {"c1": "first", "c4": "fourth"}


async def test_o2_a_folder_that_cannot_be_fails_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with shelves(tmp_path / "file" / "data", 1) as [shelf]:
        memo = Memo(shelf)
        memo.remember("me", "c1", Remembered(KEEP))
        await memo.share("me", {"c1": Remembered(KEEP)})
        await memo.fetch("me", asked(ToolCall("c2", "f")))
        assert memo.recall("me", "c1").keep == KEEP
        assert memo.recall("me", "c2") == Remembered()


async def test_what_another_version_has_put_there_is_nothing(tmp_path: Path) -> None:
    with shelves(tmp_path, 1) as [shelf]:
        await shelf.put("me", {"c1": '{"role": "assistant", "parts": [{"type": "novel"}]}', "c2": "[]", "c3": "{"})
        memo = Memo(shelf)
        bare = asked(*(ToolCall(f"c{n}", "f") for n in (1, 2, 3)))
        await memo.fetch("me", bare)
        assert memo.completed("me", bare) == bare


TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


async def signs(request: Request, connection: Connection) -> None:
    """A provider that asks for a tool, and signs that."""
    call = {"functionCall": {"name": "f", "args": {"n": 1}}, "thoughtSignature": "c2lnbmVk"}
    await connection.stream(WIRES["google"].content_type)
    await connection.chunk(
        _sse({"candidates": [{"content": {"role": "model", "parts": [call]}, "finishReason": "STOP"}]})
    )
    await connection.end()


def turn(call: bytes = b"") -> dict[str, Any]:
    """The first turn of a client that drops what it does not know, or the next, which brings the result of a call."""
    messages: list[Any] = [{"role": "user", "content": "Go"}]
    if call:
        made = {"id": call.decode(), "type": "function", "function": {"name": "f", "arguments": "{}"}}
        messages.append({"role": "assistant", "tool_calls": [made]})
        messages.append({"role": "tool", "tool_call_id": call.decode(), "content": "1"})
    return CLIENTS["openai"].request("google", messages=messages, tools=TOOLS)


def call_of(body: bytes) -> bytes:
    id = re.search(rb'"id":"(call_[^"]+)"', body)
    assert id is not None, body
    return id[1]


async def test_t2_the_next_turn_may_reach_another_worker(tmp_path: Path) -> None:
    path, headers = CLIENTS["openai"].path, CLIENTS["openai"].headers
    async with Upstream(signs).running() as upstream:
        async with running(tmp_path, **WIRES["google"].environ(upstream)) as server:
            first, second = server.workers
            for here, there in ((first, second), (second, first)) * 5:
                id = call_of(await (await server.asked(here, "POST", path, turn(), headers)).body())
                assert (await server.asked(there, "POST", path, turn(id), headers)).status == 200
                assert upstream.requests[-1].json["contents"][1]["parts"][0]["thoughtSignature"] == "c2lnbmVk"
            other = {"X-Google-Key": "sk-of-somebody-else"}
            assert (await server.asked(there, "POST", path, turn(id), other)).status == 200
            assert upstream.requests[-1].json["contents"][1]["parts"][0].get("thoughtSignature") != "c2lnbmVk"


async def test_o2_a_locked_database_fails_no_chat_of_a_worker(tmp_path: Path) -> None:
    path, headers = CLIENTS["openai"].path, CLIENTS["openai"].headers
    async with Upstream(signs).running() as upstream:
        async with running(tmp_path, **WIRES["google"].environ(upstream)) as server:
            await (await server.post(path, turn(), headers)).body()
            lock = sqlite3.connect(tmp_path / "data" / FILE, isolation_level=None)
            lock.execute("BEGIN EXCLUSIVE")
            worker = server.workers[0]
            id = call_of(await (await server.asked(worker, "POST", path, turn(), headers)).body())
            lock.execute("ROLLBACK")
            lock.close()
            assert (await server.asked(worker, "POST", path, turn(id), headers)).status == 200
            assert upstream.requests[-1].json["contents"][1]["parts"][0]["thoughtSignature"] == "c2lnbmVk"


async def test_a_server_of_one_process_writes_nothing_of_a_chat_to_the_disk(tmp_path: Path) -> None:
    path, headers, wire = CLIENTS["openai"].path, CLIENTS["openai"].headers, WIRES["google"]
    async with Upstream(signs).running() as upstream:
        async with serving(config(DATA_DIR=str(tmp_path), **wire.environ(upstream))) as server:
            id = call_of(await (await server.post(path, turn(), headers)).body())
            await (await server.post(path, turn(id), headers)).body()
    assert upstream.requests[-1].json["contents"][1]["parts"][0]["thoughtSignature"] == "c2lnbmVk"
    assert not [*tmp_path.iterdir()]
