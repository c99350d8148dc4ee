"""Reading requests of Gemini's clients."""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.chat.messages import Media, Reasoning, Text, ToolCall, ToolResult, UnknownPart
from llm.chat.provider_metadata import ProviderMetadata
from llm.chat.request import ChatRequest
from llm.dialects import gemini
from llm.dialects.gemini.shared import seal_metadata
from llm.dialects.registry import ENGINE_DIALECTS
from llm.engines.engine import Target
from llm.engines.records import ENGINES
from llm.errors import InvalidRequest, LLMError, Unsupported
from llm.upstream.translate import write_engine_request

HELLO: Any = [{"role": "user", "parts": [{"text": "Hello"}]}]


def read(**body: Any) -> ChatRequest:
    return gemini.read_request({"model": "m", "contents": HELLO, **body})


def read_config(**config: Any) -> ChatRequest:
    return read(generationConfig=config)


def test_a_conversation_is_read() -> None:
    request = read(
        contents=[
            {"role": "user", "parts": [{"text": "Look"}, {"inlineData": {"mimeType": "image/png", "data": "_-8"}}]},
            {"role": "model", "parts": [{"text": "Hm.", "thought": True}]},
            {"role": "model", "parts": [{"text": "Let "}, {"text": "me."}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"x": 1}}}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}, {"functionCall": {"name": "g"}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "g", "response": {"output": "43"}}}]},
            {"role": "function", "parts": [{"functionResponse": {"name": "f", "response": {"x": [1]}}}]},
            {"parts": [{"functionResponse": {"name": "f", "response": {"error": "No."}}}]},
            {"role": "user", "parts": {"text": "And?"}},
        ],
        system_instruction={"parts": [{"text": "Be brief."}]},
    )
    system, user, model, results, last = request.messages
    assert (system.role, system.parts, last.parts) == ("system", (Text("Be brief."),), (Text("And?"),))
    assert user.parts == (Text("Look"), Media(mime="image/png", base64="/+8="))
    calls = ToolCall("call_3_0", "f", '{"x":1}'), ToolCall("call_4_0", "f", "{}"), ToolCall("call_4_1", "g", "{}")
    assert model.parts == (Reasoning("Hm."), Text("Let me."), *calls)
    assert results.parts == (
        ToolResult("call_4_1", (Text("43"),), name="g"),
        ToolResult("call_3_0", (Text('{"x":[1]}'),), name="f"),
        ToolResult("call_4_0", (Text("No."),), True, name="f"),
    )


def test_results_are_matched_by_id_first_then_by_name_in_order() -> None:
    calls = [{"functionCall": {"id": id, "name": "f", "args": {}}} for id in ("a", "b")]
    answers = [{"functionResponse": {"id": id, "name": "f", "response": {"result": id}}} for id in ("b", "a")]
    request = read(contents=[{"role": "model", "parts": calls}, {"role": "user", "parts": answers}])
    assert [part.call_id for part in request.messages[1].parts if isinstance(part, ToolResult)] == ["b", "a"]
    calls = [{"functionCall": {"name": name, "args": {}}} for name in "fg"]
    answers = [{"functionResponse": {"name": name, "response": {}}} for name in ("call_1", "g")]
    request = read(contents=[{"role": "model", "parts": calls}, {"role": "user", "parts": answers}])
    matched = [part.call_id for part in request.messages[1].parts if isinstance(part, ToolResult)]
    assert matched == ["call_0_0", "call_0_1"]  # by their order, where the name is none of a call
    with pytest.raises(InvalidRequest, match="there is no call of 'g'") as error:
        read(contents=[{"role": "user", "parts": [{"functionResponse": {"name": "g", "response": {}}}]}])
    assert error.value.param == "contents[0].parts[0].functionResponse.name"


CAMEL: Any = {
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "contents": [
        {"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"snake_case": 1}}, "thoughtSignature": "c2ln"}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"result": "x"}}}]},
        {"role": "user", "parts": [{"fileData": {"mimeType": "image/png", "fileUri": "https://example.org/a.png"}}]},
    ],
    "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"properties": {"any_of": {}}}}]}],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    "generationConfig": {
        "maxOutputTokens": 5, "topP": 0.5, "topK": 40.0, "stopSequences": ["x"], "presencePenalty": 0, "seed": 0,
        "frequencyPenalty": 1, "responseMimeType": "application/json", "responseLogprobs": True, "logprobs": 2,
        "responseSchema": {"type": "OBJECT", "properties": {"x_y": {"type": "STRING", "maxLength": "9"}}},
        "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 1024},
    },
}  # fmt: skip
SNAKE: Any = {
    "system_instruction": {"parts": [{"text": "Be brief."}]},
    "contents": [
        {"role": "user", "parts": [{"inline_data": {"mime_type": "image/png", "data": "AAAA"}}]},
        {"role": "model", "parts": [{"function_call": {"name": "f", "args": {"snake_case": 1}}, "thought_signature": "c2ln"}]},
        {"role": "user", "parts": [{"function_response": {"name": "f", "response": {"result": "x"}}}]},
        {"role": "user", "parts": [{"file_data": {"mime_type": "image/png", "file_uri": "https://example.org/a.png"}}]},
    ],
    "tools": [{"function_declarations": [{"name": "f", "parameters_json_schema": {"properties": {"any_of": {}}}}]}],
    "tool_config": {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["f"]}},
    "generation_config": {
        "max_output_tokens": 5, "top_p": 0.5, "top_k": 40, "stop_sequences": ["x"], "presence_penalty": 0, "seed": 0,
        "frequency_penalty": 1, "response_mime_type": "application/json", "response_logprobs": True, "logprobs": 2,
        "response_schema": {"type": "OBJECT", "properties": {"x_y": {"type": "STRING", "max_length": "9"}}},
        "thinking_config": {"include_thoughts": True, "thinking_budget": 1024},
    },
}  # fmt: skip


def test_both_spellings_are_the_same_request() -> None:
    request = gemini.read_request({"model": "m", **CAMEL})
    assert gemini.read_request({"model": "m", **SNAKE}) == request
    assert request.messages[2].parts == (
        ToolCall(
            "call_1_0",
            "f",
            '{"snake_case":1}',
            metadata=(ProviderMetadata("gemini", None, {"thoughtSignature": "c2ln"}),),
        ),
    )
    options = request.options
    assert (options.max_tokens, options.top_p, options.top_k, options.stop) == (5, 0.5, 40, ("x",))
    assert (options.presence_penalty, options.frequency_penalty, options.seed) == (0, 1, 0)
    assert (options.logprobs, options.top_logprobs, options.tool_choice) == (True, 2, "tool:f")
    assert (options.reasoning_tokens, options.reasoning, options.effort) == (1024, None, None)
    assert request.tools[0].parameters == {"properties": {"any_of": {}}}
    assert options.format is not None
    assert options.format.schema == {
        "type": "object",
        "properties": {"x_y": {"type": "string", "maxLength": 9}},
    }


def test_a_schema_of_the_sdk_keeps_unions_and_order() -> None:
    """google-genai writes a class so: camelCase around snake_case."""
    schema = {
        "properties": {
            "a": {"any_of": [{"type": "STRING"}, {"type": "INTEGER"}], "nullable": True},
            "b": {"items": {"type": "NUMBER"}, "type": "ARRAY", "min_items": "1"},
        },
        "property_ordering": ["b", "a"],
        "type": "OBJECT",
    }
    wanted = read_config(responseMimeType="application/json", responseSchema=schema).options.format
    assert wanted is not None and wanted.schema is not None
    properties: Any = wanted.schema["properties"]
    assert [*properties] == ["b", "a"] and "property_ordering" not in wanted.schema
    assert properties["a"] == {"anyOf": [{"type": "string"}, {"type": "integer"}], "nullable": True}
    assert properties["b"] == {"items": {"type": "number"}, "type": "array", "minItems": 1}


@pytest.mark.parametrize(
    ("thinking", "reasoning", "tokens", "effort"),
    [
        ({}, None, None, None),
        ({"thinkingBudget": 0}, False, None, None),
        ({"thinkingBudget": -1, "includeThoughts": True}, True, None, None),
        ({"thinkingBudget": 2048}, None, 2048, None),
        ({"thinkingLevel": "HIGH", "includeThoughts": True}, None, None, "high"),
        ({"thinkingLevel": "minimal"}, None, None, "minimal"),
        ({"includeThoughts": True}, True, None, None),
    ],
)
def test_budgets_and_levels_of_thinking(thinking: Any, reasoning: Any, tokens: Any, effort: Any) -> None:
    options = read_config(thinkingConfig=thinking).options
    assert (options.reasoning, options.reasoning_tokens, options.effort) == (reasoning, tokens, effort)


@pytest.mark.parametrize(
    ("calling", "choice", "allowed"),
    [
        ({"mode": "AUTO"}, "auto", ()),
        ({"mode": "none"}, "none", ()),
        ({"mode": "ANY"}, "required", ()),
        ({"mode": "ANY", "allowedFunctionNames": ["f"]}, "tool:f", ()),
        ({"mode": "ANY", "allowedFunctionNames": ["f", "g"]}, "required", ("f", "g")),
        ({"mode": "VALIDATED", "allowedFunctionNames": ["f"]}, "auto", ("f",)),
        ({"mode": "MODE_UNSPECIFIED"}, None, ()),
    ],
)
def test_modes_of_function_calling(calling: Any, choice: Any, allowed: Any) -> None:
    tools = [{"functionDeclarations": [{"name": name} for name in "fgh"]}]
    options = read(tools=tools, toolConfig={"functionCallingConfig": calling}).options
    assert (options.tool_choice, options.allowed_tools) == (choice, allowed)


def write(request: ChatRequest, engine: str = "openai") -> Any:
    return ENGINE_DIALECTS[ENGINES[engine].dialect].write_request(request, ENGINES[engine])


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"cachedContent": "cachedContents/x"}, "cachedContent"),
        ({"generationConfig": {"candidateCount": 2}}, "generationConfig.candidateCount"),
        ({"generationConfig": {"speechConfig": {"voiceConfig": {}}}}, "generationConfig.speechConfig"),
        ({"generationConfig": {"responseModalities": ["IMAGE"]}}, "generationConfig.responseModalities"),
        ({"generationConfig": {"responseMimeType": "text/x.enum"}}, "generationConfig.responseMimeType"),
        ({"generationConfig": {"somethingNew": 1}}, "generationConfig.somethingNew"),
        ({"somethingNew": 1}, "somethingNew"),
        ({"tools": [{"code_execution": {}}]}, "tools"),
    ],
)
def test_what_another_engine_cannot_do_is_refused_by_name(more: Any, param: str) -> None:
    with pytest.raises(Unsupported) as error:
        write(read(**more))
    assert error.value.param == param
    assert write(read(**more), "google").body  # which has all of it


def test_the_sampling_that_gemini_cli_always_asks_for_may_be_dropped_and_no_other() -> None:
    asked = {"temperature": 1, "topP": 0.95, "topK": 64}
    target = Target(engine=ENGINES["openai"], model="o3-mini")
    sent = write_engine_request(read_config(**asked), target)
    assert sent.body is not None and not {"top_k", "top_p"} & sent.body.keys()
    assert {*sent.dropped} == {"top_k", "top_p"}  # 1 is the default temperature everywhere
    for name, value in {"temperature": 0.3, "topP": 0.5, "topK": 7}.items():
        with pytest.raises(Unsupported) as error:
            write_engine_request(read_config(**{**asked, name: value}), target)
        assert error.value.param == f"generationConfig.{name}"


def test_a_web_search_goes_to_the_engine_s_own_or_is_dropped_by_name() -> None:
    request = read(tools=[{"google_search": {"exclude_domains": ["a.org"], "timeRangeFilter": {}}}, {"urlContext": {}}])
    assert [tool.web and tool.web.kind for tool in request.tools] == ["search", "fetch"]
    assert request.tools[0].web is not None
    assert (request.tools[0].web.blocked_domains, request.tools[0].web.others) == (("a.org",), ("timeRangeFilter",))
    assert write(request, "ollama").dropped == ("googleSearch", "urlContext")
    assert write(request, "google").body["tools"] == [
        {"googleSearch": {"exclude_domains": ["a.org"], "timeRangeFilter": {}}},
        {"urlContext": {}},
    ]
    sent = write(request, "anthropic")
    assert [tool["name"] for tool in sent.body["tools"]] == ["web_search", "web_fetch"]
    assert sent.dropped == ("googleSearch/timeRangeFilter",)


def test_fields_of_the_configuration_come_back_to_google_at_their_place() -> None:
    body = write(read_config(candidateCount=2, temperature=0, speechConfig={"x": 1}), "google").body
    config = body["generationConfig"]
    assert (config["candidateCount"], config["temperature"], config["speechConfig"]) == (2, 0, {"x": 1})


def test_what_does_not_change_an_answer_is_dropped_by_name() -> None:
    request = read(
        safetySettings=[{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        labels={"a": "b"},
        toolConfig={"retrievalConfig": {"languageCode": "de"}},
        generationConfig={
            "candidateCount": 1,
            "responseModalities": ["TEXT"],
            "mediaResolution": "MEDIA_RESOLUTION_LOW",
        },
    )
    assert write(request).dropped == ("safetySettings", "labels", "generationConfig.mediaResolution", "retrievalConfig")


def test_files_that_only_google_has_and_parts_of_videos_are_refused_elsewhere() -> None:
    own = {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/x", "mimeType": "image/png"}}
    video = {"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}, "videoMetadata": {"startOffset": "5s"}}
    for part, name in ((own, "fileData"), (video, "videoMetadata")):
        request = read(contents=[{"role": "user", "parts": [part, {"text": "Look"}]}])
        assert isinstance(request.messages[0].parts[0], UnknownPart)
        with pytest.raises(Unsupported, match=name):
            write(request)
        assert write(request, "google").body["contents"][0]["parts"][0] == part


def test_a_sealed_signature_is_the_metadata_again_in_both_alphabets() -> None:
    kept = (ProviderMetadata("anthropic", "anthropic", {"signature": "?>~/+"}),)
    sealed = seal_metadata(kept)
    for text in (sealed, sealed.replace("+", "-").replace("/", "_").rstrip("=")):
        part = {"text": "Hm", "thought": True, "thoughtSignature": text}
        assert read(contents=[{"role": "model", "parts": [part]}]).messages[0].parts == (Reasoning("Hm", kept),)


@pytest.mark.parametrize("encoded", [False, True])
def test_a_signature_that_stands_for_none_is_none(encoded: bool) -> None:
    text = gemini.SKIP_SIGNATURE
    signature = b64encode(text.encode()).decode() if encoded else text
    part = {"functionCall": {"id": "c", "name": "f", "args": {}}, "thoughtSignature": signature}
    assert read(contents=[{"role": "model", "parts": [part]}]).messages[0].parts == (ToolCall("c", "f", "{}"),)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"contents": []}, "contents"),
        ({"contents": [1]}, "contents[0]"),
        ({"contents": [{"role": "system", "parts": []}]}, "contents[0].role"),
        ({"contents": [{"parts": [{"text": 1}]}]}, "contents[0].parts[0].text"),
        ({"contents": [{"parts": [{"inline_data": {"data": "AAAA"}}]}]}, "contents[0].parts[0].inlineData.mimeType"),
        ({"contents": [{"parts": [{"functionCall": {}}]}]}, "contents[0].parts[0].functionCall.name"),
        ({"systemInstruction": {"parts": [{"inlineData": {}}]}}, "systemInstruction.parts[0].text"),
        ({"tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
        ({"generationConfig": {"maxOutputTokens": 1.5}}, "generationConfig.maxOutputTokens"),
        ({"generation_config": {"thinking_config": {"thinking_level": "VAST"}}}, "generationConfig.thinkingConfig.thinkingLevel"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "MUST"}}}, "toolConfig.functionCallingConfig.mode"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_at_its_place(body: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        read(**body)
    assert error.value.param == param


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*CAMEL, "parts", "role", "text", "x"]), inner)
    ),
    max_leaves=12,
)


@given(JSON, st.sampled_from([*CAMEL, *SNAKE]))
def test_any_value_is_read_or_refused(value: Any, name: str) -> None:
    with suppress(LLMError):
        read(**{name: value})
