"""The clients: one JSON object on stdin says what to ask, one on stdout what came of it (``python -m bench.load``).

They parse next to nothing: a delta is a ``~``, an answer ends where HTTP says so, and it is whole when it has the
number of deltas and the last event that it should have. Whatever is not, is an error; a relay that loses events has no
place in a table.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Final

OK: Final = b"HTTP/1.1 200"
_TAIL: Final = 1024  # bytes in which the last event has to stand
_PATIENCE: Final = 120.0  # seconds for a whole run


@dataclass(frozen=True, kw_only=True)
class Job:
    port: int
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    pids: list[int]  # whose CPU and memory are counted
    connections: int = 1
    requests: int = 1  # on each, one after the other
    deltas: int = 1  # in each answer
    last: str = ""  # what has to stand at its end
    hold: bool = False  # do not wait for ends: count what is open once every answer has begun
    pause: float = 0  # seconds after each answer, of ``bench.light_client``


@dataclass(kw_only=True)
class Result:
    seconds: float = 0
    answers: int = 0
    deltas: int = 0
    errors: list[str] = field(default_factory=list)
    first: list[float] = field(default_factory=list)  # seconds to the first delta, each answer
    cpu: float = 0  # seconds
    cpu_half: float = 0  # of them, until half of all deltas had come
    steady_cpu: float = 0  # seconds, while all answers were well under way
    steady_deltas: int = 0  # that came in between
    memory: int = 0  # bytes that the relay grew by


def cpu_of(pids: list[int]) -> float:
    """Seconds, user and system, of all threads; by the scheduler's clock, since ticks miss work that is over in one."""
    nanoseconds = 0
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat", "rb") as file:
                nanoseconds += int(file.read().split()[0])
    return nanoseconds / 1e9


def memory_of(pids: list[int]) -> int:
    """Resident bytes that are not shared with a file."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/statm", "rb") as file:
            fields = file.read().split()
        total += (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")
    return total


def request_of(job: Job) -> bytes:
    body = json.dumps(job.body).encode()
    lines = [f"POST {job.path} HTTP/1.1", f"Host: 127.0.0.1:{job.port}", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in job.headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def lacking(job: Job, deltas: int, tail: bytes) -> str:
    """What an answer should have had; nothing where it was whole."""
    if deltas != job.deltas:
        return f"{deltas} deltas instead of {job.deltas}"
    if job.last.encode() not in tail:
        return f"does not end with {job.last!r}: {tail[-300:]!r}"
    return ""


class Run:
    """All connections of a job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.result = Result()
        self.request = request_of(job)
        self.half = job.connections * job.requests * job.deltas // 2
        self._open = job.connections
        self._settled = 0  # answers
        self._done = asyncio.Event()

    async def measure(self) -> Result:
        job, result = self.job, self.result
        cpu, memory, began = cpu_of(job.pids), memory_of(job.pids), time.perf_counter()
        clients = [Connection(self) for _ in range(job.connections)]
        for start in range(0, len(clients), 200):  # no more than a backlog at once
            await asyncio.gather(*(self._connect(client) for client in clients[start : start + 200]))
        try:
            await asyncio.wait_for(self._done.wait(), _PATIENCE)
        except TimeoutError:
            result.errors.append(f"{self._open} answers did not end within {_PATIENCE:.0f} seconds")
        if job.hold:
            await asyncio.sleep(1)  # what is only passing is given back
            result.memory = memory_of(job.pids) - memory
        result.seconds = time.perf_counter() - began
        result.cpu = cpu_of(job.pids) - cpu
        result.cpu_half -= cpu
        for client in clients:
            client.leave()
        await asyncio.sleep(0)
        return result

    async def _connect(self, client: Connection) -> None:
        await asyncio.get_running_loop().create_connection(lambda: client, "127.0.0.1", self.job.port)

    def settled(self) -> None:
        """An answer is well under way: once they all are, what each event costs by itself can be told."""
        self._settled += 1
        if self._settled == self.job.connections:
            self.result.steady_cpu = -cpu_of(self.job.pids)
            self.result.steady_deltas = -self.result.deltas

    def ended(self) -> None:
        result = self.result
        result.answers += 1
        if result.steady_cpu < 0:
            result.steady_cpu += cpu_of(self.job.pids)
            result.steady_deltas += result.deltas

    def came(self, deltas: int) -> None:
        result = self.result
        before = result.deltas
        result.deltas += deltas
        if before < self.half <= result.deltas:
            result.cpu_half = cpu_of(self.job.pids)

    def over(self, error: str = "") -> None:
        """A connection has nothing more to do."""
        if error:
            self.result.errors.append(error)
        self._open -= 1
        if not self._open:
            self._done.set()


class Connection(asyncio.Protocol):
    def __init__(self, run: Run) -> None:
        self._run = run
        self._left = run.job.requests
        self._settled = max(run.job.deltas // 4, 1)  # deltas, after which no start is in the way any more
        self._over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._deltas = 0
        self._length: int | None = None  # of the body, where it is told
        self._received = 0
        self._tail = b""
        self._asked = time.perf_counter()
        self._transport.write(self._run.request)

    def data_received(self, data: bytes) -> None:
        if not self._received and not data.startswith(OK):
            self._end(f"not 200: {data[:300]!r}")
            return
        if not self._received and (at := data.lower().find(b"content-length:")) >= 0:
            head = data.index(b"\r\n\r\n") + 4
            self._length = head + int(data[at + 15 : data.index(b"\r\n", at)])
        self._received += len(data)
        if came := data.count(b"~"):
            if not self._deltas:
                self._run.result.first.append(time.perf_counter() - self._asked)
            before, self._deltas = self._deltas, self._deltas + came
            if before < self._settled <= self._deltas:
                self._run.settled()
            self._run.came(came)
        self._tail = (self._tail + data)[-_TAIL:]
        if self._run.job.hold:
            if self._deltas:
                self._end()
        elif self._received == self._length or (self._length is None and self._tail.endswith(b"\r\n0\r\n\r\n")):
            self._whole()

    def _whole(self) -> None:
        if error := lacking(self._run.job, self._deltas, self._tail):
            self._end(error)
        else:
            self._run.ended()
            self._left -= 1
            if self._left:
                self._ask()
            else:
                self._end()

    def _end(self, error: str = "") -> None:
        if not self._over:
            self._over = True
            self._run.over(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"closed after {self._deltas} deltas")

    def leave(self) -> None:
        self._over = True
        self._transport.abort()


async def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(json.dumps(asdict(await Run(Job(**json.load(sys.stdin))).measure())))


if __name__ == "__main__":
    asyncio.run(main())
