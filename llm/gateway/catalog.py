"""Which engines a caller may use, where a request goes, and which models there are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from llm.config.settings import Config
from llm.engines.capabilities import ModelInfo
from llm.engines.engine import Engine, Target
from llm.errors import EngineNotConfigured, LLMError, UnknownModel
from llm.gateway.callers import Caller
from llm.gateway.model_lists import ModelLists
from llm.upstream.engine_client import Services


class Catalog:
    """Engines, targets and models, by what a caller may use."""

    def __init__(self, config: Config, services: Services, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._lists = ModelLists(services, clock)

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
        """The engine's models (:class:`ModelLists`)."""
        return await self._lists.get(self.target(engine_name, "", caller))

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
        """The target's model as the engine last listed it, if it was asked before."""
        return self._lists.find(target)

    async def all_models(self, caller: Caller) -> tuple[list[ModelInfo], dict[str, LLMError]]:
        """The models of every engine the caller can use, and the errors of engines that could not list theirs."""
        engines = self.engines(caller)
        targets = [self.target(engine.name, "", caller) for engine in engines]
        results = await asyncio.gather(*map(self._lists.get_unless_failed, targets), return_exceptions=True)
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
        self._lists.close()
