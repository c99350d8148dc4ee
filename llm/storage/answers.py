"""Answers that are kept, so that a repeated request gets the same one (``Idempotency-Key``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

LEASE: Final = 15.0  # seconds that a claim lasts without being renewed

Claim: TypeAlias = Literal["mine", "running", "other", "unknown"]
"""``mine``: the request has to be answered, and its answer kept or dropped. ``running``: another one is being answered.
``other``: the name belongs to another body. ``unknown``: the store failed."""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """A complete response: its status, headers and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class RequestName:
    """What the requests of one operation have in common, for one caller: the path and the client's key."""

    owner: str
    path: str
    key: str


class AnswerStore(Protocol):
    """Keeps answers by the name of their request, for all processes."""

    async def claim(self, name: RequestName, digest: bytes, holder: str) -> KeptAnswer | Claim:
        """Returns the answer to this request, or claims it. ``digest``: of the body; ``holder``: a new random text."""
        ...

    async def renew(self, holders: Sequence[str]) -> None:
        """Makes claims last on; one that is not renewed within :data:`LEASE` is free again."""
        ...

    async def keep(self, holder: str, answer: KeptAnswer) -> None:
        """Keeps the answer to a claimed request. When it returns, other processes can get it."""
        ...

    async def drop(self, holder: str) -> None:
        """Frees a claimed request that has no answer to keep."""
        ...

    async def prune(self) -> None:
        """Deletes answers that are too old."""
        ...

    def close(self) -> None:
        """Closes the store after pending work."""
        ...
