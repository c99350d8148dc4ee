"""One round with an engine: a request out, its events back, with retries before the first of them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

from llm import attachments
from llm.chat import ChatRequest, Usage
from llm.codec import dump_bytes, loads
from llm.dialects import EngineDialect, Outgoing, Reader
from llm.dialects.registry import ENGINE_DIALECTS
from llm.engines import Target
from llm.errors import (
    EngineFailed,
    EngineForbids,
    EngineRefusedKey,
    LLMError,
    Malformed,
    NotAuthenticated,
    OtherApi,
    ProviderSaid,
    QuotaExceeded,
    Truncated,
    kept_headers,
)
from llm.events import Delta, Event, Finished, ReasoningDelta, Started, TextDelta, ToolCallDelta, UsageReported, replay
from llm.express import Alike, Express, told
from llm.filters import Filter, ThinkTags
from llm.framing import Frame, Framing, Sse
from llm.http import HttpReply, HttpRequest, Transport
from llm.routing import over_responses, routed
from llm.tokens import estimated_usage

MAX_REPLY: Final = 256 * 1024 * 1024  # bytes, of one whole answer
MAX_ERROR: Final = 1024 * 1024  # bytes, of an error's body
MASK: Final = "***"  # in place of a key

Batch = Sequence[Event]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    retries: int = 2
    max_wait: float = 10.0  # seconds, all waits together

    def wait(self, error: LLMError, attempt: int, waited: float) -> float | None:
        """Seconds to wait before the next attempt, None to give up (E3). ``attempt`` counts from 0."""
        if not error.retryable or attempt >= self.retries or error.headers.get("x-should-retry") == "false":
            return None
        if error.retry_after is not None:
            wait = error.retry_after
        else:
            wait = min(0.5 * 2**attempt, 8.0) * (1 - random.random() / 4)  # noqa: S311  jitter, not a secret
        return wait if waited + wait <= self.max_wait else None


@dataclass(slots=True)
class Trace:
    """What happened on the way, for the log line and the headers of the answer."""

    started: float = field(default_factory=time.monotonic)
    attempts: int = 0
    headers: dict[str, str] = field(default_factory=dict)  # the engine's, worth passing on
    dropped: tuple[str, ...] = ()  # hints that the engine has no place for
    first_token: float | None = None  # seconds after the start
    usage: Usage | None = None
    finish: str | None = None
    characters: int = 0  # of output so far

    def passed(self, delta: Delta) -> None:
        """Output that went the short way, behind a first that did not."""
        self.characters += len(delta.text)

    def used(self, request: ChatRequest) -> Usage | None:
        """What an answer that did not finish used: as it was told, but no less than what has come (C3)."""
        if self.finish is not None or not self.attempts:
            return self.usage
        seen = estimated_usage(request, self.characters)
        if self.usage is None:
            return seen
        if (self.usage.output or 0) >= (seen.output or 0):
            return self.usage
        return replace(self.usage, text=seen.text, estimated=True)

    def observe(self, batch: Batch) -> None:
        self.characters += count_characters(batch)
        for event in batch:
            match event:
                case UsageReported(usage):
                    self.usage = usage
                case Finished(reason):
                    self.finish = reason
        if self.first_token is None and self.characters:
            self.first_token = time.monotonic() - self.started


def count_characters(batch: Batch) -> int:
    """Characters of output in some events."""
    total = 0
    for event in batch:
        match event:
            case TextDelta(text=text) | ReasoningDelta(text=text) | ToolCallDelta(arguments=text):
                total += len(text)
    return total


@dataclass(frozen=True, slots=True)
class Services:
    """What a call needs from outside: a transport by URL scheme, and the patience to retry."""

    transports: Mapping[str, Transport]
    retry: RetryPolicy = RetryPolicy()

    async def send(self, target: Target, outgoing: Outgoing, headers: Mapping[str, str] | None = None) -> HttpReply:
        """Returns when the engine's headers are in, whatever their status."""
        engine = target.engine
        own = {"accept": "application/json", **engine.auth_headers(target.key), **outgoing.headers, **(headers or {})}
        body = outgoing.raw
        if outgoing.body is not None:
            own["content-type"] = "application/json"
            body = dump_bytes(outgoing.body)
        url = engine.url(outgoing.path, target.model)
        transport = self.transports[url.partition(":")[0]]
        return await transport.send(HttpRequest(method=outgoing.method, url=url, headers=own, body=body))


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
    try:
        async with aclosing(_tried(request, target, services, trace, headers, express)) as batches:
            async for batch in batches:
                yield batch
        return
    except OtherApi:  # only ever instead of an answer
        if target.engine.responses is None or request.options.responses_api is not None:
            raise
    async with aclosing(_tried(request, over_responses(target), services, trace, headers, express)) as batches:
        async for batch in batches:
            yield batch


def _tried(
    request: ChatRequest,
    target: Target,
    services: Services,
    trace: Trace,
    headers: Mapping[str, str] | None,
    express: Express | None,
) -> AsyncGenerator[Batch, None]:
    return tried(lambda: _attempt(request, target, services, trace, headers, express), target, services, trace)


async def tried(
    attempt: Callable[[], AsyncGenerator[T, None]], target: Target, services: Services, trace: Trace
) -> AsyncGenerator[T, None]:
    """What ``attempt`` yields; it is made again after a failure that may pass, while nothing but empty values came."""
    waited = 0.0
    while True:
        handed = False
        trace.attempts += 1
        try:
            async with aclosing(attempt()) as values:
                async for value in values:
                    handed = handed or bool(value)
                    yield value
            return
        except LLMError as error:
            failure = blamed(error, target)
            wait = None if handed else services.retry.wait(failure, trace.attempts - 1, waited)
            if wait is None:
                raise failure from None
        waited += wait
        await asyncio.sleep(wait)


async def _attempt(
    request: ChatRequest,
    target: Target,
    services: Services,
    trace: Trace,
    headers: Mapping[str, str] | None,
    express: Express | None,
) -> AsyncGenerator[Batch, None]:
    dialect = ENGINE_DIALECTS[target.engine.dialect]
    attachments.check(request, target.engine)
    outgoing = dialect.write_request(replace(request, model=target.model), target.engine)
    trace.dropped = outgoing.dropped
    async with await services.send(target, outgoing, headers) as reply:
        if not 200 <= reply.status < 300:
            raise await read_failure(reply, dialect, target)
        trace.headers = kept_headers(reply.headers)
        polish = _Polish(request, target, trace)
        if not request.stream:
            yield polish(_whole(await reply.read(MAX_REPLY), dialect, target))
            return
        short = None if target.engine.quirks.think_tags else told(express, trace.passed)
        async with aclosing(_streamed(reply, dialect, target, short)) as batches:
            async for batch in batches:
                yield polish(batch)


async def _streamed(
    reply: HttpReply, dialect: EngineDialect, target: Target, express: Express | None
) -> AsyncGenerator[Batch, None]:
    framing = dialect.framing()
    decoder = Decoder(framing, dialect.reader(target.engine))
    chunks = aiter(reply)
    if not isinstance(framing, Sse):
        yield ()
    else:
        if reply.headers.get("content-type", "").startswith("text/event-stream"):
            yield ()
        # Some hosts answer a stream with one JSON document, under any content type. No event begins with a brace.
        first = await _first_bytes(chunks)
        if first[:1] in (b"{", b"[", b"<"):
            yield _whole(first + await reply.read(MAX_REPLY), dialect, target)
            return
        for batch in decoder.feed(first):
            yield batch
        if express is not None:
            reply.tap = decoder.tap(express)
    while not decoder.done:
        chunk = await anext(chunks, None)
        if chunk is None:
            for batch in decoder.close():
                yield batch
            return
        for batch in decoder.feed(chunk):
            reply.alive()
            yield batch
    reply.drain()


async def _first_bytes(chunks: AsyncIterator[bytes]) -> bytes:
    """Up to the end of the first chunk that says anything; blank lines before it are keep-alives."""
    first = b""
    async for chunk in chunks:
        first = (first + chunk).lstrip(b"\r\n\t ")
        if first:
            break
    return first


class Decoder:
    """The bytes of one streamed answer to batches of events.

    An error inside the stream is raised after the events before it were handed on, since they may share a read.
    """

    def __init__(self, framing: Framing, reader: Reader) -> None:
        self._framing = framing
        self._reader = reader
        self._alike = Alike()

    def tap(self, express: Express) -> Callable[[bytes], int]:
        """The short way for what is like what was read before."""
        alike, framing, reader = self._alike.read, self._framing, self._reader
        ready, send = express.ready, express.send

        def tap(read: bytes) -> int:
            half = framing.half()
            if half is None or not ready():
                return 0
            delta, taken = alike(half + read if half else read)
            if delta is None:
                return 0
            reader.skipped(delta)
            framing.forget()
            send(delta)
            return taken - len(half)

        return tap

    @property
    def done(self) -> bool:
        return self._reader.done

    def feed(self, chunk: bytes) -> Iterator[list[Event]]:
        half = self._framing.half()
        for events in self._read(self._framing.feed(chunk), last=False):
            self._alike.learn(b"" if half is None else half + chunk, events)
            yield events

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

    def __init__(self, request: ChatRequest, target: Target, trace: Trace) -> None:
        self._filters: list[Filter] = [ThinkTags()] if target.engine.quirks.think_tags else []
        self._request = request
        self._trace = trace

    def __call__(self, batch: Batch) -> Batch:
        for filter_ in self._filters:
            batch = filter_.feed(batch)
        if batch and (isinstance(batch[0], Started) or isinstance(batch[-1], Finished)):
            batch = [*self._touched(batch)]
        self._trace.observe(batch)
        return batch

    def _touched(self, batch: Batch) -> Iterator[Event]:
        for event in batch:
            if isinstance(event, Started):
                yield replace(event, dropped=self._trace.dropped)
                continue
            if isinstance(event, Finished) and not self._usage_told(batch):
                characters = self._trace.characters + count_characters(batch)
                yield UsageReported(estimated_usage(self._request, characters))
            yield event

    def _usage_told(self, batch: Batch) -> bool:
        return self._trace.usage is not None or any(isinstance(event, UsageReported) for event in batch)


def _whole(body: bytes, dialect: EngineDialect, target: Target) -> list[Event]:
    try:
        value = loads(body)
    except ValueError:
        raise Malformed("The engine's answer is not JSON.", engine=target.engine.name) from None
    return [*replay(dialect.read_reply(value, target.engine))]


async def read_failure(reply: HttpReply, dialect: EngineDialect, target: Target) -> LLMError:
    """The error that an answer with a failing status tells."""
    if 300 <= reply.status < 400:
        return EngineFailed(f"{target.engine.label} answered with a redirect, which is not followed.")
    error = dialect.read_error(reply.status, await reply.read(MAX_ERROR), target.engine)
    error.headers = kept_headers(reply.headers)
    told = retry_after(reply.headers, time.time())
    if told is not None:
        error.retry_after = told
    return error


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait by ``retry-after-ms`` or ``retry-after``, the latter in seconds or as a date."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            return max(float(value) * unit, 0.0)
        except ValueError:
            pass
        try:
            return max(parsedate_to_datetime(value).timestamp() - now, 0.0)
        except ValueError:
            continue
    return None


def blamed(error: LLMError, target: Target) -> LLMError:
    """The same error, told to whoever has to act: a caller's own key is the caller's to mend, the server's is not."""
    error.engine = error.engine or target.engine.name
    _mask(error, target.key)
    if target.own_key and isinstance(error, EngineRefusedKey | EngineForbids):
        return _as(NotAuthenticated, error)
    if not target.own_key and isinstance(error, QuotaExceeded):
        return _as(EngineRefusedKey, error)
    return error


def _mask(error: LLMError, key: str | None) -> None:
    """Some providers repeat the key that they were given (X4)."""
    said = error.provider
    texts = (error.message, *((said.code, said.type, said.message) if said else ()))
    if not key or not any(text and key in text for text in texts):
        return
    error.message = error.message.replace(key, MASK)
    error.args = (error.message,)
    if said is not None:
        code, kind, message = (text and text.replace(key, MASK) for text in (said.code, said.type, said.message))
        error.provider = ProviderSaid(said.status, code, kind, message)


def _as(kind: type[LLMError], error: LLMError) -> LLMError:
    return kind(
        error.message,
        engine=error.engine,
        provider=error.provider,
        param=error.param,
        retry_after=error.retry_after,
        headers=error.headers,
    )
