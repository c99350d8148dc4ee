"""What speech, transcription and image handlers share."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any, Final

from tornado.httputil import HTTPFile
from tornado.iostream import StreamClosedError

from handlers.base import Base
from handlers.context import Context
from handlers.request.multipart import is_form, read_form
from handlers.request.output import Output
from llm.engines.engine import Target
from llm.errors import InvalidRequest, LLMError
from llm.gateway.task_routing import Task, task_target
from llm.tasks.transcription import Upload
from llm.upstream.call_record import Trace
from llm.upstream.tasks import Heard
from llm.wire.json_codec import loads

_MAX_NUMBER: Final = 40  # characters
_FILE_FIELDS: Final = ("file", "audio")  # of a form
_UNFIT: Final = re.compile(r"[^\w.-]", re.ASCII)  # in a header's list of names


class VoiceHandler(Base):
    """What both directions share; an answer under way can be cancelled and is waited for when draining."""

    methods = ("POST",)
    costly = True
    task: Task

    def initialize(self, context: Context) -> None:
        super().initialize(context)
        self.trace = Trace()
        self._stopped: LLMError | None = None  # why the answer was stopped, if not by its client leaving

    @property
    def names(self) -> frozenset[str]:
        return self.caller.names

    async def handle(self, body: dict[str, Any]) -> None:
        self.trace = Trace(started=self.began)
        running = self.context.running
        running.add(self.request_id, self)
        try:
            await self.answer(body)
        except asyncio.CancelledError:
            if self._stopped is None:
                raise
            asyncio.current_task().uncancel()  # type: ignore[union-attr]
            raise self._stopped from None
        finally:
            running.remove(self.request_id)

    async def answer(self, body: dict[str, Any]) -> None:
        raise NotImplementedError

    def stop(self, reason: LLMError) -> None:
        """Ends the answer with this error (``running.Answer``)."""
        self._stopped = reason
        if self.answer_task is not None:
            self.answer_task.cancel()

    def nudge(self, now: float, silence: float) -> None:
        """Neither audio nor a JSON answer has room for a sign of life (``running.Answer``)."""

    def target(self, body: dict[str, Any], preferred: str) -> Target:
        target = task_target(
            self.task, body.get("engine"), body.get("model"), self.caller, self.context.catalog, preferred
        )
        self.told |= {"engine": target.engine.name, "model": target.model}
        return target

    async def hand_on(self, pieces: AsyncGenerator[bytes, None], heard: Heard, dropped: tuple[str, ...] = ()) -> None:
        """An answer's bytes as they come. One that breaks off has no end, so that nobody takes it for whole."""
        output = Output(self)
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    if not output.started:
                        self.set_headers(dropped)
                        self.set_header("Content-Type", heard.content_type)
                    output.start()
                    if not output.send(piece):
                        await output.drain()
            await output.end()
        except StreamClosedError:
            self.gone = True
        except (LLMError, asyncio.CancelledError) as error:
            failure = self._stopped if isinstance(error, asyncio.CancelledError) else error
            if failure is None or not output.started:
                raise
            self.failure = failure
            self.answer_task = None  # the hang-up is ours, so nothing is left to cancel
            output.abort()

    def set_headers(self, dropped: tuple[str, ...]) -> None:
        for name, value in self.trace.headers.items():
            self.set_header(name, value)
        if dropped:
            self.set_header("X-Dropped-Fields", ", ".join(_UNFIT.sub("?", name[:60]) for name in dropped))

    def outcome(self) -> dict[str, Any]:
        trace = self.trace
        return {
            "attempts": trace.attempts,
            "first_audio": round(trace.first_token, 3) if trace.first_token is not None else None,
            "input_tokens": trace.usage.input if trace.usage else None,
            "output_tokens": trace.usage.output if trace.usage else None,
        }


class FormHandler(VoiceHandler):
    """A form with one file, or JSON."""

    def initialize(self, context: Context) -> None:
        super().initialize(context)
        self.upload: Upload | None = None

    def parse_body(self) -> tuple[dict[str, Any], LLMError | None]:
        """A form's fields take the place of the JSON body, so that own keys are taken out of them all the same (X9)."""
        content_type = self.request.headers.get("Content-Type", "")
        if not is_form(content_type):
            return super().parse_body()
        raw, self.pieces = b"".join(self.pieces), []
        try:
            texts, files = read_form(content_type, raw)
        except InvalidRequest as error:
            return {}, error
        fields: dict[str, Any] = {name: self.field(values) for name, values in texts.items()}
        with suppress(KeyError, ValueError, TypeError):  # the schema says what is wrong
            fields["temperature"] = loads(fields["temperature"][:_MAX_NUMBER])
        return fields, self._take(files)

    def field(self, values: list[str]) -> Any:
        """Of a name that may come several times."""
        return values[-1]

    def _take(self, files: dict[str, list[HTTPFile]]) -> LLMError | None:
        """Keeps the one file, or says what is wrong."""
        given = [file for name in _FILE_FIELDS for file in files.get(name, ())]
        if len(given) > 1:
            return InvalidRequest("file: one is taken at a time", param="file")
        if given:
            self.upload = Upload(data=given[0].body, filename=given[0].filename, mime=given[0].content_type)
        return None
