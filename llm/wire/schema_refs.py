"""References in a JSON Schema: resolving, detecting cycles, inlining.

A reference is resolved within its document: ``#``, ``#/$defs/name`` or any other JSON pointer. A URL of another
document, an anchor or a dynamic reference cannot be resolved: it is removed and reported as lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import quote, unquote

from llm.errors import InvalidRequest
from llm.wire.json_codec import Json

MAX_DEPTH: Final = 100  # levels of nested schemas
MAX_NODES: Final = 20_000  # schemas in one document, counted again for each reference to them
MAX_REFERENCED: Final = 10_000  # schemas that references lead to, in all schemas of one request together

# Keywords whose value is an object of schemas, a list of schemas, or one schema.
SCHEMA_MAP_KEYWORDS: Final = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
SCHEMA_LIST_KEYWORDS: Final = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
SCHEMA_KEYWORDS: Final = (
    "items", "additionalProperties", "additionalItems", "unevaluatedItems", "unevaluatedProperties", "contains",
    "propertyNames", "not", "if", "then", "else",
)  # fmt: skip
DEFINITIONS: Final = ("$defs", "definitions")  # keywords of schemas that are used by reference only
ANNOTATIONS: Final = ("title", "description")  # keywords that do not constrain the value
_DYNAMIC: Final = ("$dynamicRef", "$recursiveRef")


@dataclass(frozen=True, slots=True)
class FittedSchema:
    """A schema reduced to a subset of JSON Schema.

    ``schema`` is None if the subset cannot express it. ``lost`` has the JSON pointers of what was removed.
    """

    schema: dict[str, Json] | None
    lost: tuple[str, ...] = ()


class ReferenceLimit:
    """Counts the schemas that references lead to, in all schemas of one request together.

    A schema of a few lines may refer to the same definitions again and again: without a common limit, a hundred tools
    would take a hundred times the work that ``MAX_NODES`` allows one of them.
    """

    __slots__ = ("_nodes",)

    def __init__(self) -> None:
        self._nodes = 0

    def __call__(self, label: str, weight: int) -> None:
        """Counts one schema. Raises ``InvalidRequest`` above ``MAX_REFERENCED``, with ``label`` as its place."""
        self._nodes += weight
        if self._nodes > MAX_REFERENCED:
            message = f"{label}: the references of all schemas together lead to more than {MAX_REFERENCED} schemas"
            raise InvalidRequest(message, param=label)


class SizeLimit:
    """Counts the nodes of a schema; raises ``InvalidRequest`` above ``MAX_DEPTH`` or ``MAX_NODES``.

    ``label`` names the schema in the error, such as ``tools.0.parameters``. ``references``: counts the nodes that are
    reached by a reference too, for all schemas of the request.
    """

    def __init__(self, label: str, references: ReferenceLimit | None = None) -> None:
        self._label = label
        self._nodes = 0
        self._references = references

    def count_referenced(self, weight: int = 1) -> None:
        """Counts one node that a reference leads to, in addition to the call for each node."""
        if self._references is not None:
            self._references(self._label, weight)

    def __call__(self, depth: int) -> None:
        """Counts one node at ``depth``."""
        self._nodes += 1
        if depth > MAX_DEPTH:
            raise InvalidRequest(
                f"{self._label}: the schema is nested deeper than {MAX_DEPTH} levels", param=self._label
            )
        if self._nodes > MAX_NODES:
            message = f"{self._label}: the schema is larger than {MAX_NODES} schemas, its references followed"
            raise InvalidRequest(message, param=self._label)


def join_pointer(at: str, *names: str | int) -> str:
    """Appends ``names`` to a JSON pointer in its URL form: ASCII, without spaces and commas (RFC 6901, section 6)."""
    return "/".join((at, *(quote(str(name).replace("~", "~0").replace("/", "~1"), safe="$~") for name in names)))


def resolve_ref(root: Mapping[str, Any], ref: object) -> Any:
    """Returns the schema at a reference; None if it cannot be resolved."""
    if ref == "#":
        return root
    if not isinstance(ref, str) or not ref.startswith("#/"):
        return None
    target: Any = root
    for raw in ref[2:].split("/"):
        name = unquote(raw).replace("~1", "/").replace("~0", "~")
        if isinstance(target, list):
            target = target[int(name)] if name.isascii() and name.isdigit() and int(name) < len(target) else None
        else:
            target = target.get(name) if isinstance(target, dict) else None
    return target if isinstance(target, dict | bool) else None


def iterate_subschemas(schema: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yields the direct subschemas of ``schema``, each with its path of keyword and name or index."""
    for name, value in schema.items():
        if name in SCHEMA_MAP_KEYWORDS and isinstance(value, dict):
            yield from (((name, key), subschema) for key, subschema in value.items())
        elif name in SCHEMA_LIST_KEYWORDS and isinstance(value, list):
            yield from (((name, n), subschema) for n, subschema in enumerate(value))
        elif name in SCHEMA_KEYWORDS and isinstance(value, dict | bool):
            yield (name,), value


def iterate_refs(schema: Any, count: SizeLimit, depth: int = 0, *, referenced: bool = False) -> Iterator[str]:
    """Yields all references in a schema, except those in its definitions, which count where they are used.

    ``referenced``: a reference led to the schema.
    """
    if not isinstance(schema, dict):
        return
    count(depth)
    if referenced:
        count.count_referenced()
    if isinstance(schema.get("$ref"), str):
        yield schema["$ref"]
    for path, subschema in iterate_subschemas(schema):
        if path[0] not in DEFINITIONS:
            yield from iterate_refs(subschema, count, depth + 1, referenced=referenced)


class ReferenceCycles:
    """Finds the references of a document that lead back to themselves.

    ``ref in cycles`` is true if the schema at ``ref`` contains itself.
    """

    def __init__(self, root: Mapping[str, Any], count: SizeLimit) -> None:
        self._edges: dict[str, tuple[str, ...]] = {}
        pending = [*iterate_refs(root, count)]
        while pending:
            ref = pending.pop()
            if ref not in self._edges:
                self._edges[ref] = tuple(dict.fromkeys(iterate_refs(resolve_ref(root, ref), count, referenced=True)))
                pending += self._edges[ref]
        self._cycle_of = self._find_cycles()

    def __contains__(self, ref: str) -> bool:
        return ref in self._edges and (ref in self._edges[ref] or self._cycle_of[ref][1] > 1)

    def leads_back(self, inside: str, ref: str) -> bool:
        """True if ``ref``, used in the schema at ``inside``, leads back to ``inside``."""
        if inside == ref:
            return True
        return inside in self._cycle_of and ref in self._cycle_of and self._cycle_of[inside] == self._cycle_of[ref]

    def _find_cycles(self) -> dict[str, tuple[str, int]]:
        """Maps each reference to its cycle: one member of it, and the number of members (Kosaraju's algorithm)."""
        order: list[str] = []
        seen: set[str] = set()
        for start in self._edges:
            stack = [] if start in seen else [(start, iter(self._edges[start]))]
            seen.add(start)
            while stack:
                ref, targets = stack[-1]
                target = next((one for one in targets if one not in seen), None)
                if target is None:
                    order.append(ref)
                    stack.pop()
                else:
                    seen.add(target)
                    stack.append((target, iter(self._edges[target])))
        users: dict[str, list[str]] = {ref: [] for ref in self._edges}
        for ref, targets_of_ref in self._edges.items():
            for one in targets_of_ref:
                users[one].append(ref)
        cycle_of: dict[str, tuple[str, int]] = {}
        for start in reversed(order):
            if start in cycle_of:
                continue
            members, reached = [start], [start]
            cycle_of[start] = (start, 1)
            while reached:
                for one in users[reached.pop()]:
                    if one not in cycle_of:
                        cycle_of[one] = (start, 1)
                        members.append(one)
                        reached.append(one)
            for one in members:
                cycle_of[one] = (start, len(members))
        return cycle_of


def merge_ref_siblings(target: Mapping[str, Any], beside: Mapping[str, Any]) -> dict[str, Any]:
    """Merges the target of a reference with the keywords beside the ``$ref``, which both hold."""
    clash = [name for name in beside if name in target and name not in ANNOTATIONS]
    if clash:
        return {"allOf": [dict(target), dict(beside)]}
    return {**{n: v for n, v in target.items() if n not in DEFINITIONS}, **beside}


def reduce_to_type(target: Any) -> dict[str, Json]:
    """Reduces a schema that cannot be inlined to its ``type``; ``{}`` without one."""
    kind = target.get("type") if isinstance(target, dict) else None
    return {"type": kind} if isinstance(kind, str | list) else {}


def inline_refs(
    schema: Mapping[str, Json], label: str = "schema", references: ReferenceLimit | None = None
) -> FittedSchema:
    """Replaces all references by their targets and removes the definitions.

    A reference back into itself is reduced to a type and reported as lost. ``label`` names the schema in errors;
    ``references`` counts for all schemas of a request. Raises ``InvalidRequest`` for a schema that is too deep or too
    large.
    """
    count, lost = SizeLimit(label, references), list[str]()

    def walk(node: Any, at: _Path, stack: tuple[str, ...], depth: int) -> Any:
        if not isinstance(node, dict):
            return node
        count(depth)
        if stack:
            count.count_referenced()
        for name in _DYNAMIC:
            if name in node:
                lost.append(_format_path(at, name))
        node = {name: value for name, value in node.items() if name not in (*DEFINITIONS, *_DYNAMIC)}
        if "$ref" not in node:
            return map_subschemas(node, lambda path, subschema: walk(subschema, (at, path), stack, depth + 1))
        ref, beside = node["$ref"], {name: value for name, value in node.items() if name != "$ref"}
        target = resolve_ref(schema, ref)
        if target is None or ref in stack:
            lost.append(_format_path(at, "$ref"))
            return walk(merge_ref_siblings(reduce_to_type(target), beside), at, stack, depth + 1)
        target = target if isinstance(target, dict) else {} if target else {"not": {}}
        # The keywords beside the reference are not inside its target, so they are walked with the stack of before.
        if not beside:
            return walk(target, at, (*stack, ref), depth + 1)
        inlined_target = walk(target, at, (*stack, ref), depth + 1)
        return merge_ref_siblings(inlined_target, walk(beside, at, stack, depth + 1))

    return FittedSchema(walk(dict(schema), (), (), 0), tuple(lost))


_Path: TypeAlias = "tuple[()] | tuple[_Path, tuple[str | int, ...]]"  # of a node: that of its parent, and a step


def _format_path(at: _Path, last: str) -> str:
    """Returns the JSON pointer of a keyword. Only what was lost needs one, and most of the time nothing was."""
    steps: list[tuple[str | int, ...]] = [(last,)]
    while at:
        at, step = at
        steps.append(step)
    return join_pointer("#", *(name for step in reversed(steps) for name in step))


def map_subschemas(node: Mapping[str, Any], transform: Callable[[tuple[str | int, ...], Any], Any]) -> dict[str, Any]:
    """Returns a copy of a schema with each direct subschema replaced by ``transform(path, subschema)``."""
    copy: dict[str, Any] = {}
    for name, value in node.items():
        if name in SCHEMA_MAP_KEYWORDS and isinstance(value, dict):
            copy[name] = {key: transform((name, key), subschema) for key, subschema in value.items()}
        elif name in SCHEMA_LIST_KEYWORDS and isinstance(value, list):
            copy[name] = [transform((name, n), subschema) for n, subschema in enumerate(value)]
        elif name in SCHEMA_KEYWORDS and isinstance(value, dict):
            copy[name] = transform((name,), value)
        else:
            copy[name] = value
    return copy
