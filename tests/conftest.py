"""For every test: it watches over the keys that it gives to servers (``tests/support/canaries.py``), and is patient.

What is about sockets and time runs on both loops: our own, and uvloop, which the server prefers.
``--uvloop`` runs everything on that.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from typing import Final

import pytest

from llm.http1.event_loop import EventLoop, uvloop
from tests.support.canaries import WATCH, watch_logs
from tests.support.paths import TESTS

BOTH: Final = (
    "handlers/test_cancel",
    "handlers/test_connection",
    "dialects/test_streams",
    "transport/test_http_client",
    "transport/test_pool",
    "transport/test_response",
    "transport/test_cancel",
)
LONG: Final = (
    "dialects/test_crossings",
    "dialects/test_crossings_back",
    "dialects/test_recorded_server",
    "dialects/test_recordings",
    "system/test_workers",
)


def module_of(item: pytest.Item) -> str:
    """The test's module as a path below ``tests``: ``wire/test_sse``."""
    return item.path.with_suffix("").as_posix().removeprefix(f"{TESTS}/")


def pytest_configure() -> None:
    watch_logs()
    with suppress(ImportError):  # ``make test-clients`` goes without it
        from hypothesis import settings

        settings.register_profile("patient", deadline=None)  # a machine that is busy is no finding
        settings.load_profile("patient")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Of ``-n auto``: a third of what the tests do is to wait, so that two cores are busy with three workers."""
    return max(len(os.sched_getaffinity(0)) * 3 // 2, 1)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first, or one worker is left alone with one of them at the end; in no order otherwise."""
    items.sort(key=lambda item: module_of(item) not in LONG)


def pytest_collection_finish() -> None:
    """What was imported for 7,000 tests stays: the collector need not look at it again in each of them."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    WATCH.reset()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    for name, text in report.sections if call.when == "call" else ():  # later reports repeat them
        WATCH.search(name, text)
    if WATCH.leaks and report.passed:
        report.outcome = "failed"
        report.longrepr = "\n".join(["keys were seen:", *dict.fromkeys(WATCH.leaks)])
        WATCH.leaks.clear()
    return report


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--uvloop", action="store_true", help="run all tests on uvloop")


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    standard = {"asyncio": EventLoop}
    other = {"uvloop": uvloop.new_event_loop} if uvloop is not None else {}
    if config.getoption("--uvloop"):
        return other
    return standard | other if module_of(item) in BOTH else standard
