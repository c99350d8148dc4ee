"""Requests for Chat Completions, Gemini and Ollama engines, compared whole; requests of OpenAI's clients."""

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
from llm.dialects import anthropic, gemini, ollama, openai_chat
from llm.dialects.registry import ENGINE_DIALECTS
from llm.engines.engine import Quirks
from llm.engines.records import ENGINES

OPENAI, GOOGLE, OLLAMA = ENGINES["openai"], ENGINES["google"], ENGINES["ollama"]

SCHEMA: Any = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
TOOL = ToolSpec("f", "Does it", SCHEMA)
PNG = Media(mime="image/png", base64="AAAA")
LOOP = ChatRequest(
    model="m",
    stream=True,
    messages=(
        Message("system", (Text("Be brief."),)),
        Message("user", (Text("Look"), PNG)),
        Message(
            "assistant",
            (Reasoning("Hm."), Text("One moment."), ToolCall("c1", "f", '{"x": 1}'), ToolCall("c2", "f", "{}")),
        ),
        Message("user", (ToolResult("c1", (Text("42"),)), ToolResult("c2", (Text('{"ok": true}'),)), Text("And?"))),
    ),
    tools=(TOOL,),
)
ZEROS = Options(
    max_tokens=5, temperature=0, top_p=0, top_k=0, stop=("a", "b"), seed=0, presence_penalty=0, frequency_penalty=0
)


def write_body(request: ChatRequest, engine_name: str) -> Any:
    engine = ENGINES[engine_name]
    outgoing = ENGINE_DIALECTS[engine.dialect].write_request(request, engine)
    return json.loads(json.dumps(outgoing.body))


def test_o11_a_tool_loop_with_a_picture_to_openai() -> None:
    assert write_body(LOOP, "openai") == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Look"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                ],
            },
            {
                "role": "assistant",
                "content": "One moment.",
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
                    {"id": "c2", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
            {"role": "tool", "tool_call_id": "c2", "content": '{"ok": true}'},
            {"role": "user", "content": "And?"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "description": "Does it", "parameters": SCHEMA}}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_o11_a_tool_loop_with_a_picture_to_gemini() -> None:
    assert write_body(replace(LOOP, model="gemini-3-pro"), "google") == {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Look"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
            {
                "role": "model",
                "parts": [
                    {"text": "One moment."},
                    {"functionCall": {"id": "c1", "name": "f", "args": {"x": 1}}},
                    {"functionCall": {"id": "c2", "name": "f", "args": {}}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"id": "c1", "name": "f", "response": {"result": 42}}},
                    {"functionResponse": {"id": "c2", "name": "f", "response": {"ok": True}}},
                    {"text": "And?"},
                ],
            },
        ],
        "tools": [{"functionDeclarations": [{"name": "f", "description": "Does it", "parametersJsonSchema": SCHEMA}]}],
        "generationConfig": {"thinkingConfig": {"includeThoughts": True}},
    }


def test_o11_a_tool_loop_with_a_picture_to_ollama() -> None:
    assert write_body(LOOP, "ollama") == {
        "model": "m",
        "stream": True,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Look", "images": ["AAAA"]},
            {
                "role": "assistant",
                "content": "One moment.",
                "thinking": "Hm.",
                "tool_calls": [
                    {"id": "c1", "function": {"name": "f", "arguments": {"x": 1}}},
                    {"id": "c2", "function": {"name": "f", "arguments": {}}},
                ],
            },
            {"role": "tool", "tool_name": "f", "tool_call_id": "c1", "content": "42"},
            {"role": "tool", "tool_name": "f", "tool_call_id": "c2", "content": '{"ok": true}'},
            {"role": "user", "content": "And?"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "description": "Does it", "parameters": SCHEMA}}],
    }


PLAIN = ChatRequest(model="m", messages=(Message("user", (Text("Hi"),)),))


def test_t8_every_zero_is_sent() -> None:
    zeros = replace(PLAIN, options=ZEROS)
    body = write_body(zeros, "openrouter")
    assert {name: body[name] for name in body if name not in ("model", "messages")} == {
        "max_tokens": 5, "temperature": 0, "top_p": 0, "top_k": 0, "stop": ["a", "b"], "seed": 0,
        "presence_penalty": 0, "frequency_penalty": 0,
    }  # fmt: skip
    assert write_body(zeros, "google")["generationConfig"] == {
        "maxOutputTokens": 5, "temperature": 0, "topP": 0, "topK": 0, "stopSequences": ["a", "b"], "seed": 0,
        "presencePenalty": 0, "frequencyPenalty": 0,
    }  # fmt: skip
    assert write_body(zeros, "ollama")["options"] == {
        "num_predict": 5, "temperature": 0, "top_p": 0, "top_k": 0, "stop": ["a", "b"], "seed": 0,
        "presence_penalty": 0, "frequency_penalty": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("engine", "options", "wire"),
    [
        ("openai", Options(effort="high", verbosity="low", service_tier="flex"),
         {"reasoning_effort": "high", "verbosity": "low", "service_tier": "flex"}),
        ("openai", Options(top_logprobs=3), {"logprobs": True, "top_logprobs": 3}),
        ("openai", Options(tool_choice="tool:f"), {"tool_choice": {"type": "function", "function": {"name": "f"}}}),
        ("openai", Options(format=JsonFormat(SCHEMA, "r", True)),
         {"response_format": {"type": "json_schema", "json_schema": {"name": "r", "schema": SCHEMA, "strict": True}}}),
        ("openai", Options(extra={"logit_bias": {"1": 2}}), {"logit_bias": {"1": 2}}),
        ("ollama", Options(effort="low", format=JsonFormat(SCHEMA)), {"think": "low", "format": SCHEMA}),
        ("ollama", Options(reasoning=False, context_tokens=9), {"think": False, "options": {"num_ctx": 9}}),
    ],
)  # fmt: skip
def test_o11_options_are_spelled_as_the_wire_has_them(engine: str, options: Options, wire: dict[str, Any]) -> None:
    body = write_body(replace(PLAIN, options=options), engine)
    assert {name: body[name] for name in wire} == wire


@pytest.mark.parametrize(
    ("engine", "options", "name"),
    [
        ("openai", Options(context_tokens=1), "context_tokens"),
        ("google", Options(verbosity="low"), "verbosity"),
        ("ollama", Options(tool_choice="required"), "tool_choice"),
        ("ollama", Options(service_tier="flex"), "service_tier"),
    ],
)
def test_t8_an_option_without_a_field_is_refused_by_name(engine: str, options: Options, name: str) -> None:
    with pytest.raises(errors.Unsupported) as raised:
        write_body(replace(PLAIN, options=options), engine)
    assert raised.value.param == name


def test_an_engine_record_can_refuse_an_option() -> None:
    engine = replace(OPENAI, quirks=Quirks(unsupported_options=frozenset({"seed"})))
    with pytest.raises(errors.Unsupported, match="seed"):
        openai_chat.write_request(replace(PLAIN, options=Options(seed=0)), engine)


def test_a_hostile_model_name_does_not_change_the_address() -> None:
    for name in ("../../evil", "x/../../y", "m?key=1", "m#x", "a b", "m\r\nX: 1"):
        path = gemini.write_request(replace(PLAIN, model=name), GOOGLE).path
        assert path.startswith("/v1beta/models/") and path.endswith(":generateContent")
        assert not set("?# \r\n") & set(path) and ".." not in path.split("/")
    assert gemini.write_request(replace(PLAIN, model="models/g-1"), GOOGLE).path == "/v1beta/models/g-1:generateContent"


def test_t2_a_signature_is_sent_back_on_its_part_to_its_issuer_only() -> None:
    keep = (ProviderMetadata("gemini", "google", {"thoughtSignature": "c2ln"}),)
    history = (
        Message("user", (Text("Go"),)),
        Message("assistant", (ToolCall("c1", "f", "{}", metadata=keep), ToolCall("c2", "f", "{}"))),
        Message("user", (ToolResult("c1", (Text("1"),)), ToolResult("c2", (Text("2"),)))),
    )
    request = ChatRequest(model="gemini-3-pro", messages=history)
    first, second = write_body(request, "google")["contents"][1]["parts"]
    assert first["thoughtSignature"] == "c2ln" and "thoughtSignature" not in second
    assert "c2ln" not in json.dumps(write_body(request, "openai"))
    foreign = replace(
        request, messages=(history[0], replace(history[1], parts=(ToolCall("c1", "f", "{}"),)), history[2])
    )
    foreign = replace(foreign, messages=(*foreign.messages[:2], Message("user", (ToolResult("c1", (Text("1"),)),))))
    assert write_body(foreign, "google")["contents"][1]["parts"][0]["thoughtSignature"] == gemini.SKIP_SIGNATURE


def test_reasoning_is_sent_back_if_the_record_requires_it() -> None:
    assert "reasoning_content" not in write_body(LOOP, "openai")["messages"][2]
    assert write_body(LOOP, "deepseek")["messages"][2]["reasoning_content"] == "Hm."


def test_a_foreign_block_is_refused_from_a_user_and_dropped_from_history() -> None:
    block = UnknownPart((ProviderMetadata("anthropic", None, {"type": "x"}),))
    for dialect, engine in ((openai_chat, OPENAI), (gemini, GOOGLE), (ollama, OLLAMA)):
        with pytest.raises(errors.Unsupported):
            dialect.write_request(replace(PLAIN, messages=(Message("user", (block,)),)), engine)
        history = (*PLAIN.messages, Message("assistant", (Text("A"), block)), *PLAIN.messages)
        assert "x" in dialect.write_request(replace(PLAIN, messages=history), engine).dropped


CLIENT: dict[str, Any] = {
    "model": "e/m",
    "messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "name": "Ann", "content": [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}}]},
        {"role": "assistant", "content": None, "reasoning_content": "Hm.", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{"}, "extra_content": {"google": 1}}]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "42"}]},
        {"role": "assistant", "content": "It is 42."},
        {"role": "user", "content": "And?"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA, "strict": True, "x_inner": 1}, "x_outer": 2}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "temperature": 0, "max_completion_tokens": 7, "stop": "x", "logit_bias": {"1": 2}, "user": "u",
    "response_format": {"type": "json_schema", "json_schema": {"name": "r", "schema": SCHEMA}},
}  # fmt: skip


def test_a_client_request_is_written_as_it_was_read() -> None:
    request = openai_chat.read_request(CLIENT)
    assert [m.role for m in request.messages] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert request.messages[2].parts[0] == Reasoning("Hm.")
    assert request.options.max_tokens == 7 and request.options.tool_choice == "tool:f"
    wire = json.loads(json.dumps(openai_chat.write_request(request, OPENAI).body))
    expected = json.loads(json.dumps(CLIENT))
    del expected["messages"][2]["reasoning_content"]  # this engine does not need it back
    expected["messages"][3]["content"] = "42"  # one text is written as a string
    expected["stop"] = ["x"]
    assert wire == expected


PLACES = [
    ({"messages": [3]}, "messages[0]"),
    ({"messages": [{"role": "robot"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].image_url"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]}, "messages[0].tool_calls[0].function"),
    ({"messages": [], "tools": [{"type": "function"}]}, "tools[0].function"),
    ({"messages": [], "stop": 3}, "stop"),
    ({"messages": [], "temperature": "0"}, "temperature"),
    ({"messages": [], "reasoning_effort": "huge"}, "reasoning_effort"),
    ({"messages": [], "response_format": {"type": "yaml"}}, "response_format.type"),
    ({"messages": [], "tool_choice": "perhaps"}, "tool_choice"),
]


@pytest.mark.parametrize(("more", "place"), PLACES)
def test_an_invalid_client_request_names_the_path(more: dict[str, Any], place: str) -> None:
    with pytest.raises(errors.InvalidRequest) as raised:
        openai_chat.read_request({"model": "e/m", **more})
    assert raised.value.param == place
    assert str(raised.value).startswith(f"{place}: ")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["role", "content", "type", "text", "image_url", "url", "tool_calls", "function", "name", "arguments", "id", "x"]
    ), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


@given(
    fields=st.dictionaries(
        st.sampled_from([*CLIENT, "functions", "function_call", "stream", "stream_options", "seed", "top_k"]), JSON
    )
)
def test_s8_any_json_is_a_request_or_an_invalid_request(fields: dict[str, Any]) -> None:
    with suppress(errors.InvalidRequest):
        request = openai_chat.read_request({"model": "e/m", "messages": [], **fields})
        for dialect, name in (
            (openai_chat, "openai"),
            (anthropic, "anthropic"),
            (gemini, "google"),
            (ollama, "ollama"),
        ):
            with suppress(errors.LLMError):
                dialect.write_request(request, ENGINES[name])


def test_e2_server_errors_and_provider_errors_differ() -> None:
    ours = openai_chat.write_error(errors.Truncated("Cut."))["error"]
    theirs = openai_chat.write_error(
        errors.RateLimited(
            "Slow.", provider=errors.ProviderErrorDetails(429, "rate_limit_exceeded", "requests", "Slow.")
        )
    )["error"]
    assert isinstance(ours, dict) and isinstance(theirs, dict)
    assert (ours["type"], ours["code"]) == ("gateway_error", "upstream_truncated")
    assert (theirs["type"], theirs["code"]) == ("requests", "rate_limit_exceeded")
    assert theirs["provider"] == {"status": 429, "code": "rate_limit_exceeded", "message": "Slow.", "type": "requests"}
