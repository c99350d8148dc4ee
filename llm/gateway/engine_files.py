"""Files, uploads and batches that engines keep: which engine, and whose they are."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

from llm.engines.engine import Target
from llm.errors import EngineNotConfigured, InvalidRequest
from llm.gateway.callers import Caller
from llm.gateway.catalog import Catalog
from llm.http1.threads import run_in_thread
from llm.storage.engine_files import EngineFileStore
from llm.tasks.engine_ids import EngineId, find_ids, join_id, make_missing_error, map_ids, remove_engine, split_id

HEADER: Final = "X-Engine"  # of requests: the engine that is meant


class EngineFiles:
    """Chooses the engine of a request about files, uploads or batches, and guards the ids of their owners."""

    def __init__(self, store: EngineFileStore, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog

    def choose_engine(self, api: str, dialect: str, name: str | None, caller: Caller) -> Target:
        """Returns the named engine, else the caller's only one that has the API.

        ``api``: files, uploads or batches. Raises ``InvalidRequest`` and ``EngineNotConfigured``.
        """
        if name:
            target = self._catalog.resolve_target(name, "", caller)
            if target.engine.dialect != dialect:
                raise InvalidRequest(f"{target.engine.label} has no {api} in this API.", param=HEADER)
            return target
        engines = [one for one in self._catalog.list_engines(caller) if one.dialect == dialect and api in one.keeps]
        if not engines:
            raise EngineNotConfigured(f"No engine with {api} in this API is configured for this caller.", param=HEADER)
        if len(engines) > 1:
            names = ", ".join(one.name for one in engines)
            raise InvalidRequest(f"{HEADER}: is required, since several engines have {api}: {names}.", param=HEADER)
        return self._catalog.resolve_target(engines[0].name, "", caller)

    async def resolve_id(self, text: str, caller: Caller, dialect: str) -> tuple[Target, str]:
        """Returns the engine of an id and the id there. Raises ``NotFound`` for one that is not the caller's."""
        found = split_id(text)
        if found is None or not await self._store.select(caller.make_thread_owner(), found.engine, [found.id]):
            raise make_missing_error(text)
        target = self._catalog.resolve_target(found.engine, "", caller)
        if target.engine.dialect != dialect:
            raise make_missing_error(text)
        return target, found.id

    async def restore_ids(self, body: Any, engine: str, caller: Caller, *, heavy: bool = False) -> Any:
        """Returns a client's JSON with the ids as the engine knows them. ``heavy``: the work belongs into a thread.

        Raises ``NotFound`` for one that is not the caller's, ``InvalidRequest`` for one of another engine.
        """
        engines = {one.name for one in self._catalog.list_engines(caller)}
        found = await run_in_thread(set, find_ids(body)) if heavy else set(find_ids(body))
        ids = {one for one in found if one.engine in engines}
        if not ids:
            return body
        for one in ids:
            if one.engine != engine:
                name = join_id(*one)
                raise InvalidRequest(f"{name[:100]!r} is kept by {one.engine}, and {engine} is asked.", param="file_id")
        await self.check(caller, engine, [one.id for one in ids])
        owned = frozenset(ids)
        return await run_in_thread(remove_engine, body, owned) if heavy else remove_engine(body, owned)

    async def check(self, caller: Caller, engine: str, ids: Collection[str]) -> None:
        """Raises ``NotFound`` unless all ids are the caller's."""
        owned = await self._store.select(caller.make_thread_owner(), engine, ids)
        for id in ids:
            if id not in owned:
                raise make_missing_error(join_id(engine, id))

    async def publish(self, answer: Any, caller: Caller, engine: str) -> Any:
        """Returns an engine's answer about an object of the caller with ids that carry the engine; they are its own."""
        seen: set[str] = set()

        def change(id: str) -> str:
            seen.add(id)
            return join_id(engine, id)

        changed = map_ids(answer, change)
        await self._store.add(caller.make_thread_owner(), engine, seen)
        return changed

    async def select_own(self, entries: Iterable[Any], caller: Caller, engine: str) -> list[Any]:
        """Returns the entries of a list that are the caller's, with ids that carry the engine."""
        listed = [one for one in entries if isinstance(one, dict) and isinstance(one.get("id"), str)]
        owned = await self._store.select(caller.make_thread_owner(), engine, [one["id"] for one in listed])
        return [map_ids(one, lambda id: join_id(engine, id)) for one in listed if one["id"] in owned]

    async def forget(self, id: str, caller: Caller, engine: str) -> None:
        """Forgets an object that was deleted."""
        await self._store.remove(caller.make_thread_owner(), engine, id)

    async def close(self) -> None:
        """Closes the store."""
        await self._store.close()


__all__ = ["HEADER", "EngineFiles", "EngineId"]
