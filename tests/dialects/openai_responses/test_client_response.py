"""Writes responses of ``/v1/responses``, directly and through the server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm import errors
from llm.chat.events import (
    Cited,
    Event,
    Failed,
    Finished,
    PartEnded,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    ToolProgress,
    UsageReported,
    WholePart,
)
from llm.chat.messages import Citation, Media, Reasoning, Text, ToolCall, ToolResult, UnknownPart, Usage
from llm.chat.provider_metadata import ProviderMetadata, encode_metadata
from llm.chat.reply import collect
from llm.chat.request import ChatRequest
from tests.support.grammar_responses import check_responses
from tests.support.harness import CLIENT_ID, Connection, Request, Upstream, make_config, run_server
from tests.support.responses_client import CLIENT, read
from tests.support.wires import WIRES

REQUEST = ChatRequest(model="m", messages=())
BEARER = {"Authorization": f"Bearer {CLIENT_ID}"}
NOW = 1764000000


def write(events: list[Event], size: int = 1) -> bytes:
    writer = CLIENT.create_writer(REQUEST, NOW)
    return b"".join(p for n in range(0, len(events), size) for p in writer.feed(events[n : n + size]))


def parse_events(raw: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in raw.decode().splitlines() if line.startswith("data: {")]


# --- written bytes ---

LOOP: list[Event] = [
    Started("x", "model-1"),
    ReasoningDelta(0, "Hm"),
    ReasoningDelta(0, "."),
    PartEnded(0, (ProviderMetadata("anthropic", "anthropic", {"signature": "EqQ+/x="}),)),
    TextDelta(1, "Grüße "),
    TextDelta(1, "🦊"),
    Cited(1, Citation("https://example.org", "Example", start=0, end=5)),
    PartEnded(1),
    ToolCallStarted(2, "c1", "f"),
    ToolCallStarted(3, "c2", "g"),
    ToolCallDelta(2, '{"a"'),
    ToolCallDelta(3, '{"b":'),
    ToolCallDelta(2, ": 1}"),
    ToolCallDelta(3, "2}"),
    PartEnded(3),
    PartEnded(2, (ProviderMetadata("gemini", "google", {"thoughtSignature": "s"}),)),
    ToolCallStarted(4, "c3", "h"),
    PartEnded(4),
    WholePart(5, Media(mime="image/png", base64="iVBO")),
    UsageReported(Usage(fresh=5, cache_read=3, text=2, reasoning=4)),
    Finished("tool_calls"),
]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_s3_items_are_streamed_one_after_the_other(size: int) -> None:
    raw = write(LOOP, size)
    check_responses(raw)
    response = parse_events(raw)[-1]["response"]
    assert [item["type"] for item in response["output"]] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
        "function_call",
        "image_generation_call",
    ]
    thought, message, first, second, third, image = response["output"]
    assert thought["summary"] == [{"type": "summary_text", "text": "Hm."}]
    assert message["content"][0]["text"] == "Grüße 🦊"
    assert message["content"][0]["annotations"] == [
        {"type": "url_citation", "url": "https://example.org", "title": "Example", "start_index": 0, "end_index": 5}
    ]
    assert [(c["call_id"], c["name"], c["arguments"]) for c in (first, second, third)] == [
        ("c1", "f", '{"a": 1}'),
        ("c2", "g", '{"b":2}'),
        ("c3", "h", "{}"),
    ]
    assert image["result"] == "iVBO"
    assert response["usage"] == {
        "input_tokens": 8,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens": 6,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 14,
    }


def test_a_whole_response_equals_the_last_event_of_its_stream() -> None:
    streamed = parse_events(write(LOOP))[-1]["response"]
    whole: Any = CLIENT.write_reply(collect(LOOP), REQUEST, NOW)

    def without_ids(response: dict[str, Any]) -> dict[str, Any]:
        items = [{name: value for name, value in item.items() if name != "id"} for item in response["output"]]
        return {**response, "id": "", "output": items}

    assert without_ids(whole) == without_ids(streamed)
    assert whole["status"] == "completed"


def test_t1_metadata_of_another_engine_comes_back_byte_exact() -> None:
    output = parse_events(write(LOOP))[-1]["response"]["output"]
    messages = read(input=[{"role": "user", "content": "x"}, *output]).messages
    thought, text, first, second, *_ = messages[1].parts
    assert thought == Reasoning("Hm.", (ProviderMetadata("anthropic", "anthropic", {"signature": "EqQ+/x="}),))
    assert isinstance(text, Text) and text.text == "Grüße 🦊"
    assert isinstance(first, ToolCall) and first.metadata == (
        ProviderMetadata("gemini", "google", {"thoughtSignature": "s"}),
    )
    assert isinstance(second, ToolCall) and second.id == "c2"


def test_redacted_reasoning_is_an_item_without_text() -> None:
    keep = (
        ProviderMetadata(
            "openai-responses", "openai", {"type": "reasoning", "encrypted_content": "gAAA", "id": "rs_9"}
        ),
    )
    raw = write(
        [
            Started("x", "m"),
            ReasoningDelta(0, ""),
            PartEnded(0, keep),
            TextDelta(1, "a"),
            PartEnded(1),
            Finished("stop"),
        ]
    )
    check_responses(raw)
    thought = parse_events(raw)[-1]["response"]["output"][0]
    assert thought["summary"] == [] and thought["encrypted_content"] == encode_metadata(keep)


@pytest.mark.parametrize(
    ("reason", "event", "why"),
    [
        ("stop", "response.completed", None),
        ("other", "response.completed", None),
        ("paused", "response.incomplete", {"reason": "max_output_tokens"}),
        ("length", "response.incomplete", {"reason": "max_output_tokens"}),
        ("filtered", "response.incomplete", {"reason": "content_filter"}),
    ],
)
def test_s6_the_finish_reason_sets_the_last_event(reason: Any, event: str, why: Any) -> None:
    raw = write([Started("x", "m"), TextDelta(0, "a"), PartEnded(0), Finished(reason)])
    check_responses(raw)
    last = parse_events(raw)[-1]
    assert (last["type"], last["response"]["incomplete_details"]) == (event, why)


@pytest.mark.parametrize("before", [[], LOOP[:5], LOOP[:12]])
def test_s2_an_error_in_the_stream_fails_the_response(before: list[Event]) -> None:
    said = errors.ProviderErrorDetails(529, "overloaded", "overloaded_error", "Too much.")
    raw = write([*before, Failed(errors.Overloaded("Too much.", provider=said))])
    check_responses(raw)
    *_, error, failed = parse_events(raw)
    assert (error["type"], error["code"], error["message"]) == ("error", "overloaded", "Too much.")
    assert error["provider"]["status"] == 529
    assert failed["response"]["status"] == "failed"
    assert failed["response"]["error"] == {"code": "overloaded", "message": "Too much."}


def test_server_calls_are_left_out() -> None:
    other = (ProviderMetadata("anthropic", "anthropic", {"type": "server_tool_use"}),)
    raw = write(
        [
            Started("x", "m"),
            ToolCallStarted(0, "a", "search", "server"),
            ToolCallDelta(0, "{}"),
            PartEnded(0),
            ToolProgress(0, "running"),
            WholePart(1, ToolResult("a", (Text("found"),))),
            ToolCallStarted(2, "b", "web_search", "provider"),
            ToolCallDelta(2, "{}"),
            PartEnded(2, other),
            WholePart(3, UnknownPart(other)),
            TextDelta(4, "Found."),
            PartEnded(4),
            Finished("stop"),
        ]
    )
    check_responses(raw)
    assert [item["type"] for item in parse_events(raw)[-1]["response"]["output"]] == ["message"]


# --- through the server ---


def upstream_of(engine: str, *pieces: bytes) -> Upstream:
    wire = WIRES[engine]

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream(wire.content_type)
        for piece in pieces or (wire.head, wire.delta("Grüße"), wire.end):
            if piece:
                await connection.chunk(piece)
        await connection.end()

    return Upstream(script)


@pytest.mark.parametrize("engine", [name for name in WIRES if name != "openai"])  # openai has this API
async def test_every_engine_can_answer(engine: str) -> None:
    wire = WIRES[engine]
    async with upstream_of(engine).run() as upstream, run_server(make_config(**wire.environ(upstream))) as server:
        body = {"model": f"{engine}/m", "input": "Hello", "stream": True}
        answer = await server.post("/v1/responses", body, BEARER)
        raw = await answer.body()
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert parse_events(raw)[-1]["type"] == "response.completed"
    if engine != "responses":  # passthrough there
        check_responses(raw)
        assert parse_events(raw)[-1]["response"]["output"][0]["content"][0]["text"] == "Grüße"


@pytest.mark.parametrize("engine", ["openai", "responses"])
async def test_t12_an_engine_with_this_api_gets_the_request_unchanged(engine: str) -> None:
    wire = WIRES["responses"]
    environ = WIRES[engine].environ
    sent = {
        "model": f"{engine}/gpt-5.4-mini",
        "input": [{"type": "new_item", "x": 1}],
        "unknown": {"a": [1]},
        "stream": True,
    }
    answers = (wire.head, wire.delta("Hi"), b'event: new\ndata: {"type":"response.new","a":1}\n\n', wire.end)
    async with upstream_of("responses", *answers).run() as upstream:
        async with run_server(make_config(**environ(upstream))) as server:
            raw = await (await server.post("/v1/responses", sent, BEARER)).body()
    [request] = upstream.requests
    assert request.path == "/v1/responses"
    assert request.json == {**sent, "model": "gpt-5.4-mini"}
    assert raw == b"".join(answers)


async def test_t10_references_to_what_is_not_stored_here_are_refused_by_name() -> None:
    async with run_server(make_config(ANTHROPIC_API_KEY="sk-12345678")) as server:
        refused = {
            "previous_response_id": ("resp_1", "previous_response_not_found"),
            "conversation": ("c", "unsupported"),
        }
        for name, (value, code) in refused.items():
            answer = await server.post("/v1/responses", {"model": "anthropic/m", "input": "Hello", name: value}, BEARER)
            error = (await answer.json())["error"]
            assert (answer.status, error["param"], error["code"]) == (400, name, code)
        for item, status in ((("item_reference", "id", "rs_1"), 404), (("compaction", "encrypted_content", "gA"), 400)):
            kind, name, value = item
            sent: Any = {
                "model": "anthropic/m",
                "input": [{"role": "user", "content": "Hi"}, {"type": kind, name: value}],
            }
            assert (await server.post("/v1/responses", sent, BEARER)).status == status


async def test_a_whole_response_and_an_error_have_the_form_of_this_wire() -> None:
    async with run_server(make_config(MAX_RETRIES="0")) as server:
        body = {"model": "demo/demo-chat", "input": "Hello"}
        whole = await (await server.post("/v1/responses", body, BEARER)).json()
        limited = await server.post("/v1/responses", {"model": "demo/demo-limit", "input": "Hello"}, BEARER)
        error = (await limited.json())["error"]
        bare = await server.post("/v1/responses", {"input": "Hello"}, BEARER)
        missing = (await bare.json())["error"]
    assert whole["object"] == "response" and whole["status"] == "completed"
    assert whole["output"][0]["content"][0]["text"].endswith("Hello")
    assert (limited.status, limited.headers["Retry-After"]) == (429, "7")
    assert error["code"] and error["type"]
    assert (bare.status, missing["message"], missing["param"]) == (400, "model: is required", "model")


@pytest.mark.parametrize("reason", ["stop", "tool_calls", "length", "filtered", "paused", "other"])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_every_item_of_a_stream_has_its_done_event(size: int, reason: Any) -> None:
    """codex-prints-nothing: neither deltas nor the response at the end count there, only ``output_item.done``."""
    for events in (LOOP[:-1], [LOOP[0], LOOP[1], PartEnded(0)], [LOOP[0], TextDelta(0, "A"), PartEnded(0)], LOOP[:1]):
        got = parse_events(write([*events, Finished(reason)], size))
        added = [one["output_index"] for one in got if one["type"] == "response.output_item.added"]
        done = [one["item"] for one in got if one["type"] == "response.output_item.done"]
        assert [one["output_index"] for one in got if one["type"] == "response.output_item.done"] == added
        assert done == got[-1]["response"]["output"]
        assert got[-1]["type"] in ("response.completed", "response.incomplete")
