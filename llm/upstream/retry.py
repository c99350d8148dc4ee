"""When a failed request is sent again."""

from __future__ import annotations

import random
from dataclasses import dataclass

from llm.errors import LLMError


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
