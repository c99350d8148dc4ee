"""Decodes the bytes of one streamed answer into neutral events.

Nearly every event of a stream differs from the one before it only in its text. Only the decoder knows that: it compares
such events (:class:`llm.upstream.fast_path.DeltaTemplate`) instead of decoding them. All later stages see events only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llm.chat.events import Event
from llm.chat.filters import HalfPairFilter
from llm.chat.reply import replay
from llm.dialects.base import EngineDialect
from llm.engines.engine import Engine
from llm.errors import LLMError, Malformed, Truncated
from llm.upstream.fast_path import DeltaTemplate
from llm.wire.frames import Frame
from llm.wire.json_codec import loads
from llm.wire.sse import SseDecoder

_DOCUMENT = (b"{", b"[", b"<")  # how a JSON or HTML document begins; no server-sent event begins so


class Decoder:
    """Returns the events of each piece of bytes, in order.

    An error inside the stream is stored in :attr:`failure`; the caller raises it after it has passed on the events
    before it, which may be in the same read. ``limit``: bytes of one event, and of an answer that is one document.
    """

    __slots__ = (
        "_between", "_dialect", "_document", "_engine", "_framing", "_halves", "_idle", "_limit", "_reader",
        "_template", "_undecided", "done", "failure",
    )  # fmt: skip

    def __init__(self, dialect: EngineDialect, engine: Engine, limit: int) -> None:
        framing, reader = dialect.create_framing(limit), dialect.create_reader(engine)
        self._between = False  # the last piece ended with a delta: the framing has no incomplete event
        self._dialect = dialect
        self._engine = engine
        self._document: list[bytes] | None = None  # the pieces received so far, if the answer is one document
        self._framing = framing
        self._halves: HalfPairFilter | None = None  # once an escape came that may be half a surrogate pair
        self._idle = 0  # bytes since the last event
        self._limit = limit
        self._reader = reader
        self._template = DeltaTemplate(reader.volatile_fields, reader.stateful_fields, framing.delimiter)
        self._undecided = isinstance(framing, SseDecoder)  # some hosts answer a stream with one JSON document
        self.done = False  # the answer is complete: further bytes are ignored
        self.failure: LLMError | None = None

    @property
    def expects_events(self) -> bool:
        """False while the answer may still turn out to be one document instead of events."""
        return not self._undecided

    def feed(self, chunk: bytes) -> Sequence[Event]:
        """Decodes one piece. Returns no events for keep-alive bytes and for an incomplete event."""
        if self._undecided or self._document is not None:
            if (start := chunk.lstrip()) and self._undecided:
                self._undecided = False
                if start.startswith(_DOCUMENT):
                    self._document = []
            if self._document is not None:
                return self._feed_document(chunk)
        framing = self._framing
        pending = b"" if self._between else framing.pending()
        read = chunk if not pending else pending + chunk
        if pending is not None:
            delta, size = self._template.read(read)
            if delta is not None:
                if pending:
                    framing.discard_pending()
                self._between = size == len(read)
                if not self._between:
                    framing.feed(read[size:])
                self._reader.note_delta(delta)
                self._idle = 0
                return (delta,)
        self._between = False
        frames = framing.feed(chunk)
        events = self._decode(frames, last=False) if frames else []
        if frames:
            self._template.learn(b"" if pending is None else read, events)
            if (
                self._halves is not None or chunk.find(b"\\ud") >= 0 or chunk.find(b"\\uD") >= 0
            ):  # perhaps half a surrogate pair
                self._halves = self._halves or HalfPairFilter()
                events = [*self._halves.feed(events)]
        self._idle = 0 if events else self._idle + len(chunk)
        if self._idle > 2 * self._limit:  # includes an incomplete event, which has its own limit
            self.failure = self.failure or Malformed("The engine sends only keep-alive bytes and no content.")
        return events

    def close(self) -> Sequence[Event]:
        """Decodes the rest at the end. Sets :attr:`failure` to ``Truncated`` if the answer is incomplete."""
        if self._document is not None:
            return self.read_document(b"".join(self._document))
        events = self._decode(self._framing.close(), last=True)
        return events if self._halves is None else self._halves.feed(events)

    def read_document(self, body: bytes) -> Sequence[Event]:
        """Decodes a whole answer that is one JSON document. Raises ``LLMError``."""
        try:
            value = loads(body)
        except ValueError:
            raise Malformed("The engine's answer is not JSON.") from None
        return [*replay(self._dialect.read_reply(value, self._engine))]

    def _decode(self, frames: Iterable[Frame], *, last: bool) -> list[Event]:
        events: list[Event] = []
        reader = self._reader
        try:
            for frame in frames:
                events += self._read_frame(frame, last)
                if reader.done:
                    break
            if last and not reader.done:
                events += reader.close()
        except LLMError as error:
            self.failure = error
        self.done = reader.done
        return events

    def _read_frame(self, frame: Frame, last: bool) -> list[Event]:
        try:
            return self._reader.feed(frame)
        except Malformed as error:
            if frame.event == "error":  # its text is no JSON
                raise self._dialect.read_error(0, frame.data.encode(), self._engine) from None
            if last:  # without its end an event is incomplete, not malformed (S1)
                raise Truncated("The engine's answer ended in the middle of an event.", engine=error.engine) from None
            raise

    def _feed_document(self, chunk: bytes) -> Sequence[Event]:
        assert self._document is not None
        self._document.append(chunk)
        self._idle += len(chunk)
        if self._idle > self._limit:
            self.failure = Malformed(f"The engine's answer is larger than {self._limit} bytes (MAX_ANSWER_SIZE).")
        return ()
