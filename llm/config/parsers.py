"""Parsers: the text of a variable to its value. Each one raises ``ValueError`` with the reason, without the name."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeVar
from urllib.parse import urlsplit

from llm.engines.records import ENGINES
from llm.transport.egress import read_allow_entry

T = TypeVar("T")


class ConfigError(Exception):
    """A variable has an invalid value. ``str()`` has the name and the reason, but never a secret."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name


_REASONING_FIELDS: Final = ("reasoning_content", "reasoning")  # of a message in Chat Completions

# Engines that the image tool can use.
IMAGE_ENGINES: Final = tuple(name for name, engine in ENGINES.items() if engine.image_tool)


def parse_text(value: str) -> str:
    """Parses a text that is not empty."""
    if not value.strip():
        raise ValueError("is empty; set it or remove it")
    return value.strip()


def parse_int(value: str) -> int:
    """Parses a whole number from 0."""
    if not re.fullmatch(r"[0-9]+", value.strip()):
        raise ValueError(f"{value!r} is not a whole number")
    return int(value)


def parse_port(value: str) -> int:
    """Parses a TCP port; 0 lets the system choose."""
    port = parse_int(value)
    if port > 65535:
        raise ValueError(f"{port} is not a port (0 to 65535; 0 lets the system choose)")
    return port


def parse_seconds(value: str) -> float:
    """Parses a time in seconds above 0: ``20``, ``0.5``, ``20s``."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*s?", value.strip())
    if not match or float(match[1]) <= 0:
        raise ValueError(f"{value!r} is not a time in seconds above 0")
    return float(match[1])


_SECONDS: Final = {"": 1, "S": 1, "M": 60, "H": 3600, "D": 86400}


def parse_age(value: str) -> float:
    """Parses an age into seconds: ``30d``, ``12h``, ``90s``."""
    match = re.fullmatch(r"([0-9]+)\s*([SMHD]?)", value.strip().upper())
    if not match or int(match[1]) == 0:
        raise ValueError(f"{value!r} is not an age such as 30d, 12h or 90s")
    return float(int(match[1]) * _SECONDS[match[2]])


_BYTES: Final = {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}


def parse_size(value: str) -> int:
    """Parses a size into bytes: ``32MB``, ``1048576``."""
    match = re.fullmatch(r"([0-9]+)\s*([KMG]?B?)", value.strip().upper())
    if not match or match[2] not in _BYTES or int(match[1]) == 0:
        raise ValueError(f"{value!r} is not a size such as 32MB or 1048576")
    return int(match[1]) * _BYTES[match[2]]


def parse_size_or_zero(value: str) -> int:
    """Parses a size as :func:`parse_size` does, or ``0``."""
    return 0 if value.strip() == "0" else parse_size(value)


def parse_flag(value: str) -> bool:
    """Parses ``true`` or ``false``; an empty text is false."""
    low = value.strip().lower()
    if low in ("true", "yes", "on", "1"):
        return True
    if low in ("false", "no", "off", "0", ""):
        return False
    raise ValueError(f"{value!r} is neither true nor false")


def parse_names(value: str) -> tuple[str, ...]:
    """Parses comma separated names; none is possible."""
    return tuple(name.strip() for name in value.split(",") if name.strip())


def parse_image_engine(value: str) -> str:
    """Parses the name of an engine that the image tool can use."""
    name = parse_text(value)
    if name not in IMAGE_ENGINES:
        raise ValueError(f"{name!r} is not one of {', '.join(IMAGE_ENGINES)}")
    return name


def parse_reasoning_field(value: str) -> tuple[str, ...]:
    """Parses the choice of fields for reasoning in Chat Completions."""
    choice = value.strip()
    if choice not in ("both", *_REASONING_FIELDS):
        raise ValueError(f"{choice!r} is not one of both, {', '.join(_REASONING_FIELDS)}")
    return _REASONING_FIELDS if choice == "both" else (choice,)


def parse_fetch_allow(value: str) -> tuple[tuple[str, int], ...]:
    """Parses comma separated ``host:port`` entries."""
    return tuple(read_allow_entry(entry) for entry in parse_names(value))


def parse_client_ids(value: str) -> frozenset[str]:
    """Parses comma separated client ids."""
    ids = frozenset(part.strip() for part in parse_text(value).split(","))
    if "" in ids:
        raise ValueError("has an empty id")
    return ids


def parse_url(value: str) -> str:
    """Parses an http(s) URL without user, query and fragment; a slash at the end is removed."""
    url = parse_text(value).rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is not an http:// or https:// URL")
    if parts.username or parts.query or parts.fragment:
        raise ValueError("must not have a user, a query or a fragment")
    return url


def parse_proxy_url(value: str) -> str:
    """Parses the ``http://`` URL of a proxy; the scheme may be missing."""
    url = value.strip()
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        valid = parts.scheme == "http" and parts.hostname and parts.port != 0
    except ValueError:  # the port is not a number
        valid = False
    if not valid:
        raise ValueError("is not the http:// URL of a proxy")
    return url


def parse_key(value: str) -> str:
    """Parses a provider key, which is printable ASCII."""
    key = parse_text(value)
    if not key.isascii() or not key.isprintable():
        raise ValueError("holds characters that no key has")
    return key


def parse_variable(name: str, parse: Callable[[str], T], value: str) -> T:
    """Parses the value of a variable. Raises :class:`ConfigError` with its name and the reason."""
    try:
        return parse(value)
    except ValueError as error:
        raise ConfigError(name, str(error)) from None
