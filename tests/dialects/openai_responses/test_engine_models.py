"""Lists models of engines of the Responses dialect."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llm import errors
from llm.dialects import openai_responses as wire
from llm.engines.capabilities import ModelRules
from tests.support.responses_engine import ENGINE

# Models


def test_models_are_listed_by_patterns_of_the_record() -> None:
    engine = replace(
        ENGINE, models=ModelRules(kinds=(("*embed*", "embedding"), ("*old*", "hidden")), reasoning=("gpt-5*",))
    )
    lister = wire.list_models(engine)
    (outgoing,) = next(lister)
    assert (outgoing.path, outgoing.method) == ("/models", "GET")
    entries = [{"id": "gpt-5", "created": 2}, {"id": "embed-1", "created": 3}, {"id": "old-1"}, {"id": None}, 7]
    with pytest.raises(StopIteration) as stop:
        lister.send([{"object": "list", "data": entries}])
    models = stop.value.value
    assert [(model.id, model.kind, model.can) for model in models] == [
        ("embed-1", "embedding", frozenset()),
        ("gpt-5", "chat", frozenset({"tools", "reasoning"})),
    ]


def test_an_engine_with_a_fixed_list_gets_no_request() -> None:
    lister = wire.list_models(replace(ENGINE, models=ModelRules(fixed_models=("default",))))
    with pytest.raises(StopIteration) as stop:
        next(lister)
    assert [model.id for model in stop.value.value] == ["default"]


@pytest.mark.parametrize("body", [None, {}, {"data": 1}, "x"])
def test_a_list_of_unknown_shape_is_malformed(body: Any) -> None:
    lister = wire.list_models(ENGINE)
    next(lister)
    with pytest.raises(errors.Malformed):
        lister.send([body])
