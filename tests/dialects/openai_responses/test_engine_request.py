"""Writes requests for engines of the Responses dialect."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llm import errors
from llm.chat.messages import Citation, Media, Message, Part, Reasoning, Text, ToolCall, ToolResult, UnknownPart
from llm.chat.provider_metadata import Metadata, ProviderMetadata
from llm.chat.request import ChatRequest, JsonFormat, Options, ToolSpec
from llm.dialects import openai_responses as wire
from llm.engines.capabilities import ModelRules
from llm.engines.engine import Engine, Quirks
from tests.support.responses_engine import ENGINE, HELLO, own, write_body, write_items

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"q": {"type": "string"}}}
HELLO_ITEM = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]}


def client_metadata(**fields: Any) -> Metadata:
    return (ProviderMetadata(wire.NAME, None, fields),)


def written_options(engine: Engine = ENGINE, **options: Any) -> dict[str, Any]:
    """Returns the fields of the options, without those of every request."""
    body = write_body(engine=engine, options=Options(**options))
    assert body.pop("input") == [HELLO_ITEM] and body.pop("model") == "m" and body.pop("store") is False
    if body["include"] == ["reasoning.encrypted_content"]:
        del body["include"]
    return body


# Requests


def test_a_whole_conversation_is_written() -> None:
    image = Media(mime="image/png", base64="iVBO")
    pdf = Media(mime="application/pdf", base64="JVBE", name="a.pdf")
    thought = Reasoning("Look.", own(type="reasoning", id="rs", summary=[], encrypted_content="e"))
    request = ChatRequest(
        model="m",
        messages=(
            Message("system", (Text("Be terse."),)),
            Message("system", (Text("Be kind."),)),
            Message("user", (Text("What is it?"), image, pdf)),
            Message(
                "assistant",
                (
                    thought,
                    Text("I look.", (Citation("https://a", metadata=own(url="https://a")),), own(item={"id": "msg"})),
                    Text("No.", metadata=own(type="refusal", item={"id": "msg"})),
                    ToolCall("c1", "lookup", '{"q": "cat"}', metadata=own(id="fc", status="completed")),
                    ToolCall("c2", "draw", "{}"),
                ),
            ),
            Message(
                "user",
                (
                    ToolResult("c1", (Text("42"), Text("43"))),
                    ToolResult("c2", (Text("Here."), image), is_error=True),
                    Text("More"),
                ),
            ),
            Message("assistant", (Text("Well"), Text("."))),
            Message("system", (Text("Hurry."),)),
        ),
        tools=(
            ToolSpec("lookup", "Find.", SCHEMA, strict=True),
            ToolSpec("draw"),
            ToolSpec("web_search", executor="provider", metadata=client_metadata(type="web_search", filters=None)),
        ),
        options=Options(
            max_tokens=0,
            temperature=0.0,
            top_p=0.0,
            effort="high",
            verbosity="low",
            service_tier="flex",
            tool_choice="tool:lookup",
            parallel_tools=False,
            top_logprobs=0,
            format=JsonFormat(SCHEMA, "answer", strict=True),
            extra={"truncation": "auto", "temperature": 1},
        ),
        stream=True,
    )
    outgoing = wire.write_request(request, ENGINE)
    assert outgoing.dropped == ("is_error",)
    assert outgoing.body == {
        "model": "m",
        "instructions": "Be terse.\n\nBe kind.",
        "input": [
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What is it?"},
                    {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,iVBO"},
                    {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"},
                ],
            },
            {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "e"},
            {
                "type": "message",
                "id": "msg",
                "role": "assistant",
                "content": [
                    {"type": "output_text", "text": "I look.", "annotations": [{"url": "https://a"}]},
                    {"type": "refusal", "refusal": "No."},
                ],
            },
            {
                "type": "function_call",
                "id": "fc",
                "status": "completed",
                "call_id": "c1",
                "name": "lookup",
                "arguments": '{"q": "cat"}',
            },
            {"type": "function_call", "call_id": "c2", "name": "draw", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "42\n\n43"},
            {
                "type": "function_call_output",
                "call_id": "c2",
                "output": [
                    {"type": "input_text", "text": "Here."},
                    {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,iVBO"},
                ],
            },
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "More"}]},
            {"type": "message", "role": "assistant", "content": "Well."},
            {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Hurry."}]},
        ],
        "store": False,
        "max_output_tokens": 0,
        "temperature": 1,
        "top_p": 0.0,
        "reasoning": {"summary": "auto", "effort": "high"},
        "text": {
            "verbosity": "low",
            "format": {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True},
        },
        "service_tier": "flex",
        "parallel_tool_calls": False,
        "top_logprobs": 0,
        "tool_choice": {"type": "function", "name": "lookup"},
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
        "tools": [
            {"type": "function", "name": "lookup", "description": "Find.", "parameters": SCHEMA, "strict": True},
            {"type": "function", "name": "draw", "parameters": {"type": "object", "properties": {}}, "strict": False},
            {"type": "web_search", "filters": None},
        ],
        "stream": True,
        "truncation": "auto",
    }


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, {}),
        ({"effort": "low"}, {"reasoning": {"summary": "auto", "effort": "low"}}),
        ({"effort": "none"}, {"reasoning": {"effort": "none"}}),
        ({"effort": "xhigh", "reasoning": False}, {"reasoning": {"effort": "none"}}),
        ({"reasoning": True}, {"reasoning": {"summary": "auto"}}),
        ({"reasoning": False}, {"reasoning": {"effort": "none"}}),
        ({"reasoning_tokens": 0}, {"reasoning": {"effort": "none"}}),
        ({"reasoning_tokens": 1024}, {"reasoning": {"summary": "auto", "effort": "low"}}),
        ({"reasoning_tokens": 30000}, {"reasoning": {"summary": "auto", "effort": "high"}}),
        ({"reasoning_tokens": -1}, {"reasoning": {"summary": "auto"}}),
        ({"format": JsonFormat()}, {"text": {"format": {"type": "json_object"}}}),
        (
            {"format": JsonFormat(SCHEMA)},
            {"text": {"format": {"type": "json_schema", "name": "reply", "schema": SCHEMA}}},
        ),
        ({"tool_choice": "required"}, {"tool_choice": "required"}),
        ({"tool_choice": "none"}, {"tool_choice": "none"}),
        ({"logprobs": True}, {"include": ["reasoning.encrypted_content", "message.output_text.logprobs"]}),
        ({"logprobs": False}, {}),
        ({"presence_penalty": 0.0, "frequency_penalty": 0, "citations": False, "caching": True}, {}),
    ],
)
def test_options_are_written_as_fields(options: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert written_options(**options) == wanted


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("top_k", 0),
        ("stop", ("x",)),
        ("seed", 0),
        ("context_tokens", 4096),
        ("citations", True),
        ("presence_penalty", 0.5),
        ("frequency_penalty", -1),
    ],
)
def test_t8_options_without_a_field_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(errors.Unsupported) as told:
        written_options(**{name: value})
    assert (told.value.param, told.value.engine) == (name, "maker")


@pytest.mark.parametrize(
    ("quirks", "options", "param"),
    [
        (Quirks(unsupported_options=frozenset({"temperature"})), {"temperature": 0}, "temperature"),
        (Quirks(unsupported_options=frozenset({"effort"})), {"reasoning_tokens": 5}, "reasoning_tokens"),
        (Quirks(unsupported_options=frozenset({"effort"})), {"reasoning": False}, "reasoning"),
        (Quirks(json_schema=False), {"format": JsonFormat(SCHEMA)}, "format"),
    ],
)
def test_t8_options_that_the_record_rejects_are_refused_by_name(
    quirks: Quirks, options: dict[str, Any], param: str
) -> None:
    with pytest.raises(errors.Unsupported) as told:
        written_options(engine=replace(ENGINE, quirks=quirks), **options)
    assert told.value.param == param


def test_tool_choice_names_a_hosted_tool_by_type() -> None:
    spec = ToolSpec("t", executor="provider", metadata=client_metadata(type="web_search"))
    choice = {"type": "web_search"}
    assert write_body(tools=(spec,), options=Options(tool_choice="tool:t"))["tool_choice"] == choice


def test_encrypted_reasoning_is_requested_for_reasoning_models_of_the_record() -> None:
    engine = replace(ENGINE, models=ModelRules(reasoning=("o1*",)))

    def include(model: str, engine: Engine = engine, **options: Any) -> Any:
        request = ChatRequest(model=model, messages=(HELLO,), options=Options(**options))
        return (wire.write_request(request, engine).body or {}).get("include")

    asked = ["reasoning.encrypted_content"]
    assert include("o1-mini") == asked
    assert include("gpt-4o") is None
    assert include("my-deployment", effort="low") == asked
    assert include("gpt-4o", effort="none") is None
    assert include("anything", ENGINE) == asked


@pytest.mark.parametrize(
    ("fields", "extra"),
    [
        ({"store": True}, {}),
        ({"previous_response_id": "resp_1"}, {}),
        ({"conversation": "conv_1"}, {}),
        ({"background": True}, {}),
        ({}, {"store": True}),
    ],
)
def test_t10_a_request_that_continues_a_stored_response_is_not_stateless(
    fields: dict[str, Any], extra: dict[str, Any]
) -> None:
    bare = Reasoning("", own(type="reasoning", id="rs", summary=[]))
    request = ChatRequest(
        model="m",
        messages=(Message("assistant", (bare, ToolCall("c", "f", metadata=own(id="fc")))),),
        metadata=client_metadata(**fields) if fields else (),
        options=Options(extra=extra),
    )
    body = wire.write_request(request, ENGINE).body or {}
    assert {name: body[name] for name in (*fields, *extra)} == {**fields, **extra}
    assert body.get("store") is not False and "include" not in body
    assert body["input"] == [
        {"type": "reasoning", "id": "rs", "summary": []},
        {"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": "{}"},
    ]


def test_client_fields_of_this_wire_are_merged_with_options() -> None:
    metadata = client_metadata(
        include=["file_search_call.results"],
        reasoning={"summary": "detailed", "context": "all"},
        text={"verbosity": "high"},
        metadata={"a": "b"},
        store=False,
    )
    options = Options(effort="low", format=JsonFormat(metadata=client_metadata(note="x")))
    request = ChatRequest(model="m", messages=(HELLO,), metadata=metadata, options=options)
    assert wire.write_request(request, ENGINE).body == {
        "metadata": {"a": "b"},
        "model": "m",
        "input": [HELLO_ITEM],
        "store": False,
        "include": ["file_search_call.results", "reasoning.encrypted_content"],
        "reasoning": {"summary": "detailed", "context": "all", "effort": "low"},
        "text": {"verbosity": "high", "format": {"note": "x", "type": "json_object"}},
    }


def test_droppable_fields_are_dropped_for_hosts_that_refuse_unknown_fields() -> None:
    request = ChatRequest(
        model="m",
        messages=(HELLO,),
        metadata=client_metadata(user="u", metadata={}),
        droppable_fields=frozenset({"user", "metadata"}),
    )
    outgoing = wire.write_request(request, replace(ENGINE, quirks=Quirks(accepts_unknown_fields=False)))
    assert outgoing.dropped == ("user", "metadata") and not {"user", "metadata"} & (outgoing.body or {}).keys()


def test_t1_reasoning_is_sent_back_unchanged_to_its_engine_only() -> None:
    item: dict[str, Any] = {
        "type": "reasoning",
        "id": "rs",
        "status": None,
        "summary": [],
        "encrypted_content": "gAAA+/==",
    }
    said = {"type": "message", "role": "assistant", "content": "Hi."}
    for keep, wanted in (
        (own(**item), [item, said]),
        (client_metadata(**item), [item, said]),
        ((ProviderMetadata(wire.NAME, "another", item),), [said]),
        ((ProviderMetadata("anthropic", ENGINE.issuer, {"signature": "x"}),), [said]),
        ((), [said]),
    ):
        assert write_items(Message("assistant", (Reasoning("Hm.", keep), Text("Hi.")))) == wanted


def test_t1_unencrypted_reasoning_content_is_sent_back() -> None:
    content = [{"type": "reasoning_text", "text": "Hm."}]
    item: dict[str, Any] = {"type": "reasoning", "summary": [], "content": content}
    message = Message("assistant", (Reasoning("Hm.", own(**item)), ToolCall("c", "f")))
    assert write_items(message)[0] == item


def test_t1_items_after_dropped_reasoning_have_no_id() -> None:
    parts: tuple[Part, ...] = (
        Reasoning("", own(type="reasoning", id="rs", summary=[])),
        Text("Hi.", metadata=own(item={"id": "msg", "phase": "final_answer"})),
        ToolCall("c", "f", metadata=own(id="fc", status="completed")),
    )
    assert write_items(Message("assistant", parts)) == [
        {
            "type": "message",
            "role": "assistant",
            "phase": "final_answer",
            "content": [{"type": "output_text", "text": "Hi.", "annotations": []}],
        },
        {"type": "function_call", "status": "completed", "call_id": "c", "name": "f", "arguments": "{}"},
    ]


def test_t1_reasoning_without_a_following_item_is_dropped() -> None:
    cut = Message("assistant", (Reasoning("Hm", own(type="reasoning", id="rs", encrypted_content="e")),))
    assert write_items(HELLO, cut, HELLO) == [HELLO_ITEM, HELLO_ITEM]


def test_texts_of_two_items_are_two_message_items() -> None:
    parts = (Text("A", metadata=own(item={"id": "m1"})), Text("B", metadata=own(item={"id": "m2"})), Text("C"))
    assert [item.get("id") for item in write_items(Message("assistant", parts))] == ["m1", "m2", None]


def test_a_system_message_between_items_keeps_its_position() -> None:
    listed = Message("system", (Text("A"),), client_metadata(role="developer"))
    assert write_body(listed, HELLO)["input"][0]["role"] == "developer"
    assert "instructions" not in write_body(listed, HELLO)
    alone = write_body(Message("system", (Text("A"),)))
    assert "instructions" not in alone and alone["input"][0]["role"] == "system"


def test_results_in_an_assistant_message_stay_in_order() -> None:
    parts: tuple[Part, ...] = (ToolCall("c", "f", executor="server"), ToolResult("c", (Text("1"),)), Text("One."))
    assert [item["type"] for item in write_items(Message("assistant", parts))] == [
        "function_call",
        "function_call_output",
        "message",
    ]


def test_unknown_items_and_parts_are_written_at_their_position() -> None:
    parts: tuple[Part, ...] = (
        Text("A"),
        UnknownPart(client_metadata(type="mcp_approval_response", approve=True)),
        UnknownPart(client_metadata(type="input_audio", input_audio={})),
        Text("B", metadata=client_metadata(note=1)),
    )
    assert write_items(Message("user", parts, client_metadata(id="u"))) == [
        {"id": "u", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "A"}]},
        {"type": "mcp_approval_response", "approve": True},
        {
            "id": "u",
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_audio", "input_audio": {}},
                {"note": 1, "type": "input_text", "text": "B"},
            ],
        },
    ]


def test_media_are_written_as_url_and_file_id() -> None:
    media = (
        Media(mime="image/png", url="https://a/b.png", metadata=client_metadata(detail="low")),
        Media(mime="image/png", file_id="file-1", metadata=client_metadata(detail="high")),
        Media(mime="application/pdf", url="https://a/b.pdf"),
        Media(mime="application/pdf", file_id="file-2", metadata=(ProviderMetadata("openai-chat", None, {}),)),
        Media(mime="application/pdf", base64="JVBE"),
    )
    assert write_items(Message("user", media))[0]["content"] == [
        {"detail": "low", "type": "input_image", "image_url": "https://a/b.png"},
        {"detail": "high", "type": "input_image", "file_id": "file-1"},
        {"type": "input_file", "file_url": "https://a/b.pdf"},
        {"type": "input_file", "file_id": "file-2"},
        {"type": "input_file", "filename": "document.pdf", "file_data": "data:application/pdf;base64,JVBE"},
    ]


@pytest.mark.parametrize(
    "part",
    [
        Media(mime="audio/wav", base64="UklG"),
        Media(mime="video/mp4", url="https://a/b.mp4"),
        Media(mime="application/pdf", file_id="file-3", metadata=(ProviderMetadata("anthropic", None, {}),)),
        UnknownPart((ProviderMetadata("anthropic", None, {"type": "search_result"}),)),
        Reasoning("Hm."),
        ToolCall("c", "f"),
    ],
)
def test_t8_unsupported_user_parts_are_refused(part: Part) -> None:
    with pytest.raises(errors.Unsupported) as told:
        write_body(Message("user", (part,)))
    assert told.value.param == "messages"


def test_unsupported_assistant_parts_are_dropped_and_reported() -> None:
    other = (ProviderMetadata("anthropic", "anthropic", {"type": "server_tool_use"}),)
    parts = (
        ToolCall("x", "web_search", executor="provider", metadata=other),
        UnknownPart(other),
        Media(mime="image/png", base64="iVBO"),
        Text(""),
    )
    outgoing = wire.write_request(ChatRequest(model="m", messages=(HELLO, Message("assistant", parts))), ENGINE)
    assert (outgoing.body or {})["input"] == [HELLO_ITEM]
    assert outgoing.dropped == ("server_tool_use", "image")
