"""A connection to the server's file with a thread of its own, for stores whose failure must not fail or delay a chat.

After a failure (database locked, full or missing) it pauses; work in the pause has the result for that case.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from llm import log
from llm.storage.sqlite.database import connect, read_secret

CALL_TIMEOUT: Final = 2.0  # seconds that a call may take
FAILURE_PAUSE: Final = 10.0  # seconds without use of the database after a failure

T = TypeVar("T")


class BestEffortWorker:
    """Runs work on one connection, in order. ``name`` is that of the store in log lines."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._connection: sqlite3.Connection | None = None
        self.salt = b""  # of hashes of owners; known to the work
        self._paused_until = 0.0
        self._executor = ThreadPoolExecutor(1, name)

    async def run(self, work: Callable[[sqlite3.Connection], T], default: T) -> T:
        """Returns the result of ``work``; ``default`` after a failure and in the pause behind it."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._paused_until:
            return default
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                return await loop.run_in_executor(self._executor, self._run_in_thread, work)
        except (sqlite3.Error, OSError) as error:  # TimeoutError is one
            self._paused_until = loop.time() + FAILURE_PAUSE
            log.write(self._name, 30, problem=f"{type(error).__name__}: {error}"[:300])
            return default

    def close(self) -> None:
        """Closes the connection after pending work."""
        self._executor.submit(self._disconnect)
        self._executor.shutdown()

    def _run_in_thread(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._connection is None:
                self._connection = connect(self._folder)
                # No wait for the disk: losing values in a power failure is acceptable.
                self._connection.execute("PRAGMA synchronous = NORMAL")
                self.salt = read_secret(self._connection, "owner")
            return work(self._connection)
        except (sqlite3.Error, OSError):
            self._disconnect()
            raise

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
