"""Every test watches over the keys that it gives to servers (``tests/canaries.py``)."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.canaries import WATCH, watch_logs


def pytest_configure() -> None:
    watch_logs()


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
