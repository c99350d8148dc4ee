"""Parses HTTP/1.1 responses, strictly: the other side is untrusted.

Wire: https://www.rfc-editor.org/rfc/rfc9112
Chunk extensions and trailers are accepted and dropped, folded header lines joined. Besides what ``llm.http1.message``
refuses, heads above 64 KB, more than ten interim responses and ``101`` are refused.
"""

from __future__ import annotations

import re
from typing import Final

from llm.errors import Malformed
from llm.http1.message import CHUNK_SIZES, LONE_LF, Headers, MessageParser

MAX_HEAD: Final = 64 * 1024  # bytes of a head, and of all trailers
MAX_INTERIM: Final = 10  # 1xx responses before the final one

_VERSION: Final = b"HTTP/1."
_STATUS: Final = re.compile(r"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: [^\r\n]*)?")


_FOLD: Final = re.compile(r"[ \t]*\r\n[ \t]+")  # a line that goes on in the next one (section 5.2)
_NO_HEADERS: Final = Headers()


class ResponseParser(MessageParser):
    """Parses one response from bytes in any pieces; ``feed_eof`` marks their end. Raises ``Malformed``."""

    SENDER = "The provider"
    ERROR = Malformed
    CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?")
    TRAILER = re.compile(rb".*", re.DOTALL)
    MAX_TRAILERS = MAX_HEAD

    __slots__ = ("_interim_count", "_method", "status")

    def __init__(self, method: str) -> None:
        super().__init__(ResponseParser._read_head)
        self.status = 0  # 0 before the head is complete
        self.headers = _NO_HEADERS
        self._method = method
        self._interim_count = 0

    @property
    def has_excess(self) -> bool:
        """True if bytes follow the response: the connection cannot be used again."""
        return self.complete and bool(self.unparsed)

    def single_chunk(self, data: bytes) -> bytes:
        """Returns the payload if ``data`` is exactly one HTTP chunk, else ``b""``; then ``data`` has to be fed.

        A shortcut: most reads of a stream are one chunk.
        """
        if self.step is not ResponseParser.read_chunk_size or self.unparsed:
            return b""
        end = data.find(b"\r\n", 0, 16)
        size = len(data) - end - 4
        line = CHUNK_SIZES[size] if 0 < size < len(CHUNK_SIZES) else b"%x\r\n" % size
        if not (data.startswith(line) and data.endswith(b"\r\n")):
            return b""
        return data[end + 2 : -2]

    def feed_eof(self) -> bool:
        """Marks that the other side has closed the connection. Returns whether the response is complete."""
        if self.step is ResponseParser._read_until_close:
            self.complete = True
        return self.complete

    def _read_head(self, data: bytes, at: int, payload: list[bytes]) -> int:
        end = data.find(b"\r\n\r\n", at)
        stop = end if end >= 0 else len(data)
        if stop - at > MAX_HEAD:
            raise self.make_error("sent headers that are too large")
        if not _VERSION.startswith(data[at : at + len(_VERSION)]) or LONE_LF.search(data, at, stop):
            raise self.make_error("sent no HTTP/1.1 response")
        if end < 0:
            return -1
        first, _, lines = data[at:end].decode("latin-1").partition("\r\n")
        match = _STATUS.fullmatch(first)
        if match is None:
            raise self.make_error("sent no HTTP/1.1 response")
        if "\r\n " in lines or "\r\n\t" in lines:
            lines = _FOLD.sub(" ", lines)
        try:
            headers = Headers(lines)
        except ValueError:
            raise self.make_error("sent invalid headers") from None
        status = int(match[2])
        if status < 200:
            self._interim_count += 1
            if status == 101 or self._interim_count > MAX_INTERIM:
                raise self.make_error("sent 101 or too many other interim responses")
        else:
            self._read_body_framing(status, headers, is_http11=match[1] != "0")
            self.status, self.headers = status, headers
        return end + 4

    def _read_body_framing(self, status: int, headers: Headers, is_http11: bool) -> None:
        chunked, length = self.read_framing(headers, is_http11)
        if self._method == "HEAD" or status in (204, 304):
            self.complete = True
        elif chunked:
            self.step = ResponseParser.read_chunk_size
        elif length is not None:
            self.remaining = length
            self.complete = length == 0
            self.step = ResponseParser.read_sized_body
        else:
            self.keep_alive = False
            self.step = ResponseParser._read_until_close

    def _read_until_close(self, data: bytes, at: int, payload: list[bytes]) -> int:
        payload.append(data[at:])
        return len(data)
