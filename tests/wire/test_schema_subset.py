"""JSON Schema reduced to subsets: by examples, and by random schemas with random values that have to stay valid."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from llm.errors import InvalidRequest
from llm.wire.schema_refs import DEFINITIONS, MAX_DEPTH, MAX_NODES, iterate_subschemas
from llm.wire.schema_subset import FittedSchema, Subset, describe_losses, fit_schema, fit_strict_schema, inline_refs

CLOSED = Subset(formats=frozenset({"date"}), min_items=frozenset({0, 1}), closed=True, type_lists=False, recursion="no")
OPEN = Subset(
    keywords=frozenset({"minimum", "maximum", "minItems", "maxItems", "prefixItems"}),
    const=False,
    enum_types=(str, int, float),
    recursion="optional",
)
TREE: dict[str, Any] = {
    "type": "object",
    "properties": {"root": {"$ref": "#/$defs/node"}},
    "required": ["root"],
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["name"],
        }
    },
}


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for _, held in iterate_subschemas(schema):
            yield from nodes(held)


def only(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


# --- references ---


def test_t6_references_are_inlined_with_the_keywords_beside_them() -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "a": {"$ref": "#/$defs/name", "description": "Hers"},
            "b": {"$ref": "#/definitions/na~1me%20"},
            "c": {"$ref": "#/properties/a"},
            "$ref": {"type": "string"},  # a property with this name
        },
        "$defs": {"name": {"type": "string", "description": "A name"}},
        "definitions": {"na/me ": {"$ref": "#/$defs/name"}},
    }
    name: Any = {"type": "string", "description": "A name"}
    hers: Any = {"type": "string", "description": "Hers"}
    assert inline_refs(schema) == FittedSchema(
        {"type": "object", "properties": {"a": hers, "b": name, "c": hers, "$ref": {"type": "string"}}}
    )


def test_t6_a_recursive_schema_is_cut_and_reported() -> None:
    whole = inline_refs(TREE)
    node = whole.schema and whole.schema["properties"]["root"]  # type: ignore[index,call-overload]
    assert node == {
        "type": "object",
        "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"type": "object"}}},
        "required": ["name"],
    }
    assert whole.lost == ("#/properties/root/properties/children/items/$ref",)


@pytest.mark.parametrize("ref", ["#/$defs/nobody", "other.json#/a", "https://example.org/s.json", "#anchor", 7])
def test_t6_an_unresolvable_reference_is_removed_and_reported(ref: Any) -> None:
    assert inline_refs({"type": "object", "properties": {"a": {"$ref": ref}}}) == FittedSchema(
        {"type": "object", "properties": {"a": {}}}, ("#/properties/a/$ref",)
    )
    assert fit_strict_schema({"type": "object", "properties": {"a": {"$ref": ref}}}) == FittedSchema(
        None, ("#/properties/a/$ref",)
    )


def test_t6_conflicting_keywords_beside_a_reference_become_all_of() -> None:
    schema: dict[str, Any] = {"$ref": "#/$defs/a", "minimum": 5, "$defs": {"a": {"minimum": 3}}}
    assert inline_refs(schema).schema == {"allOf": [{"minimum": 3}, {"minimum": 5}]}


@pytest.mark.parametrize("make", [inline_refs, fit_strict_schema, lambda s: fit_schema(s, OPEN)])
def test_t6_a_schema_that_is_too_deep_or_too_large_is_refused(make: Any) -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(MAX_DEPTH + 1):
        deep = {"type": "object", "properties": {"a": deep}}
    with pytest.raises(InvalidRequest, match=f"schema: the schema is nested deeper than {MAX_DEPTH} levels"):
        make(deep)
    wide: dict[str, Any] = {"type": "object", "properties": {str(n): {"type": "string"} for n in range(MAX_NODES)}}
    with pytest.raises(InvalidRequest, match=f"schema: the schema is larger than {MAX_NODES}"):
        make(wide)


def test_t6_exponential_references_are_refused() -> None:
    defs: dict[str, Any] = {"d0": {"type": "string"}}
    for n in range(1, 40):
        defs[f"d{n}"] = only(a={"$ref": f"#/$defs/d{n - 1}"}, b={"$ref": f"#/$defs/d{n - 1}"})
    bomb = {**only(a={"$ref": "#/$defs/d39"}), "$defs": defs}
    with pytest.raises(InvalidRequest, match="larger than"):
        inline_refs(bomb)
    whole = fit_strict_schema(bomb).schema
    assert whole is not None and len(json.dumps(whole)) < 2 * len(json.dumps(bomb))
    for n in range(1, 40):
        defs[f"d{n}"] = {"allOf": [{"$ref": f"#/$defs/d{n - 1}"}, {"$ref": f"#/$defs/d{n - 1}"}]}
    with pytest.raises(InvalidRequest, match="larger than"):
        fit_strict_schema(bomb)


# --- strict ---


def test_t7_every_property_is_required_and_an_optional_one_is_nullable() -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "place": {"type": "string", "description": "Where"},
            "unit": {"type": "string", "enum": ["C", "F"]},
            "days": {"type": ["integer", "null"], "minimum": 1},
            "kind": {"const": "x"},
            "more": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            "far": {"$ref": "#/$defs/far"},
            "list": {"type": "array"},
        },
        "required": ["place"],
        "$defs": {"far": {"type": "object", "properties": {"km": {"type": "number"}}, "required": ["km"]}},
    }
    assert fit_strict_schema(schema).schema == {
        **only(
            place={"description": "Where", "type": "string"},
            unit={"type": ["string", "null"], "enum": ["C", "F", None]},
            days={"type": ["integer", "null"], "minimum": 1},
            kind={"anyOf": [{"type": "string", "const": "x"}, {"type": "null"}]},
            more={"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
            far={"anyOf": [{"$ref": "#/$defs/far"}, {"type": "null"}]},
            list={"type": ["array", "null"], "items": {"type": ["string", "number", "boolean", "null"]}},
        ),
        "$defs": {"far": only(km={"type": "number"})},
    }
    assert fit_strict_schema(schema).lost == (
        "#/properties/unit/optional",
        "#/properties/kind/optional",
        "#/properties/more/optional",
        "#/properties/far/optional",
        "#/properties/list/items",
        "#/properties/list/optional",
    )


def test_t7_a_strict_schema_stays_unchanged() -> None:
    schema: dict[str, Any] = {
        **only(a={"type": "string"}, b={"$ref": "#/$defs/b"}),
        "$defs": {"b": only(c={"type": "integer"})},
    }
    assert fit_strict_schema(schema) == FittedSchema(schema)
    tree = fit_strict_schema(TREE).schema
    assert tree is not None and fit_strict_schema(tree) == FittedSchema(tree)


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ({"type": "object"}, "#/additionalProperties"),
        ({"type": "object", "properties": {}, "additionalProperties": True}, "#/additionalProperties"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "#/additionalProperties"),
        ({"type": "object", "properties": {"a": {}}}, "#/properties/a/type"),
        ({"type": "object", "properties": {"a, b": True}}, "#/properties/a%2C%20b/type"),
        ({"type": "object", "properties": {"a": False}}, "#/properties/a"),
        ({"type": "array", "items": {"type": "string"}}, "#/type"),
        ({"anyOf": [{"type": "object", "properties": {}}]}, "#/type"),
        ({"type": "object", "properties": {"a": {"type": "array", "prefixItems": [{}]}}},
         "#/properties/a/prefixItems/0/type"),
        ({"type": "object", "properties": {"a": {"$dynamicRef": "#x"}}}, "#/properties/a/$dynamicRef"),
    ],
)  # fmt: skip
def test_t7_a_schema_that_cannot_be_strict_has_no_result(schema: dict[str, Any], pointer: str) -> None:
    assert fit_strict_schema(schema) == FittedSchema(None, (pointer,))


def test_t7_the_members_of_all_of_are_merged() -> None:
    schema: dict[str, Any] = {
        "allOf": [
            {"$ref": "#/definitions/a"},
            {"properties": {"x": {"maxLength": 5}, "y": {"type": "integer"}}, "required": ["y"]},
        ],
        "definitions": {"a": {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}},
    }
    assert fit_strict_schema(schema) == FittedSchema(only(x={"type": "string", "maxLength": 5}, y={"type": "integer"}))


def test_t7_removed_keywords_are_reported() -> None:
    schema = only(
        a={"type": "string", "default": "x", "format": "color"},
        b={"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        c={"oneOf": [{"type": "integer"}, {"type": "number"}]},
        d={"oneOf": [{"type": "integer"}, {"type": "string"}]},
    )
    whole = fit_strict_schema({**schema, "$schema": "https://json-schema.org/draft/2020-12/schema", "if": {}})
    assert whole.schema == only(
        a={"type": "string"},
        b={"type": "array", "items": {"type": "string"}},
        c={"anyOf": [{"type": "integer"}, {"type": "number"}]},
        d={"anyOf": [{"type": "integer"}, {"type": "string"}]},
    )
    assert set(whole.lost) == {
        "#/properties/a/default", "#/properties/a/format", "#/properties/b/uniqueItems", "#/properties/c/oneOf", "#/if",
    }  # fmt: skip


def test_a_long_list_of_lost_keywords_is_shortened() -> None:
    lost = [f"#/properties/p{n}/default" for n in range(23)]
    assert describe_losses("format", lost[:2]) == ["format/properties/p0/default", "format/properties/p1/default"]
    assert len(describe_losses("format", lost)) == 21 and describe_losses("format", lost)[-1] == "format and 3 more"


# --- other subsets ---


def test_t7_a_list_of_types_becomes_a_union() -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "a": {"type": ["string", "null"], "format": "date", "minLength": 3, "title": "A"},
            "b": {"type": "array", "items": {"type": "string"}, "minItems": 2},
            "c": {"type": ["integer", "null"], "enum": [1, None]},
        },
        "required": ["a"],
    }
    assert fit_schema(schema, CLOSED) == FittedSchema(
        {
            "type": "object",
            "properties": {
                "a": {"title": "A", "anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
                "b": {"type": "array", "items": {"type": "string"}},
                "c": {"enum": [1, None]},
            },
            "required": ["a"],
            "additionalProperties": False,
        },
        ("#/properties/a/minLength", "#/properties/b/minItems"),
    )


def test_t7_a_subset_without_recursion_cannot_express_a_tree() -> None:
    assert fit_schema(TREE, CLOSED) == FittedSchema(None, ("#/$defs/node/properties/children/items/$ref",))


def test_t6_recursion_is_allowed_through_optional_properties() -> None:
    assert fit_schema(TREE, OPEN) == FittedSchema(TREE)
    needed = copy.deepcopy(TREE)
    needed["$defs"]["node"]["required"].append("children")
    whole = fit_schema(needed, OPEN)
    assert whole.lost == ("#/$defs/node/properties/children/items/$ref",)
    assert whole.schema is not None and "items" not in json.dumps(whole.schema["$defs"]).replace('"items": {"type"', "")


@pytest.mark.parametrize(
    ("schema", "fit"),
    [
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"anyOf": [{"type": "string"}], "nullable": True}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"const": 1}, {"type": "integer", "enum": [1]}),
        ({"type": "object", "additionalProperties": {"type": "string"}},
         {"type": "object", "additionalProperties": {"type": "string"}}),
        ({"allOf": [{"type": "integer", "minimum": 1}, {"type": "number", "minimum": 3}]},
         {"type": "integer", "minimum": 3}),
        (True, {}),
    ],
)  # fmt: skip
def test_t6_other_spellings_are_accepted(schema: Any, fit: Any) -> None:
    whole = fit_schema({"type": "object", "properties": {"a": schema}}, OPEN)
    assert whole == FittedSchema({"type": "object", "properties": {"a": fit}})


def test_t6_a_nullable_reference_is_a_union() -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/a", "nullable": True}},
        "$defs": {"a": {"type": "string"}},
    }
    assert fit_schema(schema, OPEN).schema == {
        "type": "object",
        "properties": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}]}},
        "$defs": {"a": {"type": "string"}},
    }


# --- random schemas, with a value that fits and has every property ---

NAMES = st.sampled_from(["a", "b", "c", "$ref", "items", "x/y", "ü", "properties"])
SCALARS: list[tuple[dict[str, Any], st.SearchStrategy[Any]]] = [
    ({"type": "string"}, st.text(max_size=3)),
    ({"type": "string", "minLength": 1, "maxLength": 4}, st.text(min_size=1, max_size=4)),
    ({"type": "integer", "minimum": 0}, st.integers(0, 9)),
    ({"type": ["number", "null"]}, st.none() | st.integers(0, 9)),
    ({"type": "boolean", "default": False, "x-kind": 1}, st.booleans()),
    ({"enum": ["a", 1, None]}, st.sampled_from(["a", 1, None])),
    ({"type": "string", "enum": ["a", "b"], "title": "T"}, st.sampled_from(["a", "b"])),
    ({"const": "k"}, st.just("k")),
    ({"type": "null"}, st.none()),
]  # fmt: skip


@st.composite
def pairs(draw: st.DrawFn, depth: int = 3, refs: tuple[tuple[str, Any], ...] = ()) -> tuple[dict[str, Any], Any]:
    """A schema, and a value that it allows."""
    kinds = ["scalar", *(["ref"] if refs else []), *(["object", "array", "union", "all", "free"] if depth else [])]
    kind = draw(st.sampled_from(kinds))
    if kind == "ref":
        name, value = draw(st.sampled_from(refs))
        beside = draw(st.sampled_from([{}, {"description": "d"}]))
        return {"$ref": f"#/$defs/{name}", **beside}, value
    if kind == "object":
        return draw(objects(depth, refs))
    if kind == "array":
        schema, value = draw(pairs(depth - 1, refs))
        return {"type": "array", "items": schema, "minItems": 0}, [value] * draw(st.integers(0, 2))
    if kind == "union":
        members = draw(st.lists(pairs(depth - 1, refs), min_size=1, max_size=3))
        word = draw(st.sampled_from(["anyOf", "oneOf"]))
        return {word: [schema for schema, _ in members]}, members[0][1]
    if kind == "all":
        schema, value = draw(objects(depth, refs))
        schema.pop("additionalProperties", None)
        return {"allOf": [{"title": "All", **schema}, {"required": schema["required"]}]}, value
    if kind == "free":
        return {"type": "array"}, draw(st.lists(st.integers() | st.text(max_size=2) | st.none(), max_size=2))
    schema, values = draw(st.sampled_from(SCALARS))
    return dict(schema), draw(values)


@st.composite
def objects(draw: st.DrawFn, depth: int = 3, refs: tuple[tuple[str, Any], ...] = ()) -> tuple[dict[str, Any], Any]:
    held = draw(st.dictionaries(NAMES, pairs(depth - 1, refs), max_size=3))
    schema: dict[str, Any] = {"type": "object", "properties": {name: pair[0] for name, pair in held.items()}}
    schema["required"] = [name for name in held if draw(st.booleans())]
    if draw(st.booleans()):
        schema["additionalProperties"] = False
    return schema, {name: pair[1] for name, pair in held.items()}


@st.composite
def documents(draw: st.DrawFn) -> tuple[dict[str, Any], Any]:
    defs: dict[str, Any] = {}
    refs: list[tuple[str, Any]] = []
    for n in range(draw(st.integers(0, 3))):
        defs[f"d{n}"], value = draw(pairs(2, tuple(refs)))
        refs.append((f"d{n}", value))
    schema, value = draw(objects(3, tuple(refs)))
    return ({**schema, "$defs": defs} if defs else schema), value


def check_strict(schema: dict[str, Any]) -> None:
    """The rules of OpenAI's strict mode."""
    assert schema["type"] == "object" and "anyOf" not in schema
    for node in nodes(schema):
        if "$ref" in node:
            assert node.keys() == {"$ref"}
            continue
        assert not {"oneOf", "allOf", "not", "if", "default", "patternProperties", "prefixItems"} & node.keys()
        types = node.get("type", ())
        types = [types] if isinstance(types, str) else types
        assert types or "anyOf" in node
        if "object" in types:
            assert node["additionalProperties"] is False and node["required"] == [*node["properties"]]
        assert "array" not in types or isinstance(node["items"], dict)
    Draft202012Validator.check_schema(schema)


@settings(max_examples=300)
@given(documents())
def test_t7_a_value_with_every_property_stays_valid(pair: tuple[dict[str, Any], Any]) -> None:
    schema, value = pair
    before = copy.deepcopy(schema)
    whole = fit_strict_schema(schema).schema
    assert schema == before
    assert whole is not None
    check_strict(whole)
    if not Draft202012Validator(schema).is_valid(value):  # more than one member of a oneOf
        return
    assert Draft202012Validator(whole).is_valid(value)
    assert json.dumps(fit_strict_schema(copy.deepcopy(schema)).schema) == json.dumps(whole)
    assert fit_strict_schema(whole) == FittedSchema(whole)


@settings(max_examples=300)
@given(documents())
def test_t6_an_inlined_schema_accepts_the_same_values(pair: tuple[dict[str, Any], Any]) -> None:
    schema, value = pair
    before = copy.deepcopy(schema)
    whole = inline_refs(schema)
    assert schema == before and whole.schema is not None and whole.lost == ()
    assert not any({"$ref", *DEFINITIONS} & node.keys() for node in nodes(whole.schema))
    for one in (value, {}, {"a": 1}, None):
        assert Draft202012Validator(schema).is_valid(one) == Draft202012Validator(whole.schema).is_valid(one)


@settings(max_examples=200)
@given(documents(), st.sampled_from([CLOSED, OPEN]))
def test_t6_a_reduced_schema_allows_what_the_schema_allows(pair: tuple[dict[str, Any], Any], subset: Subset) -> None:
    schema, value = pair
    whole = fit_schema(schema, subset).schema
    if whole is not None and Draft202012Validator(schema).is_valid(value):
        assert Draft202012Validator(whole).is_valid(value)
        assert fit_schema(whole, subset).schema == whole


WORDS = st.sampled_from(
    ["type", "properties", "items", "anyOf", "oneOf", "allOf", "$ref", "$defs", "required", "enum", "const", "not",
     "additionalProperties", "prefixItems", "nullable", "minimum", "format", "description", "definitions"]
)  # fmt: skip
LEAVES = st.sampled_from(
    ["object", "array", "string", "#", "#/$defs/a", "#/$defs/b", "#/properties/a", "#/items", None, True, False, 0, 1.5]
)
WILD: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(WORDS, inner, max_size=4)
        | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=12,
)


@settings(max_examples=500)
@given(st.dictionaries(WORDS, WILD, max_size=6))
@example({"type": [[]], "allOf": [{"type": "object"}]})  # a type that is not a text
def test_t6_any_schema_is_reduced_or_refused(schema: dict[str, Any]) -> None:
    before = json.dumps(schema)
    for make in (inline_refs, fit_strict_schema, lambda s: fit_schema(s, CLOSED), lambda s: fit_schema(s, OPEN)):
        try:
            whole = make(schema)
        except InvalidRequest:
            continue
        assert json.dumps(make(json.loads(before)).schema) == json.dumps(whole.schema)
        assert all(pointer.startswith("#") and pointer.isascii() and "," not in pointer for pointer in whole.lost)
        if whole.schema is not None and make is inline_refs:
            assert not any("$ref" in node for node in nodes(whole.schema))
    assert json.dumps(schema) == before
