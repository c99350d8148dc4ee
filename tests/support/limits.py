"""Answers that stay open until a test releases them, for the tests of limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support.harness import CLIENT_ID, Client, Connection, Request, Upstream, make_config, run_server
from tests.support.wires import WIRES

OPENAI = WIRES["openai"]
SPEECH = {"model": "openai/m", "input": "Hi", "voice": "alloy"}
COUNTED_BODIES: dict[str, dict[str, Any]] = {
    "/llm/chat": {"engine": "openai", "model": "m", "prompt": "Hi"},
    "/llm/title": {"engine": "openai", "model": "m", "messages": [{"role": "user", "content": "Hi"}]},
    "/voice/tts": {"engine": "openai", "text": "Hi"},
    "/voice/stt": {"engine": "openai", "audio": "AAAA", "mimeType": "audio/wav"},
    "/v1/chat/completions": {"model": "openai/m", "messages": [{"role": "user", "content": "Hi"}]},
    "/v1/responses": {"model": "openai/m", "input": "Hi"},
    "/v1/responses/compact": {"model": "openai/m", "input": "Hi"},
    "/v1/responses/input_tokens": {"model": "openai/m", "input": "Hi"},
    "/v1/messages": {"model": "openai/m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]},
    "/v1/messages/count_tokens": {"model": "openai/m", "messages": [{"role": "user", "content": "Hi"}]},
    "/v1/embeddings": {"model": "openai/m", "input": "Hi"},
    "/v1/images/generations": {"model": "openai/m", "prompt": "Hi"},
    "/v1/audio/speech": SPEECH,
    "/v1/audio/transcriptions": {"model": "openai/m", "file": "AAAA"},
    "/v1/completions": {"model": "openai/m", "prompt": "Hi"},
    "/v1/fim/completions": {"model": "openai/m", "prompt": "Hi", "suffix": "!"},
    "/v1/rerank": {"model": "openai/m", "query": "Hi", "documents": ["Hi"]},
    "/v2/rerank": {"model": "openai/m", "query": "Hi", "documents": ["Hi"]},
    "/v1/moderations": {"model": "openai/m", "input": "Hi"},
    "/v1/images/edits": {"model": "openai/m", "prompt": "Hi"},
    "/v1/images/variations": {"model": "openai/m"},
    "/v1/audio/translations": {"model": "openai/m"},
    "/v1beta/models/openai/m:generateContent": {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
    "/v1beta/models/openai/m:embedContent": {"content": {"parts": [{"text": "Hi"}]}},
    "/v1beta/models/openai/m:countTokens": {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
    "/api/chat": {"model": "openai/m", "messages": [{"role": "user", "content": "Hi"}]},
    "/api/generate": {"model": "openai/m", "prompt": "Hi"},
    "/api/embed": {"model": "openai/m", "input": "Hi"},
    "/api/embeddings": {"model": "openai/m", "prompt": "Hi"},
    **{path: {"model": "ollama/m"} for path in ("/api/pull", "/api/push", "/api/create", "/api/copy")},
}
CHAT = COUNTED_BODIES["/llm/chat"]
SECOND_CLIENT = {"X-ClientId": "second-client"}


class HeldStreams:
    """An upstream script whose streams stay open until ``released`` is set."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.started = asyncio.Semaphore(0)

    async def __call__(self, request: Request, connection: Connection) -> None:
        await connection.stream()
        await connection.chunk(OPENAI.head + OPENAI.delta("Hi"))
        self.started.release()
        await self.released.wait()
        await connection.chunk(OPENAI.end)
        await connection.end()


@asynccontextmanager
async def run_in_front_of(script: Any, **environ: str) -> AsyncIterator[Client]:
    async with Upstream(script).run() as upstream:
        ids = f"{CLIENT_ID},{SECOND_CLIENT['X-ClientId']}"
        async with run_server(make_config(**OPENAI.environ(upstream, AUTHORIZED_CLIENT_ID=ids, **environ))) as server:
            yield server


async def wait_until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def send_raw(server: Client, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(data)
    await writer.drain()
    return reader, writer
