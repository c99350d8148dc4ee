"""Reads an engine's model list: facts come from the provider's entry first, then from patterns on the id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from llm.dialects.base import EngineRequest, ModelLister
from llm.engines.capabilities import NO_FACTS, ModelFacts, ModelInfo, ModelKind, classify_model, guess_capabilities
from llm.engines.engine import Engine
from llm.errors import Malformed
from llm.wire.json_lenient import as_count, as_dict, as_dicts, as_list, as_text

# Fields with the size of the context window, and with the limit of output tokens.
_CONTEXT: Final = ("context_length", "context_window", "max_context_length", "max_model_len")
_OUTPUT: Final = ("max_completion_tokens", "max_output_tokens", "max_output_length")
# Output modality to kind, for models that return no text.
_KIND_BY_OUTPUT: Final[Mapping[str, ModelKind]] = {
    "image": "image", "video": "video", "audio": "tts", "speech": "tts", "transcription": "stt",
    "embeddings": "embedding",
}  # fmt: skip
# An entry's ``type`` to kind (Together).
_KIND_BY_TYPE: Final[Mapping[str, ModelKind]] = {
    "chat": "chat", "language": "chat", "code": "chat", "image": "image", "embedding": "embedding",
    "moderation": "other", "rerank": "other", "audio": "tts", "transcribe": "stt", "video": "video",
}  # fmt: skip


def list_models(engine: Engine) -> ModelLister:
    """Lists the models, newest first. Raises ``Malformed`` if the answer is not a list."""
    if engine.models.fixed_models:
        return [_build_fixed(name, engine) for name in engine.models.fixed_models]
    [body] = yield [EngineRequest(path="/models", method="GET")]
    entries = body if isinstance(body, list) else as_dict(body).get("data")
    if not isinstance(entries, list):
        raise Malformed(f"{engine.label} answered with something other than a list of models.", engine=engine.name)
    found = [_read_entry(entry, engine) for entry in entries if isinstance(entry, dict) and as_text(entry.get("id"))]
    # Some hosts list a model once for each of its aliases (Mistral), or one id twice.
    models = {model.id: model for model in reversed(found) if model is not None}.values()
    return sorted(models, key=lambda model: (-(model.created or 0), model.name.lower()))


def _build_fixed(name: str, engine: Engine) -> ModelInfo:
    can = guess_capabilities(name, engine.models, ())
    kind = classify_model(name, engine.models) or "chat"
    return ModelInfo(id=name, engine=engine.name, name=name, kind=kind, can=can, guessed=can, meta={"id": name})


def _read_entry(entry: Mapping[str, Any], engine: Engine) -> ModelInfo | None:
    id = entry["id"]
    kind = _KIND_BY_TYPE.get(as_text(entry.get("type"))) or classify_model(id, engine.models)
    if kind is None or entry.get("active") is False or not _is_served(entry):
        return None
    if kind == "chat" and as_dict(entry.get("capabilities")).get("completion_chat") is False:
        kind = "stt" if as_dict(entry["capabilities"]).get("audio_transcription") else "other"
    can, listed = _read_capabilities(entry)
    if (modalities := _read_modalities(entry, "output")) and "text" not in modalities:
        kind = _classify_output(modalities)
    guessed = guess_capabilities(id, engine.models, listed) if kind == "chat" else frozenset()
    return ModelInfo(
        id=id,
        engine=engine.name,
        name=as_text(entry.get("display_name")) or as_text(entry.get("name")) or id,
        kind=kind,
        created=as_count(entry.get("created")) or None,
        context_tokens=_read_limit(entry, _CONTEXT),
        max_output_tokens=_read_limit(entry, _OUTPUT)
        or as_count(as_dict(entry.get("top_provider")).get("max_completion_tokens")),
        can=can | guessed,
        guessed=guessed,
        facts=ModelFacts(reasoning="reasoning" in can) if "reasoning" in listed else NO_FACTS,
        meta=dict(entry),
    )


def _classify_output(modalities: Iterable[str]) -> ModelKind:
    return next((_KIND_BY_OUTPUT[one] for one in modalities if one in _KIND_BY_OUTPUT), "other")


def _is_served(entry: Mapping[str, Any]) -> bool:
    """False if an entry lists hosts and none of them is live (the Hugging Face router)."""
    hosts = as_dicts(entry.get("providers"))
    return not hosts or any(host.get("status", "live") == "live" for host in hosts)


def _read_limit(entry: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    found = [as_count(entry.get(name)) for name in names]
    found.append(as_count(as_dict(entry.get("meta")).get("n_ctx")) if names is _CONTEXT else None)  # llama.cpp
    found += [as_count(provider.get(names[0])) for provider in as_dicts(entry.get("providers"))]
    return max((limit for limit in found if limit), default=None)


def _read_modalities(entry: Mapping[str, Any], side: Literal["input", "output"]) -> list[str]:
    """Input or output modalities (OpenRouter, xAI, the Hugging Face router)."""
    name, architecture = f"{side}_modalities", as_dict(entry.get("architecture"))
    found = as_list(entry.get(name)) or as_list(architecture.get(name))
    if not found and "->" in (modality := as_text(architecture.get("modality"))):  # "text+image->text"
        found = modality.split("->")[side == "output"].split("+")
    return [as_text(one) for one in found]


def _read_capabilities(entry: Mapping[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    """The capabilities that the model has by its entry, and all that the entry names, either way."""
    facts: dict[str, bool] = {}
    if modalities := _read_modalities(entry, "input"):
        facts |= {"images": "image" in modalities, "documents": "file" in modalities, "audio": "audio" in modalities}
    # OpenRouter, Groq
    if parameters := as_list(entry.get("supported_parameters")) or as_list(entry.get("supported_features")):
        facts |= {
            "tools": "tools" in parameters,
            "reasoning": "reasoning" in parameters,
            "json_schema": "structured_outputs" in parameters or "response_format" in parameters,
        }
    providers = as_dicts(entry.get("providers"))
    if any("supports_tools" in provider for provider in providers):
        facts["tools"] = any(provider.get("supports_tools") for provider in providers)
        facts["json_schema"] = any(provider.get("supports_structured_output") for provider in providers)
    for name, ability in (("vision", "images"), ("function_calling", "tools"), ("trained_for_tool_use", "tools")):
        if isinstance(value := as_dict(entry.get("capabilities")).get(name), bool):
            facts[ability] = value
    if isinstance(value := as_dict(entry.get("capabilities")).get("reasoning"), bool):
        facts["reasoning"] = value
    return frozenset(name for name, can in facts.items() if can), frozenset(facts)
