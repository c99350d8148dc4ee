"""HTTP outwards, as everything above the transport sees it; no Tornado here, so that nobody needs it to read this."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

READ_LIMIT: Final = 256 * 1024 * 1024  # bytes, of one whole body


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One request; ``headers`` may hold a key, so it is left out of ``repr``."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None


class HttpReply(Protocol):
    """An answer whose headers are in. Leaving ``async with`` before the body's end closes the socket at once."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]:
        """Names in any case."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...
    async def read(self, limit: int = READ_LIMIT) -> bytes: ...
    def alive(self) -> None: ...
    def drain(self) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Transport(Protocol):
    async def send(self, request: HttpRequest) -> HttpReply: ...
    async def close(self) -> None: ...
