"""Recorded answers of engines that rank documents. ``tests/handlers/test_rerank.py`` has the endpoints."""

from __future__ import annotations

import json
from typing import Final

import pytest

from llm.engines.engine import Engine
from llm.engines.records import ENGINES
from llm.engines.task_support import RERANK
from llm.errors import InvalidRequest
from llm.tasks import rerank
from tests.support.recordings import recordings

CUSTOM: Final = Engine(name="custom", label="Custom", dialect="openai-chat", rerank=RERANK)


def test_every_recorded_answer_is_a_ranking() -> None:
    read = 0
    for recording in recordings():
        if recording.api != "rerank":
            continue
        for sent, got in recording.exchanges:
            if got.status != 200:
                continue
            request = rerank.read_request(sent.body)
            ranking = rerank.read_reply(json.loads(got.body), request, ENGINES.get(recording.provider, CUSTOM))
            count = min(len(request.documents), request.top_n or len(request.documents))
            assert len(ranking.results) == count, recording.name
            scores = [one.score for one in ranking.results]
            assert scores == sorted(scores, reverse=True)
            assert ranking.input_tokens or ranking.search_units
            read += 1
    assert read >= 6


@pytest.mark.parametrize("provider", ["cohere", "voyage", "openrouter"])
def test_a_recorded_request_is_written_as_it_was_sent(provider: str) -> None:
    for recording in recordings():
        if recording.api != "rerank" or recording.provider != provider:
            continue
        sent = recording.exchanges[0][0]
        engine = ENGINES[provider]
        written = rerank.write_request(rerank.read_request(sent.body), engine, sent.body.get("model", "m"))
        assert written.body is not None
        known = {"query", "model", "documents", "top_n", "top_k", "truncation"}
        documents = [one if isinstance(one, str) else one["text"] for one in sent.body["documents"]]
        expected = {name: value for name, value in sent.body.items() if name in known and value is not None}
        assert {**written.body} == {"model": "m", **expected, "documents": documents}
        if "v1" not in sent.path or provider != "cohere":
            assert f"{engine.path if not engine.rerank.below_root else ''}{written.path}" in sent.path  # type: ignore[union-attr]


def test_no_more_documents_than_the_limit() -> None:
    with pytest.raises(InvalidRequest, match="the limit is 10000"):
        rerank.read_request({"query": "q", "documents": ["a"] * (rerank.MAX_DOCUMENTS + 1)})
