"""Model lists of OpenAI Responses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llm import errors
from llm.dialects import openai_responses as wire
from llm.engines.capabilities import ModelRules
from tests.support.responses_engine import ENGINE

# Models


def test_models_are_listed_by_their_record_and_by_patterns() -> None:
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


def test_models_of_an_engine_without_a_list_are_those_of_its_record() -> None:
    lister = wire.list_models(replace(ENGINE, models=ModelRules(fixed=("default",))))
    with pytest.raises(StopIteration) as stop:
        next(lister)
    assert [model.id for model in stop.value.value] == ["default"]


@pytest.mark.parametrize("body", [None, {}, {"data": 1}, "x"])
def test_a_list_in_an_unknown_form_is_malformed(body: Any) -> None:
    lister = wire.list_models(ENGINE)
    next(lister)
    with pytest.raises(errors.Malformed):
        lister.send([body])
