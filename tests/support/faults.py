"""Runs the server in front of a provider that fails in a given way, and checks what the client gets."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.harness import Client, make_config, run_server
from tests.support.wire_server import LAST_CHUNK, WireServer, chunk, run_wire_server, wait_until
from tests.support.wire_server import Wire as Connection
from tests.support.wires import CLIENTS, WIRES, ClientWire, Wire

HANG_TIMEOUT = 15.0  # seconds until a hanging test fails; a passing test does not wait for it
TEXT = "Half an answer"


@dataclass(frozen=True)
class Lane:
    """A pair of client wire and engine wire, streamed or not."""

    name: str
    client: ClientWire
    wire: Wire
    stream: bool

    @property
    def is_passthrough(self) -> bool:
        return self.client.name == self.wire.engine

    @property
    def body(self) -> dict[str, Any]:
        body = self.client.request(self.wire.engine, stream=self.stream)
        if not self.stream:
            body.pop("stream_options", None)
        return body

    @property
    def content_type(self) -> str:
        return self.wire.content_type if self.stream else "application/json"

    @property
    def head(self) -> bytes:
        return answer_head(f"Content-Type: {self.content_type}", "Transfer-Encoding: chunked")

    @property
    def first_payload(self) -> bytes:
        """Returns the payload up to the first text."""
        return self.wire.head + self.wire.delta(TEXT) if self.stream else self.document[: len(self.document) // 2]

    @property
    def document(self) -> bytes:
        return json.dumps(self.wire.whole(TEXT)).encode()

    @property
    def payload(self) -> bytes:
        return self.first_payload + self.wire.end if self.stream else self.document

    @property
    def response(self) -> bytes:
        """Returns a complete HTTP response."""
        return self.head + chunk(self.payload) + LAST_CHUNK


def answer_head(*headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode()


_PAIRS = {
    "native": ("native", "openai"),
    "native over lines": ("native", "ollama"),
    "verbatim openai": ("openai", "openai"),
    "verbatim anthropic": ("anthropic", "anthropic"),
    "crossing": ("openai", "anthropic"),
    "crossing back": ("anthropic", "google"),
}
STREAMED = [Lane(name, CLIENTS[client], WIRES[wire], True) for name, (client, wire) in _PAIRS.items()]
WHOLE = [Lane(f"{name}, whole", CLIENTS[client], WIRES[wire], False) for name, (client, wire) in _PAIRS.items()]


def lanes(chosen: list[Lane]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("lane", chosen, ids=[lane.name for lane in chosen])


EVERY_LANE = lanes(STREAMED + WHOLE)
EVERY_STREAM = lanes(STREAMED)
EVERY_WHOLE = lanes(WHOLE)
SOME_LANES = lanes([STREAMED[0], STREAMED[2], WHOLE[0], WHOLE[4]])

Script = Callable[[Connection], Awaitable[None]]
"""What the provider does with a request that it has read, or has not, as far as the script goes; then it hangs up."""


@dataclass
class Outcome:
    """The response that a client received."""

    status: int
    raw: bytes
    code: str | None = None  # our error code, read from any dialect
    text: str = ""
    ended: bool = False  # the dialect's regular end was received
    headers: dict[str, str] = field(default_factory=dict)


def read_outcome(lane: Lane, status: int, raw: bytes) -> Outcome:
    outcome = Outcome(status, raw)
    if status != 200 or not lane.stream:
        told = json.loads(raw)
        outcome.ended = status == 200
        outcome.code = None if status == 200 else _code(told if lane.client.name == "native" else told["error"])
        outcome.text = TEXT if status == 200 and TEXT in json.dumps(told) else ""
        return outcome
    seen = lane.client.read(raw)
    outcome.text, outcome.ended = seen.text, seen.ended and seen.error is None
    outcome.code = None if seen.error is None else _code(seen.error)
    # With passthrough the finish reason is the provider's, and the error follows it.
    assert seen.finish is None or seen.error is None or lane.is_passthrough, "a stream that failed and finished"
    return outcome


def _code(error: dict[str, Any]) -> str:
    code = error["code"] if "code" in error else error["details"]["error_code"]
    assert isinstance(code, str)
    return code


class Scene:
    """The server under test between a client and a provider. The provider answers correctly unless a script is set."""

    def __init__(self, lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
        self.lane = lane
        self.scripts: list[Script] = []  # for the next connections
        self.server: Client
        self.provider: WireServer
        self._caplog = caplog
        self._tasks: Counter[str] = Counter()

    async def serve(self, wire: Connection) -> None:
        if self.scripts:
            await self.scripts.pop(0)(wire)
        else:
            await make_sending_script(self.lane.response)(wire)

    async def ask(self, **more: Any) -> Outcome:
        lane = self.lane
        async with asyncio.timeout(HANG_TIMEOUT):
            answer = await self.server.post(lane.client.path, {**lane.body, **more}, lane.client.headers)
            outcome = read_outcome(lane, answer.status, await answer.body())
            answer.close()
            return outcome

    async def run_failure(self, script: Script, **more: Any) -> Outcome:
        """Sends one request to a provider that runs ``script``. Returns the outcome; checks log, tasks and connections."""
        [outcome] = await self.run_failures(script, **more)
        return outcome

    async def run_failures(self, *scripts: Script, **more: Any) -> list[Outcome]:
        """Runs several scripts at the same time, so that their waits overlap. Returns the outcomes."""
        self._caplog.clear()
        self.scripts += scripts
        outcomes = await asyncio.gather(*(self.ask(**more) for _ in scripts))
        assert not self.scripts
        self._logged(outcomes)
        await self.check_recovery()
        return outcomes

    async def check_recovery(self) -> None:
        """Checks that nothing of the request is left and that the next request is answered."""
        await wait_until(lambda: not self.provider.wires)
        await wait_until(lambda: _tasks() == self._tasks)
        assert len(self.server.server.context.active) == 0
        await self.answers()

    async def answers(self) -> None:
        again = await self.ask()
        assert (again.status, again.text, again.ended) == (200, TEXT, True), again
        await wait_until(lambda: not self.provider.wires)

    def _logged(self, outcomes: list[Outcome]) -> None:
        """Checks that the log has one line for each outcome, with its code, and reports no bug."""
        lines = [getattr(r, "fields", {}) for r in self._caplog.records if r.getMessage() == "request"]
        told = Counter((outcome.status, outcome.code) for outcome in outcomes)
        assert Counter((line["status"], line.get("code")) for line in lines) == told
        noise = [r for r in self._caplog.records if r.levelno >= logging.WARNING or r.exc_info]
        assert not noise, [r.getMessage() for r in noise]

    @asynccontextmanager
    async def running(self, **environ: str) -> AsyncIterator[Scene]:
        self._caplog.set_level("INFO")
        settings = {"MAX_RETRIES": "0", **environ}
        async with run_wire_server(self.serve) as self.provider:
            async with run_server(make_config(**self.lane.wire.environ(self.provider, **settings))) as self.server:
                self._tasks = _tasks()
                yield self


def _tasks() -> Counter[str]:
    return Counter(getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks())


def make_sending_script(*pieces: bytes, reset: bool = False) -> Script:
    """Returns a script that reads the request, sends the pieces, then closes or resets the connection."""

    async def script(wire: Connection) -> None:
        await wire.request()
        for piece in pieces:
            await wire.send(piece)
            await asyncio.sleep(0)
        if reset:
            wire.reset()

    return script


def make_stalling_script(*pieces: bytes) -> Script:
    """Returns a script that sends the pieces and waits until the server closes the connection."""

    async def script(wire: Connection) -> None:
        await wire.request()
        for piece in pieces:
            await wire.send(piece)
            await asyncio.sleep(0)
        await wire.wait_closed()

    return script


def make_repeating_script(piece: bytes, *before: bytes, pause: float = 0.0) -> Script:
    """Returns a script that sends ``before``, then repeats the piece until the server closes the connection."""

    async def script(wire: Connection) -> None:
        await wire.request()
        for first in before:
            await wire.send(first)
        gone = asyncio.ensure_future(wire.wait_closed())
        while not gone.done():
            await wire.send(piece)
            await asyncio.sleep(pause)

    return script
