"""Answers kept for repeated requests, shared by processes in the SQLite file, limited in age and size."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llm.storage.answers import LEASE, KeptAnswer, RequestName
from llm.storage.sqlite.answers import SqliteAnswers
from llm.storage.sqlite.database import FILE_NAME

NAME = RequestName("me", "/v1/messages", "k")
ANSWER = KeptAnswer(200, {"Content-Type": "text/plain"}, b"\x00hello\xff")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def open_stores(folder: Path, clock: Clock, size: int = 10**6) -> Iterator[list[SqliteAnswers]]:
    stores = [SqliteAnswers(folder, 60, size, clock) for _ in range(2)]
    try:
        yield stores
    finally:
        for store in stores:
            store.close()


def count_rows(folder: Path) -> int:
    with sqlite3.connect(folder / FILE_NAME) as connection:
        count: int = connection.execute("SELECT COUNT(*) FROM answer").fetchone()[0]
    connection.close()
    return count


async def test_an_answer_is_claimed_once_and_kept_for_all_processes(tmp_path: Path) -> None:
    with open_stores(tmp_path, Clock()) as [one, other]:
        assert await one.claim(NAME, b"a", "h1") == "mine"
        assert await other.claim(NAME, b"a", "h2") == await one.claim(NAME, b"a", "h3") == "running"
        assert await other.claim(NAME, b"b", "h4") == "other"
        await one.keep("h1", ANSWER)
        assert await other.claim(NAME, b"a", "h5") == await one.claim(NAME, b"a", "h6") == ANSWER
        assert await other.claim(NAME, b"b", "h7") == "other"


@pytest.mark.parametrize(
    "name", [RequestName("you", "/v1/messages", "k"), RequestName("me", "/v1/x", "k"), RequestName("me", "/v1/messages", "l")]
)  # fmt: skip
async def test_caller_path_and_key_belong_to_the_name(tmp_path: Path, name: RequestName) -> None:
    with open_stores(tmp_path, Clock()) as [one, other]:
        assert await one.claim(NAME, b"a", "h1") == "mine"
        await one.keep("h1", ANSWER)
        assert await other.claim(name, b"a", "h2") == "mine"


async def test_a_dropped_claim_is_free_and_a_kept_one_is_not_dropped(tmp_path: Path) -> None:
    with open_stores(tmp_path, Clock()) as [one, other]:
        await one.claim(NAME, b"a", "h1")
        await one.drop("h1")
        assert await other.claim(NAME, b"b", "h2") == "mine"
        await other.keep("h2", ANSWER)
        await other.drop("h2")
        assert await one.claim(NAME, b"b", "h3") == ANSWER


async def test_the_claim_of_a_process_that_was_killed_is_free_after_a_while(tmp_path: Path) -> None:
    clock = Clock()
    with open_stores(tmp_path, clock) as [one, other]:
        await one.claim(NAME, b"a", "h1")
        clock.now += LEASE - 1
        await one.renew(["h1"])
        clock.now += LEASE - 1
        assert await other.claim(NAME, b"a", "h2") == "running"
        clock.now += 2
        assert await other.claim(NAME, b"a", "h3") == "mine"
        await one.keep("h1", ANSWER)  # too late: the name belongs to another holder
        assert await one.claim(NAME, b"a", "h4") == "running"


async def test_answers_are_deleted_at_their_age(tmp_path: Path) -> None:
    clock = Clock()
    with open_stores(tmp_path, clock) as [one, other]:
        await one.claim(NAME, b"a", "h1")
        await one.keep("h1", ANSWER)
        clock.now += 59
        assert await other.claim(NAME, b"a", "h2") == ANSWER
        clock.now += 2
        await other.prune()
        assert count_rows(tmp_path) == 0
        assert await other.claim(NAME, b"b", "h3") == "mine"


async def test_all_answers_together_have_a_limit(tmp_path: Path) -> None:
    with open_stores(tmp_path, Clock(), size=1000) as [one, _]:
        for number in range(20):
            await one.claim(RequestName("me", "/", str(number)), b"a", f"h{number}")
            await one.keep(f"h{number}", KeptAnswer(200, {}, b"x" * 100))
        assert count_rows(tmp_path) == 10
        assert isinstance(await one.claim(RequestName("me", "/", "19"), b"a", "h"), KeptAnswer)
        assert await one.claim(RequestName("me", "/", "0"), b"a", "h") == "mine"


async def test_a_store_that_fails_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with open_stores(tmp_path / "file", Clock()) as [one, _]:
        assert await one.claim(NAME, b"a", "h1") == "unknown"
        await one.keep("h1", ANSWER)


async def test_the_file_names_no_caller_and_no_key(tmp_path: Path) -> None:
    with open_stores(tmp_path, Clock()) as [one, _]:
        await one.claim(RequestName("owner-canary", "/path-canary", "key-canary"), b"a", "h1")
    for path in tmp_path.iterdir():
        assert b"canary" not in path.read_bytes()
