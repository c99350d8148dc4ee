"""Reads answers of engines of the Anthropic dialect, streamed and whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.chat.events import (
    Event,
    Finished,
    PartEnded,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from llm.chat.grammar import Grammar
from llm.chat.messages import Citation, Reasoning, Text, ToolCall, UnknownPart, Usage
from llm.chat.reply import collect, replay
from llm.engines.engine import Engine
from llm.errors import LLMError, Malformed, Overloaded, Truncated
from llm.wire.frames import Frame
from llm.wire.json_codec import Json, dump_bytes
from llm.wire.sse import encode_sse_event
from tests.support import paths
from tests.support.anthropic_engine import (
    DIALECT,
    ENGINE,
    HELLO,
    anything,
    assistant,
    mine,
    replaced_somewhere,
    user,
    write_body,
)

SAMPLES = paths.SAMPLES / "anthropic"
STREAMS = sorted(SAMPLES.glob("*.sse"))


def read(raw: bytes, size: int = 10**9, engine: Engine = ENGINE) -> list[Event]:
    """Reads a stream in chunks of ``size`` bytes and checks the grammar of its events (S7)."""
    framing, reader, grammar = DIALECT.create_framing(), DIALECT.create_reader(engine), Grammar()
    events: list[Event] = []
    pieces = [raw[start : start + size] for start in range(0, len(raw), size)]
    for frames in (*map(framing.feed, pieces), framing.close()):
        for frame in frames:
            events += reader.feed(frame)
    events += reader.close()
    grammar.feed(events)
    grammar.close()
    return events


def stream(*events: Mapping[str, Any]) -> bytes:
    start = {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 3}}}
    return b"".join(encode_sse_event(dict(event), str(event["type"])) for event in (start, *events))


def block(index: int, start: Mapping[str, Any], *deltas: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": dict(start)},
        *({"type": "content_block_delta", "index": index, "delta": dict(delta)} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def end_events(reason: str | None = "end_turn", **more: Any) -> list[dict[str, Any]]:
    delta = {"stop_reason": reason, "stop_sequence": None, **more}
    return [{"type": "message_delta", "delta": delta, "usage": {"output_tokens": 5}}, {"type": "message_stop"}]


# --- streams ---


def sample(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


def test_a_stream_with_reasoning_and_calls_is_read() -> None:
    reply = collect(read(sample("thinking-and-calls.sse")))
    assert (reply.id, reply.model) == ("msg_1", "claude-sonnet-4-5")
    assert reply.message == assistant(
        Reasoning("Two cities, two calls. 🦊", mine(signature="EqQB+/x=")),
        Reasoning("", mine(type="redacted_thinking", data="EmwKAhgB")),
        Text("Ich schaue für München und Köln nach."),
        ToolCall("toolu_1", "weather", '{"city": "München"}'),
        ToolCall("toolu_2", "clock", "{}"),
    )
    assert reply.finish == Finished("tool_calls", "tool_use", mine(usage={"service_tier": "standard"}))


def test_e8_cached_input_and_reasoning_have_separate_counters() -> None:
    usage = collect(read(sample("thinking-and-calls.sse"))).usage
    assert usage == Usage(
        fresh=20,
        cache_read=100,
        cache_write=30,
        text=50,
        reasoning=40,
        other={"cache_write_5m": 10, "cache_write_1h": 20},
    )
    assert (usage.input, usage.output) == (150, 90)


def test_usage_is_reported_at_the_start_and_at_the_end() -> None:
    reported = [event.usage for event in read(sample("thinking-and-calls.sse")) if isinstance(event, UsageReported)]
    assert [(usage.fresh, usage.text, usage.reasoning) for usage in reported] == [(20, 1, 0), (20, 50, 40)]


def test_hosted_tools_have_executor_provider_and_unknown_blocks_stay_whole() -> None:
    reply = collect(read(sample("hosted-tools.sse")))
    compaction, search, found, ask, answered, text = reply.message.parts
    assert compaction == UnknownPart(mine(type="compaction", content="So far: nothing.", encrypted_content="ENC"))
    caller: dict[str, Json] = {"type": "code_execution_20260120", "tool_id": "srvtoolu_0"}
    assert search == ToolCall(
        "srvtoolu_1",
        "web_search",
        '{"query": "capital of Peru"}',
        "provider",
        mine(type="server_tool_use", caller=caller),
    )
    assert isinstance(found, UnknownPart) and found.metadata[0].data["type"] == "web_search_tool_result"
    assert ask == ToolCall("mcptoolu_1", "ask", "{}", "provider", mine(type="mcp_tool_use", server_name="wiki"))
    assert isinstance(answered, UnknownPart)
    assert isinstance(text, Text) and text.text == "Lima."
    [citation] = text.citations
    assert replace(citation, metadata=()) == Citation("https://example.org/lima", "Lima", "Lima is the capital")
    assert citation.metadata[0].data["encrypted_index"] == "Eo8B"
    assert reply.finish.reason == "paused"
    assert reply.finish.metadata[0].data == {
        "container": {"id": "container_1"},
        "context_management": {"applied_edits": []},
        "usage": {"server_tool_use": {"web_search_requests": 1}},
    }


def test_t1_an_answer_goes_back_to_its_engine_unchanged() -> None:
    for path in STREAMS:
        raw = path.read_bytes()
        blocks: dict[int, dict[str, Any]] = {}
        for line in raw.decode().splitlines():
            event = json.loads(line[6:]) if line.startswith("data: ") else {}
            if event.get("type") == "content_block_start":
                blocks[event["index"]] = event["content_block"]
            if event.get("type") == "content_block_delta":
                apply_delta(blocks[event["index"]], event["delta"])
        message = collect(read(raw)).message
        [_, sent, _] = write_body(HELLO, message, user(Text("Go on.")))["messages"]
        expected = [finish_block(wire) for wire in blocks.values()]
        assert sent == {"role": "assistant", "content": expected}


def apply_delta(wire: dict[str, Any], delta: dict[str, Any]) -> None:
    match delta.pop("type"):
        case "input_json_delta":
            wire["json"] = wire.get("json", "") + delta["partial_json"]
        case "citations_delta":
            wire["citations"].append(delta["citation"])
        case "compaction_delta":
            wire |= delta
        case _:
            for name, value in delta.items():
                wire[name] += value


def finish_block(wire: dict[str, Any]) -> dict[str, Any]:
    if text := wire.pop("json", ""):
        wire["input"] = json.loads(text)
    if wire.get("caller") == {"type": "direct"}:
        del wire["caller"]
    return wire


def test_t1_signatures_and_blocks_of_another_engine_are_not_sent() -> None:
    message = collect(read(sample("hosted-tools.sse"), engine=replace(ENGINE, name="other", issuer="other"))).message
    [_, called, results, answer] = write_body(HELLO, message)["messages"]
    assert [block["type"] for block in called["content"]] == ["text", "tool_use"]
    assert called["content"][0]["text"].startswith('[Searched the web for "')  # with its sources
    assert [block["type"] for block in results["content"]] == ["tool_result"]
    assert answer == {"role": "assistant", "content": "Lima."}
    assert "encrypted" not in str((called, results)) and "signature" not in str((called, results))


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
@pytest.mark.parametrize("size", [1, 2, 7, 50, 1000])
def test_s9_a_stream_is_read_whatever_the_chunk_size(path: Path, size: int) -> None:
    raw = path.read_bytes()
    assert read(raw, size) == read(raw)
    assert read(raw.replace(b"\n", b"\r\n"), size) == read(raw)
    assert read(raw.rstrip(b"\n"), size) == read(raw)


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_a_reply_equals_its_collected_stream(path: Path) -> None:
    reply = collect(read(path.read_bytes()))
    assert collect(replay(reply)) == reply


def test_s1_a_stream_without_end_event_raises() -> None:
    raw = sample("thinking-and-calls.sse")
    for end in (b"event: message_stop", b"event: message_delta", b"event: ping"):
        with pytest.raises(Truncated):
            read(raw[: raw.index(end)])
    with pytest.raises(Truncated):
        read(b"")
    with pytest.raises(Truncated):
        read(stream() + b"data: [DONE]\n\n")


def test_s2_an_error_in_the_stream_has_its_message() -> None:
    overloaded = encode_sse_event(
        {"type": "error", "error": {"details": None, "type": "overloaded_error", "message": "Overloaded"}}
    )
    for before in (b"", stream(*block(0, {"type": "text", "text": "Half"}))):
        with pytest.raises(Overloaded) as caught:
            read(before + overloaded)
        assert caught.value.provider is not None
        assert caught.value.provider.as_json() == {
            "status": 0,
            "code": None,
            "type": "overloaded_error",
            "message": "Overloaded",
        }
        assert caught.value.engine == "anthropic"


def test_s4_content_of_a_block_start_is_emitted_once() -> None:
    raw = stream(
        *block(0, {"type": "thinking", "thinking": "Hm.", "signature": "sig"}),
        *block(1, {"type": "text", "text": "Whole"}, {"type": "text_delta", "text": " and more"}),
        *block(2, {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}),
        *block(
            3,
            {"type": "tool_use", "id": "b", "name": "f", "input": {"x": 1}},
            {"type": "input_json_delta", "partial_json": '{"x": 2}'},
        ),
        *end_events("tool_use"),
    )
    assert collect(read(raw)).message == assistant(
        Reasoning("Hm.", mine(signature="sig")),
        Text("Whole and more"),
        ToolCall("a", "f", '{"x":1}'),
        ToolCall("b", "f", '{"x": 2}'),
    )


CONTENTS: dict[str, list[dict[str, Any]]] = {
    "text": [{"type": "text", "text": "Hi"}],
    "call": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}],
    "hosted": [{"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}],
    "nothing": [],
}
S6 = {
    "end_turn": ("stop", "tool_calls"),
    "stop_sequence": ("stop", "tool_calls"),
    "tool_use": ("stop", "tool_calls"),
    "max_tokens": ("length", "length"),
    "model_context_window_exceeded": ("length", "length"),
    "refusal": ("filtered", "filtered"),
    "pause_turn": ("paused", "paused"),
    "compaction": ("paused", "paused"),
    "something_new": ("other", "tool_calls"),
    None: ("other", "tool_calls"),
}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("reason", S6)
def test_s6_the_finish_reason_is_tool_calls_exactly_when_the_client_has_a_call(
    reason: str | None, content: str
) -> None:
    expected = S6[reason][content == "call"]
    if content == "nothing" and expected == "other":
        expected = "error"  # no normal end: there is no output
    blocks = [event for n, start in enumerate(CONTENTS[content]) for event in block(n, start)]
    finish = collect(read(stream(*blocks, *end_events(reason)))).finish
    assert (finish.reason, finish.raw) == (expected, reason)
    whole = {"content": CONTENTS[content], "stop_reason": reason}
    assert DIALECT.read_reply(whole, ENGINE).finish == finish


def test_a_stop_sequence_is_preserved() -> None:
    finish = collect(read(stream(*end_events("stop_sequence", stop_sequence="END")))).finish
    assert finish == Finished("stop", "stop_sequence", mine(stop_sequence="END"), stop_sequence="END")


def test_s5_calls_without_ids_get_distinct_ids() -> None:
    starts: list[dict[str, Any]] = [{"type": "tool_use", "id": id, "name": "f", "input": {}} for id in (None, "")]
    blocks = [event for n, start in enumerate(starts) for event in block(n, start)]
    for reply in (
        collect(read(stream(*blocks, *end_events("tool_use")))),
        DIALECT.read_reply({"content": starts, "stop_reason": "tool_use"}, ENGINE),
    ):
        first, second = reply.calls
        assert first.id and second.id and first.id != second.id


def test_s8_invalid_events_are_ignored() -> None:
    invalid: list[Any] = [
        {"type": "something_new", "index": 0},
        {"type": "content_block_delta"},
        {"type": "content_block_delta", "index": 0, "delta": None},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": None}},
        {"type": "content_block_delta", "index": 9, "delta": {"type": "input_json_delta", "partial_json": "{"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "new_delta", "text": "x"}},
        {"type": "content_block_stop", "index": [7]},
        {"type": "message_delta", "delta": None, "usage": None},
        {"type": "message_start", "message": {"id": "again"}},
    ]
    text = [{"type": "text_delta", "text": "A"}, {"type": "text_delta", "text": "B"}]
    start, first, second, stop = block(0, {"type": "text", "text": ""}, *text)
    raw = (
        stream(start, *invalid, first, *invalid, second, stop, *invalid, *end_events()) + b"data: null\n\ndata: [1]\n\n"
    )
    events = read(raw)
    assert [event for event in events if isinstance(event, TextDelta)] == [TextDelta(0, "A"), TextDelta(0, "B")]
    assert len(events) == 7  # Started, usage, two deltas, their end, usage again, Finished
    assert collect(events).id == "msg_1"


def test_s8_invalid_json_and_a_missing_start_are_malformed() -> None:
    for raw in (
        stream() + b"data: {nonsense\n\n",
        encode_sse_event({"type": "message_stop"}),
        encode_sse_event(block(0, {"type": "text"})[0]),
    ):
        with pytest.raises(Malformed):
            read(raw)


def test_s7_reasoning_inside_a_text_block_is_a_separate_part() -> None:
    raw = stream(
        *block(
            0,
            {"type": "text", "text": ""},
            {"type": "text_delta", "text": "A"},
            {"type": "thinking_delta", "thinking": "hm"},
            {"type": "text_delta", "text": "B"},
        ),
        *end_events(),
    )
    assert collect(read(raw)).message.parts == (Text("A"), Reasoning("hm"), Text("B"))


def test_redacted_reasoning_is_a_part_with_a_signature() -> None:
    raw = stream(
        *block(0, {"type": "thinking", "thinking": "", "signature": ""}, signature_delta("sig")), *end_events()
    )
    events = [event for event in read(raw) if isinstance(event, ReasoningDelta | PartEnded)]
    assert events == [ReasoningDelta(0, ""), PartEnded(0, mine(signature="sig"))]


def signature_delta(text: str) -> dict[str, str]:
    return {"type": "signature_delta", "signature": text}


def test_empty_blocks_make_no_part() -> None:
    raw = stream(
        *block(0, {"type": "text", "text": ""}), *block(1, {"type": "thinking", "thinking": ""}), *end_events()
    )
    assert collect(read(raw)).message.parts == ()
    empty = [{"type": "text", "text": ""}, {"type": "thinking", "thinking": "", "signature": ""}, None]
    assert DIALECT.read_reply({"content": empty}, ENGINE).message.parts == ()


def test_overlapping_blocks_are_read_separately() -> None:
    first = block(0, {"type": "tool_use", "id": "a", "name": "f", "input": {}}, *json_deltas('{"x":', "1}"))
    second = block(1, {"type": "tool_use", "id": "b", "name": "g", "input": {}}, *json_deltas('{"y":', "2}"))
    mixed = [event for pair in zip(first, second, strict=True) for event in pair]
    events = read(stream(*mixed, *end_events("tool_use")))
    assert [type(event) for event in events][2:8] == [ToolCallStarted] * 2 + [ToolCallDelta] * 4
    assert collect(events).calls == (ToolCall("a", "f", '{"x":1}'), ToolCall("b", "g", '{"y":2}'))


def json_deltas(*texts: str) -> list[dict[str, str]]:
    return [{"type": "input_json_delta", "partial_json": text} for text in texts]


# --- whole answers ---

WHOLE = {
    "id": "msg_9",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"},
        {"type": "text", "text": "So.", "citations": None},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": [1, 2.5]}, "caller": {"type": "direct"}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 5, "output_tokens": 7, "cache_read_input_tokens": None},
}


def test_a_whole_message_is_read_like_its_stream() -> None:
    reply = DIALECT.read_reply(WHOLE, ENGINE)
    assert reply.message == assistant(
        Reasoning("Hm.", mine(signature="EqQB")), Text("So."), ToolCall("toolu_1", "f", '{"a":[1,2.5]}')
    )
    assert reply.finish == Finished("tool_calls", "tool_use")
    assert reply.usage == Usage(fresh=5, text=7)
    assert collect(replay(reply)) == reply


@pytest.mark.parametrize(
    "body",
    [None, [], "x", {}, {"content": None}, {"content": [{"type": "text"}]}, {"content": [7]}, {"content": [{"x": 1}]}],
)
def test_a_body_that_is_not_a_message_is_malformed(body: Any) -> None:
    with pytest.raises(Malformed):
        DIALECT.read_reply(body, ENGINE)


def test_an_error_with_status_200_is_an_error() -> None:
    with pytest.raises(Overloaded):
        DIALECT.read_reply({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, ENGINE)


def test_missing_usage_stays_unknown() -> None:
    assert DIALECT.read_reply({"content": []}, ENGINE).usage == Usage()
    raw = encode_sse_event({"type": "message_start", "message": {}}) + encode_sse_event({"type": "message_stop"})
    assert not any(isinstance(event, UsageReported) for event in read(raw))


def events_of(path: Path) -> list[Any]:
    return [json.loads(line[6:]) for line in path.read_text().splitlines() if line.startswith("data: ")]


@given(st.sampled_from(STREAMS).flatmap(lambda path: replaced_somewhere(events_of(path))))
def test_s8_a_corrupted_stream_raises_only_llm_errors(events: Any) -> None:
    reader, grammar = DIALECT.create_reader(ENGINE), Grammar()
    try:
        for event in events:
            grammar.feed(reader.feed(Frame(dump_bytes(event).decode())))
        if not reader.done:
            reader.close()
    except LLMError:
        pass


@given(anything | replaced_somewhere(WHOLE))
def test_s8_a_corrupted_message_raises_only_llm_errors(body: Any) -> None:
    try:
        reply = DIALECT.read_reply(body, ENGINE)
    except LLMError:
        return
    grammar = Grammar()
    grammar.feed(replay(reply))
    grammar.close()
