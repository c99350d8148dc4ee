"""One request of a client through the real server to a scripted engine of any wire."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.support.harness import CLIENT, Connection, Request, Upstream, make_config, run_server
from tests.support.wires import WIRES, Wire

PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "ollama": "/api/chat",
}
# Engines of every wire; cerebras has Chat Completions only, and is never passed through to a Responses client.
ENGINE_WIRES: dict[str, Wire] = {**WIRES, "cerebras": replace(WIRES["openai"], engine="cerebras")}


@dataclass
class Crossed:
    """What the client got and what the engine was sent."""

    status: int
    headers: Mapping[str, str]
    raw: bytes
    sent: list[Any]  # bodies

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def events(self) -> list[Any]:
        """The objects of a stream, in any framing."""
        lines = (line.removeprefix("data: ") for line in self.raw.decode().split("\n"))
        return [json.loads(line) for line in lines if line.startswith("{")]

    @property
    def dropped(self) -> list[str]:
        return [name for name in self.headers.get("X-Dropped-Fields", "").split(", ") if name]


async def cross(
    client: str,
    engine: str,
    body: Mapping[str, Any],
    *,
    whole: Any = None,
    pieces: Sequence[bytes] = (),
    environ: Mapping[str, str] | None = None,
) -> Crossed:
    """Sends ``body`` with the model ``engine/m`` unless it names one. The engine answers with a text by default."""
    wire = ENGINE_WIRES[engine]

    async def script(request: Request, connection: Connection) -> None:
        if not (request.json.get("stream") or "stream" in request.path):
            await connection.respond(wire.whole("Hello") if whole is None else whole)
            return
        await connection.stream(wire.content_type)
        for piece in pieces or (wire.head, wire.delta("Hello"), wire.end):
            if piece:  # an empty chunk would be the end
                await connection.chunk(piece)
        await connection.end()

    upstream = Upstream(script)
    async with upstream.run(), run_server(make_config(**{**wire.environ(upstream), **(environ or {})})) as server:
        sent = {"model": f"{engine}/m", **({"max_tokens": 100} if client == "anthropic" else {}), **body}
        answer = await server.post(PATHS[client], sent, CLIENT)
        raw = await answer.body()
    return Crossed(answer.status, answer.headers, raw, [request.json for request in upstream.requests])
