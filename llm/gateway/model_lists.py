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
KNOWN_WAIT: Final = 0.05  # seconds that the list of all engines waits for engines whose models are not known yet
FIRST_WAIT: Final = 1.0  # seconds that it waits for the first engine of all, after the start of this process
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

    @property
    def is_known(self) -> bool:
        """True if there is a list or the error of an attempt."""
        return self.models is not None or self.failure is not None


def _retrieve(task: asyncio.Task[list[ModelInfo]]) -> None:
    """Marks the error of a background renewal as retrieved; ``_CachedList`` has it too."""
    if not task.cancelled():
        task.exception()


def _check(result: list[ModelInfo] | BaseException) -> list[ModelInfo] | LLMError:
    if isinstance(result, BaseException) and not isinstance(result, LLMError):
        raise result
    return result


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

    async def get_all(self, targets: Sequence[Target]) -> list[list[ModelInfo] | LLMError]:
        """Returns the last known models of each engine, or the error of the last attempt to list them.

        Nothing waits for an engine longer than ``KNOWN_WAIT``, since a client may give up on the whole list: what is
        too old is renewed in the background. Where nothing is known of any engine, waits for the first one. Lists for
        a caller's own key are fetched.
        """
        own = {
            target.engine.name: asyncio.create_task(self._fetch(target)) for target in targets if target.is_callers_key
        }
        known = [self._lists.setdefault(t.engine.name, _CachedList()) for t in targets if not t.is_callers_key]
        new = {self._renew(cached, target) for target, cached in self._find_missing(targets)}
        try:
            if new:
                await asyncio.wait(new, timeout=KNOWN_WAIT)
                if not own and not any(cached.models is not None for cached in known):
                    await asyncio.wait(new, timeout=FIRST_WAIT, return_when=asyncio.FIRST_COMPLETED)
            results = await asyncio.gather(*own.values(), return_exceptions=True)
        finally:
            for task in own.values():
                task.cancel()
        fetched = dict(zip(own, results, strict=True))
        return [_check(fetched[t.engine.name]) if t.is_callers_key else self._get_known(t) for t in targets]

    def _find_missing(self, targets: Sequence[Target]) -> list[tuple[Target, _CachedList]]:
        """Returns the engines whose list is missing; starts to renew the lists that are too old."""
        missing = []
        for target in targets:
            if target.is_callers_key:
                continue
            cached = self._lists[target.engine.name]
            if not cached.is_known:
                missing.append((target, cached))
            elif self._clock() - cached.at >= (LIST_AGE if cached.failure is None else FAILURE_AGE):
                self._renew(cached, target)
        return missing

    def _get_known(self, target: Target) -> list[ModelInfo] | LLMError:
        cached = self._lists[target.engine.name]
        if cached.models is not None:
            return cached.models
        message = f"{target.engine.label} has not listed its models yet."
        return cached.failure or IdleTimeout(message, engine=target.engine.name)

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
            cached.renewing = asyncio.create_task(self._update(cached, target), name="renewal")
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
