"""Writes requests for engines of the Anthropic dialect."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llm.chat.messages import Media, Message, Part, Reasoning, Text, ToolCall, ToolResult, UnknownPart
from llm.chat.provider_metadata import ProviderMetadata
from llm.chat.request import ChatRequest, JsonFormat, Options, ToolSpec
from llm.dialects import anthropic
from llm.engines.engine import Quirks
from llm.errors import Unsupported
from llm.wire.frames import Frame
from llm.wire.json_codec import Json, dump_bytes
from tests.support.anthropic_engine import DIALECT, ENGINE, HELLO, MODEL, assistant, mine, user, write_body

TOOL = ToolSpec("f", "Does f.", {"type": "object", "properties": {}})


def refused_option(**given: Any) -> str | None:
    """Returns the option that the refusal names."""
    with pytest.raises(Unsupported) as caught:
        write_body(HELLO, **given)
    assert caught.value.engine == "anthropic"
    return caught.value.param


# --- requests ---


def test_a_plain_request_is_written() -> None:
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


def test_a_conversation_with_calls_is_written() -> None:
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
    assert write_body(*messages, tools=tools, tool_choice="auto", parallel_tools=False, stop=("END",)) == {
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


def test_tool_results_come_first_in_a_user_message() -> None:
    body = write_body(
        HELLO,
        assistant(ToolCall("a", "f"), ToolResult("a", (Text("1"),)), Text("So it is 1.")),
        user(Text("And now?"), ToolResult("b", (Text("2"),))),
    )
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user", "assistant", "user"]
    assert [part["type"] for part in body["messages"][4]["content"]] == ["tool_result", "text"]


def test_blank_text_is_left_out() -> None:
    body = write_body(
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


def test_all_system_messages_are_written_as_system() -> None:
    body = write_body(Message("system", (Text("One."),)), HELLO, Message("system", (Text("Two."),)))
    assert body["system"] == [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]
    assert len(body["messages"]) == 1


def test_invalid_ids_are_replaced_equally_in_call_and_result() -> None:
    ids = ["call|1", "call:1", "", "Aufruf ü", "fine-1_A"]
    body = write_body(
        HELLO,
        assistant(*(ToolCall(id, "f") for id in ids)),
        user(*(ToolResult(id, (Text(id or "none"),)) for id in ids)),
    )
    made = [part["id"] for part in body["messages"][1]["content"]]
    assert made == [part["tool_use_id"] for part in body["messages"][2]["content"]]
    assert len(set(made)) == len(ids) and made[-1] == "fine-1_A"
    assert all(id and id.replace("-", "").replace("_", "").isalnum() and id.isascii() for id in made)


@pytest.mark.parametrize("text", ['{"a": 1', "[1]", '"x"', "nonsense", '{"a": 1e999}'])
def test_arguments_that_are_not_an_object_are_wrapped(text: str) -> None:
    body = write_body(HELLO, assistant(ToolCall("a", "f", text)))
    assert body["messages"][1]["content"][0]["input"] == {"INVALID_JSON": text}
    dump_bytes(body)


def test_media_are_written_as_data_url_and_file_id() -> None:
    notes = Media(mime="text/markdown", base64="IyBIaQ==", name="notes.md")
    body = write_body(
        user(
            Media(mime="image/jpg", base64="/9j/"),
            Media(mime="image/*", url="https://example.org/a.webp"),
            Media(mime="image/png", file_id="file_1", metadata=mine()),
            Media(mime="application/pdf", base64="JVBE", name="Paper"),
            Media(mime="application/pdf", url="https://example.org/a.pdf", metadata=mine(context="of 2026")),
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
        Media(mime="image/png", file_id="file-of-openai", metadata=(ProviderMetadata("openai-chat", None, {}),)),
        UnknownPart((ProviderMetadata("openai-chat", None, {"type": "input_audio"}),)),
    ],
)
def test_unsupported_user_parts_are_refused(part: Part) -> None:
    with pytest.raises(Unsupported):
        write_body(user(part))


def test_unsupported_assistant_parts_are_dropped_and_reported() -> None:
    other = (ProviderMetadata("openai-responses", "openai", {"type": "web_search_call"}),)
    parts = (
        Reasoning("Unsigned."),
        Reasoning("Another's.", (ProviderMetadata("anthropic", "imitation", {"signature": "x"}),)),
        Reasoning("", (ProviderMetadata("gemini", "google", {"thoughtSignature": "x"}),)),
        ToolCall("ws_1", "web_search", executor="provider", metadata=other),
        UnknownPart(other),
        Media(mime="image/png", base64="iVBO"),
        Text("Here."),
    )
    outgoing = DIALECT.write_request(ChatRequest(model=MODEL, messages=(HELLO, assistant(*parts))), ENGINE)
    assert (outgoing.body or {})["messages"] == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Here."},
    ]
    assert outgoing.dropped == ("web_search_call", "reasoning", "image")


def test_t4_cache_control_of_system_text_and_tool_is_preserved() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    system = Message("system", (Text("One."), Text("Two.")))
    long = ToolSpec(
        "g", metadata=(ProviderMetadata("anthropic", None, {"cache_control": {"type": "ephemeral", "ttl": "1h"}}),)
    )
    body = write_body(system, HELLO, tools=(TOOL, TOOL), caching=True)
    assert body["system"] == [{"type": "text", "text": "One."}, {"type": "text", "text": "Two.", **mark}]
    assert ["cache_control" in tool for tool in body["tools"]] == [False, True]
    assert write_body(HELLO, tools=(long,), caching=True)["tools"][0]["cache_control"]["ttl"] == "1h"
    assert write_body(Message("system", (Text("One."),)), HELLO)["system"] == "One."


def test_t4_equal_requests_are_equal_bytes() -> None:
    def write() -> bytes:
        messages = (HELLO, assistant(ToolCall("call|1", "f", '{"b": 1, "a": 2}')), user(ToolResult("call|1")))
        return dump_bytes(write_body(*messages, tools=(TOOL,), caching=True))

    assert write() == write()
    assert b'"input":{"b":1,"a":2}' in write()


def test_extra_options_are_written_last() -> None:
    assert write_body(HELLO, extra={"max_tokens": 5, "x_new": [1]}, max_tokens=9)["max_tokens"] == 5


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
def test_max_tokens_is_always_written(model: str, limit: int) -> None:
    assert write_body(HELLO, model=model)["max_tokens"] == limit
    assert write_body(HELLO, model=model, max_tokens=7)["max_tokens"] == 7


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
        ("claude-sonnet-5", {"reasoning": False}, {"type": "disabled"}, None),
        ("claude-sonnet-5-5", {"reasoning": False, "effort": "high"}, {"type": "between_tools"}, "high"),
        ("claude-of-tomorrow", {"effort": "high"}, ADAPTIVE, "high"),
        ("some-imitation", {"effort": "high"}, ADAPTIVE, "high"),
        ("some-imitation", {"reasoning_tokens": 2000}, {"type": "enabled", "budget_tokens": 2000}, None),
    ],
)
def test_thinking_is_written_in_the_form_the_model_accepts(
    model: str, options: dict[str, Any], thinking: dict[str, Any] | None, effort: str | None
) -> None:
    body = write_body(HELLO, model=model, **options)
    assert body.get("thinking") == thinking
    assert body.get("output_config") == (None if effort is None else {"effort": effort})


@pytest.mark.parametrize(
    ("model", "options", "named"),
    [
        ("claude-3-5-haiku-20241022", {"reasoning": True}, "reasoning"),
        ("claude-3-5-haiku-20241022", {"effort": "high"}, "effort"),
        ("claude-opus-5-5", {"reasoning": False}, "reasoning"),
        ("claude-fable-5", {"effort": "none"}, "effort"),
        ("claude-opus-4-7", {"reasoning_tokens": 4000}, "reasoning_tokens"),
        (MODEL, {"reasoning_tokens": 500}, "reasoning_tokens"),
        (MODEL, {"reasoning_tokens": 4000, "max_tokens": 4000}, "reasoning_tokens"),
        (MODEL, {"reasoning": True, "temperature": 0.0}, "temperature"),
        (MODEL, {"reasoning": True, "top_k": 5}, "top_k"),
        (MODEL, {"reasoning": True, "top_p": 0.5}, "top_p"),
        (MODEL, {"temperature": 0.5, "top_p": 0.5}, "top_p"),
        (MODEL, {"tool_choice": "required"}, "tool_choice"),
        ("claude-opus-4-8", {"temperature": 0.0}, "temperature"),
        ("claude-opus-4-8", {"top_p": 0.9}, "top_p"),
        ("claude-opus-4-8", {"top_k": 0}, "top_k"),
        ("claude-sonnet-4-0", {"format": JsonFormat({"type": "object"})}, "format"),
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
def test_t8_unsupported_options_are_refused_by_name(model: str, options: dict[str, Any], named: str) -> None:
    assert refused_option(model=model, **options) == named


def test_the_engine_record_refuses_options() -> None:
    engine = replace(
        ENGINE,
        quirks=Quirks(unsupported_options=frozenset({"top_k", "stop"}), json_schema=False),
    )
    for named, options in (
        ("top_k", {"top_k": 5}),
        ("stop", {"stop": ("x",)}),
        ("format", {"format": JsonFormat({})}),
    ):
        assert refused_option(engine=engine, **options) == named
    assert write_body(HELLO, engine=engine)["messages"]


def test_options_without_effect_are_accepted() -> None:
    body = write_body(
        HELLO, presence_penalty=0.0, frequency_penalty=0, logprobs=False, tool_choice="auto", parallel_tools=True
    )
    assert body == {"model": MODEL, "max_tokens": 64000, "messages": [{"role": "user", "content": "Hello"}]}


def test_samplers_are_written_where_accepted() -> None:
    fixed = write_body(HELLO, model="claude-opus-4-8", temperature=1, top_p=1, service_tier="auto")
    assert fixed.keys().isdisjoint(("temperature", "top_p")) and fixed["service_tier"] == "auto"
    one = write_body(HELLO, model="claude-sonnet-4-5", temperature=1, top_p=0.5)
    assert one["top_p"] == 0.5 and "temperature" not in one
    older = write_body(HELLO, model="claude-3-5-haiku-20241022", temperature=0.0, top_p=0.0, top_k=0)
    assert (older["temperature"], older["top_p"], older["top_k"]) == (0.0, 0.0, 0)
    any_ = write_body(HELLO, model="some-imitation", temperature=1.5, top_p=0.5, reasoning=True)
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
def test_tool_choice_is_written(asked: str | None, parallel: bool | None, sent: dict[str, Any] | None) -> None:
    assert write_body(HELLO, tools=(TOOL,), tool_choice=asked, parallel_tools=parallel).get("tool_choice") == sent


def test_t7_schema_and_effort_are_written_together() -> None:
    schema: dict[str, Json] = {"type": "object", "properties": {}, "additionalProperties": False}
    body = write_body(HELLO, model="claude-opus-4-8", effort="high", format=JsonFormat(schema, "person", True))
    assert body["output_config"] == {"effort": "high", "format": {"type": "json_schema", "schema": schema}}


def test_droppable_fields_are_dropped_for_hosts_that_refuse_unknown_fields() -> None:
    keep = (ProviderMetadata("anthropic", None, {"metadata": {"user_id": "u"}, "x_new": 1}),)
    request = ChatRequest(model="m", messages=(HELLO,), metadata=keep, droppable_fields=frozenset({"metadata"}))
    outgoing = DIALECT.write_request(request, replace(ENGINE, quirks=Quirks(accepts_unknown_fields=False)))
    assert "metadata" not in (outgoing.body or {}) and (outgoing.body or {})["x_new"] == 1
    assert outgoing.dropped == ("metadata",)


def test_passthrough_changes_the_model_only() -> None:
    body = {"model": "anthropic/m", "max_tokens": 1, "messages": [], "x_new": None}
    outgoing = anthropic.passthrough_request(body, "m", ENGINE)
    assert outgoing.path == "/v1/messages" and outgoing.body == {**body, "model": "m"}
    assert not anthropic.is_only_usage(Frame("{}"))
