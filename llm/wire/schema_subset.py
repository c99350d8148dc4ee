"""JSON Schema made to fit wires that take less of it (T6, T7).

What a wire takes is a :class:`Subset`, kept beside its dialect. Whatever of a schema the wire has no word for is left
out and told; where that would turn the schema into another one, there is none at all and the caller decides. The same
input gives the same bytes, and is never changed.

Wires differ in little: objects that have to be closed, properties that all have to be required (an optional one may be
``null`` instead, which then means "not given"), the keywords that hold a value's bounds, how far a schema may contain
itself. None of those here takes ``allOf`` whole, so its members are made one; ``oneOf`` becomes ``anyOf``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from llm.wire.json_codec import Json
from llm.wire.schema_merge import accepts_null, or_null, united
from llm.wire.schema_refs import DEFINITIONS, NOTES, Count, Cycles, Fitted, cut, found, inlined, joined, step
from llm.wire.schema_types import are_disjoint, split_types, types_of

__all__ = ["STRICT", "Fitted", "Subset", "enforced", "fitted", "inlined", "strict", "told"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subset:
    """What a wire takes of JSON Schema, beside types, properties, items, ``anyOf``, ``enum`` and references."""

    keywords: frozenset[str] | None = frozenset()  # None: any
    formats: frozenset[str] | None = None  # values of ``format``; None: any
    min_items: frozenset[int] | None = None  # values of ``minItems``; None: any
    closed: bool = False  # every object has to exclude other properties
    all_required: bool = False  # every property has to be there; an optional one may be null instead
    object_root: bool = False  # the whole has to be an object, and no union
    const: bool = True  # takes ``const``; else it is an ``enum`` of one
    enum_types: tuple[type, ...] | None = None  # of the values in ``enum``; None: any
    type_lists: bool = True  # takes several types in ``type``; else they are a union
    recursion: Literal["no", "optional", "yes"] = "yes"  # "optional": through properties that may be left out


_BOUNDS: Final = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
_LENGTHS: Final = frozenset({"minLength", "maxLength", "minItems", "maxItems"})
_FORMATS: Final = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})

# https://platform.openai.com/docs/guides/structured-outputs#supported-schemas, which others copied.
STRICT: Final = Subset(
    keywords=_BOUNDS | _LENGTHS | {"pattern"},
    formats=_FORMATS,
    closed=True,
    all_required=True,
    object_root=True,
)

# Without meaning for a value, and not told: names of the schema itself.
_SILENT: Final = ("$schema", "$id", "$anchor", "$comment", "nullable")
_HANDLED: Final = frozenset(
    {
        "$ref", "type", "enum", "const", "anyOf", "oneOf", "allOf", "properties", "required", "additionalProperties",
        "items", "prefixItems", "format", "minItems", *NOTES, *DEFINITIONS, *_SILENT,
    }
)  # fmt: skip
_STRICT_WIRES: Final = ("openai-chat", "openai-responses")
_MOST_TOLD: Final = 20  # places, in a header
_SCALARS: Final = ["string", "number", "boolean", "null"]


class _Unfit(Exception):
    """The wire cannot say it, not even more loosely."""


def told(what: str, lost: Sequence[str]) -> list[str]:
    """The places of what was lost, as names of fields: ``format/properties/age/minimum``."""
    names = [f"{what}{place.removeprefix('#')}" for place in lost[:_MOST_TOLD]]
    more = len(lost) - len(names)
    return [*names, f"{what} and {more} more"] if more else names


def strict(schema: Mapping[str, Json], place: str = "schema") -> Fitted:
    """What wires take that enforce a schema to the letter, as OpenAI's do."""
    return fitted(schema, STRICT, place)


def enforced(
    schema: Mapping[str, Json], strictly: bool | None, wire: str | None, what: str, dropped: list[str]
) -> tuple[dict[str, Json], bool | None]:
    """A schema and its ``strict`` for a wire that has the word, which is true only of what fits.

    ``wire`` is the dialect that the schema was written for: a client of such a wire has made it fit itself. What was
    asked for and cannot be is told in ``dropped``; the schema then goes as a wish.
    """
    if not strictly or wire is None or wire in _STRICT_WIRES:
        return dict(schema), strictly
    whole = strict(schema, what)
    if whole.schema is None:
        dropped += [f"{what}/strict", *told(what, whole.lost)]
        return dict(schema), False
    dropped += told(what, whole.lost)
    return whole.schema, True


def fitted(schema: Mapping[str, Json], subset: Subset, place: str = "schema") -> Fitted:
    """``place`` is what the caller calls the schema. Raises ``InvalidRequest`` for one too deep or too large."""
    fitting = _Fitting(schema, subset, place)
    try:
        whole = fitting.whole()
    except _Unfit as unfit:
        return Fitted(None, (str(unfit),))
    return Fitted(whole, tuple(dict.fromkeys(fitting.lost)))


class _Fitting:
    """One schema on its way into a subset."""

    def __init__(self, root: Mapping[str, Any], subset: Subset, place: str) -> None:
        self.lost: list[str] = []
        self._root = root
        self._subset = subset
        self._count = Count(place)
        self._cycles = Cycles(root, Count(place))
        self._inside = "#"  # which definition is being written
        self._names: dict[str, str] = {}  # of the definitions that are to be written, by reference
        self._order: list[str] = []  # those references
        self._taken: set[str] = set()  # those names

    def whole(self) -> dict[str, Json]:
        root = self._plain(dict(self._root), "#", ())
        union = "anyOf" in root or "oneOf" in root
        if self._subset.object_root and (union or types_of(root) != ("object",)):
            raise _Unfit("#/type")
        whole = self._node(root, "#", 0, False)
        definitions: dict[str, Any] = {}
        for ref in self._order:  # it grows: those of the definitions themselves follow
            self._inside = ref
            definitions[self._names[ref]] = self._node(found(self._root, ref), ref, 0, False)
        return {**whole, "$defs": definitions} if definitions else whole

    def _node(self, node: Any, at: str, depth: int, optional: bool) -> dict[str, Any]:
        """``optional``: it may be left out of what holds it, or something around it may."""
        self._count(depth)
        if node is True:
            node = {}
        if not isinstance(node, dict):
            raise _Unfit(at)
        node = self._plain(node, at, ())
        if "$ref" in node:
            return self._reference(node, at, optional)
        fit: dict[str, Any] = {name: node[name] for name in NOTES if isinstance(node.get(name), str)}
        types = types_of(node)
        self._type(fit, node, types, at)
        self._values(fit, node, at)
        self._union(fit, node, at, depth, optional)
        if "object" in types:
            self._object(fit, node, at, depth, optional)
        if "array" in types:
            self._array(fit, node, at, depth, optional)
        self._bounds(fit, node, types, at)
        if self._subset.closed and not {"type", "anyOf", "enum", "const"} & fit.keys():
            raise _Unfit(f"{at}/type")
        return fit if self._subset.type_lists else split_types(fit)

    def _plain(self, node: dict[str, Any], at: str, seen: tuple[str, ...]) -> dict[str, Any]:
        """A node without ``allOf``, and with a reference only where that stands alone."""
        for name in ("$dynamicRef", "$recursiveRef"):
            if name in node:
                raise _Unfit(step(at, name))
        if "$ref" in node and node.get("nullable") is True:
            notes = {name: node[name] for name in NOTES if name in node}
            return {**notes, "anyOf": [{"$ref": node["$ref"]}, {"type": "null"}]}
        while True:
            ref, beside = node.get("$ref"), {n: v for n, v in node.items() if n != "$ref" and n not in _SILENT}
            beside = {n: v for n, v in beside.items() if n not in DEFINITIONS}
            if "$ref" in node:
                target = found(self._root, ref)
                if target is None or ref in seen:
                    self.lost.append(step(at, "$ref"))
                    if self._subset.closed:
                        raise _Unfit(step(at, "$ref"))
                    node = joined(cut(target), beside)
                elif str(ref) in self._cycles and at != "#":
                    self.lost += [step(at, name) for name in beside]
                    return {"$ref": ref}
                elif not beside and at != "#":
                    return {"$ref": ref}
                else:
                    seen = (*seen, str(ref))
                    node = joined(target if isinstance(target, dict) else {}, beside)
            elif "allOf" in node:
                rest = {name: value for name, value in node.items() if name != "allOf"}
                for n, member in enumerate(node["allOf"] if isinstance(node["allOf"], list) else ()):
                    inside = step(at, "allOf", n)
                    member = self._member(member, inside, seen)
                    rest, clashes = united(rest, member)
                    self.lost += [step(inside, name) for name in clashes]
                node = rest
            else:
                return node

    def _member(self, member: Any, at: str, seen: tuple[str, ...]) -> dict[str, Any]:
        """One of ``allOf``, without references of its own: it is to become part of another schema."""
        self._count(0)
        if member is True:
            return {}
        if not isinstance(member, dict):
            raise _Unfit(at)
        while "$ref" in member or "allOf" in member:
            member = self._plain(member, at, seen)
            if "$ref" in member:
                ref = str(member["$ref"])
                if ref in seen:
                    raise _Unfit(step(at, "$ref"))
                seen = (*seen, ref)
                target = found(self._root, ref)
                member = dict(target) if isinstance(target, dict) else {}
        return dict(member)

    def _reference(self, node: dict[str, Any], at: str, optional: bool) -> dict[str, Any]:
        ref = node["$ref"]
        if self._cycles.back(self._inside, ref):
            allowed = {"no": False, "optional": optional, "yes": True}[self._subset.recursion]
            if not allowed:
                self.lost.append(step(at, "$ref"))
                if self._subset.closed:
                    raise _Unfit(step(at, "$ref"))
                return dict(cut(found(self._root, ref)))
        if ref == "#":
            return {"$ref": "#"}
        if ref not in self._names:
            self._names[ref] = self._name_of(ref)
        return {"$ref": step("#", "$defs", self._names[ref])}

    def _name_of(self, ref: str) -> str:
        name, number = ref.rsplit("/", 1)[-1], 2
        while name in self._taken:
            name, number = f"{ref.rsplit('/', 1)[-1]}_{number}", number + 1
        self._taken.add(name)
        self._order.append(ref)
        return name

    def _type(self, fit: dict[str, Any], node: Mapping[str, Any], types: tuple[str, ...], at: str) -> None:
        if types:
            told = [*types]
            if node.get("nullable") is True and "null" not in told:
                told.append("null")
            fit["type"] = told[0] if len(told) == 1 else told

    def _values(self, fit: dict[str, Any], node: Mapping[str, Any], at: str) -> None:
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
            self.lost.append(step(at, "enum"))
            return
        fit["enum"] = [*values]
        if node.get("nullable") is True and None not in values:
            fit["enum"].append(None)

    def _union(self, fit: dict[str, Any], node: Mapping[str, Any], at: str, depth: int, optional: bool) -> None:
        kinds = [kind for kind in ("anyOf", "oneOf") if isinstance(node.get(kind), list) and node[kind]]
        if not kinds:
            return
        kind = kinds[0]
        self.lost += [step(at, other) for other in kinds[1:]]
        members = node[kind]
        if kind == "oneOf" and not are_disjoint(members):
            self.lost.append(step(at, kind))
        fit["anyOf"] = [self._node(member, step(at, kind, n), depth + 1, optional) for n, member in enumerate(members)]
        if node.get("nullable") is True and not accepts_null(fit["anyOf"]):
            fit["anyOf"].append({"type": "null"})

    def _object(self, fit: dict[str, Any], node: Mapping[str, Any], at: str, depth: int, optional: bool) -> None:
        subset = self._subset
        properties = node.get("properties")
        properties = properties if isinstance(properties, dict) else None
        others = node.get("additionalProperties")
        if subset.closed and (others not in (None, False) or (properties is None and others is None)):
            raise _Unfit(step(at, "additionalProperties"))
        told_ = node.get("required")
        needed = [name for name in told_ if isinstance(name, str)] if isinstance(told_, list) else []
        written: dict[str, Any] = {}
        for name, held in (properties or {}).items():
            inside, left = step(at, "properties", name), name not in needed
            fitted_ = self._node(held, inside, depth + 1, optional or left)
            if subset.all_required and left and not accepts_null(fitted_):
                self.lost.append(step(inside, "optional"))
                fitted_ = or_null(fitted_)
            written[name] = fitted_
        self.lost += [step(at, "required", n) for n, name in enumerate(needed) if subset.closed and name not in written]
        if properties is not None or subset.closed:
            fit["properties"] = written
        if subset.all_required:
            fit["required"] = [*written]
        elif needed:
            fit["required"] = [name for name in needed if name in written or not subset.closed]
        if subset.closed:
            fit["additionalProperties"] = False
        elif isinstance(others, bool):
            fit["additionalProperties"] = others
        elif isinstance(others, dict):
            fit["additionalProperties"] = self._node(others, step(at, "additionalProperties"), depth + 1, True)

    def _array(self, fit: dict[str, Any], node: Mapping[str, Any], at: str, depth: int, optional: bool) -> None:
        items, first = node.get("items"), node.get("prefixItems")
        if isinstance(items, list):  # as older drafts wrote it
            items, first = node.get("additionalItems"), items
        fixed = [
            self._node(held, step(at, "prefixItems", n), depth + 1, optional)
            for n, held in enumerate(first if isinstance(first, list) else ())
        ]
        if fixed and (self._subset.keywords is None or "prefixItems" in self._subset.keywords):
            fit["prefixItems"] = fixed
            fixed = []
        told = isinstance(items, dict) and bool(items)
        more = [self._node(items, step(at, "items"), depth + 1, optional)] if told else []
        if fixed:
            self.lost.append(step(at, "prefixItems"))
            if not more and items is not False and self._subset.closed:
                raise _Unfit(step(at, "prefixItems"))
            more = [*fixed, *more]
        if more:
            fit["items"] = more[0] if len(more) == 1 else {"anyOf": more}
        elif self._subset.closed:  # some are wanted: any value that is no object and no array
            self.lost.append(step(at, "items"))
            fit["items"] = {"type": [*_SCALARS]} if self._subset.type_lists else split_types({"type": [*_SCALARS]})

    def _bounds(self, fit: dict[str, Any], node: Mapping[str, Any], types: tuple[str, ...], at: str) -> None:
        subset = self._subset
        for name, value in node.items():
            if name in _HANDLED and name not in ("format", "minItems"):
                continue
            if name == "format":
                kept = subset.formats is None or (isinstance(value, str) and value in subset.formats)
            elif name == "minItems" and subset.min_items is not None:
                kept = isinstance(value, int) and value in subset.min_items
            else:
                kept = subset.keywords is None or name in subset.keywords
            if kept:
                fit[name] = value
            elif not name.startswith("x-"):
                self.lost.append(step(at, name))
