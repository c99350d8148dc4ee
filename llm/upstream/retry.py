"""The retry policy for failed requests."""

from __future__ import annotations

import random
from dataclasses import dataclass

from llm.errors import LLMError


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
