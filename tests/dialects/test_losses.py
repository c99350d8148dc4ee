"""A choice of tools crosses to every engine: exactly, by the tools that are offered, or reported as dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from llm.errors import InvalidRequest, LLMError, Unsupported
from tests.support.crossed_requests import Crossed, cross
from tests.support.field_cases import field_case

EMPTY: dict[str, Any] = {"type": "object", "properties": {}}
CALLED = [{"role": "user", "content": "x"}]
# Engines without ``allowed_tools``, with a model that can be forced to call a tool, and one that cannot.
FORCED = ["anthropic/claude-sonnet-4-5", "google/gemini-3.5-flash", "claude/m", "gemini/m", "cerebras/m"]
UNFORCED = ["ollama/qwen3:8b", "llama/m", "meta/muse-spark-1.3", "anthropic/claude-opus-5-5"]


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


@pytest.mark.parametrize("case", ["cl-15", "su-08"])
def test_a_demanded_tool_is_offered_and_the_demand_reported(case: str) -> None:
    body = field_case(case)["request"]["body"]
    out = cross("/v1/chat/completions", body)
    assert find_tools(out.body) == [body["tools"][0]["function"]["name"]]
    assert "tool_choice" not in out.body and out.dropped == ("tool_choice",)


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


def test_a_choice_of_none_offers_no_tool_where_the_engine_lacks_the_choice() -> None:
    out = ask_responses("meta/muse-spark-1.3", "none", "a")
    assert "tools" not in out.body and "tool_choice" not in out.body and out.dropped == ()
