"""The parser base of HTTP/1.1 requests and responses: headers, and bodies by length or in chunks. No IO.

Wire: https://www.rfc-editor.org/rfc/rfc9112
Strict about framing, because both sides are untrusted. Refused are a length together with chunks, different lengths,
transfer encodings other than ``chunked``, chunks without size or line end, line ends other than CRLF, and (in requests)
folded headers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, ItemsView, Iterator, Mapping
from typing import Any, ClassVar, Final, TypeAlias

from llm.errors import LLMError

CHUNK_SIZES: Final = tuple(b"%x\r\n" % size for size in range(512))  # the size lines of small chunks, by size
MAX_LINE: Final = 4 * 1024  # bytes of a chunk size line with its extensions, and of one trailer
_MAX_SIZE_DIGITS: Final = 15  # of a chunk size; a longer line has an extension

# All header lines, without the last line end.
HEADER_LINES: Final = re.compile(r"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*(?:\r\n|\Z))*")
LONE_LF: Final = re.compile(rb"(?<!\r)\n")
_LINE: Final = re.compile(r"([^:]+):([^\r]*)(?:\r\n)?")  # one such line
# Names in lower case that nearly all messages have, by their two usual spellings: an open stream holds some of them.
_COMMON_NAMES: Final = {
    spelling: name
    for name in (
        "accept", "accept-encoding", "authorization", "cache-control", "connection", "content-encoding",
        "content-length", "content-type", "date", "host", "server", "transfer-encoding", "user-agent", "vary",
    )
    for spelling in (name, name.title())
}  # fmt: skip
_LENGTH: Final = re.compile(r"[0-9]{1,15}")

# Parses at an offset; returns the next offset, or -1 if it needs more bytes. A plain function: a bound method would put
# each parser into a reference cycle, which only the garbage collector can free.
Step: TypeAlias = "Callable[[Any, bytes, int, list[bytes]], int]"


class Headers(Mapping[str, str]):
    """Header values by case-insensitive name. Needs a fifth of the memory of Tornado's class (two per stream)."""

    __slots__ = ("by_lower_name",)

    def __init__(self, lines: str = "") -> None:
        """Parses header lines without the last line end. Raises ``ValueError`` for invalid ones."""
        if not HEADER_LINES.fullmatch(lines):
            raise ValueError("invalid headers")
        values: dict[str, str] = {}
        self.by_lower_name = values  # for lookups that cost no call
        for name, value in _LINE.findall(lines):
            key, value = _COMMON_NAMES.get(name) or name.lower(), value.strip(" \t")
            values[key] = f"{values[key]},{value}" if key in values else value

    def __getitem__(self, name: str) -> str:
        return self.by_lower_name[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self.by_lower_name

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_lower_name)

    def __len__(self) -> int:
        return len(self.by_lower_name)

    def items(self) -> ItemsView[str, str]:
        """Returns the headers with their names in lower case."""
        return self.by_lower_name.items()

    def replace(self, name: str, value: str) -> Headers:
        """Returns the same headers with another value of one of them."""
        changed = Headers()
        changed.by_lower_name = {**self.by_lower_name, name.lower(): value}
        return changed

    def get(self, name: str, default: Any = None) -> Any:
        """Returns the value of a header, of equal names joined by commas."""
        return self.by_lower_name.get(name.lower(), default)


class MessageParser:
    """Parses one message from bytes in any pieces. A subclass parses the head and sets ``step`` for the body."""

    SENDER: ClassVar[str]  # the subject of error messages
    ERROR: ClassVar[type[LLMError]]  # raised for an invalid message
    CHUNK_SIZE: ClassVar[re.Pattern[bytes]]  # matches a chunk size line; group 1 is the size
    TRAILER: ClassVar[re.Pattern[bytes]]  # matches the line of a trailer
    MAX_TRAILERS: ClassVar[int]  # bytes

    __slots__ = ("complete", "headers", "keep_alive", "remaining", "step", "unparsed")

    headers: Headers

    def __init__(self, step: Step) -> None:
        self.complete = False  # the whole message was parsed
        self.keep_alive = False  # the sender keeps the connection open for another message
        self.unparsed = b""  # an incomplete line; after a complete message, the bytes behind it
        self.remaining = 0  # bytes missing of the body or chunk; in trailers, the bytes parsed so far
        self.step = step

    def feed(self, data: bytes, payload: list[bytes]) -> None:
        """Parses ``data`` and appends the bytes of the body to ``payload``.

        Raises ``ERROR`` for an invalid message, after it has appended the valid bytes before.
        """
        if self.unparsed:
            data, self.unparsed = self.unparsed + data, b""
        at, end = 0, len(data)
        while at < end and not self.complete:
            after = self.step(self, data, at, payload)
            if after < 0:
                break
            at = after
        if at < end:
            self.unparsed = data[at:]

    def make_error(self, problem: str) -> LLMError:
        """Returns the error for an invalid message: the sender, then ``problem``."""
        return self.ERROR(f"{self.SENDER} {problem}.")

    def read_framing(self, headers: Headers, is_http11: bool) -> tuple[bool, int | None]:
        """Returns whether the body is chunked, and its length if known; sets ``keep_alive`` (RFC 9112, section 6.3)."""
        self.keep_alive = is_http11
        values = headers.by_lower_name
        if (connection := values.get("connection")) is not None:
            options = {option.strip().lower() for option in connection.split(",")}
            self.keep_alive = "close" not in options and (is_http11 or "keep-alive" in options)
        encoding, length = values.get("transfer-encoding"), values.get("content-length")
        if encoding is not None and (length is not None or not is_http11 or encoding.strip().lower() != "chunked"):
            raise self.make_error("sent a body with ambiguous or unsupported Transfer-Encoding")
        if length is None:
            return encoding is not None, None
        lengths = {value.strip() for value in length.split(",")} if "," in length else {length}
        if len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
            raise self.make_error("sent an invalid Content-Length")
        return False, int(lengths.pop())

    def read_sized_body(self, data: bytes, at: int, payload: list[bytes]) -> int:
        """The step that parses a body by its length."""
        piece = data[at : at + self.remaining]
        payload.append(piece)
        self.remaining -= len(piece)
        self.complete = not self.remaining
        return at + len(piece)

    def read_chunk_size(self, data: bytes, at: int, payload: list[bytes]) -> int:
        """The step that parses a chunk size, and the chunk too if it is complete, and those after it."""
        begin = at
        while (end := data.find(b"\r\n", at, at + MAX_LINE + 2)) >= 0:
            match = self.CHUNK_SIZE.fullmatch(data, at, end)
            if match is None:
                break
            if end - at > _MAX_SIZE_DIGITS:
                self.count_extension(end - at)
            size, start = int(match[1], 16), end + 2
            behind = start + size
            if not size or data[behind : behind + 2] != b"\r\n":
                self.remaining = size
                self.step = MessageParser._read_chunk if size else MessageParser._read_trailers
                return start
            payload.append(data[start:behind])  # the chunk is complete, as nearly always
            at = behind + 2
        if at > begin:
            return at
        if self._find_line_end(data, at, "chunk") >= 0:
            raise self.make_error("sent a chunk without a valid size")
        return -1

    def count_extension(self, size: int) -> None:
        """Is called for each chunk size line with an extension, of ``size`` bytes. Raises ``ERROR`` for too many."""

    def _read_chunk(self, data: bytes, at: int, payload: list[bytes]) -> int:
        piece = data[at : at + self.remaining]
        payload.append(piece)
        self.remaining -= len(piece)
        if not self.remaining:
            self.step = MessageParser._read_chunk_end
        return at + len(piece)

    def _read_chunk_end(self, data: bytes, at: int, payload: list[bytes]) -> int:
        if not b"\r\n".startswith(data[at : at + 2]):
            raise self.make_error("sent a chunk that does not match its size")
        if len(data) < at + 2:
            return -1
        self.step = MessageParser.read_chunk_size
        return at + 2

    def _read_trailers(self, data: bytes, at: int, payload: list[bytes]) -> int:
        if data.startswith(b"\r\n", at):
            self.complete = True
            return at + 2
        end = self._find_line_end(data, at, "trailer")
        if end < 0:
            return -1
        self.remaining += end - at
        if self.remaining > self.MAX_TRAILERS:
            raise self.make_error("sent trailers that are too large")
        if not self.TRAILER.fullmatch(data, at, end):
            raise self.make_error("sent an invalid trailer")
        return end + 2

    def _find_line_end(self, data: bytes, at: int, what: str) -> int:
        end = data.find(b"\r\n", at, at + MAX_LINE + 2)
        if end >= 0:
            invalid = data.find(b"\n", at, end) >= 0  # refused here too, as for a line in pieces
        else:
            invalid = len(data) - at > MAX_LINE or LONE_LF.search(data, at) is not None
        if invalid:
            raise self.make_error(f"sent a {what} line that is too long or does not end with CRLF")
        return end
