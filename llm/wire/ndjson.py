"""JSON lines: bytes in any chunking to whole lines."""

from __future__ import annotations

from typing import Final

from llm.errors import Malformed
from llm.wire.frames import MAX_FRAME, MOST_HALF, Frame
from llm.wire.json_codec import Json, dump_bytes


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

    border: bytes = b"\n"

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
