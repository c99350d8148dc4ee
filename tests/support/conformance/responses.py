"""Odd responses of a provider, with what is right (RFC 9110 and 9112)."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from typing import Final

from tests.support.conformance.case import Outcome, matches

OPEN, CLOSE, RESET = "open", "close", "reset"


@dataclass(frozen=True, slots=True)
class ResponseCase:
    """A response and what is right.

    ``right``: as for a request; ``kept`` means that the next request uses the same connection, ``error`` that the
    request fails and the next one is answered on another connection.
    """

    name: str
    section: str
    answer: bytes
    right: str
    body: bytes | None = b"hello"
    then: str = OPEN  # what becomes of the connection behind the answer
    later: bytes = b""  # is sent when the answer was read
    method: str = "POST"
    early: bool = False  # the answer is sent before the body of the request, which is large, is read

    def judge(self, outcome: Outcome) -> bool:
        """Returns whether an outcome is right."""
        if not any(matches(text.split(), outcome) for text in self.right.split(" or ")):
            return False
        return not outcome.statuses or self.body is None or outcome.bodies[-1] == self.body


def _answer(*lines: str, first: str = "HTTP/1.1 200 OK", body: bytes = b"hello") -> bytes:
    return "\r\n".join([first, *lines, "", ""]).encode("latin-1") + body


def _first(name: str, line: str, right: str, section: str = "9112 4") -> ResponseCase:
    return ResponseCase(f"status line {name}", section, _answer("Content-Length: 5", first=line), right)


_LENGTH: Final = _answer("Content-Length: 5")
_EITHER: Final = "200 * or error"
STATUS_LINES: Final = (
    _first("as usual", "HTTP/1.1 200 OK", "200 *"),
    _first("with an empty reason", "HTTP/1.1 200 ", "200 *"),
    _first("without a reason", "HTTP/1.1 200", _EITHER),
    _first("with a reason beyond ASCII", "HTTP/1.1 200 d'accord \xe9", "200 *"),
    _first("of HTTP/1.2", "HTTP/1.2 200 OK", "200 *", "9110 2.5"),
    _first("of HTTP/2.0", "HTTP/2.0 200 OK", "error", "9112 2.3"),
    _first("in small letters", "http/1.1 200 OK", "error", "9112 2.3"),
    _first("with a long version", "HTTP/1.11 200 OK", "error", "9112 2.3"),
    _first("with two digits", "HTTP/1.1 20 OK", "error"),
    _first("with four digits", "HTTP/1.1 2000 OK", "error"),
    _first("with no number", "HTTP/1.1 OK", "error"),
    _first("with a sign", "HTTP/1.1 +20 OK", "error"),
    _first("with an unknown status", "HTTP/1.1 299 Fine", "299 *", "9110 15"),
    _first("with a status above 599", "HTTP/1.1 600 Odd", "600 * or error", "9110 15"),
    _first("with two blanks", "HTTP/1.1  200 OK", _EITHER),
    _first("with tabs", "HTTP/1.1\t200\tOK", _EITHER),
    _first("after an empty line", "\r\nHTTP/1.1 200 OK", _EITHER, "9112 2.2"),
    ResponseCase("a response that is text", "9112 4", b"hello\r\n\r\n", "error", then=CLOSE),
    ResponseCase("a response of other bytes", "9112 4", b"\x15\x03\x03\x00\x02\x02\x46", "error", then=CLOSE),
)


def _interim(name: str, before: bytes, right: str = "200 *", section: str = "9110 15.2") -> ResponseCase:
    return ResponseCase(f"interim {name}", section, before + _LENGTH, right)


_100: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
INTERIM: Final = (
    _interim("100", _100),
    _interim("102", b"HTTP/1.1 102 Processing\r\n\r\n"),
    _interim("103 with headers", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
    _interim("three", _100 * 3),
    _interim("five hundred", _100 * 500, _EITHER),
    _interim("with a length", b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n", _EITHER, "9112 6.3"),
    ResponseCase("interim 100, then the end", "9112 8", _100, "error", then=CLOSE),
    ResponseCase(
        "interim 101 that nobody asked for", "9110 7.8", b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", "error or 101 closed", body=None, then=CLOSE
    ),
)  # fmt: skip


def _length(name: str, value: str, right: str, section: str = "9112 6.3") -> ResponseCase:
    return ResponseCase(f"length {name}", section, _answer(value), right, then=CLOSE if right == "error" else OPEN)


LENGTHS: Final = (
    ResponseCase("length of zero", "9110 8.6", _answer("Content-Length: 0", body=b""), "200 *", b""),
    _length("twice, equal", "Content-Length: 5\r\nContent-Length: 5", _EITHER),
    _length("twice in one line", "Content-Length: 5, 5", _EITHER),
    _length("twice, different", "Content-Length: 5\r\nContent-Length: 4", "error"),
    _length("with a plus", "Content-Length: +5", "error"),
    _length("with a minus", "Content-Length: -5", "error"),
    _length("in hexadecimal", "Content-Length: 0x5", "error"),
    _length("that is empty", "Content-Length:", "error"),
    ResponseCase("length longer than the body", "9112 8", _answer("Content-Length: 9"), "error", then=CLOSE),
    ResponseCase("length shorter than the body", "9112 6.3", _answer("Content-Length: 5", body=b"hello!!"), "200 closed or error"),
    ResponseCase("length with another answer behind it", "9112 9.2", _LENGTH + _answer("Content-Length: 5", body=b"wrong"), "200 closed or error"),
    ResponseCase("length beyond all numbers", "9112 6.3", _answer("Content-Length: 99999999999999999999999"), "error", then=CLOSE),
    ResponseCase("no length: until the end", "9112 6.3", _answer(), "200 closed", then=CLOSE),
    ResponseCase("no length, in HTTP/1.0", "9112 6.3", _answer(first="HTTP/1.0 200 OK"), "200 closed", then=CLOSE),
    ResponseCase("no length, and keep-alive", "9112 6.3", _answer("Connection: keep-alive"), "200 closed", then=CLOSE),
    ResponseCase("no length, then a reset", "9112 8", _answer(), "error", then=RESET),
    ResponseCase("a length, then a reset in the body", "9112 8", _answer("Content-Length: 9"), "error", then=RESET),
)  # fmt: skip


def _coding(
    name: str, lines: str, right: str, section: str = "9112 6.1", first: str = "HTTP/1.1 200 OK"
) -> ResponseCase:
    answer = _answer(*lines.split("\n"), first=first, body=b"5\r\nhello\r\n0\r\n\r\n")
    return ResponseCase(f"transfer coding {name}", section, answer, right, then=CLOSE)


def _chunks(name: str, body: bytes, right: str, section: str = "9112 7.1", then: str = OPEN) -> ResponseCase:
    then = CLOSE if right == "error" and then == OPEN else then
    return ResponseCase(f"chunks {name}", section, _answer("Transfer-Encoding: chunked", body=body), right, then=then)


_CHUNKED: Final = "Transfer-Encoding: chunked"
CHUNKS: Final = (
    _chunks("as usual", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "200 *"),
    _coding("in capitals", "TRANSFER-ENCODING: CHUNKED", "200 *", "9112 7"),
    _coding("and a length", f"{_CHUNKED}\nContent-Length: 3", "error or 200 closed", "9112 6.3"),
    _coding("twice", "Transfer-Encoding: chunked, chunked", "error"),
    _coding("that is not known", "Transfer-Encoding: x-none", "error"),
    _coding("in HTTP/1.0", _CHUNKED, "error or 200 closed", first="HTTP/1.0 200 OK"),
    _chunks("with an extension", b'5;a=b;c="d;e"\r\nhello\r\n0\r\n\r\n', "200 *", "9112 7.1.1"),
    _chunks("with blanks before an extension", b"5 ;a\r\nhello\r\n0\r\n\r\n", "200 *", "9112 7.1.1"),
    _chunks("with trailers", b"5\r\nhello\r\n0\r\nX: y\r\nZ: y\r\n\r\n", "200 *", "9112 7.1.2"),
    _chunks("with zeros before a size", b"0005\r\nhello\r\n000\r\n\r\n", "200 *"),
    _chunks("with a blank behind a size", b"5 \r\nhello\r\n0\r\n\r\n", _EITHER),
    _chunks("without the last one", b"5\r\nhello\r\n", "error", "9112 8"),
    _chunks("cut in one", b"5\r\nhel", "error", "9112 8"),
    _chunks("cut in the last line", b"5\r\nhello\r\n0\r\n", "error", "9112 8"),
    _chunks("cut in a trailer", b"5\r\nhello\r\n0\r\nX: ", "error", "9112 8"),
    _chunks("reset in one", b"5\r\nhel", "error", "9112 8", RESET),
    _chunks("without a size", b"\r\nhello\r\n0\r\n\r\n", "error"),
    _chunks("with a size that is none", b"xyz\r\nhello\r\n0\r\n\r\n", "error"),
    _chunks("with a minus before a size", b"-5\r\nhello\r\n0\r\n\r\n", "error"),
    _chunks("with 0x before a size", b"0x5\r\nhello\r\n0\r\n\r\n", "error"),
    _chunks("with a size beyond 64 bits", b"1ffffffffffffffff5\r\nhello\r\n0\r\n\r\n", "error"),
    _chunks("without a line end behind the data", b"5\r\nhello0\r\n\r\n", "error"),
    _chunks("longer than their size", b"4\r\nhello\r\n0\r\n\r\n", "error"),
    _chunks("whose size ends with LF", b"5\nhello\r\n0\r\n\r\n", "error"),
    _chunks("with more behind them", b"5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n", "200 closed or error"),
)  # fmt: skip


def _bodiless(
    name: str, status: str, line: str, right: str, section: str, body: bytes = b"", method: str = "POST"
) -> ResponseCase:
    answer = _answer(line, first=f"HTTP/1.1 {status} X", body=body)
    return ResponseCase(name, section, answer, right, b"", method=method)


BODILESS: Final = (
    _bodiless("204", "204", "X: y", "204 *", "9112 6.3"),
    _bodiless("204 with a length", "204", "Content-Length: 5", "204 * or error", "9112 6.3"),
    _bodiless("204 in chunks", "204", _CHUNKED, "204 * or error", "9112 6.3"),
    _bodiless("204 with a body", "204", "Content-Length: 5", "204 closed or error", "9112 6.3", b"hello"),
    _bodiless("304 with a length", "304", "Content-Length: 5", "304 *", "9110 15.4.5", method="GET"),
    _bodiless("HEAD with a length", "200", "Content-Length: 5", "200 *", "9110 9.3.2", method="HEAD"),
    _bodiless("HEAD in chunks", "200", _CHUNKED, "200 *", "9110 9.3.2", method="HEAD"),
    _bodiless("HEAD without a length", "200", "X: y", "200 *", "9110 9.3.2", method="HEAD"),
    _bodiless("HEAD with a body", "200", "Content-Length: 5", "200 closed or error", "9112 9.2", b"hello", "HEAD"),
)


def _header(name: str, line: str, right: str, section: str = "9112 5") -> ResponseCase:
    return ResponseCase(f"header {name}", section, _answer(line, "Content-Length: 5"), right)


HEADERS: Final = (
    _header("folded", "X: a\r\n b\r\n\tc", "200 *", "9112 5.2"),
    _header("with a blank before the colon", "X : y", _EITHER, "9112 5.1"),
    _header("that begins with a blank", " X: y", _EITHER, "9112 2.2"),
    _header("with bytes beyond ASCII", "X: caf\xe9 \xff", "200 *", "9110 5.5"),
    _header("with NUL", "X: a\x00b", _EITHER, "9110 5.5"),
    _header("with a control character", "X: a\x01b", _EITHER, "9110 5.5"),
    _header("with CR", "X: a\rb", _EITHER, "9112 2.2"),
    _header("without a name", ": x", _EITHER, "9110 5.1"),
    _header("without a colon", "X", _EITHER),
    _header("without a value", "X:", "200 *", "9110 5.5"),
    _header("lines: a hundred", "\r\n".join(f"X-{n}: y" for n in range(100)), "200 *", "9110 5.4"),
    _header("lines beyond all limits", "\r\n".join(f"X-{n}: {'y' * 900}" for n in range(2000)), "error", "9110 5.4"),
    ResponseCase("header lines end with LF", "9112 2.2", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", _EITHER),
    ResponseCase("header lines that do not end", "9112 8", b"HTTP/1.1 200 OK\r\nContent-Le", "error", then=CLOSE),
)

CONNECTIONS: Final = (
    ResponseCase("close", "9112 9.6", _answer("Connection: close", "Content-Length: 5"), "200 closed"),
    ResponseCase("Close in a list", "9110 7.6.1", _answer("Connection: x, Close", "Content-Length: 5"), "200 closed"),
    ResponseCase("HTTP/1.0", "9112 9.3", _answer("Content-Length: 5", first="HTTP/1.0 200 OK"), "200 closed"),
    ResponseCase("HTTP/1.0 with keep-alive", "9112 9.3", _answer("Connection: keep-alive", "Content-Length: 5", first="HTTP/1.0 200 OK"), "200 *"),
    ResponseCase("an answer, then the end", "9112 9.5", _LENGTH, "200 closed", then=CLOSE),
    ResponseCase("an answer, then later bytes", "9112 9.2", _LENGTH, "200 closed", later=b"HTTP/1.1 408 Late\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    ResponseCase("an answer, then later a line end", "9112 9.2", _LENGTH, "200 *", later=b"\r\n"),
    ResponseCase("the end without an answer", "9112 9.5", b"", "error", then=CLOSE),
    ResponseCase("a reset without an answer", "9112 9.5", b"", "error", then=RESET),
    ResponseCase("an answer before the request was read", "9112 9.5", _answer("Content-Length: 5", "Connection: close", first="HTTP/1.1 413 Large"), "413 closed", early=True, then=CLOSE),
    ResponseCase("a redirect", "9110 15.4.8", _answer("Location: http://127.0.0.1:1/", "Content-Length: 5", first="HTTP/1.1 307 Moved"), "307 *"),
)  # fmt: skip


def _coded(name: str, coding: str, body: bytes, right: str, section: str = "9110 8.4") -> ResponseCase:
    answer = _answer(f"Content-Encoding: {coding}", f"Content-Length: {len(body)}", body=body)
    return ResponseCase(f"content coding {name}", section, answer, right, b"hello" if right == "200 *" else None)


_GZIP: Final = gzip.compress(b"hello", mtime=0)
_RAW: Final = zlib.compressobj(wbits=-15)
CODINGS: Final = (
    _coded("identity", "identity", b"hello", "200 *"),
    _coded("gzip", "gzip", _GZIP, "200 *", "9110 8.4.1.3"),
    _coded("GZIP", "GZIP", _GZIP, "200 *", "9110 8.4.1"),
    _coded("x-gzip", "x-gzip", _GZIP, "200 *", "9110 8.4.1.3"),
    _coded("deflate", "deflate", zlib.compress(b"hello"), "200 *", "9110 8.4.1.2"),
    _coded("deflate without its frame", "deflate", _RAW.compress(b"hello") + _RAW.flush(), _EITHER, "9110 8.4.1.2"),
    _coded("gzip in two members", "gzip", gzip.compress(b"he", mtime=0) + gzip.compress(b"llo", mtime=0), "200 *", "1952 2.2"),
    _coded("gzip that is cut", "gzip", _GZIP[:-6], "error", "9110 8.4"),
    _coded("gzip that is none", "gzip", b"hello", "error", "9110 8.4"),
    _coded("that is not known", "x-none", b"hello", _EITHER),
)  # fmt: skip

RESPONSES: Final[dict[str, tuple[ResponseCase, ...]]] = {
    "Status lines": STATUS_LINES,
    "Interim responses": INTERIM,
    "Lengths of responses": LENGTHS,
    "Chunks of responses": CHUNKS,
    "Responses without a body": BODILESS,
    "Header lines of responses": HEADERS,
    "Connections to a provider": CONNECTIONS,
    "Codings of responses": CODINGS,
}
