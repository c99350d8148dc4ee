"""Lists an engine's models (``GET /models``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm.dialects.base import EngineRequest, ModelLister
from llm.engines.capabilities import ModelInfo, classify_model, guess_capabilities
from llm.engines.engine import Engine
from llm.errors import Malformed
from llm.wire.json_lenient import as_count, as_dict, as_dicts, as_text


def list_models(engine: Engine) -> ModelLister:
    """Lists the models, newest first. Raises ``Malformed`` for an unknown shape."""
    if engine.models.fixed_models:
        return [model for id in engine.models.fixed_models if (model := _read_model({"id": id}, engine))]
    [body] = yield [EngineRequest(path="/models", method="GET")]
    entries = body if isinstance(body, list) else as_dict(body).get("data")
    if not isinstance(entries, list):
        raise Malformed(f"{engine.label} sent an answer that is not a list of models.", engine=engine.name)
    models = [model for entry in as_dicts(entries) if (model := _read_model(entry, engine))]
    return sorted(models, key=lambda model: (-(model.created or 0), model.name.lower()))


def _read_model(entry: Mapping[str, Any], engine: Engine) -> ModelInfo | None:
    id = as_text(entry.get("id"))
    kind = classify_model(id, engine.models)
    if not id or kind is None:
        return None
    guessed = guess_capabilities(id, engine.models, ()) if kind == "chat" else frozenset()
    return ModelInfo(
        id=id,
        engine=engine.name,
        name=as_text(entry.get("display_name")) or as_text(entry.get("name")) or id,
        kind=kind,
        created=as_count(entry.get("created")) or None,
        context_tokens=as_count(entry.get("context_length")) or as_count(entry.get("context_window")) or None,
        can=guessed,
        guessed=guessed,
        meta=dict(entry),
    )
