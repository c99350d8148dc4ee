"""Request bodies of each client API for each feature of the fidelity page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llm.dialects import anthropic, gemini, native, ollama, openai_chat, openai_responses
from llm.dialects.base import ClientDialect

Bodies = dict[str, dict[str, Any]]

_SCHEMA = {
    "type": "object",
    "properties": {"degrees": {"type": "integer"}},
    "required": ["degrees"],
    "additionalProperties": False,
}
_PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_FUNCTION = {"name": "get_weather", "description": "The weather", "parameters": _PARAMETERS}
_URL = "https://example.org/a.png"


@dataclass(frozen=True)
class ClientApi:
    label: str
    dialect: ClientDialect
    bodies: Callable[[str, str], Bodies]  # (image, document, both base64) → bodies by feature name


def _native(png: str, pdf: str) -> Bodies:
    base: dict[str, Any] = {"engine": "e", "model": "m", "prompt": "Hello there"}

    def option(**options: Any) -> dict[str, Any]:
        return {**base, "options": options}

    return {
        "text": base,
        "system prompt": {**base, "instructions": "Be brief."},
        "picture": {**base, "attachment": {"mimeType": "image/png", "contents": png}},
        "PDF": {**base, "attachment": {"mimeType": "application/pdf", "contents": pdf}},
        "answer by a schema": option(structuredOutput={"name": "weather", "schema": _SCHEMA}),
        "token limit": option(maxTokens=1234),
        "temperature 0": option(temperature=0),
        "top_p": option(top_p=0.123),
        "top_k": option(top_k=7),
        "stop": option(stop=["HALT"]),
        "seed": option(seed=4321),
        "effort": option(reasoningEffort="high"),
        "thinking budget": option(reasoningBudget=2345),
        "log probabilities": option(logprobs=True),
        "service tier": option(serviceTier="flex"),
        "caching": option(caching=True),
    }


def _chat(png: str, pdf: str) -> Bodies:
    hello = {"role": "user", "content": "Hello there"}
    base: dict[str, Any] = {"model": "m", "messages": [hello]}
    tool = {"type": "function", "function": _FUNCTION}
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}

    def asked(*content: Any) -> dict[str, Any]:
        return {**base, "messages": [{"role": "user", "content": [{"type": "text", "text": "Look"}, *content]}]}

    def result(content: Any) -> dict[str, Any]:
        answer = {"role": "tool", "tool_call_id": "call_1", "content": content}
        return {**base, "tools": [tool], "messages": [hello, {"role": "assistant", "tool_calls": [call]}, answer]}

    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png}"}}
    document = {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{pdf}"}
    schema = {"name": "weather", "schema": _SCHEMA, "strict": True}
    return {
        "text": base,
        "system prompt": {**base, "messages": [{"role": "system", "content": "Be brief."}, hello]},
        "picture": asked(picture),
        "picture by address": asked({"type": "image_url", "image_url": {"url": _URL}}),
        "PDF": asked({"type": "file", "file": document}),
        "tool": {**base, "tools": [tool]},
        "call and result": result("Sunny"),
        "picture as a result": result([{"type": "text", "text": "Sunny"}, picture]),
        "a tool that must be called": {
            **base,
            "tools": [tool],
            "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        },
        "no parallel calls": {**base, "tools": [tool], "parallel_tool_calls": False},
        "answer by a schema": {**base, "response_format": {"type": "json_schema", "json_schema": schema}},
        "any JSON": {**base, "response_format": {"type": "json_object"}},
        "token limit": {**base, "max_completion_tokens": 1234},
        "temperature 0": {**base, "temperature": 0},
        "top_p": {**base, "top_p": 0.123},
        "top_k": {**base, "top_k": 7},
        "stop": {**base, "stop": ["HALT"]},
        "seed": {**base, "seed": 4321},
        "effort": {**base, "reasoning_effort": "high"},
        "log probabilities": {**base, "logprobs": True},
        "service tier": {**base, "service_tier": "flex"},
        "user": {**base, "user": "user-1"},
        "cache mark": asked({"type": "text", "text": "Long", "cache_control": {"type": "ephemeral"}}),
        "cache key": {**base, "prompt_cache_key": "key-1"},
        "reasoning of an earlier answer": {
            **base,
            "messages": [hello, {"role": "assistant", "content": "Hi", "reasoning_content": "Earlier thought"}, hello],
        },
        "custom tool": {**base, "tools": [{"type": "custom", "custom": {"name": "run_code"}}]},
        "custom call and result": {
            **base,
            "tools": [{"type": "custom", "custom": {"name": "run_code"}}],
            "messages": [
                hello,
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": "call_1", "type": "custom", "custom": {"name": "run_code", "input": "print(1)"}}
                    ],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": "Printed"},
            ],
        },
        "a choice of allowed tools": {
            **base,
            "tools": [tool, {"type": "function", "function": {**_FUNCTION, "name": "get_time"}}],
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "get_time"}}]},
            },
        },
        "hosted web search": {**base, "web_search_options": {}},
        "a field that nobody knows": {**base, "x_unknown": 1},
    }


def _responses(png: str, pdf: str) -> Bodies:
    base: dict[str, Any] = {"model": "m", "input": "Hello there"}
    tool = {"type": "function", **_FUNCTION, "strict": False}
    call = {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": '{"city": "Paris"}'}

    def asked(*content: Any) -> dict[str, Any]:
        return {**base, "input": [{"role": "user", "content": [{"type": "input_text", "text": "Look"}, *content]}]}

    def result(output: Any) -> dict[str, Any]:
        answer = {"type": "function_call_output", "call_id": "call_1", "output": output}
        return {**base, "tools": [tool], "input": [{"role": "user", "content": "Hello there"}, call, answer]}

    picture = {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{png}"}
    document = {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{pdf}"}
    schema = {"type": "json_schema", "name": "weather", "schema": _SCHEMA, "strict": True}
    return {
        "text": base,
        "system prompt": {**base, "instructions": "Be brief."},
        "picture": asked(picture),
        "picture by address": asked({"type": "input_image", "detail": "auto", "image_url": _URL}),
        "PDF": asked(document),
        "tool": {**base, "tools": [tool]},
        "call and result": result("Sunny"),
        "picture as a result": result([{"type": "input_text", "text": "Sunny"}, picture]),
        "a tool that must be called": {
            **base,
            "tools": [tool],
            "tool_choice": {"type": "function", "name": "get_weather"},
        },
        "no parallel calls": {**base, "tools": [tool], "parallel_tool_calls": False},
        "answer by a schema": {**base, "text": {"format": schema}},
        "any JSON": {**base, "text": {"format": {"type": "json_object"}}},
        "token limit": {**base, "max_output_tokens": 1234},
        "temperature 0": {**base, "temperature": 0},
        "top_p": {**base, "top_p": 0.123},
        "effort": {**base, "reasoning": {"effort": "high"}},
        "log probabilities": {**base, "include": ["message.output_text.logprobs"], "top_logprobs": 2},
        "service tier": {**base, "service_tier": "flex"},
        "user": {**base, "user": "user-1"},
        "cache key": {**base, "prompt_cache_key": "key-1"},
        "reasoning of an earlier answer": {
            **base,
            "input": [
                {"role": "user", "content": "Hello there"},
                {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Earlier thought"}]},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]},
                {"role": "user", "content": "Hello again"},
            ],
        },
        "compaction of the conversation": {
            **base,
            "input": [
                {"type": "compaction", "id": "cmp_1", "encrypted_content": "c2VjcmV0"},
                {"role": "user", "content": "Hello there"},
            ],
        },
        "custom tool": {**base, "tools": [{"type": "custom", "name": "run_code"}]},
        "custom call and result": {
            **base,
            "tools": [{"type": "custom", "name": "run_code"}],
            "input": [
                {"role": "user", "content": "Hello there"},
                {"type": "custom_tool_call", "call_id": "call_1", "name": "run_code", "input": "print(1)"},
                {"type": "custom_tool_call_output", "call_id": "call_1", "output": "Printed"},
            ],
        },
        "a choice of allowed tools": {
            **base,
            "tools": [tool, {**tool, "name": "get_time"}],
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "get_time"}],
            },
        },
        "hosted web search": {**base, "tools": [{"type": "web_search"}]},
        "a field that nobody knows": {**base, "x_unknown": 1},
    }


def _anthropic(png: str, pdf: str) -> Bodies:
    hello = {"role": "user", "content": "Hello there"}
    base: dict[str, Any] = {"model": "m", "max_tokens": 4000, "messages": [hello]}
    tool = {"name": "get_weather", "description": "The weather", "input_schema": _PARAMETERS}
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}}

    def asked(*content: Any) -> dict[str, Any]:
        return {**base, "messages": [{"role": "user", "content": [*content, {"type": "text", "text": "Look"}]}]}

    def result(content: Any, **more: Any) -> dict[str, Any]:
        answer = {"type": "tool_result", "tool_use_id": "toolu_1", "content": content, **more}
        messages = [hello, {"role": "assistant", "content": [call]}, {"role": "user", "content": [answer]}]
        return {**base, "tools": [tool], "messages": messages}

    def earlier(*content: Any) -> dict[str, Any]:
        return {**base, "messages": [hello, {"role": "assistant", "content": [*content]}, hello]}

    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": png}}
    document = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": pdf}}
    marked = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    return {
        "text": base,
        "system prompt": {**base, "system": "Be brief."},
        "picture": asked(picture),
        "picture by address": asked({"type": "image", "source": {"type": "url", "url": _URL}}),
        "PDF": asked(document),
        "tool": {**base, "tools": [tool]},
        "call and result": result("Sunny"),
        "failed result": result("Sunny", is_error=True),
        "picture as a result": result([{"type": "text", "text": "Sunny"}, picture]),
        "a tool that must be called": {
            **base,
            "tools": [tool],
            "tool_choice": {"type": "tool", "name": "get_weather"},
        },
        "no parallel calls": {
            **base,
            "tools": [tool],
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        },
        "answer by a schema": {**base, "output_config": {"format": {"type": "json_schema", "schema": _SCHEMA}}},
        "token limit": {**base, "max_tokens": 1234},
        "temperature 0": {**base, "temperature": 0},
        "top_p": {**base, "top_p": 0.123},
        "top_k": {**base, "top_k": 7},
        "stop": {**base, "stop_sequences": ["HALT"]},
        "effort": {**base, "output_config": {"effort": "high"}},
        "thinking budget": {**base, "thinking": {"type": "enabled", "budget_tokens": 2345}},
        "service tier": {**base, "service_tier": "flex"},
        "caching": {**base, "system": marked},
        "user": {**base, "metadata": {"user_id": "user-1"}},
        "cache mark": asked({"type": "text", "text": "Long", "cache_control": {"type": "ephemeral"}}),
        "reasoning of an earlier answer": earlier(
            {"type": "thinking", "thinking": "Earlier thought", "signature": "c2ln"}, {"type": "text", "text": "Hi"}
        ),
        "compaction of the conversation": earlier({"type": "compaction", "content": "Summary of before"}),
        "hosted web search": {**base, "tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        "a field that nobody knows": {**base, "x_unknown": 1},
    }


def _gemini(png: str, pdf: str) -> Bodies:
    hello = {"role": "user", "parts": [{"text": "Hello there"}]}
    base: dict[str, Any] = {"model": "m", "contents": [hello]}
    tools = [{"functionDeclarations": [{**_FUNCTION, "parameters": {**_PARAMETERS, "type": "OBJECT"}}]}]
    call = {"role": "model", "parts": [{"functionCall": {"name": "get_weather", "args": {"city": "Paris"}}}]}
    picture = {"inlineData": {"mimeType": "image/png", "data": png}}

    def asked(*parts: Any) -> dict[str, Any]:
        return {**base, "contents": [{"role": "user", "parts": [{"text": "Look"}, *parts]}]}

    def result(response: Any, **more: Any) -> dict[str, Any]:
        answer = {"functionResponse": {"name": "get_weather", "response": response, **more}}
        return {**base, "tools": tools, "contents": [hello, call, {"role": "user", "parts": [answer]}]}

    def config(**fields: Any) -> dict[str, Any]:
        return {**base, "generationConfig": fields}

    def choice(**fields: Any) -> dict[str, Any]:
        return {**base, "tools": tools, "toolConfig": {"functionCallingConfig": fields}}

    time = {**_FUNCTION, "name": "get_time"}
    limited = choice(mode="VALIDATED", allowedFunctionNames=["get_time"])
    earlier = {"role": "model", "parts": [{"text": "Earlier thought", "thought": True}, {"text": "Hi"}]}
    return {
        "text": base,
        "system prompt": {**base, "systemInstruction": {"parts": [{"text": "Be brief."}]}},
        "picture": asked(picture),
        "picture by address": asked({"fileData": {"mimeType": "image/png", "fileUri": _URL}}),
        "PDF": asked({"inlineData": {"mimeType": "application/pdf", "data": pdf}}),
        "tool": {**base, "tools": tools},
        "call and result": result({"result": "Sunny"}),
        "failed result": result({"error": "Sunny"}),
        "picture as a result": result({"result": "Sunny"}, parts=[picture]),
        "a tool that must be called": choice(mode="ANY", allowedFunctionNames=["get_weather"]),
        "answer by a schema": config(responseMimeType="application/json", responseSchema=_SCHEMA),
        "any JSON": config(responseMimeType="application/json"),
        "token limit": config(maxOutputTokens=1234),
        "temperature 0": config(temperature=0),
        "top_p": config(topP=0.123),
        "top_k": config(topK=7),
        "stop": config(stopSequences=["HALT"]),
        "seed": config(seed=4321),
        "effort": config(thinkingConfig={"thinkingLevel": "HIGH"}),
        "thinking budget": config(thinkingConfig={"thinkingBudget": 2345}),
        "log probabilities": config(responseLogprobs=True),
        "service tier": {**base, "serviceTier": "flex"},
        "reasoning of an earlier answer": {**base, "contents": [hello, earlier, hello]},
        "a choice of allowed tools": {
            **limited,
            "tools": [{"functionDeclarations": [*tools[0]["functionDeclarations"], time]}],
        },
        "hosted web search": {**base, "tools": [{"googleSearch": {}}]},
        "a field that nobody knows": {**base, "xUnknown": 1},
    }


def _ollama(png: str, pdf: str) -> Bodies:
    hello = {"role": "user", "content": "Hello there"}
    base: dict[str, Any] = {"model": "m", "messages": [hello]}
    tool = {"type": "function", "function": _FUNCTION}
    call = {"function": {"name": "get_weather", "arguments": {"city": "Paris"}}}
    answer = {"role": "tool", "tool_name": "get_weather", "content": "Sunny"}

    def option(**options: Any) -> dict[str, Any]:
        return {**base, "options": options}

    return {
        "text": base,
        "system prompt": {**base, "messages": [{"role": "system", "content": "Be brief."}, hello]},
        "picture": {**base, "messages": [{**hello, "images": [png]}]},
        "tool": {**base, "tools": [tool]},
        "call and result": {
            **base,
            "tools": [tool],
            "messages": [hello, {"role": "assistant", "content": "", "tool_calls": [call]}, answer],
        },
        "answer by a schema": {**base, "format": _SCHEMA},
        "any JSON": {**base, "format": "json"},
        "token limit": option(num_predict=1234),
        "temperature 0": option(temperature=0),
        "top_p": option(top_p=0.123),
        "top_k": option(top_k=7),
        "stop": option(stop=["HALT"]),
        "seed": option(seed=4321),
        "effort": {**base, "think": "high"},
        "log probabilities": {**base, "logprobs": True},
        "reasoning of an earlier answer": {
            **base,
            "messages": [hello, {"role": "assistant", "content": "Hi", "thinking": "Earlier thought"}, hello],
        },
        "a field that nobody knows": {**base, "x_unknown": 1},
    }


CLIENTS: dict[str, ClientApi] = {
    "native": ClientApi("the native API", native, _native),
    "chat": ClientApi("Chat Completions", openai_chat, _chat),
    "responses": ClientApi("Responses", openai_responses, _responses),
    "anthropic": ClientApi("Anthropic", anthropic, _anthropic),
    "gemini": ClientApi("Gemini", gemini, _gemini),
    "ollama": ClientApi("Ollama", ollama, _ollama),
}
