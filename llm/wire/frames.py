"""Frames of a stream and the protocols that decode them."""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

MOST_HALF: Final = 16 * 1024  # bytes of half an event that are worth a second look
MAX_FRAME: Final = 64 * 1024 * 1024  # bytes; a generated image comes in one event


class Frame(NamedTuple):
    data: str
    event: str = ""  # the SSE event name, where the wire gives one


class Framing(Protocol):
    border: bytes  # what ends a frame

    def half(self) -> bytes | None:
        """What has come of a frame that is not whole yet; None if that is too much to be looked at once more, or not
        as it came.
        """
        ...

    def forget(self) -> None:
        """That half: somebody else has taken it."""
        ...

    def feed(self, chunk: bytes) -> list[Frame]: ...

    def close(self) -> list[Frame]:
        """What was left without its border when the bytes ended: some providers omit the last blank line."""
        ...


class Blocks(Protocol):
    """Cuts a stream into its events without changing a byte: for handing them on as they came."""

    border: bytes  # what ends an event

    def half(self) -> bytes | None:
        """As a :class:`Framing` does."""
        ...

    def forget(self) -> None: ...

    def cut(self, chunk: bytes) -> bytes:
        """All whole events, each with what ends it; half an event waits for its rest."""
        ...

    def split(self, whole: bytes) -> list[bytes]:
        """What :meth:`cut` gave, event by event."""
        ...

    def close(self) -> bytes:
        """What was left without its end."""
        ...

    def frame(self, block: bytes) -> Frame | None:
        """What one of the events carries, if anything."""
        ...
