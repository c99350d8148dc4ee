"""Fidelity through the server: unknown fields, reasoning, and fields that a dialect cannot write."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm.transport.interface import HttpRequest
from tests.support.harness import (
    CLIENT,
    Connection,
    Request,
    ScriptedReply,
    ScriptedTransport,
    Upstream,
    make_config,
    run_server,
)
from tests.support.streams import make_script, run_between
from tests.support.wires import CLIENTS, WIRES, Wire, _chunk, _sse

names = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=3, max_size=12).map(lambda name: f"x_{name}")
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
extras = st.dictionaries(names, values, max_size=3)


def answer_with(wire: Wire, extra: dict[str, Any]) -> bytes:
    """Returns a stream with unknown fields in every event, and an unknown event."""
    unknown = b"event: x_new\ndata: %b\n\n" % json.dumps({"type": "x_new", **extra}).encode()
    events = []
    for block in (wire.head + wire.delta("Hi") + wire.end).split(b"\n\n"):
        name, _, data = block.rpartition(b"data: ")
        if data and data != b"[DONE]":
            data = json.dumps({**json.loads(data), **extra}, ensure_ascii=False).encode()
        if data:
            events.append(b"%bdata: %b\n\n" % (name, data))
    return events[0] + unknown + b"".join(events[1:])


@pytest.mark.parametrize("name", ["openai", "anthropic"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(top=extras, inner=extras, answered=extras)
async def test_t12_unknown_fields_pass_both_ways_in_the_same_dialect(
    name: str, top: dict[str, Any], inner: dict[str, Any], answered: dict[str, Any]
) -> None:
    wire, client = WIRES[name], CLIENTS[name]
    said = answer_with(wire, answered)
    half = len(said) // 2

    def answer(request: HttpRequest) -> ScriptedReply:
        return ScriptedReply(200, {"content-type": "text/event-stream"}, [said[:half], said[half:]])

    transport = ScriptedTransport(answer)
    body = client.request(name, "some/model", **top)
    body["messages"] = [{**body["messages"][0], **inner}]
    async with run_server(make_config(**{f"{name.upper()}_API_KEY": "sk-12345678"}), https=transport) as server:
        reply = await server.post(client.path, body, client.headers)
        assert reply.status == 200
        assert await reply.body() == said
    [sent] = transport.requests
    assert json.loads(sent.body or b"") == {**body, "model": "some/model"}


async def test_e7_passthrough_requests_usage_and_withholds_it_if_unrequested() -> None:
    wire, client = WIRES["openai"], CLIENTS["openai"]
    finish_with_usage = _sse(
        {"id": "c1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}
    )
    only_usage = _sse({"id": "c1", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}})
    pieces = [wire.head, wire.delta("Hi"), finish_with_usage, only_usage, b"data: [DONE]\n\n"]
    async with run_between(wire, make_script(wire, *pieces)) as (server, upstream):
        requested = await (await server.post(client.path, client.request("openai"), client.headers)).body()
        body = client.request("openai")
        del body["stream_options"]
        unasked = await (await server.post(client.path, body, client.headers)).body()
    assert requested == b"".join(pieces)
    assert unasked == b"".join(pieces).replace(only_usage, b"")
    assert all(sent.json["stream_options"] == {"include_usage": True} for sent in upstream.requests)


async def test_passthrough_appends_an_error_to_a_truncated_stream() -> None:
    for name in ("openai", "anthropic"):
        wire, client = WIRES[name], CLIENTS[name]
        pieces = wire.head + wire.delta("Half")
        async with run_between(wire, make_script(wire, pieces, b"data: {")) as (server, _):
            raw = await (await server.post(client.path, client.request(name), client.headers)).body()
        assert raw.startswith(pieces)
        seen = client.read(raw)
        assert seen.error is not None and seen.finish is None


async def test_passthrough_forwards_an_error_event_once() -> None:
    for name in ("openai", "anthropic"):
        wire, client = WIRES[name], CLIENTS[name]
        async with run_between(wire, make_script(wire, wire.head, wire.error)) as (server, _):
            raw = await (await server.post(client.path, client.request(name), client.headers)).body()
        assert raw == wire.head + wire.error


async def test_passthrough_forwards_beta_headers_unchanged() -> None:
    wire, client = WIRES["anthropic"], CLIENTS["anthropic"]
    beta = {"anthropic-beta": "one-2025-01-01,two-2025-02-02", "anthropic-version": "2026-10-21"}
    async with run_between(wire, make_script(wire, wire.head, wire.end)) as (server, upstream):
        await (await server.post(client.path, client.request("anthropic"), {**client.headers, **beta})).body()
        await server.chat(engine="anthropic", model="m")
    first, second = upstream.requests
    assert {name: first.headers[name] for name in beta} == beta
    assert second.headers["anthropic-version"] == "2023-06-01"
    assert "anthropic-beta" not in second.headers


async def test_t1_signed_thinking_comes_back_byte_exact_and_in_order() -> None:
    """Checked with passthrough and with translation by the dialect's own reader and writer."""
    thinking = [
        {"type": "thinking", "thinking": "Hm.\n", "signature": "EqQB+/=="},
        {"type": "redacted_thinking", "data": "EmwK+/=="},
        {"type": "thinking", "thinking": "", "signature": "second"},
        {"type": "text", "text": "One moment."},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"b": 1, "a": 2}},
    ]
    history = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": thinking},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "42"}]},
    ]
    wire, client = WIRES["anthropic"], CLIENTS["anthropic"]
    for translate in ("false", "true"):  # THINK_TAGS forces translation
        async with run_between(wire, make_script(wire, wire.head, wire.end), ANTHROPIC_THINK_TAGS=translate) as (
            server,
            upstream,
        ):
            body = client.request("anthropic", messages=history)
            assert (await server.post(client.path, body, client.headers)).status == 200
        assert upstream.requests[0].json["messages"][1]["content"] == thinking


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
async def test_t3_reasoning_is_read_from_each_field_and_written_to_both(field: str) -> None:
    wire, client = WIRES["openai"], CLIENTS["openai"]
    pieces = [wire.head, _chunk({field: "Hm. "}), _chunk({field: "Yes."}), wire.delta("Sure."), wire.end]
    async with run_between(wire, make_script(wire, *pieces), OPENAI_THINK_TAGS="true") as (server, _):
        raw = await (await server.post(client.path, client.request("openai"), client.headers)).body()
        objects = await server.chat(engine="openai", model="m")
    assert raw.count(b'"delta":{"reasoning_content":"Hm. ","reasoning":"Hm. "}') == 1
    seen = client.read(raw)
    assert (seen.reasoning, seen.text) == ("Hm. Yes.", "Sure.")
    assert "".join(o["text"] for o in objects if o["type"] == "reasoning") == "Hm. Yes."


async def test_t3_a_delta_with_both_fields_is_written_once() -> None:
    wire = WIRES["openai"]
    pieces = [wire.head, _chunk({"reasoning": "Hm.", "reasoning_content": "Hm."}), wire.delta("Sure."), wire.end]
    async with run_between(wire, make_script(wire, *pieces)) as (server, _):
        objects = await server.chat(engine="openai", model="m")
    assert "".join(o["text"] for o in objects if o["type"] == "reasoning") == "Hm."


async def test_t8_an_unsupported_option_is_refused_before_any_request() -> None:
    async def never(request: Request, connection: Connection) -> None:
        raise AssertionError("the provider was called")

    async with Upstream(never).run() as upstream:
        wire = WIRES["anthropic"]
        async with run_server(make_config(**wire.environ(upstream))) as server:
            body = CLIENTS["native"].request("anthropic", options={"seed": 7})
            answer = await server.post("/llm/chat", body)
            error = await answer.json()
            assert (answer.status, error["code"], error["param"]) == (400, "unsupported", "seed")
            openai = CLIENTS["openai"].request("anthropic", logit_bias={"50256": -100})
            answer = await server.post("/v1/chat/completions", openai)
            assert answer.status == 400
            assert "logit_bias" in (await answer.body()).decode()


async def test_t8_a_droppable_field_is_dropped_and_reported() -> None:
    wire = WIRES["anthropic"]
    async with run_between(wire, make_script(wire, wire.head, wire.delta("Hi"), wire.end)) as (server, upstream):
        body = CLIENTS["openai"].request("anthropic", user="u-1", store=True)
        answer = await server.post("/v1/chat/completions", body)
        assert answer.status == 200
        assert set(answer.headers["X-Dropped-Fields"].split(", ")) == {"user", "store"}
        await answer.body()
    assert "user" not in upstream.requests[0].json


async def test_t8_zeros_are_sent() -> None:
    zero = {"temperature": 0, "top_p": 0}
    for wire, where in (
        (WIRES["openai"], ()),
        (WIRES["google"], ("generationConfig",)),
        (WIRES["ollama"], ("options",)),
    ):
        async with run_between(wire, make_script(wire, wire.head, wire.delta("Hi"), wire.end)) as (server, upstream):
            await server.chat(engine=wire.engine, model="m", options=zero)
        sent = upstream.requests[0].json
        for step in where:
            sent = sent[step]
        assert sent["temperature"] == 0
        assert sent.get("top_p", sent.get("topP")) == 0


_SCHEMAS: dict[str, Any] = {
    "get_weather": {"type": "object", "properties": {"city": {"const": "Paris"}}},
    "get_time": {"type": "object", "properties": {"zone": {"const": "Europe/Paris"}}},
}
TWO_TOOLS: dict[str, Any] = {
    "openai": [
        {"type": "function", "function": {"name": name, "parameters": schema}} for name, schema in _SCHEMAS.items()
    ],
    "anthropic": [{"name": name, "input_schema": schema} for name, schema in _SCHEMAS.items()],
}


async def test_s3_interleaved_calls_come_out_byte_equal_in_every_dialect() -> None:
    async with run_server(make_config()) as server:
        for name in ("openai", "anthropic"):
            client = CLIENTS[name]
            asked = client.request("demo", "demo-tools") | {"tools": TWO_TOOLS[name]}
            answer = await server.post(client.path, asked, client.headers)
            seen = client.read(await answer.body())
            assert seen.calls == [("get_weather", '{"city": "Paris"}'), ("get_time", '{"zone": "Europe/Paris"}')]
            assert seen.finish == {"openai": "tool_calls", "anthropic": "tool_use"}[name]


@pytest.mark.parametrize("name", ["openai", "anthropic", "openai whole"])
async def test_t2_a_signature_survives_a_client_that_drops_unknown_fields(name: str) -> None:
    wire, client = WIRES["google"], CLIENTS[name.split()[0]]
    call = {"functionCall": {"name": "f", "args": {"n": 1}}, "thoughtSignature": "c2lnbmVk"}
    answered = {"candidates": [{"content": {"role": "model", "parts": [call]}, "finishReason": "STOP"}]}
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    if name == "anthropic":
        tool = {"name": "f", "input_schema": {"type": "object"}}
    whole: Any = {"stream": False, "stream_options": None} if name.endswith("whole") else {}

    async def script(request: Request, connection: Connection) -> None:
        if name.endswith("whole"):
            await connection.respond(answered)
        else:
            await connection.stream(wire.content_type)
            await connection.chunk(_sse(answered))
            await connection.end()

    async with Upstream(script).run() as upstream, run_server(make_config(**wire.environ(upstream))) as server:
        raw = await (
            await server.post(client.path, client.request("google", tools=[tool], **whole), client.headers)
        ).body()
        id = re.search(rb'"(?:id|call_id)":"((?:call|toolu)_[^"]+)"', raw)
        assert id, raw
        history: list[Any] = [{"role": "user", "content": "Go"}]
        if name == "anthropic":
            history += [
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": id[1].decode(), "name": "f", "input": {}}],
                },
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": id[1].decode(), "content": "1"}]},
            ]
        else:
            made = {"id": id[1].decode(), "index": 0, "type": "function", "function": {"name": "f", "arguments": "{}"}}
            history += [
                {"role": "assistant", "tool_calls": [made]},
                {"role": "tool", "tool_call_id": id[1].decode(), "content": "1"},
            ]
        for headers in (client.headers, {"X-Google-Key": "sk-of-somebody-else"}):
            body = client.request("google", messages=history, tools=[tool], **whole)
            assert (await server.post(client.path, body, headers)).status == 200
    mine, theirs = (request.json["contents"][1]["parts"][0] for request in upstream.requests[1:])
    assert mine["thoughtSignature"] == "c2lnbmVk"
    assert theirs.get("thoughtSignature") != "c2lnbmVk"


async def test_s5_parallel_calls_without_ids_get_distinct_ids_that_match_results() -> None:
    wire, client = WIRES["google"], CLIENTS["openai"]
    calls = [{"functionCall": {"name": "f", "args": {"n": n}}} for n in (1, 2)]
    chunk = {"candidates": [{"content": {"role": "model", "parts": calls}, "finishReason": "STOP"}]}
    async with run_between(wire, make_script(wire, _sse(chunk))) as (server, upstream):
        raw = await (await server.post(client.path, client.request("google"), client.headers)).body()
        deltas = [
            call
            for block in raw.decode().split("\n\n")
            if block.startswith("data: {")
            for choice in json.loads(block[6:])["choices"]
            for call in choice["delta"].get("tool_calls") or ()
        ]
        ids = {call["index"]: call["id"] for call in deltas if call.get("id")}
        assert sorted(ids) == [0, 1] and ids[0] != ids[1]
        made = [
            {"id": ids[n], "type": "function", "function": {"name": "f", "arguments": json.dumps({"n": n + 1})}}
            for n in (0, 1)
        ]
        results = [{"role": "tool", "tool_call_id": ids[n], "content": f"result {n}"} for n in (1, 0)]
        history = [{"role": "user", "content": "Go"}, {"role": "assistant", "tool_calls": made}, *results]
        answer = await server.post(client.path, client.request("google", messages=history), client.headers)
        assert answer.status == 200, await answer.body()
    sent = upstream.requests[1].json["contents"]
    assert [part["functionCall"]["args"] for part in sent[1]["parts"]] == [{"n": 1}, {"n": 2}]
    assert [part["functionResponse"]["name"] for part in sent[2]["parts"]] == ["f", "f"]


S6 = [
    ("openai", "stop", True, "tool_calls"),
    ("openai", "tool_calls", True, "tool_calls"),
    ("openai", "tool_calls", False, "stop"),
    ("openai", "function_call", True, "tool_calls"),
    ("openai", "stop", False, "stop"),
    ("openai", "length", False, "length"),
    ("openai", "length", True, "length"),
    ("openai", "content_filter", False, "content_filter"),
]


@pytest.mark.parametrize(("engine", "said", "called", "told"), S6)
async def test_s6_the_finish_reason_is_tool_calls_exactly_if_there_are_calls(
    engine: str, said: str, called: bool, told: str
) -> None:
    wire = WIRES[engine]
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    delta = _chunk({"tool_calls": [call]}) if called else wire.delta("Hi")
    async with run_between(wire, make_script(wire, wire.head, delta, _chunk({}, said), b"data: [DONE]\n\n")) as (
        server,
        _,
    ):
        objects = await server.chat(engine=engine, model="m")
        anthropic = CLIENTS["anthropic"]
        seen = anthropic.read(
            await (await server.post(anthropic.path, anthropic.request(engine), anthropic.headers)).body()
        )
    [end] = [o for o in objects if o["type"] == "content" and o["done"]]
    assert end["finishReason"] == told
    words = {"tool_calls": "tool_use", "stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}
    assert seen.finish == words[told]


async def test_e7_missing_usage_is_estimated_and_marked() -> None:
    wire = WIRES["openai"]
    async with run_between(
        wire, make_script(wire, wire.head, wire.delta("x" * 40), _chunk({}, "stop"), b"data: [DONE]\n\n")
    ) as (s, _):
        objects = await s.chat(engine="openai", model="m")
    usage = objects[-1]["usage"]
    assert usage["estimated"] is True
    assert usage["completion_tokens"] == 10 and usage["prompt_tokens"] > 0


async def test_history_attachments_and_options_reach_the_provider() -> None:
    wire = WIRES["openai"]
    png = "iVBORw0KGgo="
    body = {
        "messages": [
            {"role": "user", "content": "Look", "attachment": {"mimeType": "image/png", "content": png}},
            {"role": "assistant", "content": "A cat."},
        ],
        "attachments": [
            {"mimeType": "text/plain; charset=utf-8", "contents": "some notes"},
            {"mimeType": "IMAGE/JPG", "contents": "data:image/jpeg;base64,/9j/4AAQ"},
        ],
        "instructions": "Be brief.",
    }
    async with run_between(wire, make_script(wire, wire.head, wire.delta("Hi"), wire.end)) as (server, upstream):
        answer = await server.post("/llm/chat", {**CLIENTS["native"].request("openai"), **body}, CLIENT)
        assert answer.status == 200, await answer.body()
    sent = upstream.requests[0].json["messages"]
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "user"]
    assert sent[0]["content"] == "Be brief."
    assert {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png}"}} in sent[1]["content"]
    assert "some notes" in json.dumps(sent[3]) and "data:image/jpeg;base64,/9j/4AAQ" in json.dumps(sent[3])
