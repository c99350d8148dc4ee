"""Parses HTTP/1.1 requests, more strictly than the standard: a proxy in front must not read a request differently.

Wire: https://www.rfc-editor.org/rfc/rfc9112
A missing or invalid Host is refused too (section 3.2). Chunk extensions and trailers are read and dropped, within a
limit (sections 7.1.1 and 7.1.2).
"""

from __future__ import annotations

import re
from typing import Final

from tornado.httputil import RequestStartLine

from llm.errors import InvalidRequest, TooLarge
from llm.http1.message import LONE_LF, Headers, MessageParser

# The first bytes of a request: a method, or an empty line, which some clients send first (section 2.2).
_BEGINNING: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}(?: |\Z)|\r(?:\n|\Z)")
_FIRST_LINE: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e\x80-\xff]+) HTTP/([0-9])\.([0-9])")
# Without the comma that the standard allows in names: a proxy joins two hosts by it.
_HOST: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?")
# The absolute form of a target, which proxies are sent: scheme, host, path and query (section 3.2.2).
_ABSOLUTE: Final = re.compile(r"https?://([^/?#]+)(.*)", re.IGNORECASE)
_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED: Final = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_EXTENSION: Final = rb"[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?" % (_TOKEN, _TOKEN, _QUOTED)
MAX_EXTENSIONS: Final = 16 * 1024  # bytes of all chunk size lines with extensions in one body, and of all trailers


class RequestParser(MessageParser):
    """Parses one request. Raises ``InvalidRequest``, and ``TooLarge`` for a head above ``max_head`` bytes.

    ``refusal_status`` is then the status of the answer, if it is not that of the error.
    """

    SENDER = "You"
    ERROR = InvalidRequest
    CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:%b)*" % _EXTENSION)
    TRAILER = re.compile(rb"%b:[\t\x20-\x7e\x80-\xff]*" % _TOKEN)
    MAX_TRAILERS = MAX_EXTENSIONS

    __slots__ = ("_extensions", "_max_head", "refusal_status", "start_line")

    def __init__(self, max_head: int) -> None:
        super().__init__(RequestParser._read_head)
        self.start_line: RequestStartLine | None = None  # None before the head is complete
        self.refusal_status = 0
        self._max_head = max_head
        self._extensions = 0  # bytes of the chunk size lines with extensions so far

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
        method, target, is_http11 = self._parse_first_line(first)
        try:
            self.headers = Headers(lines)
        except ValueError:
            raise self.make_error("sent invalid headers") from None
        host = self.headers.by_lower_name.get("host", None if is_http11 else "")
        if host is None or not _HOST.fullmatch(host):
            raise self.make_error("sent no valid Host header")
        if target[0] != "/":
            target = self._resolve_target(method, target)
        self._read_body_framing(is_http11)
        self.start_line = RequestStartLine(method, target, "HTTP/1.1" if is_http11 else "HTTP/1.0")
        return end + 4

    def _parse_first_line(self, line: str) -> tuple[str, str, bool]:
        """Returns method, target and whether the version is 1.1, or a higher one of 1.x, which is read as 1.1."""
        match = _FIRST_LINE.fullmatch(line)
        if match is None:
            raise self.make_error("sent an invalid request line")
        method, target, major, minor = match.groups()
        if major != "1":
            self.refusal_status = 505
            raise self.make_error(f"sent a request of HTTP/{major}.{minor}; this server speaks HTTP/1.1")
        return method, target, minor != "0"

    def _resolve_target(self, method: str, target: str) -> str:
        """Returns the path and the query of a target that is no path; the host of an absolute one replaces Host."""
        if target == "*" and method == "OPTIONS":
            return target
        match = _ABSOLUTE.fullmatch(target)
        if match is None or not _HOST.fullmatch(match[1]) or match[1].startswith(":"):
            raise self.make_error("sent an invalid request target")
        self.headers = self.headers.replace("Host", match[1])
        return match[2] if match[2].startswith("/") else f"/{match[2]}"

    def _wait_for_head(self, data: bytes, at: int, stop: int) -> int:
        """Checks the new bytes of an incomplete or too large head, counts them in ``remaining``, and returns -1."""
        if LONE_LF.search(data, max(at + self.remaining - 1, at), min(stop, at + self._max_head)):
            raise self.make_error("sent a header line that does not end with CRLF")
        if stop - at > self._max_head:
            is_line = data.find(b"\r\n", at, at + self._max_head) < 0
            self.refusal_status = 414 if is_line else 431
            if is_line:
                raise TooLarge(f"The request line is longer than {self._max_head} bytes (MAX_HEADER_SIZE).")
            raise TooLarge(f"The headers are larger than {self._max_head} bytes (MAX_HEADER_SIZE).")
        self.remaining = len(data) - at
        return -1

    def _read_body_framing(self, is_http11: bool) -> None:
        if encoding := self.headers.by_lower_name.get("transfer-encoding"):
            codings = [coding.strip().lower() for coding in encoding.split(",")]
            if len(codings) > 1 and "" not in codings and "chunked" not in codings[:-1] and codings[-1] == "chunked":
                self.refusal_status = 501  # a coding below ``chunked``; the body's end would be known (section 6.1)
        chunked, length = self.read_framing(self.headers, is_http11)
        self.remaining = length or 0
        if chunked:
            self.step = MessageParser.read_chunk_size
        elif self.remaining:
            self.step = MessageParser.read_sized_body
        else:
            self.complete = True

    def count_extension(self, size: int) -> None:
        """Refuses a body whose chunk extensions are larger than 16 KB together (section 7.1.1)."""
        self._extensions += size
        if self._extensions > MAX_EXTENSIONS:
            raise self.make_error("sent chunk extensions that are too large")
