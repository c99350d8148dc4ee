"""What we send: where a URL leads, and the head of a request."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
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


class _Address(NamedTuple):
    scheme: str
    host: str
    port: int
    authority: str
    target: str  # path and query


def place_of(url: str, proxies: Proxies) -> Place:
    """Raises ``InvalidRequest``, without the URL, for one that cannot be asked."""
    scheme, host, port, _, _ = _address(url)
    return Place(scheme, host, port, proxies.way_to(scheme, host, port))


def head_of(request: HttpRequest, place: Place) -> bytes:
    """Request line and headers. Raises ``InvalidRequest`` for a header that would break out of its line."""
    if not _TOKEN.fullmatch(request.method):
        raise InvalidRequest("The method of a request holds a character that no method may have.")
    _, _, _, authority, target = _address(request.url)
    proxy = place.proxy if place.scheme == "http" else None  # for https the tunnel has done with it
    start = f"{request.method} {f'http://{authority}' if proxy else ''}{target} HTTP/1.1\r\nhost: {authority}\r\n"
    if proxy is not None and proxy.authorization is not None:
        start += f"proxy-authorization: {proxy.authorization}\r\n"
    if request.body is not None or request.method in _WITH_BODY:
        start += f"content-length: {len(request.body or b'')}\r\n"
    return f"{start}{_own(request.headers)}\r\n".encode("latin-1")


def _address(url: str) -> _Address:
    """Engines are asked at a few short addresses again and again; others are not worth the memory."""
    return _kept_split(url) if len(url) <= _SHORT else _split(url)


def _split(url: str) -> _Address:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        host = port = None
    if not host or not port or parts.scheme not in _PORTS or not _URL.fullmatch(url):
        raise InvalidRequest("The address of the engine is not an http:// or https:// URL.")
    authority = parts.netloc.rpartition("@")[2]
    return _Address(
        parts.scheme, host, port, authority, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    )


_SHORT: Final = 256  # characters
_kept_split: Final = lru_cache(maxsize=64)(_split)


def _own(headers: Mapping[str, str]) -> str:
    if not _VALUE.fullmatch("".join(headers.values())):
        raise _refusal(next(name for name, value in headers.items() if not _VALUE.fullmatch(value)))
    defaults, sent = _named(tuple(headers))
    return defaults + "".join([f"{name}: {headers[name]}\r\n" for name in sent])


@lru_cache(maxsize=64)
def _named(names: tuple[str, ...]) -> tuple[str, Sequence[str]]:
    """The lines that go before headers of these names, and those of them that are not ours to write."""
    for name in names:
        if not _TOKEN.fullmatch(name):
            raise _refusal(name)
    given = {name.lower() for name in names}
    defaults = "".join(f"{name}: {value}\r\n" for name, value in _DEFAULTS.items() if name not in given)
    return defaults, [name for name in names if name.lower() not in _OURS]


def _refusal(name: str) -> InvalidRequest:
    return InvalidRequest(f"The header {name[:40]!r} holds a character that no header may have.")
