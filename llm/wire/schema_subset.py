"""Reduces JSON Schema to the subset that a wire format accepts (T6, T7).

A ``Subset`` describes what a wire accepts; each dialect has its own. Keywords outside of the subset are removed and
reported as lost. Where the schema would then mean something else, there is no result and the caller decides. The input
is not changed, and the same input gives the same bytes.

Subsets differ in closed objects, in required properties (an optional one becomes nullable, and ``null`` then means that
it is missing), in the keywords that limit a value, and in recursion. No wire here accepts ``allOf`` in full, so its
members are merged; ``oneOf`` becomes ``anyOf``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from llm.wire.json_codec import Json
from llm.wire.schema_merge import accepts_null, allow_null, merge_schemas
from llm.wire.schema_refs import (
    ANNOTATIONS,
    DEFINITIONS,
    FittedSchema,
    ReferenceCycles,
    ReferenceLimit,
    SizeLimit,
    inline_refs,
    join_pointer,
    merge_ref_siblings,
    reduce_to_type,
    resolve_ref,
)
from llm.wire.schema_types import are_disjoint, infer_types, split_types

__all__ = [
    "STRICT_SUBSET",
    "FittedSchema",
    "ReferenceLimit",
    "Subset",
    "describe_losses",
    "enforce_schema",
    "fit_schema",
    "fit_strict_schema",
    "inline_refs",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subset:
    """The JSON Schema that a wire accepts, besides types, properties, items, ``anyOf``, ``enum`` and references."""

    keywords: frozenset[str] | None = frozenset()  # accepted besides those above; None: any
    formats: frozenset[str] | None = None  # accepted values of ``format``; None: any
    min_items: frozenset[int] | None = None  # accepted values of ``minItems``; None: any
    closed: bool = False  # every object needs ``additionalProperties: false``
    all_required: bool = False  # every property has to be required; an optional one becomes nullable
    object_root: bool = False  # the root has to be an object, not a union
    const: bool = True  # accepts ``const``; else it becomes an ``enum`` of one value
    enum_types: tuple[type, ...] | None = None  # accepted Python types of ``enum`` values; None: any
    type_lists: bool = True  # accepts a list in ``type``; else it becomes a union
    recursion: Literal["no", "optional", "yes"] = "yes"  # "optional": only through optional properties


_BOUNDS: Final = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
_LENGTHS: Final = frozenset({"minLength", "maxLength", "minItems", "maxItems"})
_FORMATS: Final = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})

# OpenAI's strict mode, which other providers copied:
# https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
STRICT_SUBSET: Final = Subset(
    keywords=_BOUNDS | _LENGTHS | {"pattern"},
    formats=_FORMATS,
    closed=True,
    all_required=True,
    object_root=True,
)

# Removed without a report: they do not constrain the value, or are handled with the type (``nullable``).
_UNREPORTED: Final = ("$schema", "$id", "$anchor", "$comment", "nullable")
_HANDLED: Final = frozenset(
    {
        "$ref", "type", "enum", "const", "anyOf", "oneOf", "allOf", "properties", "required", "additionalProperties",
        "items", "prefixItems", "format", "minItems", *ANNOTATIONS, *DEFINITIONS, *_UNREPORTED,
    }
)  # fmt: skip
_STRICT_DIALECTS: Final = ("openai-chat", "openai-responses")
_MAX_REPORTED: Final = 20  # pointers in one response header
_MERGE_WEIGHT: Final = 4  # a merged schema takes the work of so many
_SCALARS: Final = ["string", "number", "boolean", "null"]


class _Unfit(Exception):
    """The subset cannot express the schema, even with keywords removed. ``str()`` is the pointer of the cause."""


def describe_losses(label: str, lost: Sequence[str]) -> list[str]:
    """Describes lost keywords as field names, such as ``format/properties/age/minimum``; at most 20 of them."""
    names = [f"{label}{pointer.removeprefix('#')}" for pointer in lost[:_MAX_REPORTED]]
    more = len(lost) - len(names)
    return [*names, f"{label} and {more} more"] if more else names


def fit_strict_schema(
    schema: Mapping[str, Json], label: str = "schema", references: ReferenceLimit | None = None
) -> FittedSchema:
    """Reduces a schema to OpenAI's strict mode, which some engines enforce exactly.

    ``label`` names the schema in errors. Raises ``InvalidRequest`` for a schema that is too deep or too large.
    """
    return fit_schema(schema, STRICT_SUBSET, label, references)


def enforce_schema(
    schema: Mapping[str, Json],
    strict: bool | None,
    schema_dialect: str | None,
    label: str,
    dropped: list[str],
    references: ReferenceLimit | None = None,
) -> tuple[dict[str, Json], bool | None]:
    """Returns a schema and its ``strict`` flag for a wire that has this flag.

    With ``strict``, a schema from a client of another dialect is reduced to OpenAI's strict mode; clients of OpenAI's
    own dialects (``schema_dialect``) have done that themselves. Lost keywords are added to ``dropped``. If the schema
    cannot be strict, ``strict`` is reported there too, and the schema is sent unchanged with ``strict`` false.
    """
    if not strict or schema_dialect is None or schema_dialect in _STRICT_DIALECTS:
        return dict(schema), strict
    fit = fit_strict_schema(schema, label, references)
    if fit.schema is None:
        dropped += [f"{label}/strict", *describe_losses(label, fit.lost)]
        return dict(schema), False
    dropped += describe_losses(label, fit.lost)
    return fit.schema, True


def fit_schema(
    schema: Mapping[str, Json], subset: Subset, label: str = "schema", references: ReferenceLimit | None = None
) -> FittedSchema:
    """Reduces a schema to ``subset``.

    ``label`` names the schema in errors; ``references`` counts for all schemas of a request. Raises ``InvalidRequest``
    for a schema that is too deep or too large.
    """
    reducer = _Reducer(schema, subset, label, references)
    try:
        fit = reducer.reduce()
    except _Unfit as unfit:
        return FittedSchema(None, (str(unfit),))
    return FittedSchema(fit, tuple(dict.fromkeys(reducer.lost)))


class _Reducer:
    """Reduces one schema to a subset. ``at`` is the JSON pointer of the node at hand, ``fit`` the result for it."""

    def __init__(self, root: Mapping[str, Any], subset: Subset, place: str, references: ReferenceLimit | None) -> None:
        self.lost: list[str] = []
        self._root = root
        self._subset = subset
        self._count = SizeLimit(place, references)
        self._cycles = ReferenceCycles(root, SizeLimit(place, references))
        self._definition = "#"  # the definition that is being reduced
        self._names: dict[str, str] = {}  # reference -> name of its definition in the result
        self._order: list[str] = []  # the same references, in order of use
        self._used_names: set[str] = set()

    def reduce(self) -> dict[str, Json]:
        root = self._resolve(dict(self._root), "#", ())
        union = "anyOf" in root or "oneOf" in root
        if self._subset.object_root and (union or infer_types(root) != ("object",)):
            raise _Unfit("#/type")
        fit = self._reduce_node(root, "#", 0, False)
        definitions: dict[str, Any] = {}
        for ref in self._order:  # grows while the definitions are reduced, by the references in them
            self._definition = ref
            definitions[self._names[ref]] = self._reduce_node(resolve_ref(self._root, ref), ref, 0, False)
        return {**fit, "$defs": definitions} if definitions else fit

    def _reduce_node(self, node: Any, at: str, depth: int, optional: bool) -> dict[str, Any]:
        """``optional``: the node or one of its parents is an optional property."""
        self._count(depth)
        if node is True:
            node = {}
        if not isinstance(node, dict):
            raise _Unfit(at)
        node = self._resolve(node, at, ())
        if "$ref" in node:
            return self._reduce_reference(node, at, optional)
        fit: dict[str, Any] = {name: node[name] for name in ANNOTATIONS if isinstance(node.get(name), str)}
        types = infer_types(node)
        self._add_type(fit, node, types)
        self._add_values(fit, node, at)
        self._add_union(fit, node, at, depth, optional)
        if "object" in types:
            self._add_object(fit, node, at, depth, optional)
        if "array" in types:
            self._add_array(fit, node, at, depth, optional)
        self._add_limits(fit, node, at)
        if self._subset.closed and not {"type", "anyOf", "enum", "const"} & fit.keys():
            raise _Unfit(f"{at}/type")
        return fit if self._subset.type_lists else split_types(fit)

    def _resolve(self, node: dict[str, Any], at: str, seen: tuple[str, ...]) -> dict[str, Any]:
        """Merges ``allOf`` and the keywords beside a reference; the result is one ``$ref`` alone, or has neither."""
        for name in ("$dynamicRef", "$recursiveRef"):
            if name in node:
                raise _Unfit(join_pointer(at, name))
        if "$ref" in node and node.get("nullable") is True:
            notes = {name: node[name] for name in ANNOTATIONS if name in node}
            return {**notes, "anyOf": [{"$ref": node["$ref"]}, {"type": "null"}]}
        while True:
            ref, beside = node.get("$ref"), {n: v for n, v in node.items() if n != "$ref" and n not in _UNREPORTED}
            beside = {n: v for n, v in beside.items() if n not in DEFINITIONS}
            if "$ref" in node:
                target = resolve_ref(self._root, ref)
                if target is None or ref in seen:
                    self.lost.append(join_pointer(at, "$ref"))
                    if self._subset.closed:
                        raise _Unfit(join_pointer(at, "$ref"))
                    node = merge_ref_siblings(reduce_to_type(target), beside)
                elif str(ref) in self._cycles and at != "#":
                    self.lost += [join_pointer(at, name) for name in beside]
                    return {"$ref": ref}
                elif not beside and at != "#":
                    return {"$ref": ref}
                else:
                    seen = (*seen, str(ref))
                    self._count.count_referenced(_MERGE_WEIGHT)
                    node = merge_ref_siblings(target if isinstance(target, dict) else {}, beside)
            elif "allOf" in node:
                rest = {name: value for name, value in node.items() if name != "allOf"}
                for n, member in enumerate(node["allOf"] if isinstance(node["allOf"], list) else ()):
                    member_at = join_pointer(at, "allOf", n)
                    member = self._resolve_member(member, member_at, seen)
                    rest, clashes = merge_schemas(rest, member)
                    self.lost += [join_pointer(member_at, name) for name in clashes]
                node = rest
            else:
                return node

    def _resolve_member(self, member: Any, at: str, seen: tuple[str, ...]) -> dict[str, Any]:
        """Resolves the references of one member of ``allOf``, so that it can be merged."""
        self._count(0)
        if member is True:
            return {}
        if not isinstance(member, dict):
            raise _Unfit(at)
        while "$ref" in member or "allOf" in member:
            member = self._resolve(member, at, seen)
            if "$ref" in member:
                ref = str(member["$ref"])
                if ref in seen:
                    raise _Unfit(join_pointer(at, "$ref"))
                seen = (*seen, ref)
                self._count.count_referenced(_MERGE_WEIGHT)
                target = resolve_ref(self._root, ref)
                member = dict(target) if isinstance(target, dict) else {}
        return dict(member)

    def _reduce_reference(self, node: dict[str, Any], at: str, optional: bool) -> dict[str, Any]:
        ref = node["$ref"]
        if self._cycles.leads_back(self._definition, ref):
            allowed = {"no": False, "optional": optional, "yes": True}[self._subset.recursion]
            if not allowed:
                self.lost.append(join_pointer(at, "$ref"))
                if self._subset.closed:
                    raise _Unfit(join_pointer(at, "$ref"))
                return dict(reduce_to_type(resolve_ref(self._root, ref)))
        if ref == "#":
            return {"$ref": "#"}
        if ref not in self._names:
            self._names[ref] = self._choose_name(ref)
        return {"$ref": join_pointer("#", "$defs", self._names[ref])}

    def _choose_name(self, ref: str) -> str:
        name, number = ref.rsplit("/", 1)[-1], 2
        while name in self._used_names:
            name, number = f"{ref.rsplit('/', 1)[-1]}_{number}", number + 1
        self._used_names.add(name)
        self._order.append(ref)
        return name

    def _add_type(self, fit: dict[str, Any], node: Mapping[str, Any], types: tuple[str, ...]) -> None:
        if types:
            names = [*types]
            if node.get("nullable") is True and "null" not in names:
                names.append("null")
            fit["type"] = names[0] if len(names) == 1 else names

    def _add_values(self, fit: dict[str, Any], node: Mapping[str, Any], at: str) -> None:
        values = node.get("enum")
        if "const" in node and self._subset.const:
            fit["const"] = node["const"]
        elif "const" in node:
            values = [node["const"]]
        if not isinstance(values, list):
            return
        types = self._subset.enum_types
        if types is not None and not all(
            isinstance(v, types) and not isinstance(v, bool) for v in values if v is not None
        ):
            self.lost.append(join_pointer(at, "enum"))
            return
        fit["enum"] = [*values]
        if node.get("nullable") is True and None not in values:
            fit["enum"].append(None)

    def _add_union(self, fit: dict[str, Any], node: Mapping[str, Any], at: str, depth: int, optional: bool) -> None:
        kinds = [kind for kind in ("anyOf", "oneOf") if isinstance(node.get(kind), list) and node[kind]]
        if not kinds:
            return
        kind = kinds[0]
        self.lost += [join_pointer(at, other) for other in kinds[1:]]
        members = node[kind]
        if kind == "oneOf" and not are_disjoint(members):
            self.lost.append(join_pointer(at, kind))
        fit["anyOf"] = [
            self._reduce_node(member, join_pointer(at, kind, n), depth + 1, optional)
            for n, member in enumerate(members)
        ]
        if node.get("nullable") is True and not accepts_null(fit["anyOf"]):
            fit["anyOf"].append({"type": "null"})

    def _add_object(self, fit: dict[str, Any], node: Mapping[str, Any], at: str, depth: int, optional: bool) -> None:
        subset = self._subset
        properties = node.get("properties")
        properties = properties if isinstance(properties, dict) else None
        others = node.get("additionalProperties")
        if subset.closed and (others not in (None, False) or (properties is None and others is None)):
            raise _Unfit(join_pointer(at, "additionalProperties"))
        required = node.get("required")
        required = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
        reduced: dict[str, Any] = {}
        for name, value in (properties or {}).items():
            value_at, may_be_missing = join_pointer(at, "properties", name), name not in required
            schema = self._reduce_node(value, value_at, depth + 1, optional or may_be_missing)
            if subset.all_required and may_be_missing and not accepts_null(schema):
                self.lost.append(join_pointer(value_at, "optional"))
                schema = allow_null(schema)
            reduced[name] = schema
        self.lost += [
            join_pointer(at, "required", n) for n, name in enumerate(required) if subset.closed and name not in reduced
        ]
        if properties is not None or subset.closed:
            fit["properties"] = reduced
        if subset.all_required:
            fit["required"] = [*reduced]
        elif required:
            fit["required"] = [name for name in required if name in reduced or not subset.closed]
        if subset.closed:
            fit["additionalProperties"] = False
        elif isinstance(others, bool):
            fit["additionalProperties"] = others
        elif isinstance(others, dict):
            fit["additionalProperties"] = self._reduce_node(
                others, join_pointer(at, "additionalProperties"), depth + 1, True
            )

    def _add_array(self, fit: dict[str, Any], node: Mapping[str, Any], at: str, depth: int, optional: bool) -> None:
        items, first = node.get("items"), node.get("prefixItems")
        if isinstance(items, list):  # before draft 2020-12
            items, first = node.get("additionalItems"), items
        fixed = [
            self._reduce_node(item, join_pointer(at, "prefixItems", n), depth + 1, optional)
            for n, item in enumerate(first if isinstance(first, list) else ())
        ]
        if fixed and (self._subset.keywords is None or "prefixItems" in self._subset.keywords):
            fit["prefixItems"] = fixed
            fixed = []
        has_items = isinstance(items, dict) and bool(items)
        more = [self._reduce_node(items, join_pointer(at, "items"), depth + 1, optional)] if has_items else []
        if fixed:
            self.lost.append(join_pointer(at, "prefixItems"))
            if not more and items is not False and self._subset.closed:
                raise _Unfit(join_pointer(at, "prefixItems"))
            more = [*fixed, *more]
        if more:
            fit["items"] = more[0] if len(more) == 1 else {"anyOf": more}
        elif self._subset.closed:  # ``items`` is required there: allow any scalar
            self.lost.append(join_pointer(at, "items"))
            fit["items"] = {"type": [*_SCALARS]} if self._subset.type_lists else split_types({"type": [*_SCALARS]})

    def _add_limits(self, fit: dict[str, Any], node: Mapping[str, Any], at: str) -> None:
        subset = self._subset
        for name, value in node.items():
            if name in _HANDLED and name not in ("format", "minItems"):
                continue
            if name == "format":
                accepted = subset.formats is None or (isinstance(value, str) and value in subset.formats)
            elif name == "minItems" and subset.min_items is not None:
                accepted = isinstance(value, int) and value in subset.min_items
            else:
                accepted = subset.keywords is None or name in subset.keywords
            if accepted:
                fit[name] = value
            elif not name.startswith("x-"):
                self.lost.append(join_pointer(at, name))
