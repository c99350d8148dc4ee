"""Reads schemas of clients as JSON Schema.

The wire has two: JSON Schema, and ``Schema``, a subset of OpenAPI's with types in upper case, numbers as texts and
names in two spellings (https://ai.google.dev/api/caching#Schema). ``nullable`` stays, since
``llm.wire.schema_subset`` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llm.dialects.gemini.client.client_fields import spell_names
from llm.wire.json_codec import Json

_MAX_DEPTH: Final = 64
_COUNTS: Final = ("minItems", "maxItems", "minProperties", "maxProperties", "minLength", "maxLength")
_LISTS: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAPS: Final = ("properties", "$defs", "patternProperties")
_SINGLE: Final = ("items", "additionalProperties", "not")
_NAMES: Final[Mapping[str, str]] = {"ref": "$ref", "defs": "$defs", "example": "examples"}


def read_json_schema(schema: Mapping[str, Any]) -> dict[str, Json]:
    """Returns a JSON Schema with its properties in the order of ``propertyOrdering``, which is no keyword of it."""
    return _convert(schema, plain=True, depth=0)


def read_schema(schema: Mapping[str, Any]) -> dict[str, Json]:
    """Returns the JSON Schema of a ``Schema``."""
    return _convert(schema, plain=False, depth=0)


def _convert(schema: Mapping[str, Any], *, plain: bool, depth: int) -> dict[str, Json]:
    if depth > _MAX_DEPTH:
        return dict(schema)
    wire = {**schema} if plain else {_NAMES.get(n, n): v for n, v in spell_names(schema).items() if v is not None}
    order = wire.pop("propertyOrdering", None) or wire.pop("property_ordering", None)

    def convert(value: Any) -> Any:
        return _convert(value, plain=plain, depth=depth + 1) if isinstance(value, dict) else value

    for name in _LISTS:
        if isinstance(wire.get(name), list):
            wire[name] = [convert(one) for one in wire[name]]
    for name in _MAPS:
        if isinstance(wire.get(name), dict):
            wire[name] = {key: convert(one) for key, one in wire[name].items()}
    for name in _SINGLE:
        if name in wire:
            wire[name] = convert(wire[name])
    if isinstance(order, list) and isinstance(properties := wire.get("properties"), dict):
        first = [name for name in order if isinstance(name, str) and name in properties]
        wire["properties"] = {name: properties[name] for name in dict.fromkeys((*first, *properties))}
    return wire if plain else _convert_values(wire)


def _convert_values(wire: dict[str, Any]) -> dict[str, Json]:
    kind = wire.get("type")
    if isinstance(kind, str):
        wire["type"] = kind.lower()
        if kind in ("", "TYPE_UNSPECIFIED"):
            del wire["type"]
    elif isinstance(kind, list):
        wire["type"] = [one.lower() if isinstance(one, str) else one for one in kind]
    for name in _COUNTS:
        if isinstance(text := wire.get(name), str) and text.isdecimal():
            wire[name] = int(text)
    if "examples" in wire and not isinstance(wire["examples"], list):
        wire["examples"] = [wire["examples"]]
    if wire.get("format") == "enum":
        del wire["format"]
    return wire
