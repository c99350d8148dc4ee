"""HTTP outwards, as everything above the transport sees it; without Tornado, so that dialects stay free of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Protocol, Self

READ_LIMIT: Final = 64 * 1024 * 1024  # bytes, of one whole body, where nothing else is said


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One request. ``repr`` shows neither headers, which hold a key, nor the body."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)


class HttpReply(Protocol):
    """An answer whose headers are in; for one reader.

    Leaving ``async with`` before the body's end closes the socket at once, unless ``drain`` was called. So does
    cancelling whoever waits for a piece.
    """

    # Called with each piece in the turn of the loop in which it arrived, while the reader waits for one; the reader
    # does not see that piece. It returns True if there was content, which restarts the idle clock; None if there was
    # none; False to wake the reader, which then gets an empty piece. What it raises is raised in the reader and ends
    # the answer. A transport may leave it uncalled and give every piece to the reader.
    on_data: Callable[[bytes], bool | None] | None

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in any case."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The payload as it comes, in pieces of any size; an empty piece where ``on_data`` returned False.

        Raises ``Truncated``, ``Malformed`` or ``IdleTimeout``, after everything that was received.
        """
        ...

    async def read(self, limit: int = READ_LIMIT) -> bytes:
        """The rest of the body; ``Malformed`` if it has more than ``limit`` bytes. Here any byte is a sign of life."""
        ...

    def alive(self) -> None:
        """Content has come: the idle clock starts again. Bytes alone do not restart it, they may be pings (S12)."""
        ...

    def drain(self) -> None:
        """The reader has all it wants: what little follows may run out after it left, to keep the connection."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Transport(Protocol):
    def send(self, request: HttpRequest) -> Coroutine[Any, Any, HttpReply]:
        """Sends, at once over a connection that is there.

        To be awaited in the same turn: the answer once its headers are in, whatever its status. Cancelled, that closes
        the socket.
        """
        ...

    async def close(self) -> None: ...
