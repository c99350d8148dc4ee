"""HTTP/1.1 requests from bytes in any pieces: no IO, and stricter than the standard asks, since others may read along.

Wire: https://www.rfc-editor.org/rfc/rfc9112
Beside what ``llm.http1.message`` refuses, chunk extensions and trailers are refused too: nobody sends them but who
wants one request to be taken for two. So is a host that is missing, or cannot be one (section 3.2).
"""

from __future__ import annotations

import re
from typing import Final

from tornado.httputil import RequestStartLine

from llm.errors import InvalidRequest, TooLarge
from llm.http1.message import LONE_LF, Headers, Message

# How a request begins, as far as it is there: with a method, or with an empty line as some clients send (section 2.2).
_BEGINNING: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}(?: |\Z)|\r(?:\n|\Z)")
_FIRST_LINE: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e\x80-\xff]+) (HTTP/1\.[01])")
# As Tornado's: a comma, which the standard allows, is how two hosts look after a proxy.
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+;=:\[\]-]|%[0-9A-Fa-f]{2})*")


class RequestParser(Message):
    """One request. Raises ``InvalidRequest``, or ``TooLarge`` for its head."""

    SENDER = "You"
    FAULT = InvalidRequest
    SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})")
    MAX_TRAILERS = 0

    __slots__ = ("_most", "line")

    def __init__(self, max_head: int) -> None:
        super().__init__(RequestParser._head)
        self.line: RequestStartLine | None = None  # None until the head is in
        self._most = max_head  # bytes

    def _head(self, data: bytes, at: int, payload: list[bytes]) -> int:
        if not _BEGINNING.match(data, at):
            raise self.fault("do not speak HTTP/1.1")
        if data[at : at + 2] == b"\r\n":
            self.left = 0
            return at + 2
        end = data.find(b"\r\n\r\n", max(at + self.left - 3, at))
        if not at <= end <= at + self._most:
            return self._endless(data, at, end if end >= 0 else len(data))
        first, _, lines = data[at:end].decode("latin-1").partition("\r\n")
        match = _FIRST_LINE.fullmatch(first)
        if match is None:
            raise self.fault("sent a first line that cannot be read")
        try:
            self.headers = Headers(lines)
        except ValueError:
            raise self.fault("sent headers that cannot be read") from None
        line = RequestStartLine(*match.groups())
        self._frame(line)
        self.line = line
        return end + 4

    def _endless(self, data: bytes, at: int, stop: int) -> int:
        """A head that has no end yet, or is too large. What was looked at before is not looked at again."""
        if LONE_LF.search(data, max(at + self.left - 1, at), min(stop, at + self._most)):
            raise self.fault("sent a line that ends without CR")
        if stop - at > self._most:
            raise TooLarge(f"The headers are larger than {self._most} bytes (MAX_HEADER_SIZE).")
        self.left = len(data) - at
        return -1

    def _frame(self, line: RequestStartLine) -> None:
        """How the body ends."""
        modern = line.version == "HTTP/1.1"
        host = self.headers.get("Host", None if modern else "")
        if host is None or not _HOST.fullmatch(host):
            raise self.fault("named no Host, or one that cannot be")
        chunked, length = self.read_framing(self.headers, modern)
        self.left = length or 0
        if chunked:
            self.step = Message.read_chunk_size
        elif self.left:
            self.step = Message.read_length
        else:
            self.complete = True
