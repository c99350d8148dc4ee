"""The real server, that tells of its inside when asked: ``python -m soak.serve REPORT [--trace] [server.py's own]``.

On SIGUSR1 it writes to the file ``REPORT`` (JSON): ``tasks``, what is running, by name; ``garbage``, objects that only
a collection set free; ``top``, where memory was taken since the last report (with ``--trace``).
"""

from __future__ import annotations

import asyncio
import collections
import gc
import json
import os
import signal
import sys
import tracemalloc
from pathlib import Path
from types import FrameType
from typing import Final

import server

LINES: Final = 25
FRAMES: Final = 6  # of the way to where memory was taken


class Reporter:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._last: tracemalloc.Snapshot | None = None

    def report(self, signum: int, frame: FrameType | None) -> None:
        garbage = gc.collect()
        names = collections.Counter(_name(task) for task in asyncio.all_tasks())
        told = {"tasks": names, "garbage": garbage, "top": self._top()}
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps(told))
        part.replace(self._file)

    def _top(self) -> list[str]:
        if not tracemalloc.is_tracing():
            return []
        now = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, tracemalloc.__file__)])
        last, self._last = self._last, now
        found = now.compare_to(last, "traceback") if last is not None else []
        return [f"{one}\n" + "\n".join(one.traceback.format()) for one in found[:LINES]]


def _name(task: asyncio.Task[object]) -> str:
    return getattr(task.get_coro(), "__qualname__", "?")


def main(file: str, *arguments: str) -> int:
    rest = [argument for argument in arguments if argument != "--trace"]
    if len(rest) < len(arguments):
        tracemalloc.start(FRAMES)
    signal.signal(signal.SIGUSR1, Reporter(Path(file)).report)
    return server.main(rest)


if __name__ == "__main__":
    os.chdir(Path(__file__).parent.parent)
    sys.exit(main(*sys.argv[1:]))
