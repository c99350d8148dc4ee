"""Chooses the engine and model for a task other than chat."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from llm.engines.engine import Engine, Target
from llm.engines.task_support import ImageSupport, SpeechSupport, TranscriptionSupport
from llm.errors import EngineNotConfigured, InvalidRequest, Unsupported
from llm.gateway.callers import Caller
from llm.gateway.catalog import Catalog

Task = Literal["speech", "transcription", "translation", "images"]


def choose_task_target(
    task: Task, engine: str | None, model: str | None, caller: Caller, catalog: Catalog, preferred: str = ""
) -> Target:
    """Chooses the target of a request that may name an engine, a model, both or neither.

    The order without an engine: one whose key the caller brought, the ``preferred`` one, the first that the caller can
    use. Raises ``EngineNotConfigured``, ``Unsupported`` or ``InvalidRequest``.
    """
    target = catalog.resolve_target(
        engine or _choose_engine(task, model, caller, catalog, preferred), model or "", caller
    )
    support = _get_support(target.engine, task)
    if support is None:
        raise _unsupported(target.engine, task, "engine")
    if not (model or support.model):
        raise InvalidRequest(f"model: is required for {target.engine.label}", param="model")
    return replace(target, model=model or support.model)


def check_task_support(target: Target, task: Task) -> Target:
    """Returns ``target`` if its engine has an API for the task. Raises ``Unsupported`` otherwise."""
    if _get_support(target.engine, task) is None:
        raise _unsupported(target.engine, task, "model")
    return target


def _unsupported(engine: Engine, task: Task, param: str) -> Unsupported:
    return Unsupported(f"{engine.label} has no {task} API on this server.", param=param, engine=engine.name)


def _get_support(engine: Engine, task: Task) -> SpeechSupport | TranscriptionSupport | ImageSupport | None:
    if task == "translation":
        return engine.transcription if engine.transcription is not None and engine.transcription.translates else None
    return {"speech": engine.speech, "transcription": engine.transcription, "images": engine.image_generation}[task]


def _choose_engine(task: Task, model: str | None, caller: Caller, catalog: Catalog, preferred: str) -> str:
    candidates = [
        engine.name
        for engine in catalog.list_engines(caller)
        if (support := _get_support(engine, task)) is not None and (model or support.model)
    ]
    if not candidates:
        raise EngineNotConfigured(f"No engine with a {task} API is configured for this caller.", param="engine")
    return min(candidates, key=lambda name: (name not in caller.keys, name != preferred))
