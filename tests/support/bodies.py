"""One request body per client dialect that uses many of its fields."""

from __future__ import annotations

import json
from typing import Any, Final

from llm.dialects import gemini, native, ollama, openai_chat
from llm.dialects.base import ClientDialect
from llm.dialects.registry import CLIENT_DIALECTS
from tests.support.paths import SAMPLES

_CALL: Final = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
_SCHEMA: Final = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
_TOOL: Final = {"type": "function", "function": {"name": "f", "description": "d", "parameters": _SCHEMA}}
_PNG: Final = "iVBORw0KGgo="

BODIES: Final[dict[str, tuple[ClientDialect, str, dict[str, Any]]]] = {
    "native": (
        native,
        "llm.chat",
        {
            "engine": "openai",
            "model": "m",
            "messages": [
                {"role": "system", "content": "Rules."},
                {"role": "user", "content": "Hello", "attachments": [{"mimeType": "image/png", "content": _PNG}]},
                {"role": "assistant", "content": "Hi"},
            ],
            "prompt": "Again",
            "stream": True,
            "temperature": 0.5,
            "tools": True,
            "options": {"maxTokens": 5, "stop": ["x"], "think": True, "structuredOutput": {"schema": _SCHEMA}},
        },
    ),
    "openai-chat": (
        openai_chat,
        "openai.chat",
        {
            "model": "openai/m",
            "messages": [
                {"role": "developer", "content": "Rules."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Look"},
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_PNG}", "detail": "low"}},
                        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                    ],
                },
                {"role": "assistant", "content": None, "tool_calls": [_CALL], "reasoning_content": "Hm"},
                {"role": "tool", "tool_call_id": "c1", "content": "42"},
            ],
            "tools": [_TOOL],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": _SCHEMA, "strict": True}},
            "reasoning_effort": "low",
            "stop": ["x"],
            "max_completion_tokens": 10,
            "logit_bias": {"1": 1},
            "stream": True,
            "stream_options": {"include_usage": True},
        },
    ),
    "openai-responses": (
        CLIENT_DIALECTS["openai-responses"],
        "openai.responses",
        {
            "model": "openai/m",
            "instructions": "Rules.",
            "input": [
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Look"}]},
                {
                    "role": "user",
                    "content": [{"type": "input_image", "image_url": f"data:image/png;base64,{_PNG}", "detail": "low"}],
                },
                {
                    "type": "reasoning",
                    "id": "rs_1",
                    "summary": [{"type": "summary_text", "text": "Hm"}],
                    "encrypted_content": "e",
                },
                {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "42"},
            ],
            "tools": [{"type": "function", "name": "f", "parameters": _SCHEMA, "strict": True}, {"type": "web_search"}],
            "tool_choice": {"type": "function", "name": "f"},
            "text": {"format": {"type": "json_schema", "name": "n", "schema": _SCHEMA}, "verbosity": "low"},
            "reasoning": {"effort": "low", "summary": "auto"},
            "include": ["reasoning.encrypted_content"],
            "stream": True,
        },
    ),
    "anthropic": (
        CLIENT_DIALECTS["anthropic"],
        "anthropic.messages",
        {
            **json.loads((SAMPLES / "anthropic" / "agent-request.json").read_bytes()),
            "model": "anthropic/claude-sonnet-4-5",
        },
    ),
    "gemini": (
        gemini,
        "gemini.generate",
        {
            "model": "google/m",
            "stream": True,
            "system_instruction": {"parts": [{"text": "Rules."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "Look"}, {"inlineData": {"mimeType": "image/png", "data": _PNG}}]},
                {
                    "role": "model",
                    "parts": [
                        {"text": "Hm", "thought": True},
                        {"functionCall": {"name": "f", "args": {"x": 1}}, "thoughtSignature": "c2ln"},
                    ],
                },
                {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"result": "42"}}}]},
            ],
            "tools": [{"functionDeclarations": [{"name": "f", "description": "d", "parameters": _SCHEMA}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
            "generationConfig": {
                "maxOutputTokens": 5,
                "temperature": 0,
                "stopSequences": ["x"],
                "responseMimeType": "application/json",
                "responseSchema": {**_SCHEMA, "property_ordering": ["x"]},
                "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 1024},
            },
            "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        },
    ),
    "ollama": (
        ollama,
        "ollama.chat",
        {
            "model": "ollama/m",
            "messages": [
                {"role": "system", "content": "Rules."},
                {"role": "user", "content": "Look", "images": [_PNG]},
                {
                    "role": "assistant",
                    "content": "",
                    "thinking": "Hm",
                    "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}],
                },
                {"role": "tool", "tool_name": "f", "content": "42"},
            ],
            "tools": [_TOOL],
            "think": True,
            "format": _SCHEMA,
            "options": {"num_predict": 5, "temperature": 0, "stop": ["x"]},
            "keep_alive": "5m",
        },
    ),
    "ollama-generate": (
        ollama.client_generate,
        "ollama.chat",
        {
            "model": "ollama/m",
            "prompt": "Hello",
            "system": "Rules.",
            "images": [_PNG],
            "suffix": "",
            "format": "json",
            "options": {"num_predict": 5},
        },
    ),
}
