"""Values that ask for nothing pass in every client dialect and to every engine, without a report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from llm.errors import Unsupported
from tests.support.crossed_requests import cross
from tests.support.field_cases import field_case

# Models of every engine dialect, and those that refuse the most options.
MODELS = (
    "openai/gpt-5.4-mini", "openai/gpt-6-sol", "openai/o3", "azure/gpt-5", "anthropic/claude-sonnet-4-5",
    "anthropic/claude-opus-5-5", "google/gemini-3.5-flash", "mistralai/mistral-small-latest", "xai/grok-4.5",
    "groq/openai/gpt-oss-20b", "cerebras/gpt-oss-120b", "deepseek/deepseek-v4", "meta/muse-spark-1.3", "together/x",
    "openrouter/openai/gpt-5", "ollama/qwen3:8b", "lmstudio/x", "chat/m", "responses/m", "claude/m", "gemini/m", "llama/m",
)  # fmt: skip
EMPTY: dict[str, Any] = {"type": "object", "properties": {}}
USER: Any = [{"role": "user", "content": "x"}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": USER},
    "/v1/responses": {"input": "x"},
    "/v1/messages": {"max_tokens": 100, "messages": USER},
    "/api/chat": {"messages": USER},
    "/api/generate": {"prompt": "x"},
}
TOOLS: dict[str, Any] = {
    "/v1/chat/completions": {"type": "function", "function": {"name": "f", "parameters": EMPTY}},
    "/v1/responses": {"type": "function", "name": "f", "parameters": EMPTY},
    "/v1/messages": {"name": "f", "input_schema": EMPTY},
    "/api/chat": {"type": "function", "function": {"name": "f", "parameters": EMPTY}},
}
_OPENAI: tuple[tuple[str, Any], ...] = (
    ("temperature", 1), ("top_p", 1), ("top_p", 1.0), ("top_logprobs", 0), ("presence_penalty", 0),
    ("frequency_penalty", 0.0), ("tools", []), ("tool_choice", "auto"), ("tool_choice", "none"),
    ("parallel_tool_calls", True), ("service_tier", "auto"), ("service_tier", "default"), ("metadata", {}),
    ("stream_options", {}), ("store", False), ("user", ""), ("safety_identifier", ""), ("prompt_cache_key", None),
    ("x_unknown", None), ("x_unknown", []), ("prompt_cache_options", {}),
)  # fmt: skip
# The optional fields of Ollama's API. https://docs.ollama.com/api
_OLLAMA: tuple[tuple[str, Any], ...] = (
    ("options", {}), ("options", {"temperature": 1, "top_p": 1}), ("options", {"temperature": None, "stop": None}),
    ("options", {"presence_penalty": 0, "frequency_penalty": 0}), ("options", {"stop": [], "num_predict": -1}),
    ("options", {"num_ctx": 0}), ("tools", []), ("format", ""), ("logprobs", False), ("top_logprobs", 0), ("truncate", True),
    ("shift", True), ("template", ""), ("raw", False), ("suffix", ""), ("system", ""), ("images", []), ("context", []),
    ("x_unknown", None),
)  # fmt: skip
NOTHING: dict[str, tuple[tuple[str, Any], ...]] = {
    "/v1/chat/completions": (
        *_OPENAI, ("n", 1), ("logit_bias", {}), ("modalities", ["text"]), ("response_format", {"type": "text"}),
        ("stop", []), ("stop", ""), ("functions", []), ("function_call", "none"), ("logprobs", False),
        ("verbosity", "medium"), ("reasoning", {}), ("plugins", []), ("extra_body", {}), ("provider", {}),
    ),
    "/v1/responses": (
        *_OPENAI, ("background", False), ("truncation", "disabled"), ("include", []), ("text", {}), ("reasoning", {}),
        ("text", {"format": {"type": "text"}}), ("text", {"verbosity": "medium"}), ("context_management", []),
        ("reasoning", {"effort": None, "summary": None}), ("previous_response_id", ""), ("access_programs", []),
        ("client_metadata", {}), ("instructions", ""),
    ),
    "/v1/messages": (
        ("temperature", 1), ("top_p", 1), ("stop_sequences", []), ("tools", []), ("tool_choice", {"type": "auto"}),
        ("tool_choice", {"type": "none"}), ("system", []), ("system", ""), ("mcp_servers", []), ("betas", []),
        ("fallbacks", []), ("output_config", {}), ("metadata", {}), ("metadata", {"user_id": None}),
        ("context_management", {"edits": []}), ("speed", "standard"), ("service_tier", "auto"), ("x_unknown", []),
        ("service_tier", "standard_only"), ("output_config", {"effort": None, "format": None, "task_budget": None}),
        ("tool_choice", {"type": "auto", "disable_parallel_tool_use": False}), ("x_unknown", None),
    ),
    "/api/chat": _OLLAMA,
    "/api/generate": _OLLAMA,
}  # fmt: skip
# Every optional field of each API may be null.
OPTIONAL: dict[str, str] = {
    "/v1/chat/completions": (
        "audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens metadata"
        " modalities moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key prompt_cache_options"
        " prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier stop store stream"
        " stream_options temperature tool_choice tools top_logprobs top_p user verbosity web_search_options top_k"
    ),
    "/v1/responses": (
        "access_programs background background_options context_management conversation image include instructions"
        " max_output_tokens max_tool_calls metadata moderation parallel_tool_calls previous_response_id prompt"
        " prompt_cache_key prompt_cache_options prompt_cache_retention reasoning safety_identifier service_tier store"
        " stream stream_options temperature text tool_choice tools top_logprobs top_p truncation user presence_penalty"
    ),
    "/v1/messages": (
        "betas cache_control container context_management diagnostics fallbacks inference_geo mcp_servers metadata"
        " output_config output_format service_tier speed stop_sequences stream system temperature thinking tool_choice"
        " tools top_k top_p user_profile_id billing_policy"
    ),
    "/api/chat": "tools format options stream keep_alive think logprobs top_logprobs truncate shift",
    "/api/generate": (
        "suffix images format options system template stream raw keep_alive think context logprobs top_logprobs"
    ),
}
NULLS = {path: tuple((name, None) for name in names.split()) for path, names in OPTIONAL.items()}


def _cases() -> Iterator[Any]:
    for path, fields in NOTHING.items():
        for name, value in (*fields, *NULLS[path]):
            yield pytest.param(path, name, value, id=f"{path} {name}={value}")


@pytest.mark.parametrize(("path", "name", "value"), [*_cases()])
def test_a_value_that_asks_for_nothing_passes_without_a_report(path: str, name: str, value: Any) -> None:
    for model in MODELS:
        bodies = [{"model": model, **BODIES[path], name: value}]
        if path in TOOLS and name not in ("tools", "functions"):
            bodies.append({**bodies[0], "tools": [TOOLS[path]]})
        for body in bodies:
            out = cross(path, body)
            assert out.dropped == (), model
            if value is None and not out.verbatim:
                del body[name]
                assert out == cross(path, body), model


@pytest.mark.parametrize(
    ("case", "path"),
    [
        ("su-16", "/v1/chat/completions"),
        ("gw-18", "/v1/messages"),
        ("nw-50", "/v1/chat/completions"),
        ("nw-55", "/v1/messages"),
        ("cl-09", "/v1/messages"),
    ],
)
def test_a_reported_value_that_asks_for_nothing_passes(case: str, path: str) -> None:
    request = field_case(case)["request"]
    out = cross(path, request.get("body", request))
    assert not out.verbatim and out.dropped == ()


@pytest.mark.parametrize("name", ["presence_penalty", "frequency_penalty"])
@pytest.mark.parametrize("client", ["/v1/responses", "/v1/chat/completions"])
def test_su_06_penalties_of_responses_reach_the_engines_that_have_them(client: str, name: str) -> None:
    if client == "/v1/responses" and name == "presence_penalty":
        body = field_case("su-06")["request"]["body"]
        assert cross(client, body).body["presence_penalty"] == 0.1
    camel = name.replace("_penalty", "Penalty")
    for model, place in (("google/gemini-3.5-flash", "generationConfig"), ("ollama/m", "options"), ("cerebras/x", "")):
        out = cross(client, {"model": model, **BODIES[client], name: 0.1})
        assert {name: 0.1, camel: 0.1}.items() & (out.body[place] if place else out.body).items(), model
    for model in ("anthropic/claude-sonnet-4-5", "openai/gpt-6-sol"):
        body = {"model": model, **BODIES[client], "tools": [TOOLS[client]], name: 0.1}
        if client == "/v1/responses" and model.startswith("openai"):
            assert cross(client, body).verbatim
            continue
        with pytest.raises(Unsupported) as refusal:
            cross(client, body)
        assert refusal.value.param == name


def test_cl_18_unknown_fields_of_an_ollama_request_are_dropped_and_named() -> None:
    assert cross("/api/chat", field_case("cl-18")["request"]["body"]).dropped == ("max_tokens",)


@pytest.mark.parametrize("model", [name for name in MODELS if not name.startswith(("ollama", "llama"))])
@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
def test_unknown_fields_of_an_ollama_request_are_dropped_and_named(path: str, model: str) -> None:
    out = cross(path, {"model": model, **BODIES[path], "max_tokens": 5, "tool_choice": "required", "keep_alive": "5m"})
    assert out.dropped == ("max_tokens", "tool_choice", "keep_alive")
    if path == "/api/chat":  # documented only for the other endpoint
        assert cross(path, {"model": model, **BODIES[path], "system": "Be brief."}).dropped == ("system",)


@pytest.mark.parametrize(("name", "value"), [("raw", True), ("template", "x"), ("suffix", "x"), ("context", [1])])
def test_fields_that_change_an_ollama_answer_are_still_refused(name: str, value: Any) -> None:
    with pytest.raises(Unsupported) as refusal:
        cross("/api/generate", {"model": "google/gemini-3.5-flash", "prompt": "x", name: value})
    assert refusal.value.param == name


def test_an_empty_object_that_asks_for_something_is_carried_or_named() -> None:
    body = {"messages": USER, "web_search_options": {}}
    assert cross("/v1/chat/completions", {**body, "model": "google/gemini-3"}).body["tools"] == [{"googleSearch": {}}]
    assert cross("/v1/chat/completions", {**body, "model": "ollama/m"}).dropped == ("web_search_options",)
