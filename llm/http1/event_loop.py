"""An event loop that reads and writes its busiest sockets in the look that found them ready.

asyncio makes a handle of all that is ready and runs those in a second round: a tenth of what a relayed event costs. A
descriptor that is *watched* is called by the selector itself; all else goes asyncio's way. Any other loop will do too.
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

_MOST: Final = 256  # descriptors in one look; the next finds the others

Call: TypeAlias = Callable[[], None]
Watch: TypeAlias = Callable[[int, Call | None, Call | None], None]
"""Calls what is given whenever a descriptor can be read or written, or has failed; nothing given, nothing is watched.

Its calls may not raise, and are not made in a task: what they wake runs in a context of its own.
"""


def new_loop() -> asyncio.AbstractEventLoop:
    """The fastest that there is here."""
    if uvloop is not None:
        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop
    return Loop() if hasattr(select, "epoll") else asyncio.new_event_loop()


def watch_of(loop: asyncio.AbstractEventLoop) -> Watch:
    return loop.watch if isinstance(loop, Loop) else _Plain(loop).watch


class Loop(asyncio.SelectorEventLoop):
    """Where there is ``epoll``."""

    def __init__(self) -> None:
        selector = _Selector(self._failed)
        super().__init__(selector)
        self.watch: Watch = selector.watch

    def _failed(self, error: BaseException) -> None:
        self.call_exception_handler({"message": "Exception in a watched descriptor", "exception": error})


class _Plain:
    """By way of asyncio's own handles."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def watch(self, fd: int, read: Call | None, write: Call | None) -> None:
        if read is not None:
            self._loop.add_reader(fd, read)
        else:
            self._loop.remove_reader(fd)
        if write is not None:
            self._loop.add_writer(fd, write)
        else:
            self._loop.remove_writer(fd)


class _Selector(BaseSelector):
    """``selectors.EpollSelector``, with :meth:`watch`."""

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self._epoll = select.epoll()
        self._failed = failed
        self._keys: dict[int, SelectorKey] = {}
        self._watched: dict[int, tuple[Call | None, Call | None]] = {}

    def watch(self, fd: int, read: Call | None, write: Call | None) -> None:
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
        found = self._epoll.poll(wait, _MOST)
        for fd, event in found:
            if fd not in watched and (key := keys.get(fd)) is not None:
                others.append((key, event))
        for fd, event in found:
            if (calls := watched.get(fd)) is None:
                continue
            try:
                if event & _CAN_READ and (call := calls[0]) is not None:
                    call()
                if event & _CAN_WRITE and (call := watched.get(fd, _NONE)[1]) is not None:
                    call()
            except Exception as error:
                self._failed(error)
        if not others:
            return others
        # A call may have closed what was found beside it, and its number may be another's by now.
        return [(key, _events(event) & key.events) for key, event in others if keys.get(key.fd) is key]

    def register(self, fileobj: Any, events: int, data: Any = None) -> SelectorKey:
        fd = _fd(fileobj)
        self._epoll.register(fd, _polled(events))  # raises FileExistsError for one that is here
        key = self._keys[fd] = SelectorKey(fileobj, fd, events, data)
        return key

    def unregister(self, fileobj: Any) -> SelectorKey:
        key = self._keys.pop(_fd(fileobj))
        self._unregister(key.fd)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> SelectorKey:
        fd = _fd(fileobj)
        if events != self._keys[fd].events:
            self._epoll.modify(fd, _polled(events))
        key = self._keys[fd] = SelectorKey(fileobj, fd, events, data)
        return key

    def close(self) -> None:
        self._epoll.close()
        self._keys.clear()
        self._watched.clear()

    def get_map(self) -> Mapping[Any, SelectorKey]:
        return _Keys(self._keys)

    def _unregister(self, fd: int) -> None:
        with suppress(OSError):  # closed before: then epoll has forgotten it
            self._epoll.unregister(fd)


class _Keys(Mapping[Any, SelectorKey]):
    """By descriptor or by whatever has one."""

    def __init__(self, keys: Mapping[int, SelectorKey]) -> None:
        self._keys = keys

    def __getitem__(self, fileobj: Any) -> SelectorKey:
        return self._keys[_fd(fileobj)]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


_NONE: Final = (None, None)
_IN: Final = getattr(select, "EPOLLIN", 0)  # not every system has them
_OUT: Final = getattr(select, "EPOLLOUT", 0)
_CAN_READ: Final = ~_OUT  # or has failed, which either call will find
_CAN_WRITE: Final = ~_IN


def _fd(fileobj: Any) -> int:
    return fileobj if isinstance(fileobj, int) else fileobj.fileno()


def _polled(events: int) -> int:
    return (_IN if events & EVENT_READ else 0) | (_OUT if events & EVENT_WRITE else 0)


def _events(polled: int) -> int:
    return (EVENT_READ if polled & _CAN_READ else 0) | (EVENT_WRITE if polled & _CAN_WRITE else 0)
