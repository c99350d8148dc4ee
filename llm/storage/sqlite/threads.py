"""A ``ThreadStore`` in SQLite, one row for each message."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from llm.chat.messages import Message
from llm.errors import LLMError, NotFound, ThreadFull
from llm.storage.legacy_threads import read_legacy_thread
from llm.storage.message_json import read_message, write_message
from llm.storage.sqlite.database import hash_names
from llm.storage.sqlite.worker import BatchWriter, Worker
from llm.storage.threads import Owner, ThreadInfo
from llm.wire.json_codec import dumps, loads

UNUSED_AGE: Final = 30 * 86400.0  # seconds after which a thread without messages is deleted
MAX_UNUSED_THREADS: Final = 10_000  # threads without messages, the latest; any caller with a key can create them


class SqliteThreads:
    """A ``ThreadStore`` in a file of ``folder``, which is created with the first thread. ``max_size`` in characters."""

    def __init__(self, folder: Path, max_size: int, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._max_size = max_size
        self._clock = clock
        self._reader = Worker(folder, "threads-read", "thread")
        self._writer = BatchWriter(Worker(folder, "threads-write", "thread"))
        self.failed_appends = 0

    async def create(self, owner: Owner, title: str = "") -> ThreadInfo:
        """Creates an empty thread; deletes old ones without messages."""
        now = self._clock()
        info = ThreadInfo(str(uuid.uuid4()), title, now, now, 0)

        def work(connection: sqlite3.Connection) -> None:
            _delete_unused(connection, now)
            _insert(connection, info, owner, ())

        await self._writer.run(work)
        return info

    async def list_page(self, owner: Owner, limit: int, after: str | None = None) -> list[ThreadInfo]:
        """Returns a page of the owner's threads, the last updated first. ``after``: the last id of the page before."""

        def work(connection: sqlite3.Connection) -> list[ThreadInfo]:
            found: dict[str, ThreadInfo] = {}
            last = (float("inf"), "")
            if after is not None:
                info = _find(connection, after, owner)
                last = (info.updated, info.id)
            for hashed in hash_names(connection, owner.names):
                rows = connection.execute(
                    "SELECT id, title, created, updated, messages FROM thread JOIN thread_owner ON thread = id"
                    " WHERE owner = ? AND (updated, id) < (?, ?) ORDER BY updated DESC, id DESC LIMIT ?",
                    (hashed, *last, limit),
                )
                found |= {row[0]: ThreadInfo(*row) for row in rows}
            return sorted(found.values(), key=lambda info: (info.updated, info.id), reverse=True)[:limit]

        return await self._reader.run(work)

    async def read_messages(self, id: str, owner: Owner) -> tuple[Message, ...]:
        """Returns all messages in order. A trusted owner takes over a thread of the older server."""

        def work(connection: sqlite3.Connection) -> tuple[Message, ...]:
            _find(connection, id, owner)
            rows = connection.execute("SELECT value FROM message WHERE thread = ? ORDER BY number", (id,))
            return tuple(read_message(loads(row[0])) for row in rows)

        try:
            return await self._reader.run(work)
        except NotFound:
            if not owner.trusted:
                raise
        await self._writer.run(lambda connection: self._adopt(connection, id, owner))
        return await self._reader.run(work)

    async def rename(self, id: str, owner: Owner, title: str) -> ThreadInfo:
        """Sets the title."""

        def work(connection: sqlite3.Connection) -> ThreadInfo:
            _find(connection, id, owner)
            connection.execute("UPDATE thread SET title = ? WHERE id = ?", (title, id))
            return _find(connection, id, owner)

        info: ThreadInfo = await self._writer.run(work)
        return info

    async def delete(self, id: str, owner: Owner) -> None:
        """Deletes the thread with its messages, also in the table of the older server."""

        def work(connection: sqlite3.Connection) -> None:
            if owner.trusted and not _exists(connection, id):
                self._adopt(connection, id, owner)
            _find(connection, id, owner)
            connection.execute("DELETE FROM thread WHERE id = ?", (id,))
            if _has_legacy_table(connection):
                connection.execute("DELETE FROM threads WHERE id = ?", (id,))

        await self._writer.run(work)

    async def append(self, id: str, owner: Owner, messages: Sequence[Message]) -> None:
        """Appends all messages or none; they are on disk when it returns. Raises ``ThreadFull`` too."""
        values = [dumps(write_message(message)) for message in messages]
        size = sum(len(value) for value in values)

        def work(connection: sqlite3.Connection) -> None:
            _find(connection, id, owner)
            row = connection.execute("SELECT size FROM thread WHERE id = ?", (id,)).fetchone()
            if row[0] + size > self._max_size:
                raise ThreadFull(f"The thread would be larger than {self._max_size} bytes (THREAD_MAX_SIZE).")
            _append(connection, id, values, self._clock())

        try:
            await self._writer.run(work)
        except LLMError:
            self.failed_appends += 1
            raise

    async def close(self) -> None:
        """Closes the store after pending writes."""
        await self._writer.close()
        self._reader.close()

    def _adopt(self, connection: sqlite3.Connection, id: str, owner: Owner) -> None:
        """Copies a thread of the older server to this owner, the first one to use its id. Raises ``NotFound``."""
        row = None
        if _has_legacy_table(connection) and not _exists(connection, id):
            row = connection.execute("SELECT messages FROM threads WHERE id = ?", (id,)).fetchone()
        if row is None:
            raise _not_found(id)
        now = self._clock()
        values = [dumps(write_message(message)) for message in read_legacy_thread(row[0])]
        _insert(connection, ThreadInfo(id, "", now, now, 0), owner, values)


def _not_found(id: str) -> NotFound:
    return NotFound(f"Conversation {id[:60]} not found")


def _exists(connection: sqlite3.Connection, id: str) -> bool:
    return connection.execute("SELECT 1 FROM thread WHERE id = ?", (id,)).fetchone() is not None


def _find(connection: sqlite3.Connection, id: str, owner: Owner) -> ThreadInfo:
    """Returns the owner's thread. Raises ``NotFound``."""
    for hashed in hash_names(connection, owner.names):
        row = connection.execute(
            "SELECT id, title, created, updated, messages FROM thread JOIN thread_owner ON thread = id"
            " WHERE owner = ? AND id = ?",
            (hashed, id),
        ).fetchone()
        if row is not None:
            return ThreadInfo(*row)
    raise _not_found(id)


def _insert(connection: sqlite3.Connection, info: ThreadInfo, owner: Owner, values: Sequence[str]) -> None:
    connection.execute(
        "INSERT INTO thread (id, title, created, updated) VALUES (?, ?, ?, ?)",
        (info.id, info.title, info.created, info.updated),
    )
    hashes = hash_names(connection, owner.names)
    connection.executemany("INSERT INTO thread_owner VALUES (?, ?)", [(hashed, info.id) for hashed in hashes])
    _append(connection, info.id, values, info.updated)


def _append(connection: sqlite3.Connection, id: str, values: Sequence[str], now: float) -> None:
    (last,) = connection.execute("SELECT COALESCE(MAX(number), 0) FROM message WHERE thread = ?", (id,)).fetchone()
    rows = [(id, number, value) for number, value in enumerate(values, last + 1)]
    connection.executemany("INSERT INTO message VALUES (?, ?, ?)", rows)
    connection.execute(
        "UPDATE thread SET updated = ?, messages = messages + ?, size = size + ? WHERE id = ?",
        (now, len(values), sum(len(value) for value in values), id),
    )


def _delete_unused(connection: sqlite3.Connection, now: float) -> None:
    connection.execute("DELETE FROM thread WHERE messages = 0 AND created < ?", (now - UNUSED_AGE,))
    connection.execute(
        "DELETE FROM thread WHERE id IN"
        " (SELECT id FROM thread WHERE messages = 0 ORDER BY created DESC LIMIT -1 OFFSET ?)",
        (MAX_UNUSED_THREADS - 1,),
    )


def _has_legacy_table(connection: sqlite3.Connection) -> bool:
    query = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'threads'"
    return connection.execute(query).fetchone() is not None
