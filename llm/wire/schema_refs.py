"""References in a JSON Schema: followed, found to be cyclic, and inlined.

A reference is looked up inside its own document: ``#``, ``#/$defs/name`` or any other pointer. An address elsewhere, an
anchor, or a dynamic one cannot be followed: it is cut, and that is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote

from llm.errors import InvalidRequest
from llm.wire.json_codec import Json

MAX_DEPTH: Final = 100  # schemas inside one another
MAX_NODES: Final = 20_000  # schemas in one, its references followed

# Where a schema holds schemas: by name, in a list, or one.
MAPS: Final = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
LISTS: Final = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
SINGLE: Final = (
    "items", "additionalProperties", "additionalItems", "unevaluatedItems", "unevaluatedProperties", "contains",
    "propertyNames", "not", "if", "then", "else",
)  # fmt: skip
DEFINITIONS: Final = ("$defs", "definitions")
NOTES: Final = ("title", "description")  # beside a constraint they say nothing about the value
_DYNAMIC: Final = ("$dynamicRef", "$recursiveRef")


@dataclass(frozen=True, slots=True)
class Fitted:
    """A schema made to fit; None where it cannot be said. ``lost`` are the places of what is not in it, as pointers."""

    schema: dict[str, Json] | None
    lost: tuple[str, ...] = ()


class Count:
    """Keeps a schema from growing without bound. Raises ``InvalidRequest``."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._nodes = 0

    def __call__(self, depth: int) -> None:
        self._nodes += 1
        if depth > MAX_DEPTH:
            raise InvalidRequest(
                f"{self._place}: the schema is nested deeper than {MAX_DEPTH} levels", param=self._place
            )
        if self._nodes > MAX_NODES:
            told = f"{self._place}: the schema is larger than {MAX_NODES} schemas, its references followed"
            raise InvalidRequest(told, param=self._place)


def step(at: str, *names: str | int) -> str:
    """A pointer some steps further, in its form for URLs: nothing but ASCII, no spaces, no commas."""
    return "/".join((at, *(quote(str(name).replace("~", "~0").replace("/", "~1"), safe="$~") for name in names)))


def found(root: Mapping[str, Any], ref: object) -> Any:
    """The schema that a reference points to; None where there is none."""
    if ref == "#":
        return root
    if not isinstance(ref, str) or not ref.startswith("#/"):
        return None
    here: Any = root
    for raw in ref[2:].split("/"):
        name = unquote(raw).replace("~1", "/").replace("~0", "~")
        if isinstance(here, list):
            here = here[int(name)] if name.isascii() and name.isdigit() and int(name) < len(here) else None
        else:
            here = here.get(name) if isinstance(here, dict) else None
    return here if isinstance(here, dict | bool) else None


def inner(schema: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """The schemas that a schema holds, with the way to each."""
    for name, value in schema.items():
        if name in MAPS and isinstance(value, dict):
            yield from (((name, key), held) for key, held in value.items())
        elif name in LISTS and isinstance(value, list):
            yield from (((name, n), held) for n, held in enumerate(value))
        elif name in SINGLE and isinstance(value, dict | bool):
            yield (name,), value


def refs_of(schema: Any, count: Count, depth: int = 0) -> Iterator[str]:
    """All references in a schema, definitions left aside: they count where they are used."""
    if not isinstance(schema, dict):
        return
    count(depth)
    if isinstance(schema.get("$ref"), str):
        yield schema["$ref"]
    for way, held in inner(schema):
        if way[0] not in DEFINITIONS:
            yield from refs_of(held, count, depth + 1)


class Cycles:
    """Which references of a document lead back to themselves, and by way of which others."""

    def __init__(self, root: Mapping[str, Any], count: Count) -> None:
        self._edges: dict[str, tuple[str, ...]] = {}
        waiting = [*refs_of(root, count)]
        while waiting:
            ref = waiting.pop()
            if ref not in self._edges:
                self._edges[ref] = tuple(dict.fromkeys(refs_of(found(root, ref), count)))
                waiting += self._edges[ref]
        self._circle = self._circles()

    def __contains__(self, ref: str) -> bool:
        """The schema at ``ref`` contains itself."""
        return ref in self._edges and (ref in self._edges[ref] or self._circle[ref][1] > 1)

    def back(self, inside: str, ref: str) -> bool:
        """``ref``, used in the schema at ``inside``, leads back there."""
        if inside == ref:
            return True
        return inside in self._circle and ref in self._circle and self._circle[inside] == self._circle[ref]

    def _circles(self) -> dict[str, tuple[str, int]]:
        """For each its circle, by one of it and their number (Kosaraju): all of one reach one another."""
        order: list[str] = []
        seen: set[str] = set()
        for start in self._edges:
            stack = [] if start in seen else [(start, iter(self._edges[start]))]
            seen.add(start)
            while stack:
                ref, further = stack[-1]
                following = next((one for one in further if one not in seen), None)
                if following is None:
                    order.append(ref)
                    stack.pop()
                else:
                    seen.add(following)
                    stack.append((following, iter(self._edges[following])))
        against: dict[str, list[str]] = {ref: [] for ref in self._edges}
        for ref, onward in self._edges.items():
            for one in onward:
                against[one].append(ref)
        circle: dict[str, tuple[str, int]] = {}
        for start in reversed(order):
            if start in circle:
                continue
            members, reached = [start], [start]
            circle[start] = (start, 1)
            while reached:
                for one in against[reached.pop()]:
                    if one not in circle:
                        circle[one] = (start, 1)
                        members.append(one)
                        reached.append(one)
            for one in members:
                circle[one] = (start, len(members))
        return circle


def joined(target: Mapping[str, Any], beside: Mapping[str, Any]) -> dict[str, Any]:
    """What a reference points to and what stands beside it, both of which hold."""
    clash = [name for name in beside if name in target and name not in NOTES]
    if clash:
        return {"allOf": [dict(target), dict(beside)]}
    return {**{n: v for n, v in target.items() if n not in DEFINITIONS}, **beside}


def cut(target: Any) -> dict[str, Json]:
    """What stands for a schema that cannot be followed: as much of it as holds for sure."""
    kind = target.get("type") if isinstance(target, dict) else None
    return {"type": kind} if isinstance(kind, str | list) else {}


def inlined(schema: Mapping[str, Json], place: str = "schema") -> Fitted:
    """A schema without references and definitions. What points back into itself is cut there, and told.

    ``place`` is what the caller calls the schema. Raises ``InvalidRequest`` for one that is too deep or too large.
    """
    count, lost = Count(place), list[str]()

    def walk(node: Any, at: str, stack: tuple[str, ...], depth: int) -> Any:
        if not isinstance(node, dict):
            return node
        count(depth)
        for name in _DYNAMIC:
            if name in node:
                lost.append(step(at, name))
        node = {name: value for name, value in node.items() if name not in (*DEFINITIONS, *_DYNAMIC)}
        if "$ref" not in node:
            return mapped(node, lambda way, held: walk(held, step(at, *way), stack, depth + 1))
        ref, beside = node["$ref"], {name: value for name, value in node.items() if name != "$ref"}
        target = found(schema, ref)
        if target is None or ref in stack:
            lost.append(step(at, "$ref"))
            return walk(joined(cut(target), beside), at, stack, depth + 1)
        target = target if isinstance(target, dict) else {} if target else {"not": {}}
        # What stands beside keeps its own stack of references, else it would be cut for nothing.
        if not beside:
            return walk(target, at, (*stack, ref), depth + 1)
        whole = walk(target, at, (*stack, ref), depth + 1)
        return joined(whole, walk(beside, at, stack, depth + 1))

    return Fitted(walk(dict(schema), "#", (), 0), tuple(lost))


def mapped(node: Mapping[str, Any], held: Callable[[tuple[str | int, ...], Any], Any]) -> dict[str, Any]:
    """A copy of a schema with those it holds replaced."""
    copy: dict[str, Any] = {}
    for name, value in node.items():
        if name in MAPS and isinstance(value, dict):
            copy[name] = {key: held((name, key), inside) for key, inside in value.items()}
        elif name in LISTS and isinstance(value, list):
            copy[name] = [held((name, n), inside) for n, inside in enumerate(value)]
        elif name in SINGLE and isinstance(value, dict):
            copy[name] = held((name,), value)
        else:
            copy[name] = value
    return copy
