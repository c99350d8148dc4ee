"""Memory of ``python server.py``: at most ``MAX_ANSWER_SIZE`` for each answer, whatever the provider sends."""

from __future__ import annotations

import asyncio
import functools
import json
import re
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.faults import (
    STREAMED,
    WHOLE,
    Lane,
    Script,
    answer_head,
    make_repeating_script,
    make_sending_script,
    make_stalling_script,
    read_outcome,
)
from tests.support.harness import CLIENT_ID, Answer, Client
from tests.support.processes import find_url, start_server
from tests.support.wire_server import chunk, run_wire_server, wait_until
from tests.support.wires import _chunk, _sse

MB = 1024 * 1024
MOST = 8  # MB, of MAX_ANSWER_SIZE
AT_ONCE = 4
READ = 40  # MB read by the client
ASKED = 24  # MB, of a long question
FLAT = 12  # MB by which memory may change if nothing is buffered
LANES = {lane.name: lane for lane in STREAMED + WHOLE}


class Process:
    """The server as a separate process, and its memory as the kernel counts it."""

    def __init__(self, pid: int, client: Client) -> None:
        self.client = client
        self._pid = pid

    def _megabytes(self, name: str) -> float:
        found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{self._pid}/status").read_text())
        assert found is not None
        return int(found[1]) / 1024

    def measure(self) -> float:
        """Returns the memory in use and resets its peak."""
        Path(f"/proc/{self._pid}/clear_refs").write_text("5")
        return self._megabytes("VmRSS")

    @property
    def highest(self) -> float:
        return self._megabytes("VmHWM")

    async def ask(self, lane: Lane, **more: Any) -> Answer:
        return await self.client.post(lane.client.path, {**lane.body, **more}, lane.client.headers)


@asynccontextmanager
async def process(lane: Lane, script: Script, folder: Path, most: int = MOST) -> AsyncIterator[Process]:
    environ = {"AUTHORIZED_CLIENT_ID": CLIENT_ID, "DATA_DIR": str(folder), "MAX_RETRIES": "0"}
    async with run_wire_server(script) as provider:
        # The C library may retain freed memory, depending on the address of the last piece. Only memory in use can be
        # measured if each freed piece returns to the kernel by itself.
        environ["MALLOC_MMAP_THRESHOLD_"] = "16384"
        settings = lane.wire.environ(provider, **environ, MAX_ANSWER_SIZE=f"{most}MB")
        with start_server("--port", "0", cwd=folder, **settings) as (running, lines):
            client = Client(int(find_url(lines).rpartition(":")[2]), cast(Any, None))
            await (await client.get("/health")).body()
            yield Process(running.pid, client)
            for answer in client.open:
                answer.close()
            await wait_until(lambda: not provider.wires)


def _event(lane: Lane) -> Script:
    return make_repeating_script(
        chunk(b"x" * 250_000), lane.head + chunk(lane.first_payload) + chunk(lane.wire.delta("x")[:-20])
    )


def _document(lane: Lane) -> Script:
    return make_repeating_script(chunk(b"x" * 250_000), lane.head + chunk(lane.first_payload))


@functools.cache
def _packed() -> bytes:
    """Returns a compressed body of a quarter of a gigabyte."""
    packing = zlib.compressobj(1, wbits=31)
    return b"".join(packing.compress(b" " * MB) for _ in range(256)) + packing.flush()


def _bomb(lane: Lane) -> Script:
    packed = _packed()
    headers = (f"Content-Type: {lane.content_type}", "Content-Encoding: gzip", f"Content-Length: {len(packed)}")
    return make_sending_script(answer_head(*headers) + packed)


def _arguments(lane: Lane) -> Script:
    """Returns a stream of tool call arguments, a few characters at a time."""
    if lane.wire.engine == "openai":
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": "'}}
        more = _chunk({"tool_calls": [{"index": 0, "function": {"arguments": "abc"}}]})
        return make_repeating_script(
            chunk(more * 1000), lane.head + chunk(lane.first_payload) + chunk(_chunk({"tool_calls": [call]}))
        )
    block = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
    start = _sse({"type": "content_block_start", "index": 1, "content_block": block}, "content_block_start")
    delta = {"type": "input_json_delta", "partial_json": "abc"}
    more = _sse({"type": "content_block_delta", "index": 1, "delta": delta}, "content_block_delta")
    return make_repeating_script(chunk(more * 1000), lane.head + chunk(lane.first_payload) + chunk(start))


ENDLESS: list[tuple[str, str, Callable[[Lane], Script]]] = [
    ("an event", "native", _event),
    ("an event", "native over lines", _event),
    ("an event", "verbatim anthropic", _event),
    ("an event", "crossing", _event),
    ("a document", "native, whole", _document),
    ("a document", "verbatim openai, whole", _document),
    ("a compressed document", "crossing, whole", _bomb),
    ("a compressed stream", "native", _bomb),
    ("a compressed stream", "verbatim openai", _bomb),
    ("arguments of a call", "native", _arguments),
    ("arguments of a call", "crossing", _arguments),
]


@pytest.mark.parametrize(("what", "lane", "make"), ENDLESS, ids=[f"{what}, {lane}" for what, lane, _ in ENDLESS])
async def test_o1_an_endless_answer_takes_no_more_memory_than_allowed(
    what: str, lane: str, make: Callable[[Lane], Script], tmp_path: Path
) -> None:
    """Several at the same time; a gigabyte each without the limit."""
    asked = LANES[lane]
    most = 1 if make is _arguments else MOST  # to save time
    async with process(asked, make(asked), tmp_path, most) as server, asyncio.timeout(60):
        before = server.measure()
        answers = await asyncio.gather(*(server.ask(asked) for _ in range(AT_ONCE)))
        for answer in answers:
            outcome = read_outcome(asked, answer.status, await answer.body())
            assert outcome.code == "upstream_malformed", outcome
        assert server.highest - before < 1.5 * most * AT_ONCE + FLAT


@pytest.mark.parametrize("lane", ["native", "native over lines", "verbatim openai", "crossing"])
async def test_o1_an_endless_answer_that_is_read_costs_no_memory(lane: str, tmp_path: Path) -> None:
    asked = LANES[lane]
    script = make_repeating_script(chunk(asked.wire.delta("word " * 2000)), asked.head + chunk(asked.first_payload))
    async with process(asked, script, tmp_path, most=2 * READ) as server, asyncio.timeout(60):
        before = server.measure()
        answer = await server.ask(asked, **({"tools": False} if asked.client.name == "native" else {}))
        size = 0
        async for sent in answer.chunks():
            size += len(sent)
            if size > READ * MB:
                break
        assert size > READ * MB
        assert server.highest - before < FLAT


@pytest.mark.parametrize("lane", ["native", "crossing"])
async def test_o1_a_buffered_answer_is_limited_in_size(lane: str, tmp_path: Path) -> None:
    """Tools, threads and some wires buffer all of it; passthrough does not."""
    asked = LANES[lane]
    script = make_repeating_script(chunk(asked.wire.delta("word " * 2000)), asked.head + chunk(asked.first_payload))
    async with process(asked, script, tmp_path) as server, asyncio.timeout(60):
        answer = await server.ask(asked)
        outcome = read_outcome(asked, answer.status, await answer.body())
    assert outcome.code == "upstream_malformed"
    assert MOST * MB * 0.9 < len(outcome.text) < MOST * MB * 1.1


async def test_o1_an_answer_of_exactly_the_limit_is_accepted(tmp_path: Path) -> None:
    lane = LANES["native, whole"]
    words = "word " * (MOST * MB // 5 - 1000)
    good = lane.head + chunk(json.dumps(lane.wire.whole(words)).encode()) + b"0\r\n\r\n"
    async with process(lane, make_sending_script(good), tmp_path) as server, asyncio.timeout(60):
        assert (await (await server.ask(lane)).json())["content"] == words


@pytest.mark.parametrize("lane", ["native", "verbatim openai", "verbatim anthropic", "crossing", "crossing back"])
async def test_a_long_request_is_freed_when_its_answer_starts(lane: str, tmp_path: Path) -> None:
    asked = LANES[lane]
    long = "word " * (ASKED * MB // 5)
    question = {"prompt": long, "tools": False} if asked.client.name == "native" else {}
    async with (
        process(asked, make_stalling_script(asked.head + chunk(asked.first_payload)), tmp_path) as server,
        asyncio.timeout(60),
    ):
        before = server.measure()
        answer = await server.ask(asked, **question or {"messages": [{"role": "user", "content": long}]})
        assert await anext(answer.chunks())
        assert server.highest - before > ASKED
        assert server.measure() - before < FLAT
