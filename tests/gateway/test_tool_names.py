"""Names of tools and ids of calls that the engine, or the next API, does not accept: mapped both ways."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from llm.chat.messages import Message, ToolCall
from llm.chat.request import ChatRequest, Options, ToolSpec
from llm.gateway.tool_names import fit_tool_names
from tests.support.crossings import Crossed, cross
from tests.support.field_cases import field_case
from tests.support.scripted import make_call_reply, make_call_stream

LONG = "mcp__plugin_chrome-devtools-mcp_chrome-devtools__get_console_message"
DOTTED = "composio.NOTION_SEARCH"
BOTH = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
ACCEPTED = {
    "openai": r"[a-zA-Z0-9_-]{1,64}",
    "cerebras": r"[a-zA-Z0-9_-]{1,64}",
    "responses": r"[a-zA-Z0-9_-]{1,64}",
    "anthropic": r"[a-zA-Z0-9_-]{1,128}",
    "google": r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}",
}


def make_body(client: str, name: str) -> dict[str, Any]:
    """Returns a request with a tool of this name, a call of it in the history, and the demand to call it."""
    schema = {"type": "object", "properties": {}}
    match client:
        case "anthropic":
            call = {"type": "tool_use", "id": "t1", "name": name, "input": {}}
            result = {"type": "tool_result", "tool_use_id": "t1", "content": "r"}
            contents: list[Any] = ["Go", [call], [result]]
            roles = ("user", "assistant", "user")
            return {
                "messages": [{"role": r, "content": c} for r, c in zip(roles, contents, strict=True)],
                "tools": [{"name": name, "input_schema": schema}],
                "tool_choice": {"type": "tool", "name": name},
            }
        case "responses":
            items = [
                {"role": "user", "content": "Go"},
                {"type": "function_call", "call_id": "t1", "name": name, "arguments": "{}"},
                {"type": "function_call_output", "call_id": "t1", "output": "r"},
            ]
            tool = {"type": "function", "name": name, "parameters": schema}
            return {"input": items, "tools": [tool], "tool_choice": {"type": "function", "name": name}}
    called = {"id": "t1", "type": "function", "function": {"name": name, "arguments": "{}"}}
    return {
        "messages": [
            {"role": "user", "content": "Go"},
            {"role": "assistant", "content": None, "tool_calls": [called]},
            {"role": "tool", "tool_call_id": "t1", "content": "r"},
        ],
        "tools": [{"type": "function", "function": {"name": name, "parameters": schema}}],
        "tool_choice": {"type": "function", "function": {"name": name}},
    }


def client_call(client: str, told: Crossed, stream: bool) -> tuple[str, str]:
    """Returns the id and the name of the only call that the client got."""
    match client:
        case "anthropic":
            blocks = (
                [e["content_block"] for e in told.events if "content_block" in e] if stream else told.json["content"]
            )
            [block] = blocks
            return block["id"], block["name"]
        case "responses":
            [item] = (told.events[-1]["response"] if stream else told.json)["output"]
            return item["call_id"], item["name"]
    if stream:
        calls = [c for e in told.events for choice in e["choices"] for c in choice["delta"].get("tool_calls", ())]
    else:
        calls = told.json["choices"][0]["message"]["tool_calls"]
    return calls[0]["id"], calls[0]["function"]["name"]


CROSSINGS = [
    (client, engine)
    for client in ("anthropic", "chat", "responses")
    for engine in ACCEPTED
    if (client, engine)
    not in (
        ("anthropic", "anthropic"), ("chat", "openai"), ("chat", "cerebras"), ("responses", "openai"),
        ("responses", "responses"),
    )  # passed through
]  # fmt: skip


@BOTH
@pytest.mark.parametrize("name", [LONG, DOTTED])
@pytest.mark.parametrize(("client", "engine"), CROSSINGS)
async def test_gw_25_names_that_the_engine_refuses_are_mapped_both_ways(
    client: str, engine: str, name: str, stream: bool
) -> None:
    asked = {**make_body(client, name), "stream": stream}
    first = await cross(client, engine, asked)
    text = json.dumps(first.sent[0])
    [sent] = {*re.findall(r'"name": "([^"]+)"', text)}
    assert re.fullmatch(ACCEPTED[engine], sent)
    if re.fullmatch(ACCEPTED[engine], name):
        assert sent == name
    else:
        assert name not in text
    told = await cross(
        client, engine, asked, whole=make_call_reply(engine, sent), pieces=make_call_stream(engine, sent)
    )
    assert json.dumps(told.sent[0]) == text  # the same in every turn
    assert client_call(client, told, stream)[1] == name


async def test_field_case_gw_25() -> None:
    case = field_case("gw-25")
    body = {name: value for name, value in case["request"].items() if name != "model"}
    told = await cross("anthropic", "openai", body)
    assert told.status == 200
    assert len(told.sent[0]["tools"][0]["function"]["name"]) <= 64


def test_allowed_tools_and_namespaces_are_mapped_too_and_names_stay_different() -> None:
    names = (f"{LONG}_a", f"{LONG}_b")
    request = ChatRequest(
        model="m",
        messages=(Message("assistant", (ToolCall("c", names[0]),)),),
        tools=tuple(ToolSpec(name) for name in (*names, "fine")),
        options=Options(allowed_tools=names),
    )
    renamed, back = fit_tool_names(request, re.compile(r"[a-zA-Z0-9_-]{1,64}"))
    first, second, fine = (tool.name for tool in renamed.tools)
    assert first != second and fine == "fine" and renamed.options.allowed_tools == (first, second)
    assert back == {first: names[0], second: names[1]}
    assert fit_tool_names(renamed, re.compile(r"[a-zA-Z0-9_-]{1,64}")) == (renamed, {})


# --- ids ---


def kimi_reply(engine: str) -> Any:
    """Returns an answer with a call whose id has characters that Anthropic refuses."""
    return json.loads(json.dumps(make_call_reply(engine, "Bash")).replace('"call_1"', '"functions.Bash:0"'))


def kimi_stream(engine: str) -> list[bytes]:
    return [piece.replace(b'"call_1"', b'"functions.Bash:0"') for piece in make_call_stream(engine, "Bash")]


@BOTH
@pytest.mark.parametrize("engine", ["openai", "responses"])
async def test_gw_11_ids_for_messages_clients_are_in_anthropics_form_and_go_back_as_they_came(
    engine: str, stream: bool
) -> None:
    tools = [{"name": "Bash", "input_schema": {"type": "object", "properties": {}}}]
    body = {"messages": [{"role": "user", "content": "Hello"}], "tools": tools, "stream": stream}
    told = await cross("anthropic", engine, body, whole=kimi_reply(engine), pieces=kimi_stream(engine))
    id, _ = client_call("anthropic", told, stream)
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", id)
    blocks = [{"type": "tool_use", "id": id, "name": "Bash", "input": {}}]
    result = {"type": "tool_result", "tool_use_id": id, "content": "a.txt"}
    messages = [*body["messages"], {"role": "assistant", "content": blocks}, {"role": "user", "content": [result]}]  # type: ignore[misc]
    back = await cross("anthropic", engine, {"messages": messages, "tools": tools})
    assert json.dumps(back.sent[0]).count('"functions.Bash:0"') == 2 and id not in json.dumps(back.sent[0])
    other = await cross("anthropic", "anthropic", {"messages": messages, "tools": tools})  # passed through
    assert json.dumps(other.sent[0]).count(id) == 2


async def test_field_case_gw_11() -> None:
    case = field_case("gw-11")
    body = {name: value for name, value in case["request"].items() if name != "model"}
    told = await cross("anthropic", "openai", body, whole=case["provider_response"]["body"])
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", told.json["content"][0]["id"])


async def test_gw_11_a_chat_clients_id_has_the_same_form_at_anthropic() -> None:
    body = json.loads(json.dumps(make_body("chat", "Bash")).replace('"t1"', '"functions.Bash:0"'))
    told = await cross("chat", "anthropic", body)
    [_, call, result] = told.sent[0]["messages"]
    id = call["content"][0]["id"]
    assert id == result["content"][0]["tool_use_id"] and re.fullmatch(r"[a-zA-Z0-9_-]+", id)
    again = await cross("anthropic", "openai", {"messages": told.sent[0]["messages"], "tools": told.sent[0]["tools"]})
    assert json.dumps(again.sent[0]).count('"functions.Bash:0"') == 2


@pytest.mark.parametrize(("client", "engine", "longest"), [("anthropic", "openai", 40), ("anthropic", "responses", 64)])
async def test_gw_11_an_id_that_is_too_long_for_the_engine_is_shortened(client: str, engine: str, longest: int) -> None:
    long = "chatcmpl-tool-" + "0123456789abcdef" * 4
    body = json.loads(json.dumps(make_body(client, "Bash")).replace('"t1"', json.dumps(long)))
    told = await cross(client, engine, body)
    text = json.dumps(told.sent[0])
    ids = {*re.findall(r'"(?:tool_call_id|call_id|id)": "([^"]+)"', text)}
    assert len(ids) == 1 and all(len(id) <= longest for id in ids) and long not in text
