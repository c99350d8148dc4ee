"""``POST /voice/tts`` and ``POST /voice/stt``."""

from __future__ import annotations

from typing import Any

from handlers.media import FormHandler, MediaHandler
from llm.tasks import speech, transcription
from llm.upstream.tasks import ResponseInfo, speak, transcribe


class SpeechHandler(MediaHandler):
    """``POST /voice/tts``: streams the engine's audio."""

    body_schema = "voice.tts"

    task = "speech"

    async def answer(self, body: dict[str, Any]) -> None:
        """Requests speech and streams it."""
        self.context.schemas.check(self.body_schema, body)
        target = self.choose_target(body, self.context.config.tts_engine)
        request, dropped = speech.read_native(body)
        self.log_fields["characters"] = len(request.text)
        response = ResponseInfo()
        outgoing = speech.write_request(request, target.engine, target.model)
        pieces = speak(request, outgoing, target, self.context.client, self.record, response)
        await self.stream_answer(pieces, response, dropped)


class TranscriptionHandler(FormHandler):
    """``POST /voice/stt``: transcribes audio from the file of a form or from base64 in JSON."""

    body_schema = "voice.stt"

    task = "transcription"

    async def answer(self, body: dict[str, Any]) -> None:
        """Requests a transcript and answers it as JSON."""
        self.context.schemas.check(self.body_schema, body)
        target = self.choose_target(body, self.context.config.stt_engine)
        request, dropped = transcription.read_native(body, self.upload)
        self.upload = None
        self.log_fields["bytes"] = len(request.audio)
        transcript = await transcribe(request, target, self.context.client, self.record)
        self.set_answer_headers(dropped)
        self.write_json(transcription.write_native(transcript))
