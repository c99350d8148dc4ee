"""How much a model reasons: the wish not to, efforts that a model lacks, and limits too small for thinking.

From every client, streamed and whole, through the running server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import pytest

from llm.chat.request import Effort, Options, soften_no_reasoning
from llm.config.engines import variable_name
from llm.engines.globs import matches
from llm.engines.reasoning import fit_effort
from llm.engines.records import ENGINES
from llm.transport.interface import HttpRequest
from tests.support.field_cases import field_case
from tests.support.harness import CLIENT, CLIENT_ID, ScriptedReply, ScriptedTransport, make_config, run_server
from tests.support.wires import WIRES

BEARER: Final = {"Authorization": f"Bearer {CLIENT_ID}"}
HELLO: Final = [{"role": "user", "content": "Hello"}]
PATHS: Final = {
    "openai-chat": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "ollama": "/api/chat",
    "native": "/llm/chat",
}


def write_question(client: str, model: str, stream: bool, **more: Any) -> dict[str, Any]:
    """Returns a client's request body for ``engine/model``."""
    engine, _, name = model.partition("/")
    body: dict[str, Any] = {"model": model, "stream": stream}
    match client:
        case "openai-responses":
            body["input"] = "Hello"
        case "native":
            body |= {"engine": engine, "model": name, "prompt": "Hello", "tools": False}
        case "anthropic":
            body |= {"messages": HELLO, "max_tokens": 4096}
        case _:
            body["messages"] = HELLO
    return {**body, **more}


def answer(request: HttpRequest) -> ScriptedReply:
    """Answers with one word in the wire of the request."""
    path, body = request.url.partition("?")[0], json.loads(request.body or b"{}")
    ends = {"/responses": "responses", "/messages": "anthropic", "Content": "google", "/api/chat": "ollama"}
    wire = WIRES[next((name for end, name in ends.items() if path.endswith(end)), "openai")]
    if body.get("stream") or "stream" in path:
        return ScriptedReply(200, {"Content-Type": wire.content_type}, [wire.head + wire.delta("Hi") + wire.end])
    return ScriptedReply(200, {"Content-Type": "application/json"}, [json.dumps(wire.whole("Hi")).encode()])


async def ask(path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any], list[str], str]:
    """Returns the status, the body that the engine received, the dropped fields, and the engine's path."""
    environ = {
        variable_name(name, "API_KEY"): "key-of-the-engine" for name, engine in ENGINES.items() if engine.needs_key
    }
    environ |= {variable_name(name, "ENABLED"): "true" for name, engine in ENGINES.items() if engine.local}
    upstream = ScriptedTransport(answer)
    async with run_server(make_config(**environ), https=upstream, http=upstream) as client:
        reply = await client.post(path, body, CLIENT if path.startswith("/llm") else BEARER)
        raw = await reply.body()
    if reply.status != 200:
        return reply.status, json.loads(raw), [], ""
    [request] = upstream.requests
    dropped = reply.headers.get("X-Dropped-Fields", "")
    return reply.status, json.loads(request.body or b""), dropped.split(", ") if dropped else [], request.url


def test_an_effort_becomes_the_nearest_one_that_is_not_higher() -> None:
    def fit(effort: Effort, *accepted: str) -> str | None:
        return fit_effort(effort, accepted)

    assert fit("max", "low", "medium", "high") == "high"
    assert fit("max", "high", "xhigh", "low") == "xhigh"
    assert fit("medium", "low", "high") == "low"
    assert fit("xhigh", "low", "medium", "high", "max") == "high"
    assert fit("minimal", "low", "high") == "low"
    assert fit("low", "high") == "high"
    assert fit("high", "high") == "high"
    assert fit("high") is None


def test_only_the_wish_not_to_reason_is_soft() -> None:
    assert soften_no_reasoning(Options(effort="none")) == {"effort"}
    assert soften_no_reasoning(Options(reasoning=False)) == {"reasoning"}
    for options in (Options(), Options(effort="high"), Options(reasoning=True)):
        assert soften_no_reasoning(options) == frozenset()


# --- the wish not to reason, where the model always reasons ---

OFF: Final[dict[str, dict[str, Any]]] = {
    "openai-chat": {"reasoning_effort": "none"},
    "openai-responses": {"reasoning": {"effort": "none"}},
    "anthropic": {"thinking": {"type": "disabled"}},
    "ollama": {"think": False},
}
# The model, and the field with the least that it has.
ALWAYS: Final[dict[str, dict[str, Any]]] = {
    "openai/gpt-5": {"reasoning_effort": "minimal"},
    "openai/o3": {"reasoning_effort": "low"},
    "openai/gpt-6.2-astra": {"reasoning_effort": "low"},
    "openai/gpt-6.2-sol": {"reasoning_effort": "low"},
    "openai/gpt-6-astra": {"reasoning_effort": "low"},
    "openai/gpt-5-pro": {"reasoning": {"effort": "high"}},
    "google/gemini-2.5-pro": {"thinkingConfig": {"includeThoughts": False, "thinkingBudget": 128}},
    "google/gemini-3-pro-preview": {"thinkingConfig": {"includeThoughts": False, "thinkingLevel": "LOW"}},
    "google/gemini-4-argon": {"thinkingConfig": {"includeThoughts": False, "thinkingLevel": "LOW"}},
    "google/gemini-4-neon": {"thinkingConfig": {"includeThoughts": False, "thinkingLevel": "LOW"}},
    "google/gemini-4-carbon": {"thinkingConfig": {"includeThoughts": False, "thinkingLevel": "LOW"}},
    "google/gemini-4-hydrogen": {"thinkingConfig": {"includeThoughts": False, "thinkingLevel": "LOW"}},
    "groq/openai/gpt-oss-120b": {"reasoning_effort": "low"},
    "xai/grok-4.5": {"reasoning_effort": "low"},
    "xai/grok-4": {},
    "meta/muse-spark-1.3": {"reasoning_effort": "minimal"},
    "mistralai/magistral-medium-latest": {},
    "anthropic/claude-opus-5-5": {"output_config": {"effort": "low"}},
    "anthropic/claude-fable-5": {"output_config": {"effort": "low"}},
}
SHARED: Final = ("model", "messages", "input", "contents", "systemInstruction", "stream", "stream_options", "store")


def find_reasoning_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of an engine's request that say how much to reason."""
    names = ("reasoning", "reasoning_effort", "thinking", "think", "prompt_mode", "output_config")
    found = {name: body[name] for name in names if name in body}
    config = body.get("generationConfig", {})
    return found | ({"thinkingConfig": config["thinkingConfig"]} if "thinkingConfig" in config else {})


def is_translated(client: str, model: str) -> bool:
    """False if the client speaks a dialect of the engine, so that its own fields go out as they are."""
    name, _, model = model.partition("/")
    engine = ENGINES[name]
    if client == "openai-responses":
        return engine.responses is None
    needs_responses = engine.responses is not None and matches(model, engine.responses.required)
    return client != engine.dialect or needs_responses


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("client", "model"), [(client, model) for model in ALWAYS for client in OFF if is_translated(client, model)]
)
async def test_cl_05_no_reasoning_is_a_soft_wish_of_every_compatible_client(
    client: str, model: str, stream: bool
) -> None:
    status, sent, dropped, _ = await ask(PATHS[client], write_question(client, model, stream, **OFF[client]))
    assert status == 200
    assert find_reasoning_fields(sent) == ALWAYS[model]
    assert dropped == ["effort" if client.startswith("openai") else "reasoning"]


@pytest.mark.parametrize("model", ["openai/gpt-5", "google/gemini-2.5-pro", "groq/openai/gpt-oss-120b"])
async def test_cl_05_generate_of_ollama_too(model: str) -> None:
    body = {"model": model, "prompt": "Hello", "think": False, "stream": False}
    status, sent, dropped, _ = await ask("/api/generate", body)
    assert (status, dropped) == (200, ["reasoning"])
    assert find_reasoning_fields(sent) == ALWAYS[model]


@pytest.mark.parametrize("model", ALWAYS)
async def test_the_native_api_refuses_to_turn_reasoning_off_where_that_is_impossible(model: str) -> None:
    body = write_question("native", model, False, options={"reasoning": False})
    status, error, _, _ = await ask("/llm/chat", body)
    assert status == 400 and error["code"] == "unsupported" and error["param"].endswith("reasoning")


# --- efforts ---

EFFORT: Final[dict[str, Any]] = {
    "openai-chat": lambda effort: {"reasoning_effort": effort},
    "openai-responses": lambda effort: {"reasoning": {"effort": effort}},
    "anthropic": lambda effort: {"output_config": {"effort": effort}},
    "ollama": lambda effort: {"think": effort},
    "native": lambda effort: {"options": {"reasoningEffort": effort}},
}
HIGHEST: Final[dict[str, str]] = {
    "google/gemini-3.5-flash": "HIGH",
    "google/gemini-4-carbon": "HIGH",
    "openai/gpt-5": "high",
    "openai/gpt-5.1": "high",
    "openai/gpt-5.2": "xhigh",
    "openai/gpt-5.5": "xhigh",
    "openai/o3": "high",
    "groq/openai/gpt-oss-20b": "high",
    "xai/grok-4.5": "high",
    "cerebras/gpt-oss-120b": "high",
    "meta/muse-spark-1.3": "xhigh",
    "ollama/gpt-oss:20b": "high",
    "anthropic/claude-mythos-preview": "max",
}


def find_effort(body: Mapping[str, Any]) -> str | None:
    """Returns the effort of an engine's request, in the words of its dialect."""
    found = find_reasoning_fields(body)
    nested = [found.get("reasoning"), found.get("output_config"), found.get("thinkingConfig")]
    efforts = [value for inner in nested if inner for value in (inner.get("effort"), inner.get("thinkingLevel"))]
    return next((str(value) for value in (found.get("reasoning_effort"), found.get("think"), *efforts) if value), None)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("client", "model"),
    [(client, model) for model in HIGHEST for client in EFFORT if is_translated(client, model)],
)
async def test_gw_22_an_effort_above_the_highest_becomes_the_highest_and_that_is_told(
    client: str, model: str, stream: bool
) -> None:
    status, sent, dropped, _ = await ask(PATHS[client], write_question(client, model, stream, **EFFORT[client]("max")))
    assert status == 200
    assert find_effort(sent) == HIGHEST[model]
    assert dropped == ([] if HIGHEST[model] == "max" else ["effort"])


@pytest.mark.parametrize("client", ["openai-chat", "openai-responses", "ollama", "native"])
async def test_su_15_an_effort_with_a_small_limit_is_answered_without_thinking(client: str) -> None:
    limits: dict[str, dict[str, Any]] = {
        "openai-chat": {"max_tokens": 1024},
        "openai-responses": {"max_output_tokens": 1024},
        "ollama": {"options": {"num_predict": 1024}},
    }
    more = {"options": {"reasoningEffort": "low", "maxTokens": 1024}} if client == "native" else EFFORT[client]("low")
    body = write_question(client, "anthropic/claude-sonnet-4-5", False, **{**more, **limits.get(client, {})})
    status, sent, dropped, _ = await ask(PATHS[client], body)
    assert (status, sent["max_tokens"], dropped) == (200, 1024, ["effort"])
    assert "thinking" not in sent


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("model", ["mistral-medium-latest", "mistral-medium-3-5", "mistral-small-latest"])
@pytest.mark.parametrize(
    ("client", "more", "effort", "told"),
    [
        ("native", {"options": {"reasoning": True}}, "high", []),
        ("native", {"options": {"reasoning": False}}, "none", []),
        ("native", {}, None, []),
        ("anthropic", {"thinking": {"type": "adaptive"}}, "high", []),
        ("anthropic", {"thinking": {"type": "enabled", "budget_tokens": 2000}}, "high", ["reasoning_tokens"]),
        ("anthropic", OFF["anthropic"], "none", []),
        ("ollama", {"think": True}, "high", []),
        ("ollama", {"think": "low"}, "high", ["effort"]),
        ("ollama", OFF["ollama"], "none", []),
        ("openai-responses", {"reasoning": {"effort": "high"}}, "high", []),
        ("openai-responses", OFF["openai-responses"], "none", []),
    ],
)
async def test_nw_54_mistral_reasons_only_if_it_is_asked_to(
    client: str, more: dict[str, Any], effort: str | None, told: list[str], model: str, stream: bool
) -> None:
    status, sent, dropped, _ = await ask(PATHS[client], write_question(client, f"mistralai/{model}", stream, **more))
    assert (status, sent.get("reasoning_effort"), dropped) == (200, effort, told)


# --- models that think unasked, and what Gemini 4 refuses ---


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("client", ["openai-chat", "openai-responses", "ollama", "native"])
@pytest.mark.parametrize("model", ["claude-opus-5", "claude-sonnet-5", "claude-haiku-5-5", "claude-opus-5-5"])
async def test_nw_21_to_23_thinking_that_nobody_asked_for_is_asked_for_in_readable_form(
    model: str, client: str, stream: bool
) -> None:
    status, sent, dropped, _ = await ask(PATHS[client], write_question(client, f"anthropic/{model}", stream))
    assert (status, dropped) == (200, [])
    assert sent["thinking"]["type"] == "adaptive" and sent["thinking"]["display"] == "summarized"


@pytest.mark.parametrize("model", ["claude-opus-4-8", "claude-sonnet-4-6", "claude-haiku-4-5"])
async def test_older_claude_models_do_not_think_unasked(model: str) -> None:
    _, sent, _, _ = await ask(PATHS["openai-chat"], write_question("openai-chat", f"anthropic/{model}", False))
    assert "thinking" not in sent


@pytest.mark.parametrize("client", ["openai-chat", "ollama", "native"])
@pytest.mark.parametrize("model", ["gemini-4-neon", "gemini-4-carbon", "gemini-4-hydrogen"])
async def test_nw_19_gemini_4_refuses_penalties_and_ignores_samplers(model: str, client: str) -> None:
    def question(name: str, native_name: str, value: float) -> dict[str, Any]:
        if client == "openai-chat":
            return write_question(client, f"google/{model}", False, **{name: value})
        inner = {native_name if client == "native" else name: value}
        return write_question(client, f"google/{model}", False, options=inner)

    status, error, _, _ = await ask(PATHS[client], question("frequency_penalty", "frequencyPenalty", 0.5))
    assert status == 400 and "frequency" in json.dumps(error).lower()
    status, _, dropped, _ = await ask(PATHS[client], question("temperature", "temperature", 0.5))
    assert (status, dropped) == (200, ["temperature"])


# --- the cases themselves ---


async def ask_case(name: str) -> tuple[int, dict[str, Any], list[str], str]:
    case = field_case(name)
    request = case["request"]
    return await ask(case.get("endpoint") or request["path"], request.get("body", request))


async def test_nw_18() -> None:
    status, sent, dropped, url = await ask_case("nw-18")
    assert status == 200 and url.endswith("/v1/responses")
    assert sent["reasoning"] == {"effort": "low"} and dropped == ["reasoning"]


async def test_nw_19() -> None:
    status, sent, dropped, _ = await ask_case("nw-19")
    assert status == 200 and dropped == ["reasoning"]
    assert sent["generationConfig"]["thinkingConfig"] == {"includeThoughts": False, "thinkingLevel": "LOW"}


@pytest.mark.parametrize("name", ["nw-21", "nw-23"])
async def test_nw_21_nw_23(name: str) -> None:
    status, sent, dropped, _ = await ask_case(name)
    assert (status, dropped) == (200, [])
    assert sent["thinking"] == {"type": "adaptive", "display": "summarized"}


async def test_nw_51() -> None:
    status, _, dropped, url = await ask_case("nw-51")
    assert (status, dropped) == (200, []) and url.endswith("/v1/responses")


async def test_nw_54() -> None:
    status, sent, dropped, _ = await ask_case("nw-54")
    assert (status, dropped, sent["reasoning_effort"]) == (200, [], "high")


async def test_cl_05() -> None:
    status, sent, dropped, _ = await ask_case("cl-05")
    assert (status, dropped, sent["reasoning_effort"]) == (200, ["reasoning"], "minimal")


async def test_gw_22() -> None:
    status, sent, dropped, _ = await ask_case("gw-22")
    assert (status, dropped, find_effort(sent)) == (200, ["effort"], "HIGH")


async def test_su_15() -> None:
    status, sent, dropped, _ = await ask_case("su-15")
    assert (status, dropped, sent["max_tokens"], "thinking" in sent) == (200, ["effort"], 1024, False)
