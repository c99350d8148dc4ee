"""Passes a chat through whose client and engine speak the same dialect: their bytes are sent on unchanged.

In the request only ``model`` changes, and usage is requested. In the answer, usage that the client did not ask for and
events with empty data are left out; a last event gets its blank line; a key that the provider repeats in an error is
masked; what clients take for the end of a JSON line is escaped; what strict clients cannot read is repaired
(``llm.dialects.stream_repair``); an answer that ended too early gets an error; and one in the other form than requested
(a stream, or one document) is converted. The dialect's reader gets every event, for usage, the end and the log.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

from llm.chat.events import Event
from llm.chat.grammar import ArgumentsCheck
from llm.chat.pipeline import ByteSink
from llm.chat.reply import collect, replay
from llm.chat.request import ChatRequest
from llm.chat.token_estimate import RequestSize
from llm.dialects.base import EngineRequest, add_query, without_usage
from llm.dialects.registry import CLIENT_DIALECTS, PASSTHROUGH_DIALECTS
from llm.engines.engine import Target
from llm.errors import LLMError, Malformed
from llm.log import MASK, is_secret
from llm.transport.interface import HttpResponse
from llm.upstream.attempts import Attempts
from llm.upstream.call_record import CallRecord, observe_passed
from llm.upstream.engine_client import EngineClient, encode_in_steps
from llm.upstream.fast_path import DeltaTemplate
from llm.upstream.whole_answer import SPLITTERS, STREAM_TYPES, WholeAnswer, read_body, read_stream_start, read_whole
from llm.wire.frames import Frame, FrameSplitter
from llm.wire.json_codec import Json, loads
from llm.wire.ndjson import NdjsonSplitter, escape_line_separators
from llm.wire.sse import has_empty_data


class PassthroughRound:
    """Sends a client's own body to an engine of the same dialect and the answer's bytes to a sink.

    Before the first byte, a failure that may pass is tried again. Body and request are let go once the answer has
    begun, since they may be large and are not sent again (T18).
    """

    __slots__ = ("_attempts", "_client", "_events", "_outgoing", "_record", "_request", "_sink", "_usage_added")

    def __init__(
        self,
        body: Mapping[str, Json],
        request: ChatRequest,
        target: Target,
        client: EngineClient,
        record: CallRecord,
        sink: ByteSink,
        headers: Mapping[str, str] | None = None,
        query: str = "",
    ) -> None:
        """``body``: the client's; ``request``: the same, read by its dialect; ``headers`` and ``query``: sent too."""
        self._attempts = Attempts(target, client, record, headers)
        outgoing, added = _write_passthrough(body, request, self._attempts.target, record, query)
        self._usage_added = self._attempts.may_adapt = added
        self._client = client
        self._events: PassthroughEvents | None = None  # of one attempt; None: the answer is one document
        self._outgoing: EngineRequest | None = outgoing
        self._record = record
        self._request: ChatRequest | None = replace(request, messages=()) if record.heavy else request
        self._sink = sink

    async def run(self) -> None:
        """Returns when all was sent; an error of the engine's own stream is in the call record. Raises ``LLMError``."""
        while True:
            try:
                answer = self._ask()
                async with await answer as reply:
                    del answer
                    start = b"" if self._accept(reply) else await self._read_start(reply)
                    if self._events is None:
                        limit = self._client.max_answer
                        self._send_whole(await read_whole(reply, self._attempts.target, limit, start), reply)
                        return
                    if start:
                        if self._events.feed(start) is not None:
                            reply.reset_idle_timer()
                        await self._sink.drain()
                    del start
                    reply.on_data = self._events.feed
                    while not self._events.done:
                        if (chunk := await anext(aiter(reply), None)) is None:
                            self._end(self._events, reply)
                            return
                        if chunk and self._events.feed(chunk) is not None:
                            reply.reset_idle_timer()
                        del chunk  # it would be held while the next one is waited for
                        await self._sink.drain()
                    reply.allow_drain()
                return
            except LLMError as error:
                await self._attempts.handle_failure(error)
            finally:
                if self._events is not None:
                    self._record.failure = self._events.failure
                self._events = None  # it refers to this round: memory is freed without the garbage collector

    def _ask(self) -> Coroutine[Any, Any, HttpResponse]:
        """Sends the request at once. Returns a coroutine that waits for the response's headers."""
        assert self._outgoing is not None and self._request is not None
        if self._usage_added and not self._attempts.target.engine.quirks.accepts_include_usage:
            self._outgoing, self._usage_added = without_usage(self._outgoing), False
        answer = self._attempts.send(self._outgoing)
        # The request has been sent: what only the answer needs is prepared while the engine works on it.
        self._record.input = self._record.input or RequestSize(self._request)
        if self._request.stream:
            self._events = self._create_events(STREAM_TYPES[self._attempts.target.engine.dialect])
        return answer

    def _accept(self, reply: HttpResponse, found: str = "") -> bool:
        """Begins the client's stream, if the content type is that of one. ``found``: the type, where it is wrong."""
        content_type = found or reply.headers.get("content-type", "")
        kind = content_type.partition(";")[0].strip().lower()
        if kind not in SPLITTERS or self._request is None or not self._request.stream:
            return False
        self._sink.accept(content_type)
        if self._events is None or self._events.lines != (SPLITTERS[kind] is NdjsonSplitter):
            self._events = self._create_events(kind)
        return True

    async def _read_start(self, reply: HttpResponse) -> bytes:
        """Decides by its first bytes whether the answer is a stream of events or one document. Returns these bytes."""
        start = b""
        if self._request is not None and self._request.stream:
            start, found = await read_stream_start(reply, self._attempts.target.engine, self._client.max_answer)
            if found and self._accept(reply, found):
                return start
        self._events = None
        return start

    def _create_events(self, kind: str) -> PassthroughEvents:
        limit = self._client.max_answer
        events = PassthroughEvents(self._attempts.target, self._record, SPLITTERS[kind](limit), self._send_first, limit)
        events.withhold_usage = self._usage_added
        return events

    def _end(self, events: PassthroughEvents, reply: HttpResponse) -> None:
        """Ends a stream. A document is converted that had the content type of a stream."""
        rest = events.take_rest()
        if self._request is not None and rest.lstrip().startswith(b"{") and not events.lines:
            self._send_whole(read_body(rest, self._attempts.target, self._client.max_answer), reply)
        else:
            events.close(rest)

    def _send_whole(self, whole: WholeAnswer, reply: HttpResponse) -> None:
        """Sends a whole answer; converts one that has the other form than the client asked for."""
        request, engine = self._request, self._attempts.target.engine
        assert request is not None
        dialect = PASSTHROUGH_DIALECTS[engine.dialect]
        events = observe_passed([*replay(whole.reply)], self._record)
        if whole.document is not None and not request.stream:
            document = dialect.repair_document(whole.document)
            self._sink.accept(reply.headers.get("content-type", "application/json"))
            self._sink.send(document)
        elif name := dialect.find_unconvertible_field(request, engine):
            message = f"{engine.label} sent {'no ' if request.stream else 'a '}stream: {name} cannot be converted."
            raise Malformed(message, engine=engine.name, param=name)
        elif request.stream:
            self._sink.feed(events)
        else:
            checked = ArgumentsCheck().feed(events) if CLIENT_DIALECTS[engine.dialect].ARGUMENTS_ARE_VALUES else events
            self._sink.write_reply(collect(checked), request)

    def _send_first(self, piece: bytes) -> bool:
        """The answer has begun: what was sent is not sent again."""
        self._attempts.response_started, self._outgoing, self._request = True, None, None
        if self._events is not None:
            self._events.send = self._sink.send
        return self._sink.send(piece)


def _write_passthrough(
    body: Mapping[str, Json], request: ChatRequest, target: Target, record: CallRecord, query: str
) -> tuple[EngineRequest, bool]:
    """Returns the engine's request, and whether usage is requested in it though the client did not.

    A heavy request (``CallRecord.heavy``) is encoded and measured here too, since this runs in a thread then.
    """
    outgoing = PASSTHROUGH_DIALECTS[target.engine.dialect].passthrough_request(body, target.model, target.engine)
    outgoing = add_query(outgoing, query) if query else outgoing
    record.dropped = (*record.unsent_headers, *outgoing.dropped)
    usage_added = (outgoing.body or {}).get("stream_options") != body.get("stream_options")
    if record.heavy:
        outgoing, record.input = encode_in_steps(outgoing), RequestSize(request)
    return outgoing, usage_added


class PassthroughEvents:
    """The events of one answer on their way from an engine to a client: sent first, then read for the call record.

    An event that is like the one before but for its text is not decoded (:class:`DeltaTemplate`); the dialect's reader
    gets all others, so that it knows each part and call.
    """

    __slots__ = (
        "_between", "_blocks", "_dialect", "_error_shown", "_idle", "_key", "_limit", "_needs_text", "_reader",
        "_record", "_repair", "_target", "_template", "done", "failure", "lines", "send", "withhold_usage",
    )  # fmt: skip

    def __init__(
        self, target: Target, record: CallRecord, blocks: FrameSplitter, send: Callable[[bytes], bool], limit: int
    ) -> None:
        """``limit``: bytes that may come without content is twice that."""
        dialect = self._dialect = PASSTHROUGH_DIALECTS[target.engine.dialect]
        self._between = False  # the last piece ended with a delta: the splitter has no incomplete event
        self._blocks = blocks
        self._key = target.key.encode() if is_secret(target.key) else b""
        self._idle = 0  # bytes since the last content
        self._limit = limit
        self._reader = dialect.create_reader(target.engine)
        self._needs_text = self._reader.needs_text
        self._record = record
        self._repair = dialect.create_repair(self._reader, target.engine)
        self._error_shown = False  # clients take ``failure`` as it was sent for the end of the answer
        self.send = send
        self._target = target
        self._template = DeltaTemplate(self._reader.volatile_fields, self._reader.stateful_fields, blocks.delimiter)
        self.lines = isinstance(blocks, NdjsonSplitter)  # JSON lines, or else server-sent events
        self.done = False  # the answer has ended: what the engine still sends is of no interest
        self.failure: LLMError | None = None  # an error that the engine sent itself; the client has it already
        self.withhold_usage = False  # the client did not ask for it

    def feed(self, chunk: bytes) -> bool | None:
        """Sends a piece of the answer on and reads it for the call record (``HttpResponse.on_data``)."""
        blocks = self._blocks
        pending = b"" if self._between else blocks.pending()
        if pending is not None:
            read = pending + chunk if pending else chunk
            template = self._template
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
        ready, found = True, False
        if whole and (self.failure is not None or self._repair.suspects(whole)):
            ready, found = self._feed_repaired(whole)
        elif whole:
            ready, found = self._feed_whole(whole)
        if found:
            self._idle = 0
            return ready and not self.done
        self._idle += len(chunk)
        if self._idle > 2 * self._limit:  # half an event is part of it, and has its own limit
            raise Malformed("The engine sends signs of life without end and nothing else.")
        return None if ready and not self.done else False

    def take_rest(self) -> bytes:
        """Returns what is left at the end: an event without its end, or anything else."""
        return self._blocks.close()

    def close(self, rest: bytes) -> None:
        """Sends ``rest``, if it is an event. Raises ``Truncated`` where the dialect's own end is missing."""
        blocks = self._blocks
        frame = blocks.decode_frame(rest)
        if frame is not None:
            piece = self._repaired(rest + blocks.delimiter)
            try:
                observe_passed(self._read_frame(frame), self._record)
            except Malformed:
                piece = b""  # half an event
            if piece:
                self.send(piece)
        if self.failure is not None and not self._error_shown:
            raise self.failure
        if not self.done and self.failure is None:
            observe_passed(self._reader.close(), self._record)
            if piece := self._repair.end():
                self.send(piece)

    def _feed_whole(self, whole: bytes) -> tuple[bool, bool]:
        """Sends events as they are, then reads them. Returns as :meth:`_feed_repaired` does."""
        wanted = self._wanted(whole)
        return self.send(self._presentable(wanted)) if wanted else True, self._read(whole)

    def _feed_repaired(self, whole: bytes) -> tuple[bool, bool]:
        """Sends the events before the first one to repair; repairs and reads the others one by one, then sends them.

        Returns what ``send`` returns, and whether one held something. Raises ``LLMError`` at the end with an error.
        """
        events = self._blocks.split_events(whole)
        pieces: list[bytes] = []
        ready, found, failure, count = True, False, None, 0
        while self.failure is None and count < len(events) and not self._repair.suspects(events[count]):
            count += 1
        if count:
            ready, found = self._feed_whole(b"".join(events[:count]))
        for event in events[count:]:
            try:
                pieces.append(self._repaired(event))
            except LLMError as error:
                failure = error
                break
            found = self._read(event) or found
        if any(pieces):
            ready = self.send(b"".join(pieces))
        if failure is not None:
            raise failure
        return ready, found

    def _repaired(self, event: bytes) -> bytes:
        """Returns the bytes to send for one event."""
        frame = self._blocks.decode_frame(event)
        if frame is None:
            return self._presentable(event) if self._is_wanted(event) else b""
        if self.failure is not None:
            if not self._error_shown and frame.data.strip() == "[DONE]":
                return b""  # clients read no further
            return self._presentable(event)
        repaired = self._repair.repair(event, frame)
        return self._presentable(self._wanted(repaired)) if repaired else b""

    def _wanted(self, whole: bytes) -> bytes:
        if not self.withhold_usage and not has_empty_data(whole):
            return whole
        return b"".join([event for event in self._blocks.split_events(whole) if self._is_wanted(event)])

    def _is_wanted(self, event: bytes) -> bool:
        """False for usage that the client did not ask for, and for empty data, in which clients look for JSON."""
        frame = self._blocks.decode_frame(event)
        if frame is None:  # a comment, or no data
            return not has_empty_data(event)
        return not (self.withhold_usage and self._dialect.is_only_usage(frame))

    def _presentable(self, piece: bytes) -> bytes:
        """Masks a key that the provider repeats in an error (X4); escapes what clients take for the end of a line."""
        if self._key and self._key in piece:
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

    def _read(self, whole: bytes) -> bool:
        """Reads events for the call record. Returns whether they held something."""
        blocks, found = self._blocks, False
        events: list[Event] = []
        last = b""
        for block in blocks.split_events(whole):
            if (frame := blocks.decode_frame(block)) is None:
                continue
            last = block
            if self._repair.needs_start:
                self._repair.note_start(frame)
            try:
                events = self._read_frame(frame)
            except Malformed:  # the client judges it
                events = []
            if events:
                found = True
                observe_passed(events, self._record)
        if last:
            self._template.learn(last, events)
        return found

    def _read_frame(self, frame: Frame) -> list[Event]:
        """Raises ``Malformed``. Any other error is the engine's own: the client gets it as it is, reading ends."""
        if self.failure is None:
            try:
                events = self._reader.feed(frame)
                self.done = self._reader.done
                return events
            except LLMError as error:
                if isinstance(error, Malformed):
                    raise
                self.failure = error
        self._error_shown = self._error_shown or self._repair.shows_error(frame, self.failure)
        return []
