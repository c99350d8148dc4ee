"""One exchange with an engine: a request out, its answer back, asked again while that may help and nothing has come."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar

from llm.chat import Usage
from llm.codec import dump_bytes, loads
from llm.dialects import Outgoing
from llm.dialects.registry import ENGINE_DIALECTS
from llm.engines import Target
from llm.errors import (
    EngineError,
    EngineFailed,
    EngineForbids,
    EngineRefusedKey,
    LLMError,
    Malformed,
    NotAuthenticated,
    OtherApi,
    ProviderSaid,
    QuotaExceeded,
    kept_headers,
)
from llm.events import Event, Finished, ReasoningDelta, TextDelta, ToolCallDelta, UsageReported
from llm.http import READ_LIMIT, HttpReply, HttpRequest, Transport
from llm.log import is_secret, mask
from llm.tokens import Input, estimated_usage

MAX_ERROR: Final = 1024 * 1024  # bytes, of an error's body
ERROR_TIME: Final = 10.0  # seconds that it may take

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
    input: Input | None = None  # of the request, once it was made
    weight: int = 0  # bytes that pieces of calls take beside them, on their way to be whole

    def used(self) -> Usage | None:
        """What an answer that did not finish used: as it was told, but no less than what has come (C3)."""
        if self.finish is not None or not self.attempts or self.input is None:
            return self.usage
        seen = estimated_usage(self.input, self.characters)
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
    max_answer: int = READ_LIMIT  # bytes of an answer that may be held at a time

    def send(
        self, target: Target, outgoing: Outgoing, headers: Mapping[str, str] | None = None
    ) -> Coroutine[Any, Any, HttpReply]:
        """Returns when the engine's headers are in, whatever their status (``llm.http.Transport``)."""
        engine = target.engine
        own = {"accept": "application/json", **engine.auth_headers(target.key), **outgoing.headers, **(headers or {})}
        body = outgoing.raw
        if outgoing.body is not None:
            own["content-type"] = "application/json"
            body = dump_bytes(outgoing.body)
        url = engine.url(outgoing.path, target.model)
        transport = self.transports[url.partition(":")[0]]
        return transport.send(HttpRequest(method=outgoing.method, url=url, headers=own, body=body))


class Silence:
    """What came since the last content. The idle clock bounds how long that goes on, this how much it may be."""

    __slots__ = ("_most", "size")

    def __init__(self, most: int) -> None:
        self._most = most
        self.size = 0

    def heard(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.size > 2 * self._most:  # half an event is none of it yet, and has its own bound
            raise Malformed("The engine sends signs of life without end and nothing else.")


class Exchange:
    """One question to an engine, put again while that may help and nothing of an answer has come.

    ``headers`` go along. Where the engine wants to be asked in another way (``OtherApi``), ``otherwise`` says how; that
    is tried once.
    """

    __slots__ = ("_attempts", "_headers", "_otherwise", "_services", "_trace", "_waited", "begun", "target")

    def __init__(
        self,
        target: Target,
        services: Services,
        trace: Trace,
        headers: Mapping[str, str] | None = None,
        otherwise: Callable[[Target], Target] | None = None,
    ) -> None:
        self.target = target
        self.begun = False  # something has come: it is not asked again
        self._services = services
        self._trace = trace
        self._headers = headers
        self._otherwise = otherwise
        self._attempts = 0
        self._waited = 0.0  # seconds

    def ask(self, outgoing: Outgoing) -> Coroutine[Any, Any, HttpReply]:
        """Asks, at once over a connection that is there. To be awaited: the answer of an engine that has accepted it.

        Raises ``LLMError``.
        """
        self._attempts += 1
        self._trace.attempts += 1
        return self._accepted(self._services.send(self.target, outgoing, self._headers))

    async def _accepted(self, answer: Coroutine[Any, Any, HttpReply]) -> HttpReply:
        reply = await answer
        if not 200 <= reply.status < 300:
            async with reply:
                raise await read_failure(reply, self.target)
        self._trace.headers = kept_headers(reply.headers)
        return reply

    async def failed(self, error: LLMError) -> None:
        """Returns when it is to be asked again; else raises the error, told to whoever has to act."""
        if isinstance(error, OtherApi) and self._otherwise is not None:  # only ever instead of an answer
            self.target, self._otherwise = self._otherwise(self.target), None
            return
        failure = blamed(error, self.target)
        wait = None if self.begun else self._services.retry.wait(failure, self._attempts - 1, self._waited)
        if wait is None:
            raise failure from None
        self._waited += wait
        await asyncio.sleep(wait)


async def asked(
    outgoing: Outgoing,
    read: Callable[[HttpReply], AsyncGenerator[T, None]],
    target: Target,
    services: Services,
    trace: Trace,
) -> AsyncGenerator[T, None]:
    """What ``read`` makes of the engine's answer, value by value. Raises ``LLMError``, as an ``Exchange``."""
    exchange = Exchange(target, services, trace)
    while True:
        try:
            async with await exchange.ask(outgoing) as reply, aclosing(read(reply)) as values:
                async for value in values:
                    exchange.begun = True
                    yield value
                    del value  # while the next one is waited for
            return
        except LLMError as error:
            await exchange.failed(error)


async def ask(
    outgoing: Outgoing,
    read: Callable[[Any], T],
    target: Target,
    services: Services,
    trace: Trace,
    headers: Mapping[str, str] | None = None,
) -> T:
    """A question that is no chat: what ``read`` makes of the answer's JSON. Raises ``LLMError``, as an ``Exchange``."""
    exchange = Exchange(target, services, trace, headers)
    while True:
        try:
            async with await exchange.ask(outgoing) as reply:
                return read(_json(await reply.read(services.max_answer), target))
        except LLMError as error:
            await exchange.failed(error)


def _json(raw: bytes, target: Target) -> Any:
    try:
        return loads(raw)
    except ValueError:
        raise Malformed("The engine's answer is not JSON.", engine=target.engine.name) from None


async def read_failure(reply: HttpReply, target: Target) -> LLMError:
    """The error that an answer with a failing status tells."""
    if 300 <= reply.status < 400:
        return EngineFailed(f"{target.engine.label} answered with a redirect, which is not followed.")
    dialect = ENGINE_DIALECTS[target.engine.dialect]
    error = dialect.read_error(reply.status, await _error_body(reply), target.engine)
    error.headers = kept_headers(reply.headers)
    told = retry_after(reply.headers, time.time())
    if told is not None:
        error.retry_after = told
    return error


async def _error_body(reply: HttpReply) -> bytes:
    """Nothing where it breaks, or does not come to an end: the status counts whatever becomes of its body."""
    try:
        async with asyncio.timeout(ERROR_TIME):
            return await reply.read(MAX_ERROR)
    except (EngineError, TimeoutError):
        return b""


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait by ``retry-after-ms`` or ``retry-after``, the latter in seconds or as a date."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        seconds = _seconds(headers.get(name, ""), unit, now)
        if seconds is not None and math.isfinite(seconds):  # it is told to the client, in JSON
            return max(seconds, 0.0)
    return None


def _seconds(value: str, unit: float, now: float) -> float | None:
    with suppress(ValueError):
        return float(value) * unit
    with suppress(ValueError, OverflowError):  # OverflowError: a date of no calendar
        return parsedate_to_datetime(value).timestamp() - now
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
    if not is_secret(key) or not any(text and key in text for text in texts):
        return
    error.message = mask(error.message, key)
    error.args = (error.message,)
    if said is not None:
        code, kind, message = (text and mask(text, key) for text in (said.code, said.type, said.message))
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
