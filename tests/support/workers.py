"""Runs ``python server.py --processes 2``, for tests."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from tests.support.harness import CLIENT, CLIENT_ID, Answer, Client, OpenConnection
from tests.support.processes import find_url, start_server

NDJSON = {**CLIENT, "Accept": "application/x-ndjson"}
STALL = {"engine": "demo", "model": "demo-stall", "prompt": "x"}
TOGETHER = 2


def find_children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


async def wait_until(there: Any) -> Any:
    """Returns the result of ``there()`` as soon as it is true."""
    async with asyncio.timeout(10):
        while not (found := there()):
            await asyncio.sleep(0.01)
    return found


def has_socket_open(pid: int, inode: str) -> bool:
    """True if the process has this socket open."""
    for fd in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            if os.readlink(fd) == f"socket:[{inode}]":
                return True
        except FileNotFoundError:
            continue
    return False


def read_state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


class RunningServer(Client):
    """The server with parent and workers, and a client that can choose the worker it connects to."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        super().__init__(port, cast(Any, None))
        self.process = process

    @property
    def workers(self) -> list[int]:
        return find_children(self.process.pid)

    def owner(self, writer: asyncio.StreamWriter) -> int:
        """Returns the process id of the worker that has accepted this connection; 0 for none."""
        near = writer.get_extra_info("sockname")[1]
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        ends = [f"0100007F:{port:04X}" for port in (self.port, near)]
        [inode] = {row[9] for row in rows if row[1:3] == ends and row[9] != "0"} or [""]
        return next((pid for pid in self.workers or [self.process.pid] if has_socket_open(pid, inode)), 0)

    async def wait_accepted(self, over: OpenConnection) -> int:
        return int(await wait_until(lambda: self.owner(over[1])))

    async def connect_to(self, worker: int) -> OpenConnection:
        """Opens a connection to this worker, while the others are stopped."""
        others = [pid for pid in self.workers if pid != worker]
        try:
            for pid in others:
                os.kill(pid, signal.SIGSTOP)
            await wait_until(lambda: all(read_state(pid) == "T" for pid in others))
            over = await asyncio.open_connection("127.0.0.1", self.port)
            answer = await self.send("GET", "/health", connection=over)
            await answer.head()
            await answer.body()
            return over
        finally:
            for pid in others:
                os.kill(pid, signal.SIGCONT)

    async def send_to(self, worker: int, method: str, path: str, body: Any = None, headers: Any = CLIENT) -> Answer:
        """Sends a request to this worker and returns the response."""
        return await self.send(method, path, body, headers, connection=await self.connect_to(worker))

    async def request_to(self, worker: int, method: str, path: str, body: Any = None, headers: Any = CLIENT) -> Answer:
        answer = await self.send_to(worker, method, path, body, headers)
        await answer.head()
        return answer

    async def start_stream(self, worker: int, id: str, body: Any = STALL) -> Answer:
        """Starts a streamed answer in this worker and reads its headers."""
        answer = await self.request_to(worker, "POST", "/llm/chat", body, {**NDJSON, "X-Request-Id": id})
        assert (answer.status, answer.headers["X-Request-Id"]) == (200, id)
        return answer

    async def wait_ended(self) -> int:
        return await asyncio.to_thread(self.process.wait, 20)


@asynccontextmanager
async def run_workers(folder: Path, processes: int = TOGETHER, /, **environ: str) -> AsyncIterator[RunningServer]:
    environ = {"AUTHORIZED_CLIENT_ID": CLIENT_ID, "DATA_DIR": str(folder / "data"), **environ}
    with start_server("--port", "0", "--processes", str(processes), cwd=folder, **environ) as (process, lines):
        port = re.search(r":(\d+)$", find_url(lines))
        assert port is not None
        server = RunningServer(process, int(port[1]))
        try:
            assert (await server.get("/health")).status == 200
            yield server
        finally:
            for answer in server.open:
                answer.close()
            await asyncio.sleep(0)  # lets the server notice it before the signal
