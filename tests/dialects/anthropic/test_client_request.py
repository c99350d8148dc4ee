"""Reads requests of Anthropic clients."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.chat.messages import Media, Reasoning, Text, ToolCall, ToolResult, UnknownPart
from llm.chat.provider_metadata import ProviderMetadata
from llm.chat.request import JsonFormat, ToolSpec
from llm.dialects import anthropic
from llm.dialects.losses import lost_fields
from llm.errors import InvalidRequest, LLMError, Unsupported
from tests.support.anthropic_client import AGENT, CLIENT, ENGINE, with_extras

# --- requests ---


def test_an_agent_request_is_read_part_by_part() -> None:
    request = CLIENT.read_request(AGENT)
    assert (request.model, request.stream) == ("claude-sonnet-4-5", True)
    assert request.droppable_fields == {"metadata", "context_management"}
    options = request.options
    assert (options.max_tokens, options.reasoning, options.reasoning_tokens) == (32000, True, 31999)
    assert (options.tool_choice, options.parallel_tools, options.stop) == ("auto", True, ("END",))
    read, search, note = request.tools
    assert (read.name, read.executor, read.strict) == ("read", "client", None)
    assert (search.name, search.executor, search.metadata[0].data) == ("web_search", "provider", AGENT["tools"][1])
    assert note.strict is True and note.metadata[0].data == {"cache_control": {"type": "ephemeral"}}
    system, user, assistant, results, later = request.messages
    assert [part.text for part in system.parts if isinstance(part, Text)] == ["You are an agent.", "Rules."]
    assert [type(part) for part in user.parts] == [Text, Media, Media, Media, Text, Media, UnknownPart, UnknownPart]
    image, linked, pdf, notes, uploaded = (user.parts[n] for n in range(1, 6))
    assert image == Media(mime="image/png", base64="iVBORw0KGgo=")
    assert linked == Media(mime="image/*", url="https://example.org/a.jpg")
    assert pdf == Media(mime="application/pdf", base64="JVBERi0=", name="Paper")
    assert isinstance(notes, Text) and notes.text == "plain notes"
    assert (
        isinstance(uploaded, Media) and uploaded.file_id == "file_011" and uploaded.metadata[0].dialect == "anthropic"
    )
    reasoning, redacted, _, searched, found, call, _ = assistant.parts
    assert reasoning == Reasoning("I read.", (ProviderMetadata("anthropic", None, {"signature": "EqQB+/x="}),))
    assert isinstance(redacted, Reasoning) and redacted.metadata[0].data["data"] == "EmwKAhgB"
    assert isinstance(searched, ToolCall) and searched.executor == "provider"
    assert isinstance(found, UnknownPart)
    assert isinstance(call, ToolCall) and json.loads(call.arguments) == {"path": "/a", "lines": [1, 2.5, None]}
    first, second, _ = results.parts
    assert isinstance(first, ToolResult) and [type(p) for p in first.content] == [Text, Media, UnknownPart]
    assert isinstance(second, ToolResult) and second.is_error and second.content == (Text("No such file"),)
    assert later.role == "system"


def test_an_agent_request_survives_reading_and_writing() -> None:
    assert anthropic.write_request(CLIENT.read_request(AGENT), ENGINE).body == AGENT


def test_fields_that_options_carry_are_not_reported_as_dropped() -> None:
    wire = {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": [AGENT["messages"][0]["content"][4]]}, AGENT["messages"][3]],
        "thinking": {"type": "adaptive", "display": "omitted"},
        "output_config": {"effort": "xhigh", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "metadata": {"user_id": "u1"},
    }
    request = CLIENT.read_request(wire)
    assert (request.options.reasoning, request.options.effort) == (True, "xhigh")
    assert request.options.format == JsonFormat({"type": "object"}, strict=True)
    assert set(lost_fields(request, "openai-chat")) == {"metadata", "title", "context", "citations", "display"}
    body = anthropic.write_request(request, ENGINE).body or {}
    assert (body["thinking"], body["output_config"]) == (wire["thinking"], wire["output_config"])
    assert [message["role"] for message in body["messages"]] == ["user", "system"]  # type: ignore[index, union-attr, call-overload]


@pytest.mark.parametrize(
    ("thinking", "reasoning", "budget"),
    [
        ({"type": "enabled", "budget_tokens": 2048}, True, 2048),
        ({"type": "adaptive"}, True, None),
        ({"type": "disabled"}, False, None),
        ({"type": "between_tools"}, False, None),
        (None, None, None),
    ],
)
def test_thinking_forms_are_read(thinking: Any, reasoning: bool | None, budget: int | None) -> None:
    options = CLIENT.read_request({"model": "m", "messages": [], "thinking": thinking}).options
    assert (options.reasoning, options.reasoning_tokens) == (reasoning, budget)


def test_t8_another_wire_refuses_unknown_fields_unless_droppable() -> None:
    body = {"model": "m", "messages": [], "mcp_servers": [{}], "metadata": {}}
    request = CLIENT.read_request(body)
    with pytest.raises(Unsupported) as caught:
        lost_fields(request, "openai-chat")
    assert caught.value.param == "mcp_servers"
    thinking = CLIENT.read_request({"model": "m", "messages": [], "thinking": {"type": "dreaming"}})
    with pytest.raises(Unsupported):
        lost_fields(thinking, "openai-chat")


def test_the_beta_output_format_is_read() -> None:
    output_format = {"type": "json_schema", "schema": {"type": "object"}}
    request = CLIENT.read_request({"model": "m", "messages": [], "output_format": output_format})
    assert request.options.format == JsonFormat({"type": "object"}, strict=True)
    body = anthropic.write_request(request, ENGINE).body or {}
    assert body["output_format"] == output_format and "output_config" not in body


def test_unsigned_reasoning_is_not_sent_to_an_engine_that_signs() -> None:
    content = [{"type": "thinking", "thinking": "Mine.", "signature": ""}, {"type": "text", "text": "Yes."}]
    request = CLIENT.read_request({"model": "m", "messages": [{"role": "assistant", "content": content}]})
    assert request.messages[0].parts[0] == Reasoning("Mine.")
    assert (anthropic.write_request(request, ENGINE).body or {})["messages"] == [
        {"role": "assistant", "content": "Yes."}
    ]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"model": 7}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": ["x"]}, "messages[0]"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [7]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages[0].content[0].source"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "base64"}}]}]},
            "messages[0].content[0].source.media_type",
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": 1}]}
                ]
            },
            "messages[0].content[0].input",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "tool_result", "tool_use_id": "a", "content": [AGENT["messages"][1]["content"][5]]}
                        ],
                    }
                ]
            },
            "messages[0].content[0].content[0].type",
        ),
        ({"system": 7}, "system"),
        ({"system": [{"type": "tool_use", "id": "a", "name": "f"}]}, "system[0].type"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"stream": "yes"}, "stream"),
        ({"stop_sequences": [1]}, "stop_sequences"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tools": [{"name": "f", "input_schema": 7}]}, "tools[0].input_schema"),
        ({"tools": ["f"]}, "tools[0]"),
        ({"tool_choice": {"type": "maybe"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"thinking": {"type": "enabled", "budget_tokens": "all"}}, "thinking.budget_tokens"),
        ({"output_config": {"effort": "heroic"}}, "output_config.effort"),
    ],
)
def test_an_invalid_request_is_refused_with_the_path(change: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        CLIENT.read_request({"model": "m", "max_tokens": 1, "messages": [], **change})
    assert caught.value.param == path
    assert caught.value.message.startswith(f"{path}: ")


@given(st.data())
def test_t12_unknown_fields_of_a_request_survive(data: st.DataObject) -> None:
    body = data.draw(st.composite(with_extras)(AGENT))
    assert anthropic.write_request(CLIENT.read_request(body), ENGINE).body == body


# --- generated requests ---

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


@st.composite
def corrupted(draw: st.DrawFn, value: Any) -> Any:
    """Replaces the value at one path inside ``value``."""
    value = copy.deepcopy(value)
    at = value
    while isinstance(at, dict | list) and at:
        key: Any = draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        inner = at[key]
        if not (isinstance(inner, dict | list) and inner) or draw(st.integers(0, 4)) == 0:
            at[key] = draw(anything)
            break
        at = inner
    return value


ALL_SETTINGS = {**AGENT, "output_config": {"effort": "low", "format": {"schema": {}}}, "output_format": {"schema": {}}}


@given(st.dictionaries(st.sampled_from(sorted(ALL_SETTINGS)), anything) | corrupted(ALL_SETTINGS))
def test_any_request_is_read_or_refused(body: dict[str, Any]) -> None:
    try:
        request = CLIENT.read_request(body)
        anthropic.write_request(request, ENGINE)
        lost_fields(request, "openai-chat")
    except LLMError:
        pass


def test_a_tool_without_schema_gets_an_empty_schema() -> None:
    tools = [{"type": "custom", "name": "f"}]
    request = CLIENT.read_request({"model": "m", "messages": [], "tools": tools})
    assert request.tools == (ToolSpec("f"),)
    body = anthropic.write_request(request, ENGINE).body or {}
    assert body["tools"] == [{"name": "f", "input_schema": {"type": "object"}}]
