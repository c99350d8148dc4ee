"""Signatures in SQLite (``llm.storage.signatures``): one table of the server's file.

Nothing here may fail a chat or delay it for long: a database that is locked, full or missing is not used for a while,
and values put or asked for meanwhile are lost.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from llm import log
from llm.storage.sqlite.database import connect, secret, transaction
from llm.wire.json_codec import dumps

LIMIT: Final = 2.0  # seconds that a chat waits for it
REST: Final = 10.0  # seconds that it is left alone after a failure
_PRUNE: Final = 100  # writes between two looks at age and size

T = TypeVar("T")


class SqliteSignatures:
    """A ``SignatureStore`` with its own connection and thread. Keys are hashes: the file shows no owner and no id.

    ``max_age`` in seconds; ``max_size`` in characters of all values, the oldest go first.
    """

    def __init__(self, folder: Path, max_age: float, max_size: int, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._max_age = max_age
        self._max_size = max_size
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._salt = b""
        self._written = 0
        self._rests_until = 0.0
        self._thread = ThreadPoolExecutor(1, "memo")

    async def put(self, owner: str, values: Mapping[str, str]) -> None:
        """When it returns, the others find the values by their ids."""
        await self._run(lambda connection: self._put(connection, owner, values), None)

    async def get(self, owner: str, ids: Iterable[str]) -> dict[str, str]:
        """Those that are there."""
        wanted = [*ids]
        return await self._run(lambda connection: self._get(connection, owner, wanted), {})

    def close(self) -> None:
        self._thread.submit(self._disconnect)
        self._thread.shutdown()

    async def _run(self, work: Callable[[sqlite3.Connection], T], nothing: T) -> T:
        loop = asyncio.get_running_loop()
        if loop.time() < self._rests_until:
            return nothing
        try:
            async with asyncio.timeout(LIMIT):
                return await loop.run_in_executor(self._thread, self._use, work)
        except (sqlite3.Error, OSError) as error:  # TimeoutError is one
            self._rests_until = loop.time() + REST
            log.write("memo", 30, problem=f"{type(error).__name__}: {error}"[:300])
            return nothing

    def _use(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._connection is None:
                self._connection = connect(self._folder)
                self._connection.execute("PRAGMA synchronous = NORMAL")  # no wait for the disk: power may fail it
                self._salt = secret(self._connection, "owner")
            return work(self._connection)
        except (sqlite3.Error, OSError):
            self._disconnect()
            raise

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _put(self, connection: sqlite3.Connection, owner: str, values: Mapping[str, str]) -> None:
        now = self._clock()
        rows = [(self._key(owner, id), now, len(value), value) for id, value in values.items()]
        with transaction(connection):
            connection.executemany("INSERT OR REPLACE INTO memo (key, since, size, value) VALUES (?, ?, ?, ?)", rows)
            if self._written % _PRUNE == 0:
                self._prune(connection, now)
        self._written += 1

    def _get(self, connection: sqlite3.Connection, owner: str, ids: list[str]) -> dict[str, str]:
        by_key = {self._key(owner, id): id for id in ids}
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

    def _key(self, owner: str, id: str) -> str:
        whose = f"{owner}\0{id}".encode("utf-8", "surrogatepass")  # ids are as engines and clients say them
        return hashlib.blake2b(whose, key=self._salt, digest_size=16).hexdigest()
