"""What our client makes of odd responses, each with its RFC section, beside Tornado's client and aiohttp."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import pytest
import tornado

from tests.support.conformance.case import Outcome
from tests.support.conformance.clients import (
    Fetch,
    find_aiohttp,
    only_our_errors,
    play,
    run_aiohttp,
    run_ours,
    run_tornado,
)
from tests.support.conformance.page import Row, find_part, read_versions, read_words, replace_part, write_part
from tests.support.conformance.responses import RESPONSES, ResponseCase

MANY: Final = 60  # cases that the suite has at least
PART: Final = "responses"
NAMES: Final = ("Tornado", "aiohttp")
CASES: Final = tuple(case for group in RESPONSES.values() for case in group)

Run = Callable[[], AbstractAsyncContextManager[Fetch]]


async def play_all(run: Run, cases: tuple[ResponseCase, ...] = CASES) -> dict[str, Outcome]:
    """Sends all cases to a client, one after another."""
    async with run() as fetch:
        return {case.name: await play(case, fetch) for case in cases}


def test_there_are_many_cases_and_each_has_a_name_and_a_section() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= MANY
    assert all(case.section.split(" ")[0] in ("1952", "9110", "9112") for case in CASES)


@pytest.mark.parametrize("group", RESPONSES)
async def test_our_client_does_what_is_right(group: str) -> None:
    async with run_ours() as ours:
        for case in RESPONSES[group]:
            outcome = await play(case, only_our_errors(ours))
            assert case.judge(outcome), (case.name, case.right, str(outcome), outcome.bodies)


async def test_no_case_where_both_others_are_right_and_we_are_not() -> None:
    """The table of ``docs/http.md`` is what the clients do."""
    aiohttp = find_aiohttp()
    if aiohttp is None:
        pytest.skip("aiohttp is not installed; requirements-dev.txt has it")
    runs: dict[str, Run] = {"Tornado": run_tornado, "aiohttp": run_aiohttp}
    found = {name: await play_all(run) for name, run in runs.items()}
    here = await play_all(run_ours)
    for case in CASES:
        right = [case.judge(found[name][case.name]) for name in NAMES]
        assert case.judge(here[case.name]) or not all(right), case.name
    words = {case.name: tuple(_word(case, found[name][case.name]) for name in NAMES) for case in CASES}
    versions = {"Tornado": tornado.version, "aiohttp": aiohttp.__version__}
    if os.environ.get("UPDATE_DOCS"):
        replace_part(PART, write_part(PART, versions, _rows(words, here)))
    known = read_words(PART)
    if versions == read_versions(PART):
        for case in CASES:
            if known.get(case.name) != words[case.name]:
                again = {name: await play_all(run, (case,)) for name, run in runs.items()}
                assert known.get(case.name) == tuple(_word(case, again[name][case.name]) for name in NAMES), case.name


async def test_the_page_is_up_to_date() -> None:
    here = await play_all(run_ours)
    text = write_part(PART, read_versions(PART), _rows(read_words(PART), here))
    assert find_part(PART) == text, "UPDATE_DOCS=1 writes it anew"


def _word(case: ResponseCase, outcome: Outcome) -> str:
    return "right" if case.judge(outcome) else "other"


def _rows(words: dict[str, tuple[str, ...]], here: dict[str, Outcome]) -> dict[str, list[Row]]:
    return {
        title: [(case.name, case.section, case.right, str(here[case.name]), words.get(case.name, ())) for case in group]
        for title, group in RESPONSES.items()
    }
