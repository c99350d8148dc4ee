"""Each option in Ollama's form, or refused by name (providers.md, section 5)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

import pytest

from llm import errors
from llm.chat.messages import Message, Text
from llm.chat.request import ChatRequest, JsonFormat, Options, ToolSpec
from llm.dialects import ollama
from llm.engines.engine import Quirks
from llm.engines.records import ENGINES

OLLAMA: Final = ENGINES["ollama"]
SCHEMA: Final[dict[str, Any]] = {"type": "object", "properties": {"x": {"type": "integer"}}}
TOOL = ToolSpec("f", "Does it", SCHEMA)


def write_options(
    model: str, tools: tuple[ToolSpec, ...] = (), **options: Any
) -> tuple[dict[str, Any], tuple[str, ...]]:
    request = ChatRequest(
        model=model, messages=(Message("user", (Text("Hi"),)),), tools=tools, options=Options(**options)
    )
    outgoing = ollama.write_request(request, OLLAMA)
    body = dict(json.loads(json.dumps(outgoing.body)))
    assert body.pop("messages") == [{"role": "user", "content": "Hi"}]
    assert (body.pop("model"), body.pop("stream")) == (model, False)
    return body, outgoing.dropped


def write_body(model: str, tools: tuple[ToolSpec, ...] = (), **options: Any) -> dict[str, Any]:
    body, dropped = write_options(model, tools, **options)
    assert dropped == ()
    return body


def get_refused_option(model: str, tools: tuple[ToolSpec, ...] = (), **options: Any) -> str | None:
    with pytest.raises(errors.Unsupported) as raised:
        write_options(model, tools, **options)
    assert raised.value.engine == "ollama" and str(raised.value).startswith("Ollama ")
    return raised.value.param


@pytest.mark.parametrize(
    ("model", "options", "think"),
    [
        ("qwen3:8b", {}, None),
        ("qwen3:8b", {"reasoning": True}, True),
        ("qwen3:8b", {"reasoning": False}, False),
        ("qwen3:8b", {"effort": "none"}, False),
        ("qwen3:8b", {"reasoning_tokens": 0}, False),
        ("qwen3:8b", {"reasoning_tokens": -1}, True),
        ("qwen3.8:27b", {"effort": "max"}, "max"),
        ("gpt-oss:20b", {}, None),
        ("gpt-oss:20b", {"reasoning": True}, None),  # it always reasons, and does not accept true
        ("gpt-oss:120b-cloud", {"effort": "high"}, "high"),
        ("hf.co/me/gpt-oss-20b:Q4", {"reasoning_tokens": 8000}, "medium"),
        ("llama3.1:8b", {"reasoning": False}, False),
    ],
)
def test_thinking_is_a_switch_or_a_level(model: str, options: dict[str, Any], think: bool | str | None) -> None:
    body = write_body(model, **options)
    assert body.get("think") == think and ("think" in body) == (think is not None)


@pytest.mark.parametrize(
    ("model", "options", "named"),
    [
        ("qwen3:8b", {"tool_choice": "tool:f"}, "tool_choice"),  # there is no tool to call
    ],
)
def test_t8_unsupported_options_are_refused_by_name(model: str, options: dict[str, Any], named: str) -> None:
    assert get_refused_option(model, **options) == named


@pytest.mark.parametrize(
    ("model", "asked", "think"),
    [
        ("gpt-oss:20b", "max", "high"),
        ("qwen3:8b", "xhigh", "high"),
        ("deepseek-r1:7b", "minimal", "low"),
    ],
)
def test_gw_22_an_effort_that_the_model_lacks_becomes_the_nearest_level(model: str, asked: str, think: str) -> None:
    body, dropped = write_options(model, (), effort=asked)
    assert body["think"] == think and dropped == ("effort",)


@pytest.mark.parametrize(("name", "value"), [("reasoning", False), ("effort", "none"), ("reasoning_tokens", 0)])
def test_t8_options_without_effect_are_reported(name: str, value: Any) -> None:
    assert write_options("gpt-oss:20b", **{name: value}) == ({"think": False}, (name,))


def test_t8_a_budget_without_a_field_is_reported() -> None:
    assert write_options("qwen3:8b", reasoning_tokens=2000) == ({"think": True}, ("reasoning_tokens",))
    assert write_options("qwen3:8b", effort="low", reasoning_tokens=2000) == ({"think": "low"}, ("reasoning_tokens",))


def test_tools_are_left_out_for_tool_choice_none() -> None:
    assert "tools" in write_body("qwen3:8b", (TOOL,), tool_choice="auto")
    assert write_body("qwen3:8b", (TOOL,), tool_choice="none") == {}


def test_customopts_are_sent_in_their_place_on_the_wire() -> None:
    body = write_body("m", temperature=0, extra={"temperature": 1, "min_p": 0, "keep_alive": "10m", "truncate": False})
    assert body == {"options": {"temperature": 1, "min_p": 0}, "keep_alive": "10m", "truncate": False}


def test_t7_a_schema_or_any_json() -> None:
    assert write_body("m", format=JsonFormat(SCHEMA)) == {"format": SCHEMA}
    assert write_body("m", format=JsonFormat()) == {"format": "json"}


def test_top_logprobs_alone_requests_log_probabilities() -> None:
    assert write_body("m", top_logprobs=0) == {"logprobs": True, "top_logprobs": 0}
    assert write_body("m", logprobs=False) == {"logprobs": False}


def test_an_engine_record_can_refuse_an_option() -> None:
    engine = replace(OLLAMA, quirks=Quirks(unsupported_options=frozenset({"seed", "effort"}), json_schema=False))
    for named, options in (
        ("seed", Options(seed=0)),
        ("effort", Options(effort="low")),
        ("format", Options(format=JsonFormat(SCHEMA))),
    ):
        with pytest.raises(errors.Unsupported) as raised:
            ollama.write_request(ChatRequest(model="m", messages=(), options=options), engine)
        assert raised.value.param == named
