"""Runs ``python server.py`` as a separate process, for tests."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.paths import ROOT


@contextmanager
def start_server(*arguments: str, cwd: Path, **environ: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Starts ``python server.py``; yields the process and the lines it prints at start."""
    base = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "server.py"), *arguments],
        cwd=cwd,
        env={**base, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        lines = []
        for line in process.stdout:
            lines.append(line.rstrip())
            if line.startswith("Anthropic clients:"):
                break
        yield process, lines
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def find_url(lines: list[str]) -> str:
    return re.search(r"http://\S+", lines[0])[0]  # type: ignore[index]
