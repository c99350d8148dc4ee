"""``make size``: how small the server is and how fast it starts, laid out on disk as ``deploy/Dockerfile`` does.

Only what the image has beside Python: the files that are copied, and the packages of ``requirements.lock``, without
those of a virtual environment. Of several starts the fastest counts, since whatever else the machine does only adds.
"""

from __future__ import annotations

import argparse
import compileall
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Final

ROOT: Final = Path(__file__).parent.parent
DOCKERFILE: Final = ROOT / "deploy" / "Dockerfile"
STARTS: Final = 10


@dataclass(frozen=True)
class Layout:
    """What the image holds, in a folder."""

    folder: Path
    environ: dict[str, str]  # as the image sets it, with this folder's paths

    @property
    def app(self) -> Path:
        return self.folder / "app"

    @property
    def packages(self) -> Path:
        return self.folder / "packages"

    @contextmanager
    def started(self, **environ: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
        """The server as the image runs it, and its address."""
        # Without -S the packages of the environment that runs this would be there, too.
        command = [getattr(sys, "_base_executable", sys.executable), "-S", "server.py"]
        own = {"PATH": os.environ["PATH"], **self.environ, "HOST": "127.0.0.1", "PORT": "0", **environ}
        with subprocess.Popen(
            command, cwd=self.app, env=own, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout is not None
            said = process.stdout.readline()
            address = re.search(r"http://\S+", said)
            try:
                if address is None:
                    raise SystemExit(f"the server did not start: {said}")
                yield process, address[0]
            finally:
                process.terminate()


def lay_out(folder: Path) -> Layout:
    """Does what the Dockerfile does. Packages are copied from those that are installed here."""
    text = DOCKERFILE.read_text()
    layout = Layout(folder, _environ(text, folder))
    layout.app.mkdir()
    for source, target in re.findall(r"^COPY (?!--from)(?!requirements)(\S+) (\S+)$", text, re.MULTILINE):
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, layout.app / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, layout.app / target)
    for name in re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE):
        for file in distribution(name).files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                (layout.packages / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(file.locate()), layout.packages / file)
    for compiled in (layout.app, layout.packages):
        compileall.compile_dir(compiled, quiet=1, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    return layout


def _environ(dockerfile: str, folder: Path) -> dict[str, str]:
    lines = re.findall(r"^ENV (.*)$", dockerfile, re.MULTILINE)
    pairs = dict(pair.split("=", 1) for line in lines for pair in line.split())
    return {name: f"{folder}{value}" if value.startswith("/") else value for name, value in pairs.items()}


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


@dataclass(frozen=True)
class Start:
    listening: float  # seconds
    answer: float  # seconds
    cpu: float  # seconds, until then
    resident: float  # MB
    private: float  # MB, of those that no other process shares


def start(layout: Layout) -> Start:
    began = time.perf_counter()
    with layout.started() as (process, address):
        listening = time.perf_counter() - began
        with urllib.request.urlopen(f"{address}/health") as health:
            health.read()
        answer = time.perf_counter() - began
        ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].split()[11:13]
        cpu = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
        memory = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        told = {name: int(size) / 1024 for name, size in re.findall(r"^(\w+): +(\d+) kB", memory, re.MULTILINE)}
    return Start(listening, answer, cpu, told["Rss"], told["Private_Clean"] + told["Private_Dirty"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="size", description=__doc__)
    parser.add_argument("--starts", type=int, default=STARTS)
    count = parser.parse_args().starts
    with tempfile.TemporaryDirectory(prefix="size") as folder:
        layout = lay_out(Path(folder))
        starts = [start(layout) for _ in range(count)]
        code = sum(path.stat().st_size for path in layout.app.rglob("*.py")) / 1e6
        machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        print(f"{machine}, {time.strftime('%Y-%m-%d')}; the best of {count} starts")
        print(f"from its start until it listens     {min(s.listening for s in starts) * 1000:6.0f} ms")
        print(f"until its first answer              {min(s.answer for s in starts) * 1000:6.0f} ms")
        print(f"CPU until then                      {min(s.cpu for s in starts) * 1000:6.0f} ms")
        print(f"idle memory, resident               {min(s.resident for s in starts):6.1f} MB")
        print(f"of that not shared with others      {min(s.private for s in starts):6.1f} MB")
        print(f"on disk: the server                 {megabytes(layout.app):6.1f} MB, {code:.1f} of it source")
        print(f"on disk: its packages               {megabytes(layout.packages):6.1f} MB")


if __name__ == "__main__":
    main()
