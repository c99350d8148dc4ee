"""Which engines a caller may use, where a request goes, and which models there are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llm.config.settings import Config
from llm.dialects.base import EngineDialect, Outgoing
from llm.dialects.registry import ENGINE_DIALECTS
from llm.engines.capabilities import ModelInfo
from llm.engines.engine import Engine, Target
from llm.errors import EngineNotConfigured, IdleTimeout, LLMError, Malformed, UnknownModel
from llm.gateway.callers import Caller
from llm.upstream.engine_client import Services
from llm.upstream.failures import blamed, read_failure
from llm.wire.json_codec import loads

LIST_TIMEOUT: Final = 10.0  # seconds, for one engine's whole model list
LIST_AGE: Final = 300.0  # seconds after which a list of the server's own key is renewed
FAILURE_AGE: Final = 30.0  # seconds for which an engine that could not list its models is left alone


@dataclass(slots=True)
class _Kept:
    """What an engine last said of its models to the server's own key."""

    models: list[ModelInfo] | None = None
    failure: LLMError | None = None  # of the last attempt
    at: float = 0.0  # when that was, by the catalog's clock
    renewing: asyncio.Task[list[ModelInfo]] | None = None


def _seen(task: asyncio.Task[list[ModelInfo]]) -> None:
    """A failure in the background is in ``_Kept``; nobody else has to hear of it."""
    if not task.cancelled():
        task.exception()


class Catalog:
    """Engines, targets and model lists, for whoever calls."""

    def __init__(self, config: Config, services: Services, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._services = services
        self._clock = clock
        self._lists: dict[str, _Kept] = {}

    def engines(self, caller: Caller) -> list[Engine]:
        """Those that the caller can use now, in the order of the records."""
        return [engine for engine in self._config.engines.values() if self._usable(engine, caller)]

    def _usable(self, engine: Engine, caller: Caller) -> bool:
        if not engine.base_url:
            return False
        if engine.name in caller.keys and not engine.local:
            return True
        return caller.trusted and engine.name in self._config.enabled

    def target(self, engine_name: str, model: str, caller: Caller) -> Target:
        """Raises ``EngineNotConfigured``: the engine is unknown, or there is no key for this caller."""
        engine = self._config.engines.get(engine_name)
        if engine is None:
            known = ", ".join(self._config.engines)
            raise EngineNotConfigured(f"There is no engine {engine_name[:40]!r}; known are {known}.", param="engine")
        if not self._usable(engine, caller):
            raise EngineNotConfigured(f"API key for engine {engine.name} not found", param="engine")
        # A body key never buys the use of a server key: without trust there is only the caller's own.
        if own := caller.keys.get(engine.name):
            return Target(engine=engine, model=model, key=own, own_key=True)
        return Target(engine=engine, model=model, key=self._config.keys.get(engine.name))

    def target_of(self, name: str, caller: Caller) -> Target:
        """The target of ``engine/model``, as the compatible APIs name it."""
        engine, slash, model = name.partition("/")
        if not slash or not model:
            raise UnknownModel(f"{name[:80]!r} does not name a model here: write engine/model.", param="model")
        return self.target(engine, model, caller)

    async def models(self, engine_name: str, caller: Caller) -> list[ModelInfo]:
        """The engine's models. A list of the server's own key is kept: an old one is handed out while it is renewed.

        Lists of a caller's own key are never kept.
        """
        target = self.target(engine_name, "", caller)
        if target.own_key:
            return await self._listed(target)
        kept = self._lists.setdefault(engine_name, _Kept())
        if kept.models is None:
            return await self._renewed(kept, target)
        if self._clock() - kept.at >= LIST_AGE:
            self._renew(kept, target)
        return kept.models

    async def model(self, name: str, caller: Caller) -> ModelInfo:
        """The one that is named ``engine/model``. Raises ``UnknownModel`` also where the caller has no such engine."""
        try:
            target = self.target_of(name, caller)
        except EngineNotConfigured as error:
            raise UnknownModel(error.message, param="model") from None
        for model in await self.models(target.engine.name, caller):
            if model.id == target.model:
                return model
        raise UnknownModel(f"model {name[:100]!r} not found", param="model")

    def fact(self, target: Target) -> ModelInfo | None:
        """What the engine's list last said of a model, if it was asked for; nobody is asked now."""
        kept = self._lists.get(target.engine.name)
        return next((m for m in (kept.models if kept else None) or () if m.id == target.model), None)

    async def all_models(self, caller: Caller) -> tuple[list[ModelInfo], dict[str, LLMError]]:
        """The models of every engine the caller can use, and the errors of those that could not tell theirs.

        An engine that has just failed is not waited for again (O10).
        """
        engines = self.engines(caller)
        results = await asyncio.gather(*(self._known(e.name, caller) for e in engines), return_exceptions=True)
        models: list[ModelInfo] = []
        failures: dict[str, LLMError] = {}
        for engine, result in zip(engines, results, strict=True):
            if isinstance(result, LLMError):
                failures[engine.name] = result
            elif isinstance(result, BaseException):
                raise result
            else:
                models += result
        return models, failures

    def close(self) -> None:
        for kept in self._lists.values():
            if kept.renewing is not None:
                kept.renewing.cancel()

    async def _known(self, engine_name: str, caller: Caller) -> list[ModelInfo]:
        kept = self._lists.get(engine_name)
        failed = kept is not None and kept.failure is not None and self._clock() - kept.at < FAILURE_AGE
        if failed and kept is not None and kept.failure is not None and engine_name not in caller.keys:
            raise kept.failure
        return await self.models(engine_name, caller)

    def _renew(self, kept: _Kept, target: Target) -> asyncio.Task[list[ModelInfo]]:
        """One request at a time, whoever asks."""
        if kept.renewing is None or kept.renewing.done():
            kept.renewing = asyncio.create_task(self._fetch(kept, target))
            kept.renewing.add_done_callback(_seen)
        return kept.renewing

    async def _renewed(self, kept: _Kept, target: Target) -> list[ModelInfo]:
        return await asyncio.shield(self._renew(kept, target))

    async def _fetch(self, kept: _Kept, target: Target) -> list[ModelInfo]:
        try:
            kept.models, kept.failure = await self._listed(target), None
        except LLMError as error:
            kept.failure = error
            raise
        finally:
            kept.at = self._clock()
        return kept.models

    async def _listed(self, target: Target) -> list[ModelInfo]:
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
