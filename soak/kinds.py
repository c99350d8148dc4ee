"""What is asked: the kinds of requests, how often each, and how each has to end."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from soak.wires import WIRES

CLIENT_ID: Final = "soak-client-id-0123456789"
ENGINES: Final = tuple(WIRES)

Fate = Literal[
    "read", "slow", "leave at once", "leave while waiting", "leave while streaming", "leave while slow", "turns"
]  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """``model`` tells the provider what to do (``soak.upstream``), ``fate`` is what the client does."""

    name: str
    weight: int  # of all that are asked
    model: str
    stream: bool = True
    fate: Fate = "read"
    status: int = 200
    deltas: int = 0  # that have to arrive, when the answer is read to its end
    error: bool = False  # that the stream has to end with one


@dataclass(frozen=True)
class Client:
    """A client dialect: how it asks, and what the end of a stream looks like in it."""

    path: str
    headers: Mapping[str, str]
    ends: bytes
    fails: bytes

    def body(self, engine: str, model: str, stream: bool) -> dict[str, Any]:
        if self.path == "/llm/chat":
            return {"engine": engine, "model": model, "prompt": "Hello", "stream": stream, "tools": False}
        messages = [{"role": "user", "content": "Hello"}]
        body = {"model": f"{engine}/{model}", "messages": messages, "stream": stream}
        return {**body, "max_tokens": 100} if self.path == "/v1/messages" else body


_BEARER: Final = {"Authorization": f"Bearer {CLIENT_ID}"}
_NATIVE: Final = {"X-ClientId": CLIENT_ID, "Accept": "application/x-ndjson"}
NATIVE: Final = Client("/llm/chat", _NATIVE, b'"finishReason":"stop"', b'"type":"error"')
RESPONSES: Final = "/v1/responses"  # of conversations that are kept (``Client.responses``)
KEEPERS: Final = tuple(engine for engine in ENGINES if engine != "openai")  # whose answers this server keeps
CLIENTS: Final = (
    NATIVE,
    Client("/llm/chat", {**_NATIVE, "Accept": "text/event-stream"}, b'"finishReason":"stop"', b'"type":"error"'),
    Client("/v1/chat/completions", _BEARER, b'"finish_reason":"stop"', b'data: {"error"'),
    Client(
        "/v1/messages",
        {"x-api-key": CLIENT_ID, "anthropic-version": "2023-06-01"},
        b"event: message_stop",
        b"event: error",
    ),
    Client("/api/chat", _BEARER, b'"done":true', b'{"error"'),
)

KINDS: Final = (
    Kind("stream", 300, "e12", deltas=12),
    Kind("short stream", 200, "e5", deltas=5),
    Kind("whole answer", 220, "e1", stream=False, deltas=1),
    Kind("left at once", 20, "e12", fate="leave at once"),
    Kind("left at once, whole", 10, "silent", stream=False, fate="leave at once"),
    Kind("left while waiting", 20, "silent", fate="leave while waiting"),
    Kind("left while waiting, whole", 10, "silent", stream=False, fate="leave while waiting"),
    Kind("left amid a whole answer", 5, "stall", stream=False, fate="leave while waiting"),
    Kind("left while streaming", 25, "e20", fate="leave while streaming"),
    Kind("left a stalled provider", 15, "stall", fate="leave while streaming"),
    Kind("left while slow", 3, "big400", fate="leave while slow"),
    Kind("slow reader", 7, "big100", fate="slow", deltas=100),
    Kind("refused as wrong", 15, "s400", status=400),
    Kind("refused key", 10, "s401", status=502),
    Kind("rate limit", 20, "s429", status=429),
    Kind("rate limit, whole", 10, "s429", stream=False, status=429),
    Kind("provider failed", 15, "s500", status=502),
    Kind("provider overloaded", 10, "s503", status=503),
    Kind("error inside the stream", 15, "error", deltas=3, error=True),
    Kind("cut stream", 15, "cut", deltas=3, error=True),
    Kind("cut whole answer", 10, "cut", stream=False, status=502),
    Kind("reset stream", 15, "reset", deltas=3, error=True),
    Kind("reset whole answer", 5, "reset", stream=False, status=502),
    Kind("reset before an answer", 10, "gone", status=502),
    Kind("garbage", 10, "garbage", status=502),
    Kind("garbage, whole", 5, "garbage", stream=False, status=502),
    Kind("a page instead of an answer", 5, "page", stream=False, status=502),
    Kind("turns over a WebSocket", 15, "e5", fate="turns", deltas=5),
    Kind("left a WebSocket", 11, "stall", fate="turns"),
    Kind("broken events", 10, "broken", deltas=3, error=True),
)


@dataclass(frozen=True)
class Request:
    kind: Kind
    client: Client
    engine: str

    def __str__(self) -> str:
        return f"{self.kind.name} ({self.client.path}, {self.engine})"

    @property
    def raw(self) -> bytes:
        body = self.client.body(self.engine, self.kind.model, self.kind.stream)
        return http("POST", self.client.path, self.client.headers, body)


def http(method: str, path: str, headers: Mapping[str, str], body: Any = None) -> bytes:
    raw = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: soak", f"Content-Length: {len(raw)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + raw


def requests(seed: int) -> Iterator[Request]:
    """Without end; the same for the same seed."""
    chosen = random.Random(seed)  # noqa: S311  a mix, not a secret
    weights = list(itertools.accumulate(kind.weight for kind in KINDS))
    while True:
        (kind,) = chosen.choices(KINDS, cum_weights=weights)
        yield Request(kind, chosen.choice(CLIENTS), chosen.choice(ENGINES))
