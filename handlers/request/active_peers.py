"""Cancels an answer that runs in another worker process.

A request id chosen by a client is unique in one worker only, since a check with all workers would slow every request.
So a cancel goes to all workers and stops every answer of this caller that has the id.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from contextlib import suppress
from typing import Final

from handlers.request.active import ActiveRequests
from handlers.server.workers import Worker
from llm.wire.json_codec import dump_bytes, loads

REPLY_TIMEOUT: Final = (
    1.0  # seconds: a worker that does not reply by then (dead, not yet replaced) counts as "not found"
)
_MAX_ID: Final = 128  # characters: a longer id cannot exist, so the other workers are not asked
_MAX_MESSAGE: Final = 64 * 1024  # bytes
_RETRY_SEND: Final = 0.01  # seconds until a full mailbox is tried again


class Peers:
    """Sends cancel requests to the other workers and answers theirs. With ``worker`` None there is one process only."""

    def __init__(self, active: ActiveRequests, worker: Worker | None = None) -> None:
        self._running = active
        self._number = worker.number if worker else 0
        self._mailboxes = worker.mailboxes if worker else ()
        # ticket → numbers of the workers that have not replied yet, result
        self._pending: dict[str, tuple[set[int], asyncio.Future[bool]]] = {}

    def open(self) -> None:
        """Starts reading this worker's mailbox; discards messages to a dead worker of the same number."""
        if self._mailboxes:
            inbox, _ = self._mailboxes[self._number]
            with suppress(BlockingIOError):
                while inbox.recv(_MAX_MESSAGE):
                    continue
            asyncio.get_running_loop().add_reader(inbox, self._receive, inbox)

    def close(self) -> None:
        """Stops reading the mailbox."""
        if self._mailboxes:
            asyncio.get_running_loop().remove_reader(self._mailboxes[self._number][0])

    async def cancel(self, id: str, names: frozenset[str]) -> bool:
        """Cancels the answer in the other workers. Returns whether one of them was running it for this caller."""
        others = {number for number in range(len(self._mailboxes)) if number != self._number}
        if not others or len(id) > _MAX_ID:
            return False
        ticket = secrets.token_hex(8)  # random, so that a reply to a dead worker's request does not match one of ours
        found: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._pending[ticket] = others, found
        request = dump_bytes({"ticket": ticket, "from": self._number, "cancel": id, "names": [*names]})
        try:
            for number in [*others]:
                self._send(number, request)
            async with asyncio.timeout(REPLY_TIMEOUT):
                return await found
        except TimeoutError:
            return False
        finally:
            del self._pending[ticket]

    def _receive(self, inbox: socket.socket) -> None:
        try:
            message = loads(inbox.recv(_MAX_MESSAGE))
        except BlockingIOError:
            return
        if "cancel" in message:
            found = self._running.cancel(message["cancel"], frozenset(message["names"]))
            reply = {"ticket": message["ticket"], "from": self._number, "found": found}
            self._send(message["from"], dump_bytes(reply))
        elif message["ticket"] in self._pending:
            missing, result = self._pending[message["ticket"]]
            missing.discard(message["from"])
            if not result.done() and (message["found"] or not missing):
                result.set_result(message["found"])

    def _send(self, number: int, message: bytes, tries: int = int(REPLY_TIMEOUT / _RETRY_SEND)) -> None:
        """Sends a message, with retries while the mailbox is full. One that stays full belongs to a dead worker."""
        _, outbox = self._mailboxes[number]
        try:
            outbox.send(message)
        except BlockingIOError:
            if tries:
                asyncio.get_running_loop().call_later(_RETRY_SEND, self._send, number, message, tries - 1)
