"""Requests about connections, answers without bodies, expectations and conditions (RFC 9110 and 9112, section 9)."""

from __future__ import annotations

import gzip
from typing import Final

from tests.support.conformance.case import ECHOED, RequestCase, post, request

_GOT: Final = b"GET  "
_CLOSE: Final = "Connection: close"


def _kept(name: str, *lines: str, right: str, section: str = "9112 9.3", version: str = "HTTP/1.1") -> RequestCase:
    return RequestCase(f"connection {name}", section, (request(*lines, version=version),), right, _GOT)


def _numbered(*numbers: int) -> bytes:
    return b"".join(request(target=f"/echo?{n}") for n in numbers)


CONNECTIONS: Final = (
    _kept("kept by default", right="200 kept"),
    _kept("close", _CLOSE, right="200 closed", section="9112 9.6"),
    _kept("Close", "Connection: Close", right="200 closed", section="9110 7.6.1"),
    _kept("close in a list", "Connection: foo, close", right="200 closed", section="9110 7.6.1"),
    _kept("close in a second line", "Connection: foo\r\nConnection: close", right="200 closed", section="9110 7.6.1"),
    _kept("close and keep-alive", "Connection: keep-alive, close", right="200 closed", section="9112 9.3"),
    _kept("keep-alive", "Connection: keep-alive", right="200 kept"),
    _kept("with an option that is not known", "Connection: foo", right="200 kept", section="9110 7.6.1"),
    _kept("with an empty option", "Connection: ,", right="200 kept", section="9110 5.6.1"),
    _kept("that names a header", "Connection: X-A\r\nX-A: b", right="200 kept", section="9110 7.6.1"),
    _kept("with parameters of keep-alive", "Keep-Alive: timeout=5, max=10", right="200 kept", section="9112 9.3"),
    _kept("of HTTP/1.0", version="HTTP/1.0", right="200 closed"),
    _kept("of HTTP/1.0 that is kept", "Connection: keep-alive", version="HTTP/1.0", right="200 kept or 200 closed"),
    _kept("of HTTP/1.0, Keep-Alive", "Connection: Keep-Alive", version="HTTP/1.0", right="200 kept or 200 closed"),
    _kept("of HTTP/1.0 with close", _CLOSE, version="HTTP/1.0", right="200 closed"),
    _kept("of HTTP/1.0 with both", "Connection: keep-alive, close", version="HTTP/1.0", right="200 closed"),
    RequestCase("connection after 404", "9112 9.3", (request(target="/none"),), "404 kept or 404 closed"),
    RequestCase("connection after 404 of a POST", "9112 9.3", (request("Content-Length: 5", target="/none", method="POST", body=b"hello"),), "404 kept or 404 closed"),
    RequestCase("requests in a row", "9112 9.3.2", (_numbered(1, 2, 3),), "200 200 200 kept", b"GET 3 "),
    RequestCase("requests in a row, eight", "9112 9.3.2", (_numbered(*range(8)),), f"{'200 ' * 8}kept", b"GET 7 "),
    RequestCase("requests in a row, one with a body", "9112 9.3.2", (post("Content-Length: 5", body=b"hello") + _numbered(2),), "200 200 kept", b"GET 2 "),
    RequestCase("requests in a row, a slow one first", "9112 9.3.2", (request(target="/stream") + _numbered(2),), "200 200 kept", b"GET 2 "),
    RequestCase("requests after close", "9112 9.6", (request(_CLOSE) + _numbered(2),), "200 closed", _GOT),
    RequestCase("requests after one that is invalid", "9112 9.3.2", (request() + request("X : y") + _numbered(2),), "200 400 closed"),
    RequestCase("requests in a row of HTTP/1.0", "9112 9.3", (request(version="HTTP/1.0") + _numbered(2),), "200 closed", _GOT),
    RequestCase("a client that closes its side", "9112 9.6", (request(),), "200 closed or closed", half_close=True),
    RequestCase("a client that closes its side in a head", "9112 8", (b"GET /echo HTTP/1.1\r\nHos",), "closed or 400 closed", half_close=True),
    RequestCase("a client that sends nothing", "9112 9.5", (b"",), "closed", half_close=True),
)  # fmt: skip

_EXPECT: Final = "Expect: 100-continue"
EXPECTATIONS: Final = (
    RequestCase("100-continue, then the body", "9110 10.1.1", (post(_EXPECT, "Content-Length: 5"), b"hello"), "100 200 kept", ECHOED),
    RequestCase("100-Continue, then the body", "9110 10.1.1", (post("Expect: 100-Continue", "Content-Length: 5"), b"hello"), "100 200 kept", ECHOED),
    RequestCase("100-continue, then chunks", "9110 10.1.1", (post(_EXPECT, "Transfer-Encoding: chunked"), b"5\r\nhello\r\n0\r\n\r\n"), "100 200 kept", ECHOED),
    RequestCase("100-continue together with the body", "9110 10.1.1", (post(_EXPECT, "Content-Length: 5", body=b"hello"),), "200 kept or 100 200 kept", ECHOED),
    RequestCase("100-continue of HTTP/1.0", "9110 10.1.1", (post(_EXPECT, "Content-Length: 5", body=b"hello", version="HTTP/1.0"),), "200 closed", ECHOED),
    RequestCase("100-continue without a body", "9110 10.1.1", (request(_EXPECT),), "200 kept or 100 200 kept", _GOT),
    RequestCase("100-continue of a body that is too large", "9110 10.1.1", (post(_EXPECT, "Content-Length: 10000000000"),), "413 closed or 413 kept"),
    RequestCase("100-continue of a path that is not there", "9110 10.1.1", (request(_EXPECT, "Content-Length: 5", target="/none", method="POST"), b"hello"), "404 * or 100 404 *"),
    RequestCase("an expectation that is not known", "9110 10.1.1", (post("Expect: tea", "Content-Length: 5", body=b"hello"),), "417 * or 200 kept", ECHOED),
)  # fmt: skip

_NO_BODY: Final = r"^transfer-encoding:"
ANSWERS: Final = (
    RequestCase("HEAD", "9110 9.3.2", (request(method="HEAD"),), "200 kept", b"", heads_only=True),
    RequestCase("HEAD of a path that is not there", "9110 9.3.2", (request(method="HEAD", target="/none"),), "404 *", heads_only=True),
    RequestCase("HEAD of a stream", "9110 9.3.2", (request(method="HEAD", target="/stream"),), "200 kept", b"", heads_only=True),
    RequestCase("HEAD, then GET", "9112 9.3.2", (request(method="HEAD", target="/empty") + request(),), "204 200 kept", _GOT),
    RequestCase("204", "9110 15.3.5", (request(target="/empty"),), "204 kept", no_header=r"^(transfer-encoding|content-length):"),
    RequestCase("204 in HTTP/1.0", "9110 15.3.5", (request(target="/empty", version="HTTP/1.0"),), "204 closed", no_header=_NO_BODY),
    RequestCase("304", "9110 15.4.5", (request(target="/unchanged"),), "304 kept", no_header=_NO_BODY),
    RequestCase("a stream", "9112 7.1", (request(target="/stream"),), "200 kept", b"one two ", header=r"^transfer-encoding: chunked"),
    RequestCase("a stream to HTTP/1.0", "9112 6.1", (request(target="/stream", version="HTTP/1.0"),), "200 closed", b"one two ", no_header=_NO_BODY),
    RequestCase("a stream to HTTP/1.0 that asks to keep", "9112 9.3", (request("Connection: keep-alive", target="/stream", version="HTTP/1.0"),), "200 closed", b"one two ", no_header=_NO_BODY),
    RequestCase("the time of an answer", "9110 6.6.1", (request(),), "200 kept", _GOT, header=r"^date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d gmt$"),
    RequestCase("an answer to close names it", "9112 9.6", (request(_CLOSE),), "200 closed", _GOT, header=r"^connection: close"),
    RequestCase("an answer to HTTP/1.0 has our version", "9110 2.5", (request(version="HTTP/1.0"),), "200 closed", _GOT, header=r"^http/1\.1 "),
)  # fmt: skip


def _asked(name: str, line: str, right: str, section: str) -> RequestCase:
    return RequestCase(name, section, (request(line),), right)


def _coded(
    name: str, coding: str, body: bytes, right: str, echoed: bytes | None = None, header: str = ""
) -> RequestCase:
    data = post(f"Content-Encoding: {coding}", f"Content-Length: {len(body)}", body=body)
    return RequestCase(f"content coding {name}", "9110 8.4", (data,), right, echoed, header)


FIELDS: Final = (
    _coded("identity", "identity", b"hello", "200 kept or 415 *", ECHOED),
    _coded("gzip", "gzip", gzip.compress(b"hello", mtime=0), "200 kept or 415 *"),
    _coded("that is not known", "x-none", b"hello", "415 * or 200 kept"),
    _coded("gzip that is none", "gzip", b"hello", "400 * or 200 kept"),
    _asked("Accept of another type", "Accept: image/png", "200 kept or 406 kept", "9110 12.5.1"),
    _asked("Accept that is invalid", "Accept: ;;;,,", "200 kept or 400|406 *", "9110 12.5.1"),
    _asked("Accept-Encoding without identity", "Accept-Encoding: identity;q=0", "200 kept or 406 kept", "9110 12.5.3"),
    _asked("Accept-Language", "Accept-Language: xx-none;q=0.1", "200 kept or 406 kept", "9110 12.5.4"),
    _asked("TE: trailers", "TE: trailers\r\nConnection: TE", "200 kept", "9110 10.1.4"),
    _asked("Range", "Range: bytes=0-3", "200|206 kept", "9110 14.2"),
    _asked("Range of an unknown unit", "Range: lines=1-2", "200 kept", "9110 14.2"),
    _asked("Range that is invalid", "Range: bytes=x-y", "200 kept", "9110 14.2"),
    _asked("Range with If-Range", 'Range: bytes=0-3\r\nIf-Range: "none"', "200 kept", "9110 13.1.5"),
    RequestCase("Range of a POST", "9110 14.2", (post("Range: bytes=0-1", "Content-Length: 5", body=b"hello"),), "200 kept", ECHOED),
    _asked("If-Modified-Since that is no date", "If-Modified-Since: yesterday", "200 kept", "9110 13.1.3"),
    _asked("If-None-Match of an unknown tag", 'If-None-Match: "none"', "200 kept", "9110 13.1.2"),
    _asked("Cache-Control of a request", "Cache-Control: no-cache\r\nPragma: no-cache", "200 kept", "9111 5.2.1"),
    _asked("Max-Forwards of GET", "Max-Forwards: 0", "200 kept", "9110 7.6.2"),
    _asked("Upgrade to h2c", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__", "200 kept", "9110 7.8"),
    RequestCase("Upgrade to h2c of a POST", "9110 7.8", (post("Connection: Upgrade", "Upgrade: h2c", "Content-Length: 5", body=b"hello"),), "200 kept", ECHOED),
    _asked("Upgrade to a protocol that is not known", "Connection: Upgrade\r\nUpgrade: tea/1", "200 kept", "9110 7.8"),
    _asked("Upgrade without Connection", "Upgrade: h2c", "200 kept", "9110 7.8"),
    RequestCase("Upgrade of HTTP/1.0", "9110 7.8", (request("Connection: Upgrade", "Upgrade: h2c", version="HTTP/1.0"),), "200 closed", _GOT),
    _asked("a WebSocket where there is none", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "200 kept or 400|404|426 *", "6455 4.2.2"),
    _asked("a WebSocket of an unknown version", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 99\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "200 kept or 400|404|426 *", "6455 4.4"),
)  # fmt: skip

SLOW: Final = (
    RequestCase("a head that stops", "9110 15.5.9", (b"GET /echo HTTP/1.1\r\nHost",), "408 closed or closed", slow=True),
    RequestCase("a length whose body stops", "9110 15.5.9", (post("Content-Length: 5", body=b"he"),), "408 closed or closed", slow=True),
    RequestCase("chunks that stop", "9110 15.5.9", (post("Transfer-Encoding: chunked", body=b"5\r\nhe"),), "408 closed or closed", slow=True),
    RequestCase("an idle connection", "9112 9.5", (request(),), "200 closed", _GOT, slow=True),
    RequestCase("a connection that sends nothing", "9112 9.5", (b"",), "408 closed or closed", slow=True),
)  # fmt: skip
