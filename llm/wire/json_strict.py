"""A client's JSON read with its types checked, so that a fault names its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from llm.errors import InvalidRequest


def invalid(place: str, what: str) -> InvalidRequest:
    return InvalidRequest(f"{place}: {what}", param=place)


class Fields:
    """An object of a request, read with its types checked; ``null`` is as good as nothing."""

    def __init__(self, wire: Mapping[str, Any], place: str = "") -> None:
        self.wire = wire
        self._place = f"{place}." if place else ""

    def text(self, name: str) -> str | None:
        return cast("str | None", self._of(name, str, "text"))

    def required_text(self, name: str) -> str:
        value = self.text(name)
        if not value:
            raise invalid(self._place + name, "is required, as text")
        return value

    def flag(self, name: str) -> bool | None:
        return cast("bool | None", self._of(name, bool, "true or false"))

    def integer(self, name: str) -> int | None:
        return cast("int | None", self._of(name, int, "a whole number"))

    def number(self, name: str) -> float | None:
        return cast("float | None", self._of(name, int | float, "a number"))

    def items(self, name: str) -> list[Any] | None:
        return cast("list[Any] | None", self._of(name, list, "a list"))

    def inner(self, name: str) -> Fields | None:
        value = self._of(name, dict, "an object")
        return None if value is None else Fields(cast("dict[str, Any]", value), self._place + name)

    def invalid(self, name: str, what: str) -> InvalidRequest:
        return invalid(self._place + name, what)

    def _of(self, name: str, kind: Any, what: str) -> object:
        value = self.wire.get(name)
        if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            raise self.invalid(name, f"is not {what}")
        return value
