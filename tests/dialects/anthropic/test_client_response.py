"""Writes answers, errors and model lists for Anthropic clients."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm import errors
from llm.chat.events import (
    Cited,
    Event,
    Failed,
    Finished,
    FinishReason,
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
from llm.chat.messages import Citation, Media, Message, Reasoning, Text, ToolCall, ToolResult, UnknownPart, Usage
from llm.chat.provider_metadata import Metadata, ProviderMetadata
from llm.chat.reply import Reply, collect, replay
from llm.chat.request import ChatRequest, Options
from llm.dialects import anthropic
from llm.dialects.base import EngineDialect
from llm.engines.capabilities import ModelInfo
from llm.errors import EngineFailed, LLMError, Overloaded, ProviderErrorDetails
from tests.support.anthropic_client import AGENT, CLIENT, ENGINE, SAMPLES, with_extras

STREAMS = sorted(SAMPLES.glob("*.sse"))
# Its answers name the model that the engine names, and have thinking.
REQUEST = ChatRequest(model="", messages=(), options=Options(reasoning=True))
NOW = 1_770_000_000


def read_events(raw: bytes) -> list[Event]:
    dialect: EngineDialect = anthropic
    framing, reader = dialect.create_framing(), dialect.create_reader(ENGINE)
    return [event for frame in framing.feed(raw) for event in reader.feed(frame)]


def write(events: Sequence[Event], group: int = 10**9) -> bytes:
    """Returns the bytes of a stream that gets ``group`` events per call."""
    writer = CLIENT.create_writer(REQUEST, NOW)
    batches = [events[start : start + group] for start in range(0, len(events), group)]
    return b"".join(piece for batch in batches for piece in writer.feed(batch))


def wire_events(raw: bytes) -> list[dict[str, Any]]:
    """Parses a stream and checks its grammar (S7): one block open at a time, in rising order."""
    events: list[dict[str, Any]] = []
    for block in raw.decode().split("\n\n")[:-1]:
        name, data = block.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    kinds = [event["type"] for event in events if event["type"] != "ping"]
    if "error" in kinds:
        assert kinds.index("error") == len(kinds) - 1 and "message_stop" not in kinds
        kinds.remove("error")
    elif kinds:
        assert kinds[-2:] == ["message_delta", "message_stop"]
    assert kinds[:1] in ([], ["message_start"]) and kinds.count("message_start") <= 1
    open_: int | None = None
    last = -1
    deltas = {"text": {"text_delta", "citations_delta"}, "thinking": {"thinking_delta", "signature_delta"}}
    kind = ""
    for event in events:
        match event["type"]:
            case "content_block_start":
                assert open_ is None and event["index"] == last + 1
                open_ = last = event["index"]
                kind = event["content_block"]["type"]
            case "content_block_delta":
                assert event["index"] == open_
                assert event["delta"]["type"] in deltas.get(kind, {"input_json_delta"})
            case "content_block_stop":
                assert event["index"] == open_
                open_ = None
            case "message_delta":
                assert open_ is None
    return events


def mine(**data: Any) -> Metadata:
    return (ProviderMetadata("anthropic", "anthropic", data),)


# --- streams ---


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
@pytest.mark.parametrize("group", [1, 2, 5, 10**9])
def test_a_stream_survives_writing_and_reading(path: Path, group: int) -> None:
    events = read_events(path.read_bytes())
    reply = collect(events)
    for source in (events, [*replay(reply)]):
        raw = write(source, group)
        wire_events(raw)
        assert collect(read_events(raw)) == reply


def test_a_stream_matches_the_wire_documentation() -> None:
    usage = Usage(fresh=10, cache_read=4, cache_write=2, text=5, reasoning=3, other={"cache_write_1h": 2})
    events: list[Event] = [
        Started("msg_1", "some-model"),
        UsageReported(Usage(fresh=10, text=0)),
        ReasoningDelta(0, "Hm."),
        PartEnded(0, mine(signature="EqQB")),
        TextDelta(1, "Hällo"),
        PartEnded(1),
        ToolCallStarted(2, "call_1", "f"),
        ToolCallDelta(2, '{"a":1}'),
        PartEnded(2),
        UsageReported(usage),
        Finished("tool_calls", "tool_calls"),
    ]
    nothing = dict.fromkeys(("inference_geo", "service_tier", "speed", "server_tool_use"))
    zero: dict[str, Any] = {
        "input_tokens": 10,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 0,
    }
    zero |= {**nothing, "cache_creation": None, "output_tokens_details": None}
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "some-model",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "diagnostics": None,
        "usage": zero,
    }

    def delta(index: int, **fields: str) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": index, "delta": fields}

    def start(index: int, **fields: Any) -> dict[str, Any]:
        return {"type": "content_block_start", "index": index, "content_block": fields}

    def stop(index: int) -> dict[str, Any]:
        return {"type": "content_block_stop", "index": index}

    assert wire_events(write(events)) == [
        {"type": "message_start", "message": message},
        start(0, type="thinking", thinking="", signature=""),
        delta(0, type="thinking_delta", thinking="Hm."),
        delta(0, type="signature_delta", signature="EqQB"),
        stop(0),
        start(1, type="text", text="", citations=None),
        delta(1, type="text_delta", text="Hällo"),
        stop(1),
        start(2, type="tool_use", id="call_1", name="f", input={}, caller={"type": "direct"}, toolset_name=None),
        delta(2, type="input_json_delta", partial_json='{"a":1}'),
        stop(2),
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None, "stop_details": None, "container": None},
            "usage": {
                "server_tool_use": None,
                "input_tokens": 10,
                "cache_creation_input_tokens": 2,
                "cache_read_input_tokens": 4,
                "output_tokens": 8,
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 2},
                "output_tokens_details": {"thinking_tokens": 3},
            },
        },
        {"type": "message_stop"},
    ]


def test_s3_interleaved_calls_are_written_one_block_at_a_time() -> None:
    events: list[Event] = [Started("msg_1", "m")]
    events += [ToolCallStarted(0, "a", "f"), ToolCallStarted(1, "b", "g")]
    events += [ToolCallDelta(0, '{"x": '), ToolCallDelta(1, '{"y": '), ToolCallDelta(0, "1}"), ToolCallDelta(1, "2}")]
    events += [PartEnded(0), PartEnded(1), Finished("tool_calls")]
    for group in (1, 3, 100):
        arguments = {0: "", 1: ""}
        for event in wire_events(write(events, group)):
            if event["type"] == "content_block_delta":
                arguments[event["index"]] += event["delta"]["partial_json"]
        assert arguments == {0: '{"x": 1}', 1: '{"y": 2}'}


@given(st.lists(st.text(max_size=8), max_size=8))
def test_s4_the_deltas_add_up_to_the_text(pieces: list[str]) -> None:
    events: list[Event] = [Started("i", "m"), *(TextDelta(0, piece) for piece in pieces), Finished("stop")]
    if pieces:
        events.insert(-1, PartEnded(0))
    deltas = [e["delta"]["text"] for e in wire_events(write(events)) if e["type"] == "content_block_delta"]
    assert "".join(deltas) == "".join(pieces)
    assert all(deltas)


def test_a_lone_surrogate_in_a_delta_is_written() -> None:
    halves = "🦊".encode("utf-16", "surrogatepass").decode("utf-16")
    high, low = "\ud83e", "\udd8a"
    events: list[Event] = [Started("i", "m"), TextDelta(0, high), TextDelta(0, low), PartEnded(0), Finished("stop")]
    deltas = [e["delta"]["text"] for e in wire_events(write(events)) if e["type"] == "content_block_delta"]
    assert "".join(deltas).encode("utf-16", "surrogatepass").decode("utf-16") == halves


STOP_REASONS: list[tuple[FinishReason, str | None, str]] = [
    ("stop", "stop", "end_turn"),
    ("stop", "stop_sequence", "stop_sequence"),
    ("stop", None, "end_turn"),
    ("tool_calls", "end_turn", "tool_use"),
    ("tool_calls", "STOP", "tool_use"),
    ("length", "length", "max_tokens"),
    ("length", "model_context_window_exceeded", "model_context_window_exceeded"),
    ("filtered", "SAFETY", "refusal"),
    ("paused", "pause_turn", "pause_turn"),
    ("other", "LANGUAGE", "end_turn"),
]


@pytest.mark.parametrize(("reason", "raw", "word"), STOP_REASONS)
def test_s6_finish_reasons_are_written_as_stop_reasons(reason: FinishReason, raw: str | None, word: str) -> None:
    finish = Finished(reason, raw)
    *_, delta, _ = wire_events(write([Started("i", "m"), finish]))
    assert delta["delta"]["stop_reason"] == word
    reply = Reply(id="i", model="m", message=Message("assistant", ()), finish=finish, usage=Usage())
    assert CLIENT.write_reply(reply, REQUEST, NOW)["stop_reason"] == word


def test_an_answer_that_ended_with_an_error_is_written_as_error() -> None:
    finish = Finished("error", "MALFORMED")
    *_, last = wire_events(write([Started("i", "m"), finish]))
    assert last["error"]["type"] == "api_error" and "MALFORMED" in last["error"]["message"]
    reply = Reply(id="i", model="m", message=Message("assistant", ()), finish=finish, usage=Usage())
    with pytest.raises(EngineFailed):
        CLIENT.write_reply(reply, REQUEST, NOW)


def test_s1_a_failure_ends_the_stream_with_an_error_event() -> None:
    failure = Overloaded(
        "Overloaded", engine="anthropic", provider=ProviderErrorDetails(0, None, "overloaded_error", "Overloaded")
    )
    half: list[Event] = [Started("i", "m"), TextDelta(0, "Half")]
    for before in ([], half):
        events = wire_events(write([*before, Failed(failure)]))
        assert events[-1] == {"type": "error", **CLIENT.write_error(failure)}
        assert len(events) == (4 if before else 1)


def test_s11_the_ping_is_an_event_of_this_wire() -> None:
    assert CLIENT.create_writer(REQUEST, NOW).write_keepalive() == b'event: ping\ndata: {"type":"ping"}\n\n'


def test_server_calls_are_left_out_without_gaps_in_the_indexes() -> None:
    other = (ProviderMetadata("openai-responses", "openai", {"type": "web_search_call"}),)
    events: list[Event] = [
        Started("", "m"),
        ToolCallStarted(0, "a", "search", "server"),
        ToolCallDelta(0, "{}"),
        PartEnded(0),
        ToolProgress(0, "running"),
        ToolProgress(0, "completed"),
        WholePart(1, ToolResult("a", (Text("found"),))),
        ToolCallStarted(2, "b", "web_search", "provider"),
        PartEnded(2, other),
        WholePart(3, UnknownPart(other)),
        WholePart(4, Media(mime="image/png", base64="iVBO")),
        ReasoningDelta(5, ""),
        PartEnded(5),
        TextDelta(6, "Found."),
        Cited(6, Citation("https://example.org", metadata=other)),
        PartEnded(6),
        Finished("stop"),
    ]
    texts = [
        "[A picture (image/png) was made, which this API cannot carry.]",
        "Found.",
        "\n\nSources given by the engine:\n- https://example.org",
    ]
    for group in (1, 100):
        start, *blocks, _, _ = wire_events(write(events, group))
        assert start["message"]["id"].startswith("msg_")
        assert [event["type"] for event in blocks] == 3 * [
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
        ]
        assert [event["delta"] for event in blocks[1::3]] == [{"type": "text_delta", "text": text} for text in texts]
    whole = CLIENT.write_reply(collect(events), REQUEST, NOW)
    assert whole["content"] == [{"type": "text", "text": text, "citations": None} for text in texts]


@pytest.mark.parametrize("text", ["Hm.", ""])
def test_t1_reasoning_of_another_engine_comes_back_with_its_metadata(text: str) -> None:
    keep = (ProviderMetadata("gemini", "google", {"thoughtSignature": "x"}),)
    events: list[Event] = [Started("i", "m"), ReasoningDelta(0, text), PartEnded(0, keep), Finished("stop")]
    deltas = [e["delta"] for e in wire_events(write(events)) if e["type"] == "content_block_delta"]
    signature = deltas[-1]["signature"]
    assert [delta["type"] for delta in deltas] == [*(["thinking_delta"] if text else []), "signature_delta"]
    content: Any = CLIENT.write_reply(collect(events), REQUEST, NOW)["content"]
    assert content == [{"type": "thinking", "thinking": text, "signature": signature}]
    messages = [{"role": "assistant", "content": content}]
    [message] = CLIENT.read_request({"model": "m", "max_tokens": 5, "messages": messages}).messages
    assert message.parts == (Reasoning(text, keep),)


def test_unsigned_reasoning_has_an_empty_signature() -> None:
    events: list[Event] = [Started("i", "m"), ReasoningDelta(0, "Hm."), PartEnded(0), Finished("stop")]
    content = CLIENT.write_reply(collect(events), REQUEST, NOW)["content"]
    assert content == [{"type": "thinking", "thinking": "Hm.", "signature": ""}]


def test_t5_citations_are_written_in_the_form_of_this_wire() -> None:
    wire = {"type": "char_location", "cited_text": "x", "document_index": 0, "start_char_index": 0, "end_char_index": 1}
    cited = Citation(quote="x", metadata=mine(**wire))
    events: list[Event] = [Started("i", "m"), TextDelta(0, "🦊"), Cited(0, cited), PartEnded(0), Finished("stop")]
    deltas = [e["delta"] for e in wire_events(write(events)) if e["type"] == "content_block_delta"]
    assert deltas[1] == {"type": "citations_delta", "citation": wire}
    content = CLIENT.write_reply(collect(events), REQUEST, NOW)["content"]
    assert content == [{"type": "text", "text": "🦊", "citations": [wire]}]


# --- whole answers, errors, models ---


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_a_whole_message_survives_writing_and_reading(path: Path) -> None:
    reply = collect(read_events(path.read_bytes()))
    wire = CLIENT.write_reply(reply, REQUEST, NOW)
    assert (wire["type"], wire["role"], wire["id"]) == ("message", "assistant", reply.id)
    again = anthropic.read_reply(json.loads(json.dumps(wire)), ENGINE)
    assert with_parsed_arguments(again) == with_parsed_arguments(reply)


def with_parsed_arguments(reply: Reply) -> Reply:
    """Normalises the JSON text of arguments, since a whole message has them as an object."""
    parts = tuple(
        replace(part, arguments=json.dumps(json.loads(part.arguments))) if isinstance(part, ToolCall) else part
        for part in reply.message.parts
    )
    return replace(reply, message=Message("assistant", parts))


@given(st.data())
def test_t12_unknown_fields_of_an_answer_survive(data: st.DataObject) -> None:
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [part for part in AGENT["messages"][1]["content"] if "caller" not in part],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "stop_details": {"type": "x"},
        "usage": {
            "input_tokens": 1,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 2,
            "service_tier": "standard",
        },
    }
    wire = data.draw(st.composite(with_extras)(body))
    assert without_usual(CLIENT.write_reply(anthropic.read_reply(wire, ENGINE), REQUEST, NOW)) == without_usual(wire)


def without_usual(wire: Any) -> Any:
    """Returns an answer without nulls, and without the caller that most calls have."""
    if isinstance(wire, list):
        return [without_usual(one) for one in wire]
    if not isinstance(wire, dict):
        return wire
    usual = (None, {"type": "direct"})
    return {name: without_usual(value) for name, value in wire.items() if value not in usual}


ERROR_TYPES = [
    (errors.InvalidRequest, "invalid_request_error"),
    (errors.Unsupported, "invalid_request_error"),
    (errors.ContentBlocked, "invalid_request_error"),
    (errors.EngineNotConfigured, "invalid_request_error"),
    (errors.UnknownModel, "not_found_error"),
    (errors.NotFound, "not_found_error"),
    (errors.TooLarge, "request_too_large"),
    (errors.NotAuthenticated, "authentication_error"),
    (errors.QuotaExceeded, "billing_error"),
    (errors.EngineRefusedKey, "api_error"),
    (errors.EngineForbids, "api_error"),
    (errors.RateLimited, "rate_limit_error"),
    (errors.Overloaded, "overloaded_error"),
    (errors.Draining, "overloaded_error"),
    (errors.EngineFailed, "api_error"),
    (errors.Truncated, "api_error"),
    (errors.ConnectTimeout, "timeout_error"),
    (errors.FirstByteTimeout, "timeout_error"),
    (errors.IdleTimeout, "timeout_error"),
    (errors.Internal, "api_error"),
    (errors.ToolLimit, "api_error"),
]


@pytest.mark.parametrize(("cls", "word"), ERROR_TYPES)
def test_e2_an_error_has_an_error_type_of_this_wire(cls: type[LLMError], word: str) -> None:
    assert CLIENT.write_error(cls("It is so.", param="x")) == {
        "type": "error",
        "error": {"type": word, "message": "It is so.", "details": {"error_code": cls.code}, "param": "x"},
    }


def test_e2_the_message_of_the_provider_is_preserved() -> None:
    provider = ProviderErrorDetails(429, "insufficient_quota", "insufficient_quota", "No credit.")
    wire: Any = CLIENT.write_error(errors.QuotaExceeded("No credit.", provider=provider))
    assert wire["error"]["details"] == {"error_code": "insufficient_quota"}
    assert wire["error"]["provider"] == provider.as_json()


def test_a_prompt_too_long_has_the_message_that_clients_recognise() -> None:
    foreign: Any = CLIENT.write_error(errors.ContextTooLong("This model's maximum context length is 8192 tokens."))
    assert foreign["error"]["message"] == "prompt is too long: This model's maximum context length is 8192 tokens."
    own: Any = CLIENT.write_error(errors.ContextTooLong("prompt is too long: 9 tokens > 8 maximum"))
    assert own["error"]["message"] == "prompt is too long: 9 tokens > 8 maximum"


def test_models_are_listed_with_their_engine_in_the_id() -> None:
    models = [
        ModelInfo(id="claude-x", engine="anthropic", name="Claude X", created=1769904000, max_output_tokens=64000),
        ModelInfo(id="gpt-x", engine="openai", context_tokens=8192),
        ModelInfo(id="sora", engine="openai", kind="video"),
    ]
    assert CLIENT.write_models(models) == {
        "data": [
            {
                "type": "model",
                "id": "anthropic/claude-x",
                "display_name": "Claude X",
                "created_at": "2026-02-01T00:00:00Z",
                "max_tokens": 64000,
            },
            {
                "type": "model",
                "id": "openai/gpt-x",
                "display_name": "gpt-x",
                "created_at": "1970-01-01T00:00:00Z",
                "max_input_tokens": 8192,
            },
        ],
        "has_more": False,
        "first_id": "anthropic/claude-x",
        "last_id": "openai/gpt-x",
    }
    assert CLIENT.write_models([]) == {"data": [], "has_more": False, "first_id": None, "last_id": None}


@pytest.mark.parametrize("early", [False, True], ids=["at the end", "at the start"])
def test_the_end_of_a_message_repeats_the_counts_of_its_input(early: bool) -> None:
    """langchain-anthropic-loses-prompt-tokens: only what ``message_delta`` says is counted there."""
    usage = UsageReported(Usage(fresh=11, cache_read=4, cache_write=2, text=5))
    text: list[Event] = [TextDelta(0, "A"), PartEnded(0)]
    events: list[Event] = [Started("r", "m"), *([usage, *text] if early else [*text, usage]), Finished("stop")]
    [end] = [one for one in wire_events(write(events)) if one["type"] == "message_delta"]
    counts = {"input_tokens": 11, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 2, "output_tokens": 5}
    assert {name: count for name, count in end["usage"].items() if count is not None} == counts
