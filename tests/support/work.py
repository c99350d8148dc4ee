"""How much work a call is, in numbers that do not depend on the machine; and a bound for what hangs."""

from __future__ import annotations

import signal
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


def work_of(call: Callable[[], object], times: int = 20) -> tuple[int, int]:
    """Bytecodes that a call runs, and the most bytes it holds meanwhile: the least of several calls of the same kind.

    The least, as now and then a list or a dictionary is moved to where it has more room.
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
def within_processor_time(seconds: float = 60) -> Iterator[None]:
    """Ends what would take minutes of processor time, as quadratic work on a large input would. Not for sharp bounds."""

    def fail(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"more than {seconds} seconds of processor time")

    before = signal.signal(signal.SIGPROF, fail)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
