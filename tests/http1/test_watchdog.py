"""The watchdog names what held the event loop."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from types import FrameType
from typing import Any

import pytest

from llm import log
from llm.http1 import threads, watchdog
from llm.http1.threads import run_in_thread
from llm.http1.watchdog import Watchdog
from tests.support.wire_server import wait_until


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = []
    monkeypatch.setattr(log, "write", lambda event, level, **fields: written.append({"event": event, **fields}))
    return written


async def test_what_holds_the_loop_is_named(lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    def hold_everything() -> None:
        end = time.monotonic() + 10
        while not held and time.monotonic() < end:
            time.sleep(0.005)

    real, held = watchdog.describe_frames, list[str]()

    def describe(frame: FrameType | None) -> str:
        held.append(real(frame))
        return held[-1]

    monkeypatch.setattr(watchdog, "describe_frames", describe)
    watch = Watchdog(0.02)
    watch.start()
    hold_everything()
    await wait_until(lambda: lines)
    watch.stop()
    assert lines[0]["event"] == "loop_held" and lines[0]["seconds"] >= 0.02
    assert "hold_everything" in lines[0]["at"] and "tests/http1/test_watchdog.py:" in lines[0]["at"]


async def test_a_loop_that_runs_is_not_reported(lines: list[dict[str, Any]]) -> None:
    watch = Watchdog(5)
    watch.start()
    await asyncio.sleep(0)
    watch.stop()
    assert not lines and not watch.holds


async def test_work_in_a_thread_returns_raises_and_can_be_left() -> None:
    assert await run_in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await run_in_thread(divmod, 1, 0)
    go = threading.Event()
    left = asyncio.create_task(run_in_thread(go.wait, 10))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.wait({left})
    go.set()
    assert left.cancelled() and await run_in_thread(threading.current_thread) is not threading.main_thread()


async def test_the_garbage_collector_pauses_meanwhile_and_a_moment_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_REST", 0.01)
    await wait_until(gc.isenabled)  # another test may have paused it
    assert await run_in_thread(gc.isenabled) is False
    assert await asyncio.gather(*(run_in_thread(gc.isenabled) for _ in range(3))) == [False] * 3
    await wait_until(gc.isenabled)
    with pytest.raises(ZeroDivisionError):
        await run_in_thread(divmod, 1, 0)
    await wait_until(gc.isenabled)


async def test_under_steady_work_garbage_is_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_REST", 0.01)
    monkeypatch.setattr(threads, "_MAX_PAUSE", 0.0)
    collected: list[str] = []
    monkeypatch.setattr(gc, "collect", lambda: collected.append("all"))
    await asyncio.gather(*(run_in_thread(divmod, 7, 2) for _ in range(3)))
    assert collected
    await wait_until(gc.isenabled)
