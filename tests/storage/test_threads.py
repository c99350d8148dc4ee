"""Threads in the running server: saved, owned and continued, and failures of the disk."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from llm.chat.messages import Message, Text
from llm.storage.sqlite.database import FILE_NAME
from llm.storage.sqlite.threads import UNUSED_AGE, SqliteThreads
from llm.storage.threads import Owner
from tests.support.harness import CLIENT, CLIENT_ID, Client, Connection, Request, Upstream, make_config, run_server
from tests.support.threads import NDJSON, create_thread, read_thread, read_thread_state
from tests.support.tool_rounds import SIGNED, TOOLS, make_round, make_upstream
from tests.support.wires import WIRES, _chunk, _sse

OTHER = {"X-ClientId": "another-client-id"}
IDS = f"{CLIENT_ID},another-client-id"


async def demo(server: Client, id: str, prompt: str = "Hello", **body: Any) -> list[Any]:
    return await server.chat(NDJSON, engine="demo", model="demo-chat", thread=id, prompt=prompt, **body)


async def test_a_thread_saves_the_exchange_and_continues(tmp_path: Path) -> None:
    async def script(request: Request, connection: Connection) -> None:
        if not request.json.get("stream"):
            await connection.respond(WIRES["openai"].whole("Two."))
            return
        await connection.stream()
        await connection.chunk(make_round("openai", "One.", []))
        await connection.end()

    upstream = Upstream(script)
    png = {"mimeType": "image/png", "contents": "iVBORw0KGgo="}
    notes = {"mimeType": "text/markdown", "contents": "# Notes", "title": "notes.md"}
    async with (
        upstream.run(),
        run_server(make_config(**WIRES["openai"].environ(upstream, DATA_DIR=str(tmp_path)))) as s,
    ):
        id = await create_thread(s)
        assert await read_thread(s, id) == []
        body = {"engine": "openai", "model": "gpt-4o", "thread": id}
        first = await s.chat(NDJSON, **body, prompt="A", attachments=[png, notes])
        assert read_thread_state(first) == {"id": id, "saved": True}
        answer = await s.post("/llm/chat", {**body, "prompt": "B", "stream": False, "messages": []})
        whole = await answer.json()
        assert whole["content"] == "Two." and whole["thread"] == {"id": id, "saved": True}
        assert await read_thread(s, id) == [
            {"role": "user", "content": "A", "attachments": [png, notes]},
            {"role": "assistant", "content": "One."},
            {"role": "user", "content": "B"},
            {"role": "assistant", "content": "Two."},
        ]
    system, *rest = upstream.requests[1].json["messages"]
    assert system["role"] == "system" and [m["role"] for m in rest] == ["user", "assistant", "user"]
    assert rest[0] == upstream.requests[0].json["messages"][1]  # exactly as in the first request
    assert rest[1:] == [{"role": "assistant", "content": "One."}, {"role": "user", "content": "B"}]


@pytest.mark.parametrize("other", ["openai", "responses", "anthropic", "google", "ollama"])
@pytest.mark.parametrize("wire", ["anthropic", "google", "responses"])
async def test_tool_rounds_and_signatures_continue_with_the_same_or_another_engine(
    wire: str, other: str, tmp_path: Path
) -> None:
    rounds = [make_round(wire, "Let me see.", [("double", '{"n": 4}'), ("shop", "{}")]), make_round(wire, "Eight.", [])]
    first, second = make_upstream(wire, rounds), make_upstream(other, [make_round(other, "Yes.", [])])
    mine = {"DATA_DIR": str(tmp_path)}
    async with first.run(), second.run():
        async with run_server(make_config(**WIRES[wire].environ(first, **mine)), tools=TOOLS) as s:
            id = await create_thread(s)
            body = {"engine": WIRES[wire].engine, "model": "m", "thread": id, "prompt": "Twice four?"}
            assert read_thread_state(await s.chat(NDJSON, **body))["saved"]
        async with run_server(make_config(**WIRES[other].environ(second, **mine))) as s:  # after a restart
            question, answer = await read_thread(s, id)
            body = {"engine": WIRES[other].engine, "model": "m", "thread": id, "prompt": "Sure?"}
            assert read_thread_state(await s.chat(NDJSON, **body))["saved"]
    assert question == {"role": "user", "content": "Twice four?"}
    assert answer["content"] == "Let me see.Eight." and ("reasoning" in answer) == (wire == "anthropic")
    assert [(call["name"], call["params"]) for call in answer["toolCalls"]] == [("double", {"n": 4}), ("shop", {})]
    assert [call["result"] for call in answer["toolCalls"]] == [{"double": 8}, {"error": "The shop is closed."}]
    sent = second.requests[0].body.decode()
    assert "The shop is closed." in sent and "Eight." in sent
    assert (SIGNED in sent) == (wire == other)
    if wire == other:  # the third request repeats the second one and adds the prompt
        earlier = {name: first.requests[1].json.get(name) for name in ("messages", "contents", "input")}
        again = {name: second.requests[0].json.get(name) for name in earlier}
        for name, messages in earlier.items():
            start = 0 if name == "contents" or wire == "anthropic" else 1  # the system prompt has the time
            assert messages is None or again[name][start : len(messages)] == messages[start:]


async def test_a_call_without_a_result_gets_one_when_the_thread_continues(tmp_path: Path) -> None:
    upstream = make_upstream(
        "openai", [make_round("openai", "Hm.", [("unknown", "{}")]), make_round("openai", "Ah.", [])]
    )
    async with (
        upstream.run(),
        run_server(make_config(**WIRES["openai"].environ(upstream, DATA_DIR=str(tmp_path)))) as s,
    ):
        id = await create_thread(s)
        for prompt in ("A", "B"):
            await s.chat(NDJSON, engine="openai", model="gpt-4o", thread=id, prompt=prompt)
    roles = [message["role"] for message in upstream.requests[1].json["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "user"]


async def test_a_failed_or_cancelled_answer_leaves_the_thread_as_it_was(tmp_path: Path) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.stream()
        await connection.chunk(_chunk({"role": "assistant", "content": "Half"}))
        if request.json["messages"][-1]["content"] == "cut":
            connection.cut()
        elif request.json["messages"][-1]["content"] == "error":
            await connection.chunk(_sse({"error": {"message": "broke", "type": "server_error"}}))
            await connection.end()
        else:
            await connection.wait_closed()

    upstream = Upstream(script)
    async with (
        upstream.run(),
        run_server(make_config(**WIRES["openai"].environ(upstream, DATA_DIR=str(tmp_path)))) as s,
    ):
        id = await create_thread(s)
        body = {"engine": "openai", "model": "gpt-4o", "thread": id}
        for prompt in ("cut", "error"):
            objects = await s.chat(NDJSON, **body, prompt=prompt)
            assert objects[-1]["type"] == "error" and not any(o["type"] == "content" and o["done"] for o in objects)
        leaving = await s.send("POST", "/llm/chat", {**body, "prompt": "leave"}, {**CLIENT, **NDJSON})
        await leaving.head()
        await anext(leaving.chunks())
        leaving.close()
        stopped = await s.send("POST", "/llm/chat", {**body, "prompt": "stop"}, {**CLIENT, "X-Request-Id": "stop-me-1"})
        await stopped.head()
        await anext(stopped.chunks())
        assert (await s.request("DELETE", "/llm/chat/stop-me-1")).status == 204
        await stopped.body()
        while len(s.server.context.active):
            await asyncio.sleep(0.01)
        assert await read_thread(s, id) == []


async def test_concurrent_chats_on_one_thread_lose_nothing(tmp_path: Path) -> None:
    async with run_server(make_config(DATA_DIR=str(tmp_path))) as s:
        id = await create_thread(s)
        ends = await asyncio.gather(*(demo(s, id, f"Question {n}") for n in range(20)))
        assert all(read_thread_state(objects)["saved"] for objects in ends)
        messages = await read_thread(s, id)
    assert [message["role"] for message in messages] == ["user", "assistant"] * 20
    assert {message["content"] for message in messages[::2]} == {f"Question {n}" for n in range(20)}


async def test_two_servers_on_one_file_lose_nothing(tmp_path: Path) -> None:
    async with (
        run_server(make_config(DATA_DIR=str(tmp_path))) as one,
        run_server(make_config(DATA_DIR=str(tmp_path))) as two,
    ):
        id = await create_thread(one)
        await asyncio.gather(*(demo(server, id, f"{n}") for n in range(10) for server in (one, two)))
        assert len(await read_thread(two, id)) == 40


async def test_threads_are_listed_renamed_and_deleted_by_their_owner(tmp_path: Path) -> None:
    async with run_server(make_config(DATA_DIR=str(tmp_path), AUTHORIZED_CLIENT_ID=IDS)) as s:
        ids = [await create_thread(s, title=f"T{n}") for n in range(3)]
        await demo(s, ids[0])
        listed = (await (await s.get("/thread")).json())["threads"]
        assert [(t["id"], t["title"], t["messages"]) for t in listed] == [
            (ids[0], "T0", 2),
            (ids[2], "T2", 0),
            (ids[1], "T1", 0),
        ]
        page = (await (await s.get("/thread?limit=2")).json())["threads"]
        rest = (await (await s.get(f"/thread?limit=2&after={page[-1]['id']}")).json())["threads"]
        assert page + rest == listed
        renamed = await s.request("PATCH", f"/thread/{ids[1]}", {"title": "Better"})
        assert (await renamed.json())["title"] == "Better"
        for headers, method, path, body, status in (
            (OTHER, "GET", f"/thread/{ids[0]}", None, 404),
            (OTHER, "PATCH", f"/thread/{ids[0]}", {"title": "x"}, 404),
            (OTHER, "DELETE", f"/thread/{ids[0]}", None, 404),
            (CLIENT, "DELETE", f"/thread/{ids[0]}", None, 204),
            (CLIENT, "DELETE", f"/thread/{ids[0]}", None, 404),
            (CLIENT, "GET", f"/thread/{ids[0]}", None, 404),
            (CLIENT, "GET", "/thread?limit=0", None, 400),
            (CLIENT, "GET", "/thread?limit=%C2%B2", None, 400),
            (CLIENT, "PATCH", f"/thread/{ids[1]}", {}, 400),
            (CLIENT, "PUT", "/thread", {"title": 5}, 400),
        ):
            assert (await s.request(method, path, body, headers)).status == status, (method, path)
        assert (await (await s.get("/thread", OTHER)).json())["threads"] == []
        other = await s.post(
            "/llm/chat", {"engine": "demo", "model": "demo-chat", "prompt": "x", "thread": ids[1]}, OTHER
        )
        assert other.status == 404
        assert await other.json() == {"error": f"Conversation {ids[1]} not found", "code": "not_found"}


async def test_a_title_that_cannot_be_stored_is_refused_without_failing_other_writes(tmp_path: Path) -> None:
    async with run_server(make_config(DATA_DIR=str(tmp_path))) as s:
        put = [{"title": "half \ud83d"}, {"title": "whole 🦊"}]
        refused, made = await asyncio.gather(*(s.request("PUT", "/thread", one) for one in put))
        answer = await refused.json()
        assert (refused.status, answer["param"], made.status) == (400, "title", 200)


async def test_a_thread_belongs_to_the_provider_keys_that_created_it(tmp_path: Path) -> None:
    async with run_server(make_config(DATA_DIR=str(tmp_path))) as s:
        mine, theirs = {"X-OpenAI-Key": "sk-mine-canary"}, {"X-OpenAI-Key": "sk-theirs"}
        id = await create_thread(s, {**mine, "X-Anthropic-Key": "sk-ant-canary"})
        assert await read_thread(s, id, mine) == [] == await read_thread(s, id, {"X-Anthropic-Key": "sk-ant-canary"})
        assert await read_thread(s, id, theirs) == 404 == await read_thread(s, id, CLIENT)
        inside = await s.request("GET", f"/thread/{id}", {"openaiKey": "sk-mine-canary"}, {})
        assert inside.status == 200
    raw = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"canary" not in raw and (tmp_path / FILE_NAME).stat().st_mode & 0o77 == 0


async def test_o2_a_locked_database_stops_no_chat_and_is_reported(tmp_path: Path) -> None:
    async with run_server(make_config(DATA_DIR=str(tmp_path))) as s:
        id = await create_thread(s)
        await demo(s, id)
        lock = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
        try:
            ends = await asyncio.wait_for(asyncio.gather(*(demo(s, id, "More") for _ in range(10))), 15)
            made = await s.request("PUT", "/thread")
            assert made.status == 503 and (await made.json())["code"] == "storage_failed"
        finally:
            lock.execute("ROLLBACK")
            lock.close()
        for objects in ends:
            thread = read_thread_state(objects)
            assert (thread["saved"], thread["code"]) == (False, "storage_failed") and "locked" in thread["error"]
        assert s.server.context.threads.failed_appends == 10
        assert len(await read_thread(s, id)) == 2
        assert read_thread_state(await demo(s, id))["saved"] and len(await read_thread(s, id)) == 4


async def test_o2_a_full_disk_stops_no_chat_and_is_reported(tmp_path: Path) -> None:
    async with run_server(make_config(DATA_DIR=str(tmp_path))) as s:
        id = await create_thread(s)

        def full(connection: sqlite3.Connection) -> None:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages:d}")

        threads = s.server.context.threads
        assert isinstance(threads, SqliteThreads)
        await threads._writer.run(full)
        thread = read_thread_state(await demo(s, id, "x" * 15_000))
        assert (thread["saved"], thread["code"]) == (False, "storage_failed") and "full" in thread["error"]
        assert await read_thread(s, id) == []


async def test_o2_a_folder_that_cannot_be_created_stops_no_chat_without_a_thread(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    async with run_server(make_config(DATA_DIR=str(tmp_path / "file" / "data"))) as s:
        objects = await s.chat(NDJSON, engine="demo", model="demo-chat")
        assert objects[-1]["type"] == "usage"
        failed = await s.request("PUT", "/thread")
        assert failed.status == 503 and failed.headers["Retry-After"] == "1"
        assert str(tmp_path) not in (await failed.body()).decode()


async def test_a_thread_that_is_deleted_or_full_fails_no_answer(tmp_path: Path) -> None:
    async with run_server(make_config(DATA_DIR=str(tmp_path), THREAD_MAX_SIZE="2KB")) as s:
        id = await create_thread(s)
        thread = read_thread_state(await demo(s, id, "x" * 3000))
        assert (thread["saved"], thread["code"]) == (False, "thread_full") and "THREAD_MAX_SIZE" in thread["error"]
        assert await read_thread(s, id) == []
        threads, owner = s.server.context.threads, Owner(frozenset({"me"}), trusted=True)
        info = await threads.create(owner)
        await threads.delete(info.id, owner)
        results = await asyncio.gather(
            threads.append(info.id, owner, [Message("user", (Text("x"),))]),
            threads.create(owner),
            return_exceptions=True,
        )
        assert [getattr(result, "code", None) for result in results] == ["not_found", None]  # one transaction of both


async def test_threads_without_messages_are_deleted(tmp_path: Path) -> None:
    now = 1e9
    threads, owner = SqliteThreads(tmp_path, 1 << 20, clock=lambda: now), Owner(frozenset({"me"}), trusted=True)
    used, unused = await threads.create(owner), await threads.create(owner)
    await threads.append(used.id, owner, [Message("user", (Text("x"),))])
    now += UNUSED_AGE + 1
    fresh = await threads.create(owner)
    assert {info.id for info in await threads.list_page(owner, 10)} == {used.id, fresh.id} != {unused.id}
    await threads.close()


# --- the older server's table, and versions ---

OLDER = [
    {"role": "system", "content": "You are…"},
    {"role": "user", "content": "Look", "attachments": [{"mimeType": "image/png", "content": "iVBORw0KGgo="}]},
    {"role": "assistant", "content": "A cat.", "reasoning": "Whiskers.", "toolCalls": [], "attachments": []},
    {"role": "user", "content": "And this?", "attachment": {"mimeType": "application/zip", "content": "UEs="}},
    {"role": "assistant", "content": None},
    "junk",
]


async def test_threads_of_the_older_server_belong_to_the_first_client_id_that_uses_them(tmp_path: Path) -> None:
    older = sqlite3.connect(tmp_path / FILE_NAME)
    older.execute("CREATE TABLE threads (id TEXT PRIMARY KEY, messages TEXT)")
    rows = [("old-1", json.dumps(OLDER)), ("old-2", "[]"), ("old-3", "{broken")]
    older.executemany("INSERT INTO threads VALUES (?, ?)", rows)
    older.commit()
    older.close()
    async with run_server(make_config(DATA_DIR=str(tmp_path), AUTHORIZED_CLIENT_ID=IDS)) as s:
        assert await read_thread(s, "old-1", {"X-OpenAI-Key": "sk-x"}) == 404
        png = {"mimeType": "image/png", "contents": "iVBORw0KGgo="}
        expected = [
            {"role": "user", "content": "Look", "attachments": [png]},
            {"role": "assistant", "content": "A cat.", "reasoning": "Whiskers."},
            {"role": "user", "content": "And this?"},
        ]
        assert await read_thread(s, "old-1") == expected
        assert await read_thread(s, "old-1", OTHER) == 404
        assert read_thread_state(await demo(s, "old-1"))["saved"] and len(await read_thread(s, "old-1")) == 5
        assert await read_thread(s, "old-3") == 503
        assert (await s.request("DELETE", "/thread/old-2")).status == 204
        assert await read_thread(s, "old-2") == 404
    left = sqlite3.connect(tmp_path / FILE_NAME).execute("SELECT id FROM threads ORDER BY id").fetchall()
    assert left == [
        ("old-1",),
        ("old-3",),
    ]  # rows that were not deleted are unchanged, so that the older server can read them
