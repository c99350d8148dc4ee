"""Helpers for the tests of speech and transcription."""

from __future__ import annotations

from typing import Any

from llm.engines.records import ENGINES
from tests.support.harness import Connection, Request, Script, Upstream
from tests.support.recordings import Recording, Response, recordings

SERVER_KEY = "sk-server-canary-4711"
OWN_KEY = "sk-own-canary-0815"
LISTENERS = [engine for engine in ENGINES.values() if engine.transcription is not None]


def make_environ(upstream: Upstream, *engines: str, **more: str) -> dict[str, str]:
    found = dict(more)
    for engine in engines:
        found |= {f"{engine.upper()}_API_KEY": SERVER_KEY, f"{engine.upper()}_BASE_URL": upstream.url}
    return found


def make_script(body: dict[str, Any], status: int = 200, **headers: str) -> Script:
    async def script(request: Request, connection: Connection) -> None:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        await connection.respond(body, status, headers=told)

    return script


def find_recorded_answers(api: str) -> list[tuple[Recording, Response]]:
    """Returns the recorded answers that are not streamed."""
    return [
        (recording, response)
        for recording in recordings()
        if recording.api == api and "stream" not in recording.features
        for _, response in recording.exchanges
    ]
