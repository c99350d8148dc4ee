"""Lists an engine's models (``GET /v1/models``)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from llm.dialects.base import EngineRequest, ModelLister
from llm.engines.capabilities import ModelFacts, ModelInfo, classify_model, guess_capabilities
from llm.engines.engine import Engine
from llm.errors import Malformed
from llm.wire.json_codec import quote_url_part
from llm.wire.json_lenient import as_count, as_dict, as_text

# The wire's capabilities to ``ModelInfo.can``.
_CAPABILITIES: Final[Mapping[str, str]] = {
    "image_input": "images",
    "pdf_input": "documents",
    "thinking": "reasoning",
    "structured_outputs": "json_schema",
    "citations": "citations",
}
_MAX_PAGES: Final = 20


def list_models(engine: Engine) -> ModelLister:
    """Lists the models, page by page. Raises ``Malformed`` for an unknown shape."""
    if engine.models.fixed_models:
        return [model for id in engine.models.fixed_models if (model := _read_model({"id": id}, engine))]
    models: list[ModelInfo] = []
    path = "/v1/models?limit=1000"
    for _ in range(_MAX_PAGES):
        (page,) = yield (EngineRequest(path=path, method="GET"),)
        data = page.get("data") if isinstance(page, dict) else None
        if not isinstance(data, list):
            raise Malformed(f"{engine.label} sent a model list of an unknown shape.", engine=engine.name)
        models += [model for wire in data if (model := _read_model(wire, engine))]
        if page.get("has_more") is not True or not as_text(page.get("last_id")):
            break
        path = f"/v1/models?limit=1000&after_id={quote_url_part(page['last_id'])}"
    return models


def _read_model(wire: object, engine: Engine) -> ModelInfo | None:
    if not isinstance(wire, dict) or not as_text(wire.get("id")) or wire.get("lifecycle") == "retired":
        return None
    id = wire["id"]
    kind = classify_model(id, engine.models)
    if kind is None:
        return None
    capabilities = as_dict(wire.get("capabilities"))
    reported = {
        name: supported
        for wire_name, name in _CAPABILITIES.items()
        if isinstance(supported := as_dict(capabilities.get(wire_name)).get("supported"), bool)
    }
    guessed = guess_capabilities(id, engine.models, reported) | {
        "caching"
    }  # every current model has it, but the list does not report it
    return ModelInfo(
        id=id,
        engine=engine.name,
        name=as_text(wire.get("display_name")) or id,
        kind=kind,
        created=_read_seconds(wire.get("created_at")),
        context_tokens=as_count(wire.get("max_input_tokens")) or None,
        max_output_tokens=as_count(wire.get("max_tokens")) or None,
        can=frozenset(name for name, supported in reported.items() if supported) | guessed,
        guessed=guessed,
        facts=_read_facts(wire, capabilities, reported),
        meta=wire,
    )


def _read_facts(wire: Mapping[str, Any], capabilities: Mapping[str, Any], reported: Mapping[str, bool]) -> ModelFacts:
    types = {
        name: supported
        for name, value in as_dict(as_dict(capabilities.get("thinking")).get("types")).items()
        if isinstance(supported := as_dict(value).get("supported"), bool)
    }
    effort = as_dict(capabilities.get("effort"))
    efforts = frozenset(name for name, value in effort.items() if as_dict(value).get("supported") is True)
    return ModelFacts(
        reasoning=reported.get("reasoning"),
        thinking_types=types,
        efforts=efforts if efforts or effort.get("supported") is False else None,
        json_schema=reported.get("json_schema"),
        max_output_tokens=as_count(wire.get("max_tokens")) or None,
    )


def _read_seconds(value: object) -> int | None:
    try:
        time = datetime.fromisoformat(as_text(value))
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return None
