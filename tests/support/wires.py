"""Each engine wire and each client wire in its smallest form, so that one test can run over all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.harness import CLIENT_ID, Upstream, make_config, run_server
from tests.support.wire_server import WireServer

__all__ = ["CLIENTS", "WIRES", "ClientResult", "ClientWire", "Wire", "make_config", "run_server"]


def _sse(value: Any, event: str = "") -> bytes:
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(value)}\n\n".encode()


@dataclass(frozen=True)
class Wire:
    """An engine wire: the bytes of the start of a stream, a text delta, the end, and an error inside a stream."""

    engine: str
    content_type: str
    head: bytes
    delta: Callable[[str], bytes]
    end: bytes
    error: bytes
    ping: bytes  # a keepalive without content
    whole: Callable[[str], Any]  # an answer that is not streamed
    rate_limit: dict[str, Any]  # body of a 429

    def environ(self, upstream: Upstream | WireServer, **more: str) -> dict[str, str]:
        name = self.engine.upper()
        path = "/v1" if self.engine in ("openai", "responses") else ""
        enabled = {"OLLAMA_ENABLED": "true"} if self.engine == "ollama" else {f"{name}_API_KEY": f"sk-canary-{name}"}
        if self.engine == "responses":
            enabled |= {"CUSTOM_ENGINES": "responses", "RESPONSES_DIALECT": "openai-responses"}
        return {f"{name}_BASE_URL": upstream.url + path, **enabled, **more}


def _chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return _sse({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


_OPENAI = Wire(
    engine="openai",
    content_type="text/event-stream",
    head=_chunk({"role": "assistant", "content": ""}),
    delta=lambda text: _chunk({"content": text}),
    end=_chunk({}, "stop")
    + _sse({"id": "c1", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}})
    + b"data: [DONE]\n\n",
    error=_sse({"error": {"message": "It broke.", "type": "server_error", "code": "broken"}}),
    ping=b": keep-alive\n\n",
    whole=lambda text: {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    },
    rate_limit={"error": {"message": "Slow down.", "type": "requests", "param": None, "code": "rate_limit_exceeded"}},
)

_ANTHROPIC_MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}

_ANTHROPIC = Wire(
    engine="anthropic",
    content_type="text/event-stream",
    head=_sse(
        {
            "type": "message_start",
            "message": {**_ANTHROPIC_MESSAGE, "stop_reason": None, "usage": {"input_tokens": 5, "output_tokens": 1}},
        },
        "message_start",
    )
    + _sse(
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        "content_block_start",
    ),
    delta=lambda text: _sse(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        "content_block_delta",
    ),
    end=_sse({"type": "content_block_stop", "index": 0}, "content_block_stop")
    + _sse(
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        "message_delta",
    )
    + _sse({"type": "message_stop"}, "message_stop"),
    error=_sse({"type": "error", "error": {"type": "overloaded_error", "message": "It broke."}}, "error"),
    ping=_sse({"type": "ping"}, "ping"),
    whole=lambda text: {
        **_ANTHROPIC_MESSAGE,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 5, "output_tokens": 2},
    },
    rate_limit={"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down."}},
)


def _candidate(text: str, finish: str | None = None, usage: bool = False) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    value: dict[str, Any] = {"candidates": [candidate], "modelVersion": "m", "responseId": "r1"}
    if usage:
        value["usageMetadata"] = {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7}
    return value


_GEMINI = Wire(
    engine="google",
    content_type="text/event-stream",
    head=b"",
    delta=lambda text: _sse(_candidate(text)).replace(b"\n", b"\r\n"),
    end=_sse(_candidate("", "STOP", usage=True)).replace(b"\n", b"\r\n"),
    error=_sse({"error": {"code": 503, "message": "It broke.", "status": "UNAVAILABLE"}}),
    ping=b": ping\n\n",
    whole=lambda text: _candidate(text, "STOP", usage=True),
    rate_limit={"error": {"code": 429, "message": "Slow down.", "status": "RESOURCE_EXHAUSTED"}},
)


def _line(message: dict[str, Any], **more: Any) -> bytes:
    value = {"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": message, "done": False, **more}
    return json.dumps(value).encode() + b"\n"


_OLLAMA_TIMES = {"total_duration": 9, "load_duration": 1, "prompt_eval_duration": 3, "eval_duration": 5}
_OLLAMA_END = {"done": True, "done_reason": "stop", "prompt_eval_count": 5, "eval_count": 2, **_OLLAMA_TIMES}

_OLLAMA = Wire(
    engine="ollama",
    content_type="application/x-ndjson",
    head=b"",
    delta=lambda text: _line({"role": "assistant", "content": text}),
    end=_line({"role": "assistant", "content": ""}, **_OLLAMA_END),
    error=json.dumps({"error": "It broke."}).encode() + b"\n",
    ping=b"\n",
    whole=lambda text: json.loads(_line({"role": "assistant", "content": text}, **_OLLAMA_END)),
    rate_limit={"error": "Slow down."},
)


def _response(status: str, **more: Any) -> dict[str, Any]:
    head = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": status}
    return {**head, "output": [], **more}


def _named(type: str, **more: Any) -> bytes:
    return _sse({"type": type, "sequence_number": 0, **more}, type)


_RESPONSES_USAGE = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}

_RESPONSES = Wire(
    engine="responses",
    content_type="text/event-stream",
    head=_named("response.created", response=_response("in_progress"))
    + _named(
        "response.output_item.added",
        output_index=0,
        item={"type": "message", "id": "msg_1", "status": "in_progress", "role": "assistant", "content": []},
    ),
    delta=lambda text: _named(
        "response.output_text.delta",
        sequence_number=len(text),
        item_id="msg_1",
        output_index=0,
        content_index=0,
        delta=text,
        logprobs=[],
        obfuscation="xY7" * (len(text) % 4),
    ),
    end=_named("response.completed", response=_response("completed", usage=_RESPONSES_USAGE)),
    error=_named("error", code="server_error", message="It broke.", param=None),
    ping=b": keep-alive\n\n",
    whole=lambda text: _response(
        "completed",
        output=[
            {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "content": [{"type": "output_text", "text": text, "annotations": []}],
            }
        ],
        usage=_RESPONSES_USAGE,
    ),
    rate_limit={"error": {"message": "Slow down.", "type": "requests", "param": None, "code": "rate_limit_exceeded"}},
)

WIRES = {wire.engine: wire for wire in (_OPENAI, _RESPONSES, _ANTHROPIC, _GEMINI, _OLLAMA)}


@dataclass
class ClientResult:
    """The content of an answer as a client reads it."""

    text: str = ""
    reasoning: str = ""
    finish: str | None = None
    ended: bool = False  # the wire's normal end was received
    error: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None
    calls: list[tuple[str, str]] = field(default_factory=list)  # name, arguments


@dataclass(frozen=True)
class ClientWire:
    """A client dialect: its path, its request body, and its reader of an answer."""

    name: str
    path: str
    body: Callable[[str, str], dict[str, Any]]  # engine, model
    read: Callable[[bytes], ClientResult]
    headers: dict[str, str]

    def request(self, engine: str, model: str = "m", **more: Any) -> dict[str, Any]:
        return {**self.body(engine, model), **more}


def _events(raw: bytes) -> list[tuple[str, str]]:
    """Returns the (event, data) pairs of a stream in our form: LF, one data line."""
    events = []
    for block in raw.decode().split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            fields = dict(line.split(": ", 1) for line in lines)
            events.append((fields.get("event", ""), fields["data"]))
    return events


def read_native(objects: Sequence[dict[str, Any]]) -> ClientResult:
    seen = ClientResult()
    for wire in objects:
        match wire["type"]:
            case "content":
                seen.text += wire["text"]
                if wire["done"]:
                    seen.ended, seen.finish = True, wire["finishReason"]
            case "reasoning":
                seen.reasoning += wire["text"]
            case "usage":
                seen.usage = wire["usage"]
            case "error":
                seen.error = wire
    return seen


def read_openai(raw: bytes) -> ClientResult:
    seen = ClientResult()
    calls: dict[int, list[str]] = {}
    for _, data in _events(raw):
        if data == "[DONE]":
            seen.ended = True
            continue
        value = json.loads(data)
        if "error" in value:
            seen.error = value["error"]
            continue
        seen.usage = value.get("usage") or seen.usage
        for choice in value["choices"]:
            delta = choice["delta"]
            seen.text += delta.get("content") or ""
            seen.reasoning += delta.get("reasoning_content") or ""
            for call in delta.get("tool_calls") or ():
                one = calls.setdefault(call["index"], ["", ""])
                one[0] += call["function"].get("name") or ""
                one[1] += call["function"].get("arguments") or ""
            seen.finish = choice["finish_reason"] or seen.finish
    seen.calls = [(name, arguments) for name, arguments in calls.values()]
    return seen


def read_anthropic(raw: bytes) -> ClientResult:
    seen = ClientResult()
    calls: dict[int, list[str]] = {}
    for event, data in _events(raw):
        value = json.loads(data)
        assert value["type"] == event
        match event:
            case "message_start":
                seen.usage = value["message"]["usage"]
            case "content_block_start" if value["content_block"]["type"] == "tool_use":
                calls[value["index"]] = [value["content_block"]["name"], ""]
            case "content_block_delta":
                delta = value["delta"]
                seen.text += delta.get("text", "")
                seen.reasoning += delta.get("thinking", "")
                if "partial_json" in delta and value["index"] in calls:  # other blocks are tools that the provider runs
                    calls[value["index"]][1] += delta["partial_json"]
            case "message_delta":
                seen.finish = value["delta"]["stop_reason"]
                seen.usage = {**(seen.usage or {}), **value["usage"]}
            case "message_stop":
                seen.ended = True
            case "error":
                seen.error = value["error"]
    seen.calls = [(name, arguments) for name, arguments in calls.values()]
    return seen


CLIENTS = {
    wire.name: wire
    for wire in (
        ClientWire(
            "native",
            "/llm/chat",
            lambda engine, model: {"engine": engine, "model": model, "prompt": "Hello"},
            lambda raw: read_native([json.loads(line) for line in raw.splitlines() if line]),
            {"X-ClientId": CLIENT_ID},
        ),
        ClientWire(
            "openai",
            "/v1/chat/completions",
            lambda engine, model: {
                "model": f"{engine}/{model}",
                "stream": True,
                "stream_options": {"include_usage": True},
                "messages": [{"role": "user", "content": "Hello"}],
            },
            read_openai,
            {"Authorization": f"Bearer {CLIENT_ID}"},
        ),
        ClientWire(
            "anthropic",
            "/v1/messages",
            lambda engine, model: {
                "model": f"{engine}/{model}",
                "stream": True,
                "max_tokens": 100,
                "messages": [{"role": "user", "content": "Hello"}],
            },
            read_anthropic,
            {"x-api-key": CLIENT_ID, "anthropic-version": "2023-06-01"},
        ),
    )
}
