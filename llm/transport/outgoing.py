"""What we send: where a URL leads, and the head of a request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from llm import VERSION
from llm.errors import InvalidRequest
from llm.http import HttpRequest
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


def place_of(url: str, proxies: Proxies) -> Place:
    """Raises ``InvalidRequest``, without the URL, for one that cannot be asked."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        host = port = None
    if not host or not port or parts.scheme not in _PORTS or not _URL.fullmatch(url):
        raise InvalidRequest("The address of the engine is not an http:// or https:// URL.")
    return Place(parts.scheme, host, port, proxies.way_to(parts.scheme, host, port))


def head_of(request: HttpRequest, place: Place) -> bytes:
    """Request line and headers. Raises ``InvalidRequest`` for a header that would break out of its line."""
    return "\r\n".join([*_lines(request, place), "", ""]).encode("latin-1")


def _lines(request: HttpRequest, place: Place) -> Iterator[str]:
    parts = urlsplit(request.url)
    authority = parts.netloc.rpartition("@")[2]
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    proxy = place.proxy if place.scheme == "http" else None  # for https the tunnel has done with it
    if not _TOKEN.fullmatch(request.method):
        raise InvalidRequest("The method of a request holds a character that no method may have.")
    yield f"{request.method} {f'http://{authority}' if proxy else ''}{target} HTTP/1.1"
    yield f"host: {authority}"
    if proxy is not None and proxy.authorization is not None:
        yield f"proxy-authorization: {proxy.authorization}"
    if request.body is not None or request.method in _WITH_BODY:
        yield f"content-length: {len(request.body or b'')}"
    yield from _own(request.headers)


def _own(headers: Mapping[str, str]) -> Iterator[str]:
    given = {name.lower() for name in headers}
    defaults = {name: value for name, value in _DEFAULTS.items() if name not in given}
    for name, value in (*defaults.items(), *headers.items()):
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise InvalidRequest(f"The header {name[:40]!r} holds a character that no header may have.")
        if name.lower() not in _OURS:
            yield f"{name}: {value}"
