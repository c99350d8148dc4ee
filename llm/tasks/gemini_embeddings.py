"""Embeddings for Gemini's clients: ``embedContent`` for one text, ``batchEmbedContents`` for several.

Wire: https://ai.google.dev/api/embeddings
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llm.dialects.base import EngineRequest
from llm.dialects.gemini import SpelledFields, read_objects, write_model_path
from llm.engines.engine import Engine
from llm.errors import InvalidRequest, Malformed
from llm.tasks.embeddings import MAX_INPUTS, EmbeddingRequest, Embeddings
from llm.wire.json_codec import Json, loads
from llm.wire.json_lenient import as_dict, as_dicts

_KNOWN: Final = ("model", "content", "taskType", "title", "outputDimensionality", "autoTruncate", "embedContentConfig")
# What a text is for. Other engines make the same vector for each purpose.
_HINTS: Final = ("taskType", "title")


def read_request(body: Mapping[str, Any], *, batch: bool) -> tuple[EmbeddingRequest, tuple[str, ...]]:
    """Reads a request. Returns it and the names of fields that another engine has no use for.

    Raises ``InvalidRequest``; its ``param`` is the path of the field.
    """
    fields = SpelledFields(body)
    requests = [*read_objects(fields, "requests")] if batch else [fields]
    if not 0 < len(requests) <= MAX_INPUTS:
        raise fields.invalid("requests", f"has {len(requests)} texts; the limit is {MAX_INPUTS}")
    sizes = {request.read_integer("outputDimensionality") for request in requests}
    if len(sizes) > 1:
        raise fields.invalid("requests", "have different values of outputDimensionality")
    for request in requests:
        for name in request.raw:
            if name not in _KNOWN:
                raise request.invalid(name, "is not known here")
    dropped = (name for name in _HINTS if any(request.raw.get(name) for request in requests))
    return EmbeddingRequest(inputs=tuple(map(_read_text, requests)), dimensions=sizes.pop()), tuple(dropped)


def _read_text(request: SpelledFields) -> str:
    content = request.read_object("content")
    texts = [part.read_text("text") for part in read_objects(content, "parts")] if content else []
    text = "".join(one or "" for one in texts)
    if not text or None in texts:
        raise InvalidRequest(f"{request.join('content')}: has to consist of texts", param=request.join("content"))
    return text


def passthrough_request(body: Mapping[str, Any], model: str, method: str) -> EngineRequest:
    """Returns a client's own request with the engine's name of the model."""
    path = write_model_path(model)
    passed = {name: value for name, value in body.items() if name != "model"}
    if isinstance(requests := passed.get("requests"), list):
        passed["requests"] = [{**one, "model": path} if isinstance(one, dict) else one for one in requests]
    return EngineRequest(path=f"/v1beta/{path}:{method}", body=passed)


def check_reply(raw: bytes, engine: Engine) -> bytes:
    """Returns an answer as it is, if it has vectors. Raises ``Malformed`` if it has none."""
    try:
        wire = as_dict(loads(raw))
    except ValueError:
        wire = {}
    if not as_dict(wire.get("embedding")) and not as_dicts(wire.get("embeddings")):
        raise Malformed(f"{engine.label} did not answer with vectors.", engine=engine.name)
    return raw


def write_reply(embeddings: Embeddings, *, batch: bool) -> dict[str, Json]:
    """Writes the answer."""
    vectors: list[Json] = [{"values": [*vector]} for vector in embeddings.vectors]
    wire: dict[str, Json] = {"embeddings": vectors} if batch else {"embedding": vectors[0]}
    if embeddings.input_tokens is not None:
        wire["usageMetadata"] = {
            "promptTokenCount": embeddings.input_tokens,
            "totalTokenCount": embeddings.input_tokens,
        }
    return wire
