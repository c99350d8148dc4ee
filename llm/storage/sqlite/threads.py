"""A ``ThreadStore`` in SQLite, one row for each message.

Reads and writes each have their own connection and system thread, so that neither waits for the other (WAL). Writes
that wait at the same time are committed together: a hundred answers that end at once wait once for the disk, and with a
locked database each of them waits at most twice the ``LOCK_TIMEOUT``.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from llm import log
from llm.chat.messages import Message
from llm.errors import LLMError, NotFound, StorageFailed, ThreadFull
from llm.storage.legacy_threads import read_legacy_thread
from llm.storage.message_json import read_message, write_message
from llm.storage.sqlite.database import connect, read_secret, transaction
from llm.storage.threads import Owner, ThreadInfo
from llm.wire.json_codec import dumps, loads

UNUSED_AGE: Final = 30 * 86400.0  # seconds after which a thread without messages is deleted
MAX_UNUSED_THREADS: Final = 10_000  # threads without messages, the latest; any caller with a key can create them
# Errors after which the connection can still be used.
_TEMPORARY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL})
T = TypeVar("T")
Work: TypeAlias = Callable[[sqlite3.Connection], Any]


class SqliteThreads:
    """A ``ThreadStore`` in a file of ``folder``, which is created with the first thread. ``max_size`` in characters."""

    def __init__(self, folder: Path, max_size: int, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._max_size = max_size
        self._clock = clock
        self._reader = _Worker(folder, "threads-read")
        self._writer = _Worker(folder, "threads-write")
        self._pending: list[tuple[Work, asyncio.Future[Any]]] = []
        self._commit_task: asyncio.Task[None] | None = None
        self.failed_appends = 0

    async def create(self, owner: Owner, title: str = "") -> ThreadInfo:
        """Creates an empty thread; deletes old ones without messages."""
        now = self._clock()
        info = ThreadInfo(str(uuid.uuid4()), title, now, now, 0)

        def work(connection: sqlite3.Connection) -> None:
            _delete_unused(connection, now)
            _insert(connection, info, owner, ())

        await self._write(work)
        return info

    async def list_page(self, owner: Owner, limit: int, after: str | None = None) -> list[ThreadInfo]:
        """Returns a page of the owner's threads, the last updated first. ``after``: the last id of the page before."""

        def work(connection: sqlite3.Connection) -> list[ThreadInfo]:
            found: dict[str, ThreadInfo] = {}
            last = (float("inf"), "")
            if after is not None:
                info = _find(connection, after, owner)
                last = (info.updated, info.id)
            for hashed in _hash_names(connection, owner.names):
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
        await self._write(lambda connection: self._adopt(connection, id, owner))
        return await self._reader.run(work)

    async def rename(self, id: str, owner: Owner, title: str) -> ThreadInfo:
        """Sets the title."""

        def work(connection: sqlite3.Connection) -> ThreadInfo:
            _find(connection, id, owner)
            connection.execute("UPDATE thread SET title = ? WHERE id = ?", (title, id))
            return _find(connection, id, owner)

        info: ThreadInfo = await self._write(work)
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

        await self._write(work)

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
            await self._write(work)
        except LLMError:
            self.failed_appends += 1
            raise

    async def close(self) -> None:
        """Closes the store after pending writes."""
        if self._commit_task is not None:
            await self._commit_task
        self._reader.close()
        self._writer.close()

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

    async def _write(self, work: Work) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending.append((work, future))
        if self._commit_task is None:
            self._commit_task = asyncio.create_task(self._commit_all())
        return await future

    async def _commit_all(self) -> None:
        """Commits pending writes in batches until there are none."""
        try:
            while self._pending:
                batch = [(work, future) for work, future in self._pending if not future.done()]
                self._pending = []
                outcomes = await self._commit([work for work, _ in batch])
                for (_, future), (value, error) in zip(batch, outcomes, strict=True):
                    if future.done():
                        continue
                    if error is not None:
                        future.set_exception(error)
                    else:
                        future.set_result(value)
        finally:
            self._commit_task = None

    async def _commit(self, works: Sequence[Work]) -> list[tuple[Any, Exception | None]]:
        try:
            return await self._writer.run(lambda connection: _run_in_transaction(connection, works))
        except Exception as error:  # any error must reach the callers, which would wait for ever
            return [(None, error)] * len(works)


class _Worker:
    """A system thread with its connection, which is opened on first use."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._connection: sqlite3.Connection | None = None
        self._executor = ThreadPoolExecutor(1, name)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs ``work`` in the thread. Raises its ``LLMError``; any failure of the storage as ``StorageFailed``."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._run_in_thread, work)

    def close(self) -> None:
        """Closes the connection after pending work."""
        self._executor.submit(self._disconnect)
        self._executor.shutdown()

    def _run_in_thread(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._connection is None:
                self._connection = connect(self._folder)
            return work(self._connection)
        except (sqlite3.Error, OSError, ValueError, KeyError, TypeError) as error:
            log.write("threads", 40, problem=f"{type(error).__name__}: {error}"[:300])
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) not in _TEMPORARY:
                self._disconnect()
            raise StorageFailed(f"The thread storage is not available: {_describe(error)}.", retry_after=1.0) from None

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _describe(error: Exception) -> str:
    """Describes an error to clients, without paths of the server."""
    if isinstance(error, OSError):
        return error.strerror or "the disk failed"
    return str(error) if isinstance(error, sqlite3.Error) else "the stored data cannot be read"


def _run_in_transaction(connection: sqlite3.Connection, works: Sequence[Work]) -> list[tuple[Any, Exception | None]]:
    """Runs all works in one transaction; one that raises ``LLMError`` is undone without the others."""
    outcomes: list[tuple[Any, Exception | None]] = []
    with transaction(connection):
        for work in works:
            connection.execute("SAVEPOINT one")
            try:
                outcomes.append((work(connection), None))
            except LLMError as error:
                connection.execute("ROLLBACK TO one")
                outcomes.append((None, error))
            connection.execute("RELEASE one")
    return outcomes


def _not_found(id: str) -> NotFound:
    return NotFound(f"Conversation {id[:60]} not found")


def _hash_names(connection: sqlite3.Connection, names: Iterable[str]) -> list[bytes]:
    """Returns the names as salted hashes, so that a copy of the file does not show the owners."""
    salt = read_secret(connection, "owner")
    return [hashlib.blake2b(name.encode(), key=salt, digest_size=16).digest() for name in sorted(names)]


def _exists(connection: sqlite3.Connection, id: str) -> bool:
    return connection.execute("SELECT 1 FROM thread WHERE id = ?", (id,)).fetchone() is not None


def _find(connection: sqlite3.Connection, id: str, owner: Owner) -> ThreadInfo:
    """Returns the owner's thread. Raises ``NotFound``."""
    for hashed in _hash_names(connection, owner.names):
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
    hashes = _hash_names(connection, owner.names)
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
