"""Makes a value that fits a JSON Schema, for calls and JSON answers of the demo engine."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from llm.wire.json_codec import Json
from llm.wire.schema_merge import merge_schemas
from llm.wire.schema_refs import resolve_ref
from llm.wire.schema_types import infer_types

_MOST_VALUES: Final = 2_000  # in one sample
_DEEP: Final = 6  # levels; below them only what a schema requires
_DEEPEST: Final = 40  # levels; schemas may refer to themselves
_COMBINATIONS: Final = frozenset({"$ref", "anyOf", "oneOf", "allOf"})
_NUMBER: Final = re.compile(r"[0-9]{1,15}")
_FORMATS: Final[Mapping[str, str]] = {
    "date-time": "2026-01-02T03:04:05Z",
    "date": "2026-01-02",
    "time": "03:04:05Z",
    "duration": "PT1H",
    "email": "demo@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uri-reference": "https://example.com/",
    "uuid": "123e4567-e89b-42d3-a456-426614174000",
}


def make_sample(schema: Mapping[str, Any], text: str = "") -> Json:
    """Returns a value that fits ``schema``; a schema without a type, as of a tool's arguments, gets an object.

    ``text``: the value of texts without an enumeration, a format or a default; its first number is that of numbers.
    ``pattern``, ``not``, ``if`` and ``contains`` are not considered.
    """
    is_known = infer_types(schema) or not _COMBINATIONS.isdisjoint(schema)
    return _Maker(schema, text or "demo").make(schema if is_known else {"type": "object", **schema})


class _Maker:
    """Makes one sample. ``root``: the document of references."""

    def __init__(self, root: Mapping[str, Any], text: str) -> None:
        self._root = root
        self._text = text
        number = _NUMBER.search(text)
        self._number = int(number[0]) if number else 1
        self._count = 0

    def make(self, schema: Any, depth: int = 0, n: int = 0) -> Json:
        """``n``: the place in a list, whose values may have to differ."""
        self._count += 1
        if not isinstance(schema, dict):
            return self._text
        schema = self._resolve(schema, depth)
        if "const" in schema:
            return schema["const"]  # type: ignore[no-any-return]
        for name in ("enum", "examples"):
            values = schema.get(name)
            if isinstance(values, list) and values:
                return values[n % len(values)]  # type: ignore[no-any-return]
        if "default" in schema and n == 0:
            return schema["default"]  # type: ignore[no-any-return]
        types = [kind for kind in infer_types(schema) if kind != "null"] or infer_types(schema)
        match types[0] if types else "string":
            case "object":
                return self._make_object(schema, depth)
            case "array":
                return self._make_list(schema, depth)
            case "integer":
                return _choose_number(schema, self._number + n, whole=True)
            case "number":
                return _choose_number(schema, self._number + n, whole=False)
            case "boolean":
                return n == 0
            case "null":
                return None
        return self._choose_text(schema, n)

    def _resolve(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        """Returns the schema with its references, ``allOf`` and the first fitting alternative in it."""
        for _ in range(_DEEPEST):
            parts: list[Any] = []
            rest = dict(schema)
            if "$ref" in rest:
                parts.append(resolve_ref(self._root, rest.pop("$ref")))
            if isinstance(members := rest.pop("allOf", None), list):
                parts += members
            for name in ("anyOf", "oneOf"):
                if isinstance(members := rest.pop(name, None), list) and members:
                    plain = [one for one in members if isinstance(one, dict) and one.get("type") != "null"]
                    # Deep down, null or the last alternative ends a schema that refers to itself.
                    parts.append(plain[0] if plain and depth <= _DEEP else members[-1])
            if not parts:
                return schema
            schema = rest
            for part in parts:
                if isinstance(part, dict):
                    schema = merge_schemas(schema, part)[0]
        return {}

    def _make_object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Json]:
        properties = schema.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        required = [name for name in schema.get("required") or () if isinstance(name, str)]
        names = required if depth >= _DEEP else [*properties, *required]
        if depth >= _DEEPEST or self._count > _MOST_VALUES:
            return {}
        more = schema.get("additionalProperties")
        return {name: self.make(properties.get(name, more), depth + 1) for name in dict.fromkeys(names)}

    def _make_list(self, schema: Mapping[str, Any], depth: int) -> list[Json]:
        first = schema.get("prefixItems")
        first = first if isinstance(first, list) else []
        least = _read_limit(schema, "minItems", 0)
        wanted = max(least, len(first) or 1) if depth < _DEEP else least
        count = min(wanted, _read_limit(schema, "maxItems", wanted), _MOST_VALUES)
        if depth >= _DEEPEST or self._count > _MOST_VALUES:
            return []
        items = schema.get("items", {})
        return [self.make(first[n] if n < len(first) else items, depth + 1, n) for n in range(count)]

    def _choose_text(self, schema: Mapping[str, Any], n: int) -> str:
        text = _FORMATS.get(str(schema.get("format"))) or self._text + (f" {n + 1}" if n else "")
        return text.ljust(_read_limit(schema, "minLength", 0), ".")[
            : _read_limit(schema, "maxLength", len(text) + 1000)
        ]


def _read_limit(schema: Mapping[str, Any], name: str, default: int) -> int:
    value = schema.get(name)
    return min(value, 10_000) if isinstance(value, int) and value >= 0 else default


def _choose_number(schema: Mapping[str, Any], wanted: int, *, whole: bool) -> int | float:
    """Returns ``wanted``, or the first other candidate within the limits; 1 if there is none."""
    bounds = {name: value for name, value in schema.items() if isinstance(value, int | float) and math.isfinite(value)}
    low, above = bounds.get("minimum"), bounds.get("exclusiveMinimum")
    high, below = bounds.get("maximum"), bounds.get("exclusiveMaximum")
    step = bounds.get("multipleOf") or 0

    def fits(value: float) -> bool:
        return (
            (low is None or value >= low)
            and (above is None or value > above)
            and (high is None or value <= high)
            and (below is None or value < below)
            and (not whole or value == int(value))
            and (not step or math.isclose(value / step, round(value / step), abs_tol=1e-9))
        )

    ends = [value for value in (low, above, high, below) if value is not None]
    for value in _list_candidates(ends, step, wanted):
        if fits(value):
            return int(value) if whole or value == int(value) else value
    return 1


def _list_candidates(ends: list[float], step: float, wanted: int) -> Iterator[float]:
    yield from (wanted, 1, 0)
    yield from (end + more for end in ends for more in (0, wanted, -wanted, 1, -1))
    if len(ends) > 1:
        yield (min(ends) + max(ends)) / 2
    yield from (end + 0.5 * sign for end in ends for sign in (1, -1))
    if step:
        yield from (step * (math.ceil(end / step) + more) for end in (ends or [1]) for more in (0, 1, -1))
