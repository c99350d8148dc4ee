"""Threads: conversations that this server keeps for their owners. Where they are kept is an implementation's choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from llm.chat.messages import Message


@dataclass(frozen=True, slots=True)
class Owner:
    """Who asks for a thread: the names of a ``Caller``, of which any will do."""

    names: frozenset[str]
    trusted: bool  # with a client id: may take over a thread of the older server, which knew no owners


@dataclass(frozen=True, slots=True)
class ThreadInfo:
    id: str
    title: str
    created: float  # seconds since 1970
    updated: float
    messages: int  # how many


class ThreadStore(Protocol):
    """Stores threads by id, each with its owner.

    A thread of another owner is treated as missing: ``NotFound``. Methods raise ``StorageFailed`` when the storage
    cannot be used. Several processes may use one store.
    """

    lost: int
    """Appends that failed, by this process."""

    async def create(self, owner: Owner, title: str = "") -> ThreadInfo:
        """Makes an empty thread."""
        ...

    async def page(self, owner: Owner, limit: int, after: str | None = None) -> list[ThreadInfo]:
        """Returns the owner's threads, the one last written to first; ``after``: the last id of the page before."""
        ...

    async def messages(self, id: str, owner: Owner) -> tuple[Message, ...]:
        """Returns all messages in order."""
        ...

    async def rename(self, id: str, owner: Owner, title: str) -> ThreadInfo: ...

    async def delete(self, id: str, owner: Owner) -> None: ...

    async def append(self, id: str, owner: Owner, messages: Sequence[Message]) -> None:
        """Adds to the end, all or nothing; durable when it returns. Raises ``ThreadFull`` too."""
        ...

    async def close(self) -> None:
        """Returns when pending writes are done."""
        ...
