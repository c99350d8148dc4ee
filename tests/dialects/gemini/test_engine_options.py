"""Each option in the form that a Gemini model accepts, or refused by name (providers.md, section 3)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

import pytest

from llm import errors
from llm.chat.messages import Message, Text
from llm.chat.provider_metadata import ProviderMetadata
from llm.chat.request import ChatRequest, JsonFormat, Options, ToolSpec
from llm.dialects import gemini
from llm.engines.engine import Quirks
from llm.engines.records import ENGINES

GOOGLE: Final = ENGINES["google"]
SCHEMA: Final[dict[str, Any]] = {"type": "object", "properties": {"x": {"type": "integer"}}}
TOOL = ToolSpec("f", "Does it", SCHEMA)
HOSTED = ToolSpec("search", executor="provider", metadata=(ProviderMetadata("gemini", None, {"googleSearch": {}}),))
SHOWN: Final = {"includeThoughts": True}
HIDDEN: Final = {"includeThoughts": False}


def write_options(model: str, tools: tuple[ToolSpec, ...], **options: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Returns the body without ``contents``, and the dropped names."""
    request = ChatRequest(
        model=model, messages=(Message("user", (Text("Hi"),)),), tools=tools, options=Options(**options)
    )
    outgoing = gemini.write_request(request, GOOGLE)
    body = dict(json.loads(json.dumps(outgoing.body)))
    assert body.pop("contents") == [{"role": "user", "parts": [{"text": "Hi"}]}]
    body.pop("tools", None)
    return body, outgoing.dropped


def write_body(model: str, tools: tuple[ToolSpec, ...] = (), **options: Any) -> dict[str, Any]:
    body, dropped = write_options(model, tools, **options)
    assert dropped == ()
    return body


def get_refused_option(model: str, tools: tuple[ToolSpec, ...] = (), **options: Any) -> str | None:
    with pytest.raises(errors.Unsupported) as raised:
        write_options(model, tools, **options)
    assert raised.value.engine == "google" and str(raised.value).startswith("Google ")
    return raised.value.param


OFF: Final[dict[str, Any]] = {"reasoning": False}
ON: Final[dict[str, Any]] = {"reasoning": True}


def effort(word: str) -> dict[str, Any]:
    return {"effort": word}


def tokens(number: int) -> dict[str, Any]:
    return {"reasoning_tokens": number}


@pytest.mark.parametrize(
    ("model", "asked", "thinking"),
    [
        # Models with a budget in tokens.
        ("gemini-2.5-flash", {}, SHOWN),
        ("gemini-2.5-flash", ON, SHOWN),
        ("gemini-2.5-flash", OFF, {**HIDDEN, "thinkingBudget": 0}),
        ("gemini-2.5-flash", effort("none"), {**HIDDEN, "thinkingBudget": 0}),
        ("gemini-2.5-flash", tokens(0), {**HIDDEN, "thinkingBudget": 0}),
        ("gemini-2.5-flash", tokens(-1), {**SHOWN, "thinkingBudget": -1}),
        ("gemini-2.5-flash", tokens(777), {**SHOWN, "thinkingBudget": 777}),
        ("gemini-2.5-flash", effort("minimal"), {**SHOWN, "thinkingBudget": 512}),
        ("gemini-2.5-flash", effort("low"), {**SHOWN, "thinkingBudget": 2048}),
        ("gemini-2.5-flash", effort("medium"), {**SHOWN, "thinkingBudget": 8192}),
        ("gemini-2.5-flash", effort("max"), {**SHOWN, "thinkingBudget": 24576}),
        ("models/gemini-2.5-pro", effort("max"), {**SHOWN, "thinkingBudget": 32768}),
        ("gemini-2.5-flash-lite", {}, SHOWN),
        ("gemini-2.5-flash-lite", ON, {**SHOWN, "thinkingBudget": -1}),
        ("gemini-2.5-computer-use-preview-10-2025", tokens(5), {**SHOWN, "thinkingBudget": 5}),
        # Models with levels.
        ("gemini-3-pro-preview", {}, SHOWN),
        ("gemini-3-pro-preview", effort("high"), {**SHOWN, "thinkingLevel": "HIGH"}),
        ("gemini-3.1-pro-preview", effort("medium"), {**SHOWN, "thinkingLevel": "MEDIUM"}),
        ("gemini-3.5-flash", ON, SHOWN),
        ("gemini-3.5-flash", OFF, {**HIDDEN, "thinkingLevel": "MINIMAL"}),
        ("gemini-3.5-flash", tokens(0), {**HIDDEN, "thinkingLevel": "MINIMAL"}),
        ("gemini-3.5-flash", tokens(2000), {**SHOWN, "thinkingBudget": 2000}),
        ("gemini-3.5-flash", effort("minimal"), {**SHOWN, "thinkingLevel": "MINIMAL"}),
        ("gemini-3.1-flash-lite", ON, {**SHOWN, "thinkingLevel": "MEDIUM"}),
        ("gemini-3.6-flash", OFF, {**HIDDEN, "thinkingBudget": 0}),
        ("gemini-3.8-flash", effort("medium"), {**SHOWN, "thinkingLevel": "MEDIUM"}),
        ("gemini-4-argon", effort("high"), {**SHOWN, "thinkingLevel": "HIGH"}),
        ("gemini-4-neon", effort("xhigh"), {**SHOWN, "thinkingLevel": "XHIGH"}),
        ("gemini-4-hydrogen", effort("xhigh"), {**SHOWN, "thinkingLevel": "XHIGH"}),
        ("gemini-4-neon", tokens(-1), SHOWN),
        ("gemini-5-of-tomorrow", effort("high"), {**SHOWN, "thinkingLevel": "HIGH"}),
        ("gemini-12-flash", {}, SHOWN),
        # Models without thinking get no field that turns it off.
        ("gemini-2.0-flash", {}, None),
        ("gemini-2.0-flash", OFF, None),
        ("gemini-1.5-pro-latest", tokens(0), None),
        ("gemini-2.5-flash-image", {}, None),
        ("gemini-2.5-pro-preview-tts", {}, None),
        ("gemma-3-27b-it", effort("none"), None),
        # A model without a profile gets no thinking field unless an option requests it.
        ("gemma-4-31b-it", {}, None),
        ("tunedModels/mine", {}, None),
        ("gemma-4-31b-it", effort("high"), {**SHOWN, "thinkingLevel": "HIGH"}),
    ],
)
def test_thinking_has_the_form_that_the_model_accepts(
    model: str, asked: dict[str, Any], thinking: dict[str, Any] | None
) -> None:
    assert write_body(model, **asked).get("generationConfig", {}).get("thinkingConfig") == thinking


@pytest.mark.parametrize(
    ("model", "asked", "named"),
    [
        ("gemini-2.0-flash", ON, "reasoning"),
        ("gemini-2.0-flash", effort("low"), "effort"),
        ("gemma-3-27b-it", tokens(500), "reasoning_tokens"),
        ("gemini-2.5-pro", OFF, "reasoning"),
        ("gemini-2.5-pro", tokens(0), "reasoning_tokens"),
        ("gemini-3-pro-preview", effort("none"), "effort"),
        ("gemini-3.8-flash", OFF, "reasoning"),
        ("gemini-4-neon", OFF, "reasoning"),
        ("gemini-4-hydrogen", effort("none"), "effort"),
        ("gemini-4-carbon", tokens(0), "reasoning_tokens"),
        ("gemini-5-of-tomorrow", OFF, "reasoning"),
    ],
)  # fmt: skip
def test_t8_unsupported_thinking_is_refused_by_name(model: str, asked: dict[str, Any], named: str) -> None:
    assert get_refused_option(model, **asked) == named


@pytest.mark.parametrize(
    ("model", "asked", "level"),
    [
        ("gemini-3-pro-preview", "medium", "LOW"),  # recorded by others: "Thinking level MEDIUM is not supported"
        ("gemini-3.1-pro-preview", "minimal", "LOW"),
        ("gemini-3.7-flash", "minimal", "LOW"),
        ("gemini-3.5-flash", "max", "HIGH"),
        ("gemini-3.6-flash", "xhigh", "HIGH"),
        ("gemini-4-argon", "xhigh", "HIGH"),
        ("gemini-4-carbon", "xhigh", "HIGH"),
        ("gemini-4-neon", "max", "XHIGH"),
        ("gemini-5-of-tomorrow", "max", "HIGH"),
    ],
)
def test_gw_22_an_effort_that_the_model_lacks_becomes_the_nearest_level(model: str, asked: str, level: str) -> None:
    body, dropped = write_options(model, (), effort=asked)
    assert body["generationConfig"]["thinkingConfig"] == {**SHOWN, "thinkingLevel": level}
    assert dropped == ("effort",)


@pytest.mark.parametrize(
    ("model", "asked", "limit", "budget"),
    [
        ("gemini-2.5-flash", "high", 1024, 512),
        ("gemini-2.5-flash", "high", 1, 0),
        ("gemini-2.5-pro", "high", 100, 128),  # its smallest
        ("gemini-2.5-flash-lite", "low", 100, 512),
        ("gemini-2.5-flash", "low", 5000, 2048),
        ("gemini-2.5-flash", "max", 60000, 24576),
    ],
)
def test_su_15_an_effort_as_a_budget_leaves_room_for_the_answer(
    model: str, asked: str, limit: int, budget: int
) -> None:
    config = write_body(model, effort=asked, max_tokens=limit)["generationConfig"]
    assert config == {"maxOutputTokens": limit, "thinkingConfig": {**SHOWN, "thinkingBudget": budget}}


@pytest.mark.parametrize("model", ["gemini-4-neon", "gemini-4-carbon", "gemini-4-hydrogen"])
def test_nw_19_a_budget_is_sent_as_a_level_where_the_model_refuses_budgets(model: str) -> None:
    body, dropped = write_options(model, (), reasoning_tokens=2000)
    assert body["generationConfig"]["thinkingConfig"] == {**SHOWN, "thinkingLevel": "LOW"}
    assert dropped == ("reasoning_tokens",)


def test_t8_with_effort_and_budget_the_effort_is_sent_and_the_budget_dropped() -> None:
    body, dropped = write_options("gemini-3.5-flash", (), effort="low", reasoning_tokens=9000)
    assert body["generationConfig"]["thinkingConfig"] == {**SHOWN, "thinkingLevel": "LOW"}
    assert dropped == ("reasoning_tokens",)


def test_t8_sampling_options_without_effect_are_reported_and_penalties_refused() -> None:
    body, dropped = write_options("gemini-3.8-flash", (), temperature=0, top_p=0.5, top_k=0, seed=0)
    assert dropped == ("temperature", "top_k", "top_p")
    assert {name: body["generationConfig"][name] for name in ("temperature", "topK", "seed")} == {
        "temperature": 0, "topK": 0, "seed": 0,
    }  # fmt: skip
    for name in ("presence_penalty", "frequency_penalty"):
        assert get_refused_option("gemini-3.5-flash-lite", (), **{name: 0.5}) == name
        assert write_body("gemini-3.5-flash-lite", (), **{name: 0}) == write_body("gemini-3.5-flash-lite")
        assert write_body("gemini-2.5-flash", (), **{name: 0}) != write_body("gemini-2.5-flash")


@pytest.mark.parametrize(
    ("tier", "word"),
    [("auto", None), ("default", "standard"), ("standard", "standard"), ("flex", "flex"), ("priority", "priority")],
)
def test_service_tiers(tier: str, word: str | None) -> None:
    assert write_body("gemini-3.5-flash", service_tier=tier).get("serviceTier") == word


def test_t7_only_newer_models_accept_a_schema_with_tools() -> None:
    asked: dict[str, Any] = {"format": JsonFormat(SCHEMA)}
    config = write_body("gemini-3.5-flash", (TOOL,), **asked)["generationConfig"]
    assert config["responseMimeType"] == "application/json" and config["responseJsonSchema"] == SCHEMA
    assert get_refused_option("gemini-2.5-flash", (TOOL,), **asked) == "format"
    assert write_body("gemini-2.5-flash", **asked)["generationConfig"]["responseJsonSchema"] == SCHEMA
    assert write_body("gemini-2.0-flash", format=JsonFormat()) == {
        "generationConfig": {"responseMimeType": "application/json"}
    }


@pytest.mark.parametrize(
    ("choice", "calling"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ("tool:f", {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)
def test_tool_choice(choice: str, calling: dict[str, Any]) -> None:
    assert write_body("gemini-3.5-flash", (TOOL,), tool_choice=choice)["toolConfig"] == {
        "functionCallingConfig": calling
    }


def test_t8_a_tool_choice_without_tools_is_refused() -> None:
    assert get_refused_option("gemini-3.5-flash", tool_choice="required") == "tool_choice"
    assert get_refused_option("gemini-3.5-flash", (HOSTED,), tool_choice="none") == "tool_choice"
    assert "toolConfig" not in write_body("gemini-3.5-flash", tool_choice="none")
    assert "toolConfig" not in write_body("gemini-3.5-flash", (HOSTED,), tool_choice="auto")


def test_customopts_are_merged_last_and_keep_other_options() -> None:
    body = write_body(
        "gemini-2.0-flash",
        max_tokens=5,
        seed=1,
        extra={"generationConfig": {"seed": 2, "mediaResolution": "LOW"}, "safetySettings": []},
    )
    assert body == {
        "generationConfig": {"maxOutputTokens": 5, "seed": 2, "mediaResolution": "LOW"},
        "safetySettings": [],
    }


def test_an_engine_record_can_refuse_an_option() -> None:
    engine = replace(
        GOOGLE,
        quirks=Quirks(unsupported_options=frozenset({"top_k", "effort"}), json_schema=False),
    )
    for named, options in (
        ("top_k", Options(top_k=0)),
        ("effort", Options(effort="low")),
        ("format", Options(format=JsonFormat(SCHEMA))),
    ):
        request = ChatRequest(model="gemini-3.5-flash", messages=(), tools=(TOOL,), options=options)
        with pytest.raises(errors.Unsupported) as raised:
            gemini.write_request(request, engine)
        assert raised.value.param == named
