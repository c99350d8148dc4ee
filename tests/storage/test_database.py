"""The SQLite file: migrations, versions, and two processes that open it at once."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from llm.storage.sqlite.database import FILE_NAME, MIGRATIONS, connect


def test_a_file_of_a_newer_version_is_not_opened(tmp_path: Path) -> None:
    connect(tmp_path).close()
    raw = sqlite3.connect(tmp_path / FILE_NAME)
    raw.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1:d}")
    raw.close()
    with pytest.raises(sqlite3.DatabaseError, match="version"):
        connect(tmp_path)


def test_a_failed_migration_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm.storage.sqlite.database.MIGRATIONS", ("CREATE TABLE a (x)",))
    connect(tmp_path).close()
    two = ("CREATE TABLE a (x)", "CREATE TABLE b (x); CREATE TABLE a (x)")
    monkeypatch.setattr("llm.storage.sqlite.database.MIGRATIONS", two)
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        connect(tmp_path)
    raw = sqlite3.connect(tmp_path / FILE_NAME)
    assert raw.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall() == [("a",)]
    assert raw.execute("PRAGMA user_version").fetchone() == (1,)
    raw.close()
    monkeypatch.setattr("llm.storage.sqlite.database.MIGRATIONS", (two[0], "CREATE TABLE b (x)"))
    connect(tmp_path).close()


def test_opening_a_new_file_waits_for_a_process_that_creates_it(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.1, lambda: other.execute("COMMIT"))
    timer.start()
    connect(tmp_path).close()
    timer.join()
    other.close()
