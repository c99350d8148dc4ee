"""Each option in the form that a model of Claude takes it, or refused by its name. From providers.md, 2.1 to 2.3.

The larger tables of thinking, samplers and limits are in ``test_engine_request``.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import pytest

from llm import errors
from llm.chat.messages import Media, Message, Part, Reasoning, Text, ToolResult
from llm.chat.provider_metadata import Opaque
from llm.chat.request import ChatRequest, JsonFormat, Options, ToolSpec
from llm.dialects import anthropic
from llm.engines.records import ENGINES
from tests.support.harness import ScriptedReply, ScriptedTransport, config, serving
from tests.support.wires import WIRES

ENGINE: Final = ENGINES["anthropic"]
SCHEMA: Final[dict[str, Any]] = {"type": "object", "properties": {"cache_control": {"type": "integer"}}}
TOOL = ToolSpec("f", "Does it", SCHEMA)
MARK: Final[dict[str, Any]] = {"cache_control": {"type": "ephemeral"}}
SHOWN: Final = {"type": "adaptive", "display": "summarized"}
HELLO = Message("user", (Text("Hi"),))
PDF = Media(mime="application/pdf", base64="JVBE")


def written(
    model: str, *messages: Message, tools: tuple[ToolSpec, ...] = (), **options: Any
) -> tuple[dict[str, Any], tuple[str, ...]]:
    request = ChatRequest(model=model, messages=messages or (HELLO,), tools=tools, options=Options(**options))
    outgoing = anthropic.write_request(request, ENGINE)
    return dict(json.loads(json.dumps(outgoing.body))), outgoing.dropped


def sent(model: str, *messages: Message, **more: Any) -> dict[str, Any]:
    body, dropped = written(model, *messages, **more)
    assert dropped == ()
    return body


def refused(model: str, *messages: Message, **more: Any) -> str | None:
    with pytest.raises(errors.Unsupported) as told:
        written(model, *messages, **more)
    assert told.value.engine == "anthropic" and str(told.value).startswith("Anthropic ")
    return told.value.param


@pytest.mark.parametrize("model", ["claude-opus-5-5", "claude-sonnet-5-5", "claude-fable-5", "claude-mythos-5-2"])
def test_a_model_that_thinks_unasked_shows_its_thoughts_unasked(model: str) -> None:
    assert sent(model)["thinking"] == SHOWN
    assert sent(model, effort="low")["thinking"] == SHOWN


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-opus-4-8", "claude-haiku-5-5", "some-imitation"])
def test_to_any_other_nothing_is_said_of_thinking_unasked(model: str) -> None:
    assert "thinking" not in sent(model) and "output_config" not in sent(model)


@pytest.mark.parametrize(
    ("model", "named", "options"),
    [
        ("claude-mythos-preview", "reasoning_tokens", {"reasoning_tokens": 2000}),
        ("claude-mythos-preview", "effort", {"effort": "xhigh"}),
        ("claude-mythos-5", "reasoning", {"reasoning": False}),
        ("claude-mythos-5-2", "tool_choice", {"tool_choice": "required", "tools": (TOOL,)}),
        ("claude-haiku-5-5", "reasoning_tokens", {"reasoning_tokens": 2000}),
    ],
)
def test_t8_what_a_model_cannot_take_is_refused_by_name(model: str, named: str, options: dict[str, Any]) -> None:
    assert refused(model, **options) == named


@pytest.mark.parametrize(
    ("asked", "budget", "told"), [("minimal", 1024, "low"), ("low", 1024, "low"), ("high", 24576, "high"), ("max", 57344, None)]
)  # fmt: skip
def test_a_model_that_has_a_budget_and_an_effort_is_told_both(asked: str, budget: int, told: str | None) -> None:
    body = sent("claude-opus-4-5-20251101", effort=asked)  # recorded: effort low, medium and high are supported
    assert body["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert body.get("output_config") == (None if told is None else {"effort": told})


def test_t8_an_effort_that_has_no_field_beside_what_says_more_is_told() -> None:
    body, dropped = written("claude-haiku-4-5", effort="high", reasoning_tokens=2000)
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 2000} and dropped == ("effort",)
    body, dropped = written("claude-haiku-4-5", effort="high", reasoning=False)
    assert body["thinking"] == {"type": "disabled"} and dropped == ("effort",)
    body, dropped = written("claude-opus-4-6", effort="high", reasoning_tokens=2000)
    assert body["output_config"] == {"effort": "high"} and dropped == ()


@pytest.mark.parametrize(
    ("tier", "word"), [("auto", "auto"), ("default", "standard_only"), ("standard_only", "standard_only")]
)
def test_service_tiers(tier: str, word: str) -> None:
    assert sent("claude-haiku-4-5", service_tier=tier)["service_tier"] == word


def test_a_budget_below_zero_leaves_it_to_the_model() -> None:
    assert sent("claude-opus-4-8", reasoning_tokens=-1)["thinking"] == SHOWN
    assert sent("claude-opus-4-6", reasoning_tokens=-1)["thinking"] == SHOWN
    assert sent("claude-haiku-4-5", reasoning_tokens=-1)["thinking"] == {"type": "enabled", "budget_tokens": 1024}
    assert refused("claude-3-haiku-20240307", reasoning_tokens=-1) == "reasoning_tokens"


# --- caching ---


def marks(body: dict[str, Any]) -> list[str]:
    """Where marks stand."""
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


def test_t4_marks_stand_at_the_end_of_tools_system_and_conversation() -> None:
    body = sent("claude-haiku-4-5", SYSTEM, HELLO, answer(Text("Yes?")), HELLO, tools=(TOOL, TOOL), caching=True)
    assert marks(body) == ["tools[1]", "system[1]", "messages[2][0]"]
    assert body["messages"][2]["content"] == [{"type": "text", "text": "Hi", **MARK}]
    assert body["messages"][0]["content"] == "Hi"
    assert marks(sent("claude-haiku-4-5", HELLO, caching=True)) == ["messages[0][0]"]
    assert marks(sent("claude-haiku-4-5", SYSTEM, HELLO, tools=(TOOL,), caching=False)) == []
    results = Message("user", (ToolResult("c1", (Text("1"),)), ToolResult("c2", (Text("2"),))))
    assert marks(sent("claude-haiku-4-5", results, caching=True)) == ["messages[0][1]"]


def test_t4_a_mark_never_stands_on_a_thought() -> None:
    thought = Reasoning("Hm.", (Opaque("anthropic", "anthropic", {"signature": "c2ln"}),))
    body = sent("claude-haiku-4-5", HELLO, answer(Text("Yes."), thought), caching=True)
    assert marks(body) == ["messages[1][0]"]
    assert marks(sent("claude-haiku-4-5", HELLO, answer(thought), caching=True)) == []


def test_t4_there_are_never_more_than_four_marks() -> None:
    own = ToolSpec("g", keep=(Opaque("anthropic", None, MARK),))
    for many, expected in ((1, 4), (2, 4), (3, 4), (4, 4), (5, 5)):  # a client's own are its own affair
        body = sent("claude-haiku-4-5", SYSTEM, HELLO, tools=(*(own for _ in range(many)), TOOL), caching=True)
        assert len(marks(body)) == expected, many


def test_t4_what_stands_before_a_mark_is_the_same_in_the_next_request() -> None:
    def plain(value: Any) -> Any:
        """Without marks, and texts in their long spelling: that is what is cached."""
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

    first = sent("claude-haiku-4-5", SYSTEM, HELLO, tools=(TOOL,), caching=True)
    second = sent("claude-haiku-4-5", SYSTEM, HELLO, answer(Text("Yes?")), HELLO, tools=(TOOL,), caching=True)
    assert long(second)[: len(long(first))] == long(first)


async def test_t4_our_own_instructions_have_no_clock_in_them_when_they_are_to_be_cached() -> None:
    upstream = ScriptedTransport(
        lambda request: ScriptedReply(200, {}, [json.dumps(WIRES["anthropic"].whole("Hi")).encode()])
    )
    chat: dict[str, Any] = {"engine": "anthropic", "model": "claude-haiku-4-5", "prompt": "Hi", "stream": False}
    async with serving(config(ANTHROPIC_API_KEY="sk-canary-ant"), https=upstream) as client:
        for caching in (False, True):
            answer = await client.post("/llm/chat", {**chat, "tools": False, "options": {"caching": caching}})
            assert answer.status == 200, await answer.body()
    plain, cached = (json.loads(request.body or b"")["system"] for request in upstream.requests)
    assert re.search(r"\d\d:\d\d", plain)
    assert not re.search(r"\d:", cached[0]["text"]) and cached[0]["cache_control"]


# --- citations ---


def test_t5_documents_are_cited_when_it_is_asked_for() -> None:
    asking = Message("user", (PDF, Text("What is it?")))
    body = sent("claude-haiku-4-5", asking, citations=True)
    assert body["messages"][0]["content"][0]["citations"] == {"enabled": True}
    assert "citations" not in sent("claude-haiku-4-5", asking, citations=False)["messages"][0]["content"][0]


def test_t8_citations_and_a_schema_exclude_one_another() -> None:
    asked: dict[str, Any] = {"citations": True, "format": JsonFormat(SCHEMA)}
    assert refused("claude-haiku-4-5", Message("user", (PDF, Text("What is it?"))), **asked) == "citations"
    body, dropped = written("claude-haiku-4-5", **asked)
    assert "output_config" in body and dropped == ("citations",)  # there is nothing to cite
