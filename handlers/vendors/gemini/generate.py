"""``:generateContent`` and ``:streamGenerateContent``, whose stream is events (``alt=sse``) or one JSON array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from handlers.chat import ChatHandler, ClientAnswer
from handlers.context import Context
from handlers.vendors.gemini.paths import find_url_key, read_model_name
from llm.chat.request import ChatRequest
from llm.dialects import gemini
from llm.dialects.base import ClientDialect, Writer
from llm.errors import ContentBlocked
from llm.wire.frames import MAX_FRAME
from llm.wire.json_codec import dump_bytes
from llm.wire.sse import SseSplitter

GENERATE: Final = "generateContent"
STREAM: Final = "streamGenerateContent"


class GenerateHandler(ChatHandler):
    """Answers a chat. Model and method are in the path."""

    body_schema = "gemini.generate"
    __slots__ = ("array", "writer")

    dialect: ClientDialect = gemini

    def initialize(self, context: Context) -> None:  # type: ignore[override]
        super().initialize(context, gemini, self.body_schema)
        self.array = self.request.query_arguments.get("alt") != [b"sse"]
        self.writer: gemini.ContentWriter | None = None  # of a stream
        self.body.refusal = self.body.refusal or find_url_key(self.request)

    async def handle(self, body: dict[str, Any]) -> None:
        path, method = self.path_args
        stream = method == STREAM
        try:
            await super().handle({**body, "model": read_model_name(path), "stream": stream})
        except ContentBlocked as error:  # raised before the answer has begun
            self.failure = error
            self._write_blocked(error, stream)

    def _write_blocked(self, error: ContentBlocked, stream: bool) -> None:
        self.set_answer_headers()
        if not stream or self.writer is None:
            self.write_json(gemini.write_blocked(error))
            return
        self.set_header("Content-Type", self.writer.content_type)
        self.write(self.writer.frame(dump_bytes(gemini.write_blocked(error))) + self.writer.end())

    def create_answer(self) -> ClientAnswer:
        """Returns the sink of the answer."""
        return _ArrayAnswer(self) if self.array else super().create_answer()

    def make_writer(self, request: ChatRequest) -> Writer:
        """Returns the writer of a streamed answer."""
        self.writer = gemini.ContentWriter(request, array=self.array)
        return self.writer


class _ArrayAnswer(ClientAnswer):
    """Sends the events of a passed-through stream as the items of one JSON array."""

    __slots__ = ("_gemini", "_passed", "_splitter")

    def __init__(self, handler: GenerateHandler) -> None:
        super().__init__(handler)
        self._gemini = handler
        self._passed = False  # the answer passes through
        self._splitter = SseSplitter(MAX_FRAME)

    @property
    def send(self) -> Callable[[bytes], bool]:
        """The function that sends the bytes of a passed-through answer."""
        return super().send if self._gemini.writer is None else self._send_items

    @property
    def send_last(self) -> Callable[[bytes], bool]:
        """The function that sends the last bytes of a passed-through stream."""
        return self._send_items

    def accept(self, content_type: str | None = None) -> None:
        """Sends the headers of a stream if that has not happened."""
        super().accept(content_type if self._gemini.writer is None else None)

    async def end(self) -> None:
        """Ends the answer after the service has written all of it."""
        if self._passed and self._gemini.writer is not None:
            super().send(self._gemini.writer.end())
        await super().end()

    def _send_items(self, piece: bytes) -> bool:
        writer = self._gemini.writer
        assert writer is not None
        self._passed = True
        frames = (self._splitter.decode_frame(event) for event in self._splitter.split_events(piece))
        items = b"".join(writer.frame(frame.data.encode()) for frame in frames if frame is not None)
        return super().send(items) if items else True
