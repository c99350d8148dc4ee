"""Runs work on large requests in a thread, so that the event loop goes on with the others."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# Seconds after which the thread lets the loop run, where it waits; Python's default of 5 ms is long for a stream.
_SWITCH_INTERVAL: Final = 0.0005
_REST: Final = 0.5  # seconds after the last call until the garbage collector runs again
_MAX_PAUSE: Final = 30.0  # seconds for which it may be paused under steady work

_executor: ThreadPoolExecutor | None = None


class CollectorPause:
    """Pauses the garbage collector while a large request is worked on.

    A full collection goes through all objects of the request, in which nothing else runs: 30 ms and more for 90,000
    messages, several times while they are created. Most of them are freed without it when the request has been sent.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._since: float | None = None  # time.monotonic() of the pause; None: there is none
        self._timer: threading.Timer | None = None

    def begin(self) -> None:
        """Begins a pause, or prolongs it."""
        with self._lock:
            self._running += 1
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if gc.isenabled():
                gc.disable()
                self._since = monotonic()
            elif self._since is not None and monotonic() - self._since > _MAX_PAUSE:
                gc.collect()
                self._since = monotonic()

    def end(self) -> None:
        """Ends the pause a moment after the last of the calls that began it."""
        with self._lock:
            self._running -= 1
            if self._running == 0 and self._since is not None:
                self._timer = threading.Timer(_REST, self._resume)
                self._timer.daemon = True
                self._timer.start()

    def _resume(self) -> None:
        with self._lock:
            if self._running == 0 and self._since is not None:
                self._since = None
                gc.enable()


_collector: Final = CollectorPause()


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
    _collector.begin()
    try:
        pending = submit(function, *args, **kwargs)
        del args, kwargs  # they may be large, and the thread has them
        return await asyncio.wrap_future(pending)
    finally:
        _collector.end()
