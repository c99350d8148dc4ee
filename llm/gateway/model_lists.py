"""Model lists of engines, cached for the server's own keys; an old list is used while it is renewed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llm.dialects.base import EngineDialect, EngineRequest
from llm.dialects.registry import ENGINE_DIALECTS, NEW_MODELS
from llm.engines.capabilities import NO_FACTS, ModelFacts, ModelInfo
from llm.engines.engine import Target
from llm.errors import IdleTimeout, LLMError, Malformed
from llm.upstream.engine_client import EngineClient
from llm.upstream.failures import attribute_error, read_failure
from llm.wire.json_codec import loads

LIST_TIMEOUT: Final = 10.0  # seconds for one engine's whole model list
LIST_AGE: Final = 300.0  # seconds after which a list of the server's own key is renewed
FACTS_AGE: Final = 86400.0  # seconds after which the facts of a list are no longer used; the patterns are, then
FAILURE_AGE: Final = 30.0  # seconds without a new request after an engine failed to list its models


@dataclass(slots=True)
class _CachedList:
    """The last list of an engine, for the server's own key."""

    models: list[ModelInfo] | None = None
    by_id: Mapping[str, ModelInfo] = field(default_factory=dict)  # the same models
    listed_at: float = 0.0  # time at which they were listed, by the clock of ``ModelLists``
    failure: LLMError | None = None  # of the last attempt
    at: float = 0.0  # time of the last attempt
    renewing: asyncio.Task[list[ModelInfo]] | None = None


def _retrieve(task: asyncio.Task[list[ModelInfo]]) -> None:
    """Marks the error of a background renewal as retrieved; ``_CachedList`` has it too."""
    if not task.cancelled():
        task.exception()


class ModelLists:
    """Lists the models of engines. Lists for a caller's own key are never cached.

    The methods take a target whose model is ignored, except by :meth:`find`.
    """

    def __init__(self, client: EngineClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._lists: dict[str, _CachedList] = {}

    async def get(self, target: Target) -> list[ModelInfo]:
        """Returns the engine's models; an old list at once, with a renewal in the background. Raises ``LLMError``."""
        if target.is_callers_key:
            return await self._fetch(target)
        cached = self._lists.setdefault(target.engine.name, _CachedList())
        if cached.models is None:
            return await asyncio.shield(self._renew(cached, target))
        if self._clock() - cached.at >= LIST_AGE:
            self._renew(cached, target)
        return cached.models

    async def get_unless_failed(self, target: Target) -> list[ModelInfo]:
        """Like :meth:`get`, but if the engine has just failed, raises that error without a new request (O10)."""
        cached = None if target.is_callers_key else self._lists.get(target.engine.name)
        if cached is not None and cached.failure is not None and self._clock() - cached.at < FAILURE_AGE:
            raise cached.failure
        return await self.get(target)

    def find(self, target: Target) -> ModelInfo | None:
        """Returns the target's model from the last list, if there is one. Sends no request."""
        cached = self._lists.get(target.engine.name)
        return None if cached is None else cached.by_id.get(target.model)

    def find_facts(self, target: Target) -> ModelFacts:
        """Returns what the engine's last list reports about the target's model, if the list is not too old.

        Without them, the list is renewed in the background for a model that the patterns do not know either.
        """
        cached = self._lists.get(target.engine.name)
        info = None if cached is None else cached.by_id.get(target.model)
        if info is not None and cached is not None and self._clock() - cached.listed_at < FACTS_AGE:
            return info.facts
        is_new = NEW_MODELS.get(target.engine.dialect)
        if is_new is not None and target.key and not target.is_callers_key and is_new(target.model):
            cached = self._lists.setdefault(target.engine.name, _CachedList(at=-LIST_AGE))
            if self._clock() - cached.at >= LIST_AGE:
                self._renew(cached, target)
        return NO_FACTS

    def close(self) -> None:
        """Cancels background renewals."""
        for cached in self._lists.values():
            if cached.renewing is not None:
                cached.renewing.cancel()

    def _renew(self, cached: _CachedList, target: Target) -> asyncio.Task[list[ModelInfo]]:
        """Starts a renewal, or returns the one that is running."""
        if cached.renewing is None or cached.renewing.done():
            cached.renewing = asyncio.create_task(self._update(cached, target))
            cached.renewing.add_done_callback(_retrieve)
        return cached.renewing

    async def _update(self, cached: _CachedList, target: Target) -> list[ModelInfo]:
        try:
            cached.models, cached.failure = await self._fetch(target), None
            cached.by_id, cached.listed_at = {model.id: model for model in cached.models}, self._clock()
        except LLMError as error:
            cached.failure = error
            raise
        finally:
            cached.at = self._clock()
        return cached.models

    async def _fetch(self, target: Target) -> list[ModelInfo]:
        try:
            async with asyncio.timeout(LIST_TIMEOUT):
                return await self._request_list(target)
        except TimeoutError:
            message = f"{target.engine.label} did not list its models within {LIST_TIMEOUT:g} seconds."
            raise IdleTimeout(message, engine=target.engine.name) from None
        except LLMError as error:
            raise attribute_error(error, target) from None

    async def _request_list(self, target: Target) -> list[ModelInfo]:
        dialect = ENGINE_DIALECTS[target.engine.dialect]
        lister = dialect.list_models(target.engine)
        try:
            requests = next(lister)
            while True:
                requests = lister.send(await self._send_all(requests, dialect, target))
        except StopIteration as stop:
            models: list[ModelInfo] = stop.value
            return models

    async def _send_all(self, requests: Sequence[EngineRequest], dialect: EngineDialect, target: Target) -> list[Any]:
        """Returns the JSON bodies, or ``LLMError`` for failed requests, in order. Raises it if there is one request."""
        results = await asyncio.gather(*(self._send(r, dialect, target) for r in requests), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and (len(requests) == 1 or not isinstance(result, LLMError)):
                raise result
        return [*results]

    async def _send(self, outgoing: EngineRequest, dialect: EngineDialect, target: Target) -> Any:
        async with await self._client.send(target, outgoing) as reply:
            if not 200 <= reply.status < 300:
                raise await read_failure(reply, target)
            body = await reply.read(self._client.max_answer)
        try:
            return loads(body)
        except ValueError:
            raise Malformed(f"The model list of {target.engine.label} is not JSON.") from None
