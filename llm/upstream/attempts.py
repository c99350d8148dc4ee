"""One request to an engine, retried until the first byte of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from llm.dialects.base import Outgoing
from llm.engines.engine import Target
from llm.errors import LLMError, Malformed, OtherApi, kept_headers
from llm.transport.interface import HttpReply
from llm.upstream.call_record import FIRST_BYTE, NEXT_ATTEMPT, NEXT_EVENT, Trace
from llm.upstream.engine_client import Services
from llm.upstream.failures import blamed, read_failure
from llm.wire.json_codec import loads

T = TypeVar("T")


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
        self._trace.waiting_for = FIRST_BYTE
        return self._accepted(self._services.send(self.target, outgoing, self._headers))

    async def _accepted(self, answer: Coroutine[Any, Any, HttpReply]) -> HttpReply:
        reply = await answer
        if not 200 <= reply.status < 300:
            async with reply:
                raise await read_failure(reply, self.target)
        self._trace.headers = kept_headers(reply.headers)
        self._trace.waiting_for = NEXT_EVENT
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
        self._trace.waiting_for = NEXT_ATTEMPT
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
