"""Logs what held the event loop for longer than it should: all other requests wait meanwhile."""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import suppress
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Final

from llm import log

HOLD: Final = 0.1  # seconds; a longer hold is logged
_FRAMES: Final = 4  # innermost functions that are named
_ROOT: Final = Path(__file__).parents[2]


class Watchdog:
    """Asks the event loop for a sign of life from a thread, and looks at what runs while there is none."""

    def __init__(self, hold: float = HOLD) -> None:
        self.holds = 0  # so far
        self._hold = hold
        self._stopped = threading.Event()
        self._answered = threading.Event()

    def start(self) -> None:
        """Starts the thread; called in the thread of the running event loop."""
        loop, thread = asyncio.get_running_loop(), threading.get_ident()
        threading.Thread(target=self._watch, args=(loop, thread), name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Ends the thread at its next look."""
        self._stopped.set()

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        with suppress(RuntimeError):  # the loop is closed
            while not self._stopped.wait(self._hold):
                self._answered.clear()
                loop.call_soon_threadsafe(self._answered.set)
                began = monotonic()
                if self._answered.wait(self._hold):
                    continue
                place = describe_frames(sys._current_frames().get(thread))
                while not self._answered.wait(self._hold):
                    if self._stopped.is_set():
                        return
                self.holds += 1
                log.write("loop_held", 30, seconds=round(monotonic() - began, 2), at=place)


def describe_frames(frame: FrameType | None) -> str:
    """Names the innermost functions that run, the innermost first."""
    names: list[str] = []
    while frame is not None and len(names) < _FRAMES:
        code = frame.f_code
        path = Path(code.co_filename)
        place = path.relative_to(_ROOT) if path.is_relative_to(_ROOT) else path.name
        names.append(f"{place}:{frame.f_lineno} {code.co_name}")
        frame = frame.f_back
    return " < ".join(names)
