"""Requests whose body is framed by a length or by chunks (RFC 9112, sections 6 and 7)."""

from __future__ import annotations

from typing import Final

from tests.support.conformance.case import ECHOED, HELLO, RequestCase, chunked, post, request

_GET: Final = request()


def _length(name: str, line: str, right: str, section: str = "9110 8.6", body: bytes | None = ECHOED) -> RequestCase:
    return RequestCase(f"length {name}", section, (post(line, body=b"hello"),), right, body)


def _coding(name: str, line: str, right: str, section: str = "9112 6.1", version: str = "HTTP/1.1") -> RequestCase:
    return RequestCase(
        f"transfer coding {name}", section, (post(*line.split("\n"), body=HELLO, version=version),), right, ECHOED
    )


def _chunks(name: str, body: bytes, right: str, section: str = "9112 7.1", echoed: bytes = ECHOED) -> RequestCase:
    return RequestCase(f"chunks {name}", section, (chunked(body),), right, echoed)


LENGTHS: Final = (
    _length("of five", "Content-Length: 5", "200 kept", "9112 6.2"),
    _length("in capitals", "CONTENT-LENGTH: 5", "200 kept", "9110 5.1"),
    _length("without a blank before it", "Content-Length:5", "200 kept", "9112 5.1"),
    _length("with blanks and tabs around it", "Content-Length: \t 5 \t", "200 kept", "9112 5.1"),
    _length("with zeros in front", "Content-Length: 005", "200 kept"),
    RequestCase("length of zero", "9110 8.6", (post("Content-Length: 0"),), "200 kept", b"POST  "),
    RequestCase("length missing in a POST", "9112 6.3", (post(),), "200 kept or 411 *", b"POST  "),
    RequestCase(
        "length of a body of GET",
        "9110 9.3.1",
        (request("Content-Length: 5", body=b"hello"),),
        "200 kept",
        b"GET  hello",
    ),
    _length("twice, equal, in two lines", "Content-Length: 5\r\nContent-Length: 5", "200 kept or 400 closed"),
    _length("twice, equal, in one line", "Content-Length: 5, 5", "200 kept or 400 closed"),
    _length("twice, different, in two lines", "Content-Length: 5\r\nContent-Length: 4", "400 closed", "9112 6.3"),
    _length("twice, different, in one line", "Content-Length: 5, 4", "400 closed", "9112 6.3"),
    _length("with a plus", "Content-Length: +5", "400 closed", "9112 6.3"),
    _length("with a minus", "Content-Length: -5", "400 closed", "9112 6.3"),
    _length("in hexadecimal", "Content-Length: 0x5", "400 closed", "9112 6.3"),
    _length("with a decimal point", "Content-Length: 5.0", "400 closed", "9112 6.3"),
    _length("with an exponent", "Content-Length: 5e0", "400 closed", "9112 6.3"),
    _length("with an underscore", "Content-Length: 0_5", "400 closed", "9112 6.3"),
    _length("with a blank inside", "Content-Length: 0 5", "400 closed", "9112 6.3"),
    _length("that is empty", "Content-Length:", "400 closed", "9112 6.3"),
    _length("with a comma behind it", "Content-Length: 5,", "400 closed", "9112 6.3"),
    _length("in a digit beyond ASCII", "Content-Length: \xb2", "400 closed", "9112 6.3"),
    _length("in quotes", 'Content-Length: "5"', "400 closed", "9112 6.3"),
    _length("beyond 64 bits", "Content-Length: 99999999999999999999999999", "400|413 closed"),
    _length("beyond the limit", "Content-Length: 10000000000", "413 closed", "9110 15.5.14"),
    RequestCase(
        "length shorter than what follows: the next request",
        "9112 6.3",
        (post("Content-Length: 2", body=b"ab" + _GET),),
        "200 200 kept",
        b"GET  ",
    ),
    RequestCase(
        "a request inside a body is no request",
        "9112 6.3",
        (post(f"Content-Length: {len(_GET)}", body=_GET),),
        "200 kept",
        b"POST  " + _GET,
    ),
    RequestCase(
        "length longer than what is sent",
        "9112 8",
        (post("Content-Length: 9", body=b"hello"),),
        "closed or 400 closed",
        half_close=True,
    ),
    RequestCase(
        "length in HTTP/1.0",
        "9112 6.2",
        (post("Content-Length: 5", body=b"hello", version="HTTP/1.0"),),
        "200 closed",
        ECHOED,
    ),
    RequestCase(
        "length missing in a POST of HTTP/1.0",
        "9112 6.3",
        (post(version="HTTP/1.0"),),
        "200 closed or 400|411 closed",
        b"POST  ",
    ),
)

_UNKNOWN: Final = "501 closed or 400 closed"
CODINGS: Final = (
    _coding("chunked", "Transfer-Encoding: chunked", "200 kept"),
    _coding("in capitals", "TRANSFER-ENCODING: CHUNKED", "200 kept", "9112 7"),
    _coding("with blanks and tabs around it", "Transfer-Encoding: \t chunked \t", "200 kept", "9112 5.1"),
    _coding("of GET", "X: y\nTransfer-Encoding: chunked", "200 kept"),
    _coding("and a length", "Transfer-Encoding: chunked\nContent-Length: 15", "400 closed or 200 closed", "9112 6.3"),
    _coding("after a length", "Content-Length: 15\nTransfer-Encoding: chunked", "400 closed or 200 closed", "9112 6.3"),
    _coding("that is not known", "Transfer-Encoding: xchunked", _UNKNOWN),
    _coding("identity", "Transfer-Encoding: identity", _UNKNOWN, "9112 6.3"),
    _coding("gzip under chunked", "Transfer-Encoding: gzip, chunked", "501 closed"),
    _coding("chunked twice", "Transfer-Encoding: chunked, chunked", _UNKNOWN),
    _coding("chunked in two lines", "Transfer-Encoding: chunked\nTransfer-Encoding: chunked", _UNKNOWN),
    _coding("chunked not last", "Transfer-Encoding: chunked, gzip", _UNKNOWN, "9112 6.3"),
    _coding("chunked, then identity", "Transfer-Encoding: chunked\nTransfer-Encoding: identity", _UNKNOWN, "9112 6.3"),
    _coding("that is empty", "Transfer-Encoding:", _UNKNOWN, "9112 6.3"),
    _coding("in quotes", 'Transfer-Encoding: "chunked"', _UNKNOWN),
    _coding("with a parameter", "Transfer-Encoding: chunked;a=b", _UNKNOWN, "9112 7"),
    _coding("after a comma", "Transfer-Encoding: , chunked", f"200 kept or {_UNKNOWN}", "9110 5.6.1"),
    _coding("after a vertical tab", "Transfer-Encoding: \x0bchunked", _UNKNOWN),
    _coding("with a blank before the colon", "Transfer-Encoding : chunked", "400 closed", "9112 5.1"),
    _coding(
        "in HTTP/1.0", "Transfer-Encoding: chunked", "400|501 closed or 200 closed", "9112 6.1", version="HTTP/1.0"
    ),
    _coding(
        "in HTTP/1.0 that is kept",
        "Transfer-Encoding: chunked\nConnection: keep-alive",
        "400|501 closed or 200 closed",
        version="HTTP/1.0",
    ),
)

CHUNKS: Final = (
    _chunks("of several sizes", b"1\r\nh\r\n3\r\nell\r\n1\r\no\r\n0\r\n\r\n", "200 kept"),
    _chunks("of none: an empty body", b"0\r\n\r\n", "200 kept", echoed=b"POST  "),
    _chunks("with a size in capitals", b"A\r\n0123456789\r\n0\r\n\r\n", "200 kept", echoed=b"POST  0123456789"),
    _chunks("with a size in small letters", b"a\r\n0123456789\r\n0\r\n\r\n", "200 kept", echoed=b"POST  0123456789"),
    _chunks("with zeros in front of a size", b"0005\r\nhello\r\n0\r\n\r\n", "200 kept"),
    _chunks("with many zeros in front of a size", b"0" * 20 + HELLO, "200 kept or 400 closed"),
    _chunks("that end with several zeros", b"5\r\nhello\r\n000\r\n\r\n", "200 kept"),
    _chunks("with line ends in them", b"4\r\n\r\n\r\n\r\n0\r\n\r\n", "200 kept", echoed=b"POST  \r\n\r\n"),
    _chunks("with an extension", b"5;a\r\nhello\r\n0\r\n\r\n", "200 kept", "9112 7.1.1"),
    _chunks("with an extension and its value", b"5;a=b\r\nhello\r\n0;c=d\r\n\r\n", "200 kept", "9112 7.1.1"),
    _chunks("with two extensions", b"5;a=b;c\r\nhello\r\n0\r\n\r\n", "200 kept", "9112 7.1.1"),
    _chunks("with a quoted extension", b'5;a="b c;d"\r\nhello\r\n0\r\n\r\n', "200 kept", "9112 7.1.1"),
    _chunks("with an escaped quote", b'5;a="b\\"c"\r\nhello\r\n0\r\n\r\n', "200 kept", "9112 7.1.1"),
    _chunks("with blanks around an extension", b"5 ; a = b\r\nhello\r\n0\r\n\r\n", "200 kept", "9112 7.1.1"),
    _chunks("with an extension too long", b"5;a=" + b"b" * 40_000 + b"\r\nhello\r\n0\r\n\r\n", "400|413|431 closed", "9112 7.1.1"),
    _chunks("with a control character in an extension", b"5;a=\x00\r\nhello\r\n0\r\n\r\n", "400 closed", "9112 7.1.1"),
    _chunks("with LF in an extension", b"5;a\nhello\r\n0\r\n\r\n", "400 closed", "9112 7.1.1"),
    _chunks("and a trailer", b"5\r\nhello\r\n0\r\nX-A: b\r\n\r\n", "200 kept", "9112 7.1.2"),
    _chunks("and two trailers", b"5\r\nhello\r\n0\r\nX-A: b\r\nX-B: c\r\n\r\n", "200 kept", "9112 7.1.2"),
    _chunks("and a length as a trailer", b"5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n", "200 kept or 400 closed", "9110 6.5.1"),
    _chunks("and a coding as a trailer", b"5\r\nhello\r\n0\r\nTransfer-Encoding: gzip\r\n\r\n", "200 kept or 400 closed", "9110 6.5.1"),
    _chunks("and a trailer without a colon", b"5\r\nhello\r\n0\r\nX\r\n\r\n", "400 closed", "9112 7.1.2"),
    _chunks("and a trailer with a blank before the colon", b"5\r\nhello\r\n0\r\nX : y\r\n\r\n", "400 closed", "9112 5.1"),
    _chunks("and trailers too large", b"5\r\nhello\r\n0\r\n" + b"X-A: b\r\n" * 10_000 + b"\r\n", "400|413|431 closed", "9112 7.1.2"),
    _chunks("with a plus before a size", b"+5\r\nhello\r\n0\r\n\r\n", "400 closed"),
    _chunks("with a minus before a size", b"-5\r\nhello\r\n0\r\n\r\n", "400 closed"),
    _chunks("with 0x before a size", b"0x5\r\nhello\r\n0\r\n\r\n", "400 closed"),
    _chunks("with an underscore in a size", b"0_5\r\nhello\r\n0\r\n\r\n", "400 closed"),
    _chunks("with a letter that is no digit", b"5g\r\nhello\r\n0\r\n\r\n", "400 closed"),
    _chunks("with a blank before a size", b" 5\r\nhello\r\n0\r\n\r\n", "400 closed"),
    _chunks("with a blank behind a size", b"5 \r\nhello\r\n0\r\n\r\n", "400 closed or 200 kept"),
    _chunks("without a size", b"\r\nhello\r\n0\r\n\r\n", "400 closed"),
    _chunks("with a size beyond 64 bits", b"1ffffffffffffffff\r\nhello\r\n0\r\n\r\n", "400|413 closed"),
    _chunks("that end with LF", b"5\nhello\n0\n\n", "400 closed"),
    _chunks("whose size ends with LF", b"5\nhello\r\n0\r\n\r\n", "400 closed"),
    _chunks("whose size ends with CR", b"5\rhello\r\n0\r\n\r\n", "400 closed"),
    _chunks("whose data end with LF", b"5\r\nhello\n0\r\n\r\n", "400 closed"),
    _chunks("whose data have no line end", b"5\r\nhello0\r\n\r\n", "400 closed"),
    _chunks("longer than their size", b"4\r\nhello\r\n0\r\n\r\n", "400 closed"),
    _chunks("shorter than their size", b"6\r\nhello\r\n0\r\n\r\n", "400 closed"),
    RequestCase(
        "chunks without the last one", "9112 8", (chunked(b"5\r\nhello\r\n"),), "closed or 400 closed", half_close=True
    ),
    RequestCase(
        "chunks cut in one", "9112 8", (chunked(b"5\r\nhel"),), "closed or 400 closed", half_close=True
    ),
    RequestCase(
        "chunks above the limit of a body",
        "9110 15.5.14",
        (chunked(b"".join(b"10000\r\n%b\r\n" % (b"x" * 0x10000) for _ in range(20)) + b"0\r\n\r\n"),),
        "413|400 closed or 413 kept",
    ),
    RequestCase("chunks, then another request", "9112 7.1", (chunked(HELLO) + _GET,), "200 200 kept", b"GET  "),
)  # fmt: skip
