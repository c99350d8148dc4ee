"""The description of this server's HTTP API, made from the table of routes and the schemas of request bodies.

Form: OpenAPI 3.1, https://spec.openapis.org/oas/v3.1.1.html, and https://llmstxt.org for programs that write code.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from handlers.base import BaseHandler
from handlers.media import FormHandler, UploadHandler
from llm.wire.json_codec import Json

Routes: TypeAlias = Iterable[tuple[str, type[BaseHandler], Mapping[str, Any]]]

# The beginnings of paths and the clients for which they are; the first match counts.
_TAGS: Final = (
    ("/v1/messages", "Anthropic"),
    ("/v1beta", "Gemini"),
    ("/v2/rerank", "Cohere"),
    ("/v1/", "OpenAI"),
    ("/api/", "Ollama"),
    ("/health", "server"),
    ("/openapi.json", "server"),
    ("/llms.txt", "server"),
)
_NATIVE: Final = "native"
# What paths do whose handler serves several.
_SUMMARIES: Final[Mapping[str, str]] = {
    "/": "The web page, a simple chat",
    "/chat.css": "A file of the web page",
    "/chat.js": "A file of the web page",
    "/llm/chat": "Answers a chat with this server's tools and threads, whole or streamed",
    "/thread": "Lists the caller's threads, or creates one",
    "/thread/{id}": "Returns, renames or deletes a thread",
    "/images/{file}": "An image that this server made",
    "/voice/tts": "Speaks a text",
    "/v1/chat/completions": "Chat Completions, whole or streamed, over every engine",
    "/v1/completions": "Continues a text, up to a suffix where the engine can",
    "/v1/fim/completions": "Fills in the text between a prompt and a suffix",
    "/v1/responses": "The Responses API, whole or streamed, over every engine; also a WebSocket",
    "/v1/messages": "Anthropic's Messages API, whole or streamed, over every engine",
    "/v1beta/models/{model}:generateContent": "Gemini's API, over every engine",
    "/v1beta/models/{model}:streamGenerateContent": "Gemini's API, streamed, over every engine",
    "/v1beta/models/{model}:countTokens": "Counts the tokens of a Gemini request",
    "/v1beta/models/{model}:embedContent": "The vector of a text, in Gemini's form",
    "/v1beta/models/{model}:batchEmbedContents": "Vectors of texts, in Gemini's form",
    "/v1beta/models": "Lists all models, in Gemini's form",
    "/v1beta/models/{model}": "Describes a model, in Gemini's form",
    "/api/chat": "Ollama's chat, over every engine",
    "/api/generate": "Continues a prompt as Ollama does, over every engine",
    "/v1/rerank": "Orders documents by their relevance to a query, in Jina's and Cohere's older form",
    "/v2/rerank": "Orders documents by their relevance to a query, in Cohere's form",
    "/v1/embeddings": "Vectors of texts",
    "/v1/images/generations": "Makes images, whole or streamed",
    "/v1/images/edits": "Changes images, by a form or JSON",
    "/v1/images/variations": "Variations of an image, by a form",
    "/v1/audio/speech": "Speaks a text",
    "/v1/audio/translations": "An English transcript of speech, by a form",
    "/v1/moderations": "Judges texts and images",
    "/v1/files": "Files that an engine keeps: lists the caller's own, or makes one",
    "/v1/files/{id}": "Describes or deletes a file",
    "/v1/files/{id}/content": "The content of a file",
    "/v1/uploads": "Begins an upload in parts",
    "/v1/uploads/{id}/parts": "Adds a part to an upload",
    "/v1/uploads/{id}/complete": "Makes a file of the parts",
    "/v1/uploads/{id}/cancel": "Ends an upload",
    "/v1/batches": "Batches of requests: lists the caller's own, or makes one",
    "/v1/batches/{id}": "Describes a batch",
    "/v1/batches/{id}/cancel": "Ends a batch",
    "/v1/messages/batches": "Batches of messages: lists the caller's own, or makes one",
    "/v1/messages/batches/{id}": "Describes or deletes a batch",
    "/v1/messages/batches/{id}/cancel": "Ends a batch",
    "/v1/messages/batches/{id}/results": "The results of a batch, as lines of JSON",
    "/api/pull": "Downloads a model to an Ollama engine",
    "/api/push": "Uploads a model of an Ollama engine",
    "/api/create": "Makes a model at an Ollama engine",
    "/api/copy": "Copies a model of an Ollama engine",
    "/api/delete": "Deletes a model of an Ollama engine",
}
_PREFIX: Final = re.compile(r"^(?:(?:[A-Z]+ )?``[^`]*``(?:,| and)? ?)+:? ")  # of a docstring: method and path
_REQUIREMENT: Final = re.compile(r" \([A-Z]\d+\)")
_CHOICE: Final = re.compile(r"\(\?:([^()|]*)[^()]*\)\??")  # a group that is no argument
_ARGUMENT: Final = re.compile(r"\(([^()]*)\)")
_WORDS: Final = re.compile(r"[A-Za-z]+(?:\|[A-Za-z]+)*")
_METHODS_WITH_BODY: Final = ("POST", "PUT", "PATCH")


class Endpoint(NamedTuple):
    """A path of the API with its handler."""

    path: str  # with parameters as in ``/thread/{id}``
    parameters: Sequence[str]
    handler: type[BaseHandler]
    schema: str  # name of the body's schema; "": none
    tag: str
    summary: str


def list_endpoints(routes: Routes) -> Iterator[Endpoint]:
    """Yields the endpoints of the table of routes, in its order."""
    for pattern, handler, arguments in routes:
        schema = arguments.get("schema") or handler.body_schema
        for path in write_paths(pattern):
            tag = next((tag for start, tag in _TAGS if path.startswith(start)), _NATIVE)
            parameters = re.findall(r"\{(\w+)\}", path)
            yield Endpoint(path, parameters, handler, schema, tag, _SUMMARIES.get(path) or _read_summary(handler))


def write_paths(pattern: str) -> Iterator[str]:
    """Yields the paths of a route's pattern, with names for its arguments.

    >>> [*write_paths(r"/thread/([^/]+)")]
    ['/thread/{id}']
    >>> [*write_paths(r"/(?:v1beta|v1)/((?:models|tuned)/.+):(count|embed)")]
    ['/v1beta/models/{model}:count', '/v1beta/models/{model}:embed']
    """
    pattern = _CHOICE.sub(lambda match: match[1], pattern)
    pieces: list[Sequence[str]] = []
    end = 0
    for match in _ARGUMENT.finditer(pattern):
        before = pattern[end : match.start()]
        words = _WORDS.fullmatch(match[1])
        fixed = match[1].removesuffix(".+") if match[1].endswith("/.+") else ""  # that the argument begins with
        pieces += ([before], match[1].split("|") if words else [fixed + _name_parameter(before + fixed)])
        end = match.end()
    for chosen in itertools.product(*pieces, [pattern[end:]]):
        yield "".join(chosen).replace("\\", "")


def _name_parameter(before: str) -> str:
    names = {"/llm/models/": "engine", "/images/": "file"}
    name = names.get(before, "model" if before.endswith("models/") else "id")
    return f"{{{name}}}"


def _read_summary(handler: type[BaseHandler]) -> str:
    """Returns the first line of a handler's description, without method and path."""
    first = (handler.__doc__ or "").strip().partition("\n")[0]
    text = _REQUIREMENT.sub("", _PREFIX.sub("", first)).replace("``", "").rstrip(".")
    return text[:1].upper() + text[1:]


def write_openapi(routes: Routes, schemas: Mapping[str, Mapping[str, Any]], version: str) -> dict[str, Json]:
    """Returns the API as an OpenAPI 3.1 document."""
    paths: dict[str, Json] = {}
    for endpoint in list_endpoints(routes):
        item: dict[str, Json] = {}
        if endpoint.parameters:
            item["parameters"] = [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in endpoint.parameters
            ]
        for method in endpoint.handler.methods:
            item[method.lower()] = _write_operation(endpoint, method)
        paths[endpoint.path] = item
    about = "One API for every LLM provider. Models are named engine/model; /v1/models lists them."
    header: dict[str, Json] = {"type": "apiKey", "in": "header"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "llm-server", "version": version, "description": about},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"clientId": []}, {"apiKey": []}],
        "paths": paths,
        "components": {
            "schemas": {name: _write_schema(name, schema) for name, schema in schemas.items()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "The client id"},
                "clientId": {**header, "name": "X-ClientId"},
                "apiKey": {**header, "name": "x-api-key"},
            },
        },
    }


def _write_operation(endpoint: Endpoint, method: str) -> dict[str, Json]:
    words = re.sub(r"[^A-Za-z0-9]+", "_", endpoint.path).strip("_") or "page"
    operation: dict[str, Json] = {
        "operationId": f"{method.lower()}_{words}",
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "responses": {
            "200": {"description": "The answer, in the form of the API"},
            "default": {"description": "An error, in the form of the API"},
        },
    }
    if method in _METHODS_WITH_BODY:
        schema: Json = {"$ref": f"#/components/schemas/{endpoint.schema}"} if endpoint.schema else {"type": "object"}
        content: dict[str, Json] = {"application/json": {"schema": schema}}
        if issubclass(endpoint.handler, FormHandler | UploadHandler):
            content["multipart/form-data"] = {"schema": schema}
        operation["requestBody"] = {"required": bool(endpoint.schema), "content": content}
    if endpoint.handler.access == "open":
        operation["security"] = []
    return operation


def _write_schema(name: str, schema: Mapping[str, Any]) -> Json:
    """Returns a schema whose references hold in the whole document."""

    def move(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: move(one) for key, one in value.items() if key != "$schema"}
        if isinstance(value, list):
            return [move(one) for one in value]
        if isinstance(value, str) and value.startswith("#/$defs/"):
            return f"#/components/schemas/{name}{value[1:]}"
        return value

    moved: Json = move(dict(schema))
    return moved


def write_llms_txt(routes: Routes, origin: str) -> str:
    """Returns the same for programs that write code: how to use this server, and its endpoints."""
    by_tag: dict[str, list[str]] = {}
    for endpoint in list_endpoints(routes):
        line = f"- `{' '.join((','.join(endpoint.handler.methods), endpoint.path))}`: {endpoint.summary}"
        by_tag.setdefault(endpoint.tag, []).append(line)
    parts = [_INTRODUCTION.format(origin=origin)]
    parts += [f"## {tag}\n\n" + "\n".join(by_tag[tag]) for tag in sorted(by_tag, key=lambda tag: tag == "server")]
    return "\n\n".join(parts) + "\n"


_INTRODUCTION: Final = """# llm-server

> One server in front of every LLM provider. Programs for OpenAI, Anthropic, Ollama, Gemini and others work with it by a
> changed base URL; every engine (provider) answers every API.

- Base URL: `{origin}/v1` for OpenAI's packages, `{origin}` for those of Anthropic, Ollama and Google.
- API key: a client id of this server, as `Authorization: Bearer <id>`, `x-api-key` or `X-ClientId`. A provider's own
  key goes into `X-<Engine>-Key` instead.
- Models are named `engine/model`, such as `openai/gpt-5.4` or `anthropic/claude-sonnet-4-5`. `GET {origin}/v1/models`
  lists those that the key may use. Without any provider, `demo/demo-chat` answers.
- A field that an engine cannot take is refused with its name (400, `param`); what does not change the answer is dropped
  and named in the header `X-Dropped-Fields`.
- Errors have the form of the API that was asked, with the provider's status; `Retry-After` is kept.
- Streams are server-sent events (Ollama: lines of JSON). A stream without its end is an error.
- Files and batches: name the engine by the header `X-Engine`; ids come back as `engine~id`.

The whole description, with the schemas of request bodies: [{origin}/openapi.json]({origin}/openapi.json)."""
