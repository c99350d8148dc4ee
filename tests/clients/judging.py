"""What every client here is judged by: the running server, with a scripted provider behind it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.support.harness import CLIENT_ID, Connection, Request, Script, Upstream, make_config, run_server
from tests.support.scripted import make_error_body
from tests.support.wires import Wire

PATIENCE = 120  # seconds that a client may take as a whole: some need long to start
STRUCTURED = '{"city": "Paris", "degrees": 21}'


@asynccontextmanager
async def behind(wire: Wire, script: Script, **environ: str) -> AsyncIterator[tuple[str, Upstream]]:
    """The address of a server whose provider does what ``script`` says."""

    async def with_models(request: Request, connection: Connection) -> None:
        if request.method == "GET":
            await connection.respond({"data": [], "models": []})
        else:
            await script(request, connection)

    upstream = Upstream(with_models)
    async with upstream.run(), run_server(make_config(**wire.environ(upstream, MAX_RETRIES="0"), **environ)) as server:
        yield server.url, upstream


def refusing(wire: Wire, status: int, type: str = "t") -> Script:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(make_error_body(wire.engine, status, type=type), status, headers={"retry-after": "7"})

    return script


class Left:
    """A provider that begins to speak, then sees its client leave."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._closed = asyncio.Event()

    async def script(self, request: Request, connection: Connection) -> None:
        await connection.stream(self._wire.content_type)
        await connection.chunk(self._wire.head + self._wire.delta("Hi"))
        await connection.wait_closed()
        self._closed.set()

    async def seen(self) -> None:
        """The client has left. Raises ``TimeoutError`` where it stays."""
        await asyncio.wait_for(self._closed.wait(), 10)


@asynccontextmanager
async def running(*command: str, home: Path, **environ: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A client as a process of its own: nothing of this machine's set-up reaches it, and it reaches nothing else."""
    nowhere = "http://127.0.0.1:9"  # whatever is not on this machine
    bare: Mapping[str, str] = {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "dumb", "CLIENT_ID": CLIENT_ID}
    proxied = {"HTTPS_PROXY": nowhere, "HTTP_PROXY": nowhere, "NO_PROXY": "127.0.0.1"}
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=home,
        env={**bare, **proxied, **environ},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 24,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it started too
        await process.communicate()


async def ran(*command: str, home: Path, **environ: str) -> tuple[int, str]:
    """Its exit code, and what it said; the complaint where it has one."""
    async with running(*command, home=home, **environ) as process, asyncio.timeout(PATIENCE):
        said, complained = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode() + (complained.decode() if process.returncode else "")
