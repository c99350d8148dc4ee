"""Lists of models."""

from __future__ import annotations

from collections.abc import Iterable

from llm.chat import ModelInfo
from llm.opaque import Json


def write_models(models: Iterable[ModelInfo]) -> dict[str, Json]:
    """``{"models": {"chat": […], "image": […], …}}``; ``chat`` is always there."""
    kinds: dict[str, Json] = {"chat": []}
    for model in models:
        entry: dict[str, Json] = {
            "id": model.id,
            "name": model.name or model.id,
            "capabilities": {
                "tools": "tools" in model.can,
                "vision": "images" in model.can,
                "reasoning": "reasoning" in model.can,
                "caching": "caching" in model.can,
                **dict.fromkeys(sorted(model.can - {"tools", "images", "reasoning", "caching"}), True),
            },
            "meta": dict(model.meta),
        }
        if model.guessed:
            entry["guessed"] = [*sorted(model.guessed)]
        if model.context_tokens is not None:
            entry["contextWindow"] = model.context_tokens
        if model.max_output_tokens is not None:
            entry["maxOutputTokens"] = model.max_output_tokens
        listed = kinds.setdefault(model.kind, [])
        assert isinstance(listed, list)
        listed.append(entry)
    return {"models": kinds}
