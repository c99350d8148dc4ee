"""HTTP/1.1 answers from bytes in any pieces: no IO, and strict about lengths and framing, since it meets the outside.

Wire: https://www.rfc-editor.org/rfc/rfc9112
Chunk extensions and trailers are accepted and dropped. Refused are, beside what ``message`` refuses, heads over 64 KB,
more than ten interim answers and ``101``.
"""

from __future__ import annotations

import re
from typing import Final

from llm.errors import Malformed
from llm.http1.message import LONE_LF, Headers, Message

MAX_HEAD: Final = 64 * 1024  # bytes, of a head, and of all trailers
MAX_INTERIM: Final = 10  # 1xx answers before the real one

_VERSION: Final = b"HTTP/1."
_STATUS: Final = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?")


_NONE: Final = Headers()


class ResponseParser(Message):
    """One answer. ``feed`` takes its bytes as they come, ``eof`` says that there are no more."""

    SENDER = "The provider"
    FAULT = Malformed
    SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?")
    MAX_TRAILERS = MAX_HEAD

    __slots__ = ("_interim", "_method", "status")

    def __init__(self, method: str) -> None:
        super().__init__(ResponseParser._head)
        self.status = 0  # 0 until the head is in
        self.headers = _NONE
        self._method = method
        self._interim = 0

    @property
    def excess(self) -> bool:
        """Something followed the answer: whatever it was, the connection is out of step."""
        return self.complete and bool(self.rest)

    def alone(self, data: bytes) -> bytes:
        """What one chunk carries, where ``data`` is that and nothing else, as most of what streams is; else nothing,
        and ``data`` is for :meth:`feed`.
        """
        if self.step is not ResponseParser.read_chunk_size or self.rest:
            return b""
        end = data.find(b"\r\n", 0, 16)
        if data[:end] != b"%x" % max(len(data) - end - 4, 0) or not data.endswith(b"\r\n"):
            return b""
        return data[end + 2 : -2]

    def eof(self) -> bool:
        """The other side has closed. Returns whether the answer is whole."""
        if self.step is ResponseParser._until_close:
            self.complete = True
        return self.complete

    def _head(self, data: bytes, at: int, payload: list[bytes]) -> int:
        end = data.find(b"\r\n\r\n", at)
        seen = end if end >= 0 else len(data)
        if seen - at > MAX_HEAD:
            raise self.fault("sent headers that are too large")
        if not _VERSION.startswith(data[at : at + len(_VERSION)]) or LONE_LF.search(data, at, seen):
            raise self.fault("does not speak HTTP/1.1")
        if end < 0:
            return -1
        first, _, lines = data[at:end].decode("latin-1").partition("\r\n")
        match = _STATUS.fullmatch(first)
        if match is None:
            raise self.fault("does not speak HTTP/1.1")
        try:
            headers = Headers(lines)
        except ValueError:
            raise self.fault("sent headers that cannot be read") from None
        status = int(match[2])
        if status < 200:
            self._interim += 1
            if status == 101 or self._interim > MAX_INTERIM:
                raise self.fault("sent interim answers that nobody asked for")
        else:
            self._frame(status, headers, modern=match[1] == "1")
            self.status, self.headers = status, headers
        return end + 4

    def _frame(self, status: int, headers: Headers, modern: bool) -> None:
        """How the body ends."""
        chunked, length = self.read_framing(headers, modern)
        if self._method == "HEAD" or status in (204, 304):
            self.complete = True
        elif chunked:
            self.step = ResponseParser.read_chunk_size
        elif length is not None:
            self.left = length
            self.complete = length == 0
            self.step = ResponseParser.read_length
        else:
            self.keep = False
            self.step = ResponseParser._until_close

    def _until_close(self, data: bytes, at: int, payload: list[bytes]) -> int:
        payload.append(data[at:])
        return len(data)
