"""Base classes of the speech, transcription and image handlers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from typing import Any, ClassVar, Final

from tornado.httputil import HTTPFile
from tornado.iostream import StreamClosedError

from handlers.base import BaseHandler
from handlers.context import Context
from handlers.request.body import MAX_DISCARDED, RequestBody
from handlers.request.multipart import RawForm, digest_form, is_form, read_form
from handlers.request.output import Output
from handlers.request.response_headers import join_names
from handlers.request.spool import Spool
from llm.dialects.base import EngineRequest
from llm.engines.engine import Target
from llm.errors import InvalidRequest, LLMError, TooLarge
from llm.gateway.task_routing import Task, choose_task_target
from llm.tasks.transcription import Upload
from llm.upstream.call_record import CallRecord
from llm.upstream.tasks import ResponseInfo
from llm.wire.json_codec import loads

_MAX_NUMBER: Final = 40  # characters of a number in a form field
_FILE_FIELDS: Final = ("file", "audio")  # form fields that may hold the audio


class MediaHandler(BaseHandler):
    """Base class of media handlers. A running answer can be cancelled, and the server waits for it when draining."""

    methods: ClassVar[tuple[str, ...]] = ("POST",)
    counts_as_answer = True
    task: Task

    def initialize(self, context: Context) -> None:
        super().initialize(context)
        self.record = CallRecord()
        self._stopped: LLMError | None = None  # why the answer was stopped, unless the client has left

    @property
    def names(self) -> frozenset[str]:
        """Names of the caller (``ActiveRequest``)."""
        return self.caller.names

    async def handle(self, body: dict[str, Any]) -> None:
        self.record = CallRecord(started=self.started_at)
        active = self.context.active
        active.add(self.request_id, self)
        try:
            await self.answer(body)
        except asyncio.CancelledError:
            if self._stopped is None:
                raise
            asyncio.current_task().uncancel()  # type: ignore[union-attr]
            raise self._stopped from None
        finally:
            active.remove(self.request_id)

    async def answer(self, body: dict[str, Any]) -> None:
        """Answers the request."""
        raise NotImplementedError

    def stop(self, reason: LLMError) -> None:
        """Ends the answer with this error (``ActiveRequest``)."""
        self._stopped = reason
        if self.answer_task is not None:
            self.answer_task.cancel()

    def send_keepalive(self, now: float, silence: float) -> None:
        """Sends nothing: a keepalive would change audio or JSON (``ActiveRequest``)."""

    def choose_target(self, body: dict[str, Any], preferred: str) -> Target:
        """Returns the engine and model for the task. ``preferred``: engine that is used if the body names none."""
        target = choose_task_target(
            self.task, body.get("engine"), body.get("model"), self.caller, self.context.catalog, preferred
        )
        self.log_fields |= {"engine": target.engine.name, "model": target.model}
        return target

    async def stream_answer(
        self, pieces: AsyncGenerator[bytes, None], response: ResponseInfo, dropped: tuple[str, ...] = ()
    ) -> None:
        """Streams the bytes of an engine's answer. If it fails in the middle, the response is left without its end."""
        output = Output(self)
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    if not output.started:
                        self.set_answer_headers(dropped)
                        self.set_header("Content-Type", response.content_type)
                    output.start()
                    if not output.send(piece):
                        await output.drain()
            await output.end()
        except StreamClosedError:
            self.client_gone = True
        except (LLMError, asyncio.CancelledError) as error:
            failure = self._stopped if isinstance(error, asyncio.CancelledError) else error
            if failure is None or not output.started:
                raise
            self.failure = failure
            self.answer_task = None  # the close below must not cancel this task
            output.abort()

    def set_answer_headers(self, dropped: tuple[str, ...]) -> None:
        """Sets the headers passed on from the engine, and ``X-Dropped-Fields``."""
        for name, value in self.record.headers.items():
            self.set_header(name, value)
        if names := (*self.record.dropped, *dropped):
            self.set_header("X-Dropped-Fields", join_names(names))

    def final_log_fields(self) -> dict[str, Any]:
        """Returns attempts, timing and usage for the log line."""
        trace = self.record
        return {
            "attempts": trace.attempts,
            "first_audio": round(trace.first_token, 3) if trace.first_token is not None else None,
            "input_tokens": trace.usage.input if trace.usage else None,
            "output_tokens": trace.usage.output if trace.usage else None,
        }


class UploadHandler(MediaHandler):
    """Base class of handlers that pass on a form as it came: it is kept in a file, and its text fields alone are read.

    The body may also be JSON.
    """

    def initialize(self, context: Context) -> None:
        super().initialize(context)
        self.form: RawForm | None = None

    def create_body(self, known: bool) -> RequestBody:
        """Returns what receives the body (``BaseHandler``)."""
        config = self.context.config
        limit, budget = config.max_upload_size, self.context.upload_budget
        if not known:
            limit, budget = min(limit, config.max_body_size), self.context.body_budget
        discard_limit = limit + MAX_DISCARDED * config.max_body_size
        return RequestBody(limit, discard_limit, budget, Spool(config.data_dir))

    def parse_body(self) -> tuple[dict[str, Any], LLMError | None]:
        """Returns the text fields of a form, or a JSON object."""
        content_type, data = self.request.headers.get("Content-Type", ""), self.body.view()
        if not is_form(content_type):
            limit = self.context.config.max_body_size
            if len(data) > limit:
                return {}, TooLarge(f"The body is larger than {limit} bytes (MAX_BODY_SIZE).")
            return super().parse_body()
        try:
            self.form = RawForm(content_type, data)
            return {**self.form.read_texts()}, None
        except InvalidRequest as error:
            return {}, error

    def digest_request(self) -> bytes:
        """Returns the digest of the form, or of the JSON."""
        return super().digest_request() if self.form is None else self.form.digest()

    def write_form(self, path: str, changes: Mapping[str, bytes | memoryview]) -> EngineRequest:
        """Returns the form for an engine, with other values for some fields, and without the caller's keys."""
        assert self.form is not None
        engines = self.context.config.engines
        keys = {part.name for part in self.form.parts if part.name.endswith("Key") and part.name[:-3] in engines}
        headers = {"content-type": self.form.content_type}
        return EngineRequest(path=path, pieces=self.form.write(changes, keys), headers=headers)


class FormHandler(MediaHandler):
    """Base class of handlers whose request is a form with one file, or JSON."""

    def initialize(self, context: Context) -> None:
        super().initialize(context)
        self.upload: Upload | None = None

    def parse_body(self) -> tuple[dict[str, Any], LLMError | None]:
        """Returns the form's text fields as the body, so that the caller's own keys are removed from them too (X9)."""
        content_type = self.request.headers.get("Content-Type", "")
        if not is_form(content_type):
            return super().parse_body()
        raw = self.body.take()
        try:
            texts, files = read_form(content_type, raw)
        except InvalidRequest as error:
            return {}, error
        if self.body.digest is not None:  # without the boundary, which differs between two equal forms
            self.body.digest = digest_form(texts, files)
        fields: dict[str, Any] = {name: self.read_field(values) for name, values in texts.items()}
        with suppress(KeyError, ValueError, TypeError):  # the schema check reports the error
            fields["temperature"] = loads(fields["temperature"][:_MAX_NUMBER])
        return fields, self._set_upload(files)

    def read_field(self, values: list[str]) -> Any:
        """Returns the value of a field that may occur several times."""
        return values[-1]

    def _set_upload(self, files: dict[str, list[HTTPFile]]) -> LLMError | None:
        """Stores the file, or returns an error if there are several."""
        uploads = [file for name in _FILE_FIELDS for file in files.get(name, ())]
        if len(uploads) > 1:
            return InvalidRequest("file: only one file is allowed", param="file")
        if uploads:
            self.upload = Upload(data=uploads[0].body, filename=uploads[0].filename, mime=uploads[0].content_type)
        return None
