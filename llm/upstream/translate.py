"""One round of a chat with an engine of another dialect: a request out, its events back as they come."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from llm.chat.events import (
    Batch,
    Delta,
    Event,
    Finished,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    UsageReported,
)
from llm.chat.filters import Filter, ThinkTags
from llm.chat.reply import replay
from llm.chat.request import ChatRequest
from llm.chat.token_estimate import Input, estimated_usage
from llm.dialects.base import Outgoing, Reader
from llm.dialects.registry import ENGINE_DIALECTS
from llm.engines import media_limits
from llm.engines.api_choice import over_responses, routed
from llm.engines.engine import Target
from llm.errors import LLMError, Malformed, Truncated, Unsupported
from llm.upstream.attempts import Exchange
from llm.upstream.call_record import Silence, Trace, count_characters
from llm.upstream.engine_client import Services
from llm.upstream.fast_path import Alike, Express
from llm.wire.frames import Frame, Framing
from llm.wire.json_codec import loads
from llm.wire.sse import Sse

_CALL_WEIGHT: Final = 64  # bytes that a piece of a call's arguments takes beside its characters


async def stream(
    request: ChatRequest,
    target: Target,
    services: Services,
    trace: Trace,
    headers: Mapping[str, str] | None = None,
    express: Express | None = None,
) -> AsyncGenerator[Batch, None]:
    """The events of one answer, as many at a time as came in one read, but for those that ``express`` has sent.

    The first batch may be empty: the engine has accepted the request (its headers are in ``trace``). ``headers`` are
    a client's that go along. Raises ``LLMError``; before the first event a failure that may pass is tried again.
    """
    target = routed(request, target)
    free = target.engine.responses is not None and request.options.responses_api is None
    exchange = Exchange(target, services, trace, headers, over_responses if free else None)
    most, streamed = services.max_answer, request.stream
    while True:
        try:
            target = exchange.target
            answer = exchange.ask(_written(request, target, trace))
            # It is on its way: what only its answer needs is made while the engine works.
            asking = Input(request)
            trace.input = trace.input or asking
            polish = _Polish(asking, target, trace, most)
            dialect = ENGINE_DIALECTS[target.engine.dialect]
            framing = dialect.framing(most)
            decoder = Decoder(framing, dialect.reader(target.engine))
            silence = Silence(most)
            async with await answer as reply:
                del answer
                if not streamed:
                    yield polish(_whole(await reply.read(most), target))
                    return
                doubtful = isinstance(framing, Sse)  # whether events are what comes
                if not doubtful or reply.headers.get("content-type", "").startswith("text/event-stream"):
                    yield ()
                async for chunk in reply:
                    silence.heard(chunk)
                    if doubtful and (said := chunk.lstrip()):
                        doubtful = False
                        # Some hosts answer a stream with one JSON document, under any content type. No event begins so.
                        if said.startswith((b"{", b"[", b"<")):
                            yield polish(_whole(said + await reply.read(most), target))
                            return
                        del said
                        if express is not None and not target.engine.quirks.think_tags:
                            reply.tap = decoder.short(express, polish.passed)
                    for batch in decoder.feed(chunk):
                        reply.alive()
                        silence.size = 0
                        if not exchange.begun:
                            exchange.begun = True
                            del request  # it will not be asked again, so nobody needs any more what was asked (T18)
                        yield polish(batch)
                        del batch  # like the bytes, while the next one is waited for
                    del chunk
                    if decoder.done:
                        reply.drain()
                        return
                for batch in decoder.close():
                    yield polish(batch)
            return
        except LLMError as error:
            await exchange.failed(error)


def _written(request: ChatRequest, target: Target, trace: Trace) -> Outgoing:
    engine = target.engine
    media_limits.check(request, engine.takes, engine.label, engine.name)
    outgoing = written(request, target)
    trace.dropped = outgoing.dropped
    return outgoing


class Decoder:
    """The bytes of one streamed answer to batches of events.

    An error inside the stream is raised after the events before it were handed on, since they may share a read.
    """

    __slots__ = ("_alike", "_express", "_framing", "_passed", "_reader")

    def __init__(self, framing: Framing, reader: Reader) -> None:
        self._framing = framing
        self._reader = reader
        self._alike = Alike(reader.noise, reader.unlike)

    def short(self, express: Express, passed: Callable[[Delta], None]) -> Callable[[bytes], int]:
        """The short way for what is like what was read before; ``passed`` is told of it."""
        self._express, self._passed = express, passed
        return self._tap

    def _tap(self, read: bytes) -> int:
        half, express = self._framing.half(), self._express
        if half is None or not express.ready():
            return 0
        delta, taken = self._alike.read(half + read if half else read)
        if not isinstance(delta, TextDelta | ReasoningDelta):
            return 0
        self._reader.skipped(delta)
        self._passed(delta)
        if half:
            self._framing.forget()
        express.send(delta)
        return taken - len(half)

    @property
    def done(self) -> bool:
        return self._reader.done

    def feed(self, chunk: bytes) -> Iterator[list[Event]]:
        half = self._framing.half()
        frames = self._framing.feed(chunk)
        if frames:
            self._alike.forget()
        for events in self._read(frames, last=False):
            yield events
            self._alike.learn(b"" if half is None else half + chunk, events)

    def close(self) -> Iterator[list[Event]]:
        return self._read(self._framing.close(), last=True)

    def _read(self, frames: Iterable[Frame], *, last: bool) -> Iterator[list[Event]]:
        events: list[Event] = []
        failure = None
        try:
            for frame in frames:
                events += self._fed(frame, last)
                if self._reader.done:
                    break
            if last and not self._reader.done:
                events += self._reader.close()
        except LLMError as error:
            failure = error
        if events:
            yield events
        if failure is not None:
            raise failure

    def _fed(self, frame: Frame, last: bool) -> list[Event]:
        try:
            return self._reader.feed(frame)
        except Malformed as error:
            if last:  # what was left without its border is half an event, not a wrong one (S1)
                raise Truncated("The engine's answer ended in the middle of an event.", engine=error.engine) from None
            raise


class _Polish:
    """The last touch on an engine's events: think tags, what was dropped, usage where none was told (E7)."""

    __slots__ = ("_asking", "_filters", "_most", "_trace")

    def __init__(self, asking: Input, target: Target, trace: Trace, most: int) -> None:
        self._filters: list[Filter] = [ThinkTags()] if target.engine.quirks.think_tags else []
        self._asking = asking
        self._trace = trace
        self._most = most

    def __call__(self, batch: Batch) -> Batch:
        for filter_ in self._filters:
            batch = filter_.feed(batch)
        if batch and ((self._trace.dropped and isinstance(batch[0], Started)) or isinstance(batch[-1], Finished)):
            batch = [*self._touched(batch)]
        self._trace.observe(batch)
        if batch and isinstance(batch[-1], ToolCallDelta):
            self._trace.weight += _CALL_WEIGHT * len(batch)
        self._bound()
        return batch

    def passed(self, delta: Delta) -> None:
        """Output that went the short way, behind a first that did not."""
        trace = self._trace
        trace.characters += len(delta.text)
        if trace.characters + trace.weight > self._most:
            self._bound()

    def _bound(self) -> None:
        """No answer is that long. Tools, threads and some wires hold all of it, so one without end has to have one."""
        if self._trace.characters + self._trace.weight > self._most:
            raise Malformed(f"The engine's answer is longer than {self._most} bytes (MAX_ANSWER_SIZE).")

    def _touched(self, batch: Batch) -> Iterator[Event]:
        for event in batch:
            if isinstance(event, Started):
                yield replace(event, dropped=self._trace.dropped)
                continue
            if isinstance(event, Finished) and not self._usage_told(batch):
                characters = self._trace.characters + count_characters(batch)
                yield UsageReported(estimated_usage(self._asking, characters))
            yield event

    def _usage_told(self, batch: Batch) -> bool:
        return self._trace.usage is not None or any(isinstance(event, UsageReported) for event in batch)


def _whole(body: bytes, target: Target) -> list[Event]:
    try:
        value = loads(body)
    except ValueError:
        raise Malformed("The engine's answer is not JSON.", engine=target.engine.name) from None
    return [*replay(ENGINE_DIALECTS[target.engine.dialect].read_reply(value, target.engine))]


def written(request: ChatRequest, target: Target) -> Outgoing:
    """Raises ``Unsupported``."""
    dialect = ENGINE_DIALECTS[target.engine.dialect]
    if request.model != target.model:
        request = replace(request, model=target.model)
    given_up: list[str] = []
    while True:
        try:
            outgoing = dialect.write_request(request, target.engine)
        except Unsupported as refusal:
            name = refusal.param or ""
            if name not in request.wishes or getattr(request.options, name) is None:
                raise
            given_up.append(name)
            nothing: dict[str, Any] = {name: None}
            request = replace(request, options=replace(request.options, **nothing))
            continue
        return replace(outgoing, dropped=(*outgoing.dropped, *given_up)) if given_up else outgoing
