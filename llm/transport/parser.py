"""HTTP/1.1 answers from bytes in any pieces: no IO, and strict about lengths and framing, since it meets the outside.

Wire: https://www.rfc-editor.org/rfc/rfc9112
Chunk extensions and trailers are accepted and dropped. Refused are a length beside chunks, lengths that differ,
transfer encodings other than ``chunked``, chunks without their size or line end, line ends other than CRLF, folded
headers, heads over 64 KB, more than ten interim answers and ``101``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

from tornado.httputil import HTTPHeaders, HTTPInputError

from llm.errors import Malformed

MAX_HEAD: Final = 64 * 1024  # bytes, of a head, and of all trailers
MAX_LINE: Final = 4 * 1024  # bytes, of a chunk's size with its extensions, and of one trailer
MAX_INTERIM: Final = 10  # 1xx answers before the real one

_VERSION: Final = b"HTTP/1."
_STATUS: Final = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?")
_LENGTH: Final = re.compile(r"[0-9]{1,15}")
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?")
_LONE_LF: Final = re.compile(rb"(?<!\r)\n")

# Reads at an offset and returns the next one, or -1 if it needs more bytes than there are. A plain function and not a
# bound method, which would tie each parser into a cycle that only the garbage collector can free.
_Step: TypeAlias = "Callable[[ResponseParser, bytes, int, list[bytes]], int]"


class ResponseParser:
    """One answer. ``feed`` takes its bytes as they come, ``eof`` says that there are no more."""

    __slots__ = ("_interim", "_left", "_method", "_rest", "_step", "complete", "excess", "headers", "keep", "status")

    def __init__(self, method: str) -> None:
        self.status = 0  # 0 until the head is in
        self.headers = HTTPHeaders()
        self.complete = False  # the answer ended where its framing says
        self.keep = False  # neither side of this answer asked to close the connection
        self.excess = False  # something followed the answer: whatever it was, the connection is out of step
        self._method = method
        self._rest = b""  # of a line that is not whole yet
        self._left = 0  # bytes to come of the body or chunk; of trailers, those that came
        self._interim = 0
        self._step: _Step = ResponseParser._head

    def feed(self, data: bytes, payload: list[bytes]) -> None:
        """Appends to ``payload`` what ``data`` brings of the body. Raises ``Malformed``, after what was sound."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        at = 0
        while at < len(data) and not self.complete:
            after = self._step(self, data, at, payload)
            if after < 0:
                self._rest = data[at:]
                return
            at = after
        if at < len(data):
            self.excess = True

    def alone(self, data: bytes) -> bytes:
        """What one chunk carries, where ``data`` is that and nothing else, as most of what streams is; else nothing,
        and ``data`` is for :meth:`feed`.
        """
        if self._step is not ResponseParser._chunk_size or self._rest:
            return b""
        end = data.find(b"\r\n", 0, 16)
        if data[:end] != b"%x" % max(len(data) - end - 4, 0) or not data.endswith(b"\r\n"):
            return b""
        return data[end + 2 : -2]

    def eof(self) -> bool:
        """The other side has closed. Returns whether the answer is whole."""
        if self._step is ResponseParser._until_close:
            self.complete = True
        return self.complete

    def _head(self, data: bytes, at: int, payload: list[bytes]) -> int:
        end = data.find(b"\r\n\r\n", at)
        seen = end if end >= 0 else len(data)
        if seen - at > MAX_HEAD:
            raise Malformed("The provider sent headers that are too large.")
        if not _VERSION.startswith(data[at : at + len(_VERSION)]) or _LONE_LF.search(data, at, seen):
            raise Malformed("The provider does not speak HTTP/1.1.")
        if end < 0:
            return -1
        first, *lines = data[at:end].decode("latin-1").split("\r\n")
        match = _STATUS.fullmatch(first)
        if match is None:
            raise Malformed("The provider does not speak HTTP/1.1.")
        headers = _headers(lines)
        status = int(match[2])
        if status < 200:
            self._interim += 1
            if status == 101 or self._interim > MAX_INTERIM:
                raise Malformed("The provider sent interim answers that nobody asked for.")
        else:
            self._frame(status, headers, modern=match[1] == "1")
            self.status, self.headers = status, headers
        return end + 4

    def _frame(self, status: int, headers: HTTPHeaders, modern: bool) -> None:
        """How the body ends (RFC 9112, section 6.3)."""
        options = {option.strip().lower() for option in headers.get("Connection", "").split(",")}
        self.keep = "close" not in options and (modern or "keep-alive" in options)
        encoding = headers.get("Transfer-Encoding")
        told = headers.get("Content-Length")
        lengths = set() if told is None else {length.strip() for length in told.split(",")}
        if encoding is not None and (lengths or not modern or encoding.strip().lower() != "chunked"):
            raise Malformed("The provider framed its answer in a way that cannot be trusted.")
        if len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
            raise Malformed("The provider gave its answer a length that cannot be.")
        if self._method == "HEAD" or status in (204, 304):
            self.complete = True
        elif encoding is not None:
            self._step = ResponseParser._chunk_size
        elif lengths:
            self._left = int(lengths.pop())
            self.complete = self._left == 0
            self._step = ResponseParser._length
        else:
            self.keep = False
            self._step = ResponseParser._until_close

    def _length(self, data: bytes, at: int, payload: list[bytes]) -> int:
        after = self._take(data, at, payload)
        self.complete = self._left == 0
        return after

    def _until_close(self, data: bytes, at: int, payload: list[bytes]) -> int:
        payload.append(data[at:])
        return len(data)

    def _chunk_size(self, data: bytes, at: int, payload: list[bytes]) -> int:
        end = _line_end(data, at, "chunk")
        if end < 0:
            return -1
        match = _SIZE.fullmatch(data, at, end)
        if match is None:
            raise Malformed("The provider sent a chunk without its size.")
        size, start = int(match[1], 16), end + 2
        if not size:
            self._step = ResponseParser._trailers
        elif data[start + size : start + size + 2] == b"\r\n":  # all of it is here, as it nearly always is
            payload.append(data[start : start + size])
            return start + size + 2
        else:
            self._step = ResponseParser._chunk
        self._left = size
        return start

    def _chunk(self, data: bytes, at: int, payload: list[bytes]) -> int:
        after = self._take(data, at, payload)
        if not self._left:
            self._step = ResponseParser._chunk_end
        return after

    def _chunk_end(self, data: bytes, at: int, payload: list[bytes]) -> int:
        if not b"\r\n".startswith(data[at : at + 2]):
            raise Malformed("The provider sent a chunk of another size than it said.")
        if len(data) < at + 2:
            return -1
        self._step = ResponseParser._chunk_size
        return at + 2

    def _trailers(self, data: bytes, at: int, payload: list[bytes]) -> int:
        end = _line_end(data, at, "trailer")
        if end < 0:
            return -1
        self._left += end - at
        if self._left > MAX_HEAD:
            raise Malformed("The provider sent trailers that are too large.")
        self.complete = end == at
        return end + 2

    def _take(self, data: bytes, at: int, payload: list[bytes]) -> int:
        after = min(at + self._left, len(data))
        payload.append(data[at:after])
        self._left -= after - at
        return after


def _line_end(data: bytes, at: int, what: str) -> int:
    end = data.find(b"\r\n", at, at + MAX_LINE + 2)
    if end >= 0:
        broken = data.find(b"\n", at, end) >= 0  # as it is seen where the line comes in pieces
    else:
        broken = len(data) - at > MAX_LINE or _LONE_LF.search(data, at) is not None
    if broken:
        raise Malformed(f"The provider sent a {what} whose line does not end.")
    return end


def _headers(lines: list[str]) -> HTTPHeaders:
    """Tornado's own ``parse`` would take a lone LF for a line end, and a missing colon at the end for nothing."""
    headers = HTTPHeaders()
    try:
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise HTTPInputError("no colon")
            headers.add(name, value.strip(" \t"))
    except HTTPInputError:
        raise Malformed("The provider sent headers that cannot be read.") from None
    return headers
