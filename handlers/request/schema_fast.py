"""A schema as something that says at once whether a value is plainly sound.

Nearly every body is, and for ``jsonschema`` to say so costs more than to read the request. What is not plainly sound,
or stands under a keyword that is not known here, is left to ``jsonschema``, which also finds the words for a fault.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),  # 1.0 is one too, but not plainly
    "number": (int, float),
    "null": (type(None),),
}
_KNOWN: Final = frozenset(
    {
        "type", "enum", "required", "properties", "additionalProperties", "items", "minItems", "minLength", "pattern",
        "minimum", "$schema", "$defs", "title",
    }
)  # fmt: skip


class Shape:
    """``fits`` is never true of what the schema refuses; it may be false of what the schema accepts."""

    __slots__ = ("_closed", "_fewest", "_inside", "_items", "_kinds", "_least", "_pattern", "_required", "_words")

    def __init__(self, schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> None:
        root = schema if root is None else root
        if [*schema] == ["$ref"]:
            schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        told = schema.get("type", [*_KINDS])
        kinds = {kind for name in ([told] if isinstance(told, str) else told) for kind in _KINDS[name]}
        self._words = frozenset(schema["enum"]) if "enum" in schema else None
        if self._words is not None:  # other values than texts are not equal in Python where they are in JSON
            kinds &= {str}
        self._kinds = frozenset(kinds) if schema.keys() <= _KNOWN else frozenset()
        self._required = tuple(schema.get("required", ()))
        self._inside = {name: Shape(inner, root) for name, inner in schema.get("properties", {}).items()}
        self._closed = "additionalProperties" in schema
        self._items = Shape(schema["items"], root) if "items" in schema else None
        self._fewest = max(schema.get("minItems", 0), schema.get("minLength", 0))
        self._pattern = re.compile(schema["pattern"]) if "pattern" in schema else None
        self._least = schema.get("minimum", float("-inf"))

    def fits(self, value: Any) -> bool:
        kind = type(value)
        if kind not in self._kinds:
            return False
        if kind is str:
            return (
                len(value) >= self._fewest
                and (self._words is None or value in self._words)
                and (self._pattern is None or self._pattern.search(value) is not None)
            )
        if kind is dict:
            return self._fits_object(value)
        if kind is list:
            return len(value) >= self._fewest and (self._items is None or all(map(self._items.fits, value)))
        return kind not in (int, float) or value >= self._least

    def _fits_object(self, value: Mapping[str, Any]) -> bool:
        for name in self._required:
            if name not in value:
                return False
        inside = self._inside
        for name in value:
            shape = inside.get(name)
            if not (shape.fits(value[name]) if shape is not None else not self._closed):
                return False
        return True
