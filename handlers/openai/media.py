"""OpenAI's endpoints for images, speech and transcripts: the engine's answer is streamed to the client."""

from __future__ import annotations

from typing import Any

from handlers.media import FormHandler, VoiceHandler
from llm.dialects import openai_chat
from llm.dialects.base import ClientDialect
from llm.engines.engine import Target
from llm.gateway.task_routing import Task, able
from llm.tasks import images, speech, transcription
from llm.upstream.tasks import Heard, hand_on, speak


class _OpenAIMediaHandler(VoiceHandler):
    """Base class of handlers whose field ``model`` is ``engine/model``."""

    dialect: ClientDialect = openai_chat

    def named(self, body: dict[str, Any], task: Task) -> Target:
        """Returns the engine and model of the field ``model``. Raises ``LLMError`` if the engine lacks the task."""
        target = able(self.context.catalog.target_of(body["model"], self.caller), task)
        self.told |= {"engine": target.engine.name, "model": target.model}
        return target


class ImagesHandler(_OpenAIMediaHandler):
    """``POST /v1/images/generations``, also streamed."""

    async def answer(self, body: dict[str, Any]) -> None:
        """Passes the request and the answer through."""
        self.context.schemas.check("openai.images", body)
        target, response = self.named(body, "images"), Heard()
        engine_request = images.verbatim(body, target.model)
        await self.hand_on(hand_on(engine_request, target, self.context.services, self.trace, response), response)


class OpenAISpeechHandler(_OpenAIMediaHandler):
    """``POST /v1/audio/speech``."""

    async def answer(self, body: dict[str, Any]) -> None:
        """Requests speech and streams it."""
        self.context.schemas.check("openai.speech", body)
        target, response = self.named(body, "speech"), Heard()
        request = speech.read_openai(body)
        self.told["characters"] = len(request.text)
        await self.hand_on(speak(request, target, self.context.services, self.trace, response), response)


class OpenAITranscriptionHandler(_OpenAIMediaHandler, FormHandler):
    """``POST /v1/audio/transcriptions``: answers in the requested format: JSON, text, subtitles or events."""

    async def answer(self, body: dict[str, Any]) -> None:
        """Requests a transcript and passes the answer through."""
        self.context.schemas.check("openai.transcription", body)
        target, response = self.named(body, "transcription"), Heard()
        request = transcription.read_openai(body, self.upload)
        self.upload = None
        self.told["bytes"] = len(request.audio)
        engine_request = transcription.write_request(request, target.engine, target.model)
        await self.hand_on(hand_on(engine_request, target, self.context.services, self.trace, response), response)

    def field(self, values: list[str]) -> Any:
        """Returns all values of a field that occurs several times, else its only value."""
        return values if len(values) > 1 else values[0]
