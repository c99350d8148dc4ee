"""Reading requests of Ollama's clients."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.chat.messages import Media, Reasoning, Text, ToolCall, ToolResult
from llm.chat.request import ChatRequest
from llm.dialects.registry import ENGINE_DIALECTS
from llm.engines.records import ENGINES
from llm.errors import InvalidRequest, LLMError
from tests.support.ollama_client import DIALECT
from tests.support.recordings import recordings


def read(**body: Any) -> ChatRequest:
    return DIALECT.read_request({"model": "m", **body})


# --- what a client sends ---


def test_a_chat_is_read() -> None:
    request = read(
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Look", "images": ["/9j/AAAA", "iVBORw0K"]},
            {
                "role": "assistant",
                "content": "",
                "thinking": "Hm.",
                "tool_calls": [
                    {"function": {"name": "f", "arguments": {"x": 1}}},
                    {"id": "c9", "function": {"name": "g", "arguments": {}}},
                ],
            },
            {"role": "tool", "tool_name": "g", "content": "43"},
            {"role": "tool", "content": "42"},
            {"role": "user", "content": "And?"},
        ],
        tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    )
    assert request.stream
    system, user, assistant, results, last = request.messages
    assert (system.role, user.parts[0], last.parts) == ("system", Text("Look"), (Text("And?"),))
    assert [part.mime for part in user.parts if isinstance(part, Media)] == ["image/jpeg", "image/png"]
    assert assistant.parts == (Reasoning("Hm."), ToolCall("call_2_0", "f", '{"x":1}'), ToolCall("c9", "g", "{}"))
    assert results.parts == (ToolResult("c9", (Text("43"),), name="g"), ToolResult("call_2_0", (Text("42"),), name="f"))


def test_options_are_read_zeros_included() -> None:
    given = {"num_predict": 0, "temperature": 0, "top_p": 0, "top_k": 0, "seed": 0, "stop": ["x"], "num_ctx": 8192}
    options = read(messages=[], options={**given, "mirostat": 1}, think="high", format={"type": "object"}).options
    assert (options.max_tokens, options.temperature, options.top_p, options.top_k, options.seed) == (0, 0, 0, 0, 0)
    assert (options.stop, options.context_tokens, options.effort) == (("x",), 8192, "high")
    assert options.format and options.format.schema == {"type": "object"}
    assert read(messages=[], format="json", think=False).options.reasoning is False
    assert read(messages=[], options={"num_predict": -1}).options.max_tokens is None
    assert not read(messages=[], stream=False).stream


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"messages": 5}, "messages"),
        ({"messages": [5]}, "messages[0]"),
        ({"messages": [{"role": "robot"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "images": [5]}]}, "messages[0].images[0]"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0].function"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [], "think": "hard"}, "think"),
        ({"messages": [], "think": 5}, "think"),
        ({"messages": [], "format": "xml"}, "format"),
        ({"messages": [], "options": {"stop": 5}}, "options.stop"),
        ({"messages": [], "options": {"temperature": "hot"}}, "options.temperature"),
        ({"messages": [], "tools": [{}]}, "tools[0].function"),
    ],
)
def test_an_invalid_request_names_the_path(body: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(**body)
    assert caught.value.param == place


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "user", "tool", "assistant"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "images", "tool_calls", "function", "name", "arguments", "stop", "thinking"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["messages", "prompt", "tools", "options", "think", "format", "system"]), _JSON))
def test_s8_any_body_is_read_or_an_invalid_request(body: dict[str, Any]) -> None:
    with suppress(LLMError):
        ENGINE_DIALECTS["anthropic"].write_request(read(**body), ENGINES["anthropic"])


def test_every_recorded_request_is_read() -> None:
    total = 0
    for recording in recordings():
        if recording.api not in ("ollama-chat", "ollama-generate"):
            continue
        for request, response in recording.exchanges:
            if isinstance(request.body, dict) and response.status == 200:
                total += 1
                asked = DIALECT.read_request(request.body)
                ENGINE_DIALECTS["ollama"].write_request(asked, ENGINES["ollama"])
    print(f"recorded requests of Ollama's API: {total} of {total}")
