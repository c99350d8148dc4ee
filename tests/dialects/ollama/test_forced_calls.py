"""A tool that has to be called is called by Ollama too: its arguments are asked for as JSON after a schema (su-08)."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from llm.chat.events import Finished, PartEnded, ReasoningDelta, TextDelta, ToolCallDelta, ToolCallStarted
from llm.dialects.ollama.forced_calls import ForcedCall
from tests.support.crossed_requests import cross as write_for_engine
from tests.support.crossings import ENGINE_WIRES, cross
from tests.support.field_cases import field_case

ARGUMENTS: Final = '{"a": "x"}'
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}}
BOTH = [pytest.param(False, id="whole"), pytest.param(True, id="stream")]
TOOLS: dict[str, Any] = {
    "chat": lambda name: {"type": "function", "function": {"name": name, "description": "does", "parameters": SCHEMA}},
    "responses": lambda name: {"type": "function", "name": name, "description": "does", "parameters": SCHEMA},
    "anthropic": lambda name: {"name": name, "description": "does", "input_schema": SCHEMA},
}
NAMED: dict[str, Any] = {
    "chat": {"type": "function", "function": {"name": "f"}},
    "responses": {"type": "function", "name": "f"},
    "anthropic": {"type": "tool", "name": "f"},
}
ANY: dict[str, Any] = {"chat": "required", "responses": "required", "anthropic": {"type": "any"}}
PROMPT: dict[str, Any] = {
    "chat": {"messages": [{"role": "user", "content": "go"}]},
    "responses": {"input": "go"},
    "anthropic": {"messages": [{"role": "user", "content": "go"}]},
}


async def ask(client: str, choice: Any, *names: str, stream: bool, text: str, **more: Any) -> tuple[Any, Any]:
    """Returns the request to the engine, and the name, arguments and finish reason that the client reads."""
    wire = ENGINE_WIRES["ollama"]
    body = {**PROMPT[client], "tools": [TOOLS[client](name) for name in names], "tool_choice": choice, **more}
    pieces = [wire.head, *(wire.delta(text[at : at + 3]) for at in range(0, len(text), 3)), wire.end]
    seen = await cross(client, "ollama", {**body, "stream": stream}, whole=wire.whole(text), pieces=pieces)
    assert seen.status == 200, seen.raw
    assert seen.dropped == []
    read = {"chat": read_chat, "responses": read_responses, "anthropic": read_messages}[client]
    return seen.sent[-1], read(seen.events if stream else [seen.json], stream)


def read_chat(objects: list[Any], stream: bool) -> tuple[str, str, str]:
    if not stream:
        choice = objects[0]["choices"][0]
        [call] = choice["message"]["tool_calls"]
        return call["function"]["name"], call["function"]["arguments"], choice["finish_reason"]
    choices = [one["choices"][0] for one in objects if one["choices"]]
    calls = [call for choice in choices for call in choice["delta"].get("tool_calls", ())]
    assert not any(choice["delta"].get("content") for choice in choices)
    arguments = "".join(call["function"]["arguments"] for call in calls)
    return calls[0]["function"]["name"], arguments, choices[-1]["finish_reason"]


def read_responses(objects: list[Any], stream: bool) -> tuple[str, str, str]:
    response = objects[-1]["response"] if stream else objects[0]
    [call] = response["output"]
    return call["name"], call["arguments"], response["status"]


def read_messages(objects: list[Any], stream: bool) -> tuple[str, str, str]:
    if not stream:
        [block] = objects[0]["content"]
        return block["name"], json.dumps(block["input"]), objects[0]["stop_reason"]
    [start] = [one["content_block"] for one in objects if one["type"] == "content_block_start"]
    pieces = [one["delta"]["partial_json"] for one in objects if one["type"] == "content_block_delta"]
    [end] = [one["delta"]["stop_reason"] for one in objects if one["type"] == "message_delta"]
    return start["name"], "".join(pieces), end


FINISH = {"chat": "tool_calls", "responses": "completed", "anthropic": "tool_use"}


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("client", TOOLS)
@pytest.mark.parametrize("how", ["named", "any of one"])
async def test_su_08_one_tool_is_called_with_what_the_model_answers(client: str, how: str, *, stream: bool) -> None:
    names = ("f", "g") if how == "named" else ("f",)
    sent, seen = await ask(client, (NAMED if how == "named" else ANY)[client], *names, stream=stream, text=ARGUMENTS)
    assert (seen[0], json.loads(seen[1]), seen[2]) == ("f", {"a": "x"}, FINISH[client])
    assert sent["format"] == SCHEMA and "tools" not in sent
    assert sent["messages"][0]["role"] == "system" and "f: does" in sent["messages"][0]["content"]


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("client", TOOLS)
async def test_su_08_of_several_tools_the_model_chooses_one(client: str, *, stream: bool) -> None:
    answer = json.dumps({"name": "g", "arguments": {"a": "x"}})
    sent, seen = await ask(client, ANY[client], "f", "g", stream=stream, text=answer)
    assert (seen[0], json.loads(seen[1]), seen[2]) == ("g", {"a": "x"}, FINISH[client])
    names = [one["properties"]["name"]["const"] for one in sent["format"]["anyOf"]]
    assert names == ["f", "g"]


@pytest.mark.parametrize("case", ["su-08", "cl-15"])
def test_the_field_cases_ask_for_the_arguments(case: str) -> None:
    body = field_case(case)["request"]["body"]
    out = write_for_engine("/v1/chat/completions", body)
    assert out.body["format"] == body["tools"][0]["function"]["parameters"] and out.dropped == ()


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_a_tool_that_need_not_be_called_is_offered_as_before(choice: str) -> None:
    tools = [TOOLS["chat"]("f")]
    body = {"model": "ollama/m", **PROMPT["chat"], "tools": tools, "tool_choice": choice}
    out = write_for_engine("/v1/chat/completions", body)
    assert "format" not in out.body and ("tools" in out.body) == (choice == "auto")


def test_an_answer_after_the_client_s_own_schema_comes_first() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object", "title": "own"}}}
    body = {"model": "ollama/m", **PROMPT["chat"], "tools": [TOOLS["chat"]("f")], "response_format": wanted}
    out = write_for_engine("/v1/chat/completions", {**body, "tool_choice": "required"})
    assert out.body["format"]["title"] == "own" and out.dropped == ("tool_choice",)


def test_a_prompt_joins_the_system_message() -> None:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "go"}]
    body = {"model": "ollama/m", "messages": messages, "tools": [TOOLS["chat"]("f")], "tool_choice": "required"}
    out = write_for_engine("/v1/chat/completions", body)
    assert [one["role"] for one in out.body["messages"]] == ["system", "user"]
    assert out.body["messages"][0]["content"].startswith("Be kind.\n\nCall the tool f now")


def test_references_of_a_tool_s_schema_are_inlined() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"type": "integer"}}}
    tools = [{"type": "function", "function": {"name": name, "parameters": schema}} for name in ("f", "g")]
    body = {"model": "ollama/m", **PROMPT["chat"], "tools": tools, "tool_choice": "required"}
    out = write_for_engine("/v1/chat/completions", body)
    arguments = out.body["format"]["anyOf"][1]["properties"]["arguments"]
    assert arguments["properties"] == {"a": {"type": "integer"}}


def feed(names: list[str], *events: Any) -> list[Any]:
    return ForcedCall(names).feed(events)


def test_cl_15_a_call_of_the_server_s_own_stays_a_call() -> None:
    events = (ToolCallStarted(0, "c", "f"), ToolCallDelta(0, "{}"), PartEnded(0), Finished("tool_calls"))
    assert feed(["f"], *events) == [*events]


def test_a_text_that_is_no_object_stays_a_text() -> None:
    """An old server that does not know ``format`` answers in words."""
    events = (TextDelta(0, " "), TextDelta(0, "I can"), TextDelta(0, "not."), PartEnded(0), Finished("stop"))
    assert feed(["f"], *events) == [*events[1:]]


def test_a_call_of_several_that_was_cut_off_stays_a_text() -> None:
    events = (TextDelta(0, '{"name": "f", "argu'), PartEnded(0), Finished("length"))
    assert feed(["f", "g"], *events) == [*events]


def test_reasoning_passes() -> None:
    thought = (ReasoningDelta(0, "hm"), PartEnded(0))
    start, *rest = feed(["f"], *thought, TextDelta(1, "{}"), PartEnded(1), Finished("stop"))[2:]
    assert isinstance(start, ToolCallStarted) and start.name == "f"
    assert rest == [ToolCallDelta(1, "{}"), PartEnded(1), Finished("tool_calls")]
