"""Bytes in any chunking to whole frames: server-sent events and JSON lines.

A frame is never looked at before it is whole, so a chunk border inside a UTF-8 character or between CR and LF cannot
be seen from outside (S9).

Wire: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, Protocol

from llm.codec import dump_bytes
from llm.errors import Malformed
from llm.opaque import Json

# As numbers: bytes are looked for at five times the price, since ``in`` takes them for a number first and fails.
_LF: Final = 0x0A
_CR: Final = 0x0D
_BOM: Final = b"\xef\xbb\xbf"
_HALVES: Final = (_BOM[:1], _BOM[:2])
MOST_HALF: Final = 16 * 1024  # bytes of half an event that are worth a second look
MAX_FRAME: Final = 64 * 1024 * 1024  # bytes; a generated image comes in one event


class Frame(NamedTuple):
    data: str
    event: str = ""  # the SSE event name, where the wire gives one


class Framing(Protocol):
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


class Sse:
    """Decodes an event stream: LF, CRLF or CR, comments, events that no blank line ends."""

    __slots__ = ("_cr", "_first", "_max", "_rest", "_scanned")

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


class LineBlocks:
    """The same for lines."""

    __slots__ = ("_max", "_rest")

    border: bytes = b"\n"

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max = max_frame
        self._rest = bytearray()  # of a line, without its end

    def half(self) -> bytes | None:
        return None if len(self._rest) > MOST_HALF else bytes(self._rest)

    def forget(self) -> None:
        self._rest.clear()

    def cut(self, chunk: bytes) -> bytes:
        before, border, rest = chunk.rpartition(b"\n")
        whole = b""
        if border:
            whole = bytes(self._rest + before + border)
            self._rest.clear()
        self._rest += rest
        if len(self._rest) > self._max:
            raise Malformed(f"The engine sent one line of more than {self._max} bytes (MAX_ANSWER_SIZE).")
        return whole

    def split(self, whole: bytes) -> list[bytes]:
        return [line + b"\n" for line in whole.split(b"\n")[:-1]]

    def close(self) -> bytes:
        rest, self._rest = bytes(self._rest), bytearray()
        return rest

    def frame(self, block: bytes) -> Frame | None:
        line = block.strip()
        return Frame(line.decode("utf-8", "replace")) if line else None


class JsonLines:
    """Decodes one JSON text a line; empty lines are keep-alives."""

    __slots__ = ("_max", "_rest", "_scanned")

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max = max_frame
        self._rest = bytearray()
        self._scanned = 0

    def half(self) -> bytes | None:
        return None if len(self._rest) > MOST_HALF else bytes(self._rest)

    def forget(self) -> None:
        self._rest.clear()
        self._scanned = 0

    def feed(self, chunk: bytes) -> list[Frame]:
        rest = self._rest
        rest += chunk
        end = rest.rfind(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(rest)
            if len(rest) > self._max:
                raise Malformed(f"The engine sent one line of more than {self._max} bytes (MAX_ANSWER_SIZE).")
            return []
        whole, self._rest = bytes(rest[:end]), rest[end + 1 :]
        self._scanned = len(self._rest)
        return _lines(whole)

    def close(self) -> list[Frame]:
        rest, self._rest, self._scanned = bytes(self._rest), bytearray(), 0
        return _lines(rest)


def _lines(block: bytes) -> list[Frame]:
    return [Frame(line.decode("utf-8", "replace")) for line in block.split(b"\n") if line.strip()]


def sse(value: Json | bytes, event: str = "") -> bytes:
    """One server-sent event; ``value`` is JSON, or bytes that are sent as they are."""
    data = value if isinstance(value, bytes) else dump_bytes(value)
    name = f"event: {event}\n".encode() if event else b""
    return b"%bdata: %b\n\n" % (name, data)


# JSON may have these as they are, and many a client takes them for line ends (Python's ``str.splitlines``). The other
# characters that do so JSON escapes anyway.
_SEPARATORS: Final = tuple((one.encode(), b"\\u%04x" % ord(one)) for one in "\u0085\u2028\u2029")


def one_line(raw: bytes) -> bytes:
    """JSON without a character that anyone takes for a line end, but for the LF that may be behind it."""
    if not raw.isascii():
        for separator, escaped in _SEPARATORS:
            raw = raw.replace(separator, escaped)
    return raw


def json_line(value: Json) -> bytes:
    return one_line(dump_bytes(value)) + b"\n"
