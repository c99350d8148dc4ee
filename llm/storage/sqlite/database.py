"""The SQLite file of this server: connections, transactions and migrations.

Several processes may have it open. A file of a newer version of this program is not opened.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

FILE_NAME: Final = "database.sqlite"  # the same as the older server's
LOCK_TIMEOUT: Final = 2.0  # seconds to wait for the lock of another process

# One script for each version, in order; ``PRAGMA user_version`` is the number of scripts applied. Never change one.
# The older server's table ``threads`` (id, messages: a JSON array) may be in the file; only deletes change it.
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
    """
    CREATE TABLE response (
        number INTEGER PRIMARY KEY,
        id TEXT,
        engine TEXT NOT NULL,
        kept_by_engine INTEGER NOT NULL,
        background INTEGER NOT NULL,
        status TEXT NOT NULL,
        since REAL NOT NULL,
        updated REAL NOT NULL,
        size INTEGER NOT NULL,
        value TEXT NOT NULL
    );
    CREATE INDEX response_id ON response (id);
    CREATE INDEX response_since ON response (since);
    CREATE TABLE response_owner (
        owner BLOB NOT NULL,
        response INTEGER NOT NULL REFERENCES response ON DELETE CASCADE,
        PRIMARY KEY (owner, response)
    ) WITHOUT ROWID;
    CREATE INDEX response_owner_response ON response_owner (response);
    CREATE TABLE response_item (
        number INTEGER PRIMARY KEY,
        digest BLOB NOT NULL UNIQUE,
        id TEXT,
        size INTEGER NOT NULL,
        value TEXT NOT NULL
    );
    CREATE INDEX response_item_id ON response_item (id);
    CREATE TABLE response_use (
        response INTEGER NOT NULL REFERENCES response ON DELETE CASCADE,
        position INTEGER NOT NULL,
        item INTEGER NOT NULL,
        is_output INTEGER NOT NULL,
        PRIMARY KEY (response, position)
    ) WITHOUT ROWID;
    CREATE INDEX response_use_item ON response_use (item);
    CREATE TABLE response_event (
        response INTEGER NOT NULL REFERENCES response ON DELETE CASCADE,
        number INTEGER NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (response, number)
    );
    CREATE TABLE response_total (size INTEGER NOT NULL);
    INSERT INTO response_total VALUES (0);
    CREATE TRIGGER response_added AFTER INSERT ON response BEGIN
        UPDATE response_total SET size = size + NEW.size; END;
    CREATE TRIGGER response_changed AFTER UPDATE OF size ON response BEGIN
        UPDATE response_total SET size = size + NEW.size - OLD.size; END;
    CREATE TRIGGER response_deleted AFTER DELETE ON response BEGIN
        UPDATE response_total SET size = size - OLD.size; END;
    CREATE TRIGGER response_item_added AFTER INSERT ON response_item BEGIN
        UPDATE response_total SET size = size + NEW.size; END;
    CREATE TRIGGER response_item_deleted AFTER DELETE ON response_item BEGIN
        UPDATE response_total SET size = size - OLD.size; END;
    CREATE TRIGGER response_use_deleted AFTER DELETE ON response_use BEGIN
        DELETE FROM response_item
        WHERE number = OLD.item AND NOT EXISTS (SELECT 1 FROM response_use WHERE item = OLD.item); END;
    """,
    """
    CREATE TABLE engine_file (
        number INTEGER PRIMARY KEY,
        owner BLOB NOT NULL,
        engine TEXT NOT NULL,
        id TEXT NOT NULL,
        since REAL NOT NULL,
        UNIQUE (owner, engine, id)
    );
    CREATE INDEX engine_file_since ON engine_file (since);
    """,
    """
    CREATE TABLE answer (
        number INTEGER PRIMARY KEY,
        name BLOB NOT NULL UNIQUE,
        digest BLOB NOT NULL,
        holder TEXT NOT NULL,
        until REAL NOT NULL,
        status INTEGER,
        headers TEXT,
        body BLOB,
        size INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX answer_until ON answer (until);
    """,
)


class NewerDatabase(sqlite3.DatabaseError):
    """The file was written by a newer version of this program."""


def connect(folder: Path) -> sqlite3.Connection:
    """Opens the file, creates it if missing, and applies migrations. Raises ``sqlite3.Error``, ``OSError``.

    Any thread may use the connection, one at a time. Writes need a :func:`transaction`.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / FILE_NAME
    os.close(
        os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    )  # SQLite would create it readable for all users
    connection = sqlite3.connect(path, timeout=LOCK_TIMEOUT, isolation_level=None, check_same_thread=False)
    try:
        _check_version(connection)
        _enable_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")  # saved answers survive a power failure
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # overwrites deleted threads
        _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _enable_wal(connection: sqlite3.Connection) -> None:
    """Turns on WAL, so that reads do not wait for a write. SQLite does not wait if another process does the same."""
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Runs a block as one transaction; waits at most ``LOCK_TIMEOUT`` for another writer."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite rolls back by itself if the disk is full
            connection.execute("ROLLBACK")
        raise


def read_secret(connection: sqlite3.Connection, name: str) -> bytes:
    """Returns random bytes that never change in this file."""
    value: bytes = connection.execute("SELECT value FROM secret WHERE name = ?", (name,)).fetchone()[0]
    return value


def _read_version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _check_version(connection: sqlite3.Connection) -> None:
    version = _read_version(connection)
    if version > len(MIGRATIONS):
        raise NewerDatabase(
            f"{FILE_NAME} has version {version}; this program supports versions up to {len(MIGRATIONS)}"
        )


def _migrate(connection: sqlite3.Connection) -> None:
    if _read_version(connection) == len(MIGRATIONS):
        return
    with transaction(connection):
        for number in range(
            _read_version(connection), len(MIGRATIONS)
        ):  # read again inside: another process may have migrated
            for statement in _split_statements(MIGRATIONS[number]):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number + 1:d}")


def _split_statements(script: str) -> Iterator[str]:
    """Yields the statements of a script; a trigger has semicolons inside."""
    statement = ""
    for piece in script.split(";"):
        statement += f"{piece};"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def hash_names(connection: sqlite3.Connection, names: Iterable[str]) -> list[bytes]:
    """Returns the names of an owner as salted hashes, so that a copy of the file does not show the owners."""
    salt = read_secret(connection, "owner")
    return [hashlib.blake2b(name.encode(), key=salt, digest_size=16).digest() for name in sorted(names)]
