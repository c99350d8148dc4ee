"""The events of an answer that is passed through: sent as they came, or repaired, and read for the call record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from llm.chat.events import Event
from llm.dialects.registry import PASSTHROUGH_WIRES
from llm.dialects.stream_repair import find_first
from llm.engines.engine import Target
from llm.errors import LLMError, Malformed
from llm.log import MASK, is_secret
from llm.upstream.call_record import CallRecord, observe_passed
from llm.upstream.fast_path import DeltaTemplate
from llm.wire.frames import Frame, FrameSplitter
from llm.wire.json_codec import loads
from llm.wire.ndjson import NdjsonSplitter, escape_line_separators
from llm.wire.sse import has_empty_data


class PassthroughEvents:
    """The events of one answer on their way from an engine to a client: sent first, then read for the call record.

    An event that is like the one before but for its text is not decoded (:class:`DeltaTemplate`); the dialect's reader
    gets all others, so that it knows each part and call.
    """

    __slots__ = (
        "_between", "_blocks", "_dialect", "_error_shown", "_idle", "_key", "_limit", "_needs_text", "_reader",
        "_record", "_send_last", "_target", "_template", "done", "failure", "holds_end", "lines", "repair", "send",
        "withhold_usage",
    )  # fmt: skip

    def __init__(
        self,
        target: Target,
        record: CallRecord,
        blocks: FrameSplitter,
        send: Callable[[bytes], bool],
        send_last: Callable[[bytes], bool],
        limit: int,
    ) -> None:
        """``send_last``: sends the end; ``limit``: bytes that may come without content is twice that."""
        dialect = self._dialect = PASSTHROUGH_WIRES[target.engine.dialect]
        self._between = False  # the last piece ended with a delta: the splitter has no incomplete event
        self._blocks = blocks
        self._key = target.key.encode() if target.key else b""
        self._idle = 0  # bytes since the last content
        self._limit = limit
        self._reader = dialect.create_reader(target.engine)
        self._needs_text = self._reader.needs_text
        self._record = record
        self.repair = dialect.create_repair(self._reader, target.engine)
        self._error_shown = False  # clients take ``failure`` as it was sent for the end of the answer
        self.send = send
        self._send_last = send_last
        self._target = target
        reader, numbered = self._reader, self.repair.NUMBERED
        self._template = DeltaTemplate(
            reader.volatile_fields, reader.stateful_fields, blocks.delimiter, keeps_last=numbered
        )
        self.lines = isinstance(blocks, NdjsonSplitter)  # JSON lines, or else server-sent events
        self.done = False  # the answer has ended: what the engine still sends is of no interest
        self.failure: LLMError | None = None  # an error that the engine sent itself; the client has it already
        self.withhold_usage = False  # the client did not ask for it
        self.holds_end = False  # the end is sent when the caller has done its work, not at once

    def feed(self, chunk: bytes) -> bool | None:
        """Sends a piece of the answer on and reads it for the call record (``HttpResponse.on_data``)."""
        blocks, template = self._blocks, self._template
        pending = None if template.delta is None else b"" if self._between else blocks.pending()
        if pending is not None:
            read = pending + chunk if pending else chunk
            piece, size = None, 0 if self._needs_text else template.skim(read)
            if not size:
                piece, size = template.read(read)
            if size:
                if pending:
                    blocks.discard_pending()
                ready = self.send(escape_line_separators(read[:size]) if self.lines else read[:size])
                self._between = size == len(read)
                if not self._between:
                    blocks.extract_complete(read[size:])
                if piece is not None:
                    self._reader.note_delta(piece)
                self._record.characters += template.characters
                self._idle = 0
                return ready
        self._between = False
        whole = blocks.extract_complete(chunk)
        ready, found = self._feed_whole(whole) if whole else (True, False)
        if found:
            self._idle = 0
            return ready and not self.done
        self._idle += len(chunk)
        if self._idle > 2 * self._limit:  # half an event is part of it, and has its own limit
            raise Malformed("The engine sends signs of life without end and nothing else.")
        return None if ready and not self.done else False

    def end(self) -> None:
        """Notes in the call record how the answer has ended, for what the client gets after it."""
        record = self._record
        record.failure = self.failure
        if record.passed_start is not None and not self.done:
            number = self.repair.find_next_number(self._template.last)
            record.passed_start = replace(record.passed_start, next_number=number)

    def take_rest(self) -> bytes:
        """Returns what is left at the end: an event without its end, or anything else."""
        return self._blocks.close()

    def close(self, rest: bytes) -> None:
        """Sends ``rest``, if it is an event. Raises ``Truncated`` where the dialect's own end is missing."""
        blocks = self._blocks
        frame = blocks.decode_frame(rest)
        if frame is not None:
            piece = self._presentable(self._repaired(rest + blocks.delimiter, frame))
            try:
                observe_passed(self._read_frame(frame), self._record)
            except Malformed:
                piece = b""  # half an event
            if piece:
                (self._send_last if self.holds_end else self.send)(piece)
        if self.failure is not None and not self._error_shown:
            raise self.failure
        if not self.done and self.failure is None:
            observe_passed(self._reader.close(), self._record)
            if piece := self.repair.end():
                self.send(piece)

    def _feed_whole(self, whole: bytes) -> tuple[bool, bool]:
        """Sends the events before the first one with a mark of the repair as they are, then reads all.

        Returns what ``send`` returns, and whether one event held something. Raises ``LLMError`` at the end with an
        error.
        """
        repair, mark = self.repair, 0
        # What may be the end is read before it is sent.
        if self.failure is None and not self.holds_end and whole.startswith(repair.START):
            mark = find_first(whole, repair.MARKS)
        if mark < 0:
            ready = self._send_unchanged(whole)
            events = self._blocks.split_events(whole)
            return self._read(events, len(events), ready)
        events = self._blocks.split_events(whole)
        unchanged, end = 0, len(events[0])
        while end <= mark:
            unchanged += 1
            end += len(events[unchanged])
        ready = self._send_unchanged(b"".join(events[:unchanged])) if unchanged else True
        return self._read(events, unchanged, ready)

    def _send_unchanged(self, whole: bytes) -> bool:
        piece = self._presentable(whole)
        return self.send(piece) if piece else True

    def _read(self, events: Sequence[bytes], sent: int, ready: bool) -> tuple[bool, bool]:
        """Reads events for the call record. The first ``sent`` ones were sent; the others are repaired, then sent.

        Returns and raises as :meth:`_feed_whole` does; ``ready`` is what ``send`` returned so far.
        """
        blocks, repair = self._blocks, self.repair
        pieces: list[bytes] = []
        read: list[Event] = []
        last, found, failure = b"", False, None
        for number, event in enumerate(events):
            frame = blocks.decode_frame(event)
            if number >= sent:
                try:
                    pieces.append(self._repaired(event, frame))
                except LLMError as error:
                    failure = error
                    break
            if frame is None:
                continue
            last = event
            if repair.needs_start:
                repair.note_start(frame)
            try:
                read = self._read_frame(frame)
            except Malformed:  # the client judges it
                read = []
            if read:
                found = True
                observe_passed(read, self._record)
        if pieces and (piece := self._presentable(b"".join(pieces))):
            ready = (self._send_last if self.done else self.send)(piece)
        if failure is not None:
            raise failure
        if last:
            self._template.learn(last, read)
        return ready, found

    def _repaired(self, event: bytes, frame: Frame | None) -> bytes:
        """Returns the bytes to send for one event."""
        if frame is None:
            return event if self.repair.keeps_comments else b""
        if self.failure is not None:
            unread = not self._error_shown and frame.data.strip() == "[DONE]"  # clients read no further than this
            return b"" if unread else event
        return self.repair.repair(event, frame)

    def _is_wanted(self, event: bytes) -> bool:
        """False for usage that the client did not ask for, and for empty data, in which clients look for JSON."""
        frame = self._blocks.decode_frame(event)
        if frame is None:  # a comment, or no data
            return not has_empty_data(event)
        return not (self.withhold_usage and self._dialect.is_only_usage(frame))

    def _presentable(self, piece: bytes) -> bytes:
        """Leaves out what the client shall not get; masks a key that the provider repeats in an error (X4).

        Escapes what clients take for the end of a line.
        """
        if self.withhold_usage or has_empty_data(piece):
            piece = b"".join([event for event in self._blocks.split_events(piece) if self._is_wanted(event)])
        if self._key and self._key in piece and is_secret(self._target.key):
            events = self._blocks.split_events(piece)
            piece = b"".join(e.replace(self._key, MASK.encode()) if self._is_error(e) else e for e in events)
        return escape_line_separators(piece) if self.lines else piece

    def _is_error(self, event: bytes) -> bool:
        """Whether it is no part of an answer: an error, or no JSON."""
        frame = self._blocks.decode_frame(event)
        if frame is None:
            return True
        try:
            loads(frame.data)
            # A reader of its own: the answer's reader gets each event once, when it was sent.
            self._dialect.create_reader(self._target.engine).feed(frame)
        except Malformed:
            return False
        except (ValueError, LLMError):
            return True
        return False

    def _read_frame(self, frame: Frame) -> list[Event]:
        """Raises ``Malformed``. Any other error is the engine's own: the client gets it as it is, reading ends."""
        if self.failure is None:
            try:
                events = self._reader.feed(frame)
                if self._reader.done:
                    self.done = True
                    self._record.last_event = frame.data
                return events
            except LLMError as error:
                if isinstance(error, Malformed):
                    raise
                self.failure = error
        self._error_shown = self._error_shown or self.repair.shows_error(frame, self.failure)
        return []
