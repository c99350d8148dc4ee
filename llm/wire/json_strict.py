"""Strict reading of client JSON: a value of the wrong type raises ``InvalidRequest`` with the path of the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, cast

from llm.errors import InvalidRequest


def invalid(path: str, problem: str) -> InvalidRequest:
    """Returns the error for the field at ``path``, such as ``messages.0.content``."""
    return InvalidRequest(f"{path}: {problem}", param=path)


class Fields:
    """Reads the fields of one JSON object of a request.

    A field that is missing or ``null`` reads as None. Raises ``InvalidRequest`` for a value of the wrong type.
    """

    def __init__(self, raw: Mapping[str, Any], path: str = "") -> None:
        self.raw = raw
        self._prefix = f"{path}." if path else ""

    def read_text(self, name: str) -> str | None:
        """Reads a text."""
        return cast("str | None", self._read(name, str, "text"))

    def read_required_text(self, name: str) -> str:
        """Reads a text; raises ``InvalidRequest`` if it is missing or empty."""
        value = self.read_text(name)
        if not value:
            raise invalid(self._prefix + name, "is required, as text")
        return value

    def read_flag(self, name: str) -> bool | None:
        """Reads a boolean."""
        return cast("bool | None", self._read(name, bool, "true or false"))

    def read_integer(self, name: str) -> int | None:
        """Reads a whole number."""
        return cast("int | None", self._read(name, int, "a whole number"))

    def read_number(self, name: str) -> float | None:
        """Reads a number."""
        return cast("float | None", self._read(name, int | float, "a number"))

    def read_list(self, name: str) -> list[Any] | None:
        """Reads a list, whose items are not checked."""
        return cast("list[Any] | None", self._read(name, list, "a list"))

    def read_object(self, name: str) -> Fields | None:
        """Reads an object, as a reader of its own fields."""
        value = self._read(name, dict, "an object")
        return None if value is None else Fields(cast("dict[str, Any]", value), self._prefix + name)

    def invalid(self, name: str, problem: str) -> InvalidRequest:
        """Returns the error for the field ``name``, with its full path."""
        return invalid(self._prefix + name, problem)

    def _read(self, name: str, kind: Any, expected: str) -> object:
        value = self.raw.get(name)
        if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            raise self.invalid(name, f"is not {expected}")
        return value


# The same without an object for each JSON object, for requests with many messages.


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
