"""Tools that the Messages API defines and the client runs, and references to tools, for engines of every wire."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from llm.chat.request import ChatRequest
from llm.dialects.anthropic.client_tools.definitions import read_tool
from llm.dialects.registry import ENGINE_DIALECTS
from llm.engines.records import ENGINES
from tests.support.crossings import Crossed, cross
from tests.support.field_cases import field_case
from tests.support.one_answer import ask

OTHERS = ["google", "ollama", "cerebras", "responses", "openai"]
QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "Go"}]}
COMPUTER = {"name": "computer", "display_width_px": 800, "display_height_px": 600}
TYPED: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {  # the tool, and calls that a client of it can run
    "bash_20250124": ({"name": "bash"}, [{"command": "ls"}, {"restart": True}]),
    "bash_20241022": ({"name": "bash"}, [{"command": "ls"}]),
    "text_editor_20241022": (
        {"name": "str_replace_editor"},
        [{"command": "undo_edit", "path": "a"}, {"command": "insert", "path": "a", "insert_line": 0, "new_str": "x"}],
    ),
    "text_editor_20250124": (
        {"name": "str_replace_editor"},
        [{"command": "undo_edit", "path": "a"}, {"command": "create", "path": "a", "file_text": "x"}],
    ),
    "text_editor_20250429": (
        {"name": "str_replace_based_edit_tool"},
        [{"command": "str_replace", "path": "a", "old_str": "x", "new_str": "y"}],
    ),
    "text_editor_20250728": (
        {"name": "str_replace_based_edit_tool", "max_characters": 1000},
        [
            {"command": "view", "path": "a", "view_range": [1, -1]},
            {"command": "insert", "path": "a", "insert_line": 0, "insert_text": "x"},
        ],
    ),
    "memory_20250818": (
        {"name": "memory"},
        [
            {"command": "view", "path": "/memories"},
            {"command": "rename", "old_path": "/memories/a", "new_path": "/memories/b"},
            {"command": "delete", "path": "/memories/a"},
        ],
    ),
    "computer_20241022": (COMPUTER, [{"action": "left_click", "coordinate": [1, 2]}]),
    "computer_20250124": (
        COMPUTER,
        [{"action": "scroll", "coordinate": [1, 2], "scroll_direction": "down", "scroll_amount": 3}],
    ),
    "computer_20251124": ({**COMPUTER, "enable_zoom": True}, [{"action": "zoom", "region": [0, 0, 10, 10]}]),
}


def find_functions(body: Any) -> dict[str, Any]:
    """Returns the parameters of the functions in the request of an engine of any wire, by their names."""
    found = {}
    for tool in body["tools"]:
        for one in tool.get("functionDeclarations") or [tool.get("function") or tool]:
            found[one["name"]] = next(
                one[name] for name in ("parameters", "parametersJsonSchema", "input_schema") if name in one
            )
    return found


@pytest.mark.parametrize("engine", OTHERS)
@pytest.mark.parametrize("kind", TYPED)
async def test_gw_09_a_tool_that_the_client_runs_is_a_function_with_its_name_and_schema(kind: str, engine: str) -> None:
    tool, calls = TYPED[kind]
    told = await cross("anthropic", engine, {**QUESTION, "tools": [{"type": kind, **tool}]})
    assert told.status == 200, told.raw
    [(name, schema)] = find_functions(told.sent[0]).items()
    assert name == tool["name"] and told.dropped == []
    for call in calls:
        Draft202012Validator(schema).validate(call)
        assert call.keys() <= schema["properties"].keys()


@pytest.mark.parametrize("kind", TYPED)
def test_an_engine_of_this_wire_gets_the_tool_as_the_client_sent_it(kind: str) -> None:
    wire = {"type": kind, **TYPED[kind][0], "cache_control": {"type": "ephemeral"}}
    request = ChatRequest(model="claude-sonnet-4-5", messages=(), tools=(read_tool(wire, "tools[0]"),))
    outgoing = ENGINE_DIALECTS["anthropic"].write_request(request, ENGINES["anthropic"])
    assert outgoing.body is not None and outgoing.body["tools"] == [wire] and outgoing.dropped == ()


async def test_what_other_engines_do_not_have_of_such_a_tool_is_named() -> None:
    tool = {"type": "bash_20250124", "name": "bash", "defer_loading": True, "cache_control": {"type": "ephemeral"}}
    told = await cross("anthropic", "google", {**QUESTION, "tools": [tool]})
    assert told.status == 200 and set(told.dropped) == {"defer_loading", "cache_control"}


def chat_answer() -> dict[str, Any]:
    call = {"id": "call_1", "type": "function", "function": {"name": "bash", "arguments": '{"command": "ls"}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


def gemini_answer() -> dict[str, Any]:
    part = {"functionCall": {"id": "call_1", "name": "bash", "args": {"command": "ls"}}}
    candidate = {"index": 0, "content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}
    return {"responseId": "r1", "modelVersion": "g", "candidates": [candidate], "usageMetadata": {}}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "answer"), [("together/x", chat_answer()), ("google/gemini-3.5-flash", gemini_answer())]
)
async def test_gw_09_the_call_comes_back_as_one_of_the_client_s_tool(
    model: str, answer: dict[str, Any], stream: bool
) -> None:
    seen = await ask("anthropic", model, answer, stream=stream, tools=[{"type": "bash_20250124", "name": "bash"}])
    blocks = [one["content_block"] for one in seen.objects if "content_block" in one]
    [block] = blocks if stream else seen.whole["content"]
    assert (block["type"], block["name"]) == ("tool_use", "bash") and '"ls"' in seen.text.replace("\\", "")
    assert '"stop_reason": "tool_use"' in seen.text


@pytest.mark.parametrize("engine", OTHERS)
async def test_gw_09_calls_and_results_of_such_tools_cross_in_a_history(engine: str) -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {"command": "ls"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "FILE_A"}]}
    messages = [*QUESTION["messages"], {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    tools = [{"type": "bash_20250124", "name": "bash"}]
    told = await cross("anthropic", engine, {"messages": messages, "tools": tools})
    assert told.status == 200, told.raw
    text = json.dumps(told.sent[0])
    assert "FILE_A" in text and '"bash"' in text and "ls" in text


@pytest.mark.parametrize("engine", OTHERS)
async def test_gw_08_a_reference_to_a_tool_is_a_text_with_its_name(engine: str) -> None:
    case = field_case("gw-08")
    told: Crossed = await cross("anthropic", engine, {n: v for n, v in case["request"].items() if n != "model"})
    assert told.status == 200, told.raw
    assert set(find_functions(told.sent[0])) == {"ToolSearch", "mcp__a__b"}
    body = json.dumps(told.sent[0].get("messages") or told.sent[0].get("contents") or told.sent[0]["input"])
    assert "mcp__a__b" in body and set(told.dropped) == {"tool_reference", "defer_loading"}


@pytest.mark.parametrize("engine", ["google", "cerebras"])
async def test_several_references_and_a_text_stay_in_one_result(engine: str) -> None:
    content = [
        {"type": "text", "text": "Found:"},
        {"type": "tool_reference", "tool_name": "a"},
        {"type": "tool_reference", "tool_name": "b"},
    ]
    call = {"type": "tool_use", "id": "toolu_1", "name": "ToolSearch", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": content}
    messages = [*QUESTION["messages"], {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    told = await cross("anthropic", engine, {"messages": messages})
    text = json.dumps(told.sent[0])
    assert told.status == 200 and "the tool a," in text and "the tool b," in text and told.dropped == ["tool_reference"]
