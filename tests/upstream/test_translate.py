"""Soft options, which agents send with every request, are dropped if unsupported; all others are refused (T8)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llm.dialects.registry import CLIENT_DIALECTS
from llm.engines.engine import Target
from llm.engines.records import ENGINES
from llm.errors import Unsupported
from llm.upstream.translate import write_engine_request
from tests.support.crossed_requests import PATHS, cross

BUDGET: Any = {"thinking": {"type": "enabled", "budget_tokens": 31999}}
ADAPTIVE: Any = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}
OFF: Any = {"thinking": {"type": "disabled"}}
ASKED: Any = {"max_tokens": 32000, "messages": [{"role": "user", "content": "Hi"}]}
SAID = ("reasoning_effort", "reasoning", "thinking", "think", "thinkingConfig")


def target(engine: str, model: str) -> Target:
    return Target(engine=ENGINES[engine], model=model, key="k")


@pytest.mark.parametrize(
    ("engine", "model", "option", "dropped"),
    [
        ("openai", "gpt-4.1", BUDGET, {"reasoning_tokens", "reasoning"}),
        ("openai", "gpt-4.1", ADAPTIVE, {"effort", "reasoning"}),
        ("groq", "llama-3.3-70b-versatile", BUDGET, {"reasoning_tokens", "reasoning"}),
        ("google", "gemini-2.0-flash", ADAPTIVE, {"effort", "reasoning"}),
        ("ollama", "qwen2.5-coder:7b", BUDGET, {"reasoning_tokens", "reasoning"}),
        ("ollama", "qwen2.5-coder:7b", ADAPTIVE, {"effort", "reasoning"}),
        ("xai", "grok-4", OFF, {"reasoning"}),
    ],
)
def test_t8_reasoning_requested_by_an_agent_is_dropped_and_named_if_the_model_has_none(
    engine: str, model: str, option: Any, dropped: set[str]
) -> None:
    request = CLIENT_DIALECTS["anthropic"].read_request({"model": model, **ASKED, **option})
    outgoing = write_engine_request(request, target(engine, model))
    assert set(outgoing.dropped) == dropped
    assert outgoing.body is not None and not any(name in outgoing.body for name in SAID)


@pytest.mark.parametrize(("engine", "model"), [("openai", "gpt-5.4-mini"), ("ollama", "qwen3:8b")])
def test_reasoning_requested_by_an_agent_is_sent_if_the_model_supports_it(engine: str, model: str) -> None:
    request = CLIENT_DIALECTS["anthropic"].read_request({"model": model, **ASKED, **ADAPTIVE})
    outgoing = write_engine_request(request, target(engine, model))
    assert not outgoing.dropped
    assert outgoing.body is not None and any(outgoing.body.get(name) == "high" for name in SAID)


def test_t8_an_unsupported_option_of_the_caller_is_refused() -> None:
    chat: Any = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "Hi"}], "top_k": 5}
    for client, body in (("openai-chat", chat), ("anthropic", {"model": "gpt-4.1", **ASKED, **ADAPTIVE, "top_k": 5})):
        with pytest.raises(Unsupported) as refused:
            write_engine_request(CLIENT_DIALECTS[client].read_request(body), target("openai", "gpt-4.1"))
        assert refused.value.param == "top_k"
    thinks = CLIENT_DIALECTS["native"].read_request(
        {"engine": "groq", "model": "m", "prompt": "Hi", "options": {"reasoning": True}}
    )
    with pytest.raises(Unsupported):
        write_engine_request(thinks, target("groq", "llama-3.3-70b-versatile"))


def test_the_service_tier_of_anthropic_clients_is_translated() -> None:
    request = CLIENT_DIALECTS["anthropic"].read_request({"model": "m", **ASKED, "service_tier": "standard_only"})
    for engine, field, word in (
        ("openai", "service_tier", "default"),
        ("google", "serviceTier", "standard"),
        ("anthropic", "service_tier", "standard_only"),
    ):
        body = write_engine_request(request, target(engine, "m")).body
        assert body is not None and body[field] == word


def test_t10_a_file_id_of_another_provider_is_refused_by_every_engine() -> None:
    part = {"type": "file", "file": {"file_id": "file-1"}}
    body = {"model": "m", "messages": [{"role": "user", "content": [part]}]}
    for engine in ("anthropic", "google", "ollama"):
        with pytest.raises(Unsupported):
            write_engine_request(CLIENT_DIALECTS["openai-chat"].read_request(body), target(engine, "m"))


# --- a refusal names the client's own field ---

USER: Any = [{"role": "user", "content": "x"}]
NAMED: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/chat/completions", {"model": "anthropic/m", "seed": 1}, "seed"),
    ("/v1/chat/completions", {"model": "google/gemini-3.5-flash", "verbosity": "low"}, "verbosity"),
    ("/v1/chat/completions", {"model": "gemini/m", "service_tier": "x"}, "service_tier"),
    ("/v1/chat/completions", {"model": "ollama/m", "function_call": {"name": "g"}}, "function_call"),
    ("/v1/chat/completions", {"model": "ollama/m", "tool_choice": "required"}, "tool_choice"),
    ("/v1/responses", {"model": "anthropic/m", "include": ["message.output_text.logprobs"]}, "include"),
    ("/v1/responses", {"model": "google/gemini-3.5-flash", "text": {"verbosity": "low"}}, "text.verbosity"),
    ("/v1/messages", {"model": "responses/m", "stop_sequences": ["x"]}, "stop_sequences"),
    ("/v1/messages", {"model": "openai/gpt-5.4", "top_k": 5}, "top_k"),
    ("/api/chat", {"model": "anthropic/m", "options": {"seed": 1}}, "options.seed"),
    ("/api/generate", {"model": "openai/gpt-5.4", "options": {"top_k": 1}}, "options.top_k"),
    ("/llm/chat", {"engine": "ollama", "model": "m", "options": {"serviceTier": "flex"}}, "serviceTier"),
    ("/llm/chat", {"engine": "openai", "model": "gpt-4o", "options": {"reasoningEffort": "low"}}, "reasoningEffort"),
]


@pytest.mark.parametrize(("path", "fields", "name"), NAMED, ids=[f"{path} {name}" for path, _, name in NAMED])
def test_a_refusal_names_the_client_s_own_field(path: str, fields: dict[str, Any], name: str) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "/v1/responses": {"input": "x"},
        "/v1/messages": {"messages": USER, "max_tokens": 9},
        "/llm/chat": {"prompt": "x"},
        "/api/generate": {"prompt": "x"},
    }
    with pytest.raises(Unsupported) as refusal:
        cross(path, {**bodies.get(path, {"messages": USER}), **fields})
    assert refusal.value.param == name
    assert name in refusal.value.message or name in ("tool_choice", "function_call")


@pytest.mark.parametrize(
    ("path", "fields", "name"),
    [
        ("/v1/chat/completions", {"messages": USER, "max_tokens": 9}, "max_tokens"),
        ("/v1/chat/completions", {"messages": USER, "max_completion_tokens": 9}, "max_completion_tokens"),
        ("/v1/responses", {"input": "x", "max_output_tokens": 9}, "max_output_tokens"),
        ("/v1/messages", {"messages": USER, "max_tokens": 9}, "max_tokens"),
        ("/api/chat", {"messages": USER, "options": {"num_predict": 9}}, "options.num_predict"),
        ("/api/generate", {"prompt": "x", "options": {"num_predict": 9}}, "options.num_predict"),
        ("/llm/chat", {"prompt": "x", "options": {"maxTokens": 9}}, "maxTokens"),
    ],
)
def test_a_limit_of_tokens_is_named_as_the_client_wrote_it(path: str, fields: dict[str, Any], name: str) -> None:
    request = PATHS[path].read_request({"model": "m", **fields})
    quirks = replace(ENGINES["google"].quirks, unsupported_options=frozenset({"max_tokens"}))
    target = Target(engine=replace(ENGINES["google"], quirks=quirks), model="gemini-3.5-flash")
    with pytest.raises(Unsupported) as refusal:
        write_engine_request(request, target)
    assert (refusal.value.param, refusal.value.message) == (name, f"Google does not have the option {name}.")
