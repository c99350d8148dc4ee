"""HTTP/1.1 requests from bytes in any pieces: no IO, and stricter than the standard asks, since others may read along.

Wire: https://www.rfc-editor.org/rfc/rfc9112
Beside what ``llm.transport.message`` refuses, chunk extensions and trailers are refused too: nobody sends them but who
wants one request to be taken for two.
"""

from __future__ import annotations

import re
from typing import Final

from tornado.httputil import HTTPHeaders, HTTPInputError, RequestStartLine, parse_request_start_line

from llm.errors import InvalidRequest, TooLarge
from llm.transport.message import HEADERS, LONE_LF, Message

_VERSIONS: Final = ("HTTP/1.0", "HTTP/1.1")
# How a request begins, as far as it is there: with a method, or with an empty line as some clients send (section 2.2).
_BEGINNING: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}(?: |\Z)|\r(?:\n|\Z)")


class RequestParser(Message):
    """One request. Raises ``InvalidRequest``, or ``TooLarge`` for its head."""

    SENDER = "You"
    FAULT = InvalidRequest
    SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})")
    MAX_TRAILERS = 0

    __slots__ = ("_most", "line")

    headers: HTTPHeaders

    def __init__(self, max_head: int) -> None:
        super().__init__(RequestParser._head)
        self.line: RequestStartLine | None = None  # None until the head is in
        self._most = max_head  # bytes

    @property
    def rest(self) -> bytes:
        """What followed a request that is complete."""
        return self._rest

    def _head(self, data: bytes, at: int, payload: list[bytes]) -> int:
        seen = at + self._left  # of what was looked at before, nothing is looked at again
        if not _BEGINNING.match(data, at):
            raise self.fault("do not speak HTTP/1.1")
        if data.startswith(b"\r\n", at):
            self._left = 0
            return at + 2
        end = data.find(b"\r\n\r\n", max(seen - 3, at))
        stop = end if end >= 0 else len(data)
        if LONE_LF.search(data, max(seen - 1, at), min(stop, at + self._most)):
            raise self.fault("sent a line that ends without CR")
        if stop - at > self._most:
            raise TooLarge(f"The headers are larger than {self._most} bytes (MAX_HEADER_SIZE).")
        if end < 0:
            self._left = len(data) - at
            return -1
        first, _, lines = data[at:end].decode("latin-1").partition("\r\n")
        try:
            line = parse_request_start_line(first)
        except HTTPInputError:
            raise self.fault("sent a first line that cannot be read") from None
        if line.version not in _VERSIONS:
            raise self.fault("do not speak HTTP/1.1")
        self.headers = self._read_headers(lines)
        self._frame(line)
        self.line = line
        return end + 4

    def _frame(self, line: RequestStartLine) -> None:
        """How the body ends."""
        chunked, length = self._framing(self.headers, modern=line.version == "HTTP/1.1")
        self._left = length or 0
        if chunked:
            self._step = Message._chunk_size
        elif self._left:
            self._step = Message._length
        else:
            self.complete = True

    def _read_headers(self, lines: str) -> HTTPHeaders:
        """As Tornado's ``add`` reads line by line, in half the time."""
        if not HEADERS.fullmatch(lines):
            raise self.fault("sent headers that cannot be read")
        headers, seen = HTTPHeaders(), set()
        for line in lines.split("\r\n") if lines else ():
            name, _, value = line.partition(":")
            value = value.strip(" \t")
            if (low := name.lower()) in seen:
                headers.add(name, value)
            else:
                seen.add(low)
                headers[name] = value
        return headers
