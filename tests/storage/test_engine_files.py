"""The contract of ``EngineFileStore``."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from llm.errors import StorageFailed
from llm.storage.sqlite.database import FILE_NAME
from llm.storage.sqlite.engine_files import SqliteEngineFiles
from llm.storage.threads import Owner

ME = Owner(frozenset({"me", "my key"}), trusted=True)
ANOTHER = Owner(frozenset({"another"}), trusted=True)


async def test_ids_belong_to_all_names_of_their_owner_at_one_engine(tmp_path: Path) -> None:
    first, second = (SqliteEngineFiles(tmp_path, 60, 100) for _ in range(2))  # two processes
    await first.add(ME, "openai", ["a", "b"])
    await first.add(ANOTHER, "openai", ["c"])
    assert await second.select(ME, "openai", ["a", "b", "c", "d"]) == {"a", "b"}
    assert await second.select(Owner(frozenset({"my key"}), trusted=False), "openai", ["a"]) == {"a"}
    assert await second.select(ME, "groq", ["a"]) == frozenset()
    await second.remove(ME, "openai", "a")
    assert await first.select(ME, "openai", ["a", "b"]) == {"b"}
    await first.close()
    await second.close()


async def test_age_and_number_are_limited(tmp_path: Path) -> None:
    now = [1000.0]
    store = SqliteEngineFiles(tmp_path, 60, 3, lambda: now[0])
    await store.add(ANOTHER, "openai", ["1", "2"])
    await store.add(ANOTHER, "openai", ["3", "4", "5"])
    assert await store.select(ANOTHER, "openai", ["1", "2", "3", "4", "5"]) == {"3", "4", "5"}
    now[0] += 61
    assert await store.select(ANOTHER, "openai", ["3", "4", "5"]) == frozenset()
    await store.add(ANOTHER, "openai", ["6"])
    await store.close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        assert connection.execute("SELECT id FROM engine_file").fetchall() == [("6",)]
        assert b"another" not in (tmp_path / FILE_NAME).read_bytes()
    connection.close()


async def test_a_store_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = SqliteEngineFiles(tmp_path / "file", 60, 3)
    with pytest.raises(StorageFailed):
        await store.add(ME, "openai", ["a"])
    with pytest.raises(StorageFailed):
        await store.select(ME, "openai", ["a"])
    await store.close()
