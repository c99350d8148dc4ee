"""The fast check accepts only what the schemas accept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator

from handlers.request.schema import SCHEMAS
from handlers.request.schema_fast import FastSchema
from llm.wire.json_codec import loads
from tests.support.bodies import BODIES

ALL: Final[dict[str, dict[str, Any]]] = {path.stem: loads(path.read_bytes()) for path in SCHEMAS.glob("*.json")}
SOME: Final = {"object": {}, "array": [], "string": "aa", "boolean": True, "integer": 1, "number": 1, "null": None}
ODD: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    0.5,
    1.0,
    10**40,
    "",
    "a",
    chr(0xD83D),
    "a" + chr(0xDFFF),
    [],
    {},
    [None],
)


def resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = root["$defs"][schema["$ref"].removeprefix("#/$defs/")] if "$ref" in schema else schema
    return found


def whole(schema: dict[str, Any], root: dict[str, Any]) -> Any:
    """Returns a value with every field of the schema."""
    schema = resolved(schema, root)
    if "properties" in schema:
        return {name: whole(inner, root) for name, inner in schema["properties"].items()}
    if "items" in schema:
        return [whole(schema["items"], root)]
    if "enum" in schema:
        return schema["enum"][0]
    told = schema.get("type", "string")
    return SOME[told if isinstance(told, str) else told[0]]


def variants(schema: dict[str, Any], root: dict[str, Any]) -> Iterator[Any]:
    """Yields the value with one place changed."""
    schema = resolved(schema, root)
    yield from ODD
    value = whole(schema, root)
    if "properties" in schema:
        yield {**value, "more": 1}
        for name, inner in schema["properties"].items():
            yield {other: one for other, one in value.items() if other != name}
            yield from ({**value, name: one} for one in variants(inner, root))
    if "items" in schema:
        yield from ([one] for one in variants(schema["items"], root))


@pytest.mark.parametrize("name", sorted(ALL))
def test_the_fast_check_accepts_nothing_that_the_schema_rejects(name: str) -> None:
    schema, shape, judge = ALL[name], FastSchema(ALL[name]), Draft202012Validator(ALL[name])
    told = [(judge.is_valid(value), shape.matches(value), value) for value in variants(schema, schema)]
    assert not [value for sound, fits, value in told if fits and not sound]
    assert any(sound for sound, _, _ in told) and any(not sound for sound, _, _ in told)


@pytest.mark.parametrize("name", sorted(BODIES))
def test_requests_of_clients_pass_the_fast_check(name: str) -> None:
    _, schema, body = BODIES[name]
    assert FastSchema(ALL[schema]).matches(body)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string", "maxLength": 1}, "aa"),
        ({"type": "object", "properties": {"a": {"not": {"type": "string"}}}}, {"a": "x"}),
        ({"$defs": {"a": {"type": "string"}}, "$ref": "#/$defs/a", "minLength": 3}, "x"),
        ({"enum": [1]}, True),
        ({"enum": [0]}, False),
    ],
)
def test_unknown_keywords_are_left_to_jsonschema(schema: dict[str, Any], value: Any) -> None:
    assert not FastSchema(schema).matches(value)
    assert not Draft202012Validator(schema).is_valid(value)
