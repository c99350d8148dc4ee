"""What a model is and can do, where its provider does not say: patterns on its id, from the engine's record."""

from __future__ import annotations

from collections.abc import Collection

from llm.chat import ModelKind
from llm.engines import ModelRules
from llm.globs import fits


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
