"""Reading Chat Completions requests of clients."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm import errors
from llm.chat.messages import Media, Message, Reasoning, Text, ToolCall, ToolResult, UnknownPart
from llm.chat.provider_metadata import ProviderMetadata
from llm.chat.request import ChatRequest, JsonFormat, Options, ToolSpec
from llm.dialects import openai_chat
from llm.engines.engine import Engine, Quirks
from llm.errors import LLMError
from tests.support.chat_client import read

HOST = Engine(
    name="host",
    label="Host",
    dialect="openai-chat",
    base_url="https://host.example/v1",
    quirks=Quirks(echo_reasoning="always"),
)


def write_body(request: ChatRequest, engine: Engine = HOST) -> Any:
    return json.loads(json.dumps(openai_chat.write_request(request, engine).body))


def metadata(**data: Any) -> tuple[ProviderMetadata, ...]:
    return (ProviderMetadata("openai-chat", None, data),)


def test_consecutive_results_are_one_user_message() -> None:
    request = read(
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "name": "f", "content": [{"type": "text", "text": "2"}]},
        {"role": "user", "content": "And?"},
        {"role": "tool", "tool_call_id": "c", "content": None},
    )
    assert request.messages == (
        Message("user", (ToolResult("a", (Text("1"),)), ToolResult("b", (Text("2"),), name="f"))),
        Message("user", (Text("And?"),)),
        Message("user", (ToolResult("c"),)),
    )


def test_system_and_developer_messages_keep_their_role() -> None:
    request = read({"role": "system", "content": "A"}, {"role": "developer", "content": "B"})
    assert [message.role for message in request.messages] == ["system", "system"]
    assert [message["role"] for message in write_body(request)["messages"]] == ["system", "developer"]


def test_legacy_function_calls_match_their_results() -> None:
    made = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    result = {"role": "function", "name": "f", "content": "1"}
    request = read(made, result, made, result, functions=[{"name": "f"}], function_call={"name": "f"})
    calls = [part.id for message in request.messages for part in message.parts if isinstance(part, ToolCall)]
    results = [part.call_id for message in request.messages for part in message.parts if isinstance(part, ToolResult)]
    assert calls == results and len({*calls}) == 2
    assert request.tools == (ToolSpec("f"),)
    assert request.options.tool_choice == "tool:f"
    assert [message["role"] for message in write_body(request)["messages"]] == ["assistant", "tool"] * 2
    assert read(made, result, made, result) == read(made, result, made, result)  # caches depend on the same bytes


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_t3_reasoning_is_read_from_both_fields(field: str) -> None:
    request = read({"role": "assistant", "content": "A", field: "Hm."})
    assert request.messages[0].parts == (Reasoning("Hm."), Text("A"))
    assert write_body(request)["messages"][0] == {"role": "assistant", "content": "A", "reasoning_content": "Hm."}


def test_t1_reasoning_details_are_sent_back_unchanged() -> None:
    details = [{"type": "reasoning.encrypted", "data": "QQ==", "x": [None]}, {"type": "new"}]
    message = {"role": "assistant", "content": "A", "reasoning_details": details}
    assert write_body(read(message))["messages"] == [message]
    odd = {"role": "assistant", "content": "A", "reasoning_details": {"no": "list"}}
    assert write_body(read(odd))["messages"] == [odd]


def test_a_refusal_is_text() -> None:
    request = read({"role": "assistant", "content": None, "refusal": "No."})
    assert request.messages[0].parts == (Text("No."),)


CONTENT: list[tuple[Any, Any]] = [
    ({"type": "text", "text": "A"}, Text("A")),
    ({"type": "text", "text": "A", "x": 1}, Text("A", metadata=metadata(x=1))),
    ({"type": "refusal", "refusal": "No."}, Text("No.")),
    (
        {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
        Media(mime="image/png", url="https://x/y.png", metadata=metadata(image_url={"detail": "low"})),
    ),
    (
        {"type": "image_url", "image_url": {"url": "data:image/webp;base64,AA=="}},
        Media(mime="image/webp", base64="AA=="),
    ),
    ({"type": "image_url", "image_url": "https://x/y.png"}, Media(mime="image/png", url="https://x/y.png")),
    (
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}},
        Media(mime="audio/mpeg", base64="AA=="),
    ),
    (
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA==", "x": 1}},
        Media(mime="application/pdf", base64="AA==", name="a.pdf", metadata=metadata(file={"x": 1})),
    ),
    (
        {"type": "file", "file": {"file_id": "f1"}},
        Media(mime="application/octet-stream", file_id="f1", metadata=metadata()),
    ),
    ({"type": "video_url", "video_url": {"url": "u"}}, UnknownPart(metadata(type="video_url", video_url={"url": "u"}))),
]
# Forms that only some hosts define are kept unchanged.
HOSTS_OWN: list[Any] = [
    {"type": "input_audio", "input_audio": "https://x/y.mp3"},
    {"type": "input_audio", "input_audio": {"data": "AA==", "format": "pcm24"}},
    {"type": "file", "file": {"filename": "a.pdf", "file_data": "https://x/a.pdf"}},
    {"no": "type"},
]


@pytest.mark.parametrize(("wire", "part"), [*CONTENT, *((wire, UnknownPart(metadata(**wire))) for wire in HOSTS_OWN)])
def test_t12_parts_are_written_as_they_were_read(wire: Any, part: Any) -> None:
    request = read({"role": "user", "content": [{"type": "text", "text": "Look"}, wire]})
    assert request.messages[0].parts == (Text("Look"), part)
    [_, again] = write_body(request)["messages"][0]["content"]
    if isinstance(wire.get("image_url"), str):
        wire = {**wire, "image_url": {"url": wire["image_url"]}}
    if wire.get("type") == "refusal":
        wire = {"type": "text", "text": "No."}
    assert again == wire


def test_t12_a_custom_tool_keeps_its_form() -> None:
    tool = {"type": "custom", "custom": {"name": "shell", "format": {"type": "text"}}}
    call = {"id": "c1", "type": "custom", "custom": {"name": "shell", "input": "ls -l"}}
    request = read(
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "a.txt"},
        tools=[tool],
        tool_choice={"type": "custom", "custom": {"name": "shell"}},
    )
    body = write_body(request)
    assert body["tools"] == [tool]
    assert body["messages"][0]["tool_calls"] == [call]
    assert body["tool_choice"] == {"type": "custom", "custom": {"name": "shell"}}


@pytest.mark.parametrize(
    ("wire", "choice"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ("any", "required"),  # Mistral's value
        ({"type": "auto"}, "auto"),
        ({"type": "function", "function": {"name": "f"}}, "tool:f"),
        ({"function": {"name": "f"}}, "tool:f"),
        (None, None),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}, "none"),
    ],
)
def test_a_choice_of_tools_is_read(wire: Any, choice: str | None) -> None:
    assert read(tool_choice=wire).options.tool_choice == choice


@pytest.mark.parametrize(
    ("wire", "read_as"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, JsonFormat()),
        ({"type": "json_object", "schema": {"type": "object"}}, JsonFormat({"type": "object"})),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": True, "description": "d"}},
            JsonFormat({}, "n", True, metadata(description="d")),
        ),
    ],
)
def test_t7_a_format_is_read(wire: Any, read_as: JsonFormat | None) -> None:
    assert read(response_format=wire).options.format == read_as


def test_options_are_read_with_their_zeros() -> None:
    options = read(
        max_tokens=1, max_completion_tokens=0, temperature=0, top_p=0.0, top_k=0, stop="x", seed=0, presence_penalty=0,
        frequency_penalty=0, reasoning_effort="none", verbosity="low", logprobs=False, top_logprobs=0,  # asks for none
        parallel_tool_calls=False, service_tier="flex",
    ).options  # fmt: skip
    assert options == Options(
        max_tokens=0, temperature=0, top_p=0, top_k=0, stop=("x",), seed=0, presence_penalty=0, frequency_penalty=0,
        effort="none", verbosity="low", logprobs=False, parallel_tools=False, service_tier="flex",
    )  # fmt: skip
    assert read(stop=["a", "b"], max_tokens=3).options == Options(stop=("a", "b"), max_tokens=3)


def test_t8_fields_that_change_the_answer_are_droppable_only_with_defaults() -> None:
    telling = {"n": 2, "modalities": ["audio"], "audio": {"voice": "x"}, "logit_bias": {"1": 2}, "min_p": 0.1}
    asking_nothing: dict[str, Any] = {"n": 1, "modalities": ["text"], "logit_bias": {}, "metadata": {}, "store": False}
    hints = {"user": "u", "metadata": {"a": "b"}, "store": True, "prompt_cache_key": "k", "safety_identifier": "s"}
    for fields in (telling, asking_nothing, hints):
        request = read(**fields)
        assert request.default_fields == (fields.keys() if fields is asking_nothing else frozenset())
        if fields is telling:
            assert not request.droppable_fields & fields.keys()
    assert hints.keys() <= read(**hints).droppable_fields
    for fields in (telling, {**asking_nothing, **hints}):
        body = write_body(read(**fields))
        assert {name: body[name] for name in fields} == fields
    assert not read(audio=None).metadata


@pytest.mark.parametrize("effort", ["default", "ultra"])
def test_a_host_specific_effort_is_passed_to_the_engine(effort: str) -> None:
    request = read(reasoning_effort=effort)
    assert request.options.effort is None and "reasoning_effort" not in request.droppable_fields
    assert write_body(request)["reasoning_effort"] == effort


def test_usage_is_in_requested_streams_and_in_every_whole_answer() -> None:
    assert not read(stream=True).show_usage
    assert not read(stream=True, stream_options={"include_usage": False}).show_usage
    assert read(stream=True, stream_options={"include_usage": True}).show_usage
    assert read().show_usage


PLACES: list[tuple[dict[str, Any], str]] = [
    ({"tool_calls": [{"id": "a", "type": "custom"}]}, "messages[0].tool_calls[0].custom"),
    ({"tool_calls": [{"type": "function", "function": {"name": "f"}}]}, "messages[0].tool_calls[0].id"),
    ({"tool_calls": [{"id": "a", "function": {"name": 3}}]}, "messages[0].tool_calls[0].function.name"),
    (
        {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {}}}]},
        "messages[0].tool_calls[0].function.arguments",
    ),
    ({"tool_calls": "x"}, "messages[0].tool_calls"),
    ({"function_call": {"arguments": "{}"}}, "messages[0].function_call.name"),
    ({"refusal": 3}, "messages[0].refusal"),
    ({"content": [3]}, "messages[0].content[0]"),
    ({"content": [{"type": "image_url", "image_url": {}}]}, "messages[0].content[0].image_url.url"),
    ({"content": [{"type": "input_audio", "input_audio": {}}]}, "messages[0].content[0].input_audio.data"),
    ({"content": [{"type": "file", "file": {}}]}, "messages[0].content[0].file.file_data"),
]


@pytest.mark.parametrize(("fields", "place"), PLACES)
def test_an_invalid_request_names_the_path(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(errors.InvalidRequest) as raised:
        read({"role": "assistant", **fields})
    assert raised.value.param == place and str(raised.value).startswith(f"{place}: ")


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3) | st.sampled_from(["user", "tool", "text"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            [
                "role", "content", "type", "text", "image_url", "url", "input_audio", "data", "format", "file",
                "file_id", "file_data", "filename", "tool_calls", "function_call", "tool_call_id", "function", "custom",
                "name", "arguments", "input", "id", "refusal", "reasoning", "reasoning_details", "schema",
                "json_schema", "strict", "parameters", "include_usage", "x",
            ]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=15,
)  # fmt: skip
ROLES = st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"])


@given(
    messages=st.lists(st.tuples(ROLES, st.dictionaries(st.sampled_from(
        ["content", "refusal", "name", "tool_calls", "function_call", "tool_call_id", "reasoning", "reasoning_details"]
    ), JSON, max_size=4)), max_size=3),
    fields=st.dictionaries(st.sampled_from([
        "tools", "functions", "tool_choice", "function_call", "stream", "stream_options", "response_format", "stop", "n",
        "reasoning_effort", "temperature", "max_tokens", "logprobs", "metadata", "modalities", "logit_bias", "seed",
    ]), JSON, max_size=4),
)  # fmt: skip
def test_s8_any_json_object_is_a_request_or_an_invalid_request(messages: list[Any], fields: dict[str, Any]) -> None:
    with suppress(LLMError):
        request = read(*({**more, "role": role} for role, more in messages), **fields)
        with suppress(errors.Unsupported):
            write_body(request)
        with suppress(errors.Unsupported):
            write_body(
                request,
                replace(HOST, always_translate=True, quirks=Quirks(flat_content=True, accepts_unknown_fields=False)),
            )
