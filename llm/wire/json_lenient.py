"""Lenient reading of provider JSON: a value of the wrong type becomes empty or None, and nothing raises (S8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def as_text(value: object) -> str:
    """Returns ``value`` if it is a text, else ``""``."""
    return value if isinstance(value, str) else ""


def drop_null(arguments: str) -> str:
    """Returns the JSON text of a tool call's arguments, ``""`` for ``null``, which some models write for none."""
    return "" if len(arguments) < _LONG and arguments.strip() == "null" else arguments


def as_dict(value: object) -> Mapping[str, Any]:
    """Returns ``value`` if it is an object, else ``{}``."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """Returns ``value`` if it is a list, else ``[]``."""
    return value if isinstance(value, list) else []


def as_dicts(value: object) -> list[Mapping[str, Any]]:
    """Returns the objects of a list; skips its other items."""
    return [one for one in as_list(value) if isinstance(one, dict)]


def as_count(value: object) -> int | None:
    """Returns a count as an integer of at least 0, None if it is no finite number. Some hosts send floats."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value in (_INF, -_INF):
        return None
    return max(int(value), 0)


_INF = float("inf")
_LONG = 64  # characters; longer arguments are no ``null``
