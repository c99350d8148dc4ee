"""Fields of Chat Completions that a request keeps when it goes over the Responses API."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from llm.chat.reply import replay
from llm.dialects import openai_chat, openai_responses
from llm.engines.records import ENGINES
from llm.errors import Unsupported
from tests.support.crossed_requests import Crossed, cross
from tests.support.field_cases import field_case

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
}
SHARED: dict[str, Any] = {
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
    "prompt_cache_options": {"mode": "explicit", "ttl": "30m"},
    "safety_identifier": "user-1",
    "metadata": {"a": "b"},
    "user": "u",
    "moderation": {"model": "omni-moderation-latest", "policy": {"input": {"mode": "block"}}},
}
BREAKPOINT = {"mode": "explicit"}


def over_responses(**fields: Any) -> Crossed:
    """Returns the request of a chat client with a tool, for a model that needs the Responses API then."""
    body = {"model": "openai/gpt-6-sol", "messages": [{"role": "user", "content": "x"}], "tools": [TOOL], **fields}
    out = cross("/v1/chat/completions", body)
    assert not out.verbatim and "input" in out.body
    return out


@pytest.mark.parametrize("case", ["nw-09", "nw-11", "nw-12"])
def test_a_field_that_both_apis_have_is_kept(case: str) -> None:
    body = field_case(case)["request"]
    out = cross("/v1/chat/completions", body)
    more = body.keys() - {"model", "messages", "tools"}
    assert more and all(out.body[name] == body[name] for name in more)
    assert out.dropped == ()


@pytest.mark.parametrize("model", ["openai/gpt-6-sol", "openai/gpt-5-pro", "azure/gpt-6-sol", "responses/any"])
@pytest.mark.parametrize("name", SHARED)
def test_each_field_that_both_apis_have_is_kept(model: str, name: str) -> None:
    out = over_responses(model=model, **{name: SHARED[name]})
    assert (out.body[name], out.dropped) == (SHARED[name], ())


@pytest.mark.parametrize("name", SHARED)
def test_null_is_not_sent(name: str) -> None:
    out = over_responses(**{name: None})
    assert name not in out.body and out.dropped == ()


def test_stream_options_keep_what_the_other_api_has() -> None:
    out = over_responses(stream=True, stream_options={"include_usage": True, "include_obfuscation": False})
    assert (out.body["stream_options"], out.dropped) == ({"include_obfuscation": False}, ())
    out = over_responses(stream=True, stream_options={"include_usage": True})
    assert "stream_options" not in out.body and out.dropped == ()


def test_fields_that_the_other_api_lacks_are_named_or_refused() -> None:
    out = over_responses(store=True, prediction={"type": "content", "content": "x"}, service_tier="flex", user="u")
    assert out.dropped == ("store", "prediction")
    assert out.body["store"] is False and (out.body["service_tier"], out.body["user"]) == ("flex", "u")
    for name, value in {"n": 2, "audio": {"voice": "a"}, "x_unknown": 1, "logit_bias": {"1": 1}}.items():
        with pytest.raises(Unsupported) as refusal:
            over_responses(**{name: value})
        assert refusal.value.param == name


def test_nw_14_web_search_options_are_the_hosted_tool() -> None:
    out = cross("/v1/chat/completions", field_case("nw-14")["request"])
    assert [tool["type"] for tool in out.body["tools"]] == ["function", "web_search"] and out.dropped == ()


def test_web_search_options_keep_their_size_and_place() -> None:
    place = {"country": "GB", "city": "London", "timezone": "Europe/London"}
    options = {"search_context_size": "low", "user_location": {"type": "approximate", "approximate": place}}
    out = over_responses(web_search_options=options)
    [_, tool] = out.body["tools"]
    assert tool == {
        "type": "web_search",
        "search_context_size": "low",
        "user_location": {"type": "approximate", **place},
    }


def test_nw_15_a_cache_breakpoint_stays_on_its_part() -> None:
    out = cross("/v1/chat/completions", field_case("nw-15")["request"])
    [item] = out.body["input"]
    assert item["content"] == [{"type": "input_text", "text": "x", "prompt_cache_breakpoint": BREAKPOINT}]
    assert out.dropped == ()


def test_a_cache_breakpoint_stays_on_each_kind_of_part() -> None:
    mark = {"prompt_cache_breakpoint": BREAKPOINT}
    picture = {"type": "image_url", "image_url": {"url": "https://e.example/a.png", "detail": "low"}, **mark}
    file = {"type": "file", "file": {"file_id": "file-1"}, **mark}
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    out = over_responses(
        messages=[
            {"role": "developer", "content": [{"type": "text", "text": "Rules", **mark}]},
            {"role": "user", "content": [{"type": "text", "text": "x"}, picture, file]},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "Sunny", **mark}]},
        ]
    )
    first, second, _, result = out.body["input"]
    assert first == {
        "type": "message",
        "role": "developer",
        "content": [{"type": "input_text", "text": "Rules", **mark}],
    }
    _, image, document = second["content"]
    assert image == {"type": "input_image", "image_url": "https://e.example/a.png", "detail": "low", **mark}
    assert document == {"type": "input_file", "file_id": "file-1", **mark}
    assert result["output"] == [{"type": "input_text", "text": "Sunny", **mark}]
    assert out.dropped == ()


def test_a_cache_breakpoint_of_an_answer_is_named() -> None:
    """``output_text`` has no such field."""
    text = {"type": "text", "text": "Hello", "prompt_cache_breakpoint": BREAKPOINT}
    out = over_responses(messages=[{"role": "assistant", "content": [text]}, {"role": "user", "content": "x"}])
    assert out.dropped == ("prompt_cache_breakpoint",) and "breakpoint" not in str(out.body)


def test_nw_16_a_custom_tool_keeps_its_grammar_and_its_call_comes_back() -> None:
    case = field_case("nw-16")
    out = cross("/v1/chat/completions", case["request"])
    assert out.dropped == () and out.body["tools"] == [
        {
            "type": "custom",
            "name": "sql",
            "description": "d",
            "format": {"type": "grammar", "syntax": "lark", "definition": 'start: "a"'},
        }
    ]
    reply = openai_responses.read_reply(case["provider_response"]["body"], ENGINES["openai"])
    answer: Any = openai_chat.write_reply(reply, openai_chat.read_request(case["request"]), 1)
    assert answer["choices"][0]["message"]["tool_calls"] == [
        {"id": "c6", "type": "custom", "custom": {"name": "sql", "input": "a"}}
    ]


# --- answers ---

RESULT: dict[str, Any] = {
    "type": "moderation_result", "model": "omni-moderation-latest", "flagged": False, "categories": {"hate": False},
    "category_scores": {"hate": 0.1}, "category_applied_input_types": {"hate": ["text"]},
}  # fmt: skip
MODERATION = {"input": RESULT, "output": {"type": "error", "code": "c", "message": "m"}}
ANSWER: dict[str, Any] = {
    "id": "resp_1", "object": "response", "status": "completed", "model": "m", "service_tier": "flex",
    "moderation": MODERATION, "output": [], "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
}  # fmt: skip


def check_answer(answer: Any) -> None:
    assert answer.service_tier == "flex"
    assert answer.moderation.output.code == "c"
    [result] = answer.moderation.input.results
    assert (answer.moderation.input.model, result.category_scores) == ("omni-moderation-latest", {"hate": 0.1})


def test_nw_13_moderation_results_and_the_tier_come_back_whole() -> None:
    reply = openai_responses.read_reply(ANSWER, ENGINES["openai"])
    request = openai_chat.read_request({"model": "openai/gpt-6-sol", "messages": []})
    check_answer(ChatCompletion.model_validate(openai_chat.write_reply(reply, request, 1)))


def test_nw_13_moderation_results_and_the_tier_come_back_streamed() -> None:
    reply = openai_responses.read_reply(ANSWER, ENGINES["openai"])
    request = openai_chat.read_request(
        {"model": "m", "messages": [], "stream": True, "stream_options": {"include_usage": True}}
    )
    raw = b"".join(openai_chat.create_writer(request, 1).feed([*replay(reply)]))
    chunks = [json.loads(line[6:]) for line in raw.splitlines() if line.startswith(b"data: {")]
    check_answer(ChatCompletionChunk.model_validate(chunks[-2]))
    assert chunks[-2]["choices"][0]["finish_reason"] and chunks[-1]["usage"] and "service_tier" not in chunks[0]


# --- from Responses to hosts of Chat Completions alone ---


@pytest.mark.parametrize(
    ("model", "known"),
    [
        ("mistralai/m", {"metadata", "prompt_cache_key"}),
        ("cerebras/m", {"prompt_cache_key", "user"}),
        ("together/m", set()),
    ],
)
def test_a_host_gets_the_shared_fields_that_it_knows(model: str, known: set[str]) -> None:
    out = cross("/v1/responses", {"model": model, "input": "x", **SHARED})
    assert {name: out.body[name] for name in SHARED if name in out.body} == {name: SHARED[name] for name in known}
    assert {*out.dropped} == SHARED.keys() - known
