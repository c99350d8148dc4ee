"""An answer is the same for every grouping of events into reads, with passthrough, translation and fast path."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.chat.messages import Usage
from llm.chat.reply import Reply
from llm.dialects.registry import ENGINE_DIALECTS
from tests.support.harness import Connection, Request, Upstream, make_config, run_server
from tests.support.lanes import CASES, NDJSON, Outcome, lanes, run_lane
from tests.support.wires import CLIENTS, WIRES


def groupings(events: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Yields all groupings of events into reads, from one read for all to one read for each."""
    for mask in range(1 << (len(events) - 1)):
        reads = [events[0]]
        for number, event in enumerate(events[1:]):
            if mask >> number & 1:
                reads.append(event)
            else:
                reads[-1] += event
        yield reads


def test_every_engine_dialect_has_its_cases() -> None:
    for dialect in ENGINE_DIALECTS:
        mine = [case for case in CASES.values() if case.dialect == dialect]
        assert any(case.text and case.calls for case in mine) and any(case.reasoning for case in mine)
        assert any(len(case.calls) > 1 for case in mine)
    assert all(len(case.events) <= 11 for case in CASES.values())  # there are 2 ** (n - 1) groupings


@pytest.mark.parametrize("verbatim", [False, True], ids=["translated", "verbatim"])
@pytest.mark.parametrize("name", CASES)
async def test_an_answer_is_the_same_for_every_grouping_of_events_into_reads(name: str, verbatim: bool) -> None:
    case = CASES[name]
    if verbatim not in lanes(case.dialect):
        return
    whole = await run_lane(case, [b"".join(case.events)], verbatim=verbatim, tapped=False)
    assert (whole.error, whole.failure) == (None, None)
    if isinstance(whole.output, Reply):
        reply = whole.output
        assert (reply.text, reply.reasoning) == (case.text, case.reasoning)
        assert tuple((one.name, one.arguments) for one in reply.calls) == case.calls
    else:
        assert whole.output == b"".join(case.events)
    assert whole.characters == len(case.text + case.reasoning + "".join(given for _, given in case.calls))
    assert whole.usage == Usage(fresh=5, text=7) and whole.finish == ("tool_calls" if case.calls else "stop")
    different, short = [], 0
    for reads in groupings(case.events):
        for tapped in (False, True):
            seen = await run_lane(case, reads, verbatim=verbatim, tapped=tapped)
            short += seen.short
            if seen.compared() != whole.compared():
                different.append((tapped, [len(read) for read in reads], seen))
    assert not different, f"{len(different)} of {2 << len(case.events) - 1}, the first: {different[0]}"
    assert short or case.dialect == "gemini" or (case.dialect == "ollama" and not verbatim) or len(case.text) < 2


@given(st.sampled_from(sorted(CASES)), st.lists(st.integers(0, 5000), max_size=12), st.booleans())
@settings(max_examples=150, deadline=None)
def test_an_answer_is_the_same_wherever_its_bytes_are_cut(name: str, places: list[int], tapped: bool) -> None:
    case = CASES[name]
    raw = b"".join(case.events)
    ends = sorted({0, len(raw), *(place % len(raw) for place in places)})

    async def both(verbatim: bool) -> tuple[Outcome, Outcome]:
        whole = await run_lane(case, [raw], verbatim=verbatim, tapped=False)
        return whole, await run_lane(case, [raw[a:b] for a, b in pairwise(ends)], verbatim=verbatim, tapped=tapped)

    for verbatim in lanes(case.dialect):
        whole, seen = asyncio.run(both(verbatim))
        assert seen.compared() == whole.compared()


OFFICIAL = CASES["chat, text and a call"]


def some_groupings() -> list[list[bytes]]:
    """A grouping that failed once (the name alone in a read, the last delta with the end) and similar ones.

    Each read holds output for every client, so that the next read can wait for it.
    """
    *texts, name, first, second, last = OFFICIAL.events[:-3]
    end = b"".join([last, *OFFICIAL.events[-3:]])
    return [
        [*texts, name, first, second, end],
        [*texts, name + first, second, end],
        [b"".join(texts), name, first, second, end],
        [*texts, name, first + second + end],
        [*texts, name + first + second + end],
    ]


@pytest.mark.parametrize("reads", some_groupings())
@pytest.mark.parametrize("client", CLIENTS)
async def test_the_real_server_answers_the_same_for_every_grouping(client: str, reads: list[bytes]) -> None:
    """Each read is sent after the client has received output of the previous one."""
    asks, wire = CLIENTS[client], WIRES["openai"]
    arrived = asyncio.Event()

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream()
        for number, read in enumerate(reads):
            await connection.chunk(read)
            if number < len(reads) - 1:
                await asyncio.wait_for(arrived.wait(), 5)
                arrived.clear()
        await connection.end()

    upstream = Upstream(script)
    async with upstream.run(), run_server(make_config(**wire.environ(upstream))) as server:
        answer = await server.post(asks.path, asks.request("openai"), {**asks.headers, "Accept": NDJSON})
        raw = b""
        async for chunk in answer.chunks():
            raw += chunk
            arrived.set()
    seen = asks.read(raw)
    assert seen.text == OFFICIAL.text and seen.error is None and seen.ended
    if client == "openai":
        assert raw == b"".join(OFFICIAL.events)
    if client != "native":
        assert tuple(seen.calls) == OFFICIAL.calls
