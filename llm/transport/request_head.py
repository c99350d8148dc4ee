"""What we send: where a URL leads, and the head of a request."""

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

# They frame the message or belong to the connection, so they are ours to write.
_OURS: Final = frozenset(
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


class Place(NamedTuple):
    """Connections to one place are alike."""

    scheme: str
    host: str
    port: int
    proxy: Proxy | None


class Way(NamedTuple):
    """Where a URL leads, and how the head of a request to it begins."""

    place: Place
    target: str  # as the request line names it
    lines: str  # of the head, that are the same for each request


def way_to(url: str, proxies: Proxies) -> Way:
    """Raises ``InvalidRequest``, without the URL, for one that cannot be asked."""
    # Engines are asked at a few short addresses again and again; others are not worth the memory.
    return _kept_way(url, proxies) if len(url) <= _SHORT else _way(url, proxies)


def _way(url: str, proxies: Proxies) -> Way:
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
    proxy = proxies.way_to(parts.scheme, host, port)
    if proxy is not None and parts.scheme == "http":  # for https the tunnel has done with it
        target = f"http://{authority}{target}"
        if proxy.authorization is not None:
            lines += f"proxy-authorization: {proxy.authorization}\r\n"
    return Way(Place(parts.scheme, host, port, proxy), target, lines)


_SHORT: Final = 256  # characters
_kept_way: Final = lru_cache(maxsize=64)(_way)


def head_of(request: HttpRequest, way: Way) -> bytes:
    """Request line and headers. Raises ``InvalidRequest`` for a header that would break out of its line."""
    method, headers = request.method, request.headers
    if method not in _WITH_BODY and not _TOKEN.fullmatch(method):
        raise InvalidRequest("The method of a request holds a character that no method may have.")
    if not _VALUE.fullmatch("".join(headers.values())):
        raise _refusal(next(name for name, value in headers.items() if not _VALUE.fullmatch(value)))
    length = ""
    if request.body is not None or method in _WITH_BODY:
        length = f"content-length: {len(request.body or b'')}\r\n"
    own = _form(tuple(headers)) % headers
    return f"{method} {way.target} HTTP/1.1\r\n{way.lines}{length}{own}\r\n".encode("latin-1")


@lru_cache(maxsize=64)
def _form(names: tuple[str, ...]) -> str:
    """The lines of headers of these names, to be filled in by name, behind our defaults and less what is not theirs."""
    for name in names:
        if not _TOKEN.fullmatch(name):
            raise _refusal(name)
    given = {name.lower() for name in names}
    defaults = [f"{name}: {value}\r\n" for name, value in _DEFAULTS.items() if name not in given]
    sent = [f"{name.replace('%', '%%')}: %({name})s\r\n" for name in names if name.lower() not in _OURS]
    return "".join((*defaults, *sent))


def _refusal(name: str) -> InvalidRequest:
    return InvalidRequest(f"The header {name[:40]!r} holds a character that no header may have.")
