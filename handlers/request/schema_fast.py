"""A fast check for valid bodies, in front of ``jsonschema``.

Nearly every body is valid, and ``jsonschema`` needs longer to check it than the server to read the request. A value
that does not pass here, or whose schema has a keyword that is unknown here, is checked by ``jsonschema``, which also
describes the error.
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
    "integer": (int,),  # 1.0 is an integer too; it is left to ``jsonschema``
    "number": (int, float),
    "null": (type(None),),
}
_KNOWN: Final = frozenset(
    {
        "type", "enum", "required", "properties", "additionalProperties", "items", "minItems", "minLength", "pattern",
        "minimum", "$schema", "$defs", "title",
    }
)  # fmt: skip
_BY_TYPE: Final = frozenset({"type", "required", "properties", "additionalProperties", "items", "minItems"})


class FastSchema:
    """A compiled schema. ``matches`` is False for every invalid value; it may also be False for a valid one."""

    __slots__ = (
        "_closed",
        "_enum",
        "_items",
        "_kinds",
        "_min_length",
        "_minimum",
        "_pattern",
        "_properties",
        "_required",
        "plain_kinds",
    )

    def __init__(self, schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> None:
        root = schema if root is None else root
        if [*schema] == ["$ref"]:
            schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        types = schema.get("type", [*_KINDS])
        kinds = {kind for name in ([types] if isinstance(types, str) else types) for kind in _KINDS[name]}
        self._enum = frozenset(schema["enum"]) if "enum" in schema else None
        if self._enum is not None:  # equality of numbers and booleans differs between Python and JSON
            kinds &= {str}
        self._kinds = frozenset(kinds) if schema.keys() <= _KNOWN else frozenset()
        self._required = tuple(schema.get("required", ()))
        self._properties = {name: FastSchema(inner, root) for name, inner in schema.get("properties", {}).items()}
        self._closed = "additionalProperties" in schema
        self._items = FastSchema(schema["items"], root) if "items" in schema else None
        self._min_length = max(schema.get("minItems", 0), schema.get("minLength", 0))
        self._pattern = re.compile(schema["pattern"]) if "pattern" in schema else None
        self._minimum = schema.get("minimum", float("-inf"))
        # Types of values that need no look beyond their type.
        self.plain_kinds = self._kinds - {dict, list} if schema.keys() <= _BY_TYPE else frozenset()

    def matches(self, value: Any) -> bool:
        """True if the value is certainly valid."""
        kind = type(value)
        if kind not in self._kinds:
            return False
        if kind is str:
            return (
                len(value) >= self._min_length
                and (self._enum is None or value in self._enum)
                and (self._pattern is None or self._pattern.search(value) is not None)
            )
        if kind is list:
            return len(value) >= self._min_length and (self._items is None or all(map(self._items.matches, value)))
        if kind is not dict:
            return kind not in (int, float) or value >= self._minimum
        for name in self._required:
            if name not in value:
                return False
        properties = self._properties
        for name, inner in value.items():
            schema = properties.get(name)
            if schema is None:
                if self._closed:
                    return False
            elif type(inner) not in schema.plain_kinds and not schema.matches(inner):
                return False
        return True
