"""The bench counts every event of every answer and detects incomplete answers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from bench import light_client
from bench.load import Job, Result, Run
from bench.subjects import Subject, bare_tornado, llm_server, upstream
from tests.support.harness import Connection, Request, Upstream
from tests.support.wires import WIRES


async def heavy(job: Job) -> Result:
    return await Run(job).measure()


async def light(job: Job) -> Result:
    return await asyncio.to_thread(light_client.measure, job)


Client = Callable[[Job], Awaitable[Result]]


async def measured(
    subject: Subject, model: str, deltas: int, connections: int = 2, client: Client = heavy, **more: Any
) -> Result:
    body = subject.body(model, stream=more.pop("stream", True))
    job = Job(port=subject.port, path=subject.path, headers=subject.headers, body=body, pids=[os.getpid()],
              connections=connections, deltas=deltas, last=subject.last, **more)  # fmt: skip
    return await client(job)


async def test_every_subject_forwards_every_event(tmp_path: Path) -> None:
    with upstream() as provider, bare_tornado(provider) as tornado, llm_server(provider, tmp_path) as lanes:
        for subject in (tornado, *lanes):
            for model, deltas in (("e1", 1), ("e500", 500), ("e20-r1000", 20), ("e80-r2000-b8", 80)):
                result = await measured(subject, model, deltas, requests=2)
                assert (result.errors, result.answers, result.deltas) == ([], 4, 4 * deltas), (subject.name, model)
                assert len(result.first) == 4 and result.cpu > 0
            held = await measured(subject, "idle", 1, hold=True)
            assert (held.errors, held.deltas) == ([], 2)


async def test_the_light_client_gets_whole_answers_of_the_light_provider_through_every_subject(tmp_path: Path) -> None:
    with upstream("bench.light_upstream") as provider, bare_tornado(provider) as tornado:
        with llm_server(provider, tmp_path) as lanes:
            for subject in (Subject(name="direct", port=provider, pids=[]), tornado, *lanes):
                for model in ("now", "pause"):
                    result = await measured(subject, model, 1, client=light, requests=3, pause=0.001)
                    assert (result.errors, result.answers, result.deltas) == ([], 3, 3), (subject.name, model)
                    assert len(result.first) == 3 and min(result.first) > 0


@pytest.mark.parametrize("client", [heavy, light])
@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ([b"~", b"data: [DONE]"], "1 deltas instead of 2"),
        ([b"~", b"~"], "does not end with 'data: [DONE]'"),
        ([b"~"], None),
        ([b"~", b"~", b"~", b"data: [DONE]"], "3 deltas instead of 2"),
    ],
)
async def test_an_incomplete_answer_is_an_error(pieces: list[bytes], why: str | None, client: Client) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.stream()
        for piece in pieces:
            await connection.chunk(piece)
        if why is None:
            connection.cut()
        else:
            await connection.end()

    async with Upstream(script).run() as there:
        result = await measured(Subject(name="x", port=there.port, pids=[]), "e2", 2, connections=1, client=client)
        await asyncio.sleep(0)
    assert result.answers == 0 and len(result.errors) == 1
    assert (why or "closed after 1 deltas") in result.errors[0]


@pytest.mark.parametrize("client", [heavy, light])
async def test_a_status_is_an_error(client: Client) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(WIRES["openai"].rate_limit, 429)

    async with Upstream(script).run() as there:
        result = await measured(Subject(name="x", port=there.port, pids=[]), "e2", 2, connections=1, client=client)
    assert result.errors[0].startswith("not 200: b'HTTP/1.1 429")
