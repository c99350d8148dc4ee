"""The frames of a stream, and the protocols of the classes that cut and decode it."""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

MAX_PENDING: Final = 16 * 1024  # bytes; a longer incomplete frame is not returned by ``pending``
MAX_FRAME: Final = 64 * 1024 * 1024  # bytes; one event may hold a whole generated image


class Frame(NamedTuple):
    """The payload of one event of a stream."""

    data: str
    event: str = ""  # the SSE event name; "" without one and for NDJSON


class FrameDecoder(Protocol):
    """Decodes the bytes of a stream, cut anywhere, into frames."""

    delimiter: bytes  # the bytes that end a frame

    def pending(self) -> bytes | None:
        """Returns the bytes of the incomplete last frame.

        None if they are more than ``MAX_PENDING``, or if the decoder's state is more than these bytes.
        """
        ...

    def discard_pending(self) -> None:
        """Drops the bytes that ``pending`` returned, because the caller has decoded them itself."""
        ...

    def feed(self, chunk: bytes) -> list[Frame]:
        """Returns the frames that ``chunk`` completes. Raises ``Malformed`` for a frame above the size limit."""
        ...

    def close(self) -> list[Frame]:
        """Returns the last frame if the stream ended without its delimiter, as some providers end it."""
        ...


class FrameSplitter(Protocol):
    """Cuts a stream into its events without changing a byte, for passthrough."""

    delimiter: bytes  # the bytes that end an event

    def pending(self) -> bytes | None:
        """Returns the bytes of the incomplete last event, or None if they are more than ``MAX_PENDING``."""
        ...

    def discard_pending(self) -> None:
        """Drops the bytes that ``pending`` returned, because the caller has sent them itself."""
        ...

    def extract_complete(self, chunk: bytes) -> bytes:
        """Returns the bytes of all complete events with their delimiters; keeps the incomplete rest.

        Raises ``Malformed`` for an event above the size limit.
        """
        ...

    def split_events(self, whole: bytes) -> list[bytes]:
        """Splits the result of ``extract_complete`` into single events, delimiters included."""
        ...

    def close(self) -> bytes:
        """Returns the bytes of an event whose delimiter never came."""
        ...

    def decode_frame(self, block: bytes) -> Frame | None:
        """Decodes one event; None if it has no payload, such as a comment."""
        ...
