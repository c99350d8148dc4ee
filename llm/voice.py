"""Speech and transcription: which engine does it, and one round with it."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from llm.catalog import Caller, Catalog
from llm.dialects import Outgoing
from llm.engines import Engine, Target
from llm.errors import EngineNotConfigured, InvalidRequest, Unsupported
from llm.exchange import Services, Trace, ask, asked
from llm.http import HttpReply
from llm.tasks import speech, transcription
from llm.tasks.records import Images, Speech, Transcription
from llm.tasks.speech import SpeechRequest
from llm.tasks.transcription import Transcript, TranscriptionRequest

Task = Literal["speech", "transcription", "images"]


@dataclass(slots=True)
class Heard:
    """What the engine's answer turned out to be, known when the first of it has come."""

    content_type: str = "application/octet-stream"


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


def hand_on(
    outgoing: Outgoing, target: Target, services: Services, trace: Trace, heard: Heard
) -> AsyncGenerator[bytes, None]:
    """Whatever the engine answers, as it comes. Raises ``LLMError`` as :func:`speak` does."""

    async def read(reply: HttpReply) -> AsyncGenerator[bytes, None]:
        heard.content_type = reply.headers.get("content-type", heard.content_type)
        async for chunk in reply:
            reply.alive()
            yield chunk

    return asked(outgoing, read, target, services, trace)


def speak(
    request: SpeechRequest, target: Target, services: Services, trace: Trace, heard: Heard
) -> AsyncGenerator[bytes, None]:
    """The audio as it comes. Raises ``LLMError``; before the first byte a failure that may pass is tried again."""
    engine = target.engine
    outgoing = speech.write_request(request, engine, target.model)

    async def read(reply: HttpReply) -> AsyncGenerator[bytes, None]:
        told = reply.headers.get("content-type", "")
        heard.content_type = speech.content_type(request, engine, told)
        reader = speech.reader(told, engine)
        async for chunk in reply:
            reply.alive()
            if audio := reader.feed(chunk):
                if trace.first_token is None:
                    trace.first_token = time.monotonic() - trace.started
                yield audio
        if rest := reader.close():
            yield rest

    return asked(outgoing, read, target, services, trace)


async def transcribe(request: TranscriptionRequest, target: Target, services: Services, trace: Trace) -> Transcript:
    """Raises ``LLMError``; a failure that may pass is tried again."""
    outgoing = transcription.write_request(request, target.engine, target.model)
    transcript = await ask(outgoing, partial(transcription.read_reply, engine=target.engine), target, services, trace)
    trace.usage = transcript.usage
    return transcript


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
