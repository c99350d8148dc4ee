"""Parses HTTP/1.1 requests, more strictly than the standard: a proxy in front must not read a request differently.

Wire: https://www.rfc-editor.org/rfc/rfc9112
Besides what ``llm.http1.message`` refuses, chunk extensions and trailers are refused: requests have them only for
request smuggling (X2). So is a missing or invalid Host (section 3.2).
"""

from __future__ import annotations

import re
from typing import Final

from tornado.httputil import RequestStartLine

from llm.errors import InvalidRequest, TooLarge
from llm.http1.message import LONE_LF, Headers, MessageParser

# The first bytes of a request: a method, or an empty line, which some clients send first (section 2.2).
_BEGINNING: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}(?: |\Z)|\r(?:\n|\Z)")
_FIRST_LINE: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e\x80-\xff]+) (HTTP/1\.[01])")
# As in Tornado. Without the comma that the standard allows: a proxy joins two hosts by it.
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+;=:\[\]-]|%[0-9A-Fa-f]{2})*")


class RequestParser(MessageParser):
    """Parses one request. Raises ``InvalidRequest``, and ``TooLarge`` for a head above ``max_head`` bytes."""

    SENDER = "You"
    ERROR = InvalidRequest
    CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})")
    MAX_TRAILERS = 0

    __slots__ = ("_max_head", "start_line")

    def __init__(self, max_head: int) -> None:
        super().__init__(RequestParser._read_head)
        self.start_line: RequestStartLine | None = None  # None before the head is complete
        self._max_head = max_head

    def _read_head(self, data: bytes, at: int, payload: list[bytes]) -> int:
        if not _BEGINNING.match(data, at):
            raise self.make_error("sent no HTTP/1.1 request")
        if data[at : at + 2] == b"\r\n":
            self.remaining = 0
            return at + 2
        end = data.find(b"\r\n\r\n", max(at + self.remaining - 3, at))
        if not at <= end <= at + self._max_head:
            return self._wait_for_head(data, at, end if end >= 0 else len(data))
        first, _, lines = data[at:end].decode("latin-1").partition("\r\n")
        match = _FIRST_LINE.fullmatch(first)
        if match is None:
            raise self.make_error("sent an invalid request line")
        try:
            self.headers = Headers(lines)
        except ValueError:
            raise self.make_error("sent invalid headers") from None
        line = RequestStartLine(*match.groups())
        self._read_body_framing(line)
        self.start_line = line
        return end + 4

    def _wait_for_head(self, data: bytes, at: int, stop: int) -> int:
        """Checks the new bytes of an incomplete or too large head, counts them in ``remaining``, and returns -1."""
        if LONE_LF.search(data, max(at + self.remaining - 1, at), min(stop, at + self._max_head)):
            raise self.make_error("sent a header line that does not end with CRLF")
        if stop - at > self._max_head:
            raise TooLarge(f"The headers are larger than {self._max_head} bytes (MAX_HEADER_SIZE).")
        self.remaining = len(data) - at
        return -1

    def _read_body_framing(self, line: RequestStartLine) -> None:
        is_http11 = line.version == "HTTP/1.1"
        host = self.headers.get("Host", None if is_http11 else "")
        if host is None or not _HOST.fullmatch(host):
            raise self.make_error("sent no valid Host header")
        chunked, length = self.read_framing(self.headers, is_http11)
        self.remaining = length or 0
        if chunked:
            self.step = MessageParser.read_chunk_size
        elif self.remaining:
            self.step = MessageParser.read_sized_body
        else:
            self.complete = True
