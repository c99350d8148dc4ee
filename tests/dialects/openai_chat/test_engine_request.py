"""Writing Chat Completions requests for an engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llm import errors
from llm.chat.messages import Media, Message, Reasoning, Text, ToolCall, ToolResult
from llm.chat.provider_metadata import ProviderMetadata
from llm.chat.request import ChatRequest, Options, ToolSpec
from llm.dialects import openai_chat
from llm.engines.engine import Engine, Quirks
from llm.engines.records import ENGINES
from tests.support.chat_engine import HOST, write_body

PLAIN = ChatRequest(model="m", messages=(Message("user", (Text("Hi"),)),))


def get_dropped(request: ChatRequest, engine: Engine = HOST) -> tuple[str, ...]:
    return openai_chat.write_request(request, engine).dropped


def with_options(**options: Any) -> ChatRequest:
    return replace(PLAIN, options=Options(**options))


@pytest.mark.parametrize(
    ("options", "effort"),
    [
        ({"effort": "xhigh"}, "xhigh"),
        ({"effort": "low", "reasoning": False}, "none"),
        ({"reasoning": False}, "none"),
        ({"reasoning_tokens": 0}, "none"),
        ({"reasoning_tokens": 1024}, "low"),
        ({"reasoning_tokens": 8192}, "medium"),
        ({"reasoning_tokens": 30000}, "high"),
        ({"reasoning_tokens": -1}, None),  # "as much as it likes", in Gemini's words
        ({"reasoning": True}, None),
        ({}, None),
    ],
)
def test_reasoning_options_become_an_effort(options: dict[str, Any], effort: str | None) -> None:
    assert write_body(with_options(**options)).get("reasoning_effort") == effort


def test_t8_a_reasoning_option_without_a_field_is_reported() -> None:
    assert get_dropped(with_options(reasoning=True)) == ("reasoning",)
    assert get_dropped(with_options(reasoning=True, effort="low")) == ()
    assert get_dropped(with_options(reasoning=False, effort="low")) == ("effort",)


@pytest.mark.parametrize("name", ["effort", "reasoning", "reasoning_tokens"])
def test_t8_a_refused_effort_is_refused_from_every_option(name: str) -> None:
    engine = replace(HOST, quirks=Quirks(unsupported_options=frozenset({"effort"})))
    with pytest.raises(errors.Unsupported) as raised:
        write_body(
            with_options(**{name: {"effort": "low", "reasoning": False, "reasoning_tokens": 2000}[name]}), engine
        )
    assert (raised.value.param, raised.value.engine) == (name, "host")


def test_e7_usage_is_requested_in_every_stream_that_supports_it() -> None:
    streamed = replace(PLAIN, stream=True)
    assert write_body(streamed)["stream_options"] == {"include_usage": True}
    assert "stream_options" not in write_body(PLAIN)
    silent = replace(HOST, quirks=Quirks(accepts_include_usage=False))
    assert "stream_options" not in write_body(streamed, silent)
    more = openai_chat.read_request(
        {
            "model": "m",
            "messages": [],
            "stream": True,
            "stream_options": {"include_usage": False, "include_obfuscation": False},
        }
    )
    assert write_body(more)["stream_options"] == {"include_usage": True, "include_obfuscation": False}
    assert "stream_options" not in write_body(more, silent)
    assert get_dropped(more, silent) == ("stream_options",)


def test_an_engine_without_unknown_fields_gets_none() -> None:
    engine = replace(HOST, quirks=Quirks(accepts_unknown_fields=False))
    request = openai_chat.read_request({"model": "m", "messages": [], "user": "u", "store": False})
    assert "user" in write_body(request)
    assert not {"user", "store"} & write_body(request, engine).keys()
    assert set(get_dropped(request, engine)) == {"user", "store"}


@pytest.mark.parametrize(("name", "value"), [("n", 2), ("modalities", ["text", "audio"])])
def test_t8_fields_for_passthrough_only_are_refused_in_translation(name: str, value: Any) -> None:
    request = openai_chat.read_request({"model": "m", "messages": [], name: value})
    assert write_body(request)[name] == value
    with pytest.raises(errors.Unsupported) as raised:
        write_body(request, replace(HOST, always_translate=True))
    assert raised.value.param == name


def test_results_come_directly_after_their_calls() -> None:
    request = ChatRequest(
        model="m",
        messages=(
            Message("user", (Text("Go"),)),
            Message("assistant", (Text("A"), ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}"), Text("B"))),
            Message("user", (Text("And?"), ToolResult("b", (Text("2"),)), ToolResult("a", ()))),
        ),
    )
    assert [(m["role"], m["content"], m.get("tool_call_id")) for m in write_body(request)["messages"]] == [
        ("user", "Go", None),
        ("assistant", [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}], None),
        ("tool", "2", "b"),
        ("tool", "", "a"),
        ("user", "And?", None),
    ]


def test_flat_content_separates_texts_with_blank_lines() -> None:
    engine = replace(HOST, quirks=Quirks(flat_content=True))
    request = ChatRequest(
        model="m",
        messages=(
            Message("system", (Text("One."), Text("Two."))),
            Message("user", (Text("Look"), Text("here"))),
            Message("assistant", (Text("Wo"), Text("rd."))),  # as it came
            Message("user", (Text("And"), Media(mime="image/png", base64="AA=="))),
        ),
    )
    assert [m["content"] for m in write_body(request, engine)["messages"]] == [
        "One.\n\nTwo.",
        "Look\n\nhere",
        "Word.",
        [{"type": "text", "text": "And"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}],
    ]


def test_a_call_that_another_provider_ran_is_not_sent_as_a_tool_call() -> None:
    hosted = ToolCall("s1", "web_search", "{}", executor="provider")
    request = replace(PLAIN, messages=(*PLAIN.messages, Message("assistant", (hosted, Text("Found.")))))
    assert write_body(request)["messages"][1] == {"role": "assistant", "content": "Found."}
    assert get_dropped(request) == ("web_search",)


def test_t8_the_lost_error_flag_of_a_result_is_reported() -> None:
    failed = ToolResult("a", (Text("no such file"),), is_error=True)
    request = replace(PLAIN, messages=(Message("assistant", (ToolCall("a", "f"),)), Message("user", (failed,))))
    assert write_body(request)["messages"][1] == {"role": "tool", "tool_call_id": "a", "content": "no such file"}
    assert get_dropped(request) == ("is_error",)


def test_t9_an_image_of_a_tool_result_is_in_the_next_message() -> None:
    result = ToolResult("a", (Text("See"), Media(mime="image/png", base64="AA==")))
    assert write_body(replace(PLAIN, messages=(Message("user", (result,)),)))["messages"] == [
        {"role": "tool", "tool_call_id": "a", "content": "See"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Attachments from tool call a:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("media", "wire"),
    [
        (
            Media(mime="image/png", url="https://x/y.png"),
            {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
        ),
        (
            Media(mime="audio/wav", base64="AA=="),
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
        ),
        (
            Media(mime="audio/flac", base64="AA=="),
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "flac"}},
        ),
        (
            Media(mime="application/pdf", base64="AA==", name="a.pdf"),
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}},
        ),
        (
            Media(mime="application/pdf", file_id="file-1", metadata=(ProviderMetadata("openai-chat", None, {}),)),
            {"type": "file", "file": {"file_id": "file-1"}},
        ),
    ],
)
def test_media_have_their_parts(media: Media, wire: dict[str, Any]) -> None:
    assert write_body(replace(PLAIN, messages=(Message("user", (media,)),)))["messages"][0]["content"] == [wire]


@pytest.mark.parametrize(
    "media",
    [
        Media(mime="video/mp4", base64="AA=="),
        Media(mime="audio/x-nobody", base64="AA=="),
        Media(mime="application/pdf", url="https://x/y.pdf"),
        Media(mime="image/png", file_id="file-1"),
        Media(mime="application/pdf", file_id="file-1"),
        Media(mime="application/pdf", file_id="file-1", metadata=(ProviderMetadata("anthropic", None, {}),)),
    ],
)
def test_t8_media_without_a_part_are_refused(media: Media) -> None:
    with pytest.raises(errors.Unsupported):
        write_body(replace(PLAIN, messages=(Message("user", (media,)),)))


def test_a_tool_without_parameters_has_an_empty_list_of_them() -> None:
    """Some hosts answer a function without ``parameters`` with 422 (Mistral's schema requires it)."""
    [tool] = write_body(replace(PLAIN, tools=(ToolSpec("f"),)))["tools"]
    assert tool == {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


@pytest.mark.parametrize(
    ("quirks", "told"),
    [
        (Quirks(), [None, None]),
        (Quirks(echo_reasoning="with_tools", reasoning_field="r"), ["Hm.", None]),
        (Quirks(echo_reasoning="always", reasoning_field="r"), ["Hm.", "Hm."]),
    ],
)
def test_t3_reasoning_of_unknown_origin_is_sent_back_by_the_record(quirks: Quirks, told: list[str | None]) -> None:
    thought = Reasoning("Hm.")
    turns = (Message("assistant", (thought, ToolCall("a", "f"))), Message("assistant", (thought, Text("A"))))
    outgoing = openai_chat.write_request(replace(PLAIN, messages=turns), replace(HOST, quirks=quirks))
    assert [message.get("r") for message in (outgoing.body or {})["messages"]] == told  # type: ignore[union-attr]
    assert outgoing.dropped == (("reasoning",) if None in told else ())


@pytest.mark.parametrize(
    ("field", "written"),
    [
        ("reasoning", {"content": "A", "reasoning": "Hm."}),
        ("reasoning_content", {"content": "A", "reasoning_content": "Hm."}),
        (
            "content",
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
                    {"type": "text", "text": "A"},
                ]
            },
        ),
        ("think_tags", {"content": "<think>\nHm.\n</think>\n\nA"}),
    ],
)
def test_gw_07_reasoning_goes_back_in_the_field_in_which_it_came(field: str, written: dict[str, Any]) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    for issuer, quirks, wanted in (
        (HOST.issuer, Quirks(), written),
        (HOST.issuer, Quirks(echo_reasoning="never"), {"content": "A"}),
        ("another", Quirks(), {"content": "A"}),  # what another engine has sent is not known here
        ("another", Quirks(echo_reasoning="with_tools", reasoning_field="r"), {"content": "A", "r": "Hm."}),
    ):
        thought = Reasoning("Hm.", (ProviderMetadata("openai-chat", issuer, {"reasoning_field": field}),))
        turn = Message("assistant", (thought, Text("A"), ToolCall("a", "f")))
        body = write_body(replace(PLAIN, messages=(turn,)), replace(HOST, quirks=quirks))
        assert body["messages"] == [{"role": "assistant", **wanted, "tool_calls": [call]}]


def test_extra_fields_of_the_caller_win() -> None:
    body = write_body(with_options(temperature=1, extra={"temperature": 0.5, "min_p": 0.1}))
    assert (body["temperature"], body["min_p"]) == (0.5, 0.1)


@pytest.mark.parametrize(("engine", "named"), [("mistralai", True), ("groq", False)])
def test_a_tool_result_has_the_tool_name_if_the_engine_accepts_it(engine: str, named: bool) -> None:
    results = Message("user", (ToolResult("call12345", (Text("42"),), name="f"),))
    body: Any = openai_chat.write_request(ChatRequest(model="m", messages=(results,)), ENGINES[engine]).body
    wanted = {"role": "tool", "tool_call_id": "call12345", "content": "42", **({"name": "f"} if named else {})}
    assert body["messages"] == [wanted]
