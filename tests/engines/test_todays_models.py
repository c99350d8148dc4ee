"""Every model id that the newest packages of OpenAI, Anthropic and Google name: what is sent for it, as a table.

``tests/golden_models`` has one file for each package. Ids with the same outcome are one group. A package with a new id
fails here until its row is right; ``UPDATE_GOLDEN=1`` writes the files anew, and the diff is to be read. The sources of the
rows are named beside the profiles (``llm/engines/profiles.py`` and the ``profiles`` of the dialects).

Not known from a public source: the options of gpt-daybreak-*, gpt-rosalind-research and computer-use-preview (sent as they
are), those of the cyber, law and rosalind ids (taken from their version), whether Gemini's image, music and robotics models
and Gemma 4 accept every level, and how GPT-5.1 mini differs from GPT-5.1.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final, get_args

import anthropic.types
import pytest
from google.genai import interactions
from openai.types import AudioModel, ChatModel, EmbeddingModel, ImageModel, ModerationModel, VideoModel
from openai.types.audio import SpeechModel
from openai.types.live import SessionConfig
from openai.types.realtime import AudioTranscription, RealtimeSessionCreateRequest
from openai.types.shared import ResponsesModel

from llm.chat.messages import Message, Text
from llm.chat.request import ChatRequest, Options, ToolSpec, soften_no_reasoning
from llm.engines.api_choice import choose_api
from llm.engines.capabilities import classify_model
from llm.engines.engine import Target
from llm.engines.records import ENGINES
from llm.errors import Unsupported
from llm.upstream.translate import write_engine_request
from tests.support.paths import TESTS

# The ways of the table; "asked softly" is the wish not to reason of a compatible client, the others are native.
WAYS: Final[Mapping[str, Options]] = {
    "plain": Options(),
    "temperature and limit": Options(temperature=0.5, max_tokens=5000),
    "reasoning on": Options(reasoning=True),
    "reasoning off": Options(reasoning=False),
    "reasoning off, asked softly": Options(reasoning=False),
    "effort low": Options(effort="low"),
    "effort max": Options(effort="max"),
    "effort minimal": Options(effort="minimal"),
}
TOOL: Final = ToolSpec("f", parameters={"type": "object", "properties": {}})
# Fields that say nothing about the model's options.
SHARED: Final = frozenset({"model", "messages", "input", "contents", "store", "include"})


def read_ids(literal: Any) -> Iterator[str]:
    """Yields the texts of a type made of literals."""
    for value in get_args(literal):
        if isinstance(value, str):
            yield value
        else:
            yield from read_ids(value)


MODELS: Final = TESTS / "golden_models"
IDS: Final[Mapping[str, tuple[str, ...]]] = {
    "openai": tuple(dict.fromkeys((*read_ids(ChatModel), *read_ids(ResponsesModel)))),
    "anthropic": tuple(read_ids(anthropic.types.Model)),
    "google": tuple(read_ids(interactions.Model)),
}


def write_way(engine: str, model: str, way: str, *tools: ToolSpec) -> str:
    """Returns what is sent: the path, the fields for the options, and what is dropped; or which option is refused."""
    options = WAYS[way]
    soft = soften_no_reasoning(options) if "softly" in way else frozenset[str]()
    request = ChatRequest(
        model=model, messages=(Message("user", (Text("Hi"),)),), tools=tools, options=options, soft_options=soft
    )
    try:
        outgoing = write_engine_request(request, choose_api(request, Target(engine=ENGINES[engine], model=model)))
    except Unsupported as refusal:
        return f"refused: {refusal.param}"
    path = outgoing.path.replace(model, "…")
    fields = {name: value for name, value in (outgoing.body or {}).items() if name not in SHARED}
    dropped = f", dropped: {', '.join(outgoing.dropped)}" if outgoing.dropped else ""
    return f"{path} {json.dumps(fields)}{dropped}"


def describe(engine: str, model: str) -> dict[str, str]:
    kind = classify_model(model, ENGINES[engine].models)
    rows = {way: write_way(engine, model, way) for way in WAYS}
    return {
        "listed as": kind or "not listed",
        "path with tools": write_way(engine, model, "plain", TOOL).split()[0],
        **rows,
    }


def write_table(engine: str) -> str:
    """Returns the file: groups of ids with the same outcome, in the order of the package."""
    groups: dict[str, list[str]] = {}
    for model in IDS[engine]:
        groups.setdefault(json.dumps(describe(engine, model)), []).append(model)
    table = [{"ids": ids, **json.loads(outcome)} for outcome, ids in groups.items()]
    return json.dumps(table, indent=1, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("engine", IDS)
def test_nw_18_to_23_every_model_of_the_newest_packages_is_asked_as_the_table_shows(engine: str) -> None:
    path, table = MODELS / f"{engine}.json", write_table(engine)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(table)
    kept = json.loads(path.read_text())
    known = [model for group in kept for model in group["ids"]]
    assert sorted(known) == sorted(IDS[engine]), sorted({*known} ^ {*IDS[engine]})
    assert json.loads(table) == kept


# Ids of the package for the Responses API only.
RESPONSES_ONLY: Final = tuple(model for model in IDS["openai"] if model not in {*read_ids(ChatModel)})


@pytest.mark.parametrize("engine", ["openai", "azure"])
@pytest.mark.parametrize("model", RESPONSES_ONLY)
def test_nw_51_ids_that_the_package_has_only_for_responses_go_there(engine: str, model: str) -> None:
    assert write_way(engine, model, "plain").startswith("/responses ")


NOT_CHAT: Final = tuple(
    dict.fromkeys(
        model
        for literal in (
            AudioModel,
            EmbeddingModel,
            ImageModel,
            ModerationModel,
            SpeechModel,
            VideoModel,
            AudioTranscription.model_fields["model"].annotation,
            SessionConfig.model_fields["model"].annotation,
            RealtimeSessionCreateRequest.model_fields["model"].annotation,
        )
        for model in read_ids(literal)
    )
)


@pytest.mark.parametrize("model", NOT_CHAT)
def test_nw_51_models_of_other_apis_are_not_listed_as_chat(model: str) -> None:
    assert classify_model(model, ENGINES["openai"].models) != "chat"


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("gpt-live-1.1", "realtime"),
        ("gpt-live-transcribe", "stt"),
        ("gpt-realtime-translate", "realtime"),
        ("gpt-rosalind-research", "chat"),
        ("gpt-5-search-api", None),
    ],
)
def test_openai_ids_are_listed_as_what_they_are(model: str, kind: str | None) -> None:
    assert classify_model(model, ENGINES["openai"].models) == kind


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("gemini-3.5-transcribe", "stt"),
        ("gemini-3.1-flash-live-preview", "realtime"),
        ("gemini-live-2.5-flash-native-audio", "realtime"),
        ("gemini-3.5-live-translate-preview", "realtime"),
        ("gemini-omni-1.2-flash", "video"),
        ("lyria-3.5", "other"),
        ("gemini-4-neon", "chat"),
        ("gemma-4-31b-it", "chat"),
    ],
)
def test_google_ids_are_listed_as_what_they_are(model: str, kind: str) -> None:
    assert classify_model(model, ENGINES["google"].models) == kind
