"""The types that a JSON Schema node names or implies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llm.wire.schema_refs import ANNOTATIONS

_KINDS: Final = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
_IMPLIED_TYPES: Final = (  # (type, keywords that imply it where ``type`` is missing)
    ("object", ("properties", "additionalProperties", "required")),
    ("array", ("items", "prefixItems", "minItems", "maxItems")),
    ("string", ("pattern", "minLength", "maxLength", "format")),
    ("number", ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")),
)
_KEYWORDS_OF_TYPE: Final[Mapping[str, tuple[str, ...]]] = {
    "object": ("properties", "required", "additionalProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "string": ("format", "pattern", "minLength", "maxLength"),
}


def infer_types(node: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the types in ``type``, else those that the other keywords imply; empty if unknown."""
    types = node.get("type")
    if isinstance(types, str):
        return (types,)
    if isinstance(types, list):
        return tuple(dict.fromkeys(one for one in types if isinstance(one, str)))
    if "enum" in node or "const" in node:
        values = node["enum"] if isinstance(node.get("enum"), list) else [node.get("const")]
        kinds = [_KINDS.get(type(value)) for value in values]
        return tuple(dict.fromkeys(kind for kind in kinds if kind)) if all(kinds) else ()
    if "anyOf" in node or "oneOf" in node:
        return ()
    return next(((kind,) for kind, names in _IMPLIED_TYPES if any(name in node for name in names)), ())


def are_disjoint(members: list[Any]) -> bool:
    """True if the types of ``members`` exclude that one value matches two of them."""
    seen: set[str] = set()
    for member in members:
        types = {"number" if t == "integer" else t for t in infer_types(member)} if isinstance(member, dict) else set()
        if not types or seen & types:
            return False
        seen |= types
    return True


def split_types(fit: dict[str, Any]) -> dict[str, Any]:
    """Turns a list of types into a union of one schema per type, each with the keywords of its type."""
    types = fit.get("type")
    if not isinstance(types, list):
        return fit
    if "enum" in fit or "const" in fit:
        return {name: value for name, value in fit.items() if name != "type"}
    if "anyOf" in fit:
        return {name: value for name, value in fit.items() if name in (*ANNOTATIONS, "anyOf")}
    type_keywords = {name for names in _KEYWORDS_OF_TYPE.values() for name in names}
    shared = {name: value for name, value in fit.items() if name not in (*ANNOTATIONS, "type", *type_keywords)}
    members = []
    for kind in types:
        own = {name: fit[name] for name in _KEYWORDS_OF_TYPE.get(kind, ()) if name in fit}
        numbers = shared if kind in ("number", "integer") else {}
        members.append({"type": kind, **own, **numbers})
    return {**{name: fit[name] for name in ANNOTATIONS if name in fit}, "anyOf": members}
