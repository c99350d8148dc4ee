"""HTTP/1.1 answers from bytes in any pieces: no IO, strict about lengths and framing, since it meets the outside.

Wire: RFC 9112. Refused: a length beside chunks, unequal lengths, unknown transfer encodings, chunks without their line
end, heads over 64 KB, more than ten interim answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from tornado.httputil import HTTPHeaders, HTTPInputError

from llm.errors import Malformed, Truncated

MAX_HEAD: Final = 64 * 1024  # bytes, of a head, and of the trailers
MAX_LINE: Final = 4 * 1024  # bytes, of a chunk's size with its extensions
MAX_INTERIM: Final = 10  # 1xx answers before the real one

_STATUS: Final = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?")
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")


class ResponseParser:
    """One answer. ``feed`` takes its bytes; ``complete`` says that it ended at its frame's end."""

    __slots__ = (
        "_interim",
        "_left",
        "_method",
        "_rest",
        "_step",
        "complete",
        "excess",
        "headers",
        "keep_alive",
        "status",
    )

    def __init__(self, method: str) -> None:
        self.status = 0  # 0 until the head is in
        self.headers = HTTPHeaders()
        self.complete = False
        self.excess = False  # something followed the answer: the connection cannot be trusted any more
        self.keep_alive = False
        self._method = method
        self._rest = b""
        self._left = 0  # bytes of the current body or chunk
        self._interim = 0
        self._step: Callable[[bytes, int, list[bytes]], int] = self._head

    def feed(self, data: bytes, pieces: list[bytes]) -> None:
        """Appends the payload that ``data`` completes to ``pieces``. Raises ``Malformed``, after what was sound."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        at = 0
        while at < len(data) and not self.complete:
            after = self._step(data, at, pieces)
            if after < 0:  # more is needed
                self._rest = data[at:]
                return
            at = after
        self.excess = self.excess or at < len(data)

    def eof(self) -> None:
        """The connection has ended. Raises ``Truncated`` where that is not how the answer ends."""
        if self._step == self._until_close:
            self.complete = True
        if not self.complete:
            raise Truncated("The provider closed the connection in the middle of its answer.")

    def _head(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        end = data.find(b"\r\n\r\n", at)
        if (end if end >= 0 else len(data)) - at > MAX_HEAD:
            raise Malformed("The provider sent headers that are too large.")
        if end < 0:
            if not b"HTTP/1.".startswith(data[at : at + 7]):
                raise Malformed("The provider does not speak HTTP/1.1.")
            return -1
        line, _, rest = data[at:end].decode("latin-1").partition("\r\n")
        match = _STATUS.fullmatch(line)
        if match is None:
            raise Malformed("The provider does not speak HTTP/1.1.")
        try:
            self.headers = HTTPHeaders.parse(rest)
        except HTTPInputError:
            raise Malformed("The provider sent headers that cannot be read.") from None
        status = int(match[2])
        if status < 200:
            self._interim += 1
            if status == 101 or self._interim > MAX_INTERIM:
                raise Malformed("The provider sent an interim answer that nobody asked for.")
            return end + 4
        self.status = status
        self._frame(match[1] == "1")
        return end + 4

    def _frame(self, modern: bool) -> None:
        """How the body ends."""
        options = {option.strip().lower() for option in self.headers.get("Connection", "").split(",")}
        self.keep_alive = "close" not in options and (modern or "keep-alive" in options)
        encoding = self.headers.get("Transfer-Encoding", "").strip().lower()
        lengths = {length.strip() for length in self.headers.get("Content-Length", "").split(",")} - {""}
        if encoding and ("Content-Length" in self.headers or encoding != "chunked" or not modern):
            raise Malformed("The provider framed its answer in a way that cannot be trusted.")
        if len(lengths) > 1 or any(not re.fullmatch("[0-9]{1,15}", length) for length in lengths):
            raise Malformed("The provider told a length that cannot be.")
        if self._method == "HEAD" or self.status in (204, 304):
            self.complete = True
        elif encoding:
            self._step = self._chunk_size
        elif lengths:
            self._left = int(lengths.pop())
            self._step = self._length
            self.complete = self._left == 0
        else:
            self.keep_alive = False
            self._step = self._until_close

    def _length(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        after = self._take(data, at, pieces)
        self.complete = self._left == 0
        return after

    def _until_close(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        pieces.append(data[at:])
        return len(data)

    def _chunk_size(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        end = data.find(b"\r\n", at)
        if (end if end >= 0 else len(data)) - at > MAX_LINE:
            raise Malformed("The provider sent a chunk without a size.")
        if end < 0:
            return -1
        match = _SIZE.fullmatch(data, at, end)
        if match is None:
            raise Malformed("The provider sent a chunk without a size.")
        self._left = int(match[1], 16)
        self._step = self._chunk if self._left else self._trailers
        return end + 2

    def _chunk(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        after = self._take(data, at, pieces)
        if not self._left:
            self._step = self._chunk_end
        return after

    def _chunk_end(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        if not b"\r\n".startswith(data[at : at + 2]):
            raise Malformed("The provider sent a chunk of another size than it said.")
        if len(data) < at + 2:
            return -1
        self._step = self._chunk_size
        return at + 2

    def _trailers(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        end = data.find(b"\r\n", at)
        if (end if end >= 0 else len(data)) - at > MAX_LINE or self._left > MAX_HEAD:
            raise Malformed("The provider sent trailers that are too large.")
        if end < 0:
            return -1
        self._left += end - at  # counts the trailers now
        self.complete = end == at
        return end + 2

    def _take(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        after = min(at + self._left, len(data))
        pieces.append(data[at:after])
        self._left -= after - at
        return after
