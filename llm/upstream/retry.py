"""How a failed request is sent again: when, and without what the engine has refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import monotonic
from typing import Final

from llm.engines.engine import Target
from llm.errors import LLMError, UsageRefused

_REMEMBERED: Final = 86400.0  # seconds: a server may have been updated


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Decides whether and when a failed request is sent again."""

    retries: int = 2  # attempts after the first
    max_wait: float = 10.0  # seconds, all waits of one request together

    def compute_wait(self, error: LLMError, attempt: int, waited: float) -> float | None:
        """Returns the seconds to wait before the next attempt; None for no further attempt (E3).

        ``attempt``: number of the failed attempt, from 0. ``waited``: seconds waited so far.
        """
        if not error.retryable or attempt >= self.retries or error.headers.get("x-should-retry") == "false":
            return None
        if error.retry_after is not None:
            wait = error.retry_after
        else:
            wait = min(0.5 * 2**attempt, 8.0) * (1 - random.random() / 4)  # noqa: S311  jitter needs no secure random numbers
        return wait if waited + wait <= self.max_wait else None


class EngineMemory:
    """Remembers for a day what engines have refused that this server added to a request."""

    __slots__ = ("_clock", "_without_usage")

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._without_usage: dict[str, float] = {}  # engines that refuse stream_options, and when they did

    def adapt(self, target: Target) -> Target:
        """Returns the target without what its engine has refused."""
        since = self._without_usage.get(target.engine.name) if self._without_usage else None
        if since is None or self._clock() - since > _REMEMBERED:
            return target
        return _without_usage(target)

    def learn(self, error: LLMError, target: Target) -> Target | None:
        """Returns the target for one more attempt if ``error`` refuses what can be left out; else None."""
        if not isinstance(error, UsageRefused) or not target.engine.quirks.accepts_include_usage:
            return None
        self._without_usage[target.engine.name] = self._clock()
        return _without_usage(target)


def _without_usage(target: Target) -> Target:
    engine = target.engine
    return replace(target, engine=replace(engine, quirks=replace(engine.quirks, accepts_include_usage=False)))
