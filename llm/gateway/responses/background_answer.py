"""One answer that is made in the background: its events go to the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from llm.chat.events import Event, Failed
from llm.chat.reply import Reply, replay
from llm.chat.request import ChatRequest
from llm.dialects import openai_responses
from llm.errors import Cancelled, LLMError, NotFound
from llm.storage.responses import ResponseStore

_RENEW: Final = 10.0  # seconds without an event after which the row is renewed
_MAX_PENDING: Final = 1024 * 1024  # bytes of events that wait for the store
_END: Final = b"\n\n"  # of an event
_DONE: Final = b"data: [DONE]"


class BackgroundAnswer:
    """The sink of an answer in the background (``llm.gateway.chat.Sink``), and what can be stopped of it."""

    holds_end = False

    def __init__(self, kept: openai_responses.KeptFields, names: frozenset[str], store: ResponseStore) -> None:
        self.id = kept.id
        self.names = names  # of its caller
        self.moved = asyncio.Event()  # set when events or the end are stored; then another one takes its place
        self.number = 0  # in the store
        self.on_end: Callable[[], None] | None = None  # called when the answer has ended
        self.queued: dict[str, Any] = {}  # the response object before the answer
        self.status = "queued"
        self.stopped: LLMError | None = None  # why it was stopped
        self.task: asyncio.Task[None] | None = None
        self._broken = False  # the store does not take events any more
        self._ended = False
        self._flushed = asyncio.Event()
        self._kept = kept
        self._next = 0  # number of the next event
        self._pending: list[bytes] = []
        self._size = 0  # bytes of pending events
        self._store = store
        self._wake = asyncio.Event()
        self._writer: Any = None
        self._write_task: asyncio.Task[None] | None = None

    @property
    def has_begun(self) -> bool:
        """True when the request was read."""
        return self._writer is not None

    def begin(self, request: ChatRequest) -> None:
        """Prepares for the answer to ``request``."""
        self._writer = openai_responses.create_writer(request, int(time.time()), self._kept)
        self.queued = self._writer.write_response("queued")

    def accept(self, content_type: str | None = None) -> None:
        """Does nothing: there are no headers."""

    def feed(self, events: Sequence[Event]) -> bool:
        """Writes events. Returns False while too many wait for the store."""
        for piece in self._writer.feed(events):
            self._add(piece)
        return self._size < _MAX_PENDING

    def send(self, piece: bytes) -> bool:
        """Adds events as they are. Returns as :meth:`feed`."""
        self._add(piece)
        return self._size < _MAX_PENDING

    send_last = send

    def write_reply(self, reply: Reply, request: ChatRequest) -> None:
        """Writes a whole answer as events."""
        self.feed([*replay(reply)])

    async def drain(self) -> None:
        """Returns when the store has the events."""
        while self._size >= _MAX_PENDING and not self._broken:
            self._flushed.clear()
            await self._flushed.wait()

    def stop(self, reason: LLMError) -> None:
        """Ends the answer with this error (``ActiveRequest``)."""
        if self.stopped is None and self.task is not None and not self._ended:
            self.stopped = reason
            self.task.cancel()

    def send_keepalive(self, now: float, silence: float) -> None:
        """Does nothing: no client waits (``ActiveRequest``)."""

    async def finish(self, failure: LLMError | None) -> None:
        """Stores the last events and the response object."""
        if failure is not None and self._writer.final is None and not isinstance(failure, Cancelled):
            self.feed([Failed(failure)])
        value = self._writer.final or self._writer.write_response("cancelled")
        self.status = value["status"]
        self._ended = True
        self._wake.set()
        try:
            if self._write_task is not None:
                await self._write_task
            await self._store.update(self.number, self.status, value)
        except LLMError:  # the store has logged it; for others the answer fails with its time
            self.status = "lost"
        self._tell()

    def _add(self, piece: bytes) -> None:
        if self._broken:
            return
        events = [event + _END for event in piece.split(_END) if event and event != _DONE]
        self._pending += events
        self._size += sum(map(len, events))
        self._wake.set()
        if self._write_task is None:
            self._write_task = asyncio.create_task(self._write())

    async def _write(self) -> None:
        """Stores events as they come. Ends the answer if they cannot be stored."""
        try:
            if not await self._write_all():
                self._give_up(NotFound("The response was deleted."))
        except LLMError as error:
            self._give_up(error)

    def _give_up(self, error: LLMError) -> None:
        self._broken = True
        self._flushed.set()
        self.stop(error)

    async def _write_all(self) -> bool:
        """Stores events until the end, several in one write while the store is busy. False: the response is gone."""
        value = {**self._writer.write_response("in_progress"), "output": []}
        alive = await self._store.update(self.number, "in_progress", value)
        while alive and (self._pending or not self._ended):
            try:
                async with asyncio.timeout(_RENEW):
                    await self._wake.wait()
            except TimeoutError:
                await self._store.touch([self.number])
                continue
            self._wake.clear()
            batch, self._pending, self._size = self._pending, [], 0
            self._flushed.set()
            if batch:
                alive = await self._store.append_events(self.number, self._next, batch)
                self._next += len(batch)
                self._tell()
        return alive

    def _tell(self) -> None:
        moved, self.moved = self.moved, asyncio.Event()
        moved.set()
