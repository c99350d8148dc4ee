"""The demo engine: it calls only tools that it was given, and answers after the schema (su-18)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from llm.transport.demo.schema_sample import make_sample
from llm.transport.demo.transport import DemoTransport
from tests.support.field_cases import field_case
from tests.support.harness import make_config, run_server

ECHO: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "echo",
        "parameters": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    },
}
COUNT: dict[str, Any] = {
    "type": "function",
    "function": {"name": "count", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}},
}
WRITE: dict[str, Any] = {"type": "custom", "custom": {"name": "write", "description": "writes a text"}}


async def ask(path: str = "/v1/chat/completions", **body: Any) -> Any:
    demo = DemoTransport(idle_timeout=5, pace=0.0)
    async with run_server(make_config(), demo=demo) as server:
        asked = {"model": "demo/demo-chat", "messages": [{"role": "user", "content": "call it"}], **body}
        answer = await server.post(path, asked)
        text = await answer.body()
        assert answer.status == 200, text
        if not body.get("stream"):
            return json.loads(text)
        return [json.loads(line[6:]) for line in text.decode().split("\n") if line.startswith("data: {")]


def list_calls(answer: Any) -> list[tuple[str, str]]:
    calls = answer["choices"][0]["message"].get("tool_calls") or []
    return [
        (one[one["type"]]["name"], one[one["type"]].get("arguments", one[one["type"]].get("input"))) for one in calls
    ]


async def test_su_18_a_named_tool_is_called_after_its_schema() -> None:
    answer = await ask(**field_case("su-18")["request"]["body"])
    message = answer["choices"][0]["message"]
    assert [(name, json.loads(given)) for name, given in list_calls(answer)] == [("echo", {"text": "call it"})]
    assert message["refusal"] is None and answer["choices"][0]["logprobs"] is None
    assert answer["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("model", "fields", "names"),
    [
        ("demo-chat", {}, []),
        ("demo-chat", {"tool_choice": "auto"}, []),
        ("demo-chat", {"tool_choice": "required"}, ["echo"]),
        ("demo-chat", {"tool_choice": {"type": "function", "function": {"name": "count"}}}, ["count"]),
        ("demo-tools", {}, ["echo", "count"]),
        ("demo-tools", {"parallel_tool_calls": False}, ["echo"]),
        ("demo-tools", {"tool_choice": "none"}, []),
        ("demo-tools", {"tool_choice": {"type": "custom", "custom": {"name": "write"}}}, ["write"]),
        (
            "demo-tools",
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [COUNT]}}},
            ["count"],
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_only_tools_that_were_given_are_called(
    model: str, fields: dict[str, Any], names: list[str], *, stream: bool
) -> None:
    answer = await ask(model=f"demo/{model}", tools=[ECHO, COUNT, WRITE], stream=stream, **fields)
    if not stream:
        assert [name for name, _ in list_calls(answer)] == names
        return
    deltas = [chunk["choices"][0]["delta"] for chunk in answer if chunk["choices"]]
    pieces = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert [call[call["type"]]["name"] for call in pieces if call.get("id")] == names
    assert bool("".join(delta.get("content") or "" for delta in deltas)) == (not names)


async def test_without_tools_it_answers_with_text() -> None:
    answer = await ask(model="demo/demo-tools")
    assert list_calls(answer) == [] and "call it" in answer["choices"][0]["message"]["content"]


async def test_it_answers_once_it_has_the_results() -> None:
    first = await ask(model="demo/demo-tools", tools=[ECHO])
    message = first["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "42 degrees"}
    user = {"role": "user", "content": "call it"}
    answer = await ask(model="demo/demo-tools", tools=[ECHO], messages=[user, message, result])
    assert "42 degrees" in answer["choices"][0]["message"]["content"]
    again = await ask(model="demo/demo-tools", tools=[ECHO], messages=[user, message, result, user])
    assert [name for name, _ in list_calls(again)] == ["echo"]


@pytest.mark.parametrize("model", ["demo-chat", "demo-reasoning", "demo-tools"])
async def test_su_18_a_schema_gets_json(model: str) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "temperature": {"type": "number", "minimum": 20}},
        "required": ["city", "temperature"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "weather", "schema": schema, "strict": True}}
    answer = await ask(model=f"demo/{model}", response_format=wanted)
    value = json.loads(answer["choices"][0]["message"]["content"])
    assert value == {"city": "call it", "temperature": 20}
    answer = await ask(model=f"demo/{model}", response_format={"type": "json_object"})
    assert "call it" in json.loads(answer["choices"][0]["message"]["content"])["answer"]


async def test_limits_and_stop_sequences_end_the_answer() -> None:
    answer = await ask(max_tokens=3)
    choice = answer["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("This is the", "length")
    answer = await ask(stop=["engine"])
    choice = answer["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("This is the demo ", "stop")


TREE = {
    "$defs": {
        "node": {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}}
    },
    "$ref": "#/$defs/node",
}
SCHEMAS: dict[str, Any] = {
    "empty": {},
    "nested": {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"type": "integer"}}}}},
    "enum": {"type": "string", "enum": ["x", "y"]},
    "const": {"const": 7},
    "array": {"type": "array", "items": {"type": "string"}, "minItems": 3, "uniqueItems": True},
    "tuple": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False},
    "no items": {"type": "array", "maxItems": 0},
    "bounds": {"type": "integer", "minimum": 10, "maximum": 12},
    "exclusive": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5},
    "step": {"type": "integer", "multipleOf": 7, "minimum": 20},
    "long": {"type": "string", "minLength": 300},
    "short": {"type": "string", "maxLength": 2},
    "format": {"type": "string", "format": "date"},
    "nullable": {"type": ["null", "string"]},
    "any": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
    "all": {"allOf": [{"type": "object", "properties": {"a": {"type": "string"}}}, {"required": ["a", "b"]}]},
    "tree": TREE,
    "references": {"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"enum": [3]}}},
    "untyped": {"properties": {"a": {"minimum": 4}}, "required": ["a"]},
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_samples_fit_their_schema(name: str) -> None:
    Draft202012Validator(SCHEMAS[name]).validate(make_sample(SCHEMAS[name], "some text"))


def test_a_schema_that_refers_to_itself_ends() -> None:
    node: dict[str, Any] = {"type": "object", "properties": {}, "required": ["a", "b"]}
    node["properties"] = {"a": {"$ref": "#"}, "b": {"$ref": "#"}}
    text = json.dumps(make_sample(node))
    assert len(text) < 100_000
