"""System threads that use the SQLite file, each with a connection of its own.

Reads and writes of a store have one thread each, so that neither waits for the other (WAL). Writes that wait at the
same time are committed together: a hundred answers that end at once wait once for the disk, and with a locked database
each of them waits at most twice the ``LOCK_TIMEOUT``.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from llm import log
from llm.errors import LLMError, StorageFailed
from llm.storage.sqlite.database import connect, transaction

# Errors after which the connection can still be used.
_TEMPORARY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL})
T = TypeVar("T")
Work: TypeAlias = Callable[[sqlite3.Connection], Any]


class Worker:
    """A system thread with its connection, which is opened on first use.

    ``what``: the kind of things that are stored, for errors. ``synchronous``: False loses the last writes in a power
    failure, though not when the process is killed, and does not wait for the disk.
    """

    def __init__(self, folder: Path, name: str, what: str, *, synchronous: bool = True) -> None:
        self._folder = folder
        self._what = what
        self._synchronous = synchronous
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
                if not self._synchronous:
                    self._connection.execute("PRAGMA synchronous = NORMAL")
            return work(self._connection)
        except (sqlite3.Error, OSError, ValueError, KeyError, TypeError) as error:
            log.write(f"{self._what}s", 40, problem=f"{type(error).__name__}: {error}"[:300])
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) not in _TEMPORARY:
                self._disconnect()
            message = f"The {self._what} storage is not available: {_describe(error)}."
            raise StorageFailed(message, retry_after=1.0) from None

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class BatchWriter:
    """Runs writes in the thread of a worker, those that wait at the same time in one transaction."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._pending: list[tuple[Work, asyncio.Future[Any]]] = []
        self._commit_task: asyncio.Task[None] | None = None

    async def run(self, work: Work) -> Any:
        """Returns what ``work`` returns, when it is committed. Raises as :meth:`Worker.run`."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending.append((work, future))
        if self._commit_task is None:
            self._commit_task = asyncio.create_task(self._commit_all())
        return await future

    async def close(self) -> None:
        """Closes the connection after pending writes."""
        if self._commit_task is not None:
            await self._commit_task
        self._worker.close()

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
            return await self._worker.run(lambda connection: _run_in_transaction(connection, works))
        except Exception as error:  # any error must reach the callers, which would wait for ever
            return [(None, error)] * len(works)


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
