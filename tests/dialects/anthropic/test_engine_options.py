"""Each option is written in the form that the Claude model accepts, or refused by name (providers.md 2.1 to 2.3).

The larger tables of thinking, samplers and limits are in ``test_engine_request``.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import pytest

from llm import errors
from llm.chat.messages import Media, Message, Part, Reasoning, Text, ToolResult
from llm.chat.provider_metadata import ProviderMetadata
from llm.chat.request import ChatRequest, JsonFormat, Options, ToolSpec
from llm.dialects import anthropic
from llm.engines.records import ENGINES
from tests.support.harness import ScriptedReply, ScriptedTransport, make_config, run_server
from tests.support.wires import WIRES

ENGINE: Final = ENGINES["anthropic"]
SCHEMA: Final[dict[str, Any]] = {"type": "object", "properties": {"cache_control": {"type": "integer"}}}
TOOL = ToolSpec("f", "Does it", SCHEMA)
BREAKPOINT: Final[dict[str, Any]] = {"cache_control": {"type": "ephemeral"}}
ADAPTIVE: Final = {"type": "adaptive", "display": "summarized"}
HELLO = Message("user", (Text("Hi"),))
PDF = Media(mime="application/pdf", base64="JVBE")


def write(
    model: str, *messages: Message, tools: tuple[ToolSpec, ...] = (), **options: Any
) -> tuple[dict[str, Any], tuple[str, ...]]:
    request = ChatRequest(model=model, messages=messages or (HELLO,), tools=tools, options=Options(**options))
    outgoing = anthropic.write_request(request, ENGINE)
    return dict(json.loads(json.dumps(outgoing.body))), outgoing.dropped


def write_body(model: str, *messages: Message, **more: Any) -> dict[str, Any]:
    body, dropped = write(model, *messages, **more)
    assert dropped == ()
    return body


def refused_option(model: str, *messages: Message, **more: Any) -> str | None:
    with pytest.raises(errors.Unsupported) as caught:
        write(model, *messages, **more)
    assert caught.value.engine == "anthropic" and str(caught.value).startswith("Anthropic ")
    return caught.value.param


@pytest.mark.parametrize(
    "model",
    [
        "claude-opus-5-5", "claude-sonnet-5-5", "claude-fable-5", "claude-mythos-5-2",
        "claude-opus-5", "claude-sonnet-5", "claude-haiku-5-5", "claude-of-tomorrow",
    ],
)  # fmt: skip
def test_a_model_that_thinks_by_default_returns_a_summary(model: str) -> None:
    assert write_body(model)["thinking"] == ADAPTIVE
    assert write_body(model, effort="low")["thinking"] == ADAPTIVE


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-opus-4-8", "claude-sonnet-4-6", "some-imitation"])
def test_other_models_get_no_thinking_field_by_default(model: str) -> None:
    assert "thinking" not in write_body(model) and "output_config" not in write_body(model)


@pytest.mark.parametrize(
    ("model", "named", "options"),
    [
        ("claude-mythos-preview", "reasoning_tokens", {"reasoning_tokens": 2000}),
        ("claude-mythos-5", "reasoning", {"reasoning": False}),
        ("claude-haiku-5-5", "reasoning_tokens", {"reasoning_tokens": 2000}),
    ],
)
def test_t8_unsupported_options_are_refused_by_name(model: str, named: str, options: dict[str, Any]) -> None:
    assert refused_option(model, **options) == named


@pytest.mark.parametrize(
    ("model", "options", "written"),
    [
        ("claude-mythos-preview", {"effort": "xhigh"}, "high"),
        ("claude-sonnet-4-6", {"effort": "xhigh"}, "high"),
        ("claude-sonnet-5", {"effort": "minimal"}, "low"),
        ("claude-opus-5", {"effort": "max", "reasoning": False}, "high"),  # 400 with thinking turned off
        ("claude-haiku-5-5", {"effort": "xhigh", "reasoning": False}, "high"),
        ("claude-sonnet-5-5", {"effort": "max", "reasoning": False}, "high"),
    ],
)
def test_gw_22_an_effort_that_the_model_lacks_becomes_the_nearest_one(
    model: str, options: dict[str, Any], written: str
) -> None:
    body, dropped = write(model, **options)
    assert body["output_config"] == {"effort": written} and dropped == ("effort",)


@pytest.mark.parametrize("model", ["claude-opus-4-8", "claude-sonnet-5"])
def test_an_effort_is_free_without_thinking_where_the_model_allows_it(model: str) -> None:
    assert write_body(model, effort="max", reasoning=False)["output_config"] == {"effort": "max"}


@pytest.mark.parametrize("asked", [{"effort": "low"}, {"effort": "max"}, {"reasoning": True}])
@pytest.mark.parametrize("limit", [1, 1024, 1025, 2047])
def test_su_15_thinking_stays_off_where_max_tokens_is_too_small_for_it(asked: dict[str, Any], limit: int) -> None:
    body, dropped = write("claude-sonnet-4-5", max_tokens=limit, **asked)
    assert "thinking" not in body and body["max_tokens"] == limit and dropped == (*asked,)


def test_su_15_thinking_is_fitted_into_max_tokens() -> None:
    for limit, budget in ((2048, 1024), (3000, 1976), (30000, 24576)):
        body = write_body("claude-sonnet-4-5", max_tokens=limit, effort="high")
        assert body["thinking"] == {"type": "enabled", "budget_tokens": budget}


@pytest.mark.parametrize(
    ("effort", "budget", "written"), [("minimal", 1024, "low"), ("low", 1024, "low"), ("high", 24576, "high"), ("max", 57344, None)]
)  # fmt: skip
def test_a_model_with_budget_and_effort_gets_both(effort: str, budget: int, written: str | None) -> None:
    body = write_body("claude-opus-4-5-20251101", effort=effort)  # recorded: effort low, medium and high are supported
    assert body["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert body.get("output_config") == (None if written is None else {"effort": written})


def test_t8_an_effort_overruled_by_another_option_is_reported() -> None:
    body, dropped = write("claude-haiku-4-5", effort="high", reasoning_tokens=2000)
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 2000} and dropped == ("effort",)
    body, dropped = write("claude-haiku-4-5", effort="high", reasoning=False)
    assert body["thinking"] == {"type": "disabled"} and dropped == ("effort",)
    body, dropped = write("claude-opus-4-6", effort="high", reasoning_tokens=2000)
    assert body["output_config"] == {"effort": "high"} and dropped == ()


@pytest.mark.parametrize(
    ("tier", "word"), [("auto", "auto"), ("default", "standard_only"), ("standard_only", "standard_only")]
)
def test_service_tiers_are_written(tier: str, word: str) -> None:
    assert write_body("claude-haiku-4-5", service_tier=tier)["service_tier"] == word


def test_a_negative_budget_lets_the_model_decide() -> None:
    assert write_body("claude-opus-4-8", reasoning_tokens=-1)["thinking"] == ADAPTIVE
    assert write_body("claude-opus-4-6", reasoning_tokens=-1)["thinking"] == ADAPTIVE
    assert write_body("claude-haiku-4-5", reasoning_tokens=-1)["thinking"] == {"type": "enabled", "budget_tokens": 1024}
    assert refused_option("claude-3-haiku-20240307", reasoning_tokens=-1) == "reasoning_tokens"


# --- caching ---


def find_breakpoints(body: dict[str, Any]) -> list[str]:
    """Returns the paths of the cache breakpoints."""
    found = [f"tools[{n}]" for n, tool in enumerate(body.get("tools", ())) if "cache_control" in tool]
    if isinstance(body.get("system"), list):
        found += [f"system[{n}]" for n, block in enumerate(body["system"]) if "cache_control" in block]
    for at, message in enumerate(body["messages"]):
        if isinstance(message["content"], list):
            found += [f"messages[{at}][{n}]" for n, block in enumerate(message["content"]) if "cache_control" in block]
    return found


SYSTEM = Message("system", (Text("One."), Text("Two.")))


def answer(*parts: Part) -> Message:
    return Message("assistant", parts)


def test_t4_breakpoints_end_tools_system_and_conversation() -> None:
    body = write_body("claude-haiku-4-5", SYSTEM, HELLO, answer(Text("Yes?")), HELLO, tools=(TOOL, TOOL), caching=True)
    assert find_breakpoints(body) == ["tools[1]", "system[1]", "messages[2][0]"]
    assert body["messages"][2]["content"] == [{"type": "text", "text": "Hi", **BREAKPOINT}]
    assert body["messages"][0]["content"] == "Hi"
    assert find_breakpoints(write_body("claude-haiku-4-5", HELLO, caching=True)) == ["messages[0][0]"]
    assert find_breakpoints(write_body("claude-haiku-4-5", SYSTEM, HELLO, tools=(TOOL,), caching=False)) == []
    results = Message("user", (ToolResult("c1", (Text("1"),)), ToolResult("c2", (Text("2"),))))
    assert find_breakpoints(write_body("claude-haiku-4-5", results, caching=True)) == ["messages[0][1]"]


def test_t4_reasoning_gets_no_breakpoint() -> None:
    thought = Reasoning("Hm.", (ProviderMetadata("anthropic", "anthropic", {"signature": "c2ln"}),))
    body = write_body("claude-haiku-4-5", HELLO, answer(Text("Yes."), thought), caching=True)
    assert find_breakpoints(body) == ["messages[1][0]"]
    assert find_breakpoints(write_body("claude-haiku-4-5", HELLO, answer(thought), caching=True)) == []


def test_t4_there_are_at_most_four_breakpoints() -> None:
    own = ToolSpec("g", metadata=(ProviderMetadata("anthropic", None, BREAKPOINT),))
    for many, expected in ((1, 4), (2, 4), (3, 4), (4, 4), (5, 5)):  # a client's own breakpoints are not limited
        body = write_body("claude-haiku-4-5", SYSTEM, HELLO, tools=(*(own for _ in range(many)), TOOL), caching=True)
        assert len(find_breakpoints(body)) == expected, many


def test_t4_the_cached_prefix_is_the_same_in_the_next_request() -> None:
    def plain(value: Any) -> Any:
        """Removes breakpoints and writes texts as blocks: the form that is cached."""
        if isinstance(value, dict):
            return {n: plain(v) for n, v in value.items() if n != "cache_control" or not isinstance(v, dict)}
        return [plain(one) for one in value] if isinstance(value, list) else value

    def long(body: dict[str, Any]) -> list[Any]:
        spelled = [
            {
                **m,
                "content": [{"type": "text", "text": m["content"]}] if isinstance(m["content"], str) else m["content"],
            }
            for m in body["messages"]
        ]
        return [plain(body["tools"]), plain(body["system"]), *plain(spelled)]

    first = write_body("claude-haiku-4-5", SYSTEM, HELLO, tools=(TOOL,), caching=True)
    second = write_body("claude-haiku-4-5", SYSTEM, HELLO, answer(Text("Yes?")), HELLO, tools=(TOOL,), caching=True)
    assert long(second)[: len(long(first))] == long(first)


async def test_t4_the_default_prompt_has_no_time() -> None:
    upstream = ScriptedTransport(
        lambda request: ScriptedReply(200, {}, [json.dumps(WIRES["anthropic"].whole("Hi")).encode()])
    )
    chat: dict[str, Any] = {"engine": "anthropic", "model": "claude-haiku-4-5", "prompt": "Hi", "stream": False}
    async with run_server(make_config(ANTHROPIC_API_KEY="sk-canary-ant"), https=upstream) as client:
        for caching in (False, True):
            answer = await client.post("/llm/chat", {**chat, "tools": False, "options": {"caching": caching}})
            assert answer.status == 200, await answer.body()
    plain, cached = (json.loads(request.body or b"")["system"] for request in upstream.requests)
    assert cached == [{"type": "text", "text": plain, "cache_control": {"type": "ephemeral"}}]
    assert not re.search(r"\d:", plain)


# --- citations ---


def test_t5_citations_are_enabled_on_documents_on_request() -> None:
    asking = Message("user", (PDF, Text("What is it?")))
    body = write_body("claude-haiku-4-5", asking, citations=True)
    assert body["messages"][0]["content"][0]["citations"] == {"enabled": True}
    assert "citations" not in write_body("claude-haiku-4-5", asking, citations=False)["messages"][0]["content"][0]


def test_t8_citations_and_a_schema_exclude_each_other() -> None:
    asked: dict[str, Any] = {"citations": True, "format": JsonFormat(SCHEMA)}
    assert refused_option("claude-haiku-4-5", Message("user", (PDF, Text("What is it?"))), **asked) == "citations"
    body, dropped = write("claude-haiku-4-5", **asked)
    assert "output_config" in body and dropped == ("citations",)  # there is nothing to cite


def test_a_client_of_this_wire_gets_no_thinking_that_it_did_not_ask_for() -> None:
    """Such requests are passed through, unless the owner has all answers translated."""
    body: dict[str, Any] = {"model": "claude-opus-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    request = anthropic.read_request(body)
    assert anthropic.write_request(request, ENGINE).body == body
