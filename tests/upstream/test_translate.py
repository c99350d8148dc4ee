"""Soft options, which agents send with every request, are dropped if unsupported; all others are refused (T8)."""

from __future__ import annotations

from typing import Any

import pytest

from llm.dialects.registry import CLIENT_DIALECTS
from llm.engines.engine import Target
from llm.engines.records import ENGINES
from llm.errors import Unsupported
from llm.upstream.translate import write_engine_request

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
