"""Two schemas as one: what both ask for, or the one and nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from llm.wire.schema_refs import NOTES

_TIGHTER: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "minimum": max, "exclusiveMinimum": max, "minLength": max, "minItems": max, "minProperties": max,
    "maximum": min, "exclusiveMaximum": min, "maxLength": min, "maxItems": min, "maxProperties": min,
}  # fmt: skip


def united(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Both in one schema, and the names of what of ``other`` could not be kept to."""
    whole, clashes = dict(one), []
    for name, value in other.items():
        if name not in whole:
            whole[name] = value
        elif whole[name] == value or name in NOTES:
            pass
        elif name == "properties" and isinstance(whole[name], dict) and isinstance(value, dict):
            held = dict(whole[name])
            for key, inside in value.items():
                held[key] = {"allOf": [held[key], inside]} if key in held and held[key] != inside else inside
            whole[name] = held
        elif name == "required" and isinstance(value, list) and isinstance(whole[name], list):
            whole[name] = [*whole[name], *(key for key in value if key not in whole[name])]
        elif name == "allOf" and isinstance(value, list) and isinstance(whole[name], list):
            whole[name] = [*whole[name], *value]
        elif name == "enum" and isinstance(value, list) and isinstance(whole[name], list):
            whole[name] = [v for v in whole[name] if v in value]
        elif name == "type" and (types := _common(whole[name], value)):
            whole[name] = types[0] if len(types) == 1 else types
        elif name == "additionalProperties" and False in (value, whole[name]):
            whole[name] = False
        elif name in _TIGHTER and isinstance(value, int | float) and isinstance(whole[name], int | float):
            whole[name] = _TIGHTER[name](whole[name], value)
        else:
            clashes.append(name)
    return whole, clashes


def _common(one: Any, other: Any) -> list[str]:
    some, more = ([t for t in (ts if isinstance(ts, list) else [ts]) if isinstance(t, str)] for ts in (one, other))
    whole = [t for t in some if t in more]
    numbers = {"integer", "number"}
    if numbers <= {*some, *more} and not numbers & {*whole}:
        whole.append("integer")  # which is a number too
    return whole


def accepts_null(schema: Any) -> bool:
    """Whether ``null`` fits, for sure; a list is a union. What a reference allows is not looked up."""
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


def or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The same, or ``null``."""
    types = schema.get("type")
    if "anyOf" in schema and types is None and "enum" not in schema and "const" not in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    if types is None or "anyOf" in schema or "const" in schema:
        return {"anyOf": [dict(schema), {"type": "null"}]}
    whole = {**schema, "type": [*([types] if isinstance(types, str) else types), "null"]}
    if "null" in whole["type"][:-1]:
        whole["type"] = whole["type"][:-1]
    if "enum" in schema and None not in schema["enum"]:
        whole["enum"] = [*schema["enum"], None]
    return whole
