"""Lists models of engines of the Anthropic dialect."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from llm.engines.capabilities import ModelRules
from llm.engines.engine import Engine
from llm.errors import Malformed
from tests.support.anthropic_engine import DIALECT, ENGINE, anything, replaced_somewhere

# --- the list of models ---


def list_models(*pages: Any, engine: Engine = ENGINE) -> tuple[list[Any], list[str]]:
    lister = DIALECT.list_models(engine)
    asked = [next(lister)]
    for page in pages:
        try:
            asked.append(lister.send([page]))
        except StopIteration as stop:
            return stop.value, [outgoing.path for (outgoing,) in asked]
    raise AssertionError("more was asked for")


def test_models_are_listed_page_by_page() -> None:
    first = {"data": [{"type": "model", "id": "claude-a"}], "has_more": True, "last_id": "claude-a/b"}
    models, paths = list_models(first, {"data": [{"type": "model", "id": "claude-c"}], "has_more": False})
    assert [model.id for model in models] == ["claude-a", "claude-c"]
    assert paths == ["/v1/models?limit=1000", "/v1/models?limit=1000&after_id=claude-a%2Fb"]


def test_o10_listed_capabilities_win_over_guesses() -> None:
    wire = {
        "type": "model",
        "id": "claude-opus-4-6",
        "display_name": "Claude Opus 4.6",
        "created_at": "2026-02-01T00:00:00Z",
        "max_input_tokens": 1000000,
        "max_tokens": 128000,
        "capabilities": {
            "image_input": {"supported": False},
            "pdf_input": {"supported": True},
            "thinking": {"supported": True, "types": {}},
            "structured_outputs": {"supported": True},
            "citations": None,
        },
    }
    [[model], _] = list_models({"data": [wire, {"id": "claude-1", "lifecycle": "retired"}, {"id": ""}, None]})
    assert (model.id, model.name, model.kind, model.engine) == (
        "claude-opus-4-6",
        "Claude Opus 4.6",
        "chat",
        "anthropic",
    )
    assert (model.created, model.context_tokens, model.max_output_tokens) == (1769904000, 1000000, 128000)
    assert {"documents", "reasoning", "json_schema"} <= model.can and "images" not in model.can
    assert not {"documents", "reasoning", "json_schema", "images"} & model.guessed
    assert model.meta == wire
    [[bare], _] = list_models({"data": [{"id": "claude-sonnet-4-5", "created_at": "soon"}]})
    assert (bare.name, bare.created, bare.context_tokens) == ("claude-sonnet-4-5", None, None)
    assert {"tools", "images", "reasoning", "caching"} == bare.can == bare.guessed


def test_an_engine_with_a_fixed_list_gets_no_request() -> None:
    lister = DIALECT.list_models(replace(ENGINE, models=ModelRules(fixed_models=("a", "b"))))
    with pytest.raises(StopIteration) as stopped:
        next(lister)
    assert [model.id for model in stopped.value.value] == ["a", "b"]


@pytest.mark.parametrize("page", [None, [], {}, {"data": None}, {"data": "x"}])
def test_a_list_of_unknown_shape_is_malformed(page: Any) -> None:
    with pytest.raises(Malformed):
        list_models(page)


@given(
    anything | replaced_somewhere({"data": [{"id": "m", "created_at": "2026-01-01", "capabilities": {"thinking": {}}}]})
)
def test_s8_any_list_is_read_or_malformed(page: Any) -> None:
    try:
        lister = DIALECT.list_models(replace(ENGINE, models=ModelRules()))
        next(lister)
        lister.send([page])
    except (StopIteration, Malformed):
        pass
