"""Kind and capabilities of a model, by patterns on its id where the provider's model list does not report them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from llm.engines.globs import matches
from llm.engines.profiles import ModelProfile
from llm.wire.json_codec import Json


def classify_model(model_id: str, rules: ModelRules) -> ModelKind | None:
    """Returns the kind by the first rule that matches, ``"chat"`` by default; None if the model is not to be listed."""
    for glob, kind in rules.kinds:
        if matches(model_id, (glob,)):
            return None if kind == "hidden" else kind
    return "chat"


def guess_capabilities(model_id: str, rules: ModelRules, reported: Collection[str]) -> frozenset[str]:
    """Returns the capabilities by the patterns, without those in ``reported``, which the provider reports itself."""
    patterns = {"tools": rules.tools, "images": rules.images, "reasoning": rules.reasoning}
    return frozenset(
        name
        for name, globs in patterns.items()
        if name not in reported and matches(model_id, globs) and not matches(model_id, rules.exceptions.get(name, ()))
    )


ModelKind: TypeAlias = Literal[
    "chat", "image", "embedding", "rerank", "tts", "stt", "video", "realtime", "computer", "other"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What an engine's model list reports about the options of one model. None or absent: not reported."""

    reasoning: bool | None = None
    thinking_types: Mapping[str, bool] = field(default_factory=dict)  # Anthropic's ``thinking.type``: accepted or not
    efforts: frozenset[str] | None = None  # accepted ones
    json_schema: bool | None = None
    max_output_tokens: int | None = None


NO_FACTS: Final = ModelFacts()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """One entry of an engine's model list."""

    id: str
    engine: str
    name: str = ""  # display name; the id if the provider gives none
    kind: ModelKind = "chat"
    created: int | None = None  # Unix time, seconds
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    can: frozenset[str] = frozenset()  # "tools", "images", "documents", "reasoning", "json_schema", "caching", …
    guessed: frozenset[str] = frozenset()  # those of ``can`` that come from a pattern on the id, not from the provider
    facts: ModelFacts = NO_FACTS  # used instead of the patterns when a request for the model is written
    meta: Mapping[str, Json] = field(default_factory=dict)  # the provider's entry, unchanged


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRules:
    """Facts that an engine's model list does not report, as globs on the model id."""

    kinds: tuple[tuple[str, ModelKind | Literal["hidden"]], ...] = ()  # the first match counts
    tools: tuple[str, ...] = ("*",)
    images: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    exceptions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by capability: globs of models without it
    listed_capabilities: frozenset[str] = frozenset()  # capabilities that the list reports for each model
    fixed_models: tuple[str, ...] = ()  # model ids to list instead of requesting the list
    profiles: tuple[ModelProfile, ...] = ()  # in order; the first match counts
    # The effort that turns reasoning on, for a model without a profile whose list entry reports reasoning.
    effort_by_list: str | None = None
