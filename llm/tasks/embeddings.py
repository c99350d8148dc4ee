"""Texts to vectors, over three wires.

Wires: https://platform.openai.com/docs/api-reference/embeddings, https://ai.google.dev/api/embeddings,
https://github.com/ollama/ollama/blob/main/docs/api.md#generate-embeddings
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from llm.dialects.base import Outgoing
from llm.engines.engine import Engine
from llm.errors import InvalidRequest, Malformed, Unsupported
from llm.wire.json_codec import Json, in_address
from llm.wire.json_lenient import count_of, dict_of, dicts_of, list_of, text_of
from llm.wire.json_strict import Fields

MAX_INPUTS: Final = 2048  # in one request; the providers' own limits are lower or the same

_KNOWN: Final = ("model", "input", "dimensions", "encoding_format")
_HINTS: Final = ("user",)  # do not change the vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingRequest:
    """``inputs`` are texts, or lists of tokens where a client made them."""

    inputs: tuple[str | tuple[int, ...], ...]
    dimensions: int | None = None
    packed: bool = False  # the client wants base64 of little-endian 32-bit floats
    extra: Mapping[str, Json] = field(default_factory=dict)  # other fields of OpenAI's wire


Written: TypeAlias = tuple[tuple[Outgoing, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    vectors: tuple[tuple[float, ...], ...]  # in the order of the inputs
    model: str = ""
    tokens: int | None = None  # of input; None: not told


def read_request(body: Mapping[str, Any]) -> EmbeddingRequest:
    """A body of OpenAI's clients. Raises ``InvalidRequest`` naming the place."""
    fields = Fields(body)
    given = body.get("input")
    many: list[Any] = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
    if len(many) > MAX_INPUTS:
        raise InvalidRequest(f"input: has {len(many)} texts; {MAX_INPUTS} are the most", param="input")
    format_ = fields.text("encoding_format") or "float"
    if format_ not in ("float", "base64"):
        raise fields.invalid("encoding_format", "is neither float nor base64")
    return EmbeddingRequest(
        inputs=tuple(_read_input(one, "input" if one is given else f"input[{n}]") for n, one in enumerate(many)),
        dimensions=fields.integer("dimensions"),
        packed=format_ == "base64",
        extra={name: value for name, value in body.items() if name not in _KNOWN and value is not None},
    )


def _read_input(value: object, place: str) -> str | tuple[int, ...]:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, list) and value and all(isinstance(n, int) and not isinstance(n, bool) for n in value):
        return tuple(value)
    raise InvalidRequest(f"{place}: is not a text or a list of tokens", param=place)


def write_reply(made: Embeddings, request: EmbeddingRequest, model: str) -> dict[str, Json]:
    """``model`` is its name where the engine told none."""
    data: list[Json] = [
        {"object": "embedding", "index": n, "embedding": _packed(vector) if request.packed else [*vector]}
        for n, vector in enumerate(made.vectors)
    ]
    tokens = made.tokens or 0
    usage: dict[str, Json] = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": made.model or model, "usage": usage}


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _unpacked(text: str) -> tuple[float, ...]:
    """Raises ``ValueError``."""
    raw = base64.b64decode(text, validate=True)
    if len(raw) % 4:
        raise ValueError("not 32-bit floats")
    return struct.unpack(f"<{len(raw) // 4}f", raw)


def write_request(request: EmbeddingRequest, engine: Engine, model: str) -> Written:
    """Requests to be made, each with the number of vectors that its answer has. Raises ``Unsupported``."""
    writer = _WRITERS.get(engine.dialect)
    if writer is None:
        raise Unsupported(f"{engine.label} has no embeddings.", param="model", engine=engine.name)
    return writer(request, engine, model)


def read_reply(body: object, engine: Engine, count: int) -> Embeddings:
    """The ``count`` vectors of one answer. Raises ``Malformed``."""
    wire = dict_of(body)
    try:
        vectors = _VECTORS[engine.dialect](wire)
    except (ValueError, TypeError, OverflowError):
        vectors = ()
    if len(vectors) != count or not all(vectors):
        raise Malformed(f"{engine.label} did not answer with {count} vectors.", engine=engine.name)
    usage = dict_of(wire.get("usage")) or dict_of(wire.get("usageMetadata")) or wire
    told = (count_of(usage.get(name)) for name in ("prompt_tokens", "promptTokenCount", "prompt_eval_count"))
    tokens = next((n for n in told if n is not None), None)
    return Embeddings(vectors=vectors, model=text_of(wire.get("model")), tokens=tokens)


def joined(pieces: Sequence[Embeddings]) -> Embeddings:
    tokens = [piece.tokens for piece in pieces if piece.tokens is not None]
    return Embeddings(
        vectors=tuple(vector for piece in pieces for vector in piece.vectors),
        model=pieces[0].model,
        tokens=sum(tokens) if tokens else None,
    )


# --- OpenAI's wire ---


def _write_openai(request: EmbeddingRequest, engine: Engine, model: str) -> Written:
    inputs: list[Json] = [one if isinstance(one, str) else [*one] for one in request.inputs]
    body: dict[str, Json] = {**request.extra, "model": model, "input": inputs if len(inputs) > 1 else inputs[0]}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if request.packed:
        body["encoding_format"] = "base64"
    return ((Outgoing(path="/embeddings", body=body), len(inputs)),)


def _openai_vectors(wire: Mapping[str, Any]) -> tuple[tuple[float, ...], ...]:
    """In the order of their index; some hosts answer with numbers although base64 was asked for."""
    data = sorted(dicts_of(wire.get("data")), key=lambda one: count_of(one.get("index")) or 0)
    given = [one.get("embedding") for one in data]
    return tuple(_unpacked(one) if isinstance(one, str) else _vector(one) for one in given)


# --- Gemini's ---


def _write_gemini(request: EmbeddingRequest, engine: Engine, model: str) -> Written:
    name = model if model.startswith("models/") else f"models/{model}"
    _refuse_other(request, engine, known=("task_type",))
    task: dict[str, Json] = {"taskType": request.extra["task_type"]} if "task_type" in request.extra else {}
    size: dict[str, Json] = {} if request.dimensions is None else {"outputDimensionality": request.dimensions}
    asked: list[Json] = [
        {"model": name, "content": {"parts": [{"text": _text(one, engine)}]}, **task, **size} for one in request.inputs
    ]
    path = f"/v1beta/{in_address(name, '/')}:batchEmbedContents"
    batches = [asked[start : start + _GEMINI_AT_ONCE] for start in range(0, len(asked), _GEMINI_AT_ONCE)]
    return tuple(
        (Outgoing(path=path, body={"requests": batch}, dropped=_dropped(request)), len(batch)) for batch in batches
    )


_GEMINI_AT_ONCE: Final = 100  # "at most 100 requests can be in one batch"


def _gemini_vectors(wire: Mapping[str, Any]) -> tuple[tuple[float, ...], ...]:
    return tuple(_vector(one.get("values")) for one in dicts_of(wire.get("embeddings")))


# --- Ollama's ---


def _write_ollama(request: EmbeddingRequest, engine: Engine, model: str) -> Written:
    _refuse_other(request, engine, known=("truncate", "keep_alive", "options"))
    body: dict[str, Json] = {name: value for name, value in request.extra.items() if name not in _HINTS}
    body |= {"model": model, "input": [_text(one, engine) for one in request.inputs]}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return ((Outgoing(path="/api/embed", body=body, dropped=_dropped(request)), len(request.inputs)),)


def _ollama_vectors(wire: Mapping[str, Any]) -> tuple[tuple[float, ...], ...]:
    return tuple(_vector(one) for one in list_of(wire.get("embeddings")))


def _vector(value: object) -> tuple[float, ...]:
    """Raises ``TypeError`` or ``ValueError``."""
    return tuple(float(n) for n in list_of(value))


def _text(value: str | tuple[int, ...], engine: Engine) -> str:
    if isinstance(value, str):
        return value
    raise Unsupported(f"{engine.label} takes texts, not tokens.", param="input", engine=engine.name)


def _dropped(request: EmbeddingRequest) -> tuple[str, ...]:
    return tuple(name for name in _HINTS if name in request.extra)


def _refuse_other(request: EmbeddingRequest, engine: Engine, known: tuple[str, ...]) -> None:
    for name in request.extra:
        if name not in (*known, *_HINTS):
            raise Unsupported(f"{name!r} cannot be carried to {engine.label}.", param=name, engine=engine.name)


_WRITERS: Final[Mapping[str, Callable[[EmbeddingRequest, Engine, str], Written]]] = {
    "openai-chat": _write_openai,
    "openai-responses": _write_openai,
    "gemini": _write_gemini,
    "ollama": _write_ollama,
}
_VECTORS: Final[Mapping[str, Callable[[Mapping[str, Any]], tuple[tuple[float, ...], ...]]]] = {
    "openai-chat": _openai_vectors,
    "openai-responses": _openai_vectors,
    "gemini": _gemini_vectors,
    "ollama": _ollama_vectors,
}
