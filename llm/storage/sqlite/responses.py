"""A ``ResponseStore`` in SQLite.

A conversation is sent again with each of its turns, so that an item is stored once for all responses that have it in
their input or output. The file has no names of owners, only salted hashes. The oldest responses are deleted first;
triggers keep the total size, and delete items that no response has any more.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from llm.errors import TooLarge
from llm.storage.responses import NewResponse, StoredItem, StoredResponse
from llm.storage.sqlite.database import hash_names
from llm.storage.sqlite.worker import BatchWriter, Worker
from llm.storage.threads import Owner
from llm.wire.json_codec import dump_bytes, dumps, loads
from llm.wire.json_steps import dump_in_steps, loads_in_steps

_ROW_SIZE: Final = 200  # bytes that a row takes beside its text, counted with its size
_USE_SIZE: Final = 24  # the same for each item of a response
_LARGE: Final = 256 * 1024  # bytes of JSON that are decoded in steps


class SqliteResponses:
    """A ``ResponseStore`` in a file of ``folder``, which is created with the first response.

    ``max_age`` in seconds; ``max_size`` in bytes of all responses together.
    """

    def __init__(self, folder: Path, max_age: float, max_size: int, clock: Callable[[], float] = time.time) -> None:
        self._max_age = max_age
        self.max_size = max_size
        self._clock = clock
        self._reader = Worker(folder, "responses-read", "response")
        self._writer = BatchWriter(Worker(folder, "responses-write", "response", synchronous=False))

    async def begin(self, owner: Owner, new: NewResponse) -> int:
        """Stores a response that begins; returns its number. Raises ``TooLarge`` above the size of the store."""

        def work(connection: sqlite3.Connection) -> int:
            now = self._clock()
            texts = [_dump(item, heavy=new.heavy) for item in new.input]
            value = dumps({**new.value, "output": []})
            size = len(value) + _ROW_SIZE + _USE_SIZE * len(texts)
            if size + sum(map(len, texts)) > self.max_size:
                raise TooLarge("The request is larger than all kept responses may be (RESPONSES_MAX_SIZE).")
            hashes = hash_names(connection, owner.names)
            row = (new.id or None, new.engine, new.background, new.status, now, now, size, value)
            number = connection.execute(
                "INSERT INTO response (id, engine, kept_by_engine, background, status, since, updated, size, value)"
                " VALUES (?, ?, 0, ?, ?, ?, ?, ?, ?)",
                row,
            ).lastrowid
            assert number is not None
            connection.executemany("INSERT INTO response_owner VALUES (?, ?)", [(one, number) for one in hashes])
            _add_items(connection, number, new.input, texts, hashes, is_output=False)
            self._prune(connection, now)
            return number

        result: int = await self._writer.run(work)
        return result

    async def set_engine_id(self, number: int, id: str, status: str) -> None:
        """Sets the id under which the engine keeps the response too, and the status, unless it has ended already."""
        await self._writer.run(
            lambda connection: (
                connection.execute(
                    "UPDATE response SET id = ?, status = ?, kept_by_engine = 1, updated = ?"
                    " WHERE number = ? AND status = ''",
                    (id, status, self._clock(), number),
                ).rowcount
            )
        )

    async def update(self, number: int, status: str, value: Mapping[str, Any], *, kept_by_engine: bool = False) -> bool:
        """Stores the response object as of now. Its ``output`` is final with a final status. False: it is gone."""

        def work(connection: sqlite3.Connection) -> bool:
            text = dumps({**value, "output": []})
            output = [item for item in value.get("output") or () if isinstance(item, dict)]
            row = connection.execute("SELECT size, value FROM response WHERE number = ?", (number,)).fetchone()
            if row is None:
                return False
            size = row[0] - len(row[1]) + len(text) + _USE_SIZE * len(output)
            connection.execute(
                "UPDATE response SET id = COALESCE(?, id), status = ?, kept_by_engine = ?, updated = ?, size = ?,"
                " value = ? WHERE number = ?",
                (value.get("id"), status, kept_by_engine, self._clock(), size, text, number),
            )
            owners = connection.execute("SELECT owner FROM response_owner WHERE response = ?", (number,)).fetchall()
            texts = [_dump(item, heavy=False) for item in output]
            _add_items(connection, number, output, texts, sorted(one for (one,) in owners), is_output=True)
            self._prune(connection, self._clock())
            return True

        result: bool = await self._writer.run(work)
        return result

    async def touch(self, numbers: Iterable[int]) -> None:
        """Marks responses as still running."""
        rows = [(self._clock(), number) for number in numbers]
        await self._writer.run(
            lambda connection: connection.executemany("UPDATE response SET updated = ? WHERE number = ?", rows).rowcount
        )

    async def discard(self, number: int) -> None:
        """Deletes a response that has failed."""
        await self._writer.run(lambda connection: _delete(connection, number))

    async def get(self, id: str, owner: Owner, *, with_input: bool = True) -> StoredResponse | None:
        """Returns a response; None if there is none."""

        def work(connection: sqlite3.Connection) -> StoredResponse | None:
            number = self._find(connection, id, owner)
            if number is None:
                return None
            query = "SELECT engine, kept_by_engine, background, status, updated, value FROM response WHERE number = ?"
            engine, kept_by_engine, background, status, updated, text = connection.execute(query, (number,)).fetchone()
            items: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
            query = (
                "SELECT is_output, value FROM response_use JOIN response_item ON number = item WHERE response = ?"
                " AND is_output >= ? ORDER BY position"
            )
            for is_output, item in connection.execute(query, (number, not with_input)):
                items[is_output].append(_load(item))
            value = _load(text)
            if items[1]:
                value["output"] = items[1]
            return StoredResponse(
                number=number,
                id=id,
                engine=engine,
                kept_by_engine=bool(kept_by_engine),
                background=bool(background),
                status=status,
                updated=updated,
                value=value,
                input=items[0],
            )

        return await self._reader.run(work)

    async def find_items(self, ids: Iterable[str], owner: Owner) -> dict[str, StoredItem]:
        """Returns the items of the owner's responses by id; missing ones are left out."""
        wanted = dumps([id for id in ids if _is_text(id)])

        def work(connection: sqlite3.Connection) -> dict[str, StoredItem]:
            query = (
                "SELECT response_item.id, response_item.value, engine, kept_by_engine FROM response_item"
                " JOIN response_use ON item = response_item.number"
                " JOIN response ON response.number = response_use.response"
                " JOIN response_owner ON response_owner.response = response.number"
                " WHERE response_item.id IN (SELECT value FROM json_each(?)) AND since >= ?"
                " AND hex(owner) IN (SELECT value FROM json_each(?)) ORDER BY response.number"
            )
            values = (wanted, self._clock() - self._max_age, _list_owners(connection, owner))
            rows = connection.execute(query, values).fetchall()
            return {id: StoredItem(_load(value), engine, bool(kept)) for id, value, engine, kept in rows}

        return await self._reader.run(work)

    async def delete(self, id: str, owner: Owner) -> bool:
        """Deletes a response. Returns whether there was one."""

        def work(connection: sqlite3.Connection) -> bool:
            number = self._find(connection, id, owner)
            if number is not None:
                _delete(connection, number)
            return number is not None

        result: bool = await self._writer.run(work)
        return result

    async def append_events(self, number: int, first: int, events: Sequence[bytes]) -> bool:
        """Appends events of a stream, the first of which has the number ``first``. False: the response is gone."""

        def work(connection: sqlite3.Connection) -> bool:
            size = sum(map(len, events)) + _USE_SIZE * len(events)
            changed = connection.execute(
                "UPDATE response SET size = size + ?, updated = ? WHERE number = ?", (size, self._clock(), number)
            ).rowcount
            if changed:
                rows = [(number, at, event) for at, event in enumerate(events, first)]
                connection.executemany("INSERT INTO response_event VALUES (?, ?, ?)", rows)
            return bool(changed)

        result: bool = await self._writer.run(work)
        return result

    async def read_events(self, id: str, owner: Owner, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Returns the next events after the number ``after``, about ``limit`` bytes of them, with their numbers."""

        def work(connection: sqlite3.Connection) -> list[tuple[int, bytes]]:
            number = self._find(connection, id, owner)
            found: list[tuple[int, bytes]] = []
            if number is None:
                return found
            query = "SELECT number, value FROM response_event WHERE response = ? AND number > ? ORDER BY number"
            size = 0
            for at, value in connection.execute(query, (number, after)):
                found.append((at, value))
                size += len(value)
                if size >= limit:
                    break
            return found

        return await self._reader.run(work)

    async def close(self) -> None:
        """Closes the store after pending writes."""
        await self._writer.close()
        self._reader.close()

    def _find(self, connection: sqlite3.Connection, id: str, owner: Owner) -> int | None:
        """Returns the number of a response."""
        if not _is_text(id):
            return None
        query = (
            "SELECT response.number FROM response JOIN response_owner ON response_owner.response = response.number"
            " WHERE response.id = ? AND since >= ? AND status != '' AND hex(owner) IN (SELECT value FROM json_each(?))"
            " ORDER BY response.number DESC LIMIT 1"
        )
        values = (id, self._clock() - self._max_age, _list_owners(connection, owner))
        row = connection.execute(query, values).fetchone()
        return None if row is None else int(row[0])

    def _prune(self, connection: sqlite3.Connection, now: float) -> None:
        connection.execute("DELETE FROM response WHERE since < ?", (now - self._max_age,))
        while connection.execute("SELECT size FROM response_total").fetchone()[0] > self.max_size:
            oldest = connection.execute("SELECT number FROM response ORDER BY number LIMIT 1").fetchone()
            if oldest is None:
                break
            _delete(connection, oldest[0])


def _list_owners(connection: sqlite3.Connection, owner: Owner) -> str:
    """Returns the hashes of the owner's names as a list in JSON, since a query has one placeholder for a value."""
    return dumps([hashed.hex().upper() for hashed in hash_names(connection, owner.names)])


def _delete(connection: sqlite3.Connection, number: int) -> None:
    connection.execute("DELETE FROM response WHERE number = ?", (number,))


def _add_items(
    connection: sqlite3.Connection,
    number: int,
    items: Sequence[Mapping[str, Any]],
    texts: Sequence[str],
    owners: Sequence[bytes],
    *,
    is_output: bool,
) -> None:
    if not items:
        return
    query = "SELECT COALESCE(MAX(position), -1) + 1 FROM response_use WHERE response = ?"
    (start,) = connection.execute(query, (number,)).fetchone()
    for position, (item, text) in enumerate(zip(items, texts, strict=True), start):
        digest = hashlib.blake2b(b"".join([*owners, text.encode()]), digest_size=16).digest()
        row = connection.execute("SELECT number FROM response_item WHERE digest = ?", (digest,)).fetchone()
        if row is None:
            added = connection.execute(
                "INSERT INTO response_item (digest, id, size, value) VALUES (?, ?, ?, ?)",
                (digest, id if _is_text(id := item.get("id")) else None, len(text) + _ROW_SIZE, text),
            )
            row = (added.lastrowid,)
        connection.execute("INSERT INTO response_use VALUES (?, ?, ?, ?)", (number, position, row[0], is_output))


def _is_text(value: object) -> bool:
    """False for a text with half a surrogate pair too, which no text of the file can have."""
    try:
        return isinstance(value, str) and bool(value.encode())
    except UnicodeEncodeError:
        return False


def _dump(item: Mapping[str, Any], *, heavy: bool) -> str:
    return (dump_in_steps(item) if heavy else dump_bytes(item)).decode()


def _load(text: str) -> Any:
    return loads_in_steps(text) if len(text) > _LARGE else loads(text)
