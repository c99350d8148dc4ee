"""The clients: each asks one thing after the other, and says what did not go as it had to."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from dataclasses import dataclass
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect

from soak.kinds import CLIENT_ID, NATIVE, RESPONSES, Kind, Request, http

PATIENCE: Final = 30.0  # seconds that any exchange may take
WAIT: Final = 0.03  # seconds until a client that waits has enough
SLOW: Final = 0.005  # seconds between two reads of a slow one
WINDOW: Final = 16384  # bytes that a slow one takes at a time


class Wrong(Exception):
    """An answer that its request did not ask for."""


@dataclass(frozen=True)
class Answer:
    status: int
    head: bytes
    body: bytes


class Connection:
    def __init__(self, port: int) -> None:
        self._port = port

    async def open(self, window: int | None = None) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        if window is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self._port))
        self._reader, self._writer = await asyncio.open_connection(sock=sock, limit=window or 65536)

    def send(self, raw: bytes) -> None:
        self._writer.write(raw)

    def leave(self) -> None:
        self._writer.transport.abort()

    async def answer(self, pause: float = 0) -> Answer:
        head = await self._reader.readuntil(b"\r\n\r\n")
        body = bytearray()
        if b"transfer-encoding: chunked" in head.lower():
            while size := int(await self._reader.readuntil(b"\r\n"), 16):
                body += (await self._piece(size + 2, pause))[:-2]
            await self._reader.readexactly(2)
        elif length := re.search(rb"(?i)content-length: *(\d+)", head):
            body += await self._piece(int(length[1]), pause)
        elif not head.startswith(b"HTTP/1.1 204"):
            raise Wrong(f"an answer without a length: {head!r}")
        return Answer(int(head.split(b" ", 2)[1]), head, bytes(body))

    async def _piece(self, size: int, pause: float) -> bytes:
        if not pause:
            return await self._reader.readexactly(size)
        piece = bytearray()
        while len(piece) < size:
            piece += await self._reader.readexactly(min(WINDOW, size - len(piece)))
            await asyncio.sleep(pause)
        return bytes(piece)

    async def until(self, mark: bytes) -> bytes:
        return await self._reader.readuntil(mark)


class Client:
    """Keeps its connection from one request to the next, unless it has left."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: Connection | None = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.leave()
            self._connection = None

    async def ask(self, request: Request) -> str | None:
        """What went wrong, if anything did."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._ask(request)
        except (Wrong, TimeoutError, OSError, EOFError, ValueError, KeyError, asyncio.LimitOverrunError) as error:
            self.close()
            return f"{request}: {type(error).__name__} {error}"
        return None

    async def _ask(self, request: Request) -> None:
        kind = request.kind
        match kind.fate:
            case "turns":
                await take_turns(self._port, request)
                return
            case "read":
                connection = await self._kept()
                connection.send(request.raw)
                check(request, await connection.answer())
                return
            case "slow":
                connection = await self._fresh(WINDOW)
                connection.send(request.raw)
                check(request, await connection.answer(SLOW))
            case "leave at once":
                connection = await self._fresh()
                connection.send(request.raw)
            case "leave while waiting":
                connection = await self._fresh()
                connection.send(request.raw)
                await asyncio.sleep(WAIT)
            case "leave while streaming":
                connection = await self._fresh()
                connection.send(request.raw)
                await connection.until(b"~")
            case "leave while slow":
                connection = await self._fresh(WINDOW)
                connection.send(request.raw)
                await connection.until(b"~")
                await asyncio.sleep(WAIT)
        self.close()

    async def _kept(self) -> Connection:
        return self._connection or await self._fresh()

    async def _fresh(self, window: int | None = None) -> Connection:
        self.close()
        self._connection = connection = Connection(self._port)
        await connection.open(window)
        return connection

    async def thread(self, left: bool) -> str | None:
        """A conversation of two turns that the server keeps, the second of them ``left``; then it is deleted."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._thread(left)
        except (Wrong, TimeoutError, OSError, EOFError, ValueError, KeyError) as error:
            self.close()
            return f"thread: {type(error).__name__} {error}"
        return None

    async def _thread(self, left: bool) -> None:
        id = json.loads(await self._call("PUT", "/thread"))["id"]
        body = {**NATIVE.body("openai", "e5", True), "thread": id}
        await self._call("POST", NATIVE.path, body)
        if left:
            connection = await self._kept()
            connection.send(http("POST", NATIVE.path, NATIVE.headers, {**body, "model": "stall"}))
            await connection.until(b"~")
            self.close()
        else:
            await self._call("POST", NATIVE.path, body)
        told = await self._call("GET", f"/thread/{id}")
        if (count := len(json.loads(told))) != (2 if left else 4):
            raise Wrong(f"{count} messages in it")
        await self._call("DELETE", f"/thread/{id}")

    async def responses(self, engine: str, left: bool) -> str | None:
        """Two responses, one the continuation of the other, that are kept; with ``left`` also one in the background.

        The client leaves the last one and cancels it. Then all are deleted.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                await self._responses(engine, left)
        except (Wrong, TimeoutError, OSError, EOFError, ValueError, KeyError) as error:
            self.close()
            return f"responses: {type(error).__name__} {error}"
        return None

    async def _responses(self, engine: str, left: bool) -> None:
        body = {"model": f"{engine}/e1", "input": "Hello"}
        first = json.loads(await self._call("POST", RESPONSES, body))["id"]
        second = json.loads(await self._call("POST", RESPONSES, {**body, "previous_response_id": first}))["id"]
        ids = [first, second]
        if left:
            connection = await self._kept()
            asked = {**body, "model": f"{engine}/stall", "background": True, "stream": True}
            connection.send(http("POST", RESPONSES, NATIVE.headers, asked))
            told = await connection.until(b"~")
            self.close()
            ids.append((found := re.search(rb'"id":"(resp_[0-9a-f]+)"', told)) and found[1].decode())
            cancelled = json.loads(await self._call("POST", f"{RESPONSES}/{ids[-1]}/cancel"))
            if cancelled["status"] != "cancelled":
                raise Wrong(f"status {cancelled['status']}")
        items = json.loads(await self._call("GET", f"{RESPONSES}/{second}/input_items"))
        if len(items["data"]) != 3:
            raise Wrong(f"{len(items['data'])} items before it")
        for id in ids:
            if json.loads(await self._call("GET", f"{RESPONSES}/{id}"))["id"] != id:
                raise Wrong("another response")
            await self._call("DELETE", f"{RESPONSES}/{id}")

    async def _call(self, method: str, path: str, body: object = None) -> bytes:
        connection = await self._kept()
        connection.send(http(method, path, NATIVE.headers, body))
        answer = await connection.answer()
        if answer.status not in (200, 204):
            raise Wrong(f"{method} {path}: {answer.status} {answer.body[:300]!r}")
        return answer.body


async def take_turns(port: int, request: Request) -> None:
    """Asks for two responses over one WebSocket, the second of which continues the first; or leaves amid the first."""
    model, id = f"{request.engine}/{request.kind.model}", None
    headers = {"Authorization": f"Bearer {CLIENT_ID}"}
    async with connect(f"ws://127.0.0.1:{port}/v1/responses", additional_headers=headers) as socket:
        for _ in range(2):
            body = {"type": "response.create", "model": model, "input": "Hello", "store": False}
            await socket.send(json.dumps({**body, "previous_response_id": id}))
            deltas, event = 0, await _receive(socket)
            while event["type"] not in ("response.completed", "response.failed", "error"):
                deltas += str(event.get("delta")).count("~")  # those of one read may come together
                if deltas and not request.kind.deltas:
                    socket.transport.abort()
                    return
                event = await _receive(socket)
            if event["type"] != "response.completed" or deltas != request.kind.deltas:
                raise Wrong(f"{deltas} deltas, not {request.kind.deltas}: {str(event)[:300]}")
            id = event["response"]["id"]


async def _receive(socket: ClientConnection) -> Any:
    return json.loads(await socket.recv())


def check(request: Request, answer: Answer) -> None:
    """Raises ``Wrong`` where the answer is not how its kind has to end."""
    kind, client = request.kind, request.client
    if answer.status != kind.status:
        raise Wrong(f"status {answer.status}, not {kind.status}: {answer.body[:300]!r}")
    if answer.body.count(b"~") != kind.deltas:
        raise Wrong(f"{answer.body.count(b'~')} deltas, not {kind.deltas}: {answer.body[-300:]!r}")
    if kind.status == 429 and b"\r\nretry-after: 7\r\n" not in answer.head.lower():
        raise Wrong(f"no retry-after: {answer.head!r}")
    if answer.status != 200 or not kind.stream:
        json.loads(answer.body)
    elif _ends(answer, client.ends, client.fails) != (not kind.error, kind.error):
        raise Wrong(f"another end: {answer.body[-300:]!r}")


def _ends(answer: Answer, ends: bytes, fails: bytes) -> tuple[bool, bool]:
    return ends in answer.body, fails in answer.body


__all__ = ["Answer", "Client", "Kind", "Wrong", "check"]
