"""Registry of running answers: cancels one by its request id, sends keepalives, drains all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from llm.errors import Cancelled, Draining, LLMError


class ActiveRequest(Protocol):
    """A running answer, as the registry uses it."""

    @property
    def names(self) -> frozenset[str]:
        """Names of its caller (``Caller.names``)."""
        ...

    def stop(self, reason: LLMError) -> None:
        """Ends the answer with this error, which is also sent to the client."""
        ...

    def send_keepalive(self, now: float, silence: float) -> None:
        """Sends a keepalive if nothing was sent for ``silence`` seconds before ``now`` (monotonic time)."""
        ...


class ActiveRequests:
    """All running answers of this process, by request id.

    ``keepalive_interval``: seconds without output after which a keepalive is sent.
    """

    def __init__(self, keepalive_interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._answers: dict[str, ActiveRequest] = {}
        self._interval = keepalive_interval
        self._clock = clock
        self._empty = asyncio.Event()
        self._empty.set()
        self._timer: asyncio.TimerHandle | None = None
        self.draining = False
        self.on_drain: set[Callable[[], None]] = set()  # called when the server begins to shut down

    def __len__(self) -> int:
        return len(self._answers)

    def __contains__(self, id: str) -> bool:
        return id in self._answers

    def add(self, id: str, answer: ActiveRequest) -> None:
        """Adds an answer that has started."""
        self._answers[id] = answer
        self._empty.clear()
        if self._timer is None:
            self._schedule_keepalives()

    def remove(self, id: str) -> None:
        """Removes an answer that has ended."""
        self._answers.pop(id, None)
        if not self._answers:
            self._empty.set()

    def cancel(self, id: str, names: frozenset[str]) -> bool:
        """Stops the answer if it is running and its caller has one of these names. Returns whether it did."""
        answer = self._answers.get(id)
        if answer is None or not answer.names & names:
            return False
        answer.stop(Cancelled("The answer was cancelled by its caller."))
        return True

    async def drain(self, seconds: float) -> None:
        """Waits until all answers have ended; after ``seconds`` ends the rest with a ``Draining`` error."""
        self.draining = True
        for call in [*self.on_drain]:
            call()
        try:
            await asyncio.wait_for(self._empty.wait(), seconds)
        except TimeoutError:
            for answer in [*self._answers.values()]:
                answer.stop(Draining("The server is shutting down."))
            # The error still has to be sent, to clients that may not read.
            await asyncio.wait([asyncio.ensure_future(self._empty.wait())], timeout=2)

    def close(self) -> None:
        """Stops the keepalive timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def _period(self) -> float:
        return min(1.0, self._interval / 4)

    def _schedule_keepalives(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._period, self._send_keepalives)

    def _send_keepalives(self) -> None:
        """Sends the keepalives that are due. One timer serves all streams, so that a stream or chunk needs none."""
        self._timer = None
        now = self._clock()
        for answer in [*self._answers.values()]:
            answer.send_keepalive(now, self._interval - self._period)
        if self._answers:
            self._schedule_keepalives()
