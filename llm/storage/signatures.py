"""The protocol for stores of signatures, which the workers of a server share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol


class SignatureStore(Protocol):
    """Stores short texts by owner and id, limited in age and total size.

    If the storage fails, values are lost and nothing is raised.
    """

    async def put(self, owner: str, values: Mapping[str, str]) -> None:
        """Stores values by id. When it returns, other processes can get them."""
        ...

    async def get(self, owner: str, ids: Iterable[str]) -> dict[str, str]:
        """Returns the stored values by id; missing ones are left out."""
        ...

    def close(self) -> None:
        """Closes the store after pending work."""
        ...
