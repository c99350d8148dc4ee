"""Sends a neutral request to an engine of any dialect and streams its events back: one round of a chat."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from llm.chat.events import Event, Finished, ReasoningDelta, Started, TextDelta, Timing, ToolCallDelta, UsageReported
from llm.chat.filters import AnswerJoiner, ThinkTagFilter
from llm.chat.pipeline import EventSink, Stage
from llm.chat.reply import Reply, replay
from llm.chat.request import ChatRequest
from llm.chat.token_estimate import RequestSize, estimate_usage
from llm.dialects.base import EngineRequest
from llm.dialects.registry import ENGINE_WIRES
from llm.engines import media_limits
from llm.engines.api_choice import choose_api, choose_other_api
from llm.engines.capabilities import NO_FACTS
from llm.engines.engine import Target
from llm.errors import LLMError, Malformed, Truncated, Unsupported
from llm.http1.threads import run_in_thread
from llm.transport.interface import HttpResponse
from llm.upstream.attempts import Attempts, StreamStart
from llm.upstream.call_record import CallRecord, count_characters
from llm.upstream.decoder import Decoder
from llm.upstream.engine_client import EngineClient, encode_in_steps
from llm.upstream.whole_answer import read_whole

_CALL_WEIGHT: Final = 64  # bytes of memory that each delta of a tool call takes beside its characters


class EngineRound:
    """Sends one request to an engine and feeds its events to a sink, all but the last one.

    :meth:`run` returns ``Finished``, so that the caller can run tools or store a thread before the client sees the end.
    A temporary failure is retried until the first event. The request may be large and is not needed after that: the
    round drops it then (T18).
    """

    # An open stream keeps its round and the frame of :meth:`run`: both are kept small.
    __slots__ = (
        "_attempts", "_checks", "_client", "_decoder", "_feeds", "_joiner", "_outgoing", "_prepared", "_record",
        "_request", "_sink", "_stages", "_start", "_streamed", "_waits_for_start",
    )  # fmt: skip

    _decoder: Decoder
    _waits_for_start: bool
    _feeds: tuple[Callable[[Sequence[Event]], Sequence[Event]], ...]

    def __init__(
        self,
        request: ChatRequest,
        target: Target,
        client: EngineClient,
        record: CallRecord,
        sink: EventSink,
        stages: Sequence[Stage] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """``headers``: a client's, sent in addition. Raises ``Unsupported`` if the engine lacks the requested API."""
        target = choose_api(request, client.memory.adapt(target))
        self._attempts = Attempts(target, client, record, headers, choose_other_api(request, target))
        self._checks: AnswerChecks | None = None  # like the decoder, of one attempt
        self._client = client
        self._joiner: AnswerJoiner | None = None  # once the answer was interrupted
        self._outgoing: EngineRequest | None = None  # kept if the answer may be interrupted
        # Of a heavy request: that of the engine, the target it was written for, and its size.
        self._prepared: tuple[EngineRequest, Target, RequestSize] | None = None
        self._record = record
        self._request: ChatRequest | None = request
        self._sink = sink
        self._stages = stages
        self._start: StreamStart | None = None  # until the headers of the client's stream were sent
        self._streamed = request.stream

    async def run(self) -> Finished:
        """Returns the end of the answer. Raises ``LLMError``."""
        while True:
            try:
                if self._record.heavy and self._request is not None:
                    await self._prepare_heavy(self._request)
                answer = self._send()
                async with await answer as reply:
                    del answer
                    if not self._streamed:
                        goes_on = self._end([*replay(await self._read_whole(reply))])
                    else:
                        goes_on = await self._read_stream(reply)
                if not goes_on:
                    return self._finished()
            except LLMError as error:
                await self._attempts.handle_failure(error)
            finally:
                self._release()

    async def _read_stream(self, reply: HttpResponse) -> bool:
        """Feeds the events of a stream to the sink. Returns whether the answer goes on in another one."""
        self._accept(reply)
        try:
            async for chunk in reply:
                if chunk and (reply.on_data or self._receive)(chunk) is not None:
                    reply.reset_idle_timer()
                del chunk  # it would be held while the next one is waited for
                if self._decoder.done:
                    reply.allow_drain()
                    return False
                await self._sink.drain()
        except LLMError:
            if self._start is not None:  # the stream broke, which is an error of the stream
                self._start.send()
            raise
        goes_on = self._end(self._decoder.close())
        if self._decoder.failure is not None:
            raise self._decoder.failure
        return goes_on

    async def _prepare_heavy(self, request: ChatRequest) -> None:
        """Writes a heavy request in a thread; then keeps the engine's only, unless another API may be needed."""
        target, prepared = self._attempts.target, self._prepared
        if prepared is None or prepared[1] is not target:
            outgoing, size = await run_in_thread(_prepare, request, target, self._record)
            self._prepared = outgoing, target, size
        if not self._attempts.may_switch_api:
            self._request = None

    def _send(self) -> Coroutine[Any, Any, HttpResponse]:
        """Sends the request at once. Returns a coroutine that waits for the response's headers."""
        target, record, limit = self._attempts.target, self._record, self._client.max_answer
        if self._joiner is not None:
            return self._send_again(self._joiner)
        request, prepared = self._request, self._prepared
        if prepared is not None:
            outgoing = prepared[0]
        else:
            assert request is not None
            outgoing = _write(request, target, record)
        self._outgoing = outgoing if outgoing.may_continue else None
        self._waits_for_start = outgoing.may_drop_more
        answer = self._attempts.send(outgoing)
        # The request has been sent: what only the answer needs is prepared while the engine works on it.
        if prepared is not None:
            size = prepared[2]
        else:
            assert request is not None
            size = RequestSize(request)
        record.input = record.input or size
        checks = self._checks = AnswerChecks(size, record, limit, self._begin)
        tags = (ThinkTagFilter(),) if target.engine.quirks.think_tags else ()
        changes = (outgoing.create_filter(),) if outgoing.create_filter is not None else ()
        self._feeds = tuple([stage.feed for stage in (*tags, *changes, checks, *self._stages)])
        self._decoder = Decoder(ENGINE_WIRES[target.engine.dialect], target.engine, limit)
        return answer

    def _send_again(self, joiner: AnswerJoiner) -> Coroutine[Any, Any, HttpResponse]:
        """Sends the same request with the fields with which an interrupted answer goes on."""
        target, outgoing, checks = self._attempts.target, self._outgoing, self._checks
        assert outgoing is not None and outgoing.body is not None and checks is not None
        answer = self._attempts.send(replace(outgoing, body={**outgoing.body, **joiner.fields}))
        checks.begin = self._begin
        self._feeds = (joiner.feed, checks.feed, *(stage.feed for stage in self._stages))
        self._decoder = Decoder(ENGINE_WIRES[target.engine.dialect], target.engine, self._client.max_answer)
        return answer

    async def _read_whole(self, response: HttpResponse) -> Reply:
        return (await read_whole(response, self._attempts.target, self._client.max_answer)).reply

    def _finished(self) -> Finished:
        """The end of the answer. Raises ``Truncated`` if there was none."""
        if self._checks is None or self._checks.finished is None:
            raise Truncated("The engine's answer ended before it was complete.")
        record = self._record
        first_token = record.first_token if self._streamed else None
        return replace(self._checks.finished, timing=Timing(time.monotonic() - record.started, first_token))

    def _release(self) -> None:
        """Drops references to this round, so that memory is freed without the garbage collector."""
        self._feeds = ()
        if self._start is not None:
            self._start.drop()
            self._start = None
        if self._checks is not None:
            self._checks.begin = None

    def _accept(self, reply: HttpResponse) -> None:
        reply.on_data = self._receive
        if self._waits_for_start or not (self._decoder.expects_events or _is_event_stream(reply)):
            return  # the headers leave with the first event, which may name what is dropped
        start = self._start = StreamStart(self._sink.accept)

        def receive_first(chunk: bytes) -> bool | None:
            reply.on_data, self._start = self._receive, None
            start.send()
            return self._receive(chunk)

        reply.on_data = receive_first

    def _end(self, events: Sequence[Event]) -> bool:
        """Feeds the last events of one answer to the sink. Returns whether another one goes on with it."""
        finished = events[-1] if events else None
        if isinstance(finished, Finished) and self._may_go_on(finished):
            if self._joiner is not None:
                events, self._feeds = self._joiner.feed(events), self._feeds[1:]
            joiner = self._joiner = self._joiner or AnswerJoiner()
            self._deliver(joiner.end_answer(events))
            self._attempts.restart()
            return True
        self._deliver(events)
        return False

    def _may_go_on(self, finished: Finished) -> bool:
        """Whether the engine has interrupted the answer and gave fields that were not sent yet."""
        if finished.continuation is None or self._outgoing is None:
            return False
        joiner = self._joiner
        if joiner is None:
            return self._client.max_continuations > 0
        return joiner.count < self._client.max_continuations and finished.continuation.fields != joiner.fields

    def _receive(self, chunk: bytes) -> bool | None:
        """Decodes a piece of the answer and feeds its events to the sink (``HttpResponse.on_data``)."""
        decoder = self._decoder
        events = decoder.feed(chunk)
        ready = True if events else None
        for feed in self._feeds:
            if not events:
                break
            events = feed(events)
        if events:
            ready = self._sink.feed(events)
        if decoder.failure is not None:
            raise decoder.failure
        return False if decoder.done else ready

    def _deliver(self, events: Sequence[Event]) -> None:
        for feed in self._feeds:
            events = feed(events)
        if events:
            self._sink.feed(events)

    def _begin(self) -> None:
        """The first events have come: the request is not sent again."""
        self._attempts.response_started, self._request, self._prepared = True, None, None


class AnswerChecks:
    """The stage that every engine's answer passes.

    It updates the call record, adds the names of dropped fields to ``Started``, adds an estimate if the engine reports
    no usage (E7), and keeps ``Finished`` for the caller. It ends an answer above the size limit, since tools, threads
    and some dialects hold the whole answer in memory.
    """

    __slots__ = ("_characters", "_input", "_limit", "_record", "_reported", "begin", "finished")

    def __init__(self, size: RequestSize, record: CallRecord, limit: int, begin: Callable[[], None]) -> None:
        """``begin`` is called before the first events go on; ``limit``: characters and bytes of all rounds."""
        self.begin: Callable[[], None] | None = begin  # until it was called
        self._characters = 0  # of this answer; the record counts those of all rounds
        self.finished: Finished | None = None  # held back
        self._input = size
        self._limit = limit
        self._record = record
        self._reported = False  # usage

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        """Checks and completes the events of one read. Raises ``Malformed`` above the size limit."""
        record = self._record
        if not events:
            return events
        event = events[0]
        if len(events) == 1 and (type(event) is TextDelta or type(event) is ReasoningDelta) and record.first_token:
            count = len(event.text)
            record.characters += count
        else:
            before = record.characters
            record.observe(events)
            count = record.characters - before
            events = self._complete(events)
        self._characters += count
        if self.begin is not None:
            begin, self.begin = self.begin, None
            begin()
        if record.characters + record.call_overhead > self._limit:
            raise Malformed(f"The engine's answer is longer than {self._limit} bytes (MAX_ANSWER_SIZE).")
        return events

    def _complete(self, events: Sequence[Event]) -> Sequence[Event]:
        out: list[Event] = []
        for event in events:
            match event:
                case Started(model=model, dropped=more):
                    record = self._record
                    record.model = model or record.model
                    record.dropped = tuple(dict.fromkeys((*record.dropped, *more))) if more else record.dropped
                    out.append(replace(event, dropped=record.dropped, estimate_input=self._input.estimate_tokens))
                case Finished():
                    self.finished = event
                    if not self._reported:
                        self._record.usage = estimate_usage(self._input, self._characters + count_characters(events))
                        out.append(UsageReported(self._record.usage))
                case _:
                    if isinstance(event, ToolCallDelta):
                        self._record.call_overhead += _CALL_WEIGHT
                    elif isinstance(event, UsageReported):
                        self._reported = True
                    out.append(event)
        return out


def _is_event_stream(reply: HttpResponse) -> bool:
    return reply.headers.get("content-type", "").startswith("text/event-stream")


def _write(request: ChatRequest, target: Target, record: CallRecord) -> EngineRequest:
    engine = target.engine
    if media_limits.has_media(request):
        request = media_limits.correct_image_types(request)
        media_limits.check_media(request, engine.media_limits, engine.label, engine.name)
    outgoing = write_engine_request(request, target)
    record.dropped = (*record.unsent_headers, *outgoing.dropped)
    record.model = target.model
    return outgoing


def _prepare(request: ChatRequest, target: Target, record: CallRecord) -> tuple[EngineRequest, RequestSize]:
    """Writes, encodes and measures a heavy request. For a thread."""
    outgoing = _write(request, target, record)
    return outgoing if outgoing.may_continue else encode_in_steps(outgoing), RequestSize(request)


def _use_client_names(refusal: Unsupported, request: ChatRequest) -> Unsupported:
    """Returns the refusal with the name of the client's own field in place of the option's."""
    name = refusal.param or ""
    own = request.option_names.get(name)
    if own is None:
        return refusal
    message = re.sub(rf"\b{name}\b", lambda _: own, refusal.message, count=1)
    return Unsupported(message, param=own, engine=refusal.engine)


def write_engine_request(request: ChatRequest, target: Target) -> EngineRequest:
    """Writes the request in the engine's dialect, without the soft options that the model refuses.

    A coding agent asks for thinking with every request, whatever the model. Where the model does not think, or always
    does, that is no reason to refuse the request: the option is left out and named in ``dropped``. Every other refusal
    stays one (T8). Raises ``Unsupported``.
    """
    dialect, engine = ENGINE_WIRES[target.engine.dialect], target.engine
    if target.facts is not NO_FACTS:
        engine = replace(engine, facts=target.facts)
    if request.model != target.model:
        request = replace(request, model=target.model)
    left_out: list[str] = []
    while True:
        try:
            outgoing = dialect.write_request(request, engine)
        except Unsupported as refusal:
            name = refusal.param or ""
            if name not in request.soft_options or getattr(request.options, name) is None:
                raise _use_client_names(refusal, request) from None
            left_out.append(name)
            nothing: dict[str, Any] = {name: None}
            request = replace(request, options=replace(request.options, **nothing))
            continue
        return replace(outgoing, dropped=(*outgoing.dropped, *left_out)) if left_out else outgoing
