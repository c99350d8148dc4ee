"""Keeps answers of the Responses API for their owners, so that later requests can name them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from llm import log
from llm.chat.events import Started
from llm.engines.api_choice import use_responses
from llm.engines.engine import Target
from llm.errors import EngineNotConfigured, InvalidRequest, LLMError, TooLarge
from llm.gateway.callers import Caller
from llm.gateway.catalog import Catalog
from llm.gateway.responses.items import give_ids
from llm.gateway.responses.references import RUNNING, make_response_error, resolve_references
from llm.http1.threads import run_in_thread
from llm.storage.responses import NewResponse, ResponseStore, StoredResponse
from llm.storage.threads import Owner
from llm.upstream.retry import EngineMemory
from llm.wire.json_steps import dump_in_steps


@dataclass(slots=True)
class Turn:
    """One request and what is kept of it and its answer."""

    body: dict[str, Any]  # the request for the engine; to be cleared when it was sent
    owner: Owner
    target: Target
    previous_id: str | None  # of the response that it continues
    kept: bool  # the answer is to be kept
    kept_by_engine: bool  # the engine keeps its answers itself, and gets the client's own request
    items: list[dict[str, Any]] = field(repr=False)  # the whole conversation; empty once it is stored
    dropped: tuple[str, ...] = ()  # what of the conversation does not go to the engine
    number: asyncio.Task[int | None] | None = None  # the row in the store; None if it cannot be stored


class ResponseKeeper:
    """Resolves references of requests, and keeps their answers.

    A store that fails never fails an answer: the answer is lost for later requests, and the log has the reason.
    """

    def __init__(self, store: ResponseStore, catalog: Catalog, memory: EngineMemory) -> None:
        self.store = store
        self._memory = memory
        self.enabled = store.max_size > 0
        self.lost = 0  # number of answers that could not be kept
        self._catalog = catalog
        self._tasks: set[asyncio.Task[None]] = set()

    async def resolve(
        self, body: Mapping[str, Any], caller: Caller, *, expand: bool = False, heavy: bool = False
    ) -> Turn:
        """Reads what a request refers to, and whether its answer is to be kept.

        ``expand``: references go to no engine, also if it keeps its answers. ``heavy``: the request is so large that
        the work on it belongs into a thread.
        Raises ``UnknownModel``, ``EngineNotConfigured``, ``PreviousResponseNotFound``, ``NotFound`` for an item, and
        ``InvalidRequest``.
        """
        target = self._memory.adapt(self._catalog.resolve_model_name(body["model"], caller))
        keeps, owner = keeps_answers(target) and not expand, caller.make_thread_owner()
        kept = self.enabled and body.get("store") is not False
        if body.get("background") is True and not kept:
            raise InvalidRequest("background: requires `store` to be true", param="background")
        found = await resolve_references(body, owner, target, self.store if self.enabled else None, keeps=keeps)
        if not keeps and found.body.get("store") is True:
            del found.body["store"]  # the engine does not keep it: this server does
        items: list[dict[str, Any]] = []
        if kept:
            items = await run_in_thread(give_ids, found.items, dump_in_steps) if heavy else give_ids(found.items)
        return Turn(found.body, owner, target, found.previous_id, kept, keeps, items, found.dropped)

    async def find(
        self, id: str, caller: Caller, *, with_input: bool = False
    ) -> tuple[StoredResponse | None, Target | None]:
        """Returns a response, and the engine that keeps it, if it is to be asked; either may be None.

        With a key of the caller's own, its engine may have responses that this server does not know. Raises
        ``NotFound``.
        """
        owner = caller.make_thread_owner()
        stored = await self.store.get(id, owner, with_input=with_input) if self.enabled else None
        if stored is None:
            target = self._find_own_engine(caller)
            if target is None:
                raise make_response_error(id)
            return None, target
        return stored, self._find_keeper(stored, caller) if stored.kept_by_engine else None

    async def refresh(self, stored: StoredResponse, value: Mapping[str, Any]) -> None:
        """Stores what the engine that keeps a response answers for it, once the response has ended."""
        status = value.get("status")
        if stored.status in RUNNING and isinstance(status, str) and status not in RUNNING:
            await self._try(partial(self.store.update, stored.number, status, value, kept_by_engine=True))

    def _find_own_engine(self, caller: Caller) -> Target | None:
        """Returns the only engine that keeps its answers and whose key is the caller's own."""
        engines = [engine for engine in self._catalog.list_engines(caller) if engine.name in caller.keys]
        targets = [self._catalog.resolve_target(engine.name, "", caller) for engine in engines]
        keeping = [use_responses(target) for target in targets if keeps_answers(target)]
        return keeping[0] if len(keeping) == 1 else None

    def _find_keeper(self, stored: StoredResponse, caller: Caller) -> Target | None:
        """Returns the engine that keeps the response; None if it has no key or no such API any more."""
        try:
            target = self._memory.adapt(self._catalog.resolve_target(stored.engine, "", caller))
        except EngineNotConfigured:
            return None
        return use_responses(target) if keeps_answers(target) else None

    def begin(self, turn: Turn, *, heavy: bool = False, **more: Any) -> None:
        """Begins to store the conversation, if the answer is to be kept. ``more``: fields of ``NewResponse``."""
        if turn.kept:
            new = NewResponse(
                id=more.pop("id", ""),
                engine=turn.target.engine.name,
                input=turn.items,
                heavy=heavy,
                **more,
            )
            turn.items = []
            turn.number = asyncio.create_task(self._begin(turn.owner, new))

    def note_start(self, turn: Turn, started: Started) -> None:
        """Stores the id of an answer that its engine keeps: from now on it can be named."""
        if turn.kept_by_engine and turn.number is not None and started.id:
            self._run_later(self._set_engine_id(turn.number, started.id))

    async def finish(self, turn: Turn, value: Mapping[str, Any] | None, *, passed: bool) -> bool:
        """Stores the response object of an answer; None: the answer has failed. Returns whether it is kept.

        ``passed``: it is the engine's own.
        """
        number = await turn.number if turn.number is not None else None
        if number is None:
            return False
        if value is None:
            await self._try(partial(self.store.discard, number))
            return False
        kept_by_engine, status = turn.kept_by_engine and passed, str(value.get("status"))
        update = partial(self.store.update, number, status, value, kept_by_engine=kept_by_engine)
        return bool(await self._try(update))

    def abandon(self, turn: Turn, started: Started | None) -> None:
        """Deletes what is stored of an answer that has failed, unless its engine may keep it. Does not wait."""
        if turn.number is not None and not (turn.kept_by_engine and started is not None and started.id):
            self._run_later(self._discard(turn))

    async def close(self) -> None:
        """Waits for the last writes and closes the store."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.store.close()

    def _run_later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _begin(self, owner: Owner, new: NewResponse) -> int | None:
        number: int | None = await self._try(partial(self.store.begin, owner, new))
        return number

    async def _set_engine_id(self, pending: asyncio.Task[int | None], id: str) -> None:
        number = await pending
        if number is not None:
            await self._try(partial(self.store.set_engine_id, number, id, "in_progress"))

    async def _discard(self, turn: Turn) -> None:
        await self.finish(turn, None, passed=False)

    async def _try(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Runs a write. Returns None if it fails."""
        try:
            return await work()
        except LLMError as error:
            self.lost += 1
            if isinstance(error, TooLarge):  # the store logs its own failures
                log.write("responses", 30, problem=error.message)
            return None


def keeps_answers(target: Target) -> bool:
    """Whether the engine keeps its answers itself, and gets the requests of Responses clients as they are."""
    support = target.engine.responses
    return support is not None and support.keeps_answers and not target.engine.always_translate
