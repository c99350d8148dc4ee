"""Ollama's model list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm.dialects.base import ModelLister, Outgoing
from llm.engines.capabilities import ModelInfo, guessed_abilities
from llm.engines.engine import Engine
from llm.errors import Malformed
from llm.wire.json_lenient import count_of, text_of


def list_models(engine: Engine) -> ModelLister:
    """The list, then what each model can: all of them at once."""
    [body] = yield [Outgoing(path="/api/tags", method="GET")]
    models = body.get("models") if isinstance(body, dict) else None
    if not isinstance(models, list):
        raise Malformed(f"{engine.label} answered with something other than a list of models.", engine=engine.name)
    entries = [m for m in models if isinstance(m, dict) and text_of(m.get("model") or m.get("name"))]
    asked = [Outgoing(path="/api/show", body={"model": entry.get("model") or entry["name"]}) for entry in entries]
    shown = (yield asked) if asked else []
    found = [_read_model(entry, show, engine) for entry, show in zip(entries, shown, strict=True)]
    return sorted(found, key=lambda model: model.name.lower())


def _read_model(entry: Mapping[str, Any], show: Any, engine: Engine) -> ModelInfo:
    """``show`` is an error where it could not be told: the model stays, with what the list says."""
    show = show if isinstance(show, dict) else {}
    abilities = show.get("capabilities") or entry.get("capabilities")
    words = {word for word in abilities if isinstance(word, str)} if isinstance(abilities, list) else set()
    facts = {"tools": "tools", "vision": "images", "thinking": "reasoning", "audio": "audio"}
    can = frozenset(ability for word, ability in facts.items() if word in words)
    id = str(entry.get("model") or entry["name"])
    details, info = entry.get("details"), show.get("model_info")
    family = text_of(details.get("family")) if isinstance(details, dict) else ""
    embeds = "embedding" in words or "bert" in family
    guessed = frozenset[str]() if words or embeds else guessed_abilities(id, engine.models, ())
    lengths = [v for k, v in info.items() if k.endswith(".context_length")] if isinstance(info, dict) else []
    return ModelInfo(
        id=id,
        engine=engine.name,
        name=text_of(entry.get("name")) or id,
        kind="embedding" if embeds else "chat",
        context_tokens=count_of(lengths[0]) if lengths else None,
        can=can | guessed,
        guessed=guessed,
        meta={**entry, **({"capabilities": [*sorted(words)]} if words else {})},
    )
