"""Sends the bytes of a case to a server and reads what it does."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import Final

from tests.support.conformance.case import Outcome, RequestCase, request

PROBE: Final = request(target="/echo?probe")
_PROBED: Final = b"GET probe "
_SILENCE: Final = 2.0  # seconds after which a server that says nothing counts as waiting
_END: Final = 20.0  # seconds for what has to come


class Reading:
    """The answers of one connection, in order."""

    def __init__(self, reader: asyncio.StreamReader, heads_only: bool) -> None:
        self._reader = reader
        self._heads_only = heads_only
        self.statuses: list[int] = []
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.closed = False  # the server has closed, or has announced it
        self.waits = False
        self.probed = False  # the probe was answered

    async def read_answer(self, patience: float) -> None:
        """Reads one answer, interim ones included as one each."""
        try:
            async with asyncio.timeout(patience):
                await self._read_answer()
        except TimeoutError:
            self.waits = True
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            self.closed = True

    async def _read_answer(self) -> None:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ")[1])
        if status < 200:
            self.statuses.append(status)
            return
        body = await self._read_body(status, head)
        if body == _PROBED and self.statuses:
            self.probed = True
            return
        self.statuses.append(status)
        self.heads.append(head.replace("\r\n", "\n"))
        self.bodies.append(body)
        if re.search(r"^connection: *close", head, re.MULTILINE):
            self.closed = True

    async def _read_body(self, status: int, head: str) -> bytes:
        if (self._heads_only and not self.statuses) or status in (204, 304):
            return b""
        if re.search(r"^transfer-encoding: *chunked", head, re.MULTILINE):
            body = b""
            while size := int(await self._reader.readuntil(b"\r\n"), 16):
                body += (await self._reader.readexactly(size + 2))[:-2]
            await self._reader.readexactly(2)
            return body
        if match := re.search(r"^content-length: *(\d+)", head, re.MULTILINE):
            return await self._reader.readexactly(int(match[1]))
        self.closed = True
        return await self._reader.read()

    def outcome(self) -> Outcome:
        end = "closed" if self.closed else "kept" if self.probed else "waits"
        return Outcome(tuple(self.statuses), end, tuple(self.bodies), tuple(self.heads))


async def exchange(port: int, case: RequestCase, cut: int = 0) -> Outcome:
    """Sends a case to a server; whether the connection is kept is found out by another request.

    ``cut``: the first part is sent in two pieces, cut there.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    reading = Reading(reader, case.heads_only)
    try:
        with suppress(ConnectionError):
            if cut:
                writer.write(case.parts[0][:cut])
                await writer.drain()
                await asyncio.sleep(0)
            writer.write(case.parts[0][cut:])
            if case.half_close:
                writer.write_eof()
            await writer.drain()
        await _follow(case, reading, writer)
    finally:
        writer.transport.abort()
    return reading.outcome()


async def _follow(case: RequestCase, reading: Reading, writer: asyncio.StreamWriter) -> None:
    patient = case.half_close or case.slow
    await reading.read_answer(_END if patient else _SILENCE)
    for part in case.parts[1:]:
        if reading.closed:
            return
        writer.write(part)
        await reading.read_answer(_SILENCE)
    if not (reading.closed or reading.waits or case.slow or case.half_close):
        with suppress(ConnectionError):
            writer.write(PROBE)
    while not (reading.waits or reading.probed or reading.closed):
        await reading.read_answer(_END if patient or reading.statuses else _SILENCE)
    if reading.closed:  # nothing may follow what was announced as the last answer
        await reading.read_answer(_SILENCE)
