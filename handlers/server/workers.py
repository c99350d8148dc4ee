"""Runs several worker processes as one server: forks them, replaces one that dies, and stops them all.

The workers share the listening sockets, which are bound before the forks. Two more things are created before them:

- a pipe whose write end only the parent holds, so that end-of-file tells a worker that the parent stops or has died;
- a socket pair for each worker, by which the others reach it (``handlers.request.active_peers``).

Neither has a name in the file system, so no file is left behind when a process is killed.
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

MIN_LIFETIME: Final = 10.0  # seconds that a worker has to live so that its replacement starts without a delay
MAX_DELAY: Final = 5.0  # seconds: longest delay of a replacement

Mailbox: TypeAlias = tuple[socket.socket, socket.socket]
"""Two datagram sockets, one message per datagram: the worker reads from the first, the others write to the second."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker's number and its channels to the parent and the other workers."""

    number: int  # index of its mailbox; a replacement has the number of the dead worker
    mailboxes: tuple[Mailbox, ...]
    parent: int  # file descriptor of the pipe, readable when all workers are to stop


class Workers:
    """Starts ``count`` worker processes that run ``work``, and supervises them.

    The workers are forks: no event loop and no thread may exist before :meth:`run`.
    """

    def __init__(self, count: int, sockets: Sequence[socket.socket], work: Callable[[Worker], None]) -> None:
        self._sockets = sockets  # listening sockets
        self._work = work
        self._mailboxes = tuple(socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(count))
        for box in self._mailboxes:
            for end in box:
                end.setblocking(False)
        self._pipe_read, self._pipe_write = os.pipe()
        self._alive: dict[int, tuple[int, float]] = {}  # process id → number, start time
        self._delays = [0.0] * count
        self._replaced = False
        self._stopping = False
        self._code = 0

    def run(self) -> int:
        """Runs until all workers have ended after SIGTERM or SIGINT. Returns 0 if each has drained, else 1."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._handle_signal)
        for number in range(len(self._mailboxes)):
            self._start(number, 0.0)
        while self._alive:
            pid, status = os.waitpid(-1, 0)
            if pid in self._alive:  # as process 1 of a container it also inherits other processes
                self._handle_exit(pid, os.waitstatus_to_exitcode(status))
        return self._code

    def _start(self, number: int, delay: float) -> None:
        pid = os.fork()
        if pid == 0:
            self._run_worker(Worker(number, self._mailboxes, self._pipe_read), delay)
        self._alive[pid] = number, time.monotonic() + delay

    def _run_worker(self, worker: Worker, delay: float) -> None:
        """Runs ``work`` in the forked process and exits it. Does not return."""
        code = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C reaches all processes; the parent stops the workers
            if not self._stopping:  # true if a signal came just before the fork
                os.close(self._pipe_write)
                if not select.select([self._pipe_read], [], [], delay)[0]:
                    self._work(worker)
            code = 0
        except BaseException as error:
            log.write("worker", 50, exc_info=error, number=worker.number)
        finally:
            os._exit(code)

    def _handle_exit(self, pid: int, code: int) -> None:
        number, since = self._alive.pop(pid)
        if self._stopping:
            self._code = self._code or int(code != 0)
            return
        lifetime = time.monotonic() - since
        if (
            code > 0 and lifetime < MIN_LIFETIME and not self._replaced
        ):  # the first one fails: another would fail as well
            log.write("worker", 50, problem="a worker cannot start", number=number, code=code)
            self._code = 1
            self._stop()
            return
        self._replaced = True
        self._delays[number] = delay = (
            0.0 if lifetime > MIN_LIFETIME else min(MAX_DELAY, round(2 * self._delays[number] + 0.1, 1))
        )
        log.write(
            "worker", 40, problem="a worker has ended; another starts", number=number, code=code, restart_delay=delay
        )
        self._start(number, delay)

    def _handle_signal(self, signum: int, frame: FrameType | None) -> None:
        """Drains all workers on the first signal, kills them on the second."""
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
        os.close(self._pipe_write)
        for sock in self._sockets:  # while one is open here, connections that no worker accepts would wait
            sock.close()
