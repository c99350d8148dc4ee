"""Each option in the form of each engine and model profile on the Chat Completions wire, or refused by name.

From providers.md, sections 0.4, 1.2, 4, 6 to 15; the whole request body is compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm import errors
from llm.chat.messages import Message, Text
from llm.chat.provider_metadata import ProviderMetadata
from llm.chat.request import NO_OPTIONS, ChatRequest, JsonFormat, Options
from llm.dialects import openai_chat
from llm.dialects.registry import ENGINE_DIALECTS
from llm.engines.engine import Engine
from llm.engines.profiles import ModelProfile, find_profile
from llm.engines.records import ENGINES
from tests.support.crossed_requests import cross
from tests.support.field_cases import field_case
from tests.support.harness import CLIENT, Connection, Request, Upstream, make_config, run_server
from tests.support.recordings import recordings
from tests.support.wires import CLIENTS

SCHEMA: Final[dict[str, Any]] = {"type": "object", "properties": {"x": {"type": "integer"}}}
FORMAT = JsonFormat(SCHEMA, "answer", True)
FORMATTED: Final[dict[str, Any]] = {
    "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
}
SAMPLERS: Final[dict[str, Any]] = {
    "temperature": 0, "top_p": 0, "presence_penalty": 0.5, "frequency_penalty": 0.5, "logprobs": True,
    "top_logprobs": 1, "stop": ("x",),
}  # fmt: skip
NAMES = [engine.name for engine in ENGINES.values() if engine.dialect == "openai-chat"]
OTHER = Engine(name="box", label="Box", dialect="openai-chat", base_url="http://box/v1")  # only by configuration


def write_request(
    engine: str, model: str, options: Mapping[str, Any], client_fields: Mapping[str, Any] | None = None
) -> Any:
    request = ChatRequest(
        model=model,
        messages=(Message("user", (Text("Hi"),)),),
        options=Options(**options),
        metadata=(ProviderMetadata("openai-chat", None, client_fields),) if client_fields else (),
    )
    return openai_chat.write_request(request, ENGINES.get(engine, OTHER))


def write_body(
    engine: str, model: str, client_fields: Mapping[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    """Returns the body without the fields that every body has."""
    body = dict(json.loads(json.dumps(write_request(engine, model, options, client_fields).body)))
    assert body.pop("messages") == [{"role": "user", "content": "Hi"}]
    assert body.pop("model") == model
    return body


def get_refused_option(engine: str, model: str, **options: Any) -> str | None:
    """Returns the option that the error names."""
    with pytest.raises(errors.Unsupported) as raised:
        write_request(engine, model, options)
    assert raised.value.engine == engine
    assert (raised.value.param or "") in str(raised.value) or raised.value.param in ("tool_choice", "format")
    return raised.value.param


# --- how much to think: off, on, an effort, a budget ---

OFF: Final = ("reasoning", False)
ON: Final = ("reasoning", True)
REFUSED: Final = "refused"


def effort(word: str) -> tuple[str, str]:
    return ("effort", word)


def tokens(number: int) -> tuple[str, int]:
    return ("reasoning_tokens", number)


THOUGHTS: Final[list[tuple[str, str, tuple[str, Any], dict[str, Any] | str]]] = [
    # Models without reasoning: turning it off sends nothing, turning it on is an error.
    ("openai", "gpt-4o", OFF, {}),
    ("openai", "gpt-4o", effort("none"), {}),
    ("openai", "gpt-4.1-mini", tokens(0), {}),
    ("openai", "gpt-4o", ON, REFUSED),
    ("openai", "gpt-4o-2024-08-06", effort("low"), REFUSED),
    ("openai", "ft:gpt-4o-mini:org::id", tokens(2000), REFUSED),
    ("openai", "gpt-3.5-turbo", ON, REFUSED),
    # Models that always reason.
    ("openai", "o3", ON, {}),
    ("openai", "o3", OFF, REFUSED),
    ("openai", "o4-mini-2025-04-16", effort("none"), REFUSED),
    ("openai", "o1", effort("high"), {"reasoning_effort": "high"}),
    ("openai", "o3-mini", tokens(2000), {"reasoning_effort": "low"}),
    ("openai", "o3-mini", tokens(0), REFUSED),
    ("openai", "gpt-5", OFF, REFUSED),
    ("openai", "gpt-5-mini-2025-08-07", ON, {}),
    ("openai", "gpt-5-nano", effort("minimal"), {"reasoning_effort": "minimal"}),
    ("openai", "gpt-6-astra", effort("none"), REFUSED),
    ("openai", "gpt-6.1-sol", effort("max"), {"reasoning_effort": "max"}),
    # Models whose reasoning is off by default, and models whose reasoning is on by default.
    ("openai", "gpt-5.1", OFF, {"reasoning_effort": "none"}),
    ("openai", "gpt-5.4-mini", ON, {"reasoning_effort": "medium"}),
    ("openai", "gpt-5.2", tokens(-1), {"reasoning_effort": "medium"}),
    ("openai", "gpt-5.2", effort("xhigh"), {"reasoning_effort": "xhigh"}),
    ("openai", "gpt-5.6-sol", OFF, {"reasoning_effort": "none"}),
    ("openai", "gpt-5.6-sol", ON, {}),
    ("openai", "gpt-6-sol", tokens(30000), {"reasoning_effort": "high"}),
    ("openai", "gpt-5.3-codex", ON, {}),
    # Since 6.2 both refuse "none".
    ("openai", "gpt-6.2-astra", effort("none"), REFUSED),
    ("openai", "gpt-6.2-sol", OFF, REFUSED),
    ("openai", "gpt-6.2-sol", effort("max"), {"reasoning_effort": "max"}),
    ("openai", "gpt-6.1-terra", OFF, {"reasoning_effort": "none"}),
    # A model without a profile gets every option.
    ("openai", "gpt-5.2-chat-latest", effort("medium"), {"reasoning_effort": "medium"}),
    ("openai", "gpt-oss-120b", OFF, {"reasoning_effort": "none"}),
    ("azure", "default", effort("low"), {"reasoning_effort": "low"}),
    ("azure", "my-gpt-4o", ON, REFUSED),
    ("azure", "gpt-35-turbo", OFF, {}),
    ("azure", "team-gpt-5.4-mini", ON, {"reasoning_effort": "medium"}),
    ("azure", "prod-gpt-5", OFF, REFUSED),
    ("azure", "demo1", OFF, {"reasoning_effort": "none"}),
    ("xai", "grok-4.7", effort("xhigh"), {"reasoning_effort": "xhigh"}),
    ("xai", "grok-4.6", OFF, {"reasoning_effort": "none"}),
    ("xai", "grok-4.5", effort("medium"), {"reasoning_effort": "medium"}),
    ("xai", "grok-4.5", OFF, REFUSED),
    ("xai", "grok-4.5", ON, {}),
    ("xai", "grok-4.3", effort("none"), {"reasoning_effort": "none"}),
    ("xai", "grok-3-mini", effort("high"), {"reasoning_effort": "high"}),
    ("xai", "grok-3-mini", tokens(2000), {"reasoning_effort": "low"}),
    ("xai", "grok-3", effort("low"), REFUSED),
    ("xai", "grok-4-0709", ON, {}),
    ("xai", "grok-4.20-0309-non-reasoning", effort("high"), REFUSED),
    ("xai", "grok-4-fast-non-reasoning", OFF, {}),
    ("xai", "grok-code-fast-1", effort("high"), {"reasoning_effort": "high"}),
    ("groq", "openai/gpt-oss-20b", effort("high"), {"reasoning_effort": "high"}),
    ("groq", "openai/gpt-oss-120b", OFF, REFUSED),
    ("groq", "openai/gpt-oss-120b", ON, {}),
    ("groq", "qwen/qwen3-32b", ON, {"reasoning_effort": "default", "reasoning_format": "parsed"}),
    ("groq", "qwen/qwen3-32b", OFF, {"reasoning_effort": "none", "reasoning_format": "parsed"}),
    ("groq", "qwen/qwen3-32b", tokens(2000), REFUSED),
    ("groq", "llama-3.3-70b-versatile", ON, REFUSED),
    ("groq", "meta-llama/llama-4-scout-17b-16e-instruct", OFF, {}),
    ("groq", "moonshotai/kimi-k2-instruct-0905", effort("low"), REFUSED),
    ("groq", "new/model", effort("low"), {"reasoning_effort": "low"}),
    ("cerebras", "gpt-oss-120b", effort("low"), {"reasoning_effort": "low"}),
    ("cerebras", "gpt-oss-120b", effort("none"), REFUSED),
    ("cerebras", "zai-glm-4.7", OFF, {"reasoning_effort": "none"}),
    ("cerebras", "zai-glm-4.7", ON, {}),
    ("cerebras", "qwen-3.8-27b", effort("none"), {"reasoning_effort": "none"}),
    ("cerebras", "qwen-3-235b-a22b-instruct-2507", ON, REFUSED),
    ("deepseek", "deepseek-v4-pro", ON, {"thinking": {"type": "enabled"}}),
    ("deepseek", "deepseek-v4-pro", OFF, {"thinking": {"type": "disabled"}}),
    ("deepseek", "deepseek-flash", effort("none"), {"thinking": {"type": "disabled"}}),
    ("deepseek", "deepseek-flash", effort("max"), {"thinking": {"type": "enabled"}, "reasoning_effort": "max"}),
    ("deepseek", "deepseek-v4-flash", tokens(2000), {"thinking": {"type": "enabled"}, "reasoning_effort": "low"}),
    ("openrouter", "anthropic/claude-sonnet-4.5", tokens(2000), {"reasoning": {"max_tokens": 2000}}),
    ("openrouter", "openai/o4-mini", effort("low"), {"reasoning": {"effort": "low"}}),
    ("openrouter", "z-ai/glm-4.6", ON, {"reasoning": {"enabled": True}}),
    ("openrouter", "z-ai/glm-4.6", OFF, {"reasoning": {"enabled": False}}),
    ("openrouter", "z-ai/glm-4.6", tokens(0), {"reasoning": {"enabled": False}}),
    ("openrouter", "z-ai/glm-4.6", tokens(-1), {"reasoning": {"enabled": True}}),
    ("together", "Qwen/Qwen3.5-397B-A17B", ON, {"reasoning": {"enabled": True}}),
    ("together", "zai-org/GLM-5.1", OFF, {"reasoning": {"enabled": False}}),
    ("together", "deepseek-ai/DeepSeek-V4-Pro", effort("high"), {"reasoning_effort": "high"}),
    ("together", "openai/gpt-oss-120b", effort("medium"), {"reasoning_effort": "medium"}),
    ("together", "openai/gpt-oss-120b", OFF, REFUSED),
    ("together", "deepseek-ai/DeepSeek-R1", OFF, REFUSED),
    ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo", ON, REFUSED),
    ("meta", "muse-spark-1.3", effort("xhigh"), {"reasoning_effort": "xhigh"}),
    ("meta", "muse-spark-1.3", OFF, REFUSED),
    ("mistralai", "magistral-medium-latest", ON, {"prompt_mode": "reasoning"}),
    ("mistralai", "magistral-small-latest", OFF, REFUSED),
    ("mistralai", "mistral-small-latest", ON, {"reasoning_effort": "high"}),
    ("mistralai", "mistral-small-2603", OFF, {"reasoning_effort": "none"}),
    ("mistralai", "mistral-medium-3-5", effort("high"), {"reasoning_effort": "high"}),
    ("mistralai", "mistral-large-4-0", effort("low"), {"reasoning_effort": "low"}),
    ("lmstudio", "openai/gpt-oss-20b", effort("low"), {"reasoning_effort": "low"}),
    ("huggingface", "openai/gpt-oss-20b:groq", tokens(16384), {"reasoning_effort": "medium"}),
    ("demo", "demo-reasoning", effort("low"), {"reasoning_effort": "low"}),
    ("box", "some/model", OFF, {"reasoning_effort": "none"}),
]


@pytest.mark.parametrize(("engine", "model", "asked", "wire"), THOUGHTS)
def test_t8_reasoning_options_have_the_form_of_the_profile(
    engine: str, model: str, asked: tuple[str, Any], wire: dict[str, Any] | str
) -> None:
    if wire == REFUSED:
        assert get_refused_option(engine, model, **dict([asked])) == asked[0]
    else:
        assert write_body(engine, model, **dict([asked])) == wire


# Efforts that the model does not have: the nearest one is sent, and that is told.
FITTED: Final[list[tuple[str, str, str, dict[str, Any]]]] = [
    ("openai", "gpt-5", "xhigh", {"reasoning_effort": "high"}),
    ("openai", "gpt-5.1", "max", {"reasoning_effort": "high"}),
    ("openai", "gpt-5.1", "minimal", {"reasoning_effort": "low"}),
    ("openai", "gpt-5.2", "max", {"reasoning_effort": "xhigh"}),
    ("openai", "gpt-5.5", "max", {"reasoning_effort": "xhigh"}),
    ("openai", "gpt-5.2-chat-latest", "high", {"reasoning_effort": "medium"}),
    ("openai", "o1-mini", "high", {}),
    ("azure", "prod-gpt-5.4", "max", {"reasoning_effort": "xhigh"}),
    ("xai", "grok-4.6", "max", {"reasoning_effort": "xhigh"}),
    ("xai", "grok-4.5", "xhigh", {"reasoning_effort": "high"}),
    ("xai", "grok-4.3", "xhigh", {"reasoning_effort": "high"}),
    ("xai", "grok-3-mini-fast", "medium", {"reasoning_effort": "low"}),
    ("xai", "grok-4-0709", "high", {}),
    ("xai", "grok-4.20-reasoning", "low", {}),
    ("xai", "grok-4.20-0309-reasoning", "high", {}),
    ("groq", "openai/gpt-oss-20b", "minimal", {"reasoning_effort": "low"}),
    ("groq", "qwen/qwen3.6-27b", "high", {"reasoning_effort": "default", "reasoning_format": "parsed"}),
    ("meta", "muse-spark-1.3", "max", {"reasoning_effort": "xhigh"}),
    ("mistralai", "magistral-small-latest", "high", {"prompt_mode": "reasoning"}),
    ("mistralai", "mistral-small-latest", "low", {"reasoning_effort": "high"}),
]


@pytest.mark.parametrize(("engine", "model", "asked", "wire"), FITTED)
def test_gw_22_an_effort_that_the_model_lacks_becomes_the_nearest_one(
    engine: str, model: str, asked: str, wire: dict[str, Any]
) -> None:
    assert write_body(engine, model, effort=asked) == wire
    assert write_request(engine, model, {"effort": asked}).dropped == ("effort",)


def test_a_budget_that_would_become_more_is_refused_or_becomes_the_nearest_effort() -> None:
    assert get_refused_option("mistralai", "mistral-small-latest", reasoning_tokens=2000) == "reasoning_tokens"
    assert write_body("xai", "grok-3-mini", reasoning_tokens=8192) == {"reasoning_effort": "low"}
    assert write_request("xai", "grok-3-mini", {"reasoning_tokens": 8192}).dropped == ("reasoning_tokens",)


@pytest.mark.parametrize("engine", [name for name in NAMES if name not in ("openai", "azure")])
def test_no_reasoning_field_is_sent_without_an_option(engine: str) -> None:
    assert write_body(engine, "some/model") == {}


def test_t8_with_effort_and_budget_the_effort_is_sent_and_the_budget_dropped() -> None:
    for engine in ("openrouter", "box"):
        assert write_request(engine, "m", {"effort": "low", "reasoning_tokens": 9000}).dropped == ("reasoning_tokens",)
    assert write_body("openrouter", "m", effort="low", reasoning_tokens=9000) == {"reasoning": {"effort": "low"}}


def test_other_reasoning_fields_of_a_client_stay() -> None:
    client_fields = {"reasoning": {"exclude": True, "effort": "high"}, "reasoning_format": "hidden"}
    assert write_body("openrouter", "m", client_fields, effort="low") == {
        **client_fields,
        "reasoning": {"exclude": True, "effort": "low"},
    }
    assert write_body("groq", "qwen/qwen3-32b", {"reasoning_format": "hidden"}) == {"reasoning_format": "hidden"}


# --- samplers, and what comes with them ---


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(
    ("engine", "model", "more"),
    [
        ("openai", "o3", {}),
        ("openai", "gpt-5-mini", {}),
        ("openai", "gpt-5-mini", {"effort": "minimal"}),
        ("openai", "gpt-5.4", {"effort": "low"}),
        ("openai", "gpt-5.1", {"reasoning": True}),
        ("openai", "gpt-5.6-terra", {}),
        ("openai", "gpt-6-sol", {}),
        ("openai", "gpt-6.1-sol", {}),
        ("azure", "team-o3-is-unknown-but-gpt-5", {}),
        ("azure", "o4-mini", {}),
    ],
)
def test_t8_sampling_options_that_a_reasoning_model_refuses_are_refused(
    engine: str, model: str, more: dict[str, Any], name: str
) -> None:
    assert get_refused_option(engine, model, **{name: SAMPLERS[name]}, **more) == name


@pytest.mark.parametrize(
    ("engine", "model", "more", "wire"),
    [
        ("openai", "gpt-4o", {}, {}),
        ("openai", "gpt-5.4", {}, {}),  # recorded: it does not reason by default
        ("openai", "gpt-5.6-sol", {"reasoning": False}, {"reasoning_effort": "none"}),
        ("openai", "gpt-6-luna", {"effort": "none"}, {"reasoning_effort": "none"}),
        ("openai", "gpt-5-chat-latest", {}, {}),
        ("azure", "default", {}, {}),
        ("azure", "gpt-4o", {}, {}),
        ("xai", "grok-3", {}, {}),
        ("cerebras", "gpt-oss-120b", {}, {}),
        ("deepseek", "deepseek-chat", {}, {}),
        ("deepseek", "deepseek-v4-flash", {"reasoning": False}, {"thinking": {"type": "disabled"}}),
        ("openrouter", "openai/o4-mini", {}, {}),
        ("meta", "muse-spark-1.3", {}, {}),
        ("lmstudio", "m", {}, {}),
        ("huggingface", "m", {}, {}),
        ("mistralai", "mistral-large-latest", {}, {}),
        ("demo", "demo-chat", {}, {}),
        ("box", "m", {}, {}),
    ],
)
def test_t8_zeros_and_all_sampling_options_are_sent_if_accepted(
    engine: str, model: str, more: dict[str, Any], wire: dict[str, Any]
) -> None:
    asked = {**SAMPLERS, "presence_penalty": 0, "frequency_penalty": 0, "seed": 0}
    seed = "random_seed" if engine == "mistralai" else "seed"
    body = {name: value for name, value in asked.items() if name != "seed"} | {"stop": ["x"], seed: 0}
    assert write_body(engine, model, **asked, **more) == {**body, **wire}


def test_default_values_of_refused_options_are_left_out() -> None:
    nothing: dict[str, Any] = {
        "temperature": 1,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "logprobs": False,
        "top_p": 1,
        "stop": (),
    }
    assert (
        write_body("openai", "o3", **nothing, top_logprobs=0, verbosity="medium", citations=False, context_tokens=0)
        == {}
    )
    assert write_body("deepseek", "deepseek-chat", service_tier="auto", verbosity="medium") == {}
    assert write_body("openai", "gpt-4o", **nothing) == {
        "temperature": 1, "presence_penalty": 0, "frequency_penalty": 0, "logprobs": False, "top_p": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "model", ["grok-4.5", "grok-3-mini", "grok-4-0709", "grok-code-fast-1", "grok-4-fast-reasoning"]
)
def test_t8_xai_reasoning_models_accept_sampling_options_except_stop_and_penalties(model: str) -> None:
    assert write_body("xai", model, temperature=0, top_p=0, seed=0, logprobs=True, top_logprobs=8) == {
        "temperature": 0, "top_p": 0, "seed": 0, "logprobs": True, "top_logprobs": 8,
    }  # fmt: skip
    for name in ("stop", "presence_penalty", "frequency_penalty"):
        assert get_refused_option("xai", model, **{name: SAMPLERS[name]}) == name
    assert write_body("xai", "grok-4.6", reasoning=False, stop=("x",)) == {"reasoning_effort": "none", "stop": ["x"]}


def test_t8_options_that_deepseek_ignores_while_reasoning_are_sent_and_reported() -> None:
    asked: dict[str, Any] = {"temperature": 0, "top_p": 0.5, "presence_penalty": 1, "frequency_penalty": 1}
    assert write_body("deepseek", "deepseek-v4-flash", **asked) == asked
    assert write_request("deepseek", "deepseek-v4-flash", asked).dropped == tuple(sorted(asked))
    for written in (write_request("deepseek", "deepseek-chat", asked),
                 write_request("deepseek", "deepseek-v4-flash", {**asked, "reasoning": False})):  # fmt: skip
        assert written.dropped == ()
    assert write_request("deepseek", "deepseek-chat", {**asked, "effort": "low"}).dropped == tuple(sorted(asked))
    # Recorded: log probabilities come with reasoning.
    assert write_body("deepseek", "deepseek-v4-flash", top_logprobs=2) == {"logprobs": True, "top_logprobs": 2}


def test_top_k_is_sent_if_the_engine_accepts_it() -> None:
    for engine in ("openrouter", "together", "lmstudio", "huggingface", "meta", "demo", "box", "mistralai"):
        assert write_body(engine, "m", top_k=0) == {"top_k": 0}
    for engine in ("openai", "azure", "xai", "groq", "cerebras", "deepseek"):
        assert get_refused_option(engine, "m", top_k=0) == "top_k"


def test_log_probabilities_in_each_engine_s_form() -> None:
    for engine in ("openai", "azure", "xai", "cerebras", "openrouter", "mistralai", "huggingface", "box"):
        assert write_body(engine, "m", logprobs=True) == {"logprobs": True}
        assert write_body(engine, "m", top_logprobs=0) == {"logprobs": True, "top_logprobs": 0}
        assert write_body(engine, "m", logprobs=False) == {"logprobs": False}
    for options, wire in (
        ({"logprobs": True}, {"logprobs": 1}),
        ({"top_logprobs": 0}, {"logprobs": 1}),
        ({"logprobs": True, "top_logprobs": 5}, {"logprobs": 5}),
        ({"logprobs": False}, {}),
    ):
        assert write_body("together", "m", **options) == wire
    for name in ("logprobs", "top_logprobs"):
        assert get_refused_option("groq", "m", **{name: True}) == name
    assert write_body("groq", "m", logprobs=False) == {}
    assert write_body("openai", "gpt-4o", top_logprobs=20) == {"logprobs": True, "top_logprobs": 20}
    for engine, model, most in (("openai", "gpt-4o", 20), ("azure", "gpt-4o", 20), ("xai", "grok-3", 8)):
        assert get_refused_option(engine, model, top_logprobs=most + 1) == "top_logprobs"


def test_the_number_of_stop_sequences_is_limited() -> None:
    four, five = tuple("abcd"), tuple("abcde")
    for engine in ("openai", "azure", "groq"):
        assert write_body(engine, "m", stop=four) == {"stop": [*four]}
        assert get_refused_option(engine, "m", stop=five) == "stop"
    for engine in ("mistralai", "deepseek", "openrouter", "together", "box"):
        assert write_body(engine, "m", stop=five) == {"stop": [*five]}


# --- the other options ---


@pytest.mark.parametrize("engine", [*NAMES, "box"])
def test_max_tokens_has_the_engines_field_name(engine: str) -> None:
    newer = ("openai", "azure", "xai", "groq", "cerebras", "meta")
    assert write_body(engine, "m", max_tokens=0) == {"max_completion_tokens" if engine in newer else "max_tokens": 0}


def test_verbosity_goes_to_the_models_that_have_it() -> None:
    for engine, model in (
        ("openai", "gpt-5"), ("openai", "gpt-5.4-mini"), ("openai", "gpt-6-sol"), ("azure", "gpt-5-x"),
        ("openrouter", "openai/gpt-5"), ("openai", "new"), ("lmstudio", "m"), ("huggingface", "m"), ("box", "m"),
    ):  # fmt: skip
        assert write_body(engine, model, verbosity="low") == {"verbosity": "low"}
    for engine, model in (
        ("openai", "gpt-4o"), ("openai", "o3"), ("azure", "gpt-4.1"), ("xai", "m"), ("groq", "m"), ("cerebras", "m"),
        ("deepseek", "m"), ("together", "m"), ("mistralai", "m"),
    ):  # fmt: skip
        assert get_refused_option(engine, model, verbosity="low") == "verbosity"


def test_a_service_tier_goes_to_the_engines_that_have_them() -> None:
    for engine in ("openai", "groq", "cerebras", "openrouter", "xai", "together", "huggingface", "box"):
        assert write_body(engine, "m", service_tier="flex") == {"service_tier": "flex"}
    for engine in ("azure", "deepseek", "mistralai"):
        assert get_refused_option(engine, "m", service_tier="flex") == "service_tier"


def test_t4_caching_is_requested_if_it_is_not_automatic() -> None:
    marked = {"cache_control": {"type": "ephemeral"}}
    assert write_body("openrouter", "anthropic/claude-sonnet-4.5", caching=True) == marked
    assert write_body("openrouter", "anthropic/claude-sonnet-4.5:online", caching=True, citations=True) == marked
    assert write_body("openrouter", "anthropic/claude-sonnet-4.5", caching=False) == {}
    longer = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    assert write_body("openrouter", "anthropic/claude-sonnet-4.5", longer, caching=True) == longer
    for engine in [*NAMES, "box"]:
        assert write_body(engine, "m", caching=True) == write_body(engine, "m", caching=False) == {}


def test_citations_come_from_models_that_search() -> None:
    for engine, model in (
        ("openai", "gpt-4o-search-preview"), ("openai", "gpt-5-search-api"), ("openrouter", "x/y:online"),
        ("openrouter", "perplexity/sonar"), ("openrouter", "openai/gpt-4o-search-preview"),
    ):  # fmt: skip
        assert write_body(engine, model, citations=True) == {}
    for engine in [*NAMES, "box"]:
        assert get_refused_option(engine, "m", citations=True) == "citations"
        assert get_refused_option(engine, "m", context_tokens=4096) == "context_tokens"


@pytest.mark.parametrize("engine", [*NAMES, "box"])
def test_t7_a_schema_is_sent_or_refused(engine: str) -> None:
    if engine == "deepseek":
        assert get_refused_option(engine, "m", format=FORMAT) == "format"
    elif engine == "openrouter":
        assert write_body(engine, "m", format=FORMAT) == {**FORMATTED, "provider": {"require_parameters": True}}
        routed = {"provider": {"order": ["x"], "require_parameters": False}}
        assert write_body(engine, "m", routed, format=FORMAT) == {**FORMATTED, **routed}
        assert write_body(engine, "m", {"provider": {"order": ["x"]}}, format=FORMAT) == {
            **FORMATTED,
            "provider": {"require_parameters": True, "order": ["x"]},
        }
    else:
        assert write_body(engine, "m", format=FORMAT) == FORMATTED
    assert write_body(engine, "m", format=JsonFormat()) == {"response_format": {"type": "json_object"}}


@pytest.mark.parametrize("engine", [*NAMES, "box"])
def test_a_tool_choice_is_sent_or_refused(engine: str) -> None:
    named = {"type": "function", "function": {"name": "f"}}
    assert write_body(engine, "m", tool_choice="auto") == {"tool_choice": "auto"}
    for choice, wire in (("none", "none"), ("required", "required"), ("tool:f", named)):
        if engine == "meta" and choice == "none":
            assert write_body(engine, "m", tool_choice=choice) == {}  # without tools none is called
        elif engine == "meta":
            assert get_refused_option(engine, "m", tool_choice=choice) == "tool_choice"  # there are no tools
        else:
            assert write_body(engine, "m", tool_choice=choice) == {"tool_choice": wire}
    assert write_body(engine, "m", parallel_tools=False) == {"parallel_tool_calls": False}


def test_usage_is_not_requested_from_an_engine_that_always_sends_it() -> None:
    request = ChatRequest(model="m", messages=(Message("user", (Text("Hi"),)),), stream=True)
    body = openai_chat.write_request(request, ENGINES["mistralai"]).body or {}
    assert body["stream"] is True and "stream_options" not in body


# --- the records ---


@pytest.mark.parametrize("engine", NAMES)
def test_profiles_name_existing_options(engine: str) -> None:
    known = {field.name for field in fields(Options)}
    families = ENGINES[engine].models.profiles
    for family in families:
        assert family.unsupported_options | family.unsupported_while_reasoning | family.ignored_while_reasoning <= known
    assert ENGINES[engine].quirks.unsupported_options <= known
    assert all("*" not in family.globs for family in families[:-1])  # no profile makes the later ones unreachable


@pytest.mark.parametrize("engine", NAMES)
def test_every_profile_matches_some_model_first(engine: str) -> None:
    families = ENGINES[engine].models.profiles
    for family in families:
        examples = [re.sub(r"\[.*?(.)\]", r"\1", glob).replace("*", "") for glob in family.globs]
        assert any(find_profile(example, families) is family for example in examples), family.globs
    assert asdict(find_profile("what nobody knows", ())) == asdict(ModelProfile())


@pytest.mark.parametrize("engine", ENGINES)
def test_no_options_and_empty_options_give_the_same_request(engine: str) -> None:
    record = ENGINES[engine]
    globs = (glob for family in record.models.profiles for glob in family.globs)
    for model in {record.example_model, "what nobody knows", *(glob.replace("*", "x") for glob in globs)}:
        request = ChatRequest(model=model, messages=(Message("user", (Text("Hi"),)),))
        write = ENGINE_DIALECTS[record.dialect].write_request
        assert request.options is NO_OPTIONS
        assert write(request, record) == write(replace(request, options=Options()), record)


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.sampled_from([0, 0.7, 1]),
        "top_p": st.sampled_from([0, 1]),
        "top_k": st.integers(0, 3),
        "stop": st.lists(st.text(max_size=2), max_size=6).map(tuple),
        "seed": st.integers(0, 2),
        "effort": st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh", "max"]),
        "reasoning": st.booleans(),
        "reasoning_tokens": st.sampled_from([-1, 0, 1024, 99999]),
        "verbosity": st.sampled_from(["low", "medium"]),
        "logprobs": st.booleans(),
        "top_logprobs": st.integers(0, 30),
        "service_tier": st.sampled_from(["auto", "flex"]),
        "caching": st.booleans(),
        "citations": st.booleans(),
        "presence_penalty": st.sampled_from([0, 1]),
    },
)
MODELS = sorted({(engine, model) for engine, model, *_ in THOUGHTS})


@given(which=st.sampled_from(MODELS), options=OPTIONS)
def test_t8_any_options_give_a_body_or_an_error_that_names_one(which: tuple[str, str], options: dict[str, Any]) -> None:
    try:
        body = write_body(*which, **options)
    except errors.Unsupported as error:
        assert error.param in options
        return
    assert None not in body.values()
    for name in ("temperature", "top_k", "seed"):
        if options.get(name) not in (None, 1):  # 1 may be what is left out
            assert body[{"seed": "random_seed"}.get(name, name) if which[0] == "mistralai" else name] == options[name]


def test_t8_options_that_providers_accepted_in_recordings_are_accepted() -> None:
    """Checked against the provider's record, for the model that accepted the option."""
    seen, faults = 0, []
    for recording in recordings():
        engine = ENGINES.get({"mistral": "mistralai"}.get(recording.provider, recording.provider))
        if (
            engine is None
            or engine.dialect != "openai-chat"
            or recording.api not in ("chat-completions", "mistral-chat")
        ):
            continue
        for request, response in recording.exchanges:
            if not isinstance(request.body, dict) or response.status >= 300:
                continue
            body = {"model": recording.model, **request.body}
            body |= {"seed": body.pop("random_seed")} if "random_seed" in body else {}
            seen += 1
            try:
                openai_chat.write_request(openai_chat.read_request(body), engine)
            except errors.LLMError as error:
                faults.append(f"{recording.name}: {error}")
    assert not faults
    assert seen >= 307


def test_t8_options_that_openai_refused_in_recordings_are_refused_before_sending() -> None:
    """``stop`` for gpt-5-mini: status 400, ``unsupported_parameter``."""
    seen = False
    for recording in recordings():
        for request, response in recording.exchanges:
            if recording.api == "chat-completions" and b"'stop' is not supported with this model" in response.body:
                seen = True
                with pytest.raises(errors.Unsupported) as raised:
                    openai_chat.write_request(openai_chat.read_request(request.body), ENGINES["openai"])
                assert raised.value.param == json.loads(response.body)["error"]["param"] == "stop"
    assert seen


# --- through the server ---


async def _answer(request: Request, connection: Connection) -> None:
    await connection.respond(
        {"id": "c", "model": "m", "choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}
    )


async def test_t8_a_refusal_uses_the_clients_option_name_and_sends_no_request() -> None:
    async with Upstream(_answer).run() as upstream:
        environ = {"OPENAI_API_KEY": "sk-canary-1", "OPENAI_BASE_URL": upstream.url, "DEEPSEEK_API_KEY": "sk-canary-2"}
        async with run_server(make_config(**environ, DEEPSEEK_BASE_URL=upstream.url)) as server:
            body = {"engine": "openai", "model": "gpt-5-mini", "prompt": "Hi", "stream": False}
            for options, name in (
                ({"temperature": 0}, "temperature"),
                ({"reasoningEffort": "none"}, "reasoningEffort"),
                ({"reasoningBudget": 0}, "reasoningBudget"),
                ({"contextWindowSize": 9}, "contextWindowSize"),
            ):
                answer = await server.post("/llm/chat", {**body, "options": options}, CLIENT)
                written = await answer.json()
                assert (answer.status, written["code"], written["param"]) == (400, "unsupported", name)
            wire = CLIENTS["anthropic"]
            asked = {**wire.request("openai", "gpt-5-mini"), "temperature": 0.5}
            assert (await server.post(wire.path, asked, wire.headers)).status == 400
            assert not upstream.requests
            # A request of the same wire passes through, and the provider's answer too.
            wire = CLIENTS["openai"]
            asked = {**wire.request("openai", "gpt-5-mini"), "temperature": 0.5, "stream": False}
            assert (await server.post(wire.path, asked, wire.headers)).status == 200
            assert upstream.requests[-1].json["temperature"] == 0.5
            # Options without effect are reported.
            body |= {"engine": "deepseek", "model": "deepseek-flash", "options": {"temperature": 0}}
            answer = await server.post("/llm/chat", body, CLIENT)
            assert (answer.status, answer.headers["X-Dropped-Fields"]) == (200, "temperature")
            assert upstream.requests[-1].json["temperature"] == 0


def test_profiles_stay_with_an_engine_at_another_base_url() -> None:
    engine = replace(ENGINES["openai"], base_url="https://proxy.example/v1")
    request = ChatRequest(model="o3", messages=(), options=Options(temperature=0))
    with pytest.raises(errors.Unsupported):
        openai_chat.write_request(request, engine)


def test_nw_48_mistral_takes_top_k_and_its_own_tiers() -> None:
    body = field_case("nw-48")["request"]
    assert cross("/v1/messages", body).body["top_k"] == 5
    for tier, sent in (("auto", "auto"), ("default", "standard_only"), ("standard_only", "standard_only")):
        assert write_body("mistralai", "m", service_tier=tier) == {"service_tier": sent}
    assert get_refused_option("mistralai", "m", service_tier="flex") == "service_tier"


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages", "/api/chat"])
def test_mistral_gets_top_k_and_its_tier_from_every_client(path: str) -> None:
    user = [{"role": "user", "content": "x"}]
    body: dict[str, Any] = {"model": "mistralai/mistral-small-latest", "messages": user, "max_tokens": 9}
    tier: dict[str, Any] = {"service_tier": "standard_only" if path == "/v1/messages" else "default"}
    if path == "/v1/responses":
        body = {"model": body["model"], "input": "x"}
    more: dict[str, Any] = {"top_k": 5, **tier} if path != "/api/chat" else {"options": {"top_k": 5}}
    out = cross(path, {**body, **more}).body
    assert out["top_k"] == 5 and out.get("service_tier") == ("standard_only" if path != "/api/chat" else None)
