"""Claude's signed thinking goes back in its order, and only into the conversation in which it was created."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from llm.chat.history import PlacedReasoning, place_reasoning
from llm.chat.messages import Part, Reasoning, Text, ToolCall
from tests.support.field_cases import field_case
from tests.support.harness import CLIENT, Client, Connection, Request, Upstream, make_config, run_server
from tests.support.threads import create_thread
from tests.support.wires import WIRES, _sse

BETA = "thinking-binding-controls-2026-08-01"
DROP = {"prefix_mismatch_behavior": "drop_block"}
MODEL = "claude-opus-5-5"
FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {}}}
BLOCKS = [
    {"type": "thinking", "thinking": "T1", "signature": "SIG1"},
    {"type": "text", "text": "Let me look."},
    {"type": "thinking", "thinking": "T2", "signature": "SIG2"},
    {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
]
ORDER = ["SIG1", "Let me look.", "SIG2", "f"]
WITHOUT_THOUGHTS = ["Let me look.", "f"]


def write_stream(message: Mapping[str, Any]) -> bytes:
    """Returns a whole message as the provider streams it."""
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}}
    ]
    for index, block in enumerate(message["content"]):
        text = {"thinking": "thinking", "text": "text"}.get(block["type"])
        start = {**block, text: ""} if text else {**block, "input": {}}
        start.pop("signature", None)
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        deltas: list[dict[str, Any]] = (
            [{"type": f"{text}_delta", text: block[text]}]
            if text
            else [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        )
        if "signature" in block:
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    events += [{"type": "message_delta", "delta": delta, "usage": {"output_tokens": 1}}, {"type": "message_stop"}]
    return b"".join(_sse(event, event["type"]) for event in events)


def make_upstream(*contents: list[Any], **more: Any) -> Upstream:
    """Returns a provider that answers with these contents, the last one again and again."""

    async def script(request: Request, connection: Connection) -> None:
        content = contents[min(len(upstream.requests), len(contents)) - 1]
        stop = "tool_use" if content[-1]["type"] == "tool_use" else "end_turn"
        usage = {"input_tokens": 1, "output_tokens": 1}
        message: dict[str, Any] = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": MODEL,
            "content": content,
        }
        message |= {"stop_reason": stop, "stop_sequence": None, "usage": usage, **more}
        if not request.json.get("stream"):
            await connection.respond(message)
            return
        await connection.stream()
        await connection.chunk(write_stream(message))
        await connection.end()

    upstream = Upstream(script)
    return upstream


def list_parts(body: Mapping[str, Any], role: str = "assistant") -> list[str]:
    """Returns the signatures, texts and called names of the first message of a role, in order."""
    (message, *_) = [message for message in body["messages"] if message["role"] == role]
    content = message["content"]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return [str(block.get("signature") or block.get("text") or block.get("name")) for block in blocks]


# --- clients: each asks once, reads the answer, and asks again with the tool's result ---

Change = Callable[[dict[str, Any]], None]


async def read_chat(server: Client, body: dict[str, Any]) -> dict[str, Any]:
    """Returns the assistant message of an answer, put together as clients do."""
    answer = await server.post("/v1/chat/completions", body)
    assert answer.status == 200, await answer.body()
    raw = (await answer.body()).decode()
    if not body.get("stream"):
        message: dict[str, Any] = json.loads(raw)["choices"][0]["message"]
        return message
    message = {"role": "assistant", "content": "", "reasoning_content": "", "reasoning_details": []}
    call: dict[str, Any] = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
    for line in raw.splitlines():
        if not line.startswith("data: {"):
            continue
        for choice in json.loads(line[6:])["choices"]:
            delta = choice["delta"]
            message["content"] += delta.get("content") or ""
            message["reasoning_content"] += delta.get("reasoning_content") or ""
            message["reasoning_details"] += delta.get("reasoning_details") or []
            for piece in delta.get("tool_calls") or ():
                call["id"] = piece.get("id") or call["id"]
                call["function"]["name"] += piece["function"].get("name") or ""
                call["function"]["arguments"] += piece["function"].get("arguments") or ""
    return {**message, "tool_calls": [call]}


async def ask_chat(server: Client, stream: bool, change: Change) -> None:
    body: dict[str, Any] = {
        "model": f"anthropic/{MODEL}",
        "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "x"}],
        "tools": [{"type": "function", "function": FUNCTION}],
        "stream": stream,
    }
    message = await read_chat(server, body)
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "r"}
    again = copy.deepcopy({**body, "messages": [*body["messages"], message, result]})
    change(again)
    await read_chat(server, again)


async def ask_ollama(server: Client, stream: bool, change: Change) -> None:
    body: dict[str, Any] = {
        "model": f"anthropic/{MODEL}",
        "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "x"}],
        "tools": [{"type": "function", "function": FUNCTION}],
        "stream": stream,
    }
    answer = await server.post("/api/chat", body)
    assert answer.status == 200, await answer.body()
    message: dict[str, Any] = {"role": "assistant", "content": "", "thinking": "", "tool_calls": []}
    for line in (await answer.body()).splitlines():
        piece = json.loads(line)["message"]
        message["content"] += piece.get("content") or ""
        message["thinking"] += piece.get("thinking") or ""
        message["tool_calls"] += [{"function": call["function"]} for call in piece.get("tool_calls") or ()]
    result = {"role": "tool", "tool_name": "f", "content": "r"}
    again = copy.deepcopy({**body, "messages": [*body["messages"], message, result]})
    change(again)
    answer = await server.post("/api/chat", again)
    assert answer.status == 200, await answer.body()
    await answer.body()


CLIENTS = {"chat": ask_chat, "ollama": ask_ollama}


def keep_all(body: dict[str, Any]) -> None:
    """Sends everything back as it came."""


def strip_thoughts(body: dict[str, Any]) -> None:
    for message in body["messages"]:
        for name in ("reasoning_content", "reasoning", "reasoning_details", "thinking"):
            message.pop(name, None)


def rename_ids(body: dict[str, Any]) -> None:
    """Client fact agno-renames-call-ids: the call and its result get an id of the client's own."""
    strip_thoughts(body)
    for message in body["messages"]:
        for call in message.get("tool_calls", ()):
            if "id" in call:
                call["id"] = "call_00000000000000000000000000000001"
        if "tool_call_id" in message:
            message["tool_call_id"] = "call_00000000000000000000000000000001"


def lose_letters(body: dict[str, Any]) -> None:
    """Client fact autogen-thought-loses-letters: the first letters of a streamed thought are cut off."""
    for message in body["messages"]:
        message.pop("reasoning_details", None)
        for name in ("reasoning_content", "thinking"):
            if message.get(name):
                message[name] = message[name][1:]


def change_system(body: dict[str, Any]) -> None:
    strip_thoughts(body)
    body["messages"][0]["content"] = "S now 12:01"


def change_tools(body: dict[str, Any]) -> None:
    strip_thoughts(body)
    body["tools"].append({"type": "function", "function": {**FUNCTION, "name": "g"}})


def change_earlier_message(body: dict[str, Any]) -> None:
    strip_thoughts(body)
    body["messages"][1]["content"] = "y"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("change", [keep_all, strip_thoughts, rename_ids, lose_letters])
@pytest.mark.parametrize("client", CLIENTS)
async def test_nw_60_thoughts_and_texts_go_back_in_the_order_of_the_answer(
    client: str, change: Change, stream: bool
) -> None:
    upstream = make_upstream(BLOCKS, [{"type": "text", "text": "Done."}])
    async with upstream.run(), run_server(make_config(**WIRES["anthropic"].environ(upstream))) as server:
        await CLIENTS[client](server, stream, change)
    assert list_parts(upstream.requests[1].json) == ORDER
    assert upstream.requests[1].json["thinking"]["block_binding"] == DROP
    assert upstream.requests[1].headers["anthropic-beta"] == BETA
    assert "anthropic-beta" not in upstream.requests[0].headers  # there was no thought to send


@pytest.mark.parametrize("change", [change_system, change_tools, change_earlier_message])
@pytest.mark.parametrize("client", CLIENTS)
async def test_nw_59_no_thought_is_added_to_a_conversation_that_has_changed(client: str, change: Change) -> None:
    upstream = make_upstream(BLOCKS, [{"type": "text", "text": "Done."}])
    async with upstream.run(), run_server(make_config(**WIRES["anthropic"].environ(upstream))) as server:
        await CLIENTS[client](server, False, change)
    assert list_parts(upstream.requests[1].json) == WITHOUT_THOUGHTS


async def test_nw_59_older_models_need_the_thought_before_its_call_whatever_has_changed() -> None:
    """They do not bind it to the conversation, but refuse a call without its thought while they think (T1)."""

    def change(body: dict[str, Any]) -> None:
        change_system(body)
        body["model"] = "anthropic/claude-sonnet-4-5"

    upstream = make_upstream(BLOCKS, [{"type": "text", "text": "Done."}])
    async with upstream.run(), run_server(make_config(**WIRES["anthropic"].environ(upstream))) as server:
        await ask_chat(server, False, change)
    assert list_parts(upstream.requests[1].json) == ORDER
    assert "anthropic-beta" not in upstream.requests[1].headers


async def test_nw_59_the_case_as_reported() -> None:
    case = field_case("nw-59")
    first, second = (step["POST /v1/chat/completions"] for step in case["request"]["steps"])
    upstream = make_upstream(case["provider_response"]["body"]["content"])
    async with upstream.run(), run_server(make_config(**WIRES["anthropic"].environ(upstream))) as server:
        await read_chat(server, first)
        await read_chat(server, second)
    assert list_parts(upstream.requests[1].json) == WITHOUT_THOUGHTS


async def test_nw_58_the_second_turn_of_a_thread_asks_for_mismatches_to_be_dropped(tmp_path: Any) -> None:
    upstream = make_upstream(BLOCKS[:2])
    body = {"engine": "anthropic", "model": MODEL, "stream": False, "tools": False}
    async with (
        upstream.run(),
        run_server(make_config(**WIRES["anthropic"].environ(upstream, DATA_DIR=str(tmp_path)))) as server,
    ):
        thread = await create_thread(server)
        for prompt in ("one", "two"):
            answer = await server.post("/llm/chat", {**body, "prompt": prompt, "thread": thread})
            assert answer.status == 200, await answer.body()
    first, second = upstream.requests
    assert first.json["system"] == second.json["system"] and list_parts(second.json) == ORDER[:2]
    assert second.json["thinking"] == {"type": "adaptive", "display": "summarized", "block_binding": DROP}
    assert second.headers["anthropic-beta"] == BETA


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_nw_58_thinking_that_the_provider_dropped_is_told(stream: bool) -> None:
    dropped = {"type": "thinking_dropped", "path": "messages.1.content.0", "reason": "prefix_binding_mismatch"}
    kept = {**dropped, "type": "thinking_mismatch_allowed"}
    body: dict[str, Any] = {
        "model": f"anthropic/{MODEL}",
        "messages": [{"role": "user", "content": "x"}],
        "tools": [{"type": "function", "function": FUNCTION}],
        "stream": stream,
    }
    for changes, told in (([dropped], "reasoning"), ([kept], None), ([], None)):
        upstream = make_upstream(BLOCKS, input_transformations=changes)
        async with upstream.run(), run_server(make_config(**WIRES["anthropic"].environ(upstream))) as server:
            message = await read_chat(server, body)
            result = {"role": "tool", "tool_call_id": "toolu_1", "content": "r"}
            answer = await server.post(
                "/v1/chat/completions", {**body, "messages": [*body["messages"], message, result]}
            )
            assert answer.status == 200, await answer.body()
            assert answer.headers.get("X-Dropped-Fields") == told


async def test_nw_58_a_client_s_own_beta_header_is_sent_too() -> None:
    """An engine with think tags is translated for a client of its own dialect too."""
    upstream = make_upstream(BLOCKS[:2])
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": BLOCKS[:2]}]
    body = {
        "model": f"anthropic/{MODEL}",
        "max_tokens": 4000,
        "messages": [*messages, {"role": "user", "content": "y"}],
    }
    async with (
        upstream.run(),
        run_server(make_config(**WIRES["anthropic"].environ(upstream, ANTHROPIC_THINK_TAGS="true"))) as server,
    ):
        for more in ({}, {"thinking": {"type": "adaptive"}}):
            answer = await server.post("/v1/messages", {**body, **more}, {**CLIENT, "anthropic-beta": "mine"})
            assert answer.status == 200, await answer.body()
    first, second = upstream.requests
    assert first.headers["anthropic-beta"] == f"{BETA},mine" and first.json["thinking"]["block_binding"] == DROP
    assert second.headers["anthropic-beta"] == "mine" and second.json["thinking"] == {"type": "adaptive"}


@pytest.mark.parametrize(
    ("places", "order"),
    [
        ([(0, 0), (5, 0)], "R0 hello R1 world c0 c1"),
        ([(0, 0), (10, 0), (10, 1)], "R0 helloworld R1 c0 R2 c1"),
        ([(10, 2), (99, 2)], "helloworld c0 c1 R0 R1"),
        ([(99, 0), (99, 1)], "helloworld R0 c0 R1 c1"),  # the client has cut the text
        ([(-3, -1)], "R0 helloworld c0 c1"),  # made up
        ([], "helloworld c0 c1"),
    ],
)
def test_nw_60_reasoning_is_placed_between_texts_and_calls(places: list[tuple[int, int]], order: str) -> None:
    parts: list[Part] = [Text("helloworld"), ToolCall("c0", "f"), ToolCall("c1", "f")]
    placed = [PlacedReasoning(Reasoning(f"R{n}"), *place) for n, place in enumerate(places)]
    found = [
        part.id if isinstance(part, ToolCall) else getattr(part, "text", "") for part in place_reasoning(parts, placed)
    ]
    assert found == order.split()
