"""Measures the work of a call independently of the machine, and limits processor time."""

from __future__ import annotations

import signal
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


def measure_work(call: Callable[[], object], times: int = 20) -> tuple[int, int]:
    """Returns the bytecodes that a call runs and its peak of allocated bytes, each the minimum of several calls.

    The minimum, since now and then a list or a dictionary is reallocated.
    """
    codes, held = [], []
    tracemalloc.start()
    try:
        for _ in range(times):
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            call()
            held.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    for _ in range(times):
        codes.append(_count_bytecodes(call))
    return min(codes), min(held)


def _count_bytecodes(call: Callable[[], object]) -> int:
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


@contextmanager
def limit_processor_time(seconds: float = 60) -> Iterator[None]:
    """Raises after this much processor time, to stop quadratic work on a large input. Not for exact limits."""

    def fail(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"more than {seconds} seconds of processor time")

    before = signal.signal(signal.SIGPROF, fail)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
