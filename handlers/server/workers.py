"""Several processes as one server: a parent that forks workers, replaces one that dies, and stops all of them.

The workers share the listening sockets, which were bound before the forks. Two things more are made before them: a
pipe whose one end only the parent holds, so that a worker learns of the parent's stopping, or of its death, by the
pipe's end; and a socket pair for each worker, by which the others reach it (``handlers.request.active_peers``). Neither
has a name in the file system, so nothing is left behind, whoever is killed.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Final, TypeAlias

from llm import log

CALM: Final = 10.0  # seconds that a worker has to live so that the next one starts without a delay
MOST: Final = 5.0  # seconds of delay

Mailbox: TypeAlias = tuple[socket.socket, socket.socket]
"""Where a worker reads, and where the others write to it; a datagram is a message."""


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker is told of its place."""

    number: int  # of its mailbox; who takes over from a dead one has it too
    mailboxes: tuple[Mailbox, ...]
    parent: int  # file descriptor, readable when all are to stop


class Workers:
    """Nothing may have touched an event loop or a thread before :meth:`run`: the workers are forks."""

    def __init__(self, count: int, sockets: Sequence[socket.socket], work: Callable[[Worker], None]) -> None:
        self._sockets = sockets  # which the workers listen on
        self._work = work
        self._mailboxes = tuple(socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(count))
        for box in self._mailboxes:
            for end in box:
                end.setblocking(False)
        self._parent, self._held = os.pipe()
        self._alive: dict[int, tuple[int, float]] = {}  # by process id: its number, since when it works
        self._delays = [0.0] * count
        self._replaced = False
        self._stopping = False
        self._code = 0

    def run(self) -> int:
        """Until all have ended after SIGTERM or SIGINT; the exit code, 0 if each of them has drained."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._signalled)
        for number in range(len(self._mailboxes)):
            self._start(number, 0.0)
        while self._alive:
            pid, status = os.waitpid(-1, 0)
            if pid in self._alive:  # else one that an init process inherits
                self._ended(pid, os.waitstatus_to_exitcode(status))
        return self._code

    def _start(self, number: int, delay: float) -> None:
        pid = os.fork()
        if pid == 0:
            self._be(Worker(number, self._mailboxes, self._parent), delay)
        self._alive[pid] = number, time.monotonic() + delay

    def _be(self, worker: Worker, delay: float) -> None:
        """In the worker; does not return."""
        code = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C reaches all; the parent tells what is to be done
            if not self._stopping:  # else a signal came just before the fork
                os.close(self._held)
                if not select.select([self._parent], [], [], delay)[0]:
                    self._work(worker)
            code = 0
        except BaseException as error:
            log.write("worker", 50, exc_info=error, number=worker.number)
        finally:
            os._exit(code)

    def _ended(self, pid: int, code: int) -> None:
        number, since = self._alive.pop(pid)
        if self._stopping:
            self._code = self._code or int(code != 0)
            return
        lived = time.monotonic() - since
        if code > 0 and lived < CALM and not self._replaced:  # none can even start: that is no accident
            log.write("worker", 50, problem="a worker cannot start", number=number, code=code)
            self._code = 1
            self._stop()
            return
        self._replaced = True
        self._delays[number] = delay = 0.0 if lived > CALM else min(MOST, round(2 * self._delays[number] + 0.1, 1))
        log.write("worker", 40, problem="a worker has ended; another starts", number=number, code=code, after=delay)
        self._start(number, delay)

    def _signalled(self, signum: int, frame: FrameType | None) -> None:
        """The first signal drains all, a second one ends all at once."""
        if not self._stopping:
            self._stop()
            return
        for pid in [*self._alive]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:  # it has just ended
                continue
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)

    def _stop(self) -> None:
        self._stopping = True
        os.close(self._held)
        for one in self._sockets:  # as long as it is open here, a connection that no worker takes waits
            one.close()
