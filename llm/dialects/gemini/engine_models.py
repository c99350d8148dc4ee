"""Reads the engine's model list, page by page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm.dialects.base import EngineRequest, ModelLister
from llm.engines.capabilities import ModelFacts, ModelInfo, classify_model, guess_capabilities
from llm.engines.engine import Engine
from llm.errors import Malformed
from llm.wire.json_codec import quote_url_part
from llm.wire.json_lenient import as_count, as_text


def list_models(engine: Engine) -> ModelLister:
    """Lists the models, Gemini models first. Raises ``Malformed`` if a page is not a list."""
    entries: list[Any] = []
    path = "/v1beta/models?pageSize=1000"
    while True:
        [body] = yield [EngineRequest(path=path, method="GET")]
        if not isinstance(body, dict) or not isinstance(body.get("models"), list):
            raise Malformed(f"{engine.label} answered with something other than a list of models.", engine=engine.name)
        entries += body["models"]
        token = as_text(body.get("nextPageToken"))
        if not token:
            break
        path = f"/v1beta/models?pageSize=1000&pageToken={quote_url_part(token)}"
    # The API leaves out a field that is false, so an entry without it does not think if the list has the field at all.
    reports_thinking = any(isinstance(entry, dict) and entry.get("thinking") is True for entry in entries)
    models = [
        model
        for entry in entries
        if isinstance(entry, dict) and (model := _read_model(entry, engine, reports_thinking))
    ]
    return sorted(sorted(models, key=lambda m: m.name, reverse=True), key=lambda m: "gemini" not in m.id)


def _read_model(wire: Mapping[str, Any], engine: Engine, reports_thinking: bool) -> ModelInfo | None:
    id = as_text(wire.get("name")).removeprefix("models/")
    methods = wire.get("supportedGenerationMethods")
    supported = set(methods) if isinstance(methods, list) and all(isinstance(m, str) for m in methods) else set[str]()
    description = as_text(wire.get("description")).lower()
    kind = classify_model(id, engine.models)
    if not id or kind is None or "deprecated" in description or "discontinued" in description:
        return None
    if kind == "chat":
        if "embedContent" in supported:
            kind = "embedding"
        elif "predictLongRunning" in supported:
            kind = "video"
        elif "predict" in supported:
            kind = "image"
        elif "bidiGenerateContent" in supported and "generateContent" not in supported:
            kind = "realtime"
        elif supported and "generateContent" not in supported:
            kind = "other"
    thinking = wire.get("thinking") is True if reports_thinking or isinstance(wire.get("thinking"), bool) else None
    listed = set[str]() if thinking is None else {"reasoning"}
    can = frozenset({"reasoning"}) if thinking else frozenset[str]()
    guessed = guess_capabilities(id, engine.models, listed) if kind == "chat" else frozenset[str]()
    return ModelInfo(
        id=id,
        engine=engine.name,
        name=as_text(wire.get("displayName")) or id,
        kind=kind,
        context_tokens=as_count(wire.get("inputTokenLimit")),
        max_output_tokens=as_count(wire.get("outputTokenLimit")),
        can=can | guessed,
        guessed=guessed,
        facts=ModelFacts(reasoning=thinking, max_output_tokens=as_count(wire.get("outputTokenLimit"))),
        meta=dict(wire),
    )
