"""Runs the server in front of recorded answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable

from llm.transport.interface import HttpRequest
from tests.support.harness import Client, ScriptedReply, ScriptedTransport
from tests.support.recordings import Case

AT_ONCE = 8  # connections
PROVIDERS = (
    "openai", "anthropic", "google", "mistral", "ollama", "azure", "xai", "groq", "cerebras", "deepseek", "openrouter",
    "together", "huggingface", "lmstudio",
)  # fmt: skip


def make_transport(all_cases: tuple[Case, ...], split: str) -> ScriptedTransport:
    """Returns a transport that answers model ``case-<n>`` with the n-th recording."""

    def answer(request: HttpRequest) -> ScriptedReply:
        found = re.search(rb"case-(\d+)", request.url.encode() + (request.body or b""))
        assert found is not None
        response = all_cases[int(found[1])].response
        body = (response.with_crlf() if split == "crlf" else response).body
        pieces = response.split_everywhere() if split == "torn" else [body]
        return ScriptedReply(response.status, response.headers, pieces)

    return ScriptedTransport(answer)


async def run_cases(
    server: Client, everything: Iterable[Case], asks: Callable[[Client, int, Case], Awaitable[None]]
) -> None:
    """Calls ``asks`` for every case, over a few connections at the same time."""
    left = iter(enumerate(everything))

    async def one_by_one() -> None:
        with server.reuse_connection() as client:
            for number, case in left:
                await asks(client, number, case)

    await asyncio.gather(*(one_by_one() for _ in range(AT_ONCE)))


def make_case_id(case: Case) -> str:
    """Returns the test id of a case; it names the dialect too, since some providers have two."""
    return f"{case.engine.name}-{case.engine.dialect}"
