"""A ``SignatureStore`` in SQLite: one table of the server's file.

After a failure, calls lose their values or find none.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from llm.storage.sqlite.best_effort import BestEffortWorker
from llm.storage.sqlite.database import transaction
from llm.wire.json_codec import dumps

_PRUNE_INTERVAL: Final = 100  # writes between two checks of age and size


class SqliteSignatures:
    """A ``SignatureStore`` with its own connection and thread. Keys are hashes, so the file has no owners and no ids.

    ``max_age`` in seconds; ``max_size`` in characters of all values together, the oldest are deleted first.
    """

    def __init__(self, folder: Path, max_age: float, max_size: int, clock: Callable[[], float] = time.time) -> None:
        self._worker = BestEffortWorker(folder, "signatures")
        self._max_age = max_age
        self._max_size = max_size
        self._clock = clock
        self._writes = 0

    async def put(self, owner: str, values: Mapping[str, str]) -> None:
        """Stores values by id. When it returns, other processes can get them."""
        await self._worker.run(lambda connection: self._put(connection, owner, values), None)

    async def get(self, owner: str, ids: Iterable[str]) -> dict[str, str]:
        """Returns the stored values by id; missing ones are left out."""
        listed = [*ids]
        return await self._worker.run(lambda connection: self._get(connection, owner, listed), {})

    def close(self) -> None:
        """Closes the connection after pending work."""
        self._worker.close()

    def _put(self, connection: sqlite3.Connection, owner: str, values: Mapping[str, str]) -> None:
        now = self._clock()
        rows = [(self._hash_key(owner, id), now, len(value), value) for id, value in values.items()]
        with transaction(connection):
            connection.executemany("INSERT OR REPLACE INTO memo (key, since, size, value) VALUES (?, ?, ?, ?)", rows)
            if self._writes % _PRUNE_INTERVAL == 0:
                self._prune(connection, now)
        self._writes += 1

    def _get(self, connection: sqlite3.Connection, owner: str, ids: list[str]) -> dict[str, str]:
        by_key = {self._hash_key(owner, id): id for id in ids}
        query = "SELECT key, value FROM memo WHERE since >= ? AND key IN (SELECT value FROM json_each(?))"
        rows = connection.execute(query, (self._clock() - self._max_age, dumps([*by_key])))
        return {by_key[key]: value for key, value in rows}

    def _prune(self, connection: sqlite3.Connection, now: float) -> None:
        connection.execute("DELETE FROM memo WHERE since < ?", (now - self._max_age,))
        connection.execute(
            "DELETE FROM memo WHERE number IN (SELECT number FROM"
            " (SELECT number, SUM(size) OVER (ORDER BY number DESC) AS total FROM memo) WHERE total > ?)",
            (self._max_size,),
        )

    def _hash_key(self, owner: str, id: str) -> str:
        # Ids come from engines and clients and may have lone surrogates.
        raw = f"{owner}\0{id}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(raw, key=self._worker.salt, digest_size=16).hexdigest()
