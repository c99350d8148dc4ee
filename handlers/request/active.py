"""The answers under way: cancelling one by its id, keeping silent ones alive, draining all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from llm.errors import Cancelled, Draining, LLMError


class Answer(Protocol):
    """What the registry needs of an answer under way."""

    @property
    def names(self) -> frozenset[str]:
        """Of its caller."""
        ...

    def stop(self, reason: LLMError) -> None:
        """Ends it with this error, told to its client."""
        ...

    def nudge(self, now: float, silence: float) -> None:
        """Sends a sign of life if it has been silent for so many seconds."""
        ...


class Running:
    """All answers of this process by request id."""

    def __init__(self, keepalive_interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._answers: dict[str, Answer] = {}
        self._interval = keepalive_interval
        self._clock = clock
        self._empty = asyncio.Event()
        self._empty.set()
        self._sweeping: asyncio.TimerHandle | None = None
        self.draining = False

    def __len__(self) -> int:
        return len(self._answers)

    def __contains__(self, id: str) -> bool:
        return id in self._answers

    def add(self, id: str, answer: Answer) -> None:
        self._answers[id] = answer
        self._empty.clear()
        if self._sweeping is None:
            self._sweep_later()

    def remove(self, id: str) -> None:
        self._answers.pop(id, None)
        if not self._answers:
            self._empty.set()

    def cancel(self, id: str, names: frozenset[str]) -> bool:
        """Stops the answer if it runs and belongs to one of these names."""
        answer = self._answers.get(id)
        if answer is None or not answer.names & names:
            return False
        answer.stop(Cancelled("The answer was cancelled by its caller."))
        return True

    async def drain(self, patience: float) -> None:
        """Waits until all answers have ended; after ``patience`` seconds ends the rest with an honest error."""
        self.draining = True
        try:
            await asyncio.wait_for(self._empty.wait(), patience)
        except TimeoutError:
            for answer in [*self._answers.values()]:
                answer.stop(Draining("The server is shutting down."))
            # They have been told; what remains is writing that to clients that may not read.
            await asyncio.wait([asyncio.ensure_future(self._empty.wait())], timeout=2)

    def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None

    @property
    def _period(self) -> float:
        return min(1.0, self._interval / 4)

    def _sweep_later(self) -> None:
        self._sweeping = asyncio.get_running_loop().call_later(self._period, self._sweep)

    def _sweep(self) -> None:
        """One timer for all streams: none is created per stream or per chunk."""
        self._sweeping = None
        now = self._clock()
        for answer in [*self._answers.values()]:
            answer.nudge(now, self._interval - self._period)
        if self._answers:
            self._sweep_later()
