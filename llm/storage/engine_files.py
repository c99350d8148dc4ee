"""The protocol for the owners of files, uploads and batches that engines keep for their clients."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from llm.storage.threads import Owner


class EngineFileStore(Protocol):
    """Remembers who made which object at an engine. Methods raise ``StorageFailed``.

    An object of another owner counts as missing, and so does one that was forgotten (age, number).
    """

    async def add(self, owner: Owner, engine: str, ids: Collection[str]) -> None:
        """Makes the owner that of these ids."""
        ...

    async def select(self, owner: Owner, engine: str, ids: Collection[str]) -> frozenset[str]:
        """Returns those of the ids that are the owner's."""
        ...

    async def remove(self, owner: Owner, engine: str, id: str) -> None:
        """Forgets an id."""
        ...

    async def close(self) -> None:
        """Closes the store after pending writes."""
        ...
