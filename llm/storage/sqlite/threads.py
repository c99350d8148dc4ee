"""Threads in SQLite (``llm.storage.threads``), one row for each message.

Reading and writing have a connection and a thread of the system each, so that neither waits for the other (WAL). What
is to be written at one moment is committed together: a hundred answers that end at once cost one wait for the disk, and
a locked database costs each of them no more than two turns of ``database.PATIENCE``.
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
from llm.storage.legacy_threads import read_older
from llm.storage.message_json import read_message, write_message
from llm.storage.sqlite.database import connect, secret, transaction
from llm.storage.threads import Owner, ThreadInfo
from llm.wire.json_codec import dumps, loads

UNUSED_AGE: Final = 30 * 86400.0  # seconds after which a thread that nobody ever wrote to is forgotten
UNUSED_KEPT: Final = 10_000  # of those, the latest; anyone with a key of any kind may make them
_NO_HARM: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL})
T = TypeVar("T")
Work: TypeAlias = Callable[[sqlite3.Connection], Any]


class SqliteThreads:
    """A ``ThreadStore`` in a file of ``folder``, which is made with the first thread."""

    def __init__(self, folder: Path, max_size: int, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._max_size = max_size
        self._clock = clock
        self._reading = _Lane(folder, "threads-read")
        self._writing = _Lane(folder, "threads-write")
        self._pending: list[tuple[Work, asyncio.Future[Any]]] = []
        self._committing: asyncio.Task[None] | None = None
        self.lost = 0  # answers that could not be appended

    async def create(self, owner: Owner, title: str = "") -> ThreadInfo:
        now = self._clock()
        info = ThreadInfo(str(uuid.uuid4()), title, now, now, 0)

        def work(connection: sqlite3.Connection) -> None:
            _forget_unused(connection, now)
            _insert(connection, info, owner, ())

        await self._write(work)
        return info

    async def page(self, owner: Owner, limit: int, after: str | None = None) -> list[ThreadInfo]:
        """The owner's, the one last written to first; ``after`` a thread of an earlier page."""

        def work(connection: sqlite3.Connection) -> list[ThreadInfo]:
            found: dict[str, ThreadInfo] = {}
            last = (float("inf"), "")
            if after is not None:
                info = _owned(connection, after, owner)
                last = (info.updated, info.id)
            for hashed in _hashes(connection, owner.names):
                rows = connection.execute(
                    "SELECT id, title, created, updated, messages FROM thread JOIN thread_owner ON thread = id"
                    " WHERE owner = ? AND (updated, id) < (?, ?) ORDER BY updated DESC, id DESC LIMIT ?",
                    (hashed, *last, limit),
                )
                found |= {row[0]: ThreadInfo(*row) for row in rows}
            return sorted(found.values(), key=lambda info: (info.updated, info.id), reverse=True)[:limit]

        return await self._reading.run(work)

    async def messages(self, id: str, owner: Owner) -> tuple[Message, ...]:
        def work(connection: sqlite3.Connection) -> tuple[Message, ...]:
            _owned(connection, id, owner)
            rows = connection.execute("SELECT value FROM message WHERE thread = ? ORDER BY number", (id,))
            return tuple(read_message(loads(row[0])) for row in rows)

        try:
            return await self._reading.run(work)
        except NotFound:
            if not owner.trusted:
                raise
        await self._write(lambda connection: self._adopt(connection, id, owner))
        return await self._reading.run(work)

    async def rename(self, id: str, owner: Owner, title: str) -> ThreadInfo:
        def work(connection: sqlite3.Connection) -> ThreadInfo:
            _owned(connection, id, owner)
            connection.execute("UPDATE thread SET title = ? WHERE id = ?", (title, id))
            return _owned(connection, id, owner)

        info: ThreadInfo = await self._write(work)
        return info

    async def delete(self, id: str, owner: Owner) -> None:
        def work(connection: sqlite3.Connection) -> None:
            if owner.trusted and not _exists(connection, id):
                self._adopt(connection, id, owner)
            _owned(connection, id, owner)
            connection.execute("DELETE FROM thread WHERE id = ?", (id,))
            if _has_older(connection):
                connection.execute("DELETE FROM threads WHERE id = ?", (id,))

        await self._write(work)

    async def append(self, id: str, owner: Owner, messages: Sequence[Message]) -> None:
        """Adds to the end, all or nothing; when it returns they are on disk. Raises ``ThreadFull`` too."""
        values = [dumps(write_message(message)) for message in messages]
        size = sum(len(value) for value in values)

        def work(connection: sqlite3.Connection) -> None:
            _owned(connection, id, owner)
            row = connection.execute("SELECT size FROM thread WHERE id = ?", (id,)).fetchone()
            if row[0] + size > self._max_size:
                raise ThreadFull(f"The thread would be larger than {self._max_size} bytes (THREAD_MAX_SIZE).")
            _add(connection, id, values, self._clock())

        try:
            await self._write(work)
        except LLMError:
            self.lost += 1
            raise

    async def close(self) -> None:
        """Waits for what is being written."""
        if self._committing is not None:
            await self._committing
        self._reading.close()
        self._writing.close()

    def _adopt(self, connection: sqlite3.Connection, id: str, owner: Owner) -> None:
        """A thread of the older server belongs to the first client id that names it. Raises ``NotFound``."""
        row = None
        if _has_older(connection) and not _exists(connection, id):
            row = connection.execute("SELECT messages FROM threads WHERE id = ?", (id,)).fetchone()
        if row is None:
            raise _not_found(id)
        now = self._clock()
        values = [dumps(write_message(message)) for message in read_older(row[0])]
        _insert(connection, ThreadInfo(id, "", now, now, 0), owner, values)

    async def _write(self, work: Work) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending.append((work, future))
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_all())
        return await future

    async def _commit_all(self) -> None:
        try:
            while self._pending:
                batch = [(work, future) for work, future in self._pending if not future.done()]  # none waits any more
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
            self._committing = None

    async def _commit(self, works: Sequence[Work]) -> list[tuple[Any, Exception | None]]:
        try:
            return await self._writing.run(lambda connection: _together(connection, works))
        except Exception as error:  # whatever it is, nobody may wait for ever
            return [(None, error)] * len(works)


class _Lane:
    """A connection, opened when it is first needed, and the thread that uses it."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, name)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, work)

    def close(self) -> None:
        self._thread.submit(self._disconnect)
        self._thread.shutdown()

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._connection is None:
                self._connection = connect(self._folder)
            return work(self._connection)
        except (sqlite3.Error, OSError, ValueError, KeyError, TypeError) as error:
            log.write("threads", 40, problem=f"{type(error).__name__}: {error}"[:300])
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) not in _NO_HARM:
                self._disconnect()
            raise StorageFailed(f"Threads cannot be used now: {_reason(error)}.", retry_after=1.0) from None

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _reason(error: Exception) -> str:
    """For clients, who shall not learn of our paths."""
    if isinstance(error, OSError):
        return error.strerror or "the disk fails"
    return str(error) if isinstance(error, sqlite3.Error) else "what is stored cannot be read"


def _together(connection: sqlite3.Connection, works: Sequence[Work]) -> list[tuple[Any, Exception | None]]:
    """All in one transaction; one that is refused leaves the others as they are."""
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


def _hashes(connection: sqlite3.Connection, names: Iterable[str]) -> list[bytes]:
    """The names as they are stored: a copy of the file tells nobody whose a thread is."""
    salt = secret(connection, "owner")
    return [hashlib.blake2b(name.encode(), key=salt, digest_size=16).digest() for name in sorted(names)]


def _exists(connection: sqlite3.Connection, id: str) -> bool:
    return connection.execute("SELECT 1 FROM thread WHERE id = ?", (id,)).fetchone() is not None


def _owned(connection: sqlite3.Connection, id: str, owner: Owner) -> ThreadInfo:
    for hashed in _hashes(connection, owner.names):
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
    hashes = _hashes(connection, owner.names)
    connection.executemany("INSERT INTO thread_owner VALUES (?, ?)", [(hashed, info.id) for hashed in hashes])
    _add(connection, info.id, values, info.updated)


def _add(connection: sqlite3.Connection, id: str, values: Sequence[str], now: float) -> None:
    (last,) = connection.execute("SELECT COALESCE(MAX(number), 0) FROM message WHERE thread = ?", (id,)).fetchone()
    rows = [(id, number, value) for number, value in enumerate(values, last + 1)]
    connection.executemany("INSERT INTO message VALUES (?, ?, ?)", rows)
    connection.execute(
        "UPDATE thread SET updated = ?, messages = messages + ?, size = size + ? WHERE id = ?",
        (now, len(values), sum(len(value) for value in values), id),
    )


def _forget_unused(connection: sqlite3.Connection, now: float) -> None:
    connection.execute("DELETE FROM thread WHERE messages = 0 AND created < ?", (now - UNUSED_AGE,))
    connection.execute(
        "DELETE FROM thread WHERE id IN"
        " (SELECT id FROM thread WHERE messages = 0 ORDER BY created DESC LIMIT -1 OFFSET ?)",
        (UNUSED_KEPT - 1,),
    )


def _has_older(connection: sqlite3.Connection) -> bool:
    query = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'threads'"
    return connection.execute(query).fetchone() is not None
