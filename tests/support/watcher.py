"""An upstream that records when the server closes its connection."""

from __future__ import annotations

import asyncio

from tests.support.harness import Connection, Request
from tests.support.wires import Wire


class Watcher:
    """An upstream script that answers up to ``stage`` and then waits until the server closes the connection."""

    def __init__(self, wire: Wire, stage: str) -> None:
        self.wire = wire
        self.stage = stage
        self.reached = asyncio.Event()
        self.hung_up = asyncio.Event()

    async def __call__(self, request: Request, connection: Connection) -> None:
        if self.stage != "waiting":
            await connection.stream(self.wire.content_type)
        if self.stage == "streaming":
            await connection.chunk(self.wire.head + self.wire.delta("One "))
        self.reached.set()
        await connection.wait_closed()
        self.hung_up.set()
