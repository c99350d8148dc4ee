"""The Anthropic dialect towards a provider: what we send, what we make of its answers, errors and lists."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
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
from llm.chat.messages import Citation, Foreign, Media, Message, Part, Reasoning, Text, ToolCall, ToolResult, Usage
from llm.chat.provider_metadata import Keep, Opaque
from llm.chat.reply import collect, replay
from llm.chat.request import ChatRequest, JsonFormat, Options, ToolSpec
from llm.dialects import anthropic
from llm.dialects.base import VerbatimDialect
from llm.engines.capabilities import ModelRules
from llm.engines.engine import Engine, Quirks
from llm.engines.records import ENGINES
from llm.errors import (
    ContentBlocked,
    ContextTooLong,
    EngineFailed,
    EngineRefusedKey,
    InvalidRequest,
    LLMError,
    Malformed,
    Overloaded,
    QuotaExceeded,
    RateLimited,
    TooLarge,
    Truncated,
    Unsupported,
)
from llm.wire.frames import Frame
from llm.wire.json_codec import Json, dump_bytes
from llm.wire.sse import sse

SAMPLES = Path(__file__).parent / "samples" / "anthropic"
STREAMS = sorted(SAMPLES.glob("*.sse"))
ENGINE = ENGINES["anthropic"]
DIALECT: VerbatimDialect = anthropic
MODEL = "claude-sonnet-4-5"


def mine(**data: Json) -> Keep:
    return (Opaque("anthropic", "anthropic", data),)


def body_of(
    *messages: Message, model: str = MODEL, engine: Engine = ENGINE, tools: Sequence[ToolSpec] = (), **options: Any
) -> dict[str, Any]:
    request = ChatRequest(model=model, messages=messages, tools=tuple(tools), options=Options(**options))
    return dict(DIALECT.write_request(request, engine).body or {})


def user(*parts: Part) -> Message:
    return Message("user", parts)


def assistant(*parts: Part) -> Message:
    return Message("assistant", parts)


HELLO = user(Text("Hello"))
TOOL = ToolSpec("f", "Does f.", {"type": "object", "properties": {}})


def refused(**given: Any) -> str | None:
    """The option that is named."""
    with pytest.raises(Unsupported) as caught:
        body_of(HELLO, **given)
    assert caught.value.engine == "anthropic"
    return caught.value.param


def read(raw: bytes, size: int = 10**9, engine: Engine = ENGINE) -> list[Event]:
    """The events of a stream that comes in pieces of ``size`` bytes, with their grammar checked (S7)."""
    framing, reader, grammar = DIALECT.framing(), DIALECT.reader(engine), Grammar()
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
    return b"".join(sse(dict(event), str(event["type"])) for event in (start, *events))


def block(index: int, start: Mapping[str, Any], *deltas: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": dict(start)},
        *({"type": "content_block_delta", "index": index, "delta": dict(delta)} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def ended(reason: str | None = "end_turn", **more: Any) -> list[dict[str, Any]]:
    delta = {"stop_reason": reason, "stop_sequence": None, **more}
    return [{"type": "message_delta", "delta": delta, "usage": {"output_tokens": 5}}, {"type": "message_stop"}]


# --- requests ---


def test_a_plain_request_is_sent_whole() -> None:
    system = Message("system", (Text("Be terse."),))
    request = ChatRequest(model=MODEL, messages=(system, HELLO), options=Options(temperature=0.0), stream=True)
    outgoing = DIALECT.write_request(request, ENGINE)
    assert (outgoing.path, outgoing.method, outgoing.dropped) == ("/v1/messages", "POST", ())
    assert outgoing.body == {
        "model": MODEL,
        "max_tokens": 64000,
        "temperature": 0.0,
        "system": "Be terse.",
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": True,
    }


def test_a_conversation_with_calls_is_sent_whole() -> None:
    messages = (
        user(Text("Weather?")),
        assistant(
            Reasoning("Hm.", mine(signature="EqQB")),
            Text("Looking."),
            ToolCall("toolu_1", "weather", '{"city": "Köln"}'),
            ToolCall("toolu_2", "clock", ""),
        ),
        user(ToolResult("toolu_1", (Text("Rain"), Media(mime="image/png", base64="iVBO")))),
        user(ToolResult("toolu_2", (Text("late"),), is_error=True)),
        user(Text("Well?")),
    )
    tools = (TOOL, ToolSpec("g", parameters={"properties": {"x": {}}}, strict=True))
    assert body_of(*messages, tools=tools, tool_choice="auto", parallel_tools=False, stop=("END",)) == {
        "model": MODEL,
        "max_tokens": 64000,
        "stop_sequences": ["END"],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "tools": [
            {"name": "f", "description": "Does f.", "input_schema": {"type": "object", "properties": {}}},
            {"name": "g", "input_schema": {"type": "object", "properties": {"x": {}}}, "strict": True},
        ],
        "messages": [
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"},
                    {"type": "text", "text": "Looking."},
                    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Köln"}},
                    {"type": "tool_use", "id": "toolu_2", "name": "clock", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_1",
                        "content": [
                            {"type": "text", "text": "Rain"},
                            {
                                "type": "image",
                                "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"},
                            },
                        ],
                    },
                    {"type": "tool_result", "tool_use_id": "toolu_2", "content": "late", "is_error": True},
                    {"type": "text", "text": "Well?"},
                ],
            },
        ],
    }


def test_results_of_tools_come_first_in_their_message_and_are_always_the_user_s() -> None:
    body = body_of(
        HELLO,
        assistant(ToolCall("a", "f"), ToolResult("a", (Text("1"),)), Text("So it is 1.")),
        user(Text("And now?"), ToolResult("b", (Text("2"),))),
    )
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user", "assistant", "user"]
    assert [part["type"] for part in body["messages"][4]["content"]] == ["tool_result", "text"]


def test_blank_text_is_never_sent() -> None:
    body = body_of(
        Message("system", (Text(" "),)),
        user(Text(""), Text("Hello")),
        assistant(Text("\n")),
        user(ToolResult("a", (Text(""),)), Text("   ")),
        assistant(Text("The answer is: \n")),
    )
    assert "system" not in body
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}, {"type": "text", "text": "Hello"}]},
        {"role": "assistant", "content": "The answer is:"},
    ]


def test_system_messages_from_anywhere_are_sent_on_top() -> None:
    body = body_of(Message("system", (Text("One."),)), HELLO, Message("system", (Text("Two."),)))
    assert body["system"] == [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]
    assert len(body["messages"]) == 1


def test_ids_the_wire_refuses_are_mapped_alike_in_call_and_result() -> None:
    ids = ["call|1", "call:1", "", "Aufruf ü", "fine-1_A"]
    body = body_of(
        HELLO,
        assistant(*(ToolCall(id, "f") for id in ids)),
        user(*(ToolResult(id, (Text(id or "none"),)) for id in ids)),
    )
    made = [part["id"] for part in body["messages"][1]["content"]]
    assert made == [part["tool_use_id"] for part in body["messages"][2]["content"]]
    assert len(set(made)) == len(ids) and made[-1] == "fine-1_A"
    assert all(id and id.replace("-", "").replace("_", "").isalnum() and id.isascii() for id in made)


@pytest.mark.parametrize("text", ['{"a": 1', "[1]", '"x"', "nonsense", '{"a": 1e999}'])
def test_arguments_that_are_no_object_are_shown_to_the_model_as_it_wrote_them(text: str) -> None:
    body = body_of(HELLO, assistant(ToolCall("a", "f", text)))
    assert body["messages"][1]["content"][0]["input"] == {"INVALID_JSON": text}
    dump_bytes(body)


def test_media_are_sent_by_data_by_reference_and_by_id() -> None:
    notes = Media(mime="text/markdown", base64="IyBIaQ==", name="notes.md")
    body = body_of(
        user(
            Media(mime="image/jpg", base64="/9j/"),
            Media(mime="image/*", url="https://example.org/a.webp"),
            Media(mime="image/png", file_id="file_1", keep=mine()),
            Media(mime="application/pdf", base64="JVBE", name="Paper"),
            Media(mime="application/pdf", url="https://example.org/a.pdf", keep=mine(context="of 2026")),
            notes,
        ),
        citations=True,
    )
    cited = {"citations": {"enabled": True}}
    assert body["messages"][0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j/"}},
        {"type": "image", "source": {"type": "url", "url": "https://example.org/a.webp"}},
        {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
            "title": "Paper",
            **cited,
        },
        {
            "type": "document",
            "context": "of 2026",
            "source": {"type": "url", "url": "https://example.org/a.pdf"},
            **cited,
        },
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "# Hi"},
            "title": "notes.md",
            **cited,
        },
    ]


@pytest.mark.parametrize(
    "part",
    [
        Media(mime="audio/wav", base64="UklG"),
        Media(mime="video/mp4", url="https://example.org/a.mp4"),
        Media(mime="image/tiff", base64="SUkq"),
        Media(mime="application/zip", base64="UEsD"),
        Media(mime="text/plain", base64="not base64!"),
        Media(mime="image/png", file_id="file-of-openai", keep=(Opaque("openai-chat", None, {}),)),
        Foreign((Opaque("openai-chat", None, {"type": "input_audio"}),)),
    ],
)
def test_what_the_wire_cannot_carry_for_the_user_is_refused(part: Part) -> None:
    with pytest.raises(Unsupported):
        body_of(user(part))


def test_what_an_assistant_cannot_say_here_is_left_out_and_told() -> None:
    other = (Opaque("openai-responses", "openai", {"type": "web_search_call"}),)
    parts = (
        Reasoning("Unsigned."),
        Reasoning("Another's.", (Opaque("anthropic", "imitation", {"signature": "x"}),)),
        Reasoning("", (Opaque("gemini", "google", {"thoughtSignature": "x"}),)),
        ToolCall("ws_1", "web_search", executor="provider", keep=other),
        Foreign(other),
        Media(mime="image/png", base64="iVBO"),
        Text("Here."),
    )
    outgoing = DIALECT.write_request(ChatRequest(model=MODEL, messages=(HELLO, assistant(*parts))), ENGINE)
    assert (outgoing.body or {})["messages"] == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Here."},
    ]
    assert outgoing.dropped == ("hosted tool call", "foreign block", "image in an assistant message")


def test_t4_cache_marks_stand_on_the_last_system_text_and_the_last_tool() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    system = Message("system", (Text("One."), Text("Two.")))
    long = ToolSpec("g", keep=(Opaque("anthropic", None, {"cache_control": {"type": "ephemeral", "ttl": "1h"}}),))
    body = body_of(system, HELLO, tools=(TOOL, TOOL), caching=True)
    assert body["system"] == [{"type": "text", "text": "One."}, {"type": "text", "text": "Two.", **mark}]
    assert ["cache_control" in tool for tool in body["tools"]] == [False, True]
    assert body_of(HELLO, tools=(long,), caching=True)["tools"][0]["cache_control"]["ttl"] == "1h"
    assert body_of(Message("system", (Text("One."),)), HELLO)["system"] == "One."


def test_t4_equal_requests_are_equal_bytes() -> None:
    def written() -> bytes:
        messages = (HELLO, assistant(ToolCall("call|1", "f", '{"b": 1, "a": 2}')), user(ToolResult("call|1")))
        return dump_bytes(body_of(*messages, tools=(TOOL,), caching=True))

    assert written() == written()
    assert b'"input":{"b":1,"a":2}' in written()


def test_customopts_come_last() -> None:
    assert body_of(HELLO, extra={"max_tokens": 5, "x_new": [1]}, max_tokens=9)["max_tokens"] == 5


# --- options ---


@pytest.mark.parametrize(
    ("model", "limit"),
    [
        ("claude-3-haiku-20240307", 4096),
        ("claude-3-5-haiku-20241022", 8192),
        ("claude-3-7-sonnet-20250219", 64000),
        ("claude-opus-4-20250514", 32000),
        ("claude-opus-4-1", 32000),
        ("claude-sonnet-4-0", 64000),
        ("claude-haiku-4.5", 64000),
        ("anthropic/claude-opus-4-5", 64000),
        ("claude-sonnet-4-6", 128000),
        ("claude-fable-5-2", 128000),
        ("claude-of-tomorrow", 128000),
        ("some-imitation", 8192),
    ],
)
def test_an_answer_s_size_is_always_said(model: str, limit: int) -> None:
    assert body_of(HELLO, model=model)["max_tokens"] == limit
    assert body_of(HELLO, model=model, max_tokens=7)["max_tokens"] == 7


ADAPTIVE = {"type": "adaptive", "display": "summarized"}


@pytest.mark.parametrize(
    ("model", "options", "thinking", "effort"),
    [
        (MODEL, {}, None, None),
        (MODEL, {"reasoning": True}, {"type": "enabled", "budget_tokens": 1024}, None),
        (MODEL, {"reasoning": False}, {"type": "disabled"}, None),
        (MODEL, {"effort": "none"}, {"type": "disabled"}, None),
        (MODEL, {"reasoning_tokens": 0}, {"type": "disabled"}, None),
        (MODEL, {"effort": "minimal"}, {"type": "enabled", "budget_tokens": 1024}, None),
        (MODEL, {"effort": "low"}, {"type": "enabled", "budget_tokens": 1024}, None),
        (MODEL, {"effort": "medium"}, {"type": "enabled", "budget_tokens": 8192}, None),
        (MODEL, {"effort": "high"}, {"type": "enabled", "budget_tokens": 24576}, None),
        (MODEL, {"effort": "high", "max_tokens": 4096}, {"type": "enabled", "budget_tokens": 3072}, None),
        (MODEL, {"reasoning_tokens": 5000}, {"type": "enabled", "budget_tokens": 5000}, None),
        ("claude-3-7-sonnet-latest", {"reasoning": True}, {"type": "enabled", "budget_tokens": 1024}, None),
        ("claude-3-haiku-20240307", {"reasoning": False}, None, None),
        ("claude-opus-4-6", {"effort": "max"}, ADAPTIVE, "max"),
        ("claude-opus-4-6", {"reasoning_tokens": 2000}, {"type": "enabled", "budget_tokens": 2000}, None),
        ("claude-opus-4-8", {"reasoning": True}, ADAPTIVE, None),
        ("claude-opus-4-8", {"effort": "xhigh"}, ADAPTIVE, "xhigh"),
        ("claude-sonnet-5", {"effort": "minimal"}, ADAPTIVE, "low"),
        ("claude-sonnet-5", {"reasoning": False}, {"type": "disabled"}, None),
        ("claude-sonnet-5-5", {"reasoning": False, "effort": "high"}, {"type": "between_tools"}, "high"),
        ("claude-of-tomorrow", {"effort": "high"}, ADAPTIVE, "high"),
        ("some-imitation", {"effort": "high"}, ADAPTIVE, "high"),
        ("some-imitation", {"reasoning_tokens": 2000}, {"type": "enabled", "budget_tokens": 2000}, None),
    ],
)
def test_thinking_is_asked_for_in_the_form_that_the_model_takes(
    model: str, options: dict[str, Any], thinking: dict[str, Any] | None, effort: str | None
) -> None:
    body = body_of(HELLO, model=model, **options)
    assert body.get("thinking") == thinking
    assert body.get("output_config") == (None if effort is None else {"effort": effort})


@pytest.mark.parametrize(
    ("model", "options", "named"),
    [
        ("claude-3-5-haiku-20241022", {"reasoning": True}, "reasoning"),
        ("claude-3-5-haiku-20241022", {"effort": "high"}, "effort"),
        ("claude-opus-5-5", {"reasoning": False}, "reasoning"),
        ("claude-fable-5", {"effort": "none"}, "effort"),
        ("claude-sonnet-4-6", {"effort": "xhigh"}, "effort"),
        ("claude-opus-4-7", {"reasoning_tokens": 4000}, "reasoning_tokens"),
        (MODEL, {"reasoning_tokens": 500}, "reasoning_tokens"),
        (MODEL, {"reasoning_tokens": 4000, "max_tokens": 4000}, "reasoning_tokens"),
        (MODEL, {"effort": "low", "max_tokens": 2000}, "max_tokens"),
        (MODEL, {"reasoning": True, "temperature": 0.0}, "temperature"),
        (MODEL, {"reasoning": True, "top_k": 5}, "top_k"),
        (MODEL, {"reasoning": True, "top_p": 0.5}, "top_p"),
        (MODEL, {"temperature": 0.5, "top_p": 0.5}, "top_p"),
        (MODEL, {"reasoning": True, "tools": (TOOL,), "tool_choice": "required"}, "tool_choice"),
        (MODEL, {"tool_choice": "required"}, "tool_choice"),
        ("claude-opus-5-5", {"tools": (TOOL,), "tool_choice": "tool:f"}, "tool_choice"),
        ("claude-opus-4-8", {"temperature": 0.0}, "temperature"),
        ("claude-opus-4-8", {"top_p": 0.9}, "top_p"),
        ("claude-opus-4-8", {"top_k": 0}, "top_k"),
        ("claude-sonnet-4-0", {"format": JsonFormat({"type": "object"})}, "format"),
        (MODEL, {"format": JsonFormat()}, "format"),
        (MODEL, {"seed": 0}, "seed"),
        (MODEL, {"presence_penalty": 0.5}, "presence_penalty"),
        (MODEL, {"frequency_penalty": 0.5}, "frequency_penalty"),
        (MODEL, {"logprobs": True}, "logprobs"),
        (MODEL, {"top_logprobs": 3}, "top_logprobs"),
        (MODEL, {"verbosity": "low"}, "verbosity"),
        (MODEL, {"context_tokens": 4096}, "context_tokens"),
        (MODEL, {"service_tier": "flex"}, "service_tier"),
    ],
)
def test_t8_what_a_model_cannot_take_is_refused_by_name(model: str, options: dict[str, Any], named: str) -> None:
    assert refused(model=model, **options) == named


def test_an_engine_s_record_refuses_too() -> None:
    engine = replace(ENGINE, quirks=Quirks(refuses=frozenset({"top_k", "stop"}), json_schema=False, forced_tools=False))
    for named, options in (
        ("top_k", {"top_k": 5}),
        ("stop", {"stop": ("x",)}),
        ("format", {"format": JsonFormat({})}),
        ("tool_choice", {"tools": (TOOL,), "tool_choice": "required"}),
    ):
        assert refused(engine=engine, **options) == named
    assert body_of(HELLO, engine=engine)["messages"]


def test_what_asks_for_nothing_is_no_reason_to_refuse() -> None:
    body = body_of(
        HELLO, presence_penalty=0.0, frequency_penalty=0, logprobs=False, tool_choice="auto", parallel_tools=True
    )
    assert body == {"model": MODEL, "max_tokens": 64000, "messages": [{"role": "user", "content": "Hello"}]}


def test_samplers_are_sent_where_they_are_taken() -> None:
    assert body_of(HELLO, model="claude-opus-4-8", temperature=1, service_tier="auto")["temperature"] == 1
    older = body_of(HELLO, model="claude-3-5-haiku-20241022", temperature=0.0, top_p=0.0, top_k=0)
    assert (older["temperature"], older["top_p"], older["top_k"]) == (0.0, 0.0, 0)
    any_ = body_of(HELLO, model="some-imitation", temperature=1.5, top_p=0.5, reasoning=True)
    assert (any_["temperature"], any_["top_p"]) == (1.5, 0.5)


@pytest.mark.parametrize(
    ("asked", "parallel", "sent"),
    [
        ("auto", None, {"type": "auto"}),
        ("none", False, {"type": "none"}),
        ("required", None, {"type": "any"}),
        ("tool:f", False, {"type": "tool", "name": "f", "disable_parallel_tool_use": True}),
        (None, True, {"type": "auto", "disable_parallel_tool_use": False}),
        (None, None, None),
    ],
)
def test_the_choice_of_tools(asked: str | None, parallel: bool | None, sent: dict[str, Any] | None) -> None:
    assert body_of(HELLO, tools=(TOOL,), tool_choice=asked, parallel_tools=parallel).get("tool_choice") == sent


def test_t7_a_schema_is_enforced_beside_the_effort() -> None:
    schema: dict[str, Json] = {"type": "object", "properties": {}, "additionalProperties": False}
    body = body_of(HELLO, model="claude-opus-4-8", effort="high", format=JsonFormat(schema, "person", True))
    assert body["output_config"] == {"effort": "high", "format": {"type": "json_schema", "schema": schema}}


def test_hints_are_kept_back_from_an_imitation_that_refuses_unknown_fields() -> None:
    keep = (Opaque("anthropic", None, {"metadata": {"user_id": "u"}, "x_new": 1}),)
    request = ChatRequest(model="m", messages=(HELLO,), keep=keep, hints=frozenset({"metadata"}))
    outgoing = DIALECT.write_request(request, replace(ENGINE, quirks=Quirks(unknown_fields=False)))
    assert "metadata" not in (outgoing.body or {}) and (outgoing.body or {})["x_new"] == 1
    assert outgoing.dropped == ("metadata",)


def test_a_verbatim_body_changes_its_model_only() -> None:
    body = {"model": "anthropic/m", "max_tokens": 1, "messages": [], "x_new": None}
    outgoing = anthropic.verbatim(body, "m", ENGINE)
    assert outgoing.path == "/v1/messages" and outgoing.body == {**body, "model": "m"}
    assert not anthropic.only_usage(Frame("{}"))


# --- streams ---


def sample(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


def test_a_stream_with_thoughts_and_calls() -> None:
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


def test_e8_cached_input_and_thoughts_have_counters_of_their_own() -> None:
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


def test_usage_is_told_at_the_start_and_at_the_end() -> None:
    told = [event.usage for event in read(sample("thinking-and-calls.sse")) if isinstance(event, UsageReported)]
    assert [(usage.fresh, usage.text, usage.reasoning) for usage in told] == [(20, 1, 0), (20, 50, 40)]


def test_hosted_tools_are_the_provider_s_and_unknown_blocks_are_kept_whole() -> None:
    reply = collect(read(sample("hosted-tools.sse")))
    compaction, search, found, ask, answered, text = reply.message.parts
    assert compaction == Foreign(mine(type="compaction", content="So far: nothing.", encrypted_content="ENC"))
    caller: dict[str, Json] = {"type": "code_execution_20260120", "tool_id": "srvtoolu_0"}
    assert search == ToolCall(
        "srvtoolu_1",
        "web_search",
        '{"query": "capital of Peru"}',
        "provider",
        mine(type="server_tool_use", caller=caller),
    )
    assert isinstance(found, Foreign) and found.keep[0].data["type"] == "web_search_tool_result"
    assert ask == ToolCall("mcptoolu_1", "ask", "{}", "provider", mine(type="mcp_tool_use", server_name="wiki"))
    assert isinstance(answered, Foreign)
    assert isinstance(text, Text) and text.text == "Lima."
    [citation] = text.citations
    assert replace(citation, keep=()) == Citation("https://example.org/lima", "Lima", "Lima is the capital")
    assert citation.keep[0].data["encrypted_index"] == "Eo8B"
    assert reply.finish.reason == "paused"
    assert reply.finish.keep[0].data == {
        "container": {"id": "container_1"},
        "context_management": {"applied_edits": []},
        "usage": {"server_tool_use": {"web_search_requests": 1}},
    }


def test_t1_an_answer_goes_back_to_its_issuer_byte_for_byte_and_in_order() -> None:
    for path in STREAMS:
        raw = path.read_bytes()
        blocks: dict[int, dict[str, Any]] = {}
        for line in raw.decode().splitlines():
            event = json.loads(line[6:]) if line.startswith("data: ") else {}
            if event.get("type") == "content_block_start":
                blocks[event["index"]] = event["content_block"]
            if event.get("type") == "content_block_delta":
                _apply(blocks[event["index"]], event["delta"])
        message = collect(read(raw)).message
        [_, sent, _] = body_of(HELLO, message, user(Text("Go on.")))["messages"]
        expected = [_finished(wire) for wire in blocks.values()]
        assert sent == {"role": "assistant", "content": expected}


def _apply(wire: dict[str, Any], delta: dict[str, Any]) -> None:
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


def _finished(wire: dict[str, Any]) -> dict[str, Any]:
    if text := wire.pop("json", ""):
        wire["input"] = json.loads(text)
    if wire.get("caller") == {"type": "direct"}:
        del wire["caller"]
    return wire


def test_t1_another_engine_s_signatures_and_blocks_stay_behind() -> None:
    message = collect(read(sample("hosted-tools.sse"), engine=replace(ENGINE, name="other", issuer="other"))).message
    sent = body_of(HELLO, message)["messages"][1]["content"]
    assert sent == "Lima."


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
@pytest.mark.parametrize("size", [1, 2, 7, 50, 1000])
def test_s9_a_stream_may_be_cut_anywhere(path: Path, size: int) -> None:
    raw = path.read_bytes()
    assert read(raw, size) == read(raw)
    assert read(raw.replace(b"\n", b"\r\n"), size) == read(raw)
    assert read(raw.rstrip(b"\n"), size) == read(raw)


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_a_reply_is_the_fold_of_its_shortest_stream(path: Path) -> None:
    reply = collect(read(path.read_bytes()))
    assert collect(replay(reply)) == reply


def test_s1_a_stream_without_its_end_raises() -> None:
    raw = sample("thinking-and-calls.sse")
    for end in (b"event: message_stop", b"event: message_delta", b"event: ping"):
        with pytest.raises(Truncated):
            read(raw[: raw.index(end)])
    with pytest.raises(Truncated):
        read(b"")
    with pytest.raises(Truncated):
        read(stream() + b"data: [DONE]\n\n")


def test_s2_an_error_in_the_stream_keeps_its_words() -> None:
    overloaded = sse({"type": "error", "error": {"details": None, "type": "overloaded_error", "message": "Overloaded"}})
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


def test_s4_what_comes_whole_at_the_start_of_a_block_is_told_once() -> None:
    raw = stream(
        *block(0, {"type": "thinking", "thinking": "Hm.", "signature": "sig"}),
        *block(1, {"type": "text", "text": "Whole"}, {"type": "text_delta", "text": " and more"}),
        *block(2, {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}),
        *block(
            3,
            {"type": "tool_use", "id": "b", "name": "f", "input": {"x": 1}},
            {"type": "input_json_delta", "partial_json": '{"x": 2}'},
        ),
        *ended("tool_use"),
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
def test_s6_the_reason_says_calls_exactly_when_the_client_has_one(reason: str | None, content: str) -> None:
    expected = S6[reason][content == "call"]
    blocks = [event for n, start in enumerate(CONTENTS[content]) for event in block(n, start)]
    finish = collect(read(stream(*blocks, *ended(reason)))).finish
    assert (finish.reason, finish.raw) == (expected, reason)
    whole = {"content": CONTENTS[content], "stop_reason": reason}
    assert DIALECT.read_reply(whole, ENGINE).finish == finish


def test_a_stop_sequence_is_kept() -> None:
    finish = collect(read(stream(*ended("stop_sequence", stop_sequence="END")))).finish
    assert finish == Finished("stop", "stop_sequence", mine(stop_sequence="END"))


def test_s5_calls_without_ids_get_distinct_ones() -> None:
    starts: list[dict[str, Any]] = [{"type": "tool_use", "id": id, "name": "f", "input": {}} for id in (None, "")]
    blocks = [event for n, start in enumerate(starts) for event in block(n, start)]
    for reply in (
        collect(read(stream(*blocks, *ended("tool_use")))),
        DIALECT.read_reply({"content": starts, "stop_reason": "tool_use"}, ENGINE),
    ):
        first, second = reply.calls
        assert first.id and second.id and first.id != second.id


def test_s8_odd_events_are_skipped() -> None:
    odd: list[Any] = [
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
    raw = stream(start, *odd, first, *odd, second, stop, *odd, *ended()) + b"data: null\n\ndata: [1]\n\n"
    events = read(raw)
    assert [event for event in events if isinstance(event, TextDelta)] == [TextDelta(0, "A"), TextDelta(0, "B")]
    assert len(events) == 7  # Started, usage, two deltas, their end, usage again, Finished
    assert collect(events).id == "msg_1"


def test_s8_an_event_that_is_no_json_and_an_answer_without_beginning_are_malformed() -> None:
    for raw in (stream() + b"data: {nonsense\n\n", sse({"type": "message_stop"}), sse(block(0, {"type": "text"})[0])):
        with pytest.raises(Malformed):
            read(raw)


def test_s7_a_thought_inside_a_text_block_is_a_part_of_its_own() -> None:
    raw = stream(
        *block(
            0,
            {"type": "text", "text": ""},
            {"type": "text_delta", "text": "A"},
            {"type": "thinking_delta", "thinking": "hm"},
            {"type": "text_delta", "text": "B"},
        ),
        *ended(),
    )
    assert collect(read(raw)).message.parts == (Text("A"), Reasoning("hm"), Text("B"))


def test_a_thought_that_is_withheld_is_a_part_with_a_signature() -> None:
    raw = stream(*block(0, {"type": "thinking", "thinking": "", "signature": ""}, _signature("sig")), *ended())
    events = [event for event in read(raw) if isinstance(event, ReasoningDelta | PartEnded)]
    assert events == [ReasoningDelta(0, ""), PartEnded(0, mine(signature="sig"))]


def _signature(text: str) -> dict[str, str]:
    return {"type": "signature_delta", "signature": text}


def test_empty_blocks_leave_no_part() -> None:
    raw = stream(*block(0, {"type": "text", "text": ""}), *block(1, {"type": "thinking", "thinking": ""}), *ended())
    assert collect(read(raw)).message.parts == ()
    empty = [{"type": "text", "text": ""}, {"type": "thinking", "thinking": "", "signature": ""}, None]
    assert DIALECT.read_reply({"content": empty}, ENGINE).message.parts == ()


def test_blocks_that_overlap_keep_their_pieces_apart() -> None:
    first = block(0, {"type": "tool_use", "id": "a", "name": "f", "input": {}}, *_pieces('{"x":', "1}"))
    second = block(1, {"type": "tool_use", "id": "b", "name": "g", "input": {}}, *_pieces('{"y":', "2}"))
    mixed = [event for pair in zip(first, second, strict=True) for event in pair]
    events = read(stream(*mixed, *ended("tool_use")))
    assert [type(event) for event in events][2:8] == [ToolCallStarted] * 2 + [ToolCallDelta] * 4
    assert collect(events).calls == (ToolCall("a", "f", '{"x":1}'), ToolCall("b", "g", '{"y":2}'))


def _pieces(*texts: str) -> list[dict[str, str]]:
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


def test_a_whole_answer_is_read_as_its_stream_would_be() -> None:
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
def test_an_answer_that_is_no_message_is_malformed(body: Any) -> None:
    with pytest.raises(Malformed):
        DIALECT.read_reply(body, ENGINE)


def test_an_error_with_status_200_is_an_error() -> None:
    with pytest.raises(Overloaded):
        DIALECT.read_reply({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, ENGINE)


def test_usage_that_is_not_told_is_not_made_up() -> None:
    assert DIALECT.read_reply({"content": []}, ENGINE).usage == Usage()
    raw = sse({"type": "message_start", "message": {}}) + sse({"type": "message_stop"})
    assert not any(isinstance(event, UsageReported) for event in read(raw))


# --- errors ---


def error(kind: str, message: str, **more: Any) -> bytes:
    return dump_bytes({"type": "error", "error": {"type": kind, "message": message, **more}, "request_id": "req_1"})


@pytest.mark.parametrize(
    ("status", "body", "cls"),
    [
        (400, error("invalid_request_error", "messages.0: bad"), InvalidRequest),
        (400, error("invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum"), ContextTooLong),
        (
            400,
            error("invalid_request_error", "input length and `max_tokens` exceed context limit: 188240 + 21333"),
            ContextTooLong,
        ),
        (400, error("invalid_request_error", "Your credit balance is too low to access the API."), QuotaExceeded),
        (400, error("invalid_request_error", "Output blocked by content filtering policy"), ContentBlocked),
        (401, error("authentication_error", "invalid x-api-key"), EngineRefusedKey),
        (402, error("billing_error", "No."), QuotaExceeded),
        (413, b'{"error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}', TooLarge),
        (429, error("rate_limit_error", "Slow down."), RateLimited),
        (429, error("rate_limit_error", "No.", details={"error_code": "enforced_spend_limit_reached"}), QuotaExceeded),
        (429, error("rate_limit_error", "No.", details={"error_code": "contract_spend_limit_reached"}), QuotaExceeded),
        (429, error("rate_limit_error", "No.", details={"error_code": "ramp_limit_exceeded"}), RateLimited),
        (500, error("api_error", "Internal server error"), EngineFailed),
        (504, error("timeout_error", "Timed out"), EngineFailed),
        (529, error("overloaded_error", "Overloaded"), Overloaded),
        (503, b"upstream connect error or disconnect/reset before headers", Overloaded),
        (502, b"<html><body>Bad gateway</body></html>", EngineFailed),
        (500, b"", EngineFailed),
        (500, b'{"error":"just text"}', EngineFailed),
        (500, b"[1]", EngineFailed),
    ],
)
def test_e2_an_error_is_told_by_its_status_and_keeps_its_words(status: int, body: bytes, cls: type[LLMError]) -> None:
    failure = DIALECT.read_error(status, body, ENGINE)
    assert type(failure) is cls
    assert failure.engine == "anthropic" and failure.message and "<" not in failure.message
    assert failure.provider is not None and failure.provider.status == status
    if body.startswith(b'{"type"'):
        said = json.loads(body)["error"]
        assert (failure.provider.type, failure.provider.message, failure.message) == (
            said["type"],
            said["message"],
            said["message"],
        )
        assert failure.provider.code == said.get("details", {}).get("error_code")


# --- the list of models ---


def listed(*pages: Any, engine: Engine = ENGINE) -> tuple[list[Any], list[str]]:
    lister = DIALECT.list_models(engine)
    asked = [next(lister)]
    for page in pages:
        try:
            asked.append(lister.send([page]))
        except StopIteration as stop:
            return stop.value, [outgoing.path for (outgoing,) in asked]
    raise AssertionError("more was asked for")


def test_the_list_of_models_is_asked_for_page_by_page() -> None:
    first = {"data": [{"type": "model", "id": "claude-a"}], "has_more": True, "last_id": "claude-a/b"}
    models, paths = listed(first, {"data": [{"type": "model", "id": "claude-c"}], "has_more": False})
    assert [model.id for model in models] == ["claude-a", "claude-c"]
    assert paths == ["/v1/models?limit=1000", "/v1/models?limit=1000&after_id=claude-a%2Fb"]


def test_o10_a_model_s_own_record_comes_before_any_guess() -> None:
    wire = {
        "type": "model",
        "id": "claude-opus-4-6",
        "display_name": "Claude Opus 4.6",
        "created_at": "2026-02-01T00:00:00Z",
        "max_input_tokens": 1000000,
        "max_tokens": 128000,
        "capabilities": {
            "image_input": {"supported": False},
            "pdf_input": {"supported": True},
            "thinking": {"supported": True, "types": {}},
            "structured_outputs": {"supported": True},
            "citations": None,
        },
    }
    [[model], _] = listed({"data": [wire, {"id": "claude-1", "lifecycle": "retired"}, {"id": ""}, None]})
    assert (model.id, model.name, model.kind, model.engine) == (
        "claude-opus-4-6",
        "Claude Opus 4.6",
        "chat",
        "anthropic",
    )
    assert (model.created, model.context_tokens, model.max_output_tokens) == (1769904000, 1000000, 128000)
    assert {"documents", "reasoning", "json_schema"} <= model.can and "images" not in model.can
    assert not {"documents", "reasoning", "json_schema", "images"} & model.guessed
    assert model.meta == wire
    [[bare], _] = listed({"data": [{"id": "claude-sonnet-4-5", "created_at": "soon"}]})
    assert (bare.name, bare.created, bare.context_tokens) == ("claude-sonnet-4-5", None, None)
    assert {"tools", "images", "reasoning", "caching"} == bare.can == bare.guessed


def test_an_engine_with_a_list_of_its_own_is_not_asked() -> None:
    lister = DIALECT.list_models(replace(ENGINE, models=ModelRules(fixed=("a", "b"))))
    with pytest.raises(StopIteration) as stopped:
        next(lister)
    assert [model.id for model in stopped.value.value] == ["a", "b"]


@pytest.mark.parametrize("page", [None, [], {}, {"data": None}, {"data": "x"}])
def test_a_list_in_an_unknown_form_is_malformed(page: Any) -> None:
    with pytest.raises(Malformed):
        listed(page)


# --- anything at all ---

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


@st.composite
def spoiled(draw: st.DrawFn, value: Any) -> Any:
    """``value`` with something else at one place in it."""
    value = copy.deepcopy(value)
    at = value
    while isinstance(at, dict | list) and at:
        key: Any = draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        inner = at[key]
        if not (isinstance(inner, dict | list) and inner) or draw(st.integers(0, 3)) == 0:
            at[key] = draw(anything)
            break
        at = inner
    return value


def events_of(path: Path) -> list[Any]:
    return [json.loads(line[6:]) for line in path.read_text().splitlines() if line.startswith("data: ")]


@given(st.sampled_from(STREAMS).flatmap(lambda path: spoiled(events_of(path))))
def test_s8_a_spoiled_stream_raises_nothing_but_our_errors(events: Any) -> None:
    reader, grammar = DIALECT.reader(ENGINE), Grammar()
    try:
        for event in events:
            grammar.feed(reader.feed(Frame(dump_bytes(event).decode())))
        if not reader.done:
            reader.close()
    except LLMError:
        pass


@given(anything | spoiled(WHOLE))
def test_s8_a_spoiled_answer_raises_nothing_but_our_errors(body: Any) -> None:
    try:
        reply = DIALECT.read_reply(body, ENGINE)
    except LLMError:
        return
    grammar = Grammar()
    grammar.feed(replay(reply))
    grammar.close()


@given(st.integers(400, 599), st.binary(max_size=30) | anything.map(lambda v: json.dumps({"error": v}).encode()))
def test_s8_any_error_becomes_one_of_ours(status: int, body: bytes) -> None:
    assert isinstance(DIALECT.read_error(status, body, ENGINE), LLMError)


@given(anything | spoiled({"data": [{"id": "m", "created_at": "2026-01-01", "capabilities": {"thinking": {}}}]}))
def test_s8_any_list_is_read_or_malformed(page: Any) -> None:
    try:
        lister = DIALECT.list_models(replace(ENGINE, models=ModelRules()))
        next(lister)
        lister.send([page])
    except (StopIteration, Malformed):
        pass
