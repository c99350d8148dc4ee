"""For every test: it watches over the keys that it gives to servers (``tests/canaries.py``), and is patient."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress

import pytest

from tests.canaries import WATCH, watch_logs


def pytest_configure() -> None:
    watch_logs()
    with suppress(ImportError):  # ``make test-clients`` goes without it
        from hypothesis import settings

        settings.register_profile("patient", deadline=None)  # a machine that is busy is no finding
        settings.load_profile("patient")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    WATCH.reset()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    for name, text in report.sections if call.when == "call" else ():  # later reports repeat them
        WATCH.look(name, text)
    if WATCH.leaks and report.passed:
        report.outcome = "failed"
        report.longrepr = "\n".join(["keys were seen:", *dict.fromkeys(WATCH.leaks)])
        WATCH.leaks.clear()
    return report
