"""Runs work on large requests in a thread, so that the event loop goes on with the others."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# Seconds after which the thread lets the loop run, where it waits; Python's default of 5 ms is long for a stream.
_SWITCH_INTERVAL: Final = 0.0005

_executor: ThreadPoolExecutor | None = None


def submit(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Gives a call to the thread, which is started by the first one."""
    global _executor
    if _executor is None:
        _executor = ThreadPoolExecutor(1, "heavy")
        sys.setswitchinterval(_SWITCH_INTERVAL)
    return _executor.submit(function, *args, **kwargs)


async def run_in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Returns the result of ``function``, called in a thread; one call at a time, since threads share the processor.

    Cancelling ends the wait; a call that has begun goes on to its end.
    """
    pending = submit(function, *args, **kwargs)
    del args, kwargs  # they may be large, and the thread has them
    return await asyncio.wrap_future(pending)
