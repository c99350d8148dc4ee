"""Reranking: documents in the order of their relevance to a query, in the forms of Cohere, Jina and Voyage.

Wires: https://docs.cohere.com/reference/rerank, https://docs.cohere.com/v1/reference/rerank, https://api.jina.ai/redoc,
https://docs.voyageai.com/reference/reranker-api; those of Together, OpenRouter, vLLM and llama.cpp are Jina's.

The documents of an answer are those of the request, so engines are never asked to send them back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any, Final, Literal, TypeAlias

from llm.dialects.base import REQUEST_ID, EngineRequest, get_http_status
from llm.dialects.openai_common import write_error as _write_error
from llm.engines.engine import Engine
from llm.errors import InvalidRequest, LLMError, Malformed, Unsupported
from llm.wire.json_codec import Json, dumps
from llm.wire.json_lenient import as_count, as_dict, as_dicts, as_text
from llm.wire.json_strict import Fields

__all__ = ["NAME", "REQUEST_ID", "get_http_status", "write_error"]  # of the dialect of errors

NAME: Final = "rerank"
MAX_DOCUMENTS: Final = 10_000  # per request; the limits of the providers are lower or equal

Version: TypeAlias = Literal[1, 2]  # of the path: v1 is Cohere's older form and that of all others, v2 Cohere's own
Document: TypeAlias = "str | Mapping[str, Json]"

_NAMES: Final = ("model", "query", "documents", "top_n", "top_k", "return_documents", "rank_fields")
_DROPPABLE: Final = ("user",)


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankRequest:
    """A query and the documents to order. None: not set."""

    query: str
    documents: tuple[Document, ...]
    top_n: int | None = None  # documents in the answer
    return_documents: bool | None = None
    rank_fields: tuple[str, ...] = ()  # of documents that are objects: those that count
    extra: Mapping[str, Json] = field(default_factory=dict)  # other fields


@dataclass(frozen=True, slots=True)
class Ranked:
    """A document by its place in the request, with its relevance."""

    index: int
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """An answer: the most relevant document first."""

    results: tuple[Ranked, ...]
    id: str = ""
    model: str = ""
    input_tokens: int | None = None  # None: not reported
    search_units: int | None = None  # the unit that Cohere bills


def read_request(body: Mapping[str, Any]) -> RerankRequest:
    """Reads the body of a client. ``top_k`` is Voyage's name of ``top_n``. Raises ``InvalidRequest``."""
    fields = Fields(body)
    documents = fields.read_list("documents") or []
    if not documents:
        raise fields.invalid("documents", "is required, as a list that is not empty")
    if len(documents) > MAX_DOCUMENTS:
        raise fields.invalid("documents", f"has {len(documents)} entries; the limit is {MAX_DOCUMENTS}")
    for number, one in enumerate(documents):
        if not isinstance(one, str | dict) or not one:
            raise InvalidRequest(f"documents[{number}]: is neither a text nor an object", param=f"documents[{number}]")
    top_n = fields.read_integer("top_n")
    top_n = top_n if top_n is not None else fields.read_integer("top_k")
    if top_n is not None and top_n < 1:
        raise fields.invalid("top_n", "has to be 1 or more")
    names = fields.read_list("rank_fields") or []
    if not all(isinstance(name, str) for name in names):
        raise fields.invalid("rank_fields", "is not a list of texts")
    return RerankRequest(
        query=fields.read_required_text("query"),
        documents=tuple(documents),
        top_n=top_n,
        return_documents=fields.read_flag("return_documents"),
        rank_fields=tuple(names),
        extra={name: value for name, value in body.items() if name not in _NAMES and value is not None},
    )


def write_request(request: RerankRequest, engine: Engine, model: str) -> EngineRequest:
    """Writes the request to the engine. Raises ``Unsupported``, naming the field or the document."""
    support = engine.rerank
    if support is None:
        raise Unsupported(f"{engine.label} has no rerank API.", param="model", engine=engine.name)
    body: dict[str, Json] = {"model": model, "query": request.query}
    body["documents"] = [_write_document(one, n, request, engine) for n, one in enumerate(request.documents)]
    if request.top_n is not None:
        body[support.top_field] = request.top_n
    if support.sends_documents:
        body["return_documents"] = False
    dropped = []
    for name, value in request.extra.items():
        if support.fields is None or name in support.fields:
            body[name] = value
        elif name in _DROPPABLE:
            dropped.append(name)
        else:
            raise Unsupported(f"{engine.label} does not support {name!r}.", param=name, engine=engine.name)
    return EngineRequest(path=support.path, body=body, dropped=tuple(dropped))


def _write_document(document: Document, number: int, request: RerankRequest, engine: Engine) -> Json:
    """Returns the text of a document: its chosen fields as lines, as Cohere proposes, or its field ``text``."""
    if isinstance(document, str):
        return document
    if request.rank_fields:
        lines = [f"{name}: {_write_value(document[name])}" for name in request.rank_fields if name in document]
        if lines:
            return "\n".join(lines)
    elif isinstance(text := document.get("text"), str):
        return text
    elif engine.rerank is not None and engine.rerank.objects:
        return dict(document)
    place = f"documents[{number}]"
    raise Unsupported(f"{place}: {engine.label} accepts texts, or objects with one.", param=place, engine=engine.name)


def _write_value(value: Json) -> str:
    return value if isinstance(value, str) else dumps(value)


def read_reply(body: object, request: RerankRequest, engine: Engine) -> Ranking:
    """Reads the answer of an engine. Raises ``Malformed`` unless each result names another document of the request."""
    wire = as_dict(body)
    results: dict[int, Ranked] = {}
    entries = as_dicts(wire.get("results")) or as_dicts(wire.get("data"))
    for entry in entries:
        index, score = entry.get("index"), entry.get("relevance_score", entry.get("score"))
        if isinstance(index, int) and isinstance(score, int | float) and 0 <= index < len(request.documents):
            results[index] = Ranked(index, float(score))
    if len(results) != len(entries) or not results:
        raise Malformed(f"{engine.label} did not answer with scores of the documents.", engine=engine.name)
    ordered = sorted(results.values(), key=lambda one: -one.score)
    usage, meta = as_dict(wire.get("usage")), as_dict(wire.get("meta"))
    billed, tokens = as_dict(meta.get("billed_units")), as_dict(meta.get("tokens"))
    counts = (usage.get("prompt_tokens"), usage.get("total_tokens"), tokens.get("input_tokens"))
    return Ranking(
        results=tuple(ordered[: request.top_n]),
        id=as_text(wire.get("id")),
        model=as_text(wire.get("model")),
        input_tokens=next((n for one in counts if (n := as_count(one)) is not None), None),
        search_units=as_count(billed.get("search_units", usage.get("search_units"))),
    )


def write_reply(ranking: Ranking, request: RerankRequest, version: Version, model: str) -> dict[str, Json]:
    """Writes the answer to a client. ``model``: the name to use if the engine reports none.

    The first version has what clients of Cohere, Jina, vLLM and others read; the documents are in it unless the client
    does not want them.
    """
    with_documents = version == 1 if request.return_documents is None else request.return_documents
    meta: dict[str, Json] = {"api_version": {"version": str(version)}}
    if ranking.search_units is not None:
        meta["billed_units"] = {"search_units": ranking.search_units}
    if ranking.input_tokens is not None:
        meta["tokens"] = {"input_tokens": ranking.input_tokens}
    results: list[Json] = [_write_result(one, request.documents, with_documents) for one in ranking.results]
    head: dict[str, Json] = {"id": ranking.id or f"rerank-{token_hex(12)}"}
    if version == 2:
        return {**head, "results": results, "meta": meta}
    count = ranking.input_tokens or 0
    usage: dict[str, Json] = {"prompt_tokens": count, "total_tokens": count}
    head |= {"object": "list", "model": ranking.model or model}
    return {**head, "results": results, "usage": usage, "meta": meta}


def _write_result(result: Ranked, documents: Sequence[Document], with_documents: bool) -> Json:
    wire: dict[str, Json] = {"index": result.index, "relevance_score": result.score}
    if with_documents:
        document = documents[result.index]
        wire["document"] = {"text": document} if isinstance(document, str) else dict(document)
    return wire


def write_error(error: LLMError) -> dict[str, Json]:
    """Writes an error in OpenAI's form, with Cohere's ``message`` beside it."""
    return {**_write_error(error), "message": error.message}
