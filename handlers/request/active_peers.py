"""The other workers of the same server, for what only one of them has: an answer that is to be cancelled.

Request ids that clients choose are unique in a worker only: to ask all workers at each request would cost every one of
them. So a cancel goes to all, and stops every answer of this caller that bears the id.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from contextlib import suppress
from typing import Final

from handlers.request.active import Running
from handlers.server.workers import Worker
from llm.wire.json_codec import dump_bytes, loads

PATIENCE: Final = 1.0  # seconds: who is silent for so long (dead, not yet replaced) has no such answer
_LONGEST_ID: Final = 128  # characters: what no answer can have is not asked for
_LARGEST: Final = 64 * 1024  # bytes of a message
_AGAIN: Final = 0.01  # seconds until a full mailbox is tried again


class Peers:
    """Asks the others, and answers when they ask. Without a ``worker`` there are no others."""

    def __init__(self, running: Running, worker: Worker | None = None) -> None:
        self._running = running
        self._number = worker.number if worker else 0
        self._mailboxes = worker.mailboxes if worker else ()
        self._asked: dict[str, tuple[set[int], asyncio.Future[bool]]] = {}  # by ticket: who has not answered yet

    def open(self) -> None:
        if self._mailboxes:
            inbox, _ = self._mailboxes[self._number]
            with suppress(BlockingIOError):
                while inbox.recv(_LARGEST):  # was meant for who died here
                    continue
            asyncio.get_running_loop().add_reader(inbox, self._received, inbox)

    def close(self) -> None:
        if self._mailboxes:
            asyncio.get_running_loop().remove_reader(self._mailboxes[self._number][0])

    async def cancel(self, id: str, names: frozenset[str]) -> bool:
        """Whether another worker had such an answer of this caller, which is stopped now."""
        others = {number for number in range(len(self._mailboxes)) if number != self._number}
        if not others or len(id) > _LONGEST_ID:
            return False
        ticket = secrets.token_hex(8)  # nobody takes an answer to a dead worker's question for one to its own
        found: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._asked[ticket] = others, found
        question = dump_bytes({"ticket": ticket, "from": self._number, "cancel": id, "names": [*names]})
        try:
            for number in [*others]:
                self._send(number, question)
            async with asyncio.timeout(PATIENCE):
                return await found
        except TimeoutError:
            return False
        finally:
            del self._asked[ticket]

    def _received(self, inbox: socket.socket) -> None:
        try:
            message = loads(inbox.recv(_LARGEST))
        except BlockingIOError:
            return
        if "cancel" in message:
            found = self._running.cancel(message["cancel"], frozenset(message["names"]))
            told = {"ticket": message["ticket"], "from": self._number, "found": found}
            self._send(message["from"], dump_bytes(told))
        elif message["ticket"] in self._asked:
            silent, answer = self._asked[message["ticket"]]
            silent.discard(message["from"])
            if not answer.done() and (message["found"] or not silent):
                answer.set_result(message["found"])

    def _send(self, number: int, message: bytes, tries: int = int(PATIENCE / _AGAIN)) -> None:
        """A mailbox that stays full is a dead worker's, or one's that hangs."""
        _, outbox = self._mailboxes[number]
        try:
            outbox.send(message)
        except BlockingIOError:
            if tries:
                asyncio.get_running_loop().call_later(_AGAIN, self._send, number, message, tries - 1)
