"""Reads the engine's model list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm.dialects.base import EngineRequest, ModelLister
from llm.engines.capabilities import ModelInfo, guess_capabilities
from llm.engines.engine import Engine
from llm.errors import Malformed
from llm.wire.json_lenient import as_count, as_text


def list_models(engine: Engine) -> ModelLister:
    """Lists the models, then requests the details of all of them at once.

    Raises ``Malformed`` if the answer is not a list.
    """
    [body] = yield [EngineRequest(path="/api/tags", method="GET")]
    models = body.get("models") if isinstance(body, dict) else None
    if not isinstance(models, list):
        raise Malformed(f"{engine.label} answered with something other than a list of models.", engine=engine.name)
    entries = [m for m in models if isinstance(m, dict) and as_text(m.get("model") or m.get("name"))]
    requests = [
        EngineRequest(path="/api/show", body={"model": entry.get("model") or entry["name"]}) for entry in entries
    ]
    details = (yield requests) if requests else []
    found = [_read_model(entry, show, engine) for entry, show in zip(entries, details, strict=True)]
    return sorted(found, key=lambda model: model.name.lower())


def _read_model(entry: Mapping[str, Any], show: Any, engine: Engine) -> ModelInfo:
    """``show`` is an error if the details could not be read: the model then has only the facts of its entry."""
    show = show if isinstance(show, dict) else {}
    listed = show.get("capabilities") or entry.get("capabilities")
    capabilities = {name for name in listed if isinstance(name, str)} if isinstance(listed, list) else set()
    facts = {"tools": "tools", "vision": "images", "thinking": "reasoning", "audio": "audio"}
    can = frozenset(fact for name, fact in facts.items() if name in capabilities)
    id = str(entry.get("model") or entry["name"])
    details, info = entry.get("details"), show.get("model_info")
    family = as_text(details.get("family")) if isinstance(details, dict) else ""
    embeds = "embedding" in capabilities or "bert" in family
    guessed = frozenset[str]() if capabilities or embeds else guess_capabilities(id, engine.models, ())
    lengths = [v for k, v in info.items() if k.endswith(".context_length")] if isinstance(info, dict) else []
    return ModelInfo(
        id=id,
        engine=engine.name,
        name=as_text(entry.get("name")) or id,
        kind="embedding" if embeds else "chat",
        context_tokens=as_count(lengths[0]) if lengths else None,
        can=can | guessed,
        guessed=guessed,
        meta={**entry, **({"capabilities": [*sorted(capabilities)]} if capabilities else {})},
    )
