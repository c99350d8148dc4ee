"""Hosted tools for the web: those of a client's wire become those of the engine, or are left out by name."""

from __future__ import annotations

from typing import Any

import pytest

from llm.chat.request import ChatRequest
from llm.dialects.base import EngineRequest
from llm.dialects.registry import CLIENT_DIALECTS, passthrough_target
from llm.engines.api_choice import choose_api
from llm.engines.engine import Target
from llm.engines.records import ENGINES
from llm.errors import Unsupported
from llm.upstream.translate import write_engine_request
from tests.support.field_cases import field_case

PLACE = {"city": "London", "country": "GB", "timezone": "Europe/London"}
ASKED: dict[str, dict[str, Any]] = {  # one web search with every setting that the wire has
    "anthropic": {
        "max_tokens": 100,
        "tools": [
            {
                "type": "web_search_20250305",
                "name": "web_search",
                "max_uses": 8,
                "allowed_domains": ["a.example"],
                "user_location": {"type": "approximate", **PLACE},
            }
        ],
    },
    "openai-responses": {
        "tools": [
            {
                "type": "web_search",
                "filters": {"allowed_domains": ["a.example"]},
                "search_context_size": "low",
                "user_location": {"type": "approximate", **PLACE},
            }
        ]
    },
    "openai-chat": {
        "web_search_options": {
            "search_context_size": "low",
            "user_location": {"type": "approximate", "approximate": PLACE},
        }
    },
}
FETCH = {"type": "web_fetch_20250910", "name": "web_fetch", "max_uses": 2, "max_content_tokens": 100}
FUNCTIONS: dict[str, Any] = {
    "anthropic": {"name": "f", "input_schema": {"type": "object", "properties": {}}},
    "openai-responses": {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}},
    "openai-chat": {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}},
}


def read(client: str, model: str, **more: Any) -> tuple[ChatRequest, Target]:
    engine, _, model = model.partition("/")
    conversation = (
        {"input": "Hi"} if client == "openai-responses" else {"messages": [{"role": "user", "content": "Hi"}]}
    )
    body = {"model": model, **conversation, **ASKED[client], **more}
    return CLIENT_DIALECTS[client].read_request(body), Target(engine=ENGINES[engine], model=model, key="k")


def cross(client: str, model: str, **more: Any) -> tuple[Any, EngineRequest]:
    request, target = read(client, model, **more)
    out = write_engine_request(request, choose_api(request, target))
    return out.body, out


PLACE_WIRE = {"type": "approximate", **PLACE}
# The tools that each engine is sent, with the settings of all clients; a client lacks some of them.
WANTED: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "anthropic/claude-sonnet-4-5": (
        "/v1/messages",
        [
            {
                "type": "web_search_20250305",
                "name": "web_search",
                "allowed_domains": ["a.example"],
                "user_location": PLACE_WIRE,
                "max_uses": 8,
            }
        ],
    ),
    "openai/gpt-5.4-mini": (
        "/responses",
        [
            {
                "type": "web_search",
                "filters": {"allowed_domains": ["a.example"]},
                "user_location": PLACE_WIRE,
                "search_context_size": "low",
            }
        ],
    ),
    "xai/grok-4.5": ("/responses", [{"type": "web_search", "filters": {"allowed_domains": ["a.example"]}}]),
    "google/gemini-2.5-flash": ("/v1beta/models/gemini-2.5-flash:generateContent", [{"googleSearch": {}}]),
    "google/gemini-3.5-flash": ("/v1beta/models/gemini-3.5-flash:generateContent", [{"googleSearch": {}}]),
    "openrouter/x/y": (
        "/chat/completions",
        [
            {
                "type": "openrouter:web_search",
                "parameters": {
                    "allowed_domains": ["a.example"],
                    "max_uses": 8,
                    "search_context_size": "low",
                    "user_location": PLACE_WIRE,
                },
            }
        ],
    ),
    "groq/openai/gpt-oss-120b": ("/chat/completions", [{"type": "browser_search"}]),
}


@pytest.mark.parametrize("client", ASKED)
@pytest.mark.parametrize("model", WANTED)
def test_gw_09_a_web_search_becomes_the_engine_s_own(model: str, client: str) -> None:
    request, target = read(client, model)
    if passthrough_target(client, request, target) is not None:
        return
    path, [wanted] = WANTED[model]
    body, out = cross(client, model)
    [tool] = body["tools"]
    given = str(ASKED[client])
    lacks = {name for name in ("allowed_domains", "max_uses", "search_context_size") if name not in given}
    assert out.path == path and tool == strip(wanted, lacks)
    carried = str(tool)
    lost = {name for name in ("allowed_domains", "max_uses", "search_context_size", "user_location")
            if name in given and name not in carried}  # fmt: skip
    named = "web_search_options" if client == "openai-chat" else "web_search"
    assert set(out.dropped) == {f"{named}/{name}" for name in lost}


def strip(value: Any, names: set[str]) -> Any:
    if not isinstance(value, dict):
        return value
    rest = {name: strip(inner, names) for name, inner in value.items() if name not in names}
    return {name: inner for name, inner in rest.items() if inner or not value[name]}


def test_groq_s_systems_search_by_fields_of_their_own() -> None:
    body, _ = cross("anthropic", "groq/groq/compound", tools=[*ASKED["anthropic"]["tools"], FETCH])
    assert body["compound_custom"] == {"tools": {"enabled_tools": ["web_search", "visit_website"]}}
    assert "tools" not in body


def test_openai_s_search_models_search_in_chat_completions() -> None:
    body, out = cross("anthropic", "openai/gpt-5-search-api")
    assert out.path == "/chat/completions" and "tools" not in body
    assert body["web_search_options"] == {"user_location": {"type": "approximate", "approximate": PLACE}}
    request, target = read("openai-chat", "openai/gpt-5-search-api")
    assert passthrough_target("openai-chat", request, target) is not None


@pytest.mark.parametrize("model", ["openai/gpt-5.4-mini", "xai/grok-4.5"])
def test_a_chat_client_s_search_is_asked_of_the_api_that_has_it(model: str) -> None:
    request, target = read("openai-chat", model)
    assert passthrough_target("openai-chat", request, target) is None


def test_the_sources_of_openai_s_searches_are_asked_for() -> None:
    assert "web_search_call.action.sources" in cross("anthropic", "openai/gpt-5.4-mini")[0]["include"]
    assert "web_search_call.action.sources" not in cross("anthropic", "xai/grok-4.5")[0].get("include", [])


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        ("google/gemini-3.5-flash", {"urlContext": {}}),
        ("openai/gpt-5.4-mini", {"type": "web_search"}),
        ("openrouter/x/y", {"type": "openrouter:web_fetch", "parameters": {"max_uses": 2}}),
        ("groq/openai/gpt-oss-20b", {"type": "browser_search"}),
    ],
)
def test_the_tool_that_fetches_pages_crosses_too(model: str, wanted: dict[str, Any]) -> None:
    body, out = cross("anthropic", model, tools=[FETCH])
    assert body["tools"] == [wanted] and "web_fetch/max_content_tokens" in out.dropped


def test_search_and_fetch_are_one_tool_where_it_does_both() -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    for model in ("openai/gpt-5.4-mini", "groq/openai/gpt-oss-20b"):
        assert len(cross("anthropic", model, tools=[search, FETCH])[0]["tools"]) == 1


def test_anthropic_is_asked_to_fetch_with_its_beta() -> None:
    tools = [{"type": "openrouter:web_fetch"}]
    body, out = cross("openai-chat", "anthropic/claude-sonnet-4-5", tools=tools, web_search_options=None)
    assert body["tools"] == [{"type": "web_fetch_20250910", "name": "web_fetch"}]
    assert out.headers["anthropic-beta"] == "web-fetch-2025-09-10"


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "web_search"},
        {"type": "web_search_preview"},
        {"type": "openrouter:web_search"},
        {"google_search": {}},
        {"googleSearch": {}},
        {"type": "browser_search"},
    ],
    ids=str,
)
def test_tools_of_chat_clients_in_any_host_s_words_cross(tool: dict[str, Any]) -> None:
    body, _ = cross("openai-chat", "google/gemini-3.5-flash", tools=[tool], web_search_options=None)
    assert body["tools"] == [{"googleSearch": {}}]


@pytest.mark.parametrize("client", ASKED)
def test_functions_stand_beside_it_where_the_model_takes_both(client: str) -> None:
    tools = [*ASKED[client].get("tools", []), FUNCTIONS[client]]
    body, _ = cross(client, "google/gemini-3.5-flash", tools=tools)
    assert {"googleSearch": {}} in body["tools"] and len(body["tools"]) == 2
    assert body["toolConfig"]["includeServerSideToolInvocations"] is True
    body, out = cross(client, "google/gemini-2.5-flash", tools=tools)
    assert len(body["tools"]) == 1 and "functionDeclarations" in body["tools"][0] and "toolConfig" not in body
    assert out.dropped == ("web_search_options" if client == "openai-chat" else "web_search",)


@pytest.mark.parametrize("model", ["mistralai/m", "cerebras/m", "together/m", "ollama/m", "deepseek/deepseek-v4-pro"])
def test_gw_09_a_search_that_the_engine_does_not_have_is_left_out_by_name(model: str) -> None:
    body, out = cross("anthropic", model)
    assert "tools" not in body and out.dropped == ("web_search",)
    body, out = cross("anthropic", model, tools=[*ASKED["anthropic"]["tools"], FUNCTIONS["anthropic"]])
    assert len(body["tools"]) == 1 and out.dropped == ("web_search",)


@pytest.mark.parametrize("choice", [{"type": "tool", "name": "web_search"}, {"type": "any"}])
def test_gw_09_a_missing_search_that_has_to_be_called_is_refused(choice: dict[str, Any]) -> None:
    with pytest.raises(Unsupported) as refusal:
        cross("anthropic", "mistralai/m", tool_choice=choice)
    assert "web_search" in refusal.value.message


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("google/gemini-2.5-flash", None),
        ("openai/gpt-5.4-mini", {"type": "web_search"}),
        ("xai/grok-4.5", None),
        ("openrouter/x/y", None),
        ("groq/openai/gpt-oss-20b", None),
    ],
)
def test_gw_09_the_only_tool_that_has_to_be_called_is_offered(model: str, sent: Any) -> None:
    request = {
        name: value for name, value in field_case("gw-09")["request"].items() if name not in ("model", "messages")
    }
    body, out = cross("anthropic", model, **request)
    assert body["tools"] and body.get("tool_choice") == sent and ("tool_choice" in out.dropped) == (sent is None)
    assert "toolConfig" not in body


def test_a_choice_of_the_search_has_the_engine_s_name_for_it() -> None:
    tools = [{"type": "web_search_preview"}]
    body, _ = cross(
        "openai-responses", "anthropic/claude-sonnet-4-5", tools=tools, tool_choice={"type": "web_search_preview"}
    )
    assert (
        body["tool_choice"]
        == {"type": "tool", "name": "web_search"}
        == {"type": "tool", "name": body["tools"][0]["name"]}
    )


def test_codex_s_settings_that_no_other_wire_has_are_named() -> None:
    tools = [{"type": "web_search", "external_web_access": False}]
    _, out = cross("openai-responses", "google/gemini-3.5-flash", tools=tools)
    assert out.dropped == ("web_search/external_web_access",)


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "code_execution_20250825", "name": "code_execution"},
        {"type": "computer_toolset_20260801", "name": "computer"},
        {"type": "mcp_toolset", "mcp_server_name": "s"},
    ],
    ids=lambda tool: tool["type"],
)
def test_other_hosted_tools_are_refused_by_name(tool: dict[str, Any]) -> None:
    with pytest.raises(Unsupported) as refusal:
        cross("anthropic", "google/gemini-3.5-flash", tools=[tool])
    assert (tool.get("name") or tool["type"]) in refusal.value.message and refusal.value.param == "tools"


def test_groq_gets_its_own_words_from_chat_clients_too() -> None:
    model = "groq/openai/gpt-oss-20b"
    request, target = read("openai-chat", model)
    assert passthrough_target("openai-chat", request, target) is None
    body, out = cross("openai-chat", model)
    assert body["tools"] == [{"type": "browser_search"}] and "web_search_options" not in body
    assert set(out.dropped) == {"web_search_options/search_context_size", "web_search_options/user_location"}
    request, target = read("openai-chat", model, tools=[{"type": "browser_search"}], web_search_options=None)
    assert passthrough_target("openai-chat", request, target) is not None
