"""Requests to providers and their responses, as the packages above the transport use them; without Tornado."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Protocol, Self

READ_LIMIT: Final = 64 * 1024 * 1024  # bytes of one whole body, where the caller gives no limit


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One HTTP request. ``repr`` leaves out the headers, which hold a key, and the body."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    pieces: tuple[bytes | memoryview, ...] = field(default=(), repr=False)  # a body that is not copied, instead


class HttpResponse(Protocol):
    """A response whose headers have arrived. It has one reader.

    Leaving ``async with`` before the end of the body closes the socket at once, unless ``allow_drain`` was called.
    Cancelling a task that waits for a piece closes it too.
    """

    # A callback for the pieces that arrive while the reader waits, called in the same turn of the event loop. The
    # reader does not get these pieces. The callback returns True for content, which restarts the idle timer; None for
    # bytes without content; False to wake the reader, which then gets an empty piece. An exception of the callback is
    # raised in the reader and ends the response. A transport may also pass every piece to the reader instead.
    on_data: Callable[[bytes], bool | None] | None

    @property
    def status(self) -> int:
        """The HTTP status code."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The response headers. Look-ups ignore the case of a name."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yields the body in pieces of any size as they arrive; an empty piece where ``on_data`` returned False.

        Raises ``Truncated``, ``Malformed`` or ``IdleTimeout``, after all received pieces.
        """
        ...

    async def read(self, limit: int = READ_LIMIT) -> bytes:
        """Reads the rest of the body. Here every byte restarts the idle timer.

        Raises ``Malformed`` if the rest is longer than ``limit`` bytes, else as ``__aiter__``.
        """
        ...

    def reset_idle_timer(self) -> None:
        """Restarts the idle timer. The reader calls it for content.

        Bytes alone do not restart it, since they may be pings (S12).
        """
        ...

    def allow_drain(self) -> None:
        """Lets the transport read the short rest of the body after the reader has left, to reuse the connection."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Transport(Protocol):
    """Sends requests to providers."""

    def send(self, request: HttpRequest) -> Coroutine[Any, Any, HttpResponse]:
        """Sends a request; over an idle connection, before it returns.

        The coroutine has to be awaited in the same turn of the event loop. It returns the response as soon as its
        headers have arrived, whatever the status. Cancelling it closes the socket.
        """
        ...

    async def close(self) -> None:
        """Closes all connections."""
        ...
