"""What a model is and can do: the provider's list first, else patterns on its id."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from llm.engines.globs import fits
from llm.engines.profiles import Family
from llm.wire.json_codec import Json


def kind_of(model_id: str, rules: ModelRules) -> ModelKind | None:
    """The kind by the first rule that fits, else a chat model. None: not to be listed."""
    for glob, kind in rules.kinds:
        if fits(model_id, (glob,)):
            return None if kind == "hidden" else kind
    return "chat"


def guessed_abilities(model_id: str, rules: ModelRules, told: Collection[str]) -> frozenset[str]:
    """Abilities that the patterns give; ``told`` names those that the provider's own record settled, either way."""
    abilities = {"tools": rules.tools, "images": rules.images, "reasoning": rules.reasoning}
    return frozenset(
        ability
        for ability, globs in abilities.items()
        if ability not in told and fits(model_id, globs) and not fits(model_id, rules.not_for.get(ability, ()))
    )


ModelKind: TypeAlias = Literal["chat", "image", "embedding", "tts", "stt", "video", "realtime", "computer", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """One entry of an engine's model list."""

    id: str
    engine: str
    name: str = ""  # for people; the id where the provider gives none
    kind: ModelKind = "chat"
    created: int | None = None  # seconds since 1970
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    can: frozenset[str] = frozenset()  # "tools", "images", "documents", "reasoning", "json_schema", "caching", …
    guessed: frozenset[str] = frozenset()  # those facts that come from a pattern on the id, not from the provider
    meta: Mapping[str, Json] = field(default_factory=dict)  # the provider's own record, untouched


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRules:
    """What an engine's model list does not say, as globs on the id (``*`` any); the first rule that fits holds."""

    kinds: tuple[tuple[str, ModelKind | Literal["hidden"]], ...] = ()
    tools: tuple[str, ...] = ("*",)
    images: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    not_for: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # capability to globs that lack it after all
    listed: frozenset[str] = frozenset()  # abilities that the list tells of each model
    fixed: tuple[str, ...] = ()  # the list itself, for an engine that has none to ask for
    families: tuple[Family, ...] = ()  # what its models take of the options
