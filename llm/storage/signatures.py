"""Signatures: short texts by owner and id, shared by the workers of a server for a limited time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol


class SignatureStore(Protocol):
    """Stores texts by owner and id; bounded in time and size. A failing storage loses values and raises nothing."""

    async def put(self, owner: str, values: Mapping[str, str]) -> None:
        """Stores the values by their ids; when it returns, other processes can get them."""
        ...

    async def get(self, owner: str, ids: Iterable[str]) -> dict[str, str]:
        """Returns the stored values among ``ids``."""
        ...

    def close(self) -> None: ...
