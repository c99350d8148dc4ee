"""Schemas of many tools: the work for all of them together has a limit, in every engine's dialect."""

from __future__ import annotations

from typing import Any

import pytest

from llm.chat.messages import Message, Text
from llm.chat.request import ChatRequest, ToolSpec
from llm.dialects.registry import ENGINE_DIALECTS
from llm.engines.records import ENGINES
from llm.errors import InvalidRequest
from llm.wire.schema_refs import MAX_REFERENCED, inline_refs
from tests.support.work import measure_work


def doubling(levels: int, keyword: str = "properties") -> dict[str, Any]:
    """A schema whose definitions each refer to the next one twice: 2 ** levels schemas when they are followed."""

    def node(number: int) -> dict[str, Any]:
        ref = {"$ref": f"#/$defs/a{number + 1}"}
        return {"allOf": [ref, ref]} if keyword == "allOf" else {"type": "object", "properties": {"l": ref, "r": ref}}

    definitions = {f"a{number}": node(number) for number in range(levels - 1)}
    definitions[f"a{levels - 1}"] = {"type": "object", "properties": {"x": {"type": "string"}}}
    first = {"$ref": "#/$defs/a0"}
    root = {"allOf": [first]} if keyword == "allOf" else {"properties": {"p": first}, "required": ["p"]}
    return {"type": "object", **root, "$defs": definitions}


def request(schema: dict[str, Any], count: int) -> ChatRequest:
    """A request of a client of a dialect that no engine here has, so that each engine fits the schemas itself."""
    tools = tuple(
        ToolSpec(name=f"t{number}", description="", parameters=schema, strict=True, schema_dialect="other")
        for number in range(count)
    )
    return ChatRequest(model="m", messages=(Message("user", (Text("hi"),)),), tools=tools)


ENGINE_OF = {engine.dialect: engine for engine in ENGINES.values()}
ENGINE_OF["openai-responses"] = ENGINES["openai"]


@pytest.mark.parametrize("count", [10, 100])
@pytest.mark.parametrize("keyword", ["properties", "allOf"])
@pytest.mark.parametrize("dialect", [*ENGINE_DIALECTS])
def test_br_03_many_tools_whose_references_double_are_refused_or_cheap(dialect: str, keyword: str, count: int) -> None:
    """Counted in bytecodes, since seconds depend on the machine: a million of them take 20 ms or more."""

    def write() -> None:
        try:
            ENGINE_DIALECTS[dialect].write_request(request(doubling(12, keyword), count), ENGINE_OF[dialect])
        except InvalidRequest as error:
            assert error.param is not None and error.param.startswith("tools/t")

    codes, held = measure_work(write, times=1)
    assert codes < 40_000 * count + 4_000_000
    assert held < 20_000_000


def test_br_03_an_engine_that_inlines_references_refuses_more_than_its_limit_by_name() -> None:
    with pytest.raises(InvalidRequest, match=rf"references of all schemas .* more than {MAX_REFERENCED}") as caught:
        ENGINE_DIALECTS["ollama"].write_request(request(doubling(13), 3), ENGINE_OF["ollama"])
    assert caught.value.param == "tools/t0"


@pytest.mark.parametrize("dialect", [*ENGINE_DIALECTS])
def test_a_hundred_tools_with_ordinary_shared_definitions_are_written(dialect: str) -> None:
    point = {"type": "object", "properties": {"x": {"type": "number"}, "y": {"type": "number"}}, "required": ["x", "y"]}
    names = {f"p{number}": {"$ref": "#/$defs/point"} for number in range(15)}
    schema = {"type": "object", "properties": names, "required": [*names], "$defs": {"point": point}}
    outgoing = ENGINE_DIALECTS[dialect].write_request(request(schema, 100), ENGINE_OF[dialect])
    assert "p14" in str(outgoing.body)


def test_pointers_of_lost_references_are_whole() -> None:
    schema: dict[str, Any] = {
        "properties": {"a/b": {"items": {"$ref": "#/$defs/list"}}},
        "$defs": {"list": {"items": {"$ref": "#/$defs/list"}}},
    }
    fit = inline_refs(schema)
    assert fit.lost == ("#/properties/a~1b/items/items/$ref",)
