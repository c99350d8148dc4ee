"""The protocol for stores of responses: answers of the Responses API that their clients can name again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from llm.storage.threads import Owner


@dataclass(frozen=True, slots=True, kw_only=True)
class NewResponse:
    """A response that begins."""

    id: str  # "": chosen by the engine, see ``ResponseStore.set_id``
    engine: str  # its name
    input: Sequence[Mapping[str, Any]]  # items of the whole conversation so far
    background: bool = False
    status: str = ""  # "": it cannot be found before it has ended
    value: Mapping[str, Any] = field(default_factory=dict)  # the response object as of now
    heavy: bool = False  # its JSON is so large that it is encoded in steps


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResponse:
    """A response as it is stored."""

    number: int  # in the store
    id: str
    engine: str
    kept_by_engine: bool
    background: bool
    status: str
    updated: float  # Unix time, seconds: of the last write
    value: dict[str, Any]  # the response object, with its output
    input: list[dict[str, Any]]  # items of the whole conversation before the output, if they were asked for


@dataclass(frozen=True, slots=True)
class StoredItem:
    """An item of the input or the output of a response."""

    value: dict[str, Any]
    engine: str  # of the response
    kept_by_engine: bool


class ResponseStore(Protocol):
    """Stores responses by id, each with its owner, limited in age and total size.

    A response of another owner counts as missing, and so does one that is too old. Methods raise ``StorageFailed`` if
    the storage cannot be used. Several processes may use the same storage.
    """

    max_size: int
    """Bytes of all responses together; 0: none are stored."""

    async def begin(self, owner: Owner, new: NewResponse) -> int:
        """Stores a response that begins; returns its number. Raises ``TooLarge`` above the size of the store."""
        ...

    async def set_engine_id(self, number: int, id: str, status: str) -> None:
        """Sets the id under which the engine keeps the response too, and the status, unless it has ended already."""
        ...

    async def update(self, number: int, status: str, value: Mapping[str, Any], *, kept_by_engine: bool = False) -> bool:
        """Stores the response object as of now. Its ``output`` is final with a final status. False: it is gone."""
        ...

    async def touch(self, numbers: Iterable[int]) -> None:
        """Marks responses as still running."""
        ...

    async def discard(self, number: int) -> None:
        """Deletes a response that has failed."""
        ...

    async def get(self, id: str, owner: Owner, *, with_input: bool = True) -> StoredResponse | None:
        """Returns a response; None if there is none."""
        ...

    async def find_items(self, ids: Iterable[str], owner: Owner) -> dict[str, StoredItem]:
        """Returns the items of the owner's responses by id; missing ones are left out."""
        ...

    async def delete(self, id: str, owner: Owner) -> bool:
        """Deletes a response. Returns whether there was one."""
        ...

    async def append_events(self, number: int, first: int, events: Sequence[bytes]) -> bool:
        """Appends events of a stream, the first of which has the number ``first``. False: the response is gone."""
        ...

    async def read_events(self, id: str, owner: Owner, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Returns the next events after the number ``after``, about ``limit`` bytes of them, with their numbers."""
        ...

    async def close(self) -> None:
        """Closes the store after pending writes."""
        ...
