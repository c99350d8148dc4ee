"""OpenAI's endpoints for images, speech and transcripts: the engine's answer is streamed to the client."""

from __future__ import annotations

from typing import Any

from handlers.context import Context
from handlers.media import FormHandler, MediaHandler, UploadHandler
from handlers.request.forwarding import forward
from llm.dialects import openai_chat
from llm.dialects.base import ClientDialect, EngineRequest
from llm.engines.engine import Target
from llm.gateway.task_routing import Task, check_task_support
from llm.tasks import images, speech, transcription
from llm.upstream.tasks import ResponseInfo, speak, stream_body


class _OpenAIMediaHandler(MediaHandler):
    """Base class of handlers whose field ``model`` is ``engine/model``."""

    dialect: ClientDialect = openai_chat

    def find_target(self, body: dict[str, Any], task: Task) -> Target:
        """Returns the engine and model of the field ``model``. Raises ``LLMError`` if the engine lacks the task."""
        target = check_task_support(self.context.catalog.resolve_model_name(body["model"], self.caller), task)
        self.log_fields |= {"engine": target.engine.name, "model": target.model}
        return target

    def forward(self, outgoing: EngineRequest, target: Target) -> EngineRequest:
        """Adds the client's headers and query to a request, since all these engines have OpenAI's API."""
        return forward(outgoing, self.request, self.dialect, target, self.record)


class ImagesHandler(_OpenAIMediaHandler):
    """``POST /v1/images/generations``, also streamed."""

    body_schema = "openai.images"

    async def answer(self, body: dict[str, Any]) -> None:
        """Passes the request and the answer through."""
        self.context.schemas.check(self.body_schema, body)
        target, response = self.find_target(body, "images"), ResponseInfo()
        engine_request = self.forward(images.passthrough_request(body, target.model), target)
        await self.stream_answer(
            stream_body(engine_request, target, self.context.client, self.record, response), response
        )


class OpenAISpeechHandler(_OpenAIMediaHandler):
    """``POST /v1/audio/speech``."""

    body_schema = "openai.speech"

    async def answer(self, body: dict[str, Any]) -> None:
        """Requests speech and streams it."""
        self.context.schemas.check(self.body_schema, body)
        target, response = self.find_target(body, "speech"), ResponseInfo()
        request = speech.read_openai(body)
        self.log_fields["characters"] = len(request.text)
        outgoing = self.forward(speech.write_request(request, target.engine, target.model), target)
        await self.stream_answer(speak(request, outgoing, target, self.context.client, self.record, response), response)


class OpenAITranscriptionHandler(_OpenAIMediaHandler, FormHandler):
    """``POST /v1/audio/transcriptions``: answers in the requested format: JSON, text, subtitles or events."""

    body_schema = "openai.transcription"

    async def answer(self, body: dict[str, Any]) -> None:
        """Requests a transcript and passes the answer through."""
        self.context.schemas.check(self.body_schema, body)
        target, response = self.find_target(body, "transcription"), ResponseInfo()
        request = transcription.read_openai(body, self.upload)
        self.upload = None
        self.log_fields["bytes"] = len(request.audio)
        engine_request = self.forward(transcription.write_request(request, target.engine, target.model), target)
        await self.stream_answer(
            stream_body(engine_request, target, self.context.client, self.record, response), response
        )

    def read_field(self, values: list[str]) -> Any:
        """Returns all values of a field that occurs several times, else its only value."""
        return values if len(values) > 1 else values[0]


class FormRelayHandler(_OpenAIMediaHandler, UploadHandler):
    """``POST /v1/images/edits``, ``/v1/images/variations`` and ``/v1/audio/translations``: forms, or JSON.

    The request is passed on with the engine's name of the model, and the answer as it comes.
    """

    body_schema = "openai.form"

    def initialize(self, context: Context, task: Task = "images", path: str = "") -> None:
        """``path``: of the endpoint, below the base URL."""
        super().initialize(context)
        self._supported: Task = task
        self._path = path

    async def answer(self, body: dict[str, Any]) -> None:
        """Passes the request and the answer through."""
        self.context.schemas.check(self.body_schema, body)
        target, response = self.find_target(body, self._supported), ResponseInfo()
        if self.form is None:
            body = await self.context.files.restore_ids(body, target.engine.name, self.caller)
        outgoing = EngineRequest(path=self._path, body={**body, "model": target.model})
        if self.form is not None:
            outgoing = self.write_form(self._path, {"model": target.model.encode()})
        outgoing = self.forward(outgoing, target)
        await self.stream_answer(stream_body(outgoing, target, self.context.client, self.record, response), response)
