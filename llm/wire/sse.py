"""Server-sent events: bytes in any chunking to whole events.

Wire: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import re
from typing import Final

from llm.errors import Malformed
from llm.wire.frames import MAX_FRAME, MOST_HALF, Frame
from llm.wire.json_codec import Json, dump_bytes

# As numbers: bytes are looked for at five times the price, since ``in`` takes them for a number first and fails.
_LF: Final = 0x0A
_CR: Final = 0x0D
_BOM: Final = b"\xef\xbb\xbf"
_HALVES: Final = (_BOM[:1], _BOM[:2])


class Sse:
    """Decodes an event stream: LF, CRLF or CR, comments, events that no blank line ends."""

    __slots__ = ("_cr", "_first", "_max", "_rest", "_scanned")

    border: bytes = b"\n\n"

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max = max_frame
        self._rest = bytearray()
        self._scanned = 0  # no border before this offset of the rest, so that a long event is searched once
        self._cr = False  # a CR ended the last chunk: it may be half of a CRLF
        self._first = True

    def half(self) -> bytes | None:
        return None if self._cr or self._first or len(self._rest) > MOST_HALF else bytes(self._rest)

    def forget(self) -> None:
        self._rest.clear()
        self._scanned = 0

    def feed(self, chunk: bytes) -> list[Frame]:
        if self._first and chunk:
            chunk = self._without_bom(chunk)
        if self._cr or _CR in chunk:
            chunk = self._normal(chunk)
        rest = self._rest
        if rest:
            blocks = self._cut(rest, chunk)
        else:
            *blocks, left = chunk.split(b"\n\n")
            rest += left
        self._scanned = len(rest) - 1 if rest else 0
        if len(rest) > self._max:
            raise Malformed(f"The engine sent one event of more than {self._max} bytes (MAX_ANSWER_SIZE).")
        return [frame for block in blocks if (frame := _frame(block))]

    def _cut(self, rest: bytearray, chunk: bytes) -> list[bytes]:
        """The whole events of both, of which the rest is searched no more."""
        rest += chunk
        blocks = []
        start, at = 0, self._scanned
        while (end := rest.find(b"\n\n", at)) >= 0:
            blocks.append(bytes(rest[start:end]))
            start = at = end + 2
        del rest[:start]
        return blocks

    def close(self) -> list[Frame]:
        rest, self._rest, self._scanned = bytes(self._rest), bytearray(), 0
        frame = _frame(rest.strip(b"\n"))
        return [frame] if frame else []

    def _without_bom(self, chunk: bytes) -> bytes:
        # Held back like any other half of something: the three bytes may come one by one.
        held = bytes(self._rest) + chunk
        if held in _HALVES:
            return chunk
        self._first = False
        if held[:3] == _BOM:
            self._rest.clear()
            self._scanned = 0
            return held[3:]
        return chunk

    def _normal(self, chunk: bytes) -> bytes:
        """With LF alone. A CR at the end counts at once; the LF that may follow was half of a CRLF and is dropped."""
        if self._cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._cr = False
        if chunk:
            self._cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _frame(block: bytes) -> Frame | None:
    """One event without its blank line; None if it carries no data (comments, a lone ``event:``, an empty ``data:``).

    An error is one even without data.
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


class SseBlocks:
    """Events of an event stream, ended by an empty line."""

    __slots__ = ("_max", "_rest", "_scanned")

    border: bytes = b"\n\n"
    # As \r?\n\r?\n|\r\r, but searched for ten times as fast, since it begins with a set of letters.
    _BORDER: Final = re.compile(rb"[\r\n](?:(?<=\n)\r?\n|(?<=\r)(?:\n\r?\n|\r))")

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max = max_frame
        self._rest = bytearray()
        self._scanned = 0  # no border before this offset of the rest

    def half(self) -> bytes | None:
        return None if len(self._rest) > MOST_HALF else bytes(self._rest)

    def forget(self) -> None:
        self._rest.clear()
        self._scanned = 0

    def cut(self, chunk: bytes) -> bytes:
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

    def split(self, whole: bytes) -> list[bytes]:
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
            blocks.append(whole[start:])  # one line end more than it takes
        return blocks

    def close(self) -> bytes:
        rest, self._rest, self._scanned = bytes(self._rest), bytearray(), 0
        return rest

    def frame(self, block: bytes) -> Frame | None:
        if _CR in block:
            block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return _frame(block.removeprefix(_BOM).strip(b"\n"))


def sse(value: Json | bytes, event: str = "") -> bytes:
    """One server-sent event; ``value`` is JSON, or bytes that are sent as they are."""
    data = value if isinstance(value, bytes) else dump_bytes(value)
    name = f"event: {event}\n".encode() if event else b""
    return b"%bdata: %b\n\n" % (name, data)
