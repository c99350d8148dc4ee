"""Which proxy leads to an address: ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY``, in either case."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Proxy:
    host: str
    port: int
    authorization: str | None  # value of Proxy-Authorization

    def __repr__(self) -> str:  # never with the password
        return f"Proxy({self.host}:{self.port})"


class Proxies:
    """Chooses a proxy. Raises ``ValueError`` for an address that is no http:// URL."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        # Where both are set the lower-case name wins, as in curl.
        named = {name.upper(): value for name, value in sorted(settings.items())}
        self._by_scheme = {scheme: _proxy(named.get(f"{scheme.upper()}_PROXY", "")) for scheme in ("http", "https")}
        self._exempt = [entry.strip().lower() for entry in named.get("NO_PROXY", "").split(",") if entry.strip()]

    def way_to(self, scheme: str, host: str, port: int) -> Proxy | None:
        proxy = self._by_scheme.get(scheme)
        return None if proxy is None or any(_covers(entry, host.lower(), port) for entry in self._exempt) else proxy


def _proxy(url: str) -> Proxy | None:
    if not url:
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError("a proxy has to be an http:// address")
    authorization = None
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {base64.b64encode(login.encode()).decode()}"
    return Proxy(parts.hostname, parts.port or 80, authorization)


def _covers(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    name, _, suffix = entry.rpartition(":")
    if name and suffix.isdecimal() and "]" not in suffix and name.count(":") == 0:
        if int(suffix) != port:
            return False
        entry = name
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass
    entry = entry.removeprefix("*").removeprefix(".")
    return host == entry or host.endswith(f".{entry}")
