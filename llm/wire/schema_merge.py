"""Merging of JSON Schemas: two schemas that both have to hold, and a schema or null."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from llm.wire.schema_refs import ANNOTATIONS

_STRICTER: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "minimum": max, "exclusiveMinimum": max, "minLength": max, "minItems": max, "minProperties": max,
    "maximum": min, "exclusiveMaximum": min, "maxLength": min, "maxItems": min, "maxProperties": min,
}  # fmt: skip


def merge_schemas(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Merges two schemas that both have to hold (``allOf``).

    Returns the merged schema and the keywords of ``other`` that could not be merged; there, ``one`` wins.
    """
    merged, clashes = dict(one), []
    for name, value in other.items():
        if name not in merged:
            merged[name] = value
        elif merged[name] == value or name in ANNOTATIONS:
            pass
        elif name == "properties" and isinstance(merged[name], dict) and isinstance(value, dict):
            properties = dict(merged[name])
            for key, schema in value.items():
                both = key in properties and properties[key] != schema
                properties[key] = {"allOf": [properties[key], schema]} if both else schema
            merged[name] = properties
        elif name == "required" and isinstance(value, list) and isinstance(merged[name], list):
            merged[name] = [*merged[name], *(key for key in value if key not in merged[name])]
        elif name == "allOf" and isinstance(value, list) and isinstance(merged[name], list):
            merged[name] = [*merged[name], *value]
        elif name == "enum" and isinstance(value, list) and isinstance(merged[name], list):
            merged[name] = [v for v in merged[name] if v in value]
        elif name == "type" and (types := _common_types(merged[name], value)):
            merged[name] = types[0] if len(types) == 1 else types
        elif name == "additionalProperties" and False in (value, merged[name]):
            merged[name] = False
        elif name in _STRICTER and isinstance(value, int | float) and isinstance(merged[name], int | float):
            merged[name] = _STRICTER[name](merged[name], value)
        else:
            clashes.append(name)
    return merged, clashes


def _common_types(one: Any, other: Any) -> list[str]:
    first, second = ([t for t in (ts if isinstance(ts, list) else [ts]) if isinstance(t, str)] for ts in (one, other))
    common = [t for t in first if t in second]
    numbers = {"integer", "number"}
    if numbers <= {*first, *second} and not numbers & {*common}:
        common.append("integer")  # an integer is a number too
    return common


def accepts_null(schema: Any) -> bool:
    """True if ``null`` certainly matches ``schema``; a list is a union. References are not followed."""
    if isinstance(schema, list):
        return any(accepts_null(member) for member in schema)
    if "$ref" in schema:
        return False
    if "const" in schema:
        return schema["const"] is None
    if "enum" in schema and None not in schema["enum"]:
        return False
    types = schema.get("type")
    if types is not None and types != "null" and not (isinstance(types, list) and "null" in types):
        return False
    return accepts_null(schema["anyOf"]) if "anyOf" in schema else True


def allow_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a schema that allows ``null`` besides the values of ``schema``."""
    types = schema.get("type")
    if "anyOf" in schema and types is None and "enum" not in schema and "const" not in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    if types is None or "anyOf" in schema or "const" in schema:
        return {"anyOf": [dict(schema), {"type": "null"}]}
    nullable = {**schema, "type": [*([types] if isinstance(types, str) else types), "null"]}
    if "null" in nullable["type"][:-1]:
        nullable["type"] = nullable["type"][:-1]
    if "enum" in schema and None not in schema["enum"]:
        nullable["enum"] = [*schema["enum"], None]
    return nullable
