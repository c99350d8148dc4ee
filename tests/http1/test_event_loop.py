"""The event loop whose selector calls the callbacks of watched descriptors."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from llm.http1.event_loop import EventLoop, get_watch_function


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    with left, right:
        yield left, right


def run(work: Callable[[EventLoop], Any], *, plain: bool = False) -> list[dict[str, Any]]:
    """Runs ``work`` on ``EventLoop`` or asyncio's own loop; returns the errors reported to the loop."""
    loop = asyncio.SelectorEventLoop() if plain else EventLoop()
    errors: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: errors.append(context))
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(asyncio.wait_for(work(loop), 5))  # type: ignore[arg-type]
    return errors


@pytest.mark.parametrize("plain", [False, True])
def test_a_watched_descriptor_is_called_until_it_is_no_longer_watched(plain: bool) -> None:
    async def work(loop: asyncio.AbstractEventLoop) -> None:
        with pair() as (left, right):
            watch, seen, fd = get_watch_function(loop), list[bytes](), right.fileno()
            more, room = asyncio.Event(), asyncio.Event()

            def read() -> None:
                seen.append(right.recv(100))
                more.set()

            watch(fd, read, None)
            left.send(b"one")
            await more.wait()
            watch(fd, read, room.set)
            await room.wait()
            more.clear()
            watch(fd, None, None)
            watch(fd, None, None)
            left.send(b"two")
            await asyncio.sleep(0.01)
            assert seen == [b"one"] and not more.is_set()
            watch(fd, read, None)
            await more.wait()
            watch(fd, None, None)
        assert seen == [b"one", b"two"]

    assert run(work, plain=plain) == []


def test_an_error_in_a_callback_is_reported_and_the_others_are_called() -> None:
    async def work(loop: EventLoop) -> None:
        with pair() as (left, right):
            done, fault = asyncio.Event(), 0

            def wrong() -> None:
                nonlocal fault
                fault += 1
                loop.watch(left.fileno(), None, None)
                raise OSError("wrong")

            loop.watch(left.fileno(), wrong, None)

            def right_one() -> None:
                loop.watch(right.fileno(), None, None)
                done.set()

            loop.watch(right.fileno(), right_one, None)
            left.send(b"x")
            right.send(b"x")
            await done.wait()
            await asyncio.sleep(0)
            assert fault == 1

    errors = run(work)
    assert [str(context["exception"]) for context in errors] == ["wrong"]


def test_a_reused_descriptor_number_does_not_get_the_old_event() -> None:
    """A callback closes another ready descriptor, and its number is used again for a new one."""

    async def work(loop: EventLoop) -> None:
        with pair() as (left, right), pair() as (near, far), pair() as (other, new):
            woken, number, early = asyncio.Event(), near.fileno(), list[str]()

            def close() -> None:
                right.recv(10)
                loop.remove_reader(number)
                os.dup2(new.fileno(), number)  # as the next socket would
                loop.add_reader(number, early.append, "woken")
                woken.set()

            loop.add_reader(number, early.append, "stale")
            loop.watch(right.fileno(), close, None)
            far.send(b"x")
            left.send(b"x")
            await woken.wait()
            await asyncio.sleep(0.01)
            assert early == []
            other.send(b"x")
            await asyncio.sleep(0.01)
            assert "woken" in early and "stale" not in early
            loop.remove_reader(number)
            loop.watch(right.fileno(), None, None)

    assert run(work) == []


def test_asyncio_streams_timers_and_threads_work() -> None:
    async def work(loop: EventLoop) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.01)  # timers
        writer.write(b"hello\n")
        assert await reader.read() == b"hello\n"
        assert await loop.run_in_executor(None, int, "7") == 7  # woken from another thread
        writer.close()
        server.close()
        with pair() as (left, right):
            readable, writable = asyncio.Event(), asyncio.Event()
            loop.add_reader(right, readable.set)
            loop.add_writer(right, writable.set)
            await writable.wait()
            assert loop.remove_writer(right) and not readable.is_set()
            left.send(b"x")
            await readable.wait()
            assert loop.remove_reader(right) and not loop.remove_reader(right)

    assert run(work) == []
