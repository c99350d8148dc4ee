"""Fields that ``customOpts`` adds to an engine's request."""

from __future__ import annotations

from typing import Any

import pytest

from llm.engines.options import add_extra_fields
from tests.support.crossed_requests import cross
from tests.support.field_cases import field_case


def ask(engine: str, model: str, **options: Any) -> Any:
    body = {"engine": engine, "model": model, "prompt": "x", "stream": False, "options": options}
    return cross("/llm/chat", body).body


def test_nw_45_custom_options_are_merged_into_reasoning() -> None:
    body = cross("/llm/chat", field_case("nw-45")["request"]).body
    assert {"effort": "high", "mode": "pro"}.items() <= body["reasoning"].items()


@pytest.mark.parametrize(
    ("engine", "model", "options", "custom", "merged"),
    [
        (
            "openai",
            "gpt-6-sol",
            {"useResponsesApi": True, "verbosity": "low"},
            {"text": {"format": {"type": "text"}}},
            {"text": {"verbosity": "low", "format": {"type": "text"}}},
        ),
        (
            "anthropic",
            "claude-opus-5-5",
            {"reasoningEffort": "high"},
            {"output_config": {"task_budget": {"type": "tokens", "total": 20000}}},
            {"output_config": {"effort": "high", "task_budget": {"type": "tokens", "total": 20000}}},
        ),
        (
            "anthropic",
            "claude-sonnet-5",
            {"reasoning": True},
            {"thinking": {"display": "omitted"}},
            {"thinking": {"type": "adaptive", "display": "omitted"}},
        ),
        (
            "openrouter",
            "x",
            {"reasoningEffort": "high"},
            {"reasoning": {"exclude": True}},
            {"reasoning": {"effort": "high", "exclude": True}},
        ),
        (
            "google",
            "gemini-3.5-flash",
            {"temperature": 0},
            {"generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_LOW"}},
            {"generationConfig": {"temperature": 0, "mediaResolution": "MEDIA_RESOLUTION_LOW"}},
        ),
        ("ollama", "m", {"maxTokens": 5}, {"mirostat": 1}, {"options": {"num_predict": 5, "mirostat": 1}}),
    ],
)
def test_custom_options_are_merged_into_objects(
    engine: str, model: str, options: Any, custom: Any, merged: dict[str, dict[str, Any]]
) -> None:
    body = ask(engine, model, **options, customOpts=custom)
    for name, fields in merged.items():
        assert fields.items() <= body[name].items()


def test_an_object_of_another_type_is_replaced() -> None:
    body: dict[str, Any] = {"thinking": {"type": "adaptive", "display": "summarized"}, "tools": [1], "n": 1}
    extra: dict[str, Any] = {"thinking": {"type": "disabled"}, "tools": [2], "n": {"a": 1}, "new": {}}
    assert add_extra_fields(body, extra) == extra
    assert body["n"] == 1


def test_what_a_stateless_response_includes_stays() -> None:
    body = ask("openai", "gpt-6-sol", useResponsesApi=True, customOpts={"include": ["web_search_call.action.sources"]})
    assert body["include"] == ["reasoning.encrypted_content", "web_search_call.action.sources"]
