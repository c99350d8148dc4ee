"""Decides which addresses a fetch may reach whose URL comes from a client, a model or a web page (X1).

Two checks are needed. ``parse_url`` checks scheme, port and form of a URL. ``allows`` checks the numeric address just
before a socket connects to it, so the spelling in the URL does not matter (``0x7f.1``, ``[::1]``, a name that resolves
to another address each time).

Registries: https://www.iana.org/assignments/iana-ipv4-special-registry/ and
https://www.iana.org/assignments/iana-ipv6-special-registry/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

MAX_URL_LENGTH: Final = 4096  # of a URL

_PORTS: Final = {"http": 80, "https": 443}

_ASCII: Final = "".join(map(chr, range(0x21, 0x7F)))

# Below 1024 only 80 and 443 are allowed. From 1024 on, the ports that browsers block are refused too
# (https://fetch.spec.whatwg.org/#port-blocking): file and display servers, mail, telephony, chat.
_SYSTEM_PORTS: Final = 1024
_BAD_PORTS: Final = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080}
)

# A list of its own, since the meaning of ``is_global`` differs between Python versions.
_SPECIAL_IPV4: Final = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carriers' NAT; 100.100.100.200 is a metadata address
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's wire server, reachable from every virtual machine there
        "169.254.0.0/16",  # link-local; 169.254.169.254 is the usual metadata address
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; 192.0.0.192 is a metadata address
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)

# Public IPv6 is 2000::/3 without these. Unique-local, link-local, multicast and loopback lie outside of it.
_GLOBAL_IPV6: Final = ip_network("2000::/3")
_SPECIAL_IPV6: Final = tuple(
    ip_network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which carries an IPv4 address and is obsolete
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
_NAT64: Final = ip_network("64:ff9b::/96")  # the addresses of IPv4 in an IPv6-only network (NAT64)


class UrlRefused(ValueError):
    """A URL is not allowed. ``str()`` is a sentence with the reason, without the URL."""


@dataclass(frozen=True, slots=True)
class FetchUrl:
    """A URL that passed the checks of scheme, port and form; its address is checked later."""

    url: str  # ASCII, without a fragment
    scheme: str
    host: str  # normalised: lower case, no dot at the end, IPv6 without brackets
    port: int

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port."""
        return self.scheme, self.host, self.port


@dataclass(frozen=True, slots=True)
class Egress:
    """Allows public addresses and ``permitted``: (host, port) pairs of the setting ``FETCH_ALLOW``.

    A host name there permits every address that it resolves to; an address permits itself under every name.
    """

    permitted: frozenset[tuple[str, int]] = frozenset()

    def parse_url(self, url: str) -> FetchUrl:
        """Parses and checks a URL. Raises ``UrlRefused``."""
        parsed = _parse_url(url)
        if not _is_web_port(parsed.port) and not any(port == parsed.port for _, port in self.permitted):
            raise UrlRefused(f"Port {parsed.port} is not a port that web pages are read from.")
        return parsed

    def allows(self, host: str, port: int, address: str) -> bool:
        """Returns True if a socket may connect to ``address`` and ``port`` for a URL with ``host``."""
        if (normalize_host(host), port) in self.permitted:
            return True
        try:
            numeric = _unwrap_ipv4(ip_address(address.partition("%")[0]))
        except ValueError:
            return False
        return (str(numeric), port) in self.permitted or (is_public(numeric) and _is_web_port(port))


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Returns True if the address is globally reachable. An IPv4 address inside an IPv6 one counts as itself."""
    address = _unwrap_ipv4(address)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _SPECIAL_IPV4)
    return address in _GLOBAL_IPV6 and not any(address in network for network in _SPECIAL_IPV6)


def _is_web_port(port: int) -> bool:
    return port in _PORTS.values() or (port >= _SYSTEM_PORTS and port not in _BAD_PORTS)


def _unwrap_ipv4(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Returns the IPv4 address that packets would go to, if there is one inside, else the address itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def normalize_host(host: str) -> str:
    """Normalises a host for comparison: lower case, no dot at the end, addresses in their shortest form."""
    name = host.lower().removesuffix(".")
    try:
        return str(_unwrap_ipv4(ip_address(name.strip("[]"))))
    except ValueError:
        return name


def read_allow_entry(entry: str) -> tuple[str, int]:
    """Reads one ``host:port`` of ``FETCH_ALLOW``, IPv6 in brackets. Raises ``ValueError``."""
    match = re.fullmatch(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})", entry)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise ValueError(f"{entry!r} is not host:port, such as wiki.internal:8080 or [fd00::7]:443")
    return normalize_host(match["host"]), int(match["port"])


def _parse_url(url: str) -> FetchUrl:
    url = url.strip()
    if len(url) > MAX_URL_LENGTH:
        raise UrlRefused(f"The URL is longer than {MAX_URL_LENGTH} characters.")
    if re.search(r"[\x00-\x20\x7f\\]", url):  # URL parsers disagree on what a backslash means
        raise UrlRefused("The URL holds a character that is not allowed in a URL.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise UrlRefused("The text is not a URL.") from None
    if parts.scheme not in _PORTS:
        raise UrlRefused("Only http:// and https:// URLs are read.")
    if "@" in parts.netloc:  # it is there to mislead, or it is a password
        raise UrlRefused("A URL with a user name in it is not read.")
    if port == 0:
        raise UrlRefused("Port 0 is not a port that web pages are read from.")
    if "[" in parts.netloc and ":" not in host:
        raise UrlRefused("The URL has no valid host.")
    ascii_host = _encode_host(host)
    bracketed = f"[{ascii_host}]" if ":" in ascii_host else ascii_host
    authority = f"{bracketed}:{port}" if port is not None else bracketed
    path, query = (quote(text, safe=_ASCII) for text in (parts.path, parts.query))
    plain = urlunsplit((parts.scheme, authority, path, query, ""))
    return FetchUrl(plain, parts.scheme, normalize_host(ascii_host), port or _PORTS[parts.scheme])


def _encode_host(host: str) -> str:
    """Returns a host name as DNS spells it (IDNA). Look-alikes of ASCII (``ⓛocalhost``) become ASCII."""
    try:
        plain = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        plain = ""
    if re.fullmatch(
        r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", plain
    ):  # without a zone, which would name a network interface of this machine
        try:
            return str(IPv6Address(plain))
        except ValueError:
            plain = ""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", plain):
        raise UrlRefused("The URL has no valid host.")
    return plain.removesuffix(".")
