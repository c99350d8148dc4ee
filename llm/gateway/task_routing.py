"""Which engine does a task other than chat."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from llm.engines.engine import Engine, Target
from llm.engines.task_support import Images, Speech, Transcription
from llm.errors import EngineNotConfigured, InvalidRequest, Unsupported
from llm.gateway.callers import Caller
from llm.gateway.catalog import Catalog

Task = Literal["speech", "transcription", "images"]


def task_target(
    task: Task, engine: str | None, model: str | None, caller: Caller, catalog: Catalog, preferred: str = ""
) -> Target:
    """Where a request goes that may name an engine and a model, or neither.

    Without an engine it goes to one whose key the caller brought, then to the ``preferred`` one, then to the first that
    the caller can use. Raises ``EngineNotConfigured``, ``Unsupported`` or ``InvalidRequest``.
    """
    target = catalog.target(engine or _first(task, model, caller, catalog, preferred), model or "", caller)
    has = _task_of(target.engine, task)
    if has is None:
        raise _lacking(target.engine, task, "engine")
    if not (model or has.model):
        raise InvalidRequest(f"model: is required for {target.engine.label}", param="model")
    return replace(target, model=model or has.model)


def able(target: Target, task: Task) -> Target:
    """``target``, whose engine has an API for this. Raises ``Unsupported``."""
    if _task_of(target.engine, task) is None:
        raise _lacking(target.engine, task, "model")
    return target


def _lacking(engine: Engine, task: Task, param: str) -> Unsupported:
    return Unsupported(f"{engine.label} has no {task} API here.", param=param, engine=engine.name)


def _task_of(engine: Engine, task: Task) -> Speech | Transcription | Images | None:
    return {"speech": engine.speech, "transcription": engine.transcription, "images": engine.images}[task]


def _first(task: Task, model: str | None, caller: Caller, catalog: Catalog, preferred: str) -> str:
    able = [
        engine.name
        for engine in catalog.engines(caller)
        if (has := _task_of(engine, task)) is not None and (model or has.model)
    ]
    if not able:
        raise EngineNotConfigured(f"No engine with a {task} API is configured for this caller.", param="engine")
    return min(able, key=lambda name: (name not in caller.keys, name != preferred))
