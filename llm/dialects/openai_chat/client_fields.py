"""Reads fields of a client's JSON; a value of the wrong type raises ``InvalidRequest`` with the field's path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from llm.errors import InvalidRequest


def raise_invalid(place: str, reason: str) -> NoReturn:
    """Raises ``InvalidRequest`` for the field at ``place``."""
    raise InvalidRequest(f"{place}: {reason}", param=place)


def read_list(wire: Mapping[str, Any], name: str) -> Sequence[Any]:
    """Returns a list, empty if the field is missing or null."""
    value = wire.get(name)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise_invalid(name, "must be a list")
    return value


def read_typed(wire: Mapping[str, Any], name: str, kind: type, place: str = "") -> Any:
    """Returns a value of ``kind``; None if the field is missing or null. ``place`` ends with a dot."""
    value = wire.get(name)
    if value is None:
        return None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        names = {str: "text", bool: "a boolean", int: "a whole number", dict: "an object", list: "a list"}
        raise_invalid(f"{place}{name}", f"must be {names.get(kind, 'a number')}")
    return value


def read_number(wire: Mapping[str, Any], name: str) -> float | None:
    """Returns a number; None if the field is missing or null."""
    value = wire.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise_invalid(name, "must be a number")
    return value


def read_text(wire: Mapping[str, Any], name: str, place: str) -> str:
    """Returns a text. Raises ``InvalidRequest`` if the field is missing or null."""
    value = read_typed(wire, name, str, place)
    if value is None:
        raise_invalid(f"{place}{name}", "is required")
    return str(value)
