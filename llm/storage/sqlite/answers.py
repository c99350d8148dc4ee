"""An ``AnswerStore`` in SQLite: one table of the server's file."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from llm.storage.answers import LEASE, Claim, KeptAnswer, RequestName
from llm.storage.sqlite.best_effort import BestEffortWorker
from llm.storage.sqlite.database import transaction
from llm.wire.json_codec import dumps, loads


class SqliteAnswers:
    """An ``AnswerStore`` with its own connection and thread. Names are hashes, so the file has no owners and no keys.

    ``max_age`` in seconds; ``max_size`` in bytes of all answers together, the oldest are deleted first.
    """

    def __init__(self, folder: Path, max_age: float, max_size: int, clock: Callable[[], float] = time.time) -> None:
        self._worker = BestEffortWorker(folder, "answers")
        self._max_age = max_age
        self._max_size = max_size
        self._clock = clock

    async def claim(self, name: RequestName, digest: bytes, holder: str) -> KeptAnswer | Claim:
        """Returns the answer to this request, or claims it."""
        return await self._worker.run(lambda connection: self._claim(connection, name, digest, holder), "unknown")

    async def renew(self, holders: Sequence[str]) -> None:
        """Makes claims last on."""
        values = self._clock() + LEASE, dumps([*holders])

        def renew(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                connection.execute(
                    "UPDATE answer SET until = ? WHERE holder IN (SELECT value FROM json_each(?))", values
                )

        await self._worker.run(renew, None)

    async def keep(self, holder: str, answer: KeptAnswer) -> None:
        """Keeps the answer to a claimed request; the holder is free then."""
        await self._worker.run(lambda connection: self._keep(connection, holder, answer), None)

    async def drop(self, holder: str) -> None:
        """Frees a claimed request that has no answer to keep."""

        def drop(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                connection.execute("DELETE FROM answer WHERE holder = ?", (holder,))

        await self._worker.run(drop, None)

    async def prune(self) -> None:
        """Deletes answers that are too old."""

        def prune(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                connection.execute("DELETE FROM answer WHERE until < ?", (self._clock(),))

        await self._worker.run(prune, None)

    def close(self) -> None:
        """Closes the connection after pending work."""
        self._worker.close()

    def _claim(
        self, connection: sqlite3.Connection, name: RequestName, digest: bytes, holder: str
    ) -> KeptAnswer | Claim:
        key = self._hash_name(name)
        now = self._clock()
        with transaction(connection):
            connection.execute("DELETE FROM answer WHERE until < ?", (now,))
            row = connection.execute(
                "SELECT digest, holder, status, headers, body FROM answer WHERE name = ?", (key,)
            ).fetchone()
            if row is None:
                connection.execute(
                    "INSERT INTO answer (name, digest, holder, until) VALUES (?, ?, ?, ?)",
                    (key, digest, holder, now + LEASE),
                )
                return "mine"
        kept_digest, held, status, headers, body = row
        if kept_digest != digest:
            return "other"
        if held:
            return "running"
        read: Mapping[str, str] = loads(headers)
        return KeptAnswer(status, read, body)

    def _keep(self, connection: sqlite3.Connection, holder: str, answer: KeptAnswer) -> None:
        with transaction(connection):
            until, headers = self._clock() + self._max_age, dumps(dict(answer.headers))
            connection.execute(
                "UPDATE answer SET holder = '', until = ?, status = ?, headers = ?, body = ?, size = ?"
                " WHERE holder = ?",
                (until, answer.status, headers, answer.body, len(answer.body), holder),
            )
            connection.execute(
                "DELETE FROM answer WHERE holder = '' AND number IN (SELECT number FROM"
                " (SELECT number, SUM(size) OVER (ORDER BY number DESC) AS total FROM answer) WHERE total > ?)",
                (self._max_size,),
            )

    def _hash_name(self, name: RequestName) -> bytes:
        raw = "\0".join((name.owner, name.path, name.key)).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(raw, key=self._worker.salt, digest_size=16).digest()
