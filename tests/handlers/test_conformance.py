"""What our server makes of odd requests, each with its RFC section, beside nginx and Tornado's own server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.conformance.case import Outcome, RequestCase, request
from tests.support.conformance.exchange import exchange
from tests.support.conformance.page import Row, find_part, read_versions, read_words, replace_part, write_part
from tests.support.conformance.requests import GROUPS, REQUESTS
from tests.support.conformance.servers import (
    IMPATIENCE,
    NGINX,
    PATIENCE,
    find_versions,
    run_nginx,
    run_ours,
    run_tornado,
)

MANY: Final = 120  # cases that the suite has at least
AT_ONCE: Final = 16
PART: Final = "requests"
NAMES: Final = ("nginx", "Tornado")

Run = Callable[[float], AbstractAsyncContextManager[int]]
FAST: Final = tuple(case for case in REQUESTS if not case.slow)
SLOW: Final = tuple(case for case in REQUESTS if case.slow)


async def exchange_all(run: Run, cases: Sequence[RequestCase]) -> dict[str, Outcome]:
    """Sends all cases to a server, some at a time, each on a connection of its own."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(port: int, case: RequestCase) -> Outcome:
        async with turn:
            return await exchange(port, case)

    found: dict[str, Outcome] = {}
    for patience, some in ((PATIENCE, FAST), (IMPATIENCE, SLOW)):
        asked = [case for case in some if case in cases]
        async with run(patience) as port:
            outcomes = await asyncio.gather(*(one(port, case) for case in asked))
        found |= {case.name: outcome for case, outcome in zip(asked, outcomes, strict=True)}
    return found


@pytest.fixture
async def ours() -> AsyncIterator[int]:
    async with run_ours() as port:
        yield port


def test_there_are_many_cases_and_each_has_a_name_and_a_section() -> None:
    assert len({case.name for case in REQUESTS}) == len(REQUESTS) >= MANY
    for case in REQUESTS:
        rfc, section = case.section.split(" ")
        assert rfc in ("1945", "3986", "6455", "6585", "9110", "9111", "9112", "9113") and section[0].isdigit(), (
            case.name
        )


@pytest.mark.parametrize("group", [title for title in GROUPS if title != "Timeouts"])
async def test_our_server_does_what_is_right(ours: int, group: str) -> None:
    for case in GROUPS[group]:
        outcome = await exchange(ours, case)
        assert case.judge(outcome), (case.name, case.right, str(outcome), outcome.heads[-1:], outcome.bodies[-1:])


async def test_our_server_ends_what_stands_still() -> None:
    async with run_ours(IMPATIENCE) as port:
        outcomes = await asyncio.gather(*(exchange(port, case) for case in SLOW))
    for case, outcome in zip(SLOW, outcomes, strict=True):
        assert case.judge(outcome), (case.name, case.right, str(outcome))


@pytest.mark.parametrize("group", [title for title in GROUPS if title != "Timeouts"])
async def test_our_server_does_the_same_with_every_case_in_two_pieces(ours: int, group: str) -> None:
    """The cut is at the end of the first line, then in the middle of the bytes."""
    for case in GROUPS[group]:
        if len(case.parts) > 1 or case.half_close or len(case.parts[0]) > 2000:
            continue
        data = case.parts[0]
        for cut in {data.find(b"\n") + 1, len(data) // 2}:
            outcome = await exchange(ours, case, cut)
            assert case.judge(outcome), (case.name, cut, str(outcome))


async def test_no_case_where_both_others_are_right_and_we_are_not(tmp_path: Path) -> None:
    """The table of ``docs/http.md`` is what the servers do."""
    if NGINX is None:
        pytest.skip("nginx is not installed; .ci/run installs it")
    runs: dict[str, Run] = {"nginx": partial(_run_nginx, tmp_path), "Tornado": run_tornado}
    found = {name: await exchange_all(run, REQUESTS) for name, run in runs.items()}
    here = await exchange_all(run_ours, REQUESTS)
    for case in REQUESTS:
        right = [case.judge(found[name][case.name]) for name in NAMES]
        assert case.judge(here[case.name]) or not all(right), case.name
    words = {case.name: tuple(_word(case, found[name][case.name]) for name in NAMES) for case in REQUESTS}
    versions = {name: find_versions()[name] for name in NAMES}
    if os.environ.get("UPDATE_DOCS"):
        replace_part(PART, write_part(PART, versions, _rows(words, here)))
    known = read_words(PART)
    if versions == read_versions(PART):
        for name in {case.name for case in REQUESTS if known.get(case.name) != words[case.name]}:
            [case] = [case for case in REQUESTS if case.name == name]
            again = {other: await exchange_all(run, [case]) for other, run in runs.items()}
            assert known.get(name) == tuple(_word(case, again[other][name]) for other in NAMES), name


async def test_the_page_is_up_to_date() -> None:
    here = await exchange_all(run_ours, REQUESTS)
    text = write_part(PART, read_versions(PART), _rows(read_words(PART), here))
    assert find_part(PART) == text, "UPDATE_DOCS=1 writes it anew"


def _run_nginx(folder: Path, patience: float) -> AbstractAsyncContextManager[int]:
    below = folder / str(patience)
    below.mkdir(exist_ok=True)
    return run_nginx(below, patience)


def _word(case: RequestCase, outcome: Outcome) -> str:
    return "right" if case.judge(outcome) else "other"


def _rows(words: dict[str, tuple[str, ...]], here: dict[str, Outcome]) -> dict[str, list[Row]]:
    return {
        title: [(case.name, case.section, case.right, str(here[case.name]), words.get(case.name, ())) for case in group]
        for title, group in GROUPS.items()
    }


def test_the_judge_tells_right_from_wrong() -> None:
    case: Any = partial(RequestCase, "x", "9112 6", (request(),))
    for right, end, statuses, judged in (
        ("200 kept", "kept", (200,), True),
        ("200 kept", "closed", (200,), False),
        ("200 *", "closed", (200,), True),
        ("400|501 closed or closed", "closed", (501,), True),
        ("400|501 closed or closed", "closed", (), True),
        ("400|501 closed", "closed", (), False),
        ("200 kept", "kept", (200, 200), False),
    ):
        assert case(right=right).judge(Outcome(statuses, end)) is judged
    seen = Outcome((200,), "kept", (b"a",), ("date: x\nb: c",))
    assert case(right="200 kept", body=b"a", header="^b: c$", no_header="^c").judge(seen)
    assert not case(right="200 kept", body=b"b").judge(seen)
    assert not case(right="200 kept", header="^c").judge(seen)
    assert not case(right="200 kept", no_header="^b").judge(seen)
