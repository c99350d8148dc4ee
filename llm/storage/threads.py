"""The protocol for stores of threads: conversations that the server saves for their owners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from llm.chat.messages import Message


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of threads, with the names of a ``Caller``. A thread belongs to an owner with any of its names."""

    names: frozenset[str]
    trusted: bool  # has a client id: may become the owner of a thread of the older server, which has none


@dataclass(frozen=True, slots=True)
class ThreadInfo:
    """A thread without its messages."""

    id: str
    title: str
    created: float  # Unix time, seconds
    updated: float  # of the last message; Unix time, seconds
    message_count: int  # number


class ThreadStore(Protocol):
    """Stores threads by id, each with its owner.

    A thread of another owner counts as missing: ``NotFound``. Methods raise ``StorageFailed`` if the storage cannot be
    used. Several processes may use the same storage.
    """

    failed_appends: int
    """Number of failed appends of this process."""

    async def create(self, owner: Owner, title: str = "") -> ThreadInfo:
        """Creates an empty thread."""
        ...

    async def list_page(self, owner: Owner, limit: int, after: str | None = None) -> list[ThreadInfo]:
        """Returns a page of the owner's threads, the last updated first. ``after``: the last id of the page before."""
        ...

    async def read_messages(self, id: str, owner: Owner) -> tuple[Message, ...]:
        """Returns all messages in order."""
        ...

    async def rename(self, id: str, owner: Owner, title: str) -> ThreadInfo:
        """Sets the title."""
        ...

    async def delete(self, id: str, owner: Owner) -> None:
        """Deletes the thread with its messages."""
        ...

    async def append(self, id: str, owner: Owner, messages: Sequence[Message]) -> None:
        """Appends all messages or none; they are durable when it returns. Raises ``ThreadFull`` too."""
        ...

    async def close(self) -> None:
        """Closes the store after pending writes."""
        ...
