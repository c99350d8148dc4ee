"""A choice of tools crosses to every engine: exactly, by the tools that are offered, or reported as dropped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from llm.errors import InvalidRequest, LLMError, Unsupported
from tests.support.crossed_requests import PATHS, Crossed, cross, write_for
from tests.support.field_cases import field_case

EMPTY: dict[str, Any] = {"type": "object", "properties": {}}
CALLED = [{"role": "user", "content": "x"}]
# Engines without ``allowed_tools``, with a model that can be forced to call a tool, and one that cannot.
FORCED = ["anthropic/claude-sonnet-4-5", "google/gemini-3.5-flash", "claude/m", "gemini/m", "cerebras/m"]
UNFORCED = ["meta/muse-spark-1.3", "anthropic/claude-opus-5-5"]


def ask_chat(model: str, choice: Any, *names: str) -> Crossed:
    tools = [{"type": "function", "function": {"name": name, "parameters": EMPTY}} for name in names]
    return cross("/v1/chat/completions", {"model": model, "messages": CALLED, "tools": tools, "tool_choice": choice})


def ask_responses(model: str, choice: Any, *names: str) -> Crossed:
    tools = [{"type": "function", "name": name, "parameters": EMPTY} for name in names]
    return cross("/v1/responses", {"model": model, "input": "x", "tools": tools, "tool_choice": choice})


def ask_messages(model: str, choice: Any, *names: str) -> Crossed:
    tools = [{"name": name, "input_schema": EMPTY} for name in names]
    body = {"model": model, "max_tokens": 100, "messages": CALLED, "tools": tools, "tool_choice": choice}
    return cross("/v1/messages", body)


def allow(client: str, mode: str, *names: str) -> dict[str, Any]:
    if client == "responses":
        return {"type": "allowed_tools", "mode": mode, "tools": [{"type": "function", "name": n} for n in names]}
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


ASK = {"chat": ask_chat, "responses": ask_responses, "messages": ask_messages}


def find_tools(body: Mapping[str, Any]) -> list[str]:
    """Returns the names of the tools in an engine's request."""
    names = []
    for tool in body.get("tools") or ():
        inner = tool.get("functionDeclarations") or [tool.get("function") or tool]
        names += [one["name"] for one in inner]
    return names


def is_forced(body: Mapping[str, Any]) -> bool:
    choice = str(body.get("tool_choice")) + str(body.get("toolConfig"))
    return any(word in choice for word in ("required", "'any'", "'ANY'", "'tool'", "'function'"))


# --- allowed_tools ---


def test_nw_17_allowed_tools_go_over_responses() -> None:
    out = cross("/v1/chat/completions", field_case("nw-17")["request"])
    assert out.body["tool_choice"] == {
        "type": "allowed_tools",
        "mode": "auto",
        "tools": [{"type": "function", "name": "f"}],
    }
    assert out.dropped == ()


def test_su_01_allowed_tools_of_responses_go_on_as_they_are() -> None:
    assert cross("/v1/responses", field_case("su-01")["request"]["body"]).verbatim


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_allowed_tools_keep_all_definitions_where_the_api_has_the_choice(mode: str) -> None:
    out = ask_chat("openai/gpt-6-sol", allow("chat", mode, "b", "c"), "a", "b", "c")
    assert find_tools(out.body) == ["a", "b", "c"]
    named = [{"type": "function", "name": "b"}, {"type": "function", "name": "c"}]
    assert out.body["tool_choice"] == {"type": "allowed_tools", "mode": mode, "tools": named}


@pytest.mark.parametrize("client", ["chat", "responses"])
@pytest.mark.parametrize("model", [*FORCED, *UNFORCED])
def test_su_01_only_allowed_tools_are_offered_elsewhere(model: str, client: str) -> None:
    if (client, model) == ("chat", "cerebras/m") or (client, model) == ("chat", "meta/muse-spark-1.3"):
        pytest.skip("the same dialect: the engine decides")
    out = ASK[client](model, allow(client, "auto", "b", "c"), "a", "b", "c")
    assert find_tools(out.body) == ["b", "c"] and not is_forced(out.body) and out.dropped == ()
    out = ASK[client](model, allow(client, "required", "b"), "a", "b")
    assert find_tools(out.body) == ["b"]
    assert (is_forced(out.body), out.dropped) == ((True, ()) if model in FORCED else (False, ("tool_choice",)))


@pytest.mark.parametrize("client", ["chat", "responses"])
def test_no_allowed_tool_is_a_choice_of_none(client: str) -> None:
    """The definitions stay, since calls in the history may need them."""
    for allowed in ((), ("elsewhere",)):
        out = ASK[client]("anthropic/claude-sonnet-4-5", allow(client, "auto", *allowed), "a")
        assert (find_tools(out.body), out.body["tool_choice"]) == (["a"], {"type": "none"})
    with pytest.raises(Unsupported) as refusal:
        ASK[client]("anthropic/claude-sonnet-4-5", allow(client, "required", "elsewhere"), "a")
    assert refusal.value.param == "tool_choice"


def test_an_allowed_tool_of_a_namespace_is_found() -> None:
    function = {"type": "function", "name": "spawn", "parameters": EMPTY}
    tools = [{"type": "namespace", "name": "agents", "tools": [function, {**function, "name": "stop"}]}]
    named = {"type": "function", "name": "spawn", "namespace": "agents"}
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [named]}
    body = {"model": "google/gemini-3.5-flash", "input": "x", "tools": tools, "tool_choice": choice}
    assert find_tools(cross("/v1/responses", body).body) == ["agents__spawn"]


@pytest.mark.parametrize(
    ("client", "choice", "place"),
    [
        (
            "chat",
            {"type": "allowed_tools", "allowed_tools": {"mode": "x", "tools": []}},
            "tool_choice.allowed_tools.mode",
        ),
        ("chat", {"type": "allowed_tools", "allowed_tools": 1}, "tool_choice.allowed_tools"),
        (
            "chat",
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": ["f"]}},
            "tool_choice.allowed_tools.tools[0]",
        ),
        ("responses", {"type": "allowed_tools", "mode": "none", "tools": [{"type": "x"}]}, "tool_choice.mode"),
        ("responses", {"type": "allowed_tools", "mode": "auto", "tools": ["f"]}, "tool_choice.tools[0]"),
        ("responses", {"type": "allowed_tools", "mode": "auto", "tools": [{}]}, "tool_choice.tools[0].type"),
    ],
)
def test_a_wrong_choice_is_refused_by_its_place(client: str, choice: Any, place: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        ASK[client]("anthropic/claude-sonnet-4-5", choice, "f")
    assert refusal.value.param == place


# --- a tool that has to be called, where an engine cannot force it ---


CHOICES: dict[str, tuple[Any, Any]] = {  # any tool, the tool b
    "chat": ("required", {"type": "function", "function": {"name": "b"}}),
    "responses": ("required", {"type": "function", "name": "b"}),
    "messages": ({"type": "any"}, {"type": "tool", "name": "b"}),
}


@pytest.mark.parametrize("client", ASK)
@pytest.mark.parametrize("model", UNFORCED)
def test_a_demand_that_cannot_be_forced_is_reported(model: str, client: str) -> None:
    if (client, model) in (("chat", "meta/muse-spark-1.3"), ("messages", "anthropic/claude-opus-5-5")):
        pytest.skip("the same dialect: the engine decides")
    any_tool, named = CHOICES[client]
    out = ASK[client](model, any_tool, "a", "b")
    assert (find_tools(out.body), out.dropped) == (["a", "b"], ("tool_choice",)) and not is_forced(out.body)
    out = ASK[client](model, named, "a", "b")
    assert (find_tools(out.body), out.dropped) == (["b"], ("tool_choice",)) and not is_forced(out.body)


@pytest.mark.parametrize("client", ASK)
@pytest.mark.parametrize("model", UNFORCED)
def test_a_demanded_tool_that_is_not_there_is_refused(model: str, client: str) -> None:
    if (client, model) in (("chat", "meta/muse-spark-1.3"), ("messages", "anthropic/claude-opus-5-5")):
        pytest.skip("the same dialect: the engine decides")
    with pytest.raises(LLMError) as refusal:
        ASK[client](model, CHOICES[client][1], "a")
    assert refusal.value.param == "tool_choice"
    with pytest.raises(LLMError) as refusal:
        ASK[client](model, CHOICES[client][0])
    assert refusal.value.param == "tool_choice"


@pytest.mark.parametrize("client", ["chat", "responses"])
def test_a_demand_is_reported_where_the_model_thinks_with_a_budget(client: str) -> None:
    """Anthropic refuses both together; a thinking budget and a demanded tool are both usual settings of agents."""
    efforts: dict[str, Any] = {"chat": {"reasoning_effort": "high"}, "responses": {"reasoning": {"effort": "high"}}}
    tools = [
        {"type": "function", "function": {"name": name, "parameters": EMPTY}}
        if client == "chat"
        else {"type": "function", "name": name, "parameters": EMPTY}
        for name in ("a", "b")
    ]
    body = {
        "model": "anthropic/claude-sonnet-4-5",
        "tools": tools,
        "tool_choice": CHOICES[client][1],
        **efforts[client],
    }
    path = "/v1/chat/completions" if client == "chat" else "/v1/responses"
    out = cross(path, {**body, **({"messages": CALLED} if client == "chat" else {"input": "x"})})
    assert out.body["thinking"]["type"] == "enabled" and out.dropped == ("tool_choice",)
    assert find_tools(out.body) == ["b"] and not is_forced(out.body)


def test_a_choice_of_none_offers_no_tool_where_the_engine_lacks_the_choice() -> None:
    out = ask_responses("meta/muse-spark-1.3", "none", "a")
    assert "tools" not in out.body and "tool_choice" not in out.body and out.dropped == ()


# --- any JSON, where an engine enforces only schemas ---

ASKS = "Answer with one JSON object and nothing else."
JSON_ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": CALLED, "response_format": {"type": "json_object"}},
    "/v1/responses": {"input": "x", "text": {"format": {"type": "json_object"}}},
    "/api/chat": {"messages": CALLED, "format": "json"},
}


@pytest.mark.parametrize("path", JSON_ASKED)
@pytest.mark.parametrize("model", ["anthropic/claude-sonnet-4-5", "anthropic/claude-opus-5-5", "claude/m"])
def test_cl_16_any_json_is_asked_for_in_words_and_reported(model: str, path: str) -> None:
    out = cross(path, {"model": model, **JSON_ASKED[path]})
    assert (out.body["system"], out.dropped) == (ASKS, ("format",)) and "format" not in out.body.get(
        "output_config", {}
    )


def test_cl_16_messages_that_ask_for_json_stay_as_they_are() -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "A colour, as JSON"}]
    body = {"model": "anthropic/claude-sonnet-4-5", "messages": messages, "response_format": {"type": "json_object"}}
    out = cross("/v1/chat/completions", body)
    assert (out.body["system"], out.dropped) == ("Be brief.", ("format",))
    messages[1]["content"] = "A colour"
    system = cross("/v1/chat/completions", body).body["system"]
    assert [block["text"] for block in system] == ["Be brief.", ASKS]


@pytest.mark.parametrize("path", JSON_ASKED)
@pytest.mark.parametrize("model", ["google/gemini-3.5-flash", "ollama/m", "cerebras/m", "deepseek/m", "mistralai/m"])
def test_any_json_is_enforced_where_the_engine_can(model: str, path: str) -> None:
    out = cross(path, {"model": model, **JSON_ASKED[path]})
    assert out.verbatim or (out.dropped == () and ASKS not in str(out.body))


# --- settings inside of known fields, and blocks of another dialect ---

OTHERS = ["openai/gpt-5.4", "openai/gpt-6-sol", "google/gemini-3.5-flash", "mistralai/m", "ollama/m", "responses/m"]


def test_nw_46_a_task_budget_is_named() -> None:
    assert cross("/v1/messages", field_case("nw-46")["request"]).dropped == ("task_budget",)


@pytest.mark.parametrize("model", OTHERS)
def test_settings_of_thinking_and_output_are_named(model: str) -> None:
    body: dict[str, Any] = {"model": model, "max_tokens": 5000, "messages": CALLED}
    binding = {"prefix_mismatch_behavior": "drop_block"}
    for thinking in ({"type": "adaptive"}, {"type": "enabled", "budget_tokens": 2000}):
        settings = {"display": "omitted", "block_binding": binding}
        out = cross("/v1/messages", {**body, "thinking": {**thinking, **settings}})
        assert {"display", "block_binding"} <= {*out.dropped}
        out = cross("/v1/messages", {**body, "thinking": thinking})
        assert {"display", "block_binding", "type", "budget_tokens"}.isdisjoint(out.dropped)
    budget = {"type": "tokens", "total": 20000}
    out = cross("/v1/messages", {**body, "output_config": {"task_budget": budget, "x_new": 1}})
    assert out.dropped == ("task_budget", "x_new")


def test_settings_of_thinking_and_output_stay_in_their_own_dialect() -> None:
    thinking = {"type": "adaptive", "display": "omitted"}
    config = {"effort": "high", "task_budget": {"type": "tokens", "total": 20000}}
    body = {"model": "m", "max_tokens": 9, "messages": CALLED, "thinking": thinking, "output_config": config}
    out = write_for(PATHS["/v1/messages"].read_request(body), "claude", "m")
    assert (out.body["thinking"], out.body["output_config"], out.dropped) == (thinking, config, ())


SEARCH_RESULT: dict[str, Any] = {
    "type": "search_result",
    "source": "https://e.example",
    "title": "T",
    "content": [{"type": "text", "text": "FOUND"}, {"type": "text", "text": "MORE"}],
    "citations": {"enabled": True},
}
DOCUMENT: dict[str, Any] = {
    "type": "document",
    "title": "T",
    "context": "https://e.example",
    "source": {"type": "content", "content": SEARCH_RESULT["content"]},
}


def test_nw_47_a_search_result_is_text_with_its_title_and_source() -> None:
    out = cross("/v1/messages", field_case("nw-47")["request"])
    assert out.dropped == ("search_result",)
    [message] = out.body["messages"]
    assert all(word in str(message) for word in ("T", "https://e.example", "FOUND", "x"))


@pytest.mark.parametrize("model", OTHERS)
@pytest.mark.parametrize("block", [SEARCH_RESULT, DOCUMENT], ids=["search_result", "document"])
def test_a_block_of_texts_is_sent_as_text(model: str, block: dict[str, Any]) -> None:
    text = "T\\nhttps://e.example\\nFOUND\\nMORE"
    call = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [block]}
    in_result = [*CALLED, {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    tools = [{"name": "f", "input_schema": EMPTY}]
    for messages in ([{"role": "user", "content": [block]}], in_result):
        out = cross("/v1/messages", {"model": model, "max_tokens": 9, "messages": messages, "tools": tools})
        assert text in json.dumps(out.body) and out.dropped == (block["type"],)


def test_a_block_with_more_than_texts_is_refused() -> None:
    picture = {"type": "image", "source": {"type": "url", "url": "https://e.example/a.png"}}
    block = {**DOCUMENT, "source": {"type": "content", "content": [picture]}}
    body = {"model": "openai/gpt-5.4", "max_tokens": 9, "messages": [{"role": "user", "content": [block]}]}
    with pytest.raises(Unsupported, match="document"):
        cross("/v1/messages", body)


def test_a_search_result_stays_as_it_is_in_its_own_dialect() -> None:
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": [SEARCH_RESULT]}]}
    out = write_for(PATHS["/v1/messages"].read_request(body), "claude", "m")
    assert (out.body["messages"], out.dropped) == (body["messages"], ())
