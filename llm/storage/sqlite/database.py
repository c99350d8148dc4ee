"""The SQLite file of this server: how it is opened, and how its tables came to be what they are.

Several processes may have it open. A version that is newer than this program's is left alone.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

FILE: Final = "database.sqlite"  # the older server's name for it
PATIENCE: Final = 2.0  # seconds to wait for another process's transaction

# One script for each version, in order; ``PRAGMA user_version`` says how many a file has had. None is ever changed.
# The older server's table ``threads`` (id, messages: a JSON array) may be in the file; it is read and left as it is.
MIGRATIONS: Final = (
    """
    CREATE TABLE secret (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    INSERT INTO secret VALUES ('owner', randomblob(32));
    CREATE TABLE thread (
        id TEXT PRIMARY KEY,
        title TEXT NOT NULL DEFAULT '',
        created REAL NOT NULL,
        updated REAL NOT NULL,
        messages INTEGER NOT NULL DEFAULT 0,
        size INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
    CREATE INDEX thread_unused ON thread (created) WHERE messages = 0;
    CREATE TABLE thread_owner (
        owner BLOB NOT NULL,
        thread TEXT NOT NULL REFERENCES thread ON DELETE CASCADE,
        PRIMARY KEY (owner, thread)
    ) WITHOUT ROWID;
    CREATE INDEX thread_owner_thread ON thread_owner (thread);
    CREATE TABLE message (
        thread TEXT NOT NULL REFERENCES thread ON DELETE CASCADE,
        number INTEGER NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (thread, number)
    );
    """,
    """
    CREATE TABLE memo (
        number INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        since REAL NOT NULL,
        size INTEGER NOT NULL,
        value TEXT NOT NULL
    );
    """,
)


class NewerDatabase(sqlite3.DatabaseError):
    """The file was written by a newer version of this program."""


def connect(folder: Path) -> sqlite3.Connection:
    """Opens the file, which is made if it is missing, and brings it up to date. Raises ``sqlite3.Error``, ``OSError``.

    The connection may be handed from thread to thread; transactions are begun by hand (:func:`transaction`).
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / FILE
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # what SQLite makes may be read by others
    connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        _check_version(connection)
        _share(connection)
        connection.execute("PRAGMA synchronous = FULL")  # what a client was told is kept even if the power fails
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # who deletes a thread means it
        _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _share(connection: sqlite3.Connection) -> None:
    """A journal that lets one write while others read. SQLite does not wait for another who does this to a new file."""
    last = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > last:
                raise
            time.sleep(0.01)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; waits for another writer at most ``PATIENCE``."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk may have rolled it back already
            connection.execute("ROLLBACK")
        raise


def secret(connection: sqlite3.Connection, name: str) -> bytes:
    """Random bytes that are the same for as long as the file lives."""
    value: bytes = connection.execute("SELECT value FROM secret WHERE name = ?", (name,)).fetchone()[0]
    return value


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _check_version(connection: sqlite3.Connection) -> None:
    version = _version(connection)
    if version > len(MIGRATIONS):
        raise NewerDatabase(f"{FILE} has version {version}; this program knows versions up to {len(MIGRATIONS)}")


def _migrate(connection: sqlite3.Connection) -> None:
    if _version(connection) == len(MIGRATIONS):
        return
    with transaction(connection):
        for number in range(_version(connection), len(MIGRATIONS)):  # asked again: another process may have done it
            for statement in MIGRATIONS[number].split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number + 1:d}")
