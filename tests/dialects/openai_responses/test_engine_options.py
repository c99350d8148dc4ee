"""Options are written by the same engine records and model profiles as for Chat Completions."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

import pytest

from llm import errors
from llm.chat.messages import Message, Text
from llm.chat.provider_metadata import ProviderMetadata
from llm.chat.request import ChatRequest, JsonFormat, Options, ToolSpec
from llm.dialects import openai_responses
from llm.dialects.base import EngineRequest
from llm.engines.records import ENGINES

SCHEMA: Final[dict[str, Any]] = {"type": "object"}
FORMAT: Final[dict[str, Any]] = {"format": {"type": "json_schema", "name": "r", "schema": SCHEMA, "strict": True}}
WEB_SEARCH: Final[dict[str, Any]] = {"type": "web_search"}
ENCRYPTED: Final = {"include": ["reasoning.encrypted_content"]}


def write(engine: str, model: str, client_fields: dict[str, Any] | None = None, **options: Any) -> EngineRequest:
    request = ChatRequest(
        model=model,
        messages=(Message("user", (Text("Hi"),)),),
        options=Options(**options),
        metadata=(ProviderMetadata("openai-responses", None, client_fields),) if client_fields else (),
    )
    return openai_responses.write_request(request, replace(ENGINES[engine], dialect="openai-responses"))


def write_body(engine: str, model: str, client_fields: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """Returns the body without the fields of every request."""
    body = dict(json.loads(json.dumps(write(engine, model, client_fields, **options).body)))
    assert (body.pop("model"), body.pop("store")) == (model, False)
    assert body.pop("input") == [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]
    return body


def thinking(effort: str | None) -> dict[str, Any]:
    reasoning = (
        {"effort": effort} if effort == "none" else {"summary": "auto", **({"effort": effort} if effort else {})}
    )
    return {"reasoning": reasoning, **ENCRYPTED}


@pytest.mark.parametrize(
    ("engine", "model", "options", "wire"),
    [
        ("openai", "gpt-4o", {"reasoning": False}, {}),
        ("openai", "gpt-4o", {"temperature": 0, "top_p": 0}, {"temperature": 0, "top_p": 0}),
        ("openai", "gpt-4o", {"logprobs": True}, {"include": ["message.output_text.logprobs"]}),
        ("openai", "o3-pro", {"reasoning": True}, thinking(None)),
        ("openai", "o3", {"temperature": 1, "presence_penalty": 0}, ENCRYPTED),
        ("openai", "gpt-5.6-sol", {"reasoning": False, "temperature": 0}, {**thinking("none"), "temperature": 0}),
        ("openai", "gpt-5.6-sol", {"effort": "max"}, thinking("max")),
        ("openai", "gpt-5.4", {"reasoning": True}, thinking("medium")),
        ("openai", "gpt-5.4", {"top_p": 0.5}, {**ENCRYPTED, "top_p": 0.5}),
        ("openai", "gpt-5.4", {"verbosity": "low"}, {**ENCRYPTED, "text": {"verbosity": "low"}}),
        ("openai", "gpt-5.4", {"service_tier": "flex"}, {**ENCRYPTED, "service_tier": "flex"}),
        ("azure", "team-gpt-5.4", {"reasoning_tokens": 9000}, thinking("medium")),
        ("xai", "grok-4.6", {"effort": "xhigh"}, thinking("xhigh")),
        ("groq", "openai/gpt-oss-20b", {"effort": "low"}, thinking("low")),
        ("groq", "qwen/qwen3-32b", {"reasoning": False}, thinking("none")),
        ("deepseek", "deepseek-v4-flash", {"reasoning": False}, thinking("none")),
        ("deepseek", "deepseek-v4-flash", {"effort": "max"}, thinking("max")),
        ("openrouter", "z-ai/glm-4.6", {"reasoning": False}, thinking("none")),
        ("openrouter", "z-ai/glm-4.6", {"reasoning_tokens": 2000}, thinking("low")),
        ("openai", "gpt-4o", {"format": JsonFormat(SCHEMA, "r", True)}, {"text": FORMAT}),
        (
            "openrouter",
            "m",
            {"format": JsonFormat(SCHEMA, "r", True)},
            {**ENCRYPTED, "text": FORMAT, "provider": {"require_parameters": True}},
        ),
        ("lmstudio", "m", {"tool_choice": "required"}, {"tool_choice": "required"}),
        ("lmstudio", "m", {"tool_choice": "none"}, {"tool_choice": "none"}),
    ],
)
def test_t8_options_follow_the_model_profile(
    engine: str, model: str, options: dict[str, Any], wire: dict[str, Any]
) -> None:
    assert write_body(engine, model, **options) == wire


@pytest.mark.parametrize(
    ("engine", "model", "options", "name"),
    [
        ("openai", "gpt-4o", {"reasoning": True}, "reasoning"),
        ("openai", "gpt-4o", {"verbosity": "low"}, "verbosity"),
        ("openai", "o3", {"temperature": 0}, "temperature"),
        ("openai", "o3", {"effort": "none"}, "effort"),
        ("openai", "gpt-5", {"top_p": 0.5}, "top_p"),
        ("openai", "gpt-5.6-sol", {"logprobs": True}, "logprobs"),
        ("openai", "gpt-5.4", {"effort": "low", "temperature": 0}, "temperature"),
        ("openai", "gpt-5.4", {"seed": 0}, "seed"),
        ("openai", "gpt-4o", {"stop": ("x",)}, "stop"),
        ("openai", "gpt-4o", {"top_logprobs": 21}, "top_logprobs"),
        ("azure", "default", {"service_tier": "flex"}, "service_tier"),
        ("xai", "grok-4.5", {"reasoning": False}, "reasoning"),
        ("xai", "grok-4-0709", {"reasoning_tokens": 5}, "reasoning_tokens"),
        ("openai", "gpt-6.2-sol", {"effort": "none"}, "effort"),
        ("deepseek", "deepseek-v4-flash", {"format": JsonFormat(SCHEMA)}, "format"),
    ],
)
def test_t8_options_that_the_profile_rejects_are_refused(
    engine: str, model: str, options: dict[str, Any], name: str
) -> None:
    with pytest.raises(errors.Unsupported) as told:
        write(engine, model, **options)
    assert (told.value.param, told.value.engine) == (name, engine)


def test_t8_options_without_effect_or_field_are_reported() -> None:
    assert write("deepseek", "deepseek-flash", temperature=0).dropped == ("temperature",)
    assert write("openrouter", "m", effort="low", reasoning_tokens=9000).dropped == ("reasoning_tokens",)
    assert write("openrouter", "m", reasoning=True).dropped == ()  # requested by its summary


def test_client_fields_win_over_default_fields() -> None:
    body = write_body(
        "openrouter", "m", {"provider": {"require_parameters": False}}, format=JsonFormat(SCHEMA, "r", True)
    )
    assert body["provider"] == {"require_parameters": False}


@pytest.mark.parametrize(
    ("tools", "effort"),
    [
        ((), "minimal"),
        ((ToolSpec("f", parameters=SCHEMA),), "minimal"),
        (
            (ToolSpec("s", executor="provider", metadata=(ProviderMetadata("openai-responses", None, WEB_SEARCH),)),),
            "low",
        ),
    ],
)
def test_cl_05_the_least_effort_is_one_that_hosted_tools_accept(tools: tuple[ToolSpec, ...], effort: str) -> None:
    """Recorded by others: "The following tools cannot be used with reasoning.effort 'minimal': web_search"."""
    request = ChatRequest(
        model="gpt-5",
        messages=(Message("user", (Text("Hi"),)),),
        tools=tools,
        options=Options(reasoning=False),
        soft_options=frozenset({"reasoning"}),
    )
    outgoing = openai_responses.write_request(request, replace(ENGINES["openai"], dialect="openai-responses"))
    assert outgoing.body is not None and outgoing.body["reasoning"] == {"effort": effort}
    assert outgoing.dropped == ("reasoning",)
