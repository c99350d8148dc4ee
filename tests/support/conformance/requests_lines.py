"""Requests whose request line, version, Host or header lines are odd (RFC 9112, sections 2, 3 and 5)."""

from __future__ import annotations

from typing import Final

from tests.support.conformance.case import RequestCase, request

_GOT: Final = b"GET  "
_REFUSED: Final = "400 closed"


def _header(name: str, line: str, right: str, section: str = "9112 5", body: bytes = _GOT) -> RequestCase:
    return RequestCase(f"header {name}", section, (request(line),), right, body)


def _host(name: str, line: str | None, right: str, section: str = "9112 3.2", version: str = "HTTP/1.1") -> RequestCase:
    return RequestCase(f"Host {name}", section, (request(host=line, version=version),), right, _GOT)


def _target(name: str, target: str, right: str, section: str, body: bytes = _GOT) -> RequestCase:
    return RequestCase(f"target {name}", section, (request(target=target),), right, body)


def _method(method: str, right: str, section: str = "9110 9.1", target: str = "/echo", header: str = "") -> RequestCase:
    return RequestCase(f"method {method[:12]}", section, (request(method=method, target=target),), right, header=header)


def _line(name: str, line: str, right: str, section: str = "9112 3", body: bytes | None = None) -> RequestCase:
    return RequestCase(f"line {name}", section, (f"{line}\r\nHost: x\r\n\r\n".encode("latin-1"),), right, body)


HEADERS: Final = (
    _header("with a blank before the colon", "X : y", _REFUSED, "9112 5.1"),
    _header("with a tab before the colon", "X\t: y", _REFUSED, "9112 5.1"),
    _header("folded", "X: a\r\n b", "400 closed or 200 kept", "9112 5.2"),
    _header("folded by a tab", "X: a\r\n\tb", "400 closed or 200 kept", "9112 5.2"),
    RequestCase(
        "header line after the first that begins with a blank",
        "9112 2.2",
        (b"GET /echo HTTP/1.1\r\n X: y\r\nHost: x\r\n\r\n",),
        "400 closed or 200 kept",
        _GOT,
    ),
    _header("without a name", ": x", _REFUSED, "9110 5.1"),
    _header("without a colon", "X", _REFUSED),
    _header("without a value", "X:", "200 kept", "9110 5.5"),
    _header("with tabs around its value", "X: \t y \t", "200 kept", "9112 5.1"),
    _header("with a control character in its value", "X: a\x01b", "400 closed or 200 kept", "9110 5.5"),
    _header("with DEL in its value", "X: a\x7fb", "400 closed or 200 kept", "9110 5.5"),
    _header("with NUL in its value", "X: a\x00b", "400 closed or 200 kept", "9110 5.5"),
    _header("with CR in its value", "X: a\rb", "400 closed or 200 kept", "9110 5.5"),
    _header("with bytes beyond ASCII in its value", "X: caf\xe9 \xff", "200 kept", "9110 5.5"),
    _header("with bytes beyond ASCII in its name", "Caf\xe9: x", _REFUSED, "9110 5.1"),
    _header("with a blank in its name", "X Y: z", _REFUSED, "9110 5.1"),
    _header("with a delimiter in its name", "X(Y): z", _REFUSED, "9110 5.1"),
    _header("with NUL in its name", "X\x00Y: z", _REFUSED, "9110 5.1"),
    _header("with every character of a name", "!#$%&'*+-.^_`|~1a: x", "200 kept", "9110 5.6.2"),
    _header("twice", "X: a\r\nX: b", "200 kept", "9110 5.3"),
    _header("named with an underscore", "Content_Length: 5", "200 kept or 400 closed", "9110 5.1"),
    _header("of 4000 bytes", f"X: {'y' * 4000}", "200 kept", "9110 5.4"),
    _header("beyond the limit", f"X: {'y' * 100_000}", "431|400 closed", "6585 5"),
    _header("lines: a hundred", "\r\n".join(f"X-{n}: y" for n in range(100)), "200 kept", "9110 5.4"),
    _header("lines beyond the limit", "\r\n".join(f"X-{n}: y" for n in range(9000)), "431|400 closed", "6585 5"),
    _header("that ends with LF", "X: y\nZ: y", "200 kept or 400 closed", "9112 2.2"),
    _header("that ends with CR CR LF", "X: y\r", "400 closed or 200 kept", "9112 2.2"),
    RequestCase("all lines end with LF", "9112 2.2", (b"GET /echo HTTP/1.1\nHost: x\n\n",), "200 kept or 400 closed", _GOT),
)  # fmt: skip

HOSTS: Final = (
    _host("missing", None, "400 *"),
    _host("missing in HTTP/1.0", None, "200 closed", version="HTTP/1.0"),
    _host("twice, different", "Host: x\r\nHost: y", "400 *"),
    _host("twice, equal", "Host: x\r\nHost: x", "400 *"),
    _host("that is empty", "Host:", "200 kept or 400 *"),
    _host("with a port", "Host: x:8080", "200 kept", "9110 7.2"),
    _host("with an empty port", "Host: x:", "200 kept", "3986 3.2.3"),
    _host("that is an IPv6 address", "Host: [::1]:80", "200 kept", "3986 3.2.2"),
    _host("with underscores", "Host: a_b", "200 kept", "3986 3.2.2"),
    _host("with a blank", "Host: a b", "400 *"),
    _host("with a slash", "Host: x/y", "400 *"),
    _host("with a user", "Host: u@x", "400 *", "9110 7.2"),
    _host("with a question mark", "Host: x?y", "400 *"),
    _host("with a port that is no number", "Host: x:y", "400 *", "3986 3.2.3"),
    _host("with an open bracket", "Host: [::1", "400 *", "3986 3.2.2"),
    _host("with a byte beyond ASCII", "Host: \xff", "400 *", "3986 3.2.2"),
    _host("with a control character", "Host: x\x01", "400 *"),
)

_NO_METHOD: Final = "405|501 kept or 405|501 closed or 400 closed"
METHODS: Final = (
    _method("PUT", "405 *", "9110 15.5.6", header=r"^allow: .*get"),
    _method("FOO", _NO_METHOD),
    _method("get", _NO_METHOD),
    _method("PROPFIND", _NO_METHOD),
    _method("TRACE", _NO_METHOD, "9110 9.3.8"),
    _method("M" * 40, _NO_METHOD, "9112 3.1"),
    _method("G(T", "400 closed", "9110 9.1"),
    _method("OPTIONS", "200|204 kept or 405 *", "9110 9.3.7"),
    RequestCase("method OPTIONS of the server", "9110 9.3.7", (request(method="OPTIONS", target="*"),), "200|204 * or 400|405|501 *"),
    RequestCase("method CONNECT", "9110 9.3.6", (request(method="CONNECT", target="x:80"),), "400|405|501 * or 404 *"),
)  # fmt: skip

TARGETS: Final = (
    _target("with a query", "/echo?a=b&c", "200 kept", "9112 3.2.1", b"GET a=b&c "),
    _target("with an empty query", "/echo?", "200 kept", "3986 3.4"),
    _target("in absolute form", "http://x/echo", "200 kept", "9112 3.2.2"),
    _target("in absolute form with a query", "http://x/echo?a=b", "200 kept", "9112 3.2.2", b"GET a=b "),
    _target("in absolute form with a port", "http://x:80/echo", "200 kept", "9112 3.2.2"),
    _target("in absolute form with an address", "http://[::1]:80/echo", "200 kept", "9112 3.2.2"),
    _target("in absolute form for another host than Host", "http://y/echo", "200 kept or 400|421 *", "9112 3.2.2"),
    _target("in absolute form in capitals", "HTTP://X/echo", "200 kept", "3986 3.1"),
    _target("in absolute form without a path", "http://x", "404 kept or 200 kept or 400 *", "9110 4.2.3"),
    _target("in absolute form of another scheme", "ftp://x/echo", "400|404|421 *", "9112 3.2.2"),
    _target("in absolute form without a host", "http:///echo", "400 *", "9110 4.2.1"),
    _target("in absolute form with a user", "http://u:p@x/echo", "400|404 * or 200 kept", "9110 4.2.4"),
    _target("in asterisk form of GET", "*", "400|404 *", "9112 3.2.4"),
    _target("in authority form of GET", "x:80", "400|404 *", "9112 3.2.3"),
    _target("without a slash", "echo", "400 *", "9112 3.2"),
    _target("with a letter in percent encoding", "/%65cho", "200 kept", "9110 4.2.3"),
    _target("in percent encoding with capitals", "/ech%6F", "200 kept", "3986 6.2.2.1"),
    _target("in percent encoding with small letters", "/ech%6f", "200 kept", "3986 6.2.2.1"),
    _target("wholly in percent encoding", "/%65%63%68%6f", "200 kept", "3986 6.2.2.2"),
    _target("with a query in percent encoding", "/echo?%61=b", "200 kept", "3986 2.4", b"GET %61=b "),
    _target("with an encoded slash", "/%2Fecho", "400|404 * or 200 kept", "3986 2.2"),
    _target("with an encoded question mark", "/echo%3Fa", "404 *", "3986 2.2"),
    _target("with a percent sign alone", "/echo%", "400|404 *", "3986 2.1"),
    _target("with an encoding that is none", "/echo%zz", "400|404 *", "3986 2.1"),
    _target("with an encoded NUL", "/echo%00", "400|404 *", "3986 7.3"),
    _target("of another case", "/ECHO", "404 *", "9110 4.2.3"),
    _target("with a slash behind it", "/echo/", "404 * or 301 *", "3986 6.2.3"),
    _target("with dots", "/./echo", "200 kept or 400|404 *", "3986 5.2.4"),
    _target("with a step up", "/a/../echo", "200 kept or 400|404 *", "3986 5.2.4"),
    _target("above the root", "/../x", "400|404 *", "3986 5.2.4"),
    _target("with a fragment", "/echo#x", "400|404 *", "9112 3.2.1"),
    _target("with a byte beyond ASCII", "/ech\xf6", "400|404 *", "3986 2"),
    _target("with a control character", "/echo\x01", "400 closed or 404 *", "3986 2"),
    _target("of 8000 bytes", f"/echo?{'a' * 7994}", "200 kept", "9112 3", b"GET " + b"a" * 7994 + b" "),
    _target("beyond the limit", f"/echo?{'a' * 100_000}", "414 closed", "9110 15.5.15"),
)

_ODD: Final = "400 closed or 200 kept"
LINES: Final = (
    _line("with a blank in the target", "GET /echo x HTTP/1.1", _REFUSED),
    _line("with a tab between", "GET\t/echo\tHTTP/1.1", _ODD),
    _line("with two blanks between", "GET  /echo HTTP/1.1", _ODD),
    _line("with a blank behind it", "GET /echo HTTP/1.1 ", _ODD),
    _line("with a blank before it", " GET /echo HTTP/1.1", _REFUSED),
    _line("without a target", "GET  HTTP/1.1", _REFUSED),
    _line("without a version", "GET /echo", "400|505 closed or 200 closed", "1945 4.1"),
    _line("of words only", "hello", _REFUSED),
    _line("that is a response", "HTTP/1.1 200 OK", _REFUSED),
    RequestCase("line after an empty one", "9112 2.2", (b"\r\n" + request(),), "200 kept", _GOT),
    RequestCase("line after three empty ones", "9112 2.2", (b"\r\n\r\n\r\n" + request(),), _ODD, _GOT),
    RequestCase("line after an empty one that is LF", "9112 2.2", (b"\n" + request(),), _ODD, _GOT),
    RequestCase("bytes that are no text", "9112 2.2", (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",), "400 closed or closed"),
)  # fmt: skip


def _version(version: str, right: str, section: str = "9112 2.3") -> RequestCase:
    return RequestCase(f"version {version}", section, (request(version=version),), right, _GOT)


_OTHER: Final = "505 closed or 400 closed"
VERSIONS: Final = (
    _version("HTTP/1.0", "200 closed"),
    _version("HTTP/1.2", "200 kept", "9110 2.5"),
    _version("HTTP/1.9", "200 kept", "9110 2.5"),
    _version("HTTP/2.0", "505 closed", "9110 15.6.6"),
    _version("HTTP/3.0", "505 closed", "9110 15.6.6"),
    _version("HTTP/0.9", _OTHER),
    _version("HTTP/1.11", _OTHER),
    _version("HTTP/01.1", _OTHER),
    _version("HTTP/1", _OTHER),
    _version("HTTP/1,1", _OTHER),
    _version("HTTP/A.1", _OTHER),
    _version("http/1.1", _OTHER),
    _version("HTTX/1.1", _OTHER),
    _version("HTTP /1.1", _OTHER),
    RequestCase(
        "version 2 by its preface",
        "9113 3.4",
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",),
        "400|405|505 closed or closed",
    ),
)
