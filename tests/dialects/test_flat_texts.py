"""Text in several parts, and parts with fields that some clients add."""

from __future__ import annotations

from typing import Any

import pytest

from llm.dialects import anthropic, openai_chat
from llm.engines.records import ENGINES
from tests.support.crossings import cross
from tests.support.harness import CLIENT, Connection, Request, Upstream, make_config, run_server
from tests.support.scripted import PNG
from tests.support.wires import WIRES

PARTS = [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]
CUSTOM = {"CUSTOM_ENGINES": "llamacpp", "LLAMACPP_LABEL": "llama.cpp"}


async def send(body: dict[str, Any]) -> Any:
    """Returns what a custom engine is sent for a request of a Messages client."""

    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(WIRES["openai"].whole("Hi"))

    upstream = Upstream(script)
    async with upstream.run():
        async with run_server(make_config(**CUSTOM, LLAMACPP_BASE_URL=f"{upstream.url}/v1")) as server:
            sent = {"model": "llamacpp/m", "max_tokens": 100, **body}
            answer = await server.post("/v1/messages", sent, CLIENT)
            assert answer.status == 200, await answer.body()
    return upstream.requests[0].json


async def test_texts_are_one_string_for_a_custom_engine() -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": PARTS}
    messages = [
        {"role": "user", "content": PARTS},
        {"role": "assistant", "content": [*PARTS, {"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
        {"role": "user", "content": [result]},
    ]
    sent = await send({"system": PARTS, "messages": messages})
    assert [message["content"] for message in sent["messages"]] == [
        "One.\n\nTwo.", "One.\n\nTwo.", "One.Two.", "One.\n\nTwo.",
    ]  # fmt: skip


async def test_a_picture_keeps_the_list_form() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    sent = await send({"messages": [{"role": "user", "content": [*PARTS, image]}]})
    assert [part["type"] for part in sent["messages"][0]["content"]] == ["text", "text", "image_url"]


@pytest.mark.parametrize(("engine", "flat"), [("lmstudio", True), ("cerebras", True), ("openai", False)])
def test_records_say_which_engines_get_one_string(engine: str, flat: bool) -> None:
    request = anthropic.read_request({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": PARTS}]})
    body: Any = openai_chat.write_request(request, ENGINES[engine]).body
    assert (body["messages"][0]["content"] == "One.\n\nTwo.") is flat


def test_a_part_whose_fields_the_engine_reads_keeps_the_list_form() -> None:
    marked = [{**PARTS[0], "cache_control": {"type": "ephemeral"}}, PARTS[1]]
    request = openai_chat.read_request({"model": "m", "messages": [{"role": "user", "content": marked}]})
    body: Any = openai_chat.write_request(request, ENGINES["lmstudio"]).body
    assert body["messages"][0]["content"] == marked


@pytest.mark.parametrize("engine", ["anthropic", "google", "ollama", "responses"])
@pytest.mark.parametrize("beside", [True, False], ids=["a copy", "the only place"])
async def test_agents_js_history_with_calls_inside_text(engine: str, beside: bool) -> None:
    """@openai/agents 0.20.0 puts ``role`` and a copy of ``tool_calls`` into the text part of a whole answer."""
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    part = {"type": "text", "text": "I look.", "role": "assistant", "tool_calls": calls}
    message = {"role": "assistant", "content": [part], **({"tool_calls": calls} if beside else {})}
    body = {
        "messages": [{"role": "user", "content": "x"}, message, {"role": "tool", "tool_call_id": "c1", "content": "r"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    }
    told = await cross("chat", engine, body)
    assert told.status == 200, told.raw
    text = str(told.sent[0])
    assert told.dropped == [] and text.count("'I look.'") == 1 and text.count("c1") == 2


async def test_agents_js_history_reaches_an_engine_of_the_same_dialect_as_it_is() -> None:
    part = {"type": "text", "text": "I look.", "role": "assistant", "tool_calls": []}
    body = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": [part]}]}
    told = await cross("chat", "openai", body)
    assert told.status == 200 and told.sent[0]["messages"] == body["messages"]
