"""Strict reading of client JSON: a value of the wrong type raises ``InvalidRequest`` with the path of the field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

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
