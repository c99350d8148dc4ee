"""What an engine's model list reports about a model is used for its requests, before the patterns on its id."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

import pytest

from llm.engines.capabilities import NO_FACTS
from llm.engines.engine import Target
from llm.engines.records import ENGINES
from llm.errors import LLMError
from llm.gateway.callers import Caller
from llm.gateway.model_lists import FACTS_AGE, LIST_AGE, ModelLists
from llm.transport.interface import HttpRequest
from llm.upstream.engine_client import EngineClient
from tests.support.harness import CLIENT_ID, ScriptedReply, ScriptedTransport, make_config, run_server
from tests.support.wires import WIRES

BEARER: Final = {"Authorization": f"Bearer {CLIENT_ID}"}
HELLO: Final = [{"role": "user", "content": "Hello"}]


def write_claude(id: str, *types: str, efforts: tuple[str, ...] = (), schema: bool = True) -> dict[str, Any]:
    """Returns an entry of Anthropic's model list, in the shape of anthropic 2.14.0 (``ModelInfo``)."""
    every_type, every_effort = (
        ("adaptive", "between_tools", "disabled", "enabled"),
        ("low", "medium", "high", "xhigh", "max"),
    )
    return {
        "type": "model",
        "id": id,
        "display_name": id,
        "max_tokens": 77000,
        "lifecycle": "active",
        "capabilities": {
            "thinking": {
                "supported": bool({"adaptive", "enabled"} & {*types}),
                "types": {name: {"supported": name in types} for name in every_type},
            },
            "effort": {"supported": bool(efforts), **{name: {"supported": name in efforts} for name in every_effort}},
            "structured_outputs": {"supported": schema},
        },
    }


CLAUDES: Final = [
    # Ids that the patterns take for something else.
    write_claude("claude-new-9", "enabled", "disabled", efforts=("low", "medium")),
    write_claude("claude-new-10", "adaptive", efforts=("low", "medium", "high", "max")),
    write_claude("claude-new-11", "adaptive", "between_tools", efforts=("low", "high")),
    write_claude("claude-new-12", "disabled"),
    write_claude("claude-new-13", "adaptive", "disabled", efforts=("low",), schema=False),
]
GEMINIS: Final = [
    {"name": "models/gemini-9-plain", "outputTokenLimit": 100, "supportedGenerationMethods": ["generateContent"]},
    {"name": "models/gemini-9-deep", "thinking": True, "supportedGenerationMethods": ["generateContent"]},
]


def answer(request: HttpRequest) -> ScriptedReply:
    path = request.url.partition("?")[0]
    if request.method == "GET":
        page = {"models": GEMINIS} if "googleapis" in path else {"data": CLAUDES, "has_more": False}
        return ScriptedReply(200, {"Content-Type": "application/json"}, [json.dumps(page).encode()])
    wire = WIRES["anthropic" if path.endswith("/messages") else "google"]
    return ScriptedReply(200, {"Content-Type": "application/json"}, [json.dumps(wire.whole("Hi")).encode()])


async def ask_after_listing(*bodies: dict[str, Any]) -> list[tuple[int, dict[str, Any], str]]:
    """Lists the models, then asks; returns the statuses, the engine's requests or the errors, and the dropped fields."""
    upstream = ScriptedTransport(answer)
    results = []
    async with run_server(
        make_config(ANTHROPIC_API_KEY="key-of-anthropic-1", GOOGLE_API_KEY="key-of-google-123"), https=upstream
    ) as client:
        assert (await client.get("/v1/models", BEARER)).status == 200
        for body in bodies:
            upstream.requests.clear()
            reply = await client.post("/v1/chat/completions", {"messages": HELLO, **body}, BEARER)
            raw = json.loads(await reply.body())
            sent = raw if reply.status != 200 else json.loads(upstream.requests[0].body or b"")
            results.append((reply.status, sent, reply.headers.get("X-Dropped-Fields", "")))
    return results


async def test_thinking_types_and_efforts_of_the_list_are_used() -> None:
    ways = [("claude-new-9", "max"), ("claude-new-10", "xhigh"), ("claude-new-9", "none"), ("claude-new-11", "none")]
    results = await ask_after_listing(
        *({"model": f"anthropic/{model}", "reasoning_effort": effort} for model, effort in ways)
    )
    assert [status for status, _, _ in results] == [200] * 4
    budget, adaptive, off, between = (sent for _, sent, _ in results)
    assert budget["thinking"] == {"type": "enabled", "budget_tokens": 57344} and budget["max_tokens"] == 77000
    assert adaptive["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert adaptive["output_config"] == {"effort": "high"} and results[1][2] == "effort"
    assert off["thinking"] == {"type": "disabled"} and between["thinking"] == {"type": "between_tools"}


async def test_a_model_that_cannot_be_told_not_to_think_or_never_does_is_known_by_the_list() -> None:
    results = await ask_after_listing(
        {"model": "anthropic/claude-new-10", "reasoning_effort": "none"},
        {"model": "anthropic/claude-new-12", "reasoning_effort": "high"},
        {"model": "anthropic/claude-new-12"},
    )
    (_, always, told), (refused, error, _), (_, plain, _) = results
    assert "thinking" not in always and always["output_config"] == {"effort": "low"} and told == "effort"
    assert refused == 400 and error["error"]["param"].endswith("effort")
    assert "thinking" not in plain


async def test_structured_output_is_refused_where_the_list_reports_none() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "r", "schema": {"type": "object", "properties": {}}}}
    results = await ask_after_listing(
        {"model": "anthropic/claude-new-13", "response_format": form},
        {"model": "anthropic/claude-new-10", "response_format": form},
    )
    assert [status for status, _, _ in results] == [400, 200]


async def test_gemini_s_list_reports_whether_a_model_thinks() -> None:
    results = await ask_after_listing(
        {"model": "google/gemini-9-plain"},
        {"model": "google/gemini-9-deep"},
        {"model": "google/gemini-9-plain", "reasoning_effort": "none"},
    )
    assert [status for status, _, _ in results] == [200] * 3
    plain, deep, off = (sent for _, sent, _ in results)
    assert "generationConfig" not in plain and "generationConfig" not in off
    assert deep["generationConfig"] == {"thinkingConfig": {"includeThoughts": True}}


def make_target(model: str, engine: str = "anthropic", **more: Any) -> Target:
    return Target(engine=ENGINES[engine], model=model, **{"key": "key-of-anthropic-1", **more})


async def test_facts_are_used_for_a_day_and_the_patterns_after_it() -> None:
    now = 1000.0
    upstream = ScriptedTransport(answer)
    lists = ModelLists(EngineClient({"https": upstream}), lambda: now)
    await lists.get(make_target(""))
    assert lists.find_facts(make_target("claude-new-9")).efforts == frozenset({"low", "medium"})
    assert lists.find_facts(make_target("claude-opus-4-6")) is NO_FACTS  # not in the list
    now += FACTS_AGE
    assert lists.find_facts(make_target("claude-new-9")) is NO_FACTS
    async with asyncio.timeout(10):  # that started a renewal
        while lists.find_facts(make_target("claude-new-9")) is NO_FACTS:
            await asyncio.sleep(0)
    assert lists.find_facts(make_target("claude-new-9")).efforts == frozenset({"low", "medium"})
    assert len(upstream.requests) == 2
    lists.close()


async def test_the_list_is_requested_once_for_a_model_that_no_pattern_knows() -> None:
    """Not at the start, and the first request does not wait for it."""
    upstream = ScriptedTransport(answer)
    environ = {"ANTHROPIC_API_KEY": "key-of-anthropic-1"}
    body = {"model": "anthropic/claude-new-9", "reasoning_effort": "low", "messages": HELLO}
    async with run_server(make_config(**environ), https=upstream) as client:
        for _ in range(3):
            assert (await client.post("/v1/chat/completions", body, BEARER)).status == 200
            await client.server.context.catalog.list_models("anthropic", Caller(trusted=True))
    sent = [json.loads(request.body) for request in upstream.requests if request.body]
    assert [request.method for request in upstream.requests].count("GET") == 1
    assert sent[0]["thinking"]["type"] == "adaptive" and sent[0]["max_tokens"] == 128000
    assert [one["thinking"]["type"] for one in sent[1:]] == ["enabled", "enabled"]
    assert [one["max_tokens"] for one in sent[1:]] == [77000, 77000]


@pytest.mark.parametrize(
    "target",
    [
        make_target("claude-opus-5-5"),
        make_target("claude-sonnet-5"),
        make_target("m"),
        make_target("gemini-4-neon", "google"),
        make_target("gemini-flash-latest", "google"),
        make_target("gpt-9", "openai"),
        make_target("claude-new-9", is_callers_key=True),
        make_target("claude-new-9", key=None),
    ],
    ids=lambda target: target.model,
)
async def test_no_list_is_requested_for_other_models_and_with_a_caller_s_key(target: Target) -> None:
    upstream = ScriptedTransport(answer)
    lists = ModelLists(EngineClient({"https": upstream}))
    assert lists.find_facts(target) is NO_FACTS
    await asyncio.sleep(0)
    assert upstream.requests == []


async def test_a_failed_list_is_not_requested_again_at_once() -> None:
    now = 1000.0
    upstream = ScriptedTransport(lambda request: ScriptedReply(500, {}, [b"{}"]))
    lists = ModelLists(EngineClient({"https": upstream}), lambda: now)
    for _ in range(2):
        assert lists.find_facts(make_target("claude-new-9")) is NO_FACTS
        with pytest.raises(LLMError):
            await lists.get_unless_failed(make_target(""))
    assert len(upstream.requests) == 1
    now += LIST_AGE
    lists.find_facts(make_target("claude-new-9"))
    with pytest.raises(LLMError):
        await lists.get(make_target(""))
    assert len(upstream.requests) == 2
    lists.close()


async def test_nw_54_a_mistral_model_that_reasons_by_its_list_is_turned_on() -> None:
    listed = [
        {"id": f"mistral-new-{number}", "capabilities": {"completion_chat": True, "reasoning": reasons}}
        for number, reasons in ((1, True), (2, False))
    ]

    def answer_mistral(request: HttpRequest) -> ScriptedReply:
        body = {"data": listed} if request.method == "GET" else WIRES["openai"].whole("Hi")
        return ScriptedReply(200, {"Content-Type": "application/json"}, [json.dumps(body).encode()])

    upstream = ScriptedTransport(answer_mistral)
    told = []
    async with run_server(make_config(MISTRALAI_API_KEY="key-of-mistral-123"), https=upstream) as client:
        for number in (1, 2):
            body = {"model": f"mistralai/mistral-new-{number}", "messages": HELLO, "think": True, "stream": False}
            assert (await client.get("/v1/models", BEARER)).status == 200
            reply = await client.post("/api/chat", body, BEARER)
            assert reply.status == 200
            told.append(reply.headers.get("X-Dropped-Fields"))
    first, second = (json.loads(request.body) for request in upstream.requests if request.body)
    assert (first["reasoning_effort"], told) == ("high", [None, "reasoning"]) and "reasoning_effort" not in second
