"""Model lists of engines: kept for the server's own keys, and renewed while an old one is in use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llm.dialects.base import EngineDialect, Outgoing
from llm.dialects.registry import ENGINE_DIALECTS
from llm.engines.capabilities import ModelInfo
from llm.engines.engine import Target
from llm.errors import IdleTimeout, LLMError, Malformed
from llm.upstream.engine_client import Services
from llm.upstream.failures import blamed, read_failure
from llm.wire.json_codec import loads

LIST_TIMEOUT: Final = 10.0  # seconds, for one engine's whole model list
LIST_AGE: Final = 300.0  # seconds after which a list of the server's own key is renewed
FAILURE_AGE: Final = 30.0  # seconds for which an engine that could not list its models is not asked again


@dataclass(slots=True)
class _Kept:
    """The last list of an engine for the server's own key."""

    models: list[ModelInfo] | None = None
    failure: LLMError | None = None  # of the last attempt
    at: float = 0.0  # when that was, by the clock of the lists
    renewing: asyncio.Task[list[ModelInfo]] | None = None


def _retrieve(task: asyncio.Task[list[ModelInfo]]) -> None:
    """Takes the error of a renewal in the background, which is in ``_Kept`` too."""
    if not task.cancelled():
        task.exception()


class ModelLists:
    """The models of engines, by a target without a model. Lists for a caller's own key are never kept."""

    def __init__(self, services: Services, clock: Callable[[], float] = time.monotonic) -> None:
        self._services = services
        self._clock = clock
        self._lists: dict[str, _Kept] = {}

    async def get(self, target: Target) -> list[ModelInfo]:
        """Returns the engine's models; an old list at once, while it is renewed. Raises ``LLMError``."""
        if target.own_key:
            return await self._fetch(target)
        kept = self._lists.setdefault(target.engine.name, _Kept())
        if kept.models is None:
            return await asyncio.shield(self._renew(kept, target))
        if self._clock() - kept.at >= LIST_AGE:
            self._renew(kept, target)
        return kept.models

    async def get_unless_failed(self, target: Target) -> list[ModelInfo]:
        """Like :meth:`get`, but raises the error of an engine that has just failed without asking it again (O10)."""
        kept = None if target.own_key else self._lists.get(target.engine.name)
        if kept is not None and kept.failure is not None and self._clock() - kept.at < FAILURE_AGE:
            raise kept.failure
        return await self.get(target)

    def find(self, target: Target) -> ModelInfo | None:
        """Returns the target's model from the last list, if the engine was asked before; it is not asked now."""
        kept = self._lists.get(target.engine.name)
        return next((m for m in (kept.models if kept else None) or () if m.id == target.model), None)

    def close(self) -> None:
        for kept in self._lists.values():
            if kept.renewing is not None:
                kept.renewing.cancel()

    def _renew(self, kept: _Kept, target: Target) -> asyncio.Task[list[ModelInfo]]:
        """One request at a time, whoever asks."""
        if kept.renewing is None or kept.renewing.done():
            kept.renewing = asyncio.create_task(self._keep(kept, target))
            kept.renewing.add_done_callback(_retrieve)
        return kept.renewing

    async def _keep(self, kept: _Kept, target: Target) -> list[ModelInfo]:
        try:
            kept.models, kept.failure = await self._fetch(target), None
        except LLMError as error:
            kept.failure = error
            raise
        finally:
            kept.at = self._clock()
        return kept.models

    async def _fetch(self, target: Target) -> list[ModelInfo]:
        try:
            async with asyncio.timeout(LIST_TIMEOUT):
                return await self._ask(target)
        except TimeoutError:
            message = f"{target.engine.label} did not list its models within {LIST_TIMEOUT:g} seconds."
            raise IdleTimeout(message, engine=target.engine.name) from None
        except LLMError as error:
            raise blamed(error, target) from None

    async def _ask(self, target: Target) -> list[ModelInfo]:
        dialect = ENGINE_DIALECTS[target.engine.dialect]
        lister = dialect.list_models(target.engine)
        try:
            asked = next(lister)
            while True:
                asked = lister.send(await self._answers(asked, dialect, target))
        except StopIteration as stop:
            models: list[ModelInfo] = stop.value
            return models

    async def _answers(self, asked: Sequence[Outgoing], dialect: EngineDialect, target: Target) -> list[Any]:
        """JSON answers, or the error where one failed; a single request that fails is the list's failure."""
        answers = await asyncio.gather(*(self._answer(o, dialect, target) for o in asked), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and (len(asked) == 1 or not isinstance(answer, LLMError)):
                raise answer
        return [*answers]

    async def _answer(self, outgoing: Outgoing, dialect: EngineDialect, target: Target) -> Any:
        async with await self._services.send(target, outgoing) as reply:
            if not 200 <= reply.status < 300:
                raise await read_failure(reply, target)
            body = await reply.read(self._services.max_answer)
        try:
            return loads(body)
        except ValueError:
            raise Malformed(f"{target.engine.label} listed its models in something other than JSON.") from None
