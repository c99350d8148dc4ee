"""Signatures shared by workers in the SQLite file: limited, and never failing or delaying a chat."""

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
from llm.chat.provider_metadata import ProviderMetadata
from llm.chat.request import ChatRequest
from llm.gateway.signature_cache import CachedSignatures, SignatureCache, SignatureRecorder
from llm.storage.sqlite.database import FILE_NAME, transaction
from llm.storage.sqlite.signatures import SqliteSignatures
from tests.support.harness import Connection, Request, Upstream, make_config, run_server
from tests.support.wires import CLIENTS, WIRES, _sse
from tests.support.workers import run_workers

KEEP = (ProviderMetadata("gemini", "google", {"thoughtSignature": "c2lnbmVk \ud83d"}),)
SIGNED = (ProviderMetadata("anthropic", "anthropic", {"signature": "s"}),)


@contextmanager
def open_stores(
    folder: Path, count: int = 2, size: int = 10**6, clock: Callable[[], float] = time.time
) -> Iterator[list[SqliteSignatures]]:
    stores = [SqliteSignatures(folder, 60, size, clock) for _ in range(count)]
    try:
        yield stores
    finally:
        for store in stores:
            store.close()


def request_with(*parts: Part) -> ChatRequest:
    return ChatRequest(model="m", messages=(Message("user", (Text("Go"),)), Message("assistant", parts)))


async def test_t2_another_worker_restores_the_signatures_of_the_owner_s_calls(tmp_path: Path) -> None:
    with open_stores(tmp_path) as [one, other]:
        first_cache, second_cache = SignatureCache(one), SignatureCache(other)
        recorder = SignatureRecorder(first_cache, "me")
        batches: list[list[Event]] = [
            [ReasoningDelta(0, "I see."), PartEnded(0, SIGNED), ToolCallStarted(1, "c1", "f"), PartEnded(1, KEEP)],
            [ToolCallStarted(2, "\ud83d", "f"), PartEnded(2, KEEP), ToolCallStarted(3, "c3", "f"), PartEnded(3)],
        ]
        for batch in batches:
            recorder.feed(batch)
            await recorder.share()
        bare = request_with(ToolCall("c1", "f"), ToolCall("\ud83d", "f"), ToolCall("c3", "f"))
        for cache in (first_cache, second_cache):
            await cache.fetch("me", bare)
            assert cache.restore("me", bare).messages[1].parts == (
                Reasoning("I see.", SIGNED),
                ToolCall("c1", "f", metadata=KEEP),
                ToolCall("\ud83d", "f", metadata=KEEP),
                ToolCall("c3", "f"),
            )
            await cache.fetch("you", bare)
            assert cache.restore("you", bare) == bare
    raw = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"c2lnbmVk" in raw and (tmp_path / FILE_NAME).stat().st_mode & 0o77 == 0


async def test_a_thousand_calls_are_found_in_one_request(tmp_path: Path) -> None:
    with open_stores(tmp_path) as [one, other]:
        ids = [f"c{n}" for n in range(1200)]
        await one.put("me", dict.fromkeys(ids, "x"))
        assert await other.get("me", [*ids, "c-none"]) == dict.fromkeys(ids, "x")


async def test_old_values_are_not_found_and_are_deleted_from_the_file(tmp_path: Path) -> None:
    now = 1000.0
    with open_stores(tmp_path, clock=lambda: now) as [one, other]:
        await one.put("me", {"c1": "first"})
        now = 1060.0
        assert await other.get("me", ["c1"]) == {"c1": "first"}
        now = 1061.0
        assert await other.get("me", ["c1"]) == {}
        await other.put("me", {"c2": "second"})  # the first write of a worker, and each hundredth, cleans up
    with sqlite3.connect(tmp_path / FILE_NAME) as raw:
        assert raw.execute("SELECT value FROM memo").fetchall() == [("second",)]
    raw.close()


async def test_the_oldest_are_deleted_beyond_the_total_size(tmp_path: Path) -> None:
    with open_stores(tmp_path, size=1000) as [one, other]:
        for n in range(150):
            await one.put("me", {f"c{n}": "x" * 100})
        await one.put("me", {"c0": "x" * 100})  # stored again, it is the newest
        await other.put("me", {"last": "x" * 100})
        assert {*await one.get("me", [f"c{n}" for n in range(150)])} == {"c0", *(f"c{n}" for n in range(142, 150))}


async def test_o2_a_locked_database_is_tried_once_and_then_not_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm.storage.sqlite.best_effort.CALL_TIMEOUT", 0.2)
    monkeypatch.setattr("llm.storage.sqlite.best_effort.FAILURE_PAUSE", 0.5)
    with open_stores(tmp_path) as [one, other]:
        await one.put("me", {"c1": "first"})
        tried: list[sqlite3.Connection] = []

        def counted(connection: sqlite3.Connection) -> AbstractContextManager[None]:
            tried.append(connection)
            return transaction(connection)

        monkeypatch.setattr("llm.storage.sqlite.signatures.transaction", counted)
        lock = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
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


async def test_o2_a_folder_that_cannot_be_created_fails_no_call(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with open_stores(tmp_path / "file" / "data", 1) as [store]:
        cache = SignatureCache(store)
        cache.put("me", "c1", CachedSignatures(KEEP))
        await cache.share("me", {"c1": CachedSignatures(KEEP)})
        await cache.fetch("me", request_with(ToolCall("c2", "f")))
        assert cache.get("me", "c1").metadata == KEEP
        assert cache.get("me", "c2") == CachedSignatures()


async def test_unknown_values_of_another_version_are_ignored(tmp_path: Path) -> None:
    with open_stores(tmp_path, 1) as [store]:
        await store.put("me", {"c1": '{"role": "assistant", "parts": [{"type": "novel"}]}', "c2": "[]", "c3": "{"})
        cache = SignatureCache(store)
        bare = request_with(*(ToolCall(f"c{n}", "f") for n in (1, 2, 3)))
        await cache.fetch("me", bare)
        assert cache.restore("me", bare) == bare


TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


async def answer_signed_call(request: Request, connection: Connection) -> None:
    """A provider that calls a tool and signs the call."""
    call = {"functionCall": {"name": "f", "args": {"n": 1}}, "thoughtSignature": "c2lnbmVk"}
    await connection.stream(WIRES["google"].content_type)
    await connection.chunk(
        _sse({"candidates": [{"content": {"role": "model", "parts": [call]}, "finishReason": "STOP"}]})
    )
    await connection.end()


def next_request(call: bytes = b"") -> dict[str, Any]:
    """Returns the first request of a client that drops unknown fields, or the next one with the result of ``call``."""
    messages: list[Any] = [{"role": "user", "content": "Go"}]
    if call:
        tool_call = {"id": call.decode(), "type": "function", "function": {"name": "f", "arguments": "{}"}}
        messages.append({"role": "assistant", "tool_calls": [tool_call]})
        messages.append({"role": "tool", "tool_call_id": call.decode(), "content": "1"})
    return CLIENTS["openai"].request("google", messages=messages, tools=TOOLS)


def call_of(body: bytes) -> bytes:
    id = re.search(rb'"id":"(call_[^"]+)"', body)
    assert id is not None, body
    return id[1]


async def test_t2_the_next_request_may_reach_another_worker(tmp_path: Path) -> None:
    path, headers = CLIENTS["openai"].path, CLIENTS["openai"].headers
    async with Upstream(answer_signed_call).run() as upstream:
        async with run_workers(tmp_path, **WIRES["google"].environ(upstream), OWN_KEYS="true") as server:
            first, second = server.workers
            for one, other in ((first, second), (second, first)) * 5:
                id = call_of(await (await server.request_to(one, "POST", path, next_request(), headers)).body())
                assert (await server.request_to(other, "POST", path, next_request(id), headers)).status == 200
                assert upstream.requests[-1].json["contents"][1]["parts"][0]["thoughtSignature"] == "c2lnbmVk"
            another_key = {"X-Google-Key": "sk-of-somebody-else"}
            assert (await server.request_to(other, "POST", path, next_request(id), another_key)).status == 200
            assert upstream.requests[-1].json["contents"][1]["parts"][0].get("thoughtSignature") != "c2lnbmVk"


async def test_o2_a_locked_database_fails_no_chat(tmp_path: Path) -> None:
    path, headers = CLIENTS["openai"].path, CLIENTS["openai"].headers
    async with Upstream(answer_signed_call).run() as upstream:
        async with run_workers(tmp_path, **WIRES["google"].environ(upstream)) as server:
            await (await server.post(path, next_request(), headers)).body()
            lock = sqlite3.connect(tmp_path / "data" / FILE_NAME, isolation_level=None)
            lock.execute("BEGIN EXCLUSIVE")
            worker = server.workers[0]
            id = call_of(await (await server.request_to(worker, "POST", path, next_request(), headers)).body())
            lock.execute("ROLLBACK")
            lock.close()
            assert (await server.request_to(worker, "POST", path, next_request(id), headers)).status == 200
            assert upstream.requests[-1].json["contents"][1]["parts"][0]["thoughtSignature"] == "c2lnbmVk"


async def test_a_server_with_one_process_writes_no_file(tmp_path: Path) -> None:
    path, headers, wire = CLIENTS["openai"].path, CLIENTS["openai"].headers, WIRES["google"]
    async with Upstream(answer_signed_call).run() as upstream:
        async with run_server(make_config(DATA_DIR=str(tmp_path), **wire.environ(upstream))) as server:
            id = call_of(await (await server.post(path, next_request(), headers)).body())
            await (await server.post(path, next_request(id), headers)).body()
    assert upstream.requests[-1].json["contents"][1]["parts"][0]["thoughtSignature"] == "c2lnbmVk"
    assert not [*tmp_path.iterdir()]
