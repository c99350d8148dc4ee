"""What requests and answers of HTTP/1.1 have in common: their headers, and a body by its length or in chunks; no IO.

Wire: https://www.rfc-editor.org/rfc/rfc9112
Strict about lengths and framing, since both meet the outside. Refused are a length beside chunks, lengths that differ,
transfer encodings other than ``chunked``, chunks without their size or line end, line ends other than CRLF, and folded
headers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, ItemsView, Iterator, Mapping
from typing import Any, ClassVar, Final, TypeAlias

from llm.errors import LLMError

MAX_LINE: Final = 4 * 1024  # bytes, of a chunk's size with its extensions, and of one trailer

# All lines of headers, less the last line end.
HEADERS: Final = re.compile(r"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*(?:\r\n|\Z))*")
LONE_LF: Final = re.compile(rb"(?<!\r)\n")
_LINE: Final = re.compile(r"([^:]+):([^\r]*)(?:\r\n)?")  # of such headers
_LENGTH: Final = re.compile(r"[0-9]{1,15}")

# Reads at an offset and returns the next one, or -1 if it needs more bytes than there are. A plain function and not a
# bound method, which would tie each parser into a cycle that only the garbage collector can free.
Step: TypeAlias = "Callable[[Any, bytes, int, list[bytes]], int]"


class Headers(Mapping[str, str]):
    """Headers by their names, in any case. It has a fifth of the weight of Tornado's, and every open stream two."""

    __slots__ = ("_values",)

    def __init__(self, lines: str = "") -> None:
        """``lines`` as they came, less the last line end. Raises ``ValueError``."""
        if not HEADERS.fullmatch(lines):
            raise ValueError("no headers")
        self._values: dict[str, str] = {}
        for name, value in _LINE.findall(lines):
            low, value = name.lower(), value.strip(" \t")
            self._values[low] = f"{self._values[low]},{value}" if low in self._values else value

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def items(self) -> ItemsView[str, str]:
        """The names are in small letters."""
        return self._values.items()

    def get(self, name: str, default: Any = None) -> Any:
        return self._values.get(name.lower(), default)


class Message:
    """One message. ``feed`` takes its bytes as they come."""

    SENDER: ClassVar[str]  # who is at fault, as a sentence about it begins
    FAULT: ClassVar[type[LLMError]]
    SIZE: ClassVar[re.Pattern[bytes]]  # of a chunk, in its first group
    MAX_TRAILERS: ClassVar[int]  # bytes

    __slots__ = ("complete", "headers", "keep", "left", "rest", "step")

    headers: Headers

    def __init__(self, step: Step) -> None:
        self.complete = False  # it ended where its framing says
        self.keep = False  # its sender did not ask to close the connection
        self.rest = b""  # of a line that is not whole yet; of a complete message, what followed it
        self.left = 0  # bytes to come of the body or chunk; of trailers, those that came
        self.step = step

    def feed(self, data: bytes, payload: list[bytes]) -> None:
        """Appends to ``payload`` what ``data`` brings of the body. Raises ``FAULT``, after what was sound."""
        if self.rest:
            data, self.rest = self.rest + data, b""
        at, end = 0, len(data)
        while at < end and not self.complete:
            after = self.step(self, data, at, payload)
            if after < 0:
                break
            at = after
        if at < end:
            self.rest = data[at:]

    def fault(self, what: str) -> LLMError:
        return self.FAULT(f"{self.SENDER} {what}.")

    def read_framing(self, headers: Headers, modern: bool) -> tuple[bool, int | None]:
        """Whether the body comes in chunks, and its length if that was told (RFC 9112, section 6.3)."""
        self.keep = modern
        if (connection := headers.get("Connection")) is not None:
            options = {option.strip().lower() for option in connection.split(",")}
            self.keep = "close" not in options and (modern or "keep-alive" in options)
        encoding, told = headers.get("Transfer-Encoding"), headers.get("Content-Length")
        if encoding is not None and (told is not None or not modern or encoding.strip().lower() != "chunked"):
            raise self.fault("framed a body in a way that cannot be trusted")
        if told is None:
            return encoding is not None, None
        lengths = {length.strip() for length in told.split(",")} if "," in told else {told}
        if len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
            raise self.fault("gave a body a length that cannot be")
        return False, int(lengths.pop())

    def read_length(self, data: bytes, at: int, payload: list[bytes]) -> int:
        after = self._take(data, at, payload)
        self.complete = self.left == 0
        return after

    def read_chunk_size(self, data: bytes, at: int, payload: list[bytes]) -> int:
        end = self._line_end(data, at, "chunk")
        if end < 0:
            return -1
        match = self.SIZE.fullmatch(data, at, end)
        if match is None:
            raise self.fault("sent a chunk without its size")
        size, start = int(match[1], 16), end + 2
        if not size:
            self.step = Message._trailers
        elif data[start + size : start + size + 2] == b"\r\n":  # all of it is here, as it nearly always is
            payload.append(data[start : start + size])
            return start + size + 2
        else:
            self.step = Message._chunk
        self.left = size
        return start

    def _chunk(self, data: bytes, at: int, payload: list[bytes]) -> int:
        after = self._take(data, at, payload)
        if not self.left:
            self.step = Message._chunk_end
        return after

    def _chunk_end(self, data: bytes, at: int, payload: list[bytes]) -> int:
        if not b"\r\n".startswith(data[at : at + 2]):
            raise self.fault("sent a chunk of another size than it said")
        if len(data) < at + 2:
            return -1
        self.step = Message.read_chunk_size
        return at + 2

    def _trailers(self, data: bytes, at: int, payload: list[bytes]) -> int:
        end = self._line_end(data, at, "trailer")
        if end < 0:
            return -1
        self.left += end - at
        if self.left > self.MAX_TRAILERS:
            raise self.fault("sent trailers that are too large")
        self.complete = end == at
        return end + 2

    def _take(self, data: bytes, at: int, payload: list[bytes]) -> int:
        after = min(at + self.left, len(data))
        payload.append(data[at:after])
        self.left -= after - at
        return after

    def _line_end(self, data: bytes, at: int, what: str) -> int:
        end = data.find(b"\r\n", at, at + MAX_LINE + 2)
        if end >= 0:
            broken = data.find(b"\n", at, end) >= 0  # as it is seen where the line comes in pieces
        else:
            broken = len(data) - at > MAX_LINE or LONE_LF.search(data, at) is not None
        if broken:
            raise self.fault(f"sent a {what} whose line does not end")
        return end
