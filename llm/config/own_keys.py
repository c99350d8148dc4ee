"""Decides which engines a caller's own key opens (``OWN_KEYS``)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from llm.config.parsers import ConfigError, parse_names
from llm.engines.engine import Engine
from llm.engines.records import ENGINES
from llm.transport.egress import is_public

_ALL: Final = ("true", "yes", "on", "1")
_NONE: Final = ("false", "no", "off", "0")
_PRIVATE_NAMES: Final = (".localhost", ".local", ".internal", ".lan", ".home.arpa")


def read_own_keys(value: str | None, engines: Mapping[str, Engine], keys: Collection[str]) -> frozenset[str]:
    """Returns the engines that take the own key of a caller without a client id.

    ``value``: that of ``OWN_KEYS``; ``keys``: engines for which the server has a key. By default these are all but the
    owner's own, which the server has a key for: engines of ``CUSTOM_ENGINES`` and those with a private address. They
    may not look at keys, so that a made-up one would open them. Raises :class:`ConfigError`.
    """
    if value is None:
        own = {name for name in keys if name not in ENGINES or is_private(engines[name].base_url)}
        return frozenset(engines) - own
    if value.strip().lower() in _ALL:
        return frozenset(engines)
    if value.strip().lower() in _NONE:
        return frozenset()
    names = parse_names(value)
    for name in names:
        if name not in engines:
            raise ConfigError("OWN_KEYS", f"{name[:40]!r} is neither true, false nor an engine")
    return frozenset(names)


def is_private(url: str) -> bool:
    """True if the host of a URL is a private address, or a name that only a private network has."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        return not is_public(ip_address(host.partition("%")[0]))
    except ValueError:
        return bool(host) and ("." not in host or host.endswith(_PRIVATE_NAMES))
