"""Values out of what a provider sent: of the kind that is wanted, or nothing. No odd answer raises here (S8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def text_of(value: object) -> str:
    return value if isinstance(value, str) else ""


def dict_of(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def list_of(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def dicts_of(value: object) -> list[Mapping[str, Any]]:
    """The objects in a list."""
    return [one for one in list_of(value) if isinstance(one, dict)]


def count_of(value: object) -> int | None:
    """A number of things: whole, not below zero. Hosts send floats now and then."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value in (_INF, -_INF):
        return None
    return max(int(value), 0)


_INF = float("inf")
