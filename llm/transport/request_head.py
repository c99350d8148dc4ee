"""The head of a request: request line and headers; and the route to its URL."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from llm import VERSION
from llm.errors import InvalidRequest
from llm.transport.interface import HttpRequest
from llm.transport.proxy import Proxies, Proxy

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_URL: Final = re.compile(r"[\x21-\x7e]+")
_PORTS: Final = {"http": 80, "https": 443}
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})

# Headers that frame the message or belong to the connection: only the transport writes them.
_RESERVED: Final = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_DEFAULTS: Final = {"accept-encoding": "identity", "user-agent": f"llm-server/{VERSION}"}


class Origin(NamedTuple):
    """Scheme, host, port and proxy. A connection can be reused for every request to the same origin."""

    scheme: str
    host: str
    port: int
    proxy: Proxy | None


class Route(NamedTuple):
    """The origin of a URL and the parts of a request head that depend on the URL only."""

    origin: Origin
    target: str  # of the request line
    lines: str  # header lines that are the same for each request, each with its CRLF


def find_route(url: str, proxies: Proxies) -> Route:
    """Returns the route to ``url``. Raises ``InvalidRequest``, without the URL, for an invalid one."""
    # Engines have a few short URLs, each used for many requests; long URLs are not worth the memory of the cache.
    return _cached_route(url, proxies) if len(url) <= _MAX_CACHED_URL else _parse_route(url, proxies)


def _parse_route(url: str, proxies: Proxies) -> Route:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        host = port = None
    if not host or not port or parts.scheme not in _PORTS or not _URL.fullmatch(url):
        raise InvalidRequest("The address of the engine is not an http:// or https:// URL.")
    authority = parts.netloc.rpartition("@")[2]
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = f"host: {authority}\r\n"
    proxy = proxies.choose_proxy(parts.scheme, host, port)
    if proxy is not None and parts.scheme == "http":  # for https the tunnel takes care of the proxy
        target = f"http://{authority}{target}"
        if proxy.authorization is not None:
            lines += f"proxy-authorization: {proxy.authorization}\r\n"
    return Route(Origin(parts.scheme, host, port, proxy), target, lines)


_MAX_CACHED_URL: Final = 256  # characters
_cached_route: Final = lru_cache(maxsize=64)(_parse_route)


def write_head(request: HttpRequest, route: Route) -> bytes:
    """Returns request line and headers. Raises ``InvalidRequest`` for a header that would break out of its line."""
    method, headers = request.method, request.headers
    if method not in _WITH_BODY and not _TOKEN.fullmatch(method):
        raise InvalidRequest("The method of a request holds a character that is not allowed in a method.")
    if not _VALUE.fullmatch("".join(headers.values())):
        raise _invalid_header(next(name for name, value in headers.items() if not _VALUE.fullmatch(value)))
    length = ""
    if request.body is not None or method in _WITH_BODY:
        size = sum(map(len, request.pieces)) if request.pieces else len(request.body or b"")
        length = f"content-length: {size}\r\n"
    lines = _make_template(tuple(headers)) % headers
    return f"{method} {route.target} HTTP/1.1\r\n{route.lines}{length}{lines}\r\n".encode("latin-1")


@lru_cache(maxsize=64)
def _make_template(names: tuple[str, ...]) -> str:
    """Returns a %-format of header lines: defaults of this server, then ``names`` except the reserved ones."""
    for name in names:
        if not _TOKEN.fullmatch(name):
            raise _invalid_header(name)
    present = {name.lower() for name in names}
    defaults = [f"{name}: {value}\r\n" for name, value in _DEFAULTS.items() if name not in present]
    sent = [f"{name.replace('%', '%%')}: %({name})s\r\n" for name in names if name.lower() not in _RESERVED]
    return "".join((*defaults, *sent))


def _invalid_header(name: str) -> InvalidRequest:
    return InvalidRequest(f"The header {name[:40]!r} holds a character that is not allowed in a header.")
