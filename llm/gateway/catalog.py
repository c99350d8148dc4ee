"""The engines and models that a caller may use, and the target of a request."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from llm.config.settings import Config
from llm.engines.capabilities import NO_FACTS, ModelInfo
from llm.engines.engine import Engine, Target, split_long_context
from llm.errors import EngineNotConfigured, LLMError, UnknownModel
from llm.gateway.callers import Caller
from llm.gateway.model_lists import ModelLists
from llm.upstream.engine_client import EngineClient
from llm.upstream.tasks import is_without_responses


class Catalog:
    """Resolves engines, targets and models for a caller."""

    def __init__(self, config: Config, client: EngineClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._config = config
        self._lists = ModelLists(client, clock)

    def list_engines(self, caller: Caller) -> list[Engine]:
        """Lists the engines that the caller can use, in the order of the engine records."""
        return [engine for engine in self._config.engines.values() if self._is_usable(engine, caller)]

    def _is_usable(self, engine: Engine, caller: Caller) -> bool:
        if not engine.base_url:
            return False
        if engine.name in caller.keys and not engine.local:
            return True
        return caller.trusted and engine.name in self._config.enabled

    def resolve_target(self, engine_name: str, model: str, caller: Caller) -> Target:
        """Returns engine, model and key. Raises ``EngineNotConfigured``: unknown engine, or no key for this caller."""
        engine = self._config.engines.get(engine_name)
        if engine is None:
            known = ", ".join(self._config.engines)
            raise EngineNotConfigured(
                f"There is no engine {engine_name[:40]!r}. Known engines: {known}.", param="engine"
            )
        if not self._is_usable(engine, caller):
            raise EngineNotConfigured(f"API key for engine {engine.name} not found", param="engine")
        # The caller's own key comes first. An untrusted caller never gets here without one.
        own = caller.keys.get(engine.name)
        key = own or self._config.keys.get(engine.name)
        model, long = split_long_context(model) if model.endswith("]") else (model, False)
        target = Target(engine=engine, model=model, key=key, is_callers_key=bool(own), long_context=long)
        facts = self._lists.find_facts(target)
        return target if facts is NO_FACTS else replace(target, facts=facts)

    def resolve_model_name(self, name: str, caller: Caller) -> Target:
        """Returns the target of ``engine/model``, the model name in the compatible APIs. Raises ``UnknownModel``."""
        engine, slash, model = name.partition("/")
        if not slash or not model:
            raise UnknownModel(f"{name[:80]!r} is not a model name of this server: use engine/model.", param="model")
        return self.resolve_target(engine, model, caller)

    async def list_models(self, engine_name: str, caller: Caller) -> list[ModelInfo]:
        """Lists the engine's models (:class:`ModelLists`). Raises ``LLMError``."""
        return await self._lists.get(self.resolve_target(engine_name, "", caller))

    async def check_engine(self, engine_name: str, caller: Caller) -> str:
        """Asks an engine for its models and for what only it can tell. Returns the result. Raises ``LLMError``."""
        models = await self.list_models(engine_name, caller)
        missing = await is_without_responses(self.resolve_target(engine_name, "", caller), self._client)
        return f"ok, {len(models)} models{'; no Responses API, asked by Chat Completions' if missing else ''}"

    async def get_model(self, name: str, caller: Caller) -> ModelInfo:
        """Returns the model ``engine/get_model``. Raises ``UnknownModel``, also if the caller cannot use the engine."""
        try:
            target = self.resolve_model_name(name, caller)
        except EngineNotConfigured as error:
            raise UnknownModel(error.message, param="model") from None
        for model in await self._lists.get_unless_failed(target):
            if model.id == target.model:
                return model
        raise UnknownModel(f"model {name[:100]!r} not found", param="model")

    def find_model_info(self, target: Target) -> ModelInfo | None:
        """Returns the target's model from the engine's last list, None if there is none. Sends no request."""
        return self._lists.find(target)

    async def list_all_models(self, caller: Caller) -> tuple[list[ModelInfo], dict[str, LLMError]]:
        """Lists the models of all engines that the caller can use; also returns the errors of engines, by name."""
        engines = self.list_engines(caller)
        targets = [self.resolve_target(engine.name, "", caller) for engine in engines]
        results = await self._lists.get_all(targets)
        models: list[ModelInfo] = []
        failures: dict[str, LLMError] = {}
        for engine, result in zip(engines, results, strict=True):
            if isinstance(result, LLMError):
                failures[engine.name] = result
            else:
                models += result
        return models, failures

    def close(self) -> None:
        """Cancels background renewals of model lists."""
        self._lists.close()
