"""NDJSON streams: one JSON text per line (https://github.com/ndjson/ndjson-spec)."""

from __future__ import annotations

from typing import Final

from llm.errors import Malformed
from llm.wire.frames import MAX_FRAME, MAX_PENDING, Frame
from llm.wire.json_codec import Json, dump_bytes


class NdjsonSplitter:
    """Cuts an NDJSON stream into its lines without changing a byte; a ``FrameSplitter``."""

    __slots__ = ("_max", "_rest")

    delimiter: bytes = b"\n"

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max = max_frame
        self._rest = bytearray()  # the incomplete last line

    def pending(self) -> bytes | None:
        """Returns the incomplete last line, or None if it is longer than ``MAX_PENDING``."""
        return None if len(self._rest) > MAX_PENDING else bytes(self._rest)

    def discard_pending(self) -> None:
        """Drops the incomplete last line."""
        self._rest.clear()

    def extract_complete(self, chunk: bytes) -> bytes:
        """Returns all complete lines. Raises ``Malformed`` for a line above the size limit."""
        before, border, rest = chunk.rpartition(b"\n")
        whole = b""
        if border:
            whole = bytes(self._rest + before + border)
            self._rest.clear()
        self._rest += rest
        if len(self._rest) > self._max:
            raise Malformed(f"The engine sent one line of more than {self._max} bytes (MAX_ANSWER_SIZE).")
        return whole

    def split_events(self, whole: bytes) -> list[bytes]:
        """Splits complete lines, each with its line end."""
        return [line + b"\n" for line in whole.split(b"\n")[:-1]]

    def close(self) -> bytes:
        """Returns a last line without its line end."""
        rest, self._rest = bytes(self._rest), bytearray()
        return rest

    def decode_frame(self, block: bytes) -> Frame | None:
        """Decodes one line; None if it is blank."""
        line = block.strip()
        return Frame(line.decode("utf-8", "replace")) if line else None


class NdjsonDecoder:
    """Decodes an NDJSON stream into one frame per line; a ``FrameDecoder``. Blank lines are keep-alives."""

    __slots__ = ("_max", "_rest", "_scanned")

    delimiter: bytes = b"\n"

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max = max_frame
        self._rest = bytearray()
        self._scanned = 0  # the rest has no line end before this offset, so that a long line is searched once

    def pending(self) -> bytes | None:
        """Returns the incomplete last line, or None if it is longer than ``MAX_PENDING``."""
        return None if len(self._rest) > MAX_PENDING else bytes(self._rest)

    def discard_pending(self) -> None:
        """Drops the incomplete last line."""
        self._rest.clear()
        self._scanned = 0

    def feed(self, chunk: bytes) -> list[Frame]:
        """Returns the lines that ``chunk`` completes. Raises ``Malformed`` for a line above the size limit."""
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
        return _decode_lines(whole)

    def close(self) -> list[Frame]:
        """Returns a last line without its line end."""
        rest, self._rest, self._scanned = bytes(self._rest), bytearray(), 0
        return _decode_lines(rest)


def _decode_lines(block: bytes) -> list[Frame]:
    return [Frame(line.decode("utf-8", "replace")) for line in block.split(b"\n") if line.strip()]


# Valid unescaped in JSON, but line ends for many clients (Python's ``str.splitlines``). JSON always escapes the other
# characters that are line ends there.
_SEPARATORS: Final = tuple((one.encode(), b"\\u%04x" % ord(one)) for one in "\u0085\u2028\u2029")


def escape_line_separators(raw: bytes) -> bytes:
    """Escapes the line separators in JSON text that some clients treat as line ends; LF stays."""
    if not raw.isascii():
        for separator, escaped in _SEPARATORS:
            raw = raw.replace(separator, escaped)
    return raw


def encode_ndjson_line(value: Json) -> bytes:
    """Encodes ``value`` as one NDJSON line, line end included."""
    return escape_line_separators(dump_bytes(value)) + b"\n"
