"""The soak: a short one finds nothing, and it detects every fault it is made for."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from soak.__main__ import ROOT, State, compared
from soak.clients import Answer, Wrong, check
from soak.kinds import KINDS, NATIVE, Request

QUIET = State(memory=40_000_000, files=12, idle=3, busy=0, tasks=Counter({"serve": 1}), garbage=0, top=[])


def test_o1_a_short_soak_finds_no_leak() -> None:
    """The run is too short to measure memory; ``make soak`` does that, for some minutes."""
    command = [sys.executable, "-m", "soak", "--requests", "1500", "--growth", "30"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(": 0 faults\n")
    told = {line.strip().partition(" ")[2] for line in done.stdout.splitlines()}
    assert {kind.name for kind in KINDS if kind.weight > 10} <= told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"memory": 45_100_000}, "memory grew by 5.10 MB"),
        ({"files": 14}, "2 file descriptors stayed open"),
        ({"busy": 1}, "1 requests to the provider stayed open"),
        ({"tasks": Counter({"serve": 1, "Stream.run": 2})}, "tasks stayed behind: {'Stream.run': 2}"),
    ],
)
def test_o1_a_leak_is_reported(change: dict[str, Any], told: str) -> None:
    assert compared(QUIET, QUIET) == []
    assert compared(QUIET, replace(QUIET, **change)) == [told]


def _asked(name: str) -> Request:
    return Request(next(kind for kind in KINDS if kind.name == name), NATIVE, "openai")


@pytest.mark.parametrize(
    ("name", "answer", "wrong"),
    [
        ("short stream", Answer(500, b"", b"{}"), "status 500, not 200"),
        ("short stream", Answer(200, b"", b"~~~~" + NATIVE.ends), "4 deltas, not 5"),
        ("short stream", Answer(200, b"", b"~~~~~"), "another end"),
        ("short stream", Answer(200, b"", b"~~~~~" + NATIVE.ends + NATIVE.fails), "another end"),
        ("cut stream", Answer(200, b"", b"~~~" + NATIVE.ends), "another end"),
        ("rate limit", Answer(429, b"HTTP/1.1 429 Too Many\r\n\r\n", b"{}"), "no retry-after"),
    ],
)
def test_a_wrong_answer_is_reported(name: str, answer: Answer, wrong: str) -> None:
    with pytest.raises(Wrong, match=wrong):
        check(_asked(name), answer)
    check(_asked("short stream"), Answer(200, b"", b"~~~~~" + NATIVE.ends))
