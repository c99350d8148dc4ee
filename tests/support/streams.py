"""Runs the server between a client and a scripted upstream, for any pair of wires."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.harness import Client, Connection, Request, Script, Upstream
from tests.support.wires import Wire, make_config, run_server


@asynccontextmanager
async def run_between(wire: Wire, script: Script, **environ: str) -> AsyncIterator[tuple[Client, Upstream]]:
    """Runs the server in front of an upstream with this wire."""
    async with Upstream(script).run() as upstream:
        async with run_server(make_config(**wire.environ(upstream, **environ))) as server:
            yield server, upstream


def make_script(wire: Wire, *pieces: bytes, cut: bool = False) -> Script:
    """Returns a script that streams the pieces, then ends the answer or cuts the connection."""

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream(wire.content_type)
        for piece in pieces:
            if piece:
                await connection.chunk(piece)
        if cut:
            await asyncio.sleep(0)
            connection.writer.close()
        else:
            await connection.end()

    return script
