"""One request to an engine, retried until the first byte of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final, TypeVar

from llm.dialects.base import EngineRequest
from llm.dialects.registry import LONG_CONTEXT_HEADERS
from llm.engines.engine import Target
from llm.errors import LLMError, Malformed, OtherApi
from llm.transport.interface import HttpResponse
from llm.upstream.call_record import FIRST_BYTE, NEXT_ATTEMPT, NEXT_EVENT, CallRecord
from llm.upstream.engine_client import EngineClient, merge_headers
from llm.upstream.failures import attribute_error, read_failure, select_client_headers
from llm.wire.json_codec import loads

T = TypeVar("T")
_HEADERS_WAIT: Final = 0.1  # seconds for which the headers of a stream wait for its first byte


class Attempts:
    """Sends one request to an engine and retries it until the first byte of the answer.

    ``target``: as ``EngineMemory.adapt`` returns it. ``headers`` are sent in addition to those of the engine. If the
    engine requires its other API for this request (``OtherApi``, ``LLMError.lack``), ``switch_api`` returns the target
    for that API; it is called at most once.
    """

    __slots__ = (
        "_client",
        "_count",
        "_headers",
        "_record",
        "_repeated",
        "_switch_api",
        "_waited",
        "may_adapt",
        "response_started",
        "target",
    )

    def __init__(
        self,
        target: Target,
        client: EngineClient,
        record: CallRecord,
        headers: Mapping[str, str] | None = None,
        switch_api: Callable[[Target], Target] | None = None,
    ) -> None:
        self.target = target
        self.may_adapt = True  # an option that this server added is taken back if the engine refuses it
        self.response_started = False  # the first content has arrived: no more retries
        self._client = client
        self._record = record
        self._headers = headers
        self._switch_api = switch_api
        self._count = 1 if record.lack else 0  # by the engine's other API it was asked once already
        self._waited = 0.0  # seconds, before all retries so far
        self._repeated = False  # at least one retry was made

    @property
    def may_switch_api(self) -> bool:
        """True while the engine may require its other API for this request."""
        return self._switch_api is not None

    def send(self, outgoing: EngineRequest) -> Coroutine[Any, Any, HttpResponse]:
        """Starts one attempt (see ``Transport.send``). The coroutine returns a response with a 2xx status.

        The coroutine raises ``LLMError``: the engine's error for any other status, or an error of the transport.
        """
        self._count += 1
        self._record.attempts += 1
        self._record.waiting_for = FIRST_BYTE
        if self.target.long_context:
            outgoing = add_long_context(outgoing, self.target)
        return self._check_status(self._client.send(self.target, outgoing, self._headers))

    def restart(self) -> None:
        """Begins to count anew, for the next request of the same answer."""
        self.response_started, self._count, self._waited, self._repeated = False, 0, 0.0, False

    async def _check_status(self, pending: Coroutine[Any, Any, HttpResponse]) -> HttpResponse:
        reply = await pending
        if not 200 <= reply.status < 300:
            async with reply:
                raise await read_failure(reply, self.target)
        record = self._record
        record.headers = select_client_headers(reply.headers)
        record.waiting_for = NEXT_EVENT
        if record.lack:  # only now it is known that the engine's other API was the reason
            self._client.memory.note_lack(record.lack, self.target)
            record.lack = ""
        return reply

    async def handle_failure(self, error: LLMError) -> None:
        """Returns when the next attempt is due; otherwise raises the error (``attribute_error``)."""
        if self._switch_api is not None and not self.response_started and (isinstance(error, OtherApi) or error.lack):
            self.target, self._switch_api = self._switch_api(self.target), None
            self._record.lack = error.lack
            return
        if self.may_adapt and (adapted := self._client.memory.learn(error, self.target)) is not None:
            self.target = adapted
            return
        failure = attribute_error(error, self.target)
        final = self.response_started or error.lack
        wait = None if final else self._client.retry.compute_wait(failure, self._count - 1, self._waited)
        if wait is None:
            if self._repeated:  # repetitions of clients would multiply these; the official packages obey this header
                failure.headers.setdefault("x-should-retry", "false")
            raise failure from None
        self._repeated = True
        self._waited += wait
        self._record.waiting_for = NEXT_ATTEMPT
        await asyncio.sleep(wait)


class StreamStart:
    """Sends the headers of a client's stream with the first byte of the engine's, or when that takes long.

    An engine that ends its answer before that has sent nothing: then the client gets an error with its status.
    """

    __slots__ = ("_accept", "_timer")

    def __init__(self, accept: Callable[[], None]) -> None:
        self._accept: Callable[[], None] | None = accept
        self._timer = asyncio.get_running_loop().call_later(_HEADERS_WAIT, self.send)

    def send(self) -> None:
        """Sends the headers, if that has not happened."""
        accept = self._accept
        self.drop()
        if accept is not None:
            accept()

    def drop(self) -> None:
        """The headers will not be sent from here."""
        self._accept = None
        self._timer.cancel()


async def request_stream(
    outgoing: EngineRequest,
    read: Callable[[HttpResponse], AsyncGenerator[T, None]],
    target: Target,
    client: EngineClient,
    record: CallRecord,
) -> AsyncGenerator[T, None]:
    """Sends a request with retries and yields the values that ``read`` yields from the response.

    Raises ``LLMError`` when no retry is left, or after the first value.
    """
    attempts = Attempts(client.memory.adapt(target), client, record)
    while True:
        try:
            async with await attempts.send(outgoing) as reply, aclosing(read(reply)) as values:
                async for value in values:
                    attempts.response_started = True
                    yield value
                    del value  # frees it while the next one is awaited
            return
        except LLMError as error:
            await attempts.handle_failure(error)


async def request_json(
    outgoing: EngineRequest,
    read: Callable[[Any], T],
    target: Target,
    client: EngineClient,
    record: CallRecord,
    headers: Mapping[str, str] | None = None,
) -> T:
    """Sends a request with retries and returns ``read`` of the JSON response.

    Raises ``LLMError`` when no retry is left.
    """
    return await request_body(outgoing, lambda body: read(_parse_json(body, target)), target, client, record, headers)


async def request_body(
    outgoing: EngineRequest,
    read: Callable[[bytes], T],
    target: Target,
    client: EngineClient,
    record: CallRecord,
    headers: Mapping[str, str] | None = None,
) -> T:
    """Sends a request with retries and returns ``read`` of the response's bytes.

    Raises ``LLMError`` when no retry is left.
    """
    attempts = Attempts(client.memory.adapt(target), client, record, headers)
    while True:
        try:
            async with await attempts.send(outgoing) as reply:
                return read(await reply.read(client.max_answer))
        except LLMError as error:
            await attempts.handle_failure(error)


def add_long_context(outgoing: EngineRequest, target: Target) -> EngineRequest:
    """Returns the request with the headers with which the model takes its longest context."""
    select = LONG_CONTEXT_HEADERS.get(target.engine.dialect)
    headers = select(target.model) if select is not None else {}
    return replace(outgoing, headers=merge_headers(outgoing.headers, headers)) if headers else outgoing


def _parse_json(raw: bytes, target: Target) -> Any:
    try:
        return loads(raw)
    except ValueError:
        raise Malformed("The engine's answer is not JSON.", engine=target.engine.name) from None
