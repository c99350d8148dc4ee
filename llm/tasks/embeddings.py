"""Embeddings: requests and answers of three APIs.

Wire references: https://platform.openai.com/docs/api-reference/embeddings, https://ai.google.dev/api/embeddings,
https://github.com/ollama/ollama/blob/main/docs/api.md#generate-embeddings
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from llm.dialects.base import EngineRequest
from llm.engines.engine import Engine
from llm.errors import InvalidRequest, Malformed, Unsupported
from llm.wire.json_codec import Json, dump_bytes, loads, quote_url_part
from llm.wire.json_lenient import as_count, as_dict, as_dicts, as_list, as_text
from llm.wire.json_strict import Fields

MAX_INPUTS: Final = 2048  # texts per request; the limits of the providers are lower or equal

_OPENAI_NAMES: Final = ("model", "input", "dimensions", "encoding_format")
_DROPPABLE: Final = ("user",)  # fields that do not change the vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingRequest:
    """A request for embeddings. Each of ``inputs`` is a text, or a list of token ids."""

    inputs: tuple[str | tuple[int, ...], ...]
    dimensions: int | None = None
    as_base64: bool = False  # the client wants base64 of little-endian 32-bit floats
    extra: Mapping[str, Json] = field(default_factory=dict)  # other fields of OpenAI's API


# Each request with the number of vectors that its answer must have.
EngineRequests: TypeAlias = tuple[tuple[EngineRequest, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """The vectors of one answer, or of several merged ones."""

    vectors: tuple[tuple[float, ...], ...]  # in the order of the inputs
    model: str = ""
    input_tokens: int | None = None  # of the input; None: not reported


def read_request(body: Mapping[str, Any]) -> EmbeddingRequest:
    """Reads the body of an OpenAI client. Raises ``InvalidRequest`` naming the field."""
    fields = Fields(body)
    value = body.get("input")
    inputs: list[Any] = value if isinstance(value, list) and value and not isinstance(value[0], int) else [value]
    if len(inputs) > MAX_INPUTS:
        raise InvalidRequest(f"input: has {len(inputs)} texts; the limit is {MAX_INPUTS}", param="input")
    format_ = fields.read_text("encoding_format") or "float"
    if format_ not in ("float", "base64"):
        raise fields.invalid("encoding_format", "is neither float nor base64")
    return EmbeddingRequest(
        inputs=tuple(_read_input(one, "input" if one is value else f"input[{n}]") for n, one in enumerate(inputs)),
        dimensions=fields.read_integer("dimensions"),
        as_base64=format_ == "base64",
        extra={name: value for name, value in body.items() if name not in _OPENAI_NAMES and value is not None},
    )


def _read_input(value: object, field_name: str) -> str | tuple[int, ...]:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, list) and value and all(isinstance(n, int) and not isinstance(n, bool) for n in value):
        return tuple(value)
    raise InvalidRequest(f"{field_name}: is not a text or a list of tokens", param=field_name)


def write_reply(embeddings: Embeddings, request: EmbeddingRequest, model: str) -> dict[str, Json]:
    """Writes the answer to an OpenAI client. ``model``: the name to use if the engine reports none."""
    data: list[Json] = [
        {"object": "embedding", "index": n, "embedding": _write_base64(vector) if request.as_base64 else [*vector]}
        for n, vector in enumerate(embeddings.vectors)
    ]
    tokens = embeddings.input_tokens or 0
    usage: dict[str, Json] = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": embeddings.model or model, "usage": usage}


def _write_base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _read_base64(text: str) -> tuple[float, ...]:
    """Reads base64 of little-endian 32-bit floats. Raises ``ValueError``."""
    raw = base64.b64decode(text, validate=True)
    if len(raw) % 4:
        raise ValueError("not 32-bit floats")
    return struct.unpack(f"<{len(raw) // 4}f", raw)


def write_request(request: EmbeddingRequest, engine: Engine, model: str) -> EngineRequests:
    """Writes the requests to the engine, more than one if its batches are limited. Raises ``Unsupported``."""
    writer = _WRITERS.get(engine.dialect)
    if writer is None:
        raise Unsupported(f"{engine.label} has no embeddings API.", param="model", engine=engine.name)
    return writer(request, engine, model)


def read_reply(body: object, engine: Engine, count: int) -> Embeddings:
    """Reads an answer, which must have ``count`` vectors. Raises ``Malformed``."""
    wire = as_dict(body)
    try:
        vectors = _READERS[engine.dialect](wire)
    except (ValueError, TypeError, OverflowError):
        vectors = ()
    if len(vectors) != count or not all(vectors):
        raise Malformed(f"{engine.label} did not answer with {count} vectors.", engine=engine.name)
    usage = as_dict(wire.get("usage")) or as_dict(wire.get("usageMetadata")) or wire
    counts = (as_count(usage.get(name)) for name in ("prompt_tokens", "promptTokenCount", "prompt_eval_count"))
    tokens = next((n for n in counts if n is not None), None)
    return Embeddings(vectors=vectors, model=as_text(wire.get("model")), input_tokens=tokens)


def merge_embeddings(batches: Sequence[Embeddings]) -> Embeddings:
    """Merges the answers to several batches, in order; the token counts are added."""
    tokens = [batch.input_tokens for batch in batches if batch.input_tokens is not None]
    return Embeddings(
        vectors=tuple(vector for batch in batches for vector in batch.vectors),
        model=batches[0].model,
        input_tokens=sum(tokens) if tokens else None,
    )


# --- OpenAI ---

# Dialects whose embeddings API is that of OpenAI clients.
PASSTHROUGH_DIALECTS: Final = frozenset({"openai-chat", "openai-responses"})
_PATH: Final = "/embeddings"


def passthrough_request(body: Mapping[str, Json], model: str, engine: Engine) -> EngineRequest:
    """Returns an OpenAI client's own request with the engine's names of the model and of fields."""
    return EngineRequest(path=_PATH, body=_rename_fields({**body, "model": model}, engine))


def _rename_fields(body: dict[str, Json], engine: Engine) -> dict[str, Json]:
    """Gives fields the engine's own names. Such an engine has no word for the default ``encoding_format``."""
    names = engine.quirks.embedding_fields
    if not names:
        return body
    renamed = {names.get(name, name): value for name, value in body.items()}
    return {name: value for name, value in renamed.items() if (name, value) != ("encoding_format", "float")}


def check_reply(raw: bytes, request: EmbeddingRequest, engine: Engine) -> bytes:
    """Returns an answer as it is, if it has one entry for each input. Raises ``Malformed`` if it has not.

    Entries that are not in the order of the inputs are sorted, since clients do not look at ``index``. Base64 becomes
    numbers where the client asked for numbers.
    """
    try:
        wire = loads(raw)
    except ValueError:
        raise Malformed("The engine's answer is not JSON.", engine=engine.name) from None
    data = as_list(as_dict(wire).get("data"))
    if len(data) != len(request.inputs) or not all(isinstance(one, dict) and one.get("embedding") for one in data):
        raise Malformed(f"{engine.label} did not answer with {len(request.inputs)} vectors.", engine=engine.name)
    ordered = sorted(data, key=lambda one: as_count(one.get("index")) or 0)
    if not request.as_base64 and not request.extra.keys() & _VALUE_TYPES:
        ordered = [_decode_entry(one) for one in ordered]
    return raw if ordered == data else dump_bytes({**wire, "data": ordered})


# Fields that ask for values other than 32-bit floats (Mistral, Voyage, Cohere, Jina).
_VALUE_TYPES: Final = frozenset({"output_dtype", "embedding_type", "embedding_types", "dtype"})


def _decode_entry(entry: dict[str, Json]) -> dict[str, Json]:
    value = entry["embedding"]
    try:
        return {**entry, "embedding": [*_read_base64(value)]} if isinstance(value, str) else entry
    except ValueError:
        return entry


def _write_openai(request: EmbeddingRequest, engine: Engine, model: str) -> EngineRequests:
    inputs: list[Json] = [one if isinstance(one, str) else [*one] for one in request.inputs]
    body: dict[str, Json] = {**request.extra, "model": model, "input": inputs if len(inputs) > 1 else inputs[0]}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if request.as_base64:
        body["encoding_format"] = "base64"
    return ((EngineRequest(path=_PATH, body=_rename_fields(body, engine)), len(inputs)),)


def _read_openai(wire: Mapping[str, Any]) -> tuple[tuple[float, ...], ...]:
    """Returns the vectors in the order of ``index``. Some hosts send numbers although base64 was requested."""
    data = sorted(as_dicts(wire.get("data")), key=lambda one: as_count(one.get("index")) or 0)
    values = [one.get("embedding") for one in data]
    return tuple(_read_base64(one) if isinstance(one, str) else _read_vector(one) for one in values)


# --- Gemini ---


def _write_gemini(request: EmbeddingRequest, engine: Engine, model: str) -> EngineRequests:
    name = model if model.startswith("models/") else f"models/{model}"
    _check_extra(request, engine, known=("task_type",))
    task: dict[str, Json] = {"taskType": request.extra["task_type"]} if "task_type" in request.extra else {}
    size: dict[str, Json] = {} if request.dimensions is None else {"outputDimensionality": request.dimensions}
    requests: list[Json] = [
        {"model": name, "content": {"parts": [{"text": _require_text(one, engine)}]}, **task, **size}
        for one in request.inputs
    ]
    path = f"/v1beta/{quote_url_part(name, '/')}:batchEmbedContents"
    batches = [requests[start : start + _GEMINI_BATCH] for start in range(0, len(requests), _GEMINI_BATCH)]
    return tuple(
        (EngineRequest(path=path, body={"requests": batch}, dropped=_dropped_fields(request)), len(batch))
        for batch in batches
    )


_GEMINI_BATCH: Final = 100  # requests; "at most 100 requests can be in one batch"


def _read_gemini(wire: Mapping[str, Any]) -> tuple[tuple[float, ...], ...]:
    return tuple(_read_vector(one.get("values")) for one in as_dicts(wire.get("embeddings")))


# --- Ollama ---


def _write_ollama(request: EmbeddingRequest, engine: Engine, model: str) -> EngineRequests:
    _check_extra(request, engine, known=("truncate", "keep_alive", "options"))
    body: dict[str, Json] = {name: value for name, value in request.extra.items() if name not in _DROPPABLE}
    body |= {"model": model, "input": [_require_text(one, engine) for one in request.inputs]}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return ((EngineRequest(path="/api/embed", body=body, dropped=_dropped_fields(request)), len(request.inputs)),)


def _read_ollama(wire: Mapping[str, Any]) -> tuple[tuple[float, ...], ...]:
    return tuple(_read_vector(one) for one in as_list(wire.get("embeddings")))


def _read_vector(value: object) -> tuple[float, ...]:
    """Reads a list of numbers. Raises ``TypeError`` or ``ValueError``."""
    return tuple(float(n) for n in as_list(value))


def _require_text(value: str | tuple[int, ...], engine: Engine) -> str:
    if isinstance(value, str):
        return value
    raise Unsupported(f"{engine.label} accepts texts, not tokens.", param="input", engine=engine.name)


def _dropped_fields(request: EmbeddingRequest) -> tuple[str, ...]:
    return tuple(name for name in _DROPPABLE if name in request.extra)


def _check_extra(request: EmbeddingRequest, engine: Engine, known: tuple[str, ...]) -> None:
    for name in request.extra:
        if name not in (*known, *_DROPPABLE):
            raise Unsupported(f"{engine.label} does not support {name!r}.", param=name, engine=engine.name)


_WRITERS: Final[Mapping[str, Callable[[EmbeddingRequest, Engine, str], EngineRequests]]] = {
    "openai-chat": _write_openai,
    "openai-responses": _write_openai,
    "gemini": _write_gemini,
    "ollama": _write_ollama,
}
_READERS: Final[Mapping[str, Callable[[Mapping[str, Any]], tuple[tuple[float, ...], ...]]]] = {
    "openai-chat": _read_openai,
    "openai-responses": _read_openai,
    "gemini": _read_gemini,
    "ollama": _read_ollama,
}
