"""An awaitable that resumes its task at once.

A future of asyncio resumes its task in the next iteration of the loop, which polls the sockets again for every event of
every stream: a fifth of the cost of a passed-through event. This one resumes the task in the same iteration.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any, Self


class Wakeup:
    """Wakes one waiting task, as often as needed. asyncio treats it as a future (``_asyncio_future_blocking``)."""

    __slots__ = ("_asyncio_future_blocking", "_callback", "_cancelled", "_context", "_loop", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asyncio_future_blocking = False
        self._callback: Callable[[Self], Any] | None = None
        self._context: Context | None = None
        self._cancelled = False
        self.waiting = False  # a task awaits this object

    def __await__(self) -> Generator[Any, None, None]:
        self.waiting = self._asyncio_future_blocking = True
        self._cancelled = False
        yield self

    def wake(self) -> None:
        """Runs the task until it waits again. Call it only from callbacks of the loop: tasks cannot be nested."""
        callback, context = self._take_callback()
        if callback is not None and context is not None:
            context.run(callback, self)

    def wake_soon(self) -> None:
        """Resumes the task in the next iteration of the loop."""
        callback, context = self._take_callback()
        if callback is not None:
            self._loop.call_soon(callback, self, context=context)

    def _take_callback(self) -> tuple[Callable[[Self], Any] | None, Context | None]:
        taken = self._callback, self._context
        self._callback = self._context = None
        self.waiting = False
        return taken

    # The methods of a future that a task calls.

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Returns the loop of the task."""
        return self._loop

    def add_done_callback(self, callback: Callable[[Self], Any], *, context: Context | None = None) -> None:
        """Stores the callback that resumes the task."""
        self._callback, self._context = callback, context

    def cancel(self, msg: object = None) -> bool:
        """Resumes the task with ``CancelledError``; returns False if none is waiting."""
        if not self.waiting:
            return False
        self._cancelled = True
        self.wake_soon()
        return True

    def result(self) -> None:
        """Raises ``CancelledError`` if the task was cancelled while it waited."""
        if self._cancelled:
            raise asyncio.CancelledError
