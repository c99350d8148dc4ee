"""Pictures, speech and transcripts for OpenAI's clients: what the engine answers is handed on as it comes."""

from __future__ import annotations

from typing import Any

from handlers.media import FormHandler, VoiceHandler
from llm.dialects import openai_chat
from llm.dialects.base import ClientDialect
from llm.engines.engine import Target
from llm.gateway.task_routing import Task, able
from llm.tasks import images, speech, transcription
from llm.upstream.tasks import Heard, hand_on, speak


class _OpenAI(VoiceHandler):
    """``model`` is ``engine/model``."""

    dialect: ClientDialect = openai_chat

    def named(self, body: dict[str, Any], task: Task) -> Target:
        target = able(self.context.catalog.target_of(body["model"], self.caller), task)
        self.told |= {"engine": target.engine.name, "model": target.model}
        return target


class ImagesHandler(_OpenAI):
    """``POST /v1/images/generations``, streamed too."""

    async def answer(self, body: dict[str, Any]) -> None:
        self.context.schemas.check("openai.images", body)
        target, heard = self.named(body, "images"), Heard()
        outgoing = images.verbatim(body, target.model)
        await self.hand_on(hand_on(outgoing, target, self.context.services, self.trace, heard), heard)


class OpenAISpeechHandler(_OpenAI):
    """``POST /v1/audio/speech``."""

    async def answer(self, body: dict[str, Any]) -> None:
        self.context.schemas.check("openai.speech", body)
        target, heard = self.named(body, "speech"), Heard()
        request = speech.read_openai(body)
        self.told["characters"] = len(request.text)
        await self.hand_on(speak(request, target, self.context.services, self.trace, heard), heard)


class OpenAITranscriptionHandler(_OpenAI, FormHandler):
    """``POST /v1/audio/transcriptions``: in the form that was asked for, as JSON, text, subtitles or events."""

    async def answer(self, body: dict[str, Any]) -> None:
        self.context.schemas.check("openai.transcription", body)
        target, heard = self.named(body, "transcription"), Heard()
        request = transcription.read_openai(body, self.upload)
        self.upload = None
        self.told["bytes"] = len(request.audio)
        outgoing = transcription.write_request(request, target.engine, target.model)
        await self.hand_on(hand_on(outgoing, target, self.context.services, self.trace, heard), heard)

    def field(self, values: list[str]) -> Any:
        return values if len(values) > 1 else values[0]
