"""An ``EngineFileStore`` in SQLite. The file has no names of owners, only salted hashes."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection
from pathlib import Path

from llm.storage.sqlite.database import hash_names
from llm.storage.sqlite.worker import BatchWriter, Worker
from llm.storage.threads import Owner
from llm.wire.json_codec import dumps


class SqliteEngineFiles:
    """An ``EngineFileStore`` in a file of ``folder``. ``max_age`` in seconds; ``max_count`` of all ids together."""

    def __init__(self, folder: Path, max_age: float, max_count: int, clock: Callable[[], float] = time.time) -> None:
        self._max_age = max_age
        self._max_count = max_count
        self._clock = clock
        self._reader = Worker(folder, "files-read", "file")
        self._writer = BatchWriter(Worker(folder, "files-write", "file"))

    async def add(self, owner: Owner, engine: str, ids: Collection[str]) -> None:
        """Makes the owner that of these ids. Deletes what is too old, and the oldest above the largest number."""

        def work(connection: sqlite3.Connection) -> None:
            now = self._clock()
            rows = [(one, engine, id, now) for one in hash_names(connection, owner.names) for id in ids]
            connection.executemany(
                "INSERT OR IGNORE INTO engine_file (owner, engine, id, since) VALUES (?, ?, ?, ?)", rows
            )
            connection.execute("DELETE FROM engine_file WHERE since < ?", (now - self._max_age,))
            connection.execute(
                "DELETE FROM engine_file WHERE number <= (SELECT number FROM engine_file"
                " ORDER BY number DESC LIMIT 1 OFFSET ?)",
                (self._max_count,),
            )

        if ids:
            await self._writer.run(work)

    async def select(self, owner: Owner, engine: str, ids: Collection[str]) -> frozenset[str]:
        """Returns those of the ids that are the owner's."""

        def work(connection: sqlite3.Connection) -> frozenset[str]:
            found: set[str] = set()
            for one in hash_names(connection, owner.names):
                query = (
                    "SELECT id FROM engine_file WHERE owner = ? AND engine = ? AND since >= ?"
                    " AND id IN (SELECT value FROM json_each(?))"
                )
                rows = connection.execute(query, (one, engine, self._clock() - self._max_age, dumps([*ids])))
                found.update(id for (id,) in rows)
            return frozenset(found)

        return await self._reader.run(work) if ids else frozenset()

    async def remove(self, owner: Owner, engine: str, id: str) -> None:
        """Forgets an id."""

        def work(connection: sqlite3.Connection) -> None:
            rows = [(one, engine, id) for one in hash_names(connection, owner.names)]
            connection.executemany("DELETE FROM engine_file WHERE owner = ? AND engine = ? AND id = ?", rows)

        await self._writer.run(work)

    async def close(self) -> None:
        """Closes the store after pending writes."""
        await self._writer.close()
        self._reader.close()
