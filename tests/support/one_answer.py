"""Asks the server, as a client of any dialect, for one answer that a scripted provider gives whole or as a stream."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.support.harness import CLIENT_ID, Answer, Connection, Request, Upstream, make_config, run_server

_MESSAGES: Final = [{"role": "user", "content": "Hi"}]
CLIENTS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {  # dialect: path, and the fields of a request
    "native": ("/llm/chat", {"prompt": "Hi", "tools": False}),
    "openai-chat": ("/v1/chat/completions", {"messages": _MESSAGES}),
    "openai-responses": ("/v1/responses", {"input": "Hi"}),
    "anthropic": ("/v1/messages", {"max_tokens": 1000, "messages": _MESSAGES}),
    "ollama": ("/api/chat", {"messages": _MESSAGES}),
    "generate": ("/api/generate", {"prompt": "Hi"}),
}
_HEADERS: Final = {
    "Authorization": f"Bearer {CLIENT_ID}", "X-ClientId": CLIENT_ID, "anthropic-version": "2023-06-01",
    "Accept": "application/x-ndjson",
}  # fmt: skip


@dataclass
class Seen:
    """What a client got: the status, every JSON object of the answer, and what the provider was asked."""

    status: int
    objects: list[Any]
    headers: Mapping[str, str]
    requests: list[Request] = field(default_factory=list)

    @property
    def whole(self) -> Any:
        """The only object, of an answer that is not streamed."""
        [value] = self.objects
        return value

    @property
    def text(self) -> str:
        """All objects as JSON text."""
        return json.dumps(self.objects, ensure_ascii=False)


def sse(*values: Any) -> bytes:
    """Returns server-sent events, named by the ``type`` of each value."""
    out = []
    for value in values:
        name = f"event: {value['type']}\n" if isinstance(value, Mapping) and "type" in value else ""
        out.append(f"{name}data: {value if isinstance(value, str) else json.dumps(value)}\n\n")
    return "".join(out).encode()


def stream_of(body: Mapping[str, Any]) -> bytes:
    """Returns a whole answer of a provider as the stream that the provider would send."""
    if "candidates" in body or "promptFeedback" in body:
        return sse(body)
    if "choices" in body:
        [choice] = body["choices"]
        first = {**body, "object": "chat.completion.chunk", "usage": None}
        delta = {**first, "choices": [{"index": 0, "delta": choice["message"], "finish_reason": None}]}
        ended = {name: value for name, value in choice.items() if name != "message"}
        end = {**first, "choices": [{**ended, "index": 0, "delta": {}}]}
        return sse(delta, end, {**first, "choices": [], "usage": body["usage"]}, "[DONE]")
    if body.get("object") == "response":
        kind = "response.completed" if body["status"] == "completed" else "response.incomplete"
        started = {**body, "output": [], "status": "in_progress"}
        return sse({"type": "response.created", "response": started}, {"type": kind, "response": body})
    if "done" in body:
        return json.dumps(body).encode() + b"\n"
    ended = {name: body[name] for name in ("stop_reason", "stop_sequence", "stop_details") if name in body}
    events: list[Any] = [{"type": "message_start", "message": {**body, "content": [], "stop_reason": None}}]
    for index, block in enumerate(body["content"]):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events.append({"type": "content_block_stop", "index": index})
    events += [{"type": "message_delta", "delta": ended, "usage": body["usage"]}, {"type": "message_stop"}]
    return sse(*events)


async def ask(
    client: str,
    model: str,
    bodies: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    *,
    stream: bool,
    environ: Mapping[str, str] | None = None,
    **fields: Any,
) -> Seen:
    """Asks ``model`` (``engine/model``) once; the provider answers its requests with ``bodies``, the last one again."""
    answer, raw, requests = await _ask(client, model, bodies, stream=stream, environ=environ, **fields)
    lines = [line.removeprefix("data: ") for line in raw.decode().split("\n")]
    objects = [json.loads(line) for line in lines if line.startswith("{")]
    return Seen(answer.status, objects, answer.headers, requests)


async def ask_raw(client: str, model: str, body: Mapping[str, Any], **fields: Any) -> bytes:
    """Asks ``model`` once for a stream; the provider answers with ``body``. Returns the bytes that the client got."""
    return (await _ask(client, model, body, stream=True, environ=None, **fields))[1]


async def _ask(
    client: str,
    model: str,
    bodies: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    *,
    stream: bool,
    environ: Mapping[str, str] | None,
    **fields: Any,
) -> tuple[Answer, bytes, list[Request]]:
    engine, _, name = model.partition("/")
    path, base = CLIENTS[client]
    target = {"engine": engine, "model": name} if client == "native" else {"model": model}
    if client == "openai-chat" and stream:
        fields = {"stream_options": {"include_usage": True}, **fields}
    answers = [bodies] if isinstance(bodies, Mapping) else [*bodies]

    async def script(request: Request, connection: Connection) -> None:
        body = answers.pop(0) if len(answers) > 1 else answers[0]
        asked = json.loads(request.body)
        if "streamGenerateContent" in request.path or (asked.get("stream") is True and "Generate" not in request.path):
            raw = stream_of(body)
            await connection.stream("application/x-ndjson" if "done" in body else "text/event-stream")
            await connection.chunk(raw)
            await connection.end()
        else:
            await connection.respond(body)

    upstream = Upstream(script)
    async with upstream.run():
        key = engine.upper()
        base_path = {"google": "", "anthropic": "", "ollama": ""}.get(engine, "/v1")
        settings = {f"{key}_API_KEY": f"sk-canary-{key}", f"{key}_BASE_URL": upstream.url + base_path}
        if engine == "ollama":
            settings = {"OLLAMA_ENABLED": "true", "OLLAMA_BASE_URL": upstream.url}
        async with run_server(make_config(**settings, **(environ or {}))) as server:
            answer = await server.post(path, {**target, **base, "stream": stream, **fields}, _HEADERS)
            raw = await answer.body()
    assert not upstream.errors
    return answer, raw, upstream.requests
