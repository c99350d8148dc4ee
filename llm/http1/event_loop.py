"""An event loop whose selector calls the callbacks of the busiest sockets directly.

asyncio creates a handle for each ready descriptor and runs the handles in a second pass, a tenth of the cost of a
passed-through event. The callbacks of a *watched* descriptor are called by the selector itself; all others work as in
asyncio. The server also runs on any other event loop.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector, SelectorKey
from typing import Any, Final, TypeAlias

from llm.wire.json_codec import import_optional

uvloop: Final = import_optional("uvloop")

_MAX_READY: Final = 256  # descriptors of one poll; the next one returns the others

Callback: TypeAlias = Callable[[], None]
WatchFunction: TypeAlias = Callable[[int, Callback | None, Callback | None], None]
"""``watch(fd, read, write)`` sets the callbacks for a descriptor that is readable, writable or has failed.

Without callbacks the descriptor is no longer watched. Callbacks must not raise and do not run in a task.
"""


def new_loop() -> asyncio.AbstractEventLoop:
    """Creates the fastest event loop available: uvloop, else ``EventLoop``, else asyncio's own."""
    if uvloop is not None:
        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop
    return EventLoop() if hasattr(select, "epoll") else asyncio.new_event_loop()


def get_watch_function(loop: asyncio.AbstractEventLoop) -> WatchFunction:
    """Returns the watch function of ``loop``; for another loop, one that uses its readers and writers."""
    return loop.watch if isinstance(loop, EventLoop) else _ReaderWatch(loop).watch


class EventLoop(asyncio.SelectorEventLoop):
    """asyncio's event loop with ``watch``, for systems with ``epoll``."""

    def __init__(self) -> None:
        selector = _Selector(self._report)
        super().__init__(selector)
        self.watch: WatchFunction = selector.watch

    def _report(self, error: BaseException) -> None:
        self.call_exception_handler(
            {"message": "Exception in a callback of a watched file descriptor", "exception": error}
        )


class _ReaderWatch:
    """``watch`` by the readers and writers of any event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def watch(self, fd: int, read: Callback | None, write: Callback | None) -> None:
        if read is not None:
            self._loop.add_reader(fd, read)
        else:
            self._loop.remove_reader(fd)
        if write is not None:
            self._loop.add_writer(fd, write)
        else:
            self._loop.remove_writer(fd)


class _Selector(BaseSelector):
    """Does what ``selectors.EpollSelector`` does, and ``watch``."""

    def __init__(self, report: Callable[[BaseException], None]) -> None:
        self._epoll = select.epoll()
        self._report = report
        self._keys: dict[int, SelectorKey] = {}
        self._watched: dict[int, tuple[Callback | None, Callback | None]] = {}

    def watch(self, fd: int, read: Callback | None, write: Callback | None) -> None:
        events = (_IN if read is not None else 0) | (_OUT if write is not None else 0)
        if fd in self._watched:
            if not events:
                del self._watched[fd]
                self._unregister(fd)
                return
            self._epoll.modify(fd, events)
        elif events:
            self._epoll.register(fd, events)
        else:
            return
        self._watched[fd] = (read, write)

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        wait = -1 if timeout is None else max(timeout, 0)
        watched, keys = self._watched, self._keys
        others = []
        ready = self._epoll.poll(wait, _MAX_READY)
        for fd, event in ready:
            if fd not in watched and (key := keys.get(fd)) is not None:
                others.append((key, event))
        for fd, event in ready:
            if (calls := watched.get(fd)) is None:
                continue
            try:
                if event & _CAN_READ and (call := calls[0]) is not None:
                    call()
                if event & _CAN_WRITE and (call := watched.get(fd, _NONE)[1]) is not None:
                    call()
            except Exception as error:
                self._report(error)
        if not others:
            return others
        # A callback may have closed another ready descriptor, whose number may already belong to a new one.
        return [(key, _from_epoll(event) & key.events) for key, event in others if keys.get(key.fd) is key]

    def register(self, fileobj: Any, events: int, data: Any = None) -> SelectorKey:
        fd = _fd(fileobj)
        self._epoll.register(fd, _to_epoll(events))  # raises FileExistsError for one that is registered
        key = self._keys[fd] = SelectorKey(fileobj, fd, events, data)
        return key

    def unregister(self, fileobj: Any) -> SelectorKey:
        key = self._keys.pop(_fd(fileobj))
        self._unregister(key.fd)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> SelectorKey:
        fd = _fd(fileobj)
        if events != self._keys[fd].events:
            self._epoll.modify(fd, _to_epoll(events))
        key = self._keys[fd] = SelectorKey(fileobj, fd, events, data)
        return key

    def close(self) -> None:
        self._epoll.close()
        self._keys.clear()
        self._watched.clear()

    def get_map(self) -> Mapping[Any, SelectorKey]:
        return _Keys(self._keys)

    def _unregister(self, fd: int) -> None:
        with suppress(OSError):  # already closed, which removes it from epoll
            self._epoll.unregister(fd)


class _Keys(Mapping[Any, SelectorKey]):
    """Finds keys by descriptor or by an object with ``fileno``."""

    def __init__(self, keys: Mapping[int, SelectorKey]) -> None:
        self._keys = keys

    def __getitem__(self, fileobj: Any) -> SelectorKey:
        return self._keys[_fd(fileobj)]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


_NONE: Final = (None, None)
_IN: Final = getattr(select, "EPOLLIN", 0)  # not defined on every system
_OUT: Final = getattr(select, "EPOLLOUT", 0)
_CAN_READ: Final = ~_OUT  # readable or failed; either callback then gets the error
_CAN_WRITE: Final = ~_IN


def _fd(fileobj: Any) -> int:
    return fileobj if isinstance(fileobj, int) else fileobj.fileno()


def _to_epoll(events: int) -> int:
    return (_IN if events & EVENT_READ else 0) | (_OUT if events & EVENT_WRITE else 0)


def _from_epoll(mask: int) -> int:
    return (EVENT_READ if mask & _CAN_READ else 0) | (EVENT_WRITE if mask & _CAN_WRITE else 0)
