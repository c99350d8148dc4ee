"""``python -m soak --requests 100000``: runs it, prints what it cost, fails where something stayed behind.

All is measured when it is quiet: after a tenth of the requests, when every path has been taken, and at the end. Between
the two, memory may grow by less than 5 MB; sockets, files and tasks may not grow at all.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from soak.clients import Client, Connection
from soak.kinds import CLIENT_ID, KEEPERS, Request, http, requests

ROOT: Final = Path(__file__).parent.parent
MOST_GROWTH: Final = 5.0  # MB (O1)
WARM_UP: Final = 10  # the part of all requests that is not counted
AT_ONCE: Final = 64
EVERY_THREAD: Final = 50  # requests to one conversation that is kept, as a thread and as responses
PROGRESS: Final = 10_000
QUIET: Final = 30.0  # seconds that it may take to become quiet
MOST_TOLD: Final = 20  # faults


@dataclass(frozen=True)
class State:
    """When all is quiet. ``idle`` are the connections to the provider that are kept, ``busy`` those in use."""

    memory: int  # bytes, resident
    files: int  # file descriptors, less idle connections
    idle: int
    busy: int
    tasks: Counter[str]
    garbage: int
    top: list[str]


class Server:
    """The server under test and its provider, from outside."""

    def __init__(self, process: subprocess.Popen[str], port: int, provider: int, report: Path, log: Path) -> None:
        self.port, self.log = port, log
        self._process, self._provider, self._report = process, provider, report
        self._page = os.sysconf("SC_PAGE_SIZE")

    @property
    def memory(self) -> int:
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * self._page

    async def counts(self) -> dict[str, int]:
        connection = Connection(self._provider)
        await connection.open()
        connection.send(http("GET", "/counts", {}))
        told: dict[str, int] = json.loads((await connection.answer()).body)
        connection.leave()
        return told

    async def state(self) -> State:
        self._report.unlink(missing_ok=True)
        self._process.send_signal(signal.SIGUSR1)
        async with asyncio.timeout(QUIET):
            while not self._report.exists():
                if self._process.poll() is not None:
                    raise SystemExit(f"the server has ended: {self.log.read_text()[-2000:]}")
                await asyncio.sleep(0.05)
        told = json.loads(self._report.read_text())
        counts = await self.counts()
        files = len(os.listdir(f"/proc/{self._process.pid}/fd"))
        return State(
            memory=self.memory,
            files=files - counts["open"],
            idle=counts["open"] - counts["busy"],
            busy=counts["busy"],
            tasks=Counter(told["tasks"]),
            garbage=told["garbage"],
            top=told["top"],
        )

    async def quiet(self) -> State:
        """The state once nothing is under way any more, or when that took too long."""
        deadline = time.monotonic() + QUIET
        while (await self.counts())["busy"] and time.monotonic() < deadline:  # noqa: ASYNC110  another process counts
            await asyncio.sleep(0.1)
        last = await self.state()
        while time.monotonic() < deadline:
            await asyncio.sleep(0.5)
            now = await self.state()
            if (now.files, now.tasks, now.busy) == (last.files, last.tasks, 0):
                return now
            last = now
        return last

    def faults(self) -> list[str]:
        """What the server itself calls an error in its log: a bug, whatever the client saw."""
        lines = (json.loads(line) for line in self.log.read_text().splitlines() if '"trace"' in line)
        return [f"in the log: {line['event']}: {line['trace']}" for line in lines]


@contextmanager
def started(command: list[str], log: IO[str], **environ: str) -> Iterator[subprocess.Popen[str]]:
    base = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    process = subprocess.Popen(  # noqa: S603  our own modules
        command, cwd=ROOT, env={**base, **environ}, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


@contextmanager
def serving(trace: bool) -> Iterator[Server]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak")))
        log = stack.enter_context((folder / "log").open("w"))
        upstream = stack.enter_context(started([sys.executable, "-m", "soak.upstream"], log))
        assert upstream.stdout is not None
        provider = int(upstream.stdout.readline())
        report = folder / "report.json"
        command = [sys.executable, "-m", "soak.serve", str(report), *(["--trace"] if trace else [])]
        command += ["--port", "0", "--env-file", os.devnull]
        url = f"http://127.0.0.1:{provider}"
        process = stack.enter_context(
            started(
                command,
                log,
                AUTHORIZED_CLIENT_ID=CLIENT_ID,
                DATA_DIR=str(folder / "data"),
                MAX_RETRIES="0",
                OPENAI_API_KEY="sk-soak-openai",
                OPENAI_BASE_URL=f"{url}/v1",
                ANTHROPIC_API_KEY="sk-soak-anthropic",
                ANTHROPIC_BASE_URL=url,
                GOOGLE_API_KEY="soak-google",
                GOOGLE_BASE_URL=url,
                OLLAMA_ENABLED="true",
                OLLAMA_BASE_URL=url,
            )
        )
        assert process.stdout is not None
        first = process.stdout.readline()
        if " at http://" not in first:
            raise SystemExit(f"the server did not start: {(folder / 'log').read_text()}")
        yield Server(process, int(first.rsplit(":", 1)[1]), provider, report, folder / "log")


class Run:
    """So many requests, ``AT_ONCE`` at a time, and what went wrong with them."""

    def __init__(self, server: Server, seed: int) -> None:
        self._server = server
        self._source = requests(seed)
        self.done: Counter[str] = Counter()
        self.faults: list[str] = []
        self._began = time.monotonic()

    async def of(self, count: int) -> None:
        turns = iter(range(count))
        await asyncio.gather(*(self._client(turns) for _ in range(AT_ONCE)))

    async def _client(self, turns: Iterator[int]) -> None:
        client = Client(self._server.port)
        for turn in turns:
            if turn % EVERY_THREAD == EVERY_THREAD - 1:
                left = turn % (2 * EVERY_THREAD) == EVERY_THREAD - 1
                self._count("thread, left" if left else "thread", await client.thread(left))
            elif turn % EVERY_THREAD == EVERY_THREAD // 2:
                number = turn // EVERY_THREAD
                left, engine = bool(number % 2), KEEPERS[number % len(KEEPERS)]
                self._count("responses, left" if left else "responses", await client.responses(engine, left))
            else:
                request: Request = next(self._source)
                self._count(request.kind.name, await client.ask(request))
        client.close()

    def _count(self, name: str, fault: str | None) -> None:
        self.done[name] += 1
        if fault is not None:
            self.faults.append(fault)
        if (total := self.done.total()) % PROGRESS == 0:
            seconds = time.monotonic() - self._began
            memory = self._server.memory / 1e6
            _say(f"{total:8} requests, {seconds:6.0f} s, {memory:7.2f} MB, {len(self.faults)} faults")


def compared(before: State, after: State, most_growth: float = MOST_GROWTH) -> list[str]:
    """A line for each thing that stayed behind."""
    left = []
    if (growth := (after.memory - before.memory) / 1e6) >= most_growth:
        left.append(f"memory grew by {growth:.2f} MB")
    if after.files > before.files:
        left.append(f"{after.files - before.files} file descriptors stayed open")
    if after.busy:
        left.append(f"{after.busy} requests to the provider stayed open")
    if more := after.tasks - before.tasks:
        left.append(f"tasks stayed behind: {dict(more)}")
    return left


def _table(before: State, after: State) -> list[str]:
    rows: list[tuple[str, Any, Any]] = [
        ("memory, MB", before.memory / 1e6, after.memory / 1e6),
        ("file descriptors but for idle connections", before.files, after.files),
        ("idle connections to the provider", before.idle, after.idle),
        ("busy connections to the provider", before.busy, after.busy),
        ("tasks", before.tasks.total(), after.tasks.total()),
        ("objects in garbage", before.garbage, after.garbage),
    ]
    lines = [f"{'':42}{'before':>10}{'after':>10}{'growth':>10}"]
    return lines + [f"{name:42}{was:10.5g}{now:10.5g}{now - was:+10.5g}" for name, was, now in rows]


def _say(*lines: str) -> None:
    print("\n".join(lines), flush=True)


async def soak(count: int, seed: int, most_growth: float, server: Server) -> int:
    run = Run(server, seed)
    began = time.monotonic()
    await run.of(count // WARM_UP)
    before = await server.quiet()
    await run.of(count - count // WARM_UP)
    after = await server.quiet()
    _say(*(f"{number:8} {name}" for name, number in sorted(run.done.items(), key=lambda item: -item[1])))
    _say("", *_table(before, after), *after.top)
    faults = [*run.faults, *server.faults(), *compared(before, after, most_growth)]
    _say(*faults[:MOST_TOLD], *([f"… and {len(faults) - MOST_TOLD} more"] if len(faults) > MOST_TOLD else []))
    _say(f"{count} requests in {time.monotonic() - began:.0f} s: {len(faults)} faults")
    return 1 if faults else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--growth", type=float, default=MOST_GROWTH, metavar="MB", help="that memory may not reach")
    parser.add_argument("--trace", action="store_true", help="tell where memory was taken; much slower")
    arguments = parser.parse_args()
    with serving(arguments.trace) as server:
        return asyncio.run(soak(arguments.requests, arguments.seed, arguments.growth, server))


if __name__ == "__main__":
    sys.exit(main())
