"""``POST /voice/tts`` and ``POST /voice/stt``."""

from __future__ import annotations

from typing import Any

from handlers.media import FormHandler, VoiceHandler
from llm.tasks import speech, transcription
from llm.upstream.tasks import Heard, speak, transcribe


class SpeechHandler(VoiceHandler):
    """``POST /voice/tts``: streams the engine's audio."""

    task = "speech"

    async def answer(self, body: dict[str, Any]) -> None:
        """Requests speech and streams it."""
        self.context.schemas.check("voice.tts", body)
        target = self.target(body, self.context.config.tts_engine)
        request, dropped = speech.read_native(body)
        self.told["characters"] = len(request.text)
        response = Heard()
        await self.hand_on(speak(request, target, self.context.services, self.trace, response), response, dropped)


class TranscriptionHandler(FormHandler):
    """``POST /voice/stt``: transcribes audio from the file of a form or from base64 in JSON."""

    task = "transcription"

    async def answer(self, body: dict[str, Any]) -> None:
        """Requests a transcript and answers it as JSON."""
        self.context.schemas.check("voice.stt", body)
        target = self.target(body, self.context.config.stt_engine)
        request, dropped = transcription.read_native(body, self.upload)
        self.upload = None
        self.told["bytes"] = len(request.audio)
        transcript = await transcribe(request, target, self.context.services, self.trace)
        self.set_headers(dropped)
        self.write_json(transcription.write_native(transcript))
