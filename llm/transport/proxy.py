"""Chooses the proxy for a URL by ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY``, in upper or lower case.

If both spellings are set, lower case wins, as in curl. ``NO_PROXY`` is a list, separated by commas or blanks, of host
names (``example.org`` matches its subdomains, as ``.example.org`` and ``*.example.org`` do), addresses, networks
(``10.0.0.0/8``), any of these with a port, or ``*`` for all. Loopback has to be listed like any other address.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

_WITH_PORT: Final = re.compile(r"(?P<host>[^:]+|\[[^]]*\]):(?P<port>[0-9]+)")


@dataclass(frozen=True, slots=True)
class Proxy:
    """The address and credentials of one proxy. ``repr`` leaves the credentials out."""

    host: str
    port: int
    authorization: str | None = field(repr=False)  # value of Proxy-Authorization


class Proxies:
    """The proxies of the environment variables in ``settings``.

    Raises ``ValueError``, without the value, for a proxy that is not an ``http://`` address.
    """

    def __init__(self, settings: Mapping[str, str]) -> None:
        values = {name.upper(): settings[name] for name in sorted(settings)}  # upper case sorts first: lower case wins
        self._by_scheme = {scheme: _read_proxy(f"{scheme}_proxy".upper(), values) for scheme in ("http", "https")}
        self._exempt = [entry for entry in re.split(r"[\s,]+", values.get("NO_PROXY", "").lower()) if entry]

    @property
    def configured(self) -> bool:
        """True if there is any proxy."""
        return any(self._by_scheme.values())

    def choose_proxy(self, scheme: str, host: str, port: int) -> Proxy | None:
        """Returns the proxy for a URL, or None for a direct connection."""
        proxy = self._by_scheme.get(scheme)
        if proxy is None or any(_matches(entry, host.lower(), port) for entry in self._exempt):
            return None
        return proxy


def _read_proxy(name: str, settings: Mapping[str, str]) -> Proxy | None:
    url = settings.get(name, "").strip()
    if not url:
        return None
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        host = None
    if not host or parts.scheme != "http":
        raise ValueError(f"{name} is not an http:// address")
    authorization = None
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {base64.b64encode(login.encode()).decode()}"
    return Proxy(host, port, authorization)


def _matches(entry: str, host: str, port: int) -> bool:
    if match := _WITH_PORT.fullmatch(entry):
        if int(match["port"]) != port:
            return False
        entry = match["host"]
    if entry == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:  # one of the two is a host name
        name = entry.removeprefix("*").removeprefix(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))
