"""Model lists of Chat Completions engines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llm import errors
from llm.dialects import openai_chat
from llm.engines.capabilities import ModelInfo, ModelRules
from llm.engines.engine import Engine
from tests.support.chat_engine import HOST


def run_lister(body: Any, engine: Engine = HOST) -> list[ModelInfo]:
    lister = openai_chat.list_models(engine)
    [asked] = next(lister)
    assert (asked.method, asked.path, asked.body) == ("GET", "/models", None)
    with pytest.raises(StopIteration) as end:
        lister.send([body])
    models: list[ModelInfo] = end.value.value
    return models


def test_models_are_listed_newest_first_and_then_by_name() -> None:
    entries = [
        {"id": "b"},
        {"id": "old", "created": 1},
        {"id": "A"},
        {"id": "new", "created": 2},
        {"id": "z", "created": 0},
    ]
    for body in ({"object": "list", "data": entries}, entries):
        assert [model.id for model in run_lister(body)] == ["new", "old", "A", "b", "z"]


SAYING = ModelRules(tools=("*",), images=("see*",), reasoning=("think*",))
RECORDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "openrouter": (
        {"id": "a", "architecture": {"modality": "text+image->text"}, "supported_parameters": ["reasoning"], "context_length": 9, "top_provider": {"max_completion_tokens": 3}},
        {"kind": "chat", "can": {"images", "reasoning"}, "guessed": set(), "context_tokens": 9, "max_output_tokens": 3},
    ),
    "a picture maker": ({"id": "a", "architecture": {"output_modalities": ["image"]}}, {"kind": "image"}),
    "a speaker": ({"id": "a", "architecture": {"output_modalities": ["audio"]}}, {"kind": "tts"}),
    "an embedder": ({"id": "a", "architecture": {"modality": "text->embeddings"}}, {"kind": "embedding"}),
    "both": ({"id": "a", "output_modalities": ["image", "text"]}, {"kind": "chat"}),
    "groq": (
        {"id": "think-1", "active": True, "context_window": 9, "max_completion_tokens": 3},
        {"kind": "chat", "can": {"tools", "reasoning"}, "guessed": {"tools", "reasoning"}, "context_tokens": 9, "max_output_tokens": 3},
    ),
    "together": ({"id": "see-1", "type": "chat", "display_name": "See", "context_length": 9}, {"name": "See", "can": {"tools", "images"}}),
    "together, a picture maker": ({"id": "see-1", "type": "image"}, {"kind": "image", "can": set()}),
    "mistral": (
        {"id": "think-1", "max_context_length": 9, "capabilities": {"completion_chat": True, "function_calling": False, "vision": True, "reasoning": False}},
        {"can": {"images"}, "guessed": set(), "context_tokens": 9},
    ),
    "hugging face": (
        {"id": "a", "architecture": {"input_modalities": ["text"]}, "providers": [{"status": "live", "context_length": 5, "supports_tools": False}, {"status": "error", "context_length": 9, "supports_tools": True}]},
        {"can": {"tools"}, "guessed": set(), "context_tokens": 9},
    ),
    "groq, with features": (
        {"id": "think-1", "supported_features": ["json_mode", "tools"], "output_modalities": ["text"]},
        {"kind": "chat", "can": {"tools"}, "guessed": set()},
    ),
    "groq, a listener": ({"id": "a", "output_modalities": ["transcription"]}, {"kind": "stt"}),
    "llama.cpp": ({"id": "a", "meta": {"n_ctx": 9, "n_ctx_train": 90}}, {"context_tokens": 9, "max_output_tokens": None}),
    "vllm": ({"id": "a", "max_model_len": 9}, {"context_tokens": 9}),
    "lm studio": ({"id": "a", "capabilities": ["tool_use"], "max_context_length": 9}, {"context_tokens": 9}),
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDS)
def test_o10_model_facts_come_from_the_entry_then_from_the_id(name: str) -> None:
    entry, wanted = RECORDS[name]
    [model] = run_lister({"data": [entry]}, replace(HOST, models=SAYING))
    assert {field: getattr(model, field) for field in wanted} == wanted
    assert model.meta == entry and model.engine == "host"


def test_unusable_models_are_not_listed() -> None:
    entries = [
        {"id": "off", "active": False},
        {"id": "gone", "providers": [{"status": "error"}]},
        {"id": "guard-1"},
        {"id": ""},
        {"id": 3},
        "x",
        {"id": "on", "active": True, "providers": [{"provider": "p"}]},
    ]
    engine = replace(HOST, models=ModelRules(kinds=(("guard*", "hidden"),)))
    assert [model.id for model in run_lister(entries, engine)] == ["on"]


@pytest.mark.parametrize("body", [None, {}, {"data": None}, "x", {"error": {"message": "no"}}])
def test_s8_an_answer_that_is_not_a_list_is_malformed(body: Any) -> None:
    lister = openai_chat.list_models(HOST)
    next(lister)
    with pytest.raises(errors.Malformed):
        lister.send([body])
