"""Texts of the assistant that comment on its work, and those that are the answer (``phase`` of the Responses API)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm.chat.reply import replay
from llm.chat.request import ChatRequest
from llm.dialects import anthropic, native, openai_chat, openai_responses
from llm.engines.api_choice import use_responses
from llm.engines.engine import Target
from llm.engines.records import ENGINES
from tests.support.crossings import cross
from tests.support.field_cases import field_case

COMMENT, ANSWER = "Let me look.", "It is 5."
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}


def message(text: str, phase: str | None, id: str = "msg_1") -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"type": "message", "id": id, "role": "assistant", "status": "completed", "content": [part]}
    return {**item, "phase": phase} if phase else item


OUTPUT = [message(COMMENT, "commentary"), message(ANSWER, "final_answer", "msg_2")]


def response(*items: dict[str, Any]) -> dict[str, Any]:
    fields = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m", "error": None}
    return {**fields, "output": [*items], "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}}


def stream() -> list[bytes]:
    def event(kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()

    pieces = [event("response.created", response={**response(), "status": "in_progress"})]
    for n, item in enumerate(OUTPUT):
        where = {"output_index": n, "item_id": item["id"], "content_index": 0}
        pieces += [
            event("response.output_item.added", output_index=n, item={**item, "content": []}),
            event("response.output_text.delta", **where, delta=item["content"][0]["text"][:3]),
            event("response.output_text.delta", **where, delta=item["content"][0]["text"][3:]),
            event("response.output_item.done", output_index=n, item=item),
        ]
    return [*pieces, event("response.completed", response=response(*OUTPUT))]


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("client", ["chat", "anthropic", "ollama"])
async def test_nw_32_comment_and_answer_are_two_parts_or_stand_apart(client: str, streamed: bool) -> None:
    body = {"messages": [{"role": "user", "content": "Hello"}], "stream": streamed}
    told = await cross(client, "responses", body, whole=response(*OUTPUT), pieces=stream())
    assert told.status == 200, told.raw
    if client == "anthropic":
        if streamed:
            assert [e["type"] for e in told.events].count("content_block_start") == 2
        else:
            assert [block["text"] for block in told.json["content"]] == [COMMENT, ANSWER]
        return
    if client == "chat":
        text = (
            "".join(c["delta"].get("content") or "" for e in told.events for c in e["choices"])
            if streamed
            else told.json["choices"][0]["message"]["content"]
        )
    else:
        text = "".join(e["message"]["content"] for e in told.events) if streamed else told.json["message"]["content"]
    assert text == f"{COMMENT}\n\n{ANSWER}"


@pytest.mark.parametrize("group", [1, 100])
def test_nw_32_native_clients_get_comment_and_answer_set_apart(group: int) -> None:
    reply = openai_responses.read_reply(response(*OUTPUT), ENGINES["openai"])
    request = ChatRequest(model="m", messages=())
    whole = native.write_reply(reply, request, 0)
    events, writer = [*replay(reply)], native.create_writer(request, 0, "ndjson")
    batches = [events[at : at + group] for at in range(0, len(events), group)]
    lines = b"".join(piece for batch in batches for piece in writer.feed(batch)).splitlines()
    texts = [json.loads(line).get("text", "") for line in lines]
    assert "".join(texts) == whole["content"] == f"{COMMENT}\n\n{ANSWER}"


async def test_texts_of_one_answer_without_phases_are_one_text() -> None:
    whole = response(message("Hal", None), message("lo", None, "msg_2"))
    told = await cross("chat", "responses", {"messages": [{"role": "user", "content": "Hello"}]}, whole=whole)
    assert told.json["choices"][0]["message"]["content"] == "Hallo"


@pytest.mark.parametrize("engine", ["cerebras", "anthropic", "google", "ollama"])
async def test_nw_32_comment_and_answer_of_a_history_stand_apart(engine: str) -> None:
    items = [{"role": "user", "content": "Go"}, *OUTPUT, {"role": "user", "content": "And?"}]
    told = await cross("responses", engine, {"input": items})
    assert told.status == 200 and told.dropped == []
    assert COMMENT + ANSWER not in json.dumps(told.sent[0]).replace("\\n", "\n")
    assert COMMENT in json.dumps(told.sent[0]) and ANSWER in json.dumps(told.sent[0])


def sent_items(body: dict[str, Any], client: Any, model: str) -> list[dict[str, Any]]:
    target = use_responses(Target(engine=ENGINES["openai"], model=model))
    request = client.read_request({"model": model, "max_tokens": 100, **body})
    items: Any = openai_responses.write_request(request, target.engine).body
    return [item for item in items["input"] if item.get("role") == "assistant"]


def test_nw_31_a_text_before_a_call_goes_back_as_a_comment() -> None:
    case = field_case("nw-31")
    request = {name: value for name, value in case["request"].items() if name != "model"}
    [item] = sent_items(request, openai_chat, "gpt-6-sol")
    assert (item["content"], item["phase"]) == (COMMENT, "commentary")


@pytest.mark.parametrize(
    ("model", "marked"),
    [("gpt-5.3-codex", True), ("gpt-5.4", True), ("gpt-6-sol", True), ("gpt-5.2", False), ("gpt-4o", False)],
)
@pytest.mark.parametrize("client", [openai_chat, anthropic], ids=["chat", "anthropic"])
def test_nw_31_phases_are_marked_for_the_models_that_want_them(client: Any, model: str, marked: bool) -> None:
    call: Any = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    results: list[Any] = [{"role": "tool", "tool_call_id": "c", "content": "r"}]
    commented: dict[str, Any] = {"role": "assistant", "content": COMMENT, "tool_calls": [call]}
    if client is anthropic:
        blocks = [{"type": "text", "text": COMMENT}, {"type": "tool_use", "id": "c", "name": "f", "input": {}}]
        commented = {"role": "assistant", "content": blocks}
        results = [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "r"}]}]
    messages = [
        {"role": "user", "content": "x"}, commented, *results, {"role": "assistant", "content": ANSWER},
        {"role": "user", "content": "y"},
    ]  # fmt: skip
    first, second = sent_items({"messages": messages}, client, model)
    assert first.get("phase") == ("commentary" if marked else None)
    assert second.get("phase") == ("final_answer" if marked else None)


def test_nw_31_the_phases_of_the_engine_come_back_unchanged() -> None:
    items = sent_items({"input": [{"role": "user", "content": "x"}, *OUTPUT]}, openai_responses, "gpt-6-sol")
    assert [(item["id"], item["phase"]) for item in items] == [("msg_1", "commentary"), ("msg_2", "final_answer")]
