"""Lists an engine's models (``GET /models``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm.dialects.base import ModelLister, Outgoing
from llm.engines.capabilities import ModelInfo, guessed_abilities, kind_of
from llm.engines.engine import Engine
from llm.errors import Malformed
from llm.wire.json_lenient import count_of, dict_of, dicts_of, text_of


def list_models(engine: Engine) -> ModelLister:
    """Lists the models, newest first. Raises ``Malformed`` for an unknown shape."""
    if engine.models.fixed:
        return [model for id in engine.models.fixed if (model := _read_model({"id": id}, engine))]
    [body] = yield [Outgoing(path="/models", method="GET")]
    entries = body if isinstance(body, list) else dict_of(body).get("data")
    if not isinstance(entries, list):
        raise Malformed(f"{engine.label} sent an answer that is not a list of models.", engine=engine.name)
    models = [model for entry in dicts_of(entries) if (model := _read_model(entry, engine))]
    return sorted(models, key=lambda model: (-(model.created or 0), model.name.lower()))


def _read_model(entry: Mapping[str, Any], engine: Engine) -> ModelInfo | None:
    id = text_of(entry.get("id"))
    kind = kind_of(id, engine.models)
    if not id or kind is None:
        return None
    guessed = guessed_abilities(id, engine.models, ()) if kind == "chat" else frozenset()
    return ModelInfo(
        id=id,
        engine=engine.name,
        name=text_of(entry.get("display_name")) or text_of(entry.get("name")) or id,
        kind=kind,
        created=count_of(entry.get("created")) or None,
        context_tokens=count_of(entry.get("context_length")) or count_of(entry.get("context_window")) or None,
        can=guessed,
        guessed=guessed,
        meta=dict(entry),
    )
