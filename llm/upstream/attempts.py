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
    """Sends one request to an engine and retries it until the first byte of the answer.

    ``headers`` are sent in addition to those of the engine. If the engine requires its other API for this request
    (``OtherApi``), ``switch_api`` returns the target for that API; it is called at most once.
    """

    __slots__ = ("_client", "_count", "_headers", "_record", "_switch_api", "_waited", "begun", "target")

    def __init__(
        self,
        target: Target,
        services: Services,
        trace: Trace,
        headers: Mapping[str, str] | None = None,
        otherwise: Callable[[Target], Target] | None = None,
    ) -> None:
        self.target = target
        self.begun = False  # the first content has arrived: no more retries
        self._client = services
        self._record = trace
        self._headers = headers
        self._switch_api = otherwise
        self._count = 0
        self._waited = 0.0  # seconds, before all retries so far

    def ask(self, outgoing: Outgoing) -> Coroutine[Any, Any, HttpReply]:
        """Starts one attempt (see ``Transport.send``). The coroutine returns a response with a 2xx status.

        The coroutine raises ``LLMError``: the engine's error for any other status, or an error of the transport.
        """
        self._count += 1
        self._record.attempts += 1
        self._record.waiting_for = FIRST_BYTE
        return self._check_status(self._client.send(self.target, outgoing, self._headers))

    async def _check_status(self, pending: Coroutine[Any, Any, HttpReply]) -> HttpReply:
        reply = await pending
        if not 200 <= reply.status < 300:
            async with reply:
                raise await read_failure(reply, self.target)
        self._record.headers = kept_headers(reply.headers)
        self._record.waiting_for = NEXT_EVENT
        return reply

    async def failed(self, error: LLMError) -> None:
        """Returns when the next attempt is due; otherwise raises the error (``attribute_error``)."""
        if isinstance(error, OtherApi) and self._switch_api is not None:  # engines send this only instead of an answer
            self.target, self._switch_api = self._switch_api(self.target), None
            return
        failure = blamed(error, self.target)
        wait = None if self.begun else self._client.retry.wait(failure, self._count - 1, self._waited)
        if wait is None:
            raise failure from None
        self._waited += wait
        self._record.waiting_for = NEXT_ATTEMPT
        await asyncio.sleep(wait)


async def asked(
    outgoing: Outgoing,
    read: Callable[[HttpReply], AsyncGenerator[T, None]],
    target: Target,
    services: Services,
    trace: Trace,
) -> AsyncGenerator[T, None]:
    """Sends a request with retries and yields the values that ``read`` yields from the response.

    Raises ``LLMError`` when no retry is left, or after the first value.
    """
    attempts = Exchange(target, services, trace)
    while True:
        try:
            async with await attempts.ask(outgoing) as reply, aclosing(read(reply)) as values:
                async for value in values:
                    attempts.begun = True
                    yield value
                    del value  # frees it while the next one is awaited
            return
        except LLMError as error:
            await attempts.failed(error)


async def ask(
    outgoing: Outgoing,
    read: Callable[[Any], T],
    target: Target,
    services: Services,
    trace: Trace,
    headers: Mapping[str, str] | None = None,
) -> T:
    """Sends a request with retries and returns ``read`` of the JSON response.

    Raises ``LLMError`` when no retry is left.
    """
    attempts = Exchange(target, services, trace, headers)
    while True:
        try:
            async with await attempts.ask(outgoing) as reply:
                return read(_parse_json(await reply.read(services.max_answer), target))
        except LLMError as error:
            await attempts.failed(error)


def _parse_json(raw: bytes, target: Target) -> Any:
    try:
        return loads(raw)
    except ValueError:
        raise Malformed("The engine's answer is not JSON.", engine=target.engine.name) from None
