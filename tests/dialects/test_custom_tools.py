"""Tools whose input is text (``custom``), of clients of OpenAI's two APIs, over engines of every wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm.dialects import openai_chat, openai_responses
from llm.engines.records import ENGINES
from tests.support.crossings import cross
from tests.support.scripted import make_call_reply, make_call_stream

PATCH = '*** Begin Patch\n+ "quoted" \\ é😀\n'
GRAMMAR = {"syntax": "lark", "definition": 'start: "a"'}
CHAT_TOOL = {
    "type": "custom",
    "custom": {"name": "patch", "description": "Edits", "format": {"type": "grammar", "grammar": GRAMMAR}},
}
RESPONSES_TOOL = {"type": "custom", "name": "patch", "description": "Edits", "format": {"type": "grammar", **GRAMMAR}}
CHAT_CALL = {"id": "c1", "type": "custom", "custom": {"name": "patch", "input": PATCH}}
CHAT: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": "Edit it"},
        {"role": "assistant", "content": None, "tool_calls": [CHAT_CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "Done"},
    ],
    "tools": [CHAT_TOOL],
    "tool_choice": {"type": "custom", "custom": {"name": "patch"}},
}
RESPONSES: dict[str, Any] = {
    "input": [
        {"role": "user", "content": "Edit it"},
        {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": PATCH},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "Done"},
    ],
    "tools": [RESPONSES_TOOL],
    "tool_choice": {"type": "custom", "name": "patch"},
}
BODIES = {"chat": CHAT, "responses": RESPONSES}
FUNCTION_ENGINES = ["anthropic", "google", "ollama", "cerebras"]
CROSSINGS = [
    (client, engine)
    for client in BODIES
    for engine in [*FUNCTION_ENGINES, "responses"]
    if (client, engine) not in (("chat", "cerebras"), ("responses", "responses"))  # passed through
]


@pytest.mark.parametrize(("client", "engine"), CROSSINGS)
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_gw_03_a_custom_tool_is_a_function_with_one_text_field_and_its_calls_come_back_as_text(
    client: str, engine: str, stream: bool
) -> None:
    arguments = {"input": PATCH}
    body = {**BODIES[client], "stream": stream}
    if engine == "ollama":
        del body["tool_choice"]  # it cannot force a tool
    told = await cross(
        client,
        engine,
        body,
        whole=make_call_reply(engine, "patch", arguments),
        pieces=make_call_stream(engine, "patch", arguments),
    )
    assert told.status == 200, told.raw
    sent = json.dumps(told.sent[0], ensure_ascii=False)
    assert "INVALID_JSON" not in sent and '"value"' not in sent and '"custom' not in sent
    assert "tools/patch/format" in told.dropped and "Must" not in told.dropped
    assert "start: " in sent and "Edits" in sent  # the grammar in words
    if client == "chat":
        assert _chat_call(told, stream) == ("custom", "patch", PATCH)
    else:
        assert _responses_call(told, stream) == ("custom_tool_call", "patch", PATCH)


def _chat_call(told: Any, stream: bool) -> tuple[str, str, str]:
    if not stream:
        [call] = told.json["choices"][0]["message"]["tool_calls"]
        return call["type"], call["custom"]["name"], call["custom"]["input"]
    calls = [c for e in told.events for choice in e["choices"] for c in choice["delta"].get("tool_calls", ())]
    assert all("function" not in call for call in calls)
    return calls[0]["type"], calls[0]["custom"]["name"], "".join(call["custom"]["input"] for call in calls)


def _responses_call(told: Any, stream: bool) -> tuple[str, str, str]:
    output = told.events[-1]["response"]["output"] if stream else told.json["output"]
    [item] = output
    if stream:
        kinds = [event["type"] for event in told.events]
        deltas = [e["delta"] for e in told.events if e["type"] == "response.custom_tool_call_input.delta"]
        done = [e["input"] for e in told.events if e["type"] == "response.custom_tool_call_input.done"]
        assert "".join(deltas) == PATCH and done == [PATCH]
        assert "response.function_call_arguments.delta" not in kinds
    return item["type"], item["name"], item["input"]


@pytest.mark.parametrize("engine", ["openai", "azure"])
def test_gw_03_an_engine_with_such_tools_gets_them_in_the_form_of_its_other_api(engine: str) -> None:
    record = ENGINES[engine]
    body: Any = openai_responses.write_request(openai_chat.read_request({"model": "m", **CHAT}), record).body
    assert body["tools"] == [RESPONSES_TOOL]
    assert body["tool_choice"] == {"type": "custom", "name": "patch"}
    assert [item["type"] for item in body["input"]] == ["message", "custom_tool_call", "custom_tool_call_output"]
    assert body["input"][1]["input"] == PATCH
    back: Any = openai_chat.write_request(openai_responses.read_request({"model": "m", **RESPONSES}), record).body
    assert back["tools"] == [CHAT_TOOL]
    assert back["tool_choice"] == CHAT["tool_choice"]
    assert back["messages"][1]["tool_calls"] == [CHAT_CALL]


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_a_custom_call_of_the_responses_api_reaches_a_chat_client_as_text(stream: bool) -> None:
    item = {"type": "custom_tool_call", "id": "ct", "call_id": "c9", "name": "patch", "input": PATCH}
    response = {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": [item]}

    def event(kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()

    where = {"output_index": 0, "item_id": "ct"}
    pieces = [
        event("response.created", response={**response, "status": "in_progress", "output": []}),
        event("response.output_item.added", output_index=0, item={**item, "input": ""}),
        *(event("response.custom_tool_call_input.delta", **where, delta=character) for character in PATCH),
        event("response.custom_tool_call_input.done", **where, input=PATCH),
        event("response.output_item.done", output_index=0, item=item),
        event("response.completed", response=response),
    ]
    told = await cross("chat", "responses", {**CHAT, "stream": stream}, whole=response, pieces=pieces)
    assert told.status == 200, told.raw
    assert _chat_call(told, stream) == ("custom", "patch", PATCH)


async def test_a_custom_tool_in_a_namespace_keeps_both_names() -> None:
    tool = {"type": "namespace", "name": "files", "tools": [{"type": "custom", "name": "patch"}]}
    body = {"input": "Edit it", "tools": [tool], "tool_choice": "auto"}
    told = await cross(
        "responses", "anthropic", body, whole=make_call_reply("anthropic", "files__patch", {"input": PATCH})
    )
    [item] = told.json["output"]
    assert (item["type"], item["namespace"], item["name"], item["input"]) == (
        "custom_tool_call", "files", "patch", PATCH,
    )  # fmt: skip
