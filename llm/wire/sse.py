"""Server-sent events: decoding, splitting and encoding.

Wire: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import re
from typing import Final

from llm.errors import Malformed
from llm.wire.frames import MAX_FRAME, MAX_PENDING, Frame
from llm.wire.json_codec import Json, dump_bytes

# As numbers: ``number in bytes`` is five times as fast as ``bytes in bytes``.
_LF: Final = 0x0A
_CR: Final = 0x0D
_BOM: Final = b"\xef\xbb\xbf"
_NO_DATA: Final = re.compile(rb"(?:\A|[\r\n])data:?[ \t]*[\r\n]")
_MAY_BE_NO_DATA: Final = re.compile(rb"data:?[ \t]*[\r\n]")  # the same without the line's start: found 20 times as fast
_INCOMPLETE_BOMS: Final = (_BOM[:1], _BOM[:2])


class SseDecoder:
    """Decodes an event stream into frames; a ``FrameDecoder``.

    Accepts LF, CRLF and CR, a byte order mark, comments, and a last event without its blank line.
    """

    __slots__ = ("_cr", "_first", "_max", "_rest", "_scanned")

    delimiter: bytes = b"\n\n"

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max = max_frame
        self._rest = bytearray()
        self._scanned = 0  # the rest has no delimiter before this offset, so that a long event is searched once
        self._cr = False  # the last chunk ended with CR, which may be the first byte of CRLF
        self._first = True  # a byte order mark may still come

    def pending(self) -> bytes | None:
        """Returns the bytes of the incomplete last event.

        None if they are more than ``MAX_PENDING``, after a CR that may begin CRLF, and before the first bytes.
        """
        return None if self._cr or self._first or len(self._rest) > MAX_PENDING else bytes(self._rest)

    def discard_pending(self) -> None:
        """Drops the incomplete last event."""
        self._rest.clear()
        self._scanned = 0

    def feed(self, chunk: bytes) -> list[Frame]:
        """Returns the frames that ``chunk`` completes. Raises ``Malformed`` for an event above the size limit."""
        if self._first and chunk:
            chunk = self._strip_bom(chunk)
        if self._cr or _CR in chunk:
            chunk = self._normalize_line_ends(chunk)
        rest = self._rest
        if rest:
            blocks = self._cut(rest, chunk)
        else:
            *blocks, left = chunk.split(b"\n\n")
            rest += left
        self._scanned = len(rest) - 1 if rest else 0
        if len(rest) > self._max:
            raise Malformed(f"The engine sent one event of more than {self._max} bytes (MAX_ANSWER_SIZE).")
        return [frame for block in blocks if (frame := _decode_event(block))]

    def _cut(self, rest: bytearray, chunk: bytes) -> list[bytes]:
        """Returns the complete events of ``rest`` and ``chunk``; leaves the incomplete one in ``rest``."""
        rest += chunk
        blocks = []
        start, at = 0, self._scanned
        while (end := rest.find(b"\n\n", at)) >= 0:
            blocks.append(bytes(rest[start:end]))
            start = at = end + 2
        del rest[:start]
        return blocks

    def close(self) -> list[Frame]:
        """Returns a last event without its blank line."""
        rest, self._rest, self._scanned = bytes(self._rest), bytearray(), 0
        frame = _decode_event(rest.strip(b"\n"))
        return [frame] if frame else []

    def _strip_bom(self, chunk: bytes) -> bytes:
        # The three bytes may come one by one, so an incomplete mark is kept in the rest.
        start = bytes(self._rest) + chunk
        if start in _INCOMPLETE_BOMS:
            return chunk
        self._first = False
        if start[:3] == _BOM:
            self._rest.clear()
            self._scanned = 0
            return start[3:]
        return chunk

    def _normalize_line_ends(self, chunk: bytes) -> bytes:
        """Replaces CRLF and CR by LF. After a chunk that ends with CR, an LF at the start of the next is dropped."""
        if self._cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._cr = False
        if chunk:
            self._cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _decode_event(block: bytes) -> Frame | None:
    """Decodes one event without its blank line; None if it has no data (comments, ``event:`` alone, empty ``data:``).

    An event named ``error`` with empty ``data:`` is a frame all the same.
    """
    if block.startswith(b"data: ") and _LF not in block:  # what nearly every provider sends
        text = block[6:].decode("utf-8", "replace")
        return Frame(text) if text and not text.isspace() else None
    data: list[str] = []
    event = ""
    for line in block.decode("utf-8", "replace").split("\n"):
        name, _, value = line.partition(":")
        if name == "data":
            data.append(value.removeprefix(" "))
        elif name == "event":
            event = value.removeprefix(" ")
    text = "\n".join(data)
    return Frame(text, event) if data and (event == "error" or (text and not text.isspace())) else None


class SseSplitter:
    """Cuts an event stream into its events without changing a byte; a ``FrameSplitter``."""

    __slots__ = ("_max", "_rest", "_scanned")

    delimiter: bytes = b"\n\n"
    # Matches \r?\n\r?\n|\r\r, ten times as fast, since it begins with a character class.
    _BORDER: Final = re.compile(rb"[\r\n](?:(?<=\n)\r?\n|(?<=\r)(?:\n\r?\n|\r))")

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max = max_frame
        self._rest = bytearray()
        self._scanned = 0  # the rest has no delimiter before this offset

    def pending(self) -> bytes | None:
        """Returns the bytes of the incomplete last event, or None if they are more than ``MAX_PENDING``."""
        return None if len(self._rest) > MAX_PENDING else bytes(self._rest)

    def discard_pending(self) -> None:
        """Drops the incomplete last event."""
        self._rest.clear()
        self._scanned = 0

    def extract_complete(self, chunk: bytes) -> bytes:
        """Returns all complete events. Raises ``Malformed`` for an event above the size limit."""
        rest = self._rest
        if not rest and chunk.endswith(b"\n\n"):
            return chunk
        rest += chunk
        end = 0
        for border in self._BORDER.finditer(rest, self._scanned):
            end = border.end()
        whole = bytes(rest[:end])
        if end:
            self._rest = rest = rest[end:]
        self._scanned = max(len(rest) - 3, 0)
        if len(rest) > self._max:
            raise Malformed(f"The engine sent one event of more than {self._max} bytes (MAX_ANSWER_SIZE).")
        return whole

    def split_events(self, whole: bytes) -> list[bytes]:
        """Splits complete events, each with its blank line."""
        if _CR not in whole:
            *blocks, rest = whole.split(b"\n\n")
            blocks = [block + b"\n\n" for block in blocks]
            return [*blocks, rest] if rest else blocks
        blocks = []
        start = 0
        for border in self._BORDER.finditer(whole):
            blocks.append(whole[start : border.end()])
            start = border.end()
        if start < len(whole):
            blocks.append(whole[start:])  # an extra line end
        return blocks

    def close(self) -> bytes:
        """Returns a last event without its blank line."""
        rest, self._rest, self._scanned = bytes(self._rest), bytearray(), 0
        return rest

    def decode_frame(self, block: bytes) -> Frame | None:
        """Decodes one event; None if it has no data."""
        if _CR in block:
            block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return _decode_event(block.removeprefix(_BOM).strip(b"\n"))


def has_empty_data(whole: bytes) -> bool:
    """True if events may have a ``data`` line without a value, alone or among others."""
    return _MAY_BE_NO_DATA.search(whole) is not None and _NO_DATA.search(whole) is not None


def encode_sse_event(value: Json | bytes, event: str = "") -> bytes:
    """Encodes one server-sent event. ``value`` is JSON, or bytes that are already encoded."""
    data = value if isinstance(value, bytes) else dump_bytes(value)
    name = f"event: {event}\n".encode() if event else b""
    return b"%bdata: %b\n\n" % (name, data)
