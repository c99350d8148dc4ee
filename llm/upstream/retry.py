"""How a failed request is sent again: when, and without what the engine has refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import monotonic
from typing import Final

from llm import log
from llm.engines.engine import Engine, Target
from llm.errors import Lack, LLMError, UsageRefused

_REMEMBERED: Final = 86400.0  # seconds: a server may have been updated
_USAGE: Final = "stream_options"


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
    """Remembers for a day what engines have refused, so that they are not asked for it again."""

    __slots__ = ("_clock", "_refused")

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._refused: dict[tuple[str, str], float] = {}  # engines and what they refuse, and when they did

    def adapt(self, target: Target) -> Target:
        """Returns the target without what its engine has refused."""
        if not self._refused:
            return target
        engine = target.engine
        if self._knows(engine.name, _USAGE) and engine.quirks.accepts_include_usage:
            engine = _without_usage(engine)
        if (support := engine.responses) is not None and not support.forced:
            if self._knows(engine.name, "api"):
                engine = replace(engine, responses=None)
            elif self._knows(engine.name, "tools") and not support.only_functions:
                engine = replace(engine, responses=replace(support, only_functions=True))
        return target if engine is target.engine else replace(target, engine=engine)

    def learn(self, error: LLMError, target: Target) -> Target | None:
        """Returns the target for one more attempt if ``error`` refuses what can be left out; else None."""
        if not isinstance(error, UsageRefused) or not target.engine.quirks.accepts_include_usage:
            return None
        self._refused[target.engine.name, _USAGE] = self._clock()
        return replace(target, engine=_without_usage(target.engine))

    def note_lack(self, lack: Lack, target: Target) -> None:
        """Remembers what the Responses API of an engine lacks, which has answered by Chat Completions instead."""
        if lack == "model":
            return
        self._refused[target.engine.name, lack] = self._clock()
        log.write("responses_api_missing", 30, engine=target.engine.name, lack=lack)

    def _knows(self, engine: str, refused: str) -> bool:
        since = self._refused.get((engine, refused))
        return since is not None and self._clock() - since <= _REMEMBERED


def _without_usage(engine: Engine) -> Engine:
    return replace(engine, quirks=replace(engine.quirks, accepts_include_usage=False))
