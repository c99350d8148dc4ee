"""All four providers on one port, each answer as its model's name says: ``python -m soak.upstream``.

===========  ==========================================================================================================
``e12``      a stream of 12 deltas, a few milliseconds apart; a whole answer where none is asked for
``big200``   a stream of 200 big deltas, as fast as they are read
``stall``    one delta, then silence until the other side leaves
``silent``   nothing at all until the other side leaves
``s429``     that status, with an error's body and ``retry-after``
``error``    three deltas, then an error inside the stream
``cut``      three deltas, or half a whole answer, then the end of the connection
``reset``    the same, but the connection is reset
``gone``     a reset before any answer
``garbage``  what is no HTTP
``page``     a page of HTML with a good status
``broken``   three deltas, then an event that is none, and the end of the connection
===========  ==========================================================================================================

``GET /counts`` tells of the other connections: ``{"open": …, "busy": …, "made": …}``. The port is printed; the end of
stdin is the end.
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
import socket
import struct
import sys
from typing import Final

from soak.wires import WIRES, Wire

PAUSE: Final = 0.004  # seconds between two deltas
_PATHS: Final = {"/v1/chat/completions": "openai", "/v1/messages": "anthropic", "/api/chat": "ollama"}
_GEMINI: Final = re.compile(r"/v1beta/models/([^:]+):(streamG|g)enerateContent")
_REFUSAL: Final = json.dumps({"error": {"message": "No.", "type": "test", "code": "test"}}).encode()


class Counts:
    def __init__(self) -> None:
        self.open: set[asyncio.StreamWriter] = set()
        self.busy = 0
        self.made = 0

    def told(self) -> bytes:
        return json.dumps({"open": len(self.open), "busy": self.busy, "made": self.made}).encode()


class Connection:
    def __init__(self, counts: Counts, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._counts, self._reader, self._writer = counts, reader, writer

    async def serve(self) -> None:
        """Until the other side, or a script, ends the connection."""
        self._counts.open.add(self._writer)
        self._counts.made += 1
        try:
            while await self._one():
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._counts.open.discard(self._writer)
            self._writer.transport.abort()

    async def _one(self) -> bool:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        path = head.split(" ", 2)[1].partition("?")[0]
        if path == "/counts":
            self._counts.open.discard(self._writer)
            self._counts.made -= 1
            await self._whole(self._counts.told())
            return True
        length = re.search(r"(?i)content-length: *(\d+)", head)
        body = json.loads(await self._reader.readexactly(int(length[1]))) if length else {}
        self._counts.busy += 1
        try:
            return await self._answer(path, body)
        finally:
            self._counts.busy -= 1

    async def _answer(self, path: str, body: dict[str, object]) -> bool:
        if gemini := _GEMINI.fullmatch(path):
            engine, model, stream = "google", gemini[1], gemini[2] == "streamG"
        elif path in _PATHS:
            engine, model, stream = _PATHS[path], str(body["model"]), bool(body.get("stream"))
        else:
            await self._whole(_REFUSAL, 404)
            return True
        wire = WIRES[engine]
        if model == "silent":
            await self._left()
        elif model.startswith("s") and model[1:].isdecimal():
            await self._whole(_REFUSAL, int(model[1:]), "retry-after: 7\r\nx-ratelimit-remaining-requests: 0\r\n")
            return True
        elif model == "gone":
            self._reset()
        elif model == "garbage":
            await self._send(b"SSH-2.0-OpenSSH_9.2\r\n" + bytes(range(256)))
        elif model == "page":
            await self._whole(b"<html><h1>It works!</h1></html>")
        elif not stream:
            return await self._document(wire, model)
        else:
            return await self._stream(wire, model)
        return False

    async def _document(self, wire: Wire, model: str) -> bool:
        if model == "stall":
            await self._send(self._head(200, "application/json", f"Content-Length: {len(wire.whole)}\r\n"))
            await self._left()
            return False
        if model in ("cut", "reset"):
            head = self._head(200, "application/json", f"Content-Length: {len(wire.whole)}\r\n")
            await self._send(head + wire.whole[: len(wire.whole) // 2])
            if model == "reset":
                self._reset()
            return False
        await asyncio.sleep(PAUSE)
        await self._whole(wire.whole)
        return True

    async def _stream(self, wire: Wire, model: str) -> bool:
        await self._send(self._head(200, wire.content_type, "Transfer-Encoding: chunked\r\n"))
        if wire.head:
            await self._chunk(wire.head)
        if model == "stall":
            await self._chunk(wire.delta)
            await self._left()
            return False
        if model in ("cut", "error", "reset", "broken"):
            for _ in range(3):
                await self._chunk(wire.delta)
            if model == "broken":
                await self._chunk(b"data: {broken\n\n" if "event" in wire.content_type else b"{broken\n")
            if model != "error":
                await asyncio.sleep(PAUSE)
                if model == "reset":
                    self._reset()
                return False
            await self._chunk(wire.error)
        elif model.startswith("big"):
            for _ in range(int(model[3:])):
                await self._chunk(wire.big)
            await self._chunk(wire.end)
        else:
            for _ in range(int(model[1:])):
                await asyncio.sleep(PAUSE)
                await self._chunk(wire.delta)
            await self._chunk(wire.end)
        await self._send(b"0\r\n\r\n")
        return True

    def _reset(self) -> None:
        sock: socket.socket = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def _left(self) -> None:
        while await self._reader.read(65536):
            pass

    async def _whole(self, body: bytes, status: int = 200, more: str = "") -> None:
        await self._send(self._head(status, "application/json", f"Content-Length: {len(body)}\r\n{more}") + body)

    async def _chunk(self, data: bytes) -> None:
        await self._send(b"%x\r\n%b\r\n" % (len(data), data))

    async def _send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    @staticmethod
    def _head(status: int, content_type: str, more: str) -> bytes:
        return f"HTTP/1.1 {status} Whatever\r\nContent-Type: {content_type}\r\n{more}\r\n".encode()


async def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    counts = Counts()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Connection(counts, reader, writer).serve()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until whoever started us is gone
    server.close()
    for writer in [*counts.open]:
        writer.transport.abort()


if __name__ == "__main__":
    asyncio.run(main())
