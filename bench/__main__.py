"""``make bench``: what this server costs beside nginx and a bare Tornado relay, as a table.

All are measured in one run, in turns, several times over; the middle one of the measurements counts. The machine is
noisy and every other machine is another one, so that only the ratios say something.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import tornado

from bench.load import Job, Result, memory_of
from bench.subjects import OLD, Subject, everyone, llm_server, until_open, upstream

TRICKLE = ("e200-r50", 64, 200)  # model of the upstream, connections, deltas of each answer
POUR = ("e1600-r400-b8", 64, 1600)
LONG = ("e20000", 8, 20000)
YARDSTICKS = ("nginx", "bare Tornado")
IDLE = 2000  # streams
PAUSE = 0.01  # seconds, of a client that has read its answer; five times as long makes no difference any more
PATIENCE = 240.0  # seconds for one measurement


def run(subject: Subject, model: str, connections: int, deltas: int, *, stream: bool = True, requests: int = 1,
        hold: bool = False, pause: float = 0, client: str = "bench.load") -> Result:  # fmt: skip
    """One measurement. Raises ``RuntimeError`` where an answer was not whole: then there is nothing to measure."""
    job = Job(
        port=subject.port,
        path=subject.path,
        headers=subject.headers,
        body=subject.body(model, stream=stream),
        pids=subject.pids,
        connections=connections,
        requests=requests,
        deltas=deltas,
        last=subject.last if stream else "",
        hold=hold,
        pause=pause,
    )
    command = [sys.executable, "-m", client]
    told = subprocess.run(
        command, input=json.dumps(asdict(job)), capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    result = Result(**json.loads(told.stdout))
    if result.errors:
        raise RuntimeError(f"{subject.name}, {model}: {len(result.errors)} errors, the first: {result.errors[0]}")
    return result


Measure = Callable[[Subject], Sequence[float]]  # the figures of one run


def per_event(model: str, connections: int, deltas: int) -> Measure:
    """Microseconds of CPU for each event of the provider."""

    def measure(subject: Subject) -> Sequence[float]:
        result = run(subject, model, connections, deltas)
        return [result.steady_cpu / result.steady_deltas * 1e6]

    return measure


def long_answers(subject: Subject) -> Sequence[float]:
    """Events per CPU-second; CPU of the later half of the answers by that of the first."""
    result = run(subject, *LONG)
    return [result.deltas / result.cpu, (result.cpu - result.cpu_half) / result.cpu_half]


def first_token(requests: int, model: str, pause: float = 0) -> Measure:
    """Milliseconds to the first delta for one client: the median, and what one in a hundred is above."""

    def measure(subject: Subject) -> Sequence[float]:
        result = run(subject, model, 1, 1, requests=requests, pause=pause, client="bench.light_client")
        percentiles = statistics.quantiles(result.first, n=100)
        return [percentiles[49] * 1000, percentiles[98] * 1000]

    return measure


def per_request(requests: int) -> Measure:
    """Of requests that are not streamed, over kept connections: milliseconds of CPU for each, and how many a second."""

    def measure(subject: Subject) -> Sequence[float]:
        result = run(subject, "e1", 16, 1, stream=False, requests=requests)
        return [result.cpu / result.answers * 1000, result.answers / result.seconds]

    return measure


def idle_memory(subject: Subject) -> float:
    """Kilobytes of memory for each of many open streams."""
    return run(subject, "idle", IDLE, 1, hold=True).memory / IDLE / 1000


Figures = dict[str, float]  # by subject


def middle(subjects: Sequence[Subject], measure: Measure, rounds: int) -> list[Figures]:
    """Medians of what is measured in turns; one for each figure of a run."""
    found: dict[str, list[Sequence[float]]] = {subject.name: [] for subject in subjects}
    for _ in range(rounds):
        for subject in subjects:
            found[subject.name].append(measure(subject))
    several = {name: [statistics.median(one) for one in zip(*runs, strict=True)] for name, runs in found.items()}
    return [{name: medians[n] for name, medians in several.items()} for n in range(len(next(iter(several.values()))))]


class Table:
    """Rows as they are measured: a figure for each subject, and its ratios to the yardsticks."""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self._names = [subject.name for subject in subjects]
        print("| | " + " | ".join(self._names) + " |")
        print("| --- |" + " ---: |" * len(self._names), flush=True)

    def row(self, title: str, found: Figures, digits: int = 1, *, ratios: bool = True) -> None:
        cells = []
        for name in self._names:
            if name not in found:
                cells.append("")
                continue
            yards = YARDSTICKS if ratios and name not in YARDSTICKS else ()
            measured = [found[yard] for yard in yards if yard in found]
            compared = ", ".join(f"{found[name] / yard:.2f}×" for yard in measured)
            if found.get(name + OLD):
                compared += f"{', ' if compared else ''}{found[name] / found[name + OLD]:.2f}× old"
            cells.append(f"{found[name]:.{digits}f}{f' ({compared})' if compared else ''}")
        print(f"| {title} | " + " | ".join(cells) + " |", flush=True)


def bench(folder: Path, *, quick: bool, against: Path | None = None) -> None:
    rounds, count = (1, 100) if quick else (3, 500)
    with everyone(folder, against=against) as all_:
        subjects = [subject for subject in all_ if subject.name != "direct"]
        for subject in subjects:
            run(subject, "e100", 16, 100)  # nobody is measured cold
        table = Table(subjects)
        table.row("CPU, ms per 1,000 events that trickle", middle(subjects, per_event(*TRICKLE), rounds)[0])
        table.row("CPU, ms per 1,000 events that pour", middle(subjects, per_event(*POUR), rounds)[0])
        fast, growth = middle(subjects, long_answers, rounds)
        growth = {name: value for name, value in growth.items() if name not in YARDSTICKS}
        table.row("events per CPU-second, as fast as they go", fast, 0)
        table.row("CPU of the later half of 20,000 events by the first", growth, 2, ratios=False)
        cost, speed = middle(subjects, per_request(count // 5), rounds)
        table.row("CPU, ms per request not streamed", cost, 2)
        table.row("requests not streamed, per second", speed, 0)
    direct = first_tokens(table, folder, rounds if quick else 5, count, against)
    held = {subject.name: _fresh(folder, subject.name, against) for subject in subjects}
    table.row(f"memory, kB per idle stream ({IDLE} open)", held, 1)
    with upstream() as provider, tempfile.TemporaryDirectory() as data:
        began = time.perf_counter()
        with llm_server(provider, Path(data)) as [first, *_]:
            until_open(first.port)
            ready, memory = time.perf_counter() - began, memory_of(first.pids) / 1e6
    print(f"\nllm-server listens {ready:.2f} s after its start, with {memory:.0f} MB of its own.")
    print(f"The first token of the provider itself takes {', '.join(direct)}.")
    if "nginx" not in held:
        print("There is no nginx here to compare with; on Debian: apt-get install nginx-light.")
    print(notes())


def first_tokens(table: Table, folder: Path, rounds: int, count: int, against: Path | None) -> list[str]:
    """With a provider of their own. Tells what it takes to ask that directly, which is no relay's."""
    direct = []
    with everyone(folder, provider="bench.light_upstream", against=against) as all_:
        back_to_back, paused = first_token(count, "now"), first_token(max(count // 2, 100), "pause", PAUSE)
        for subject in all_:
            back_to_back(subject)  # nobody is measured cold
        for how, measure in (("back to back", back_to_back), ("after a pause", paused)):
            for title, found in zip(("p50", "p99"), middle(all_, measure, rounds), strict=True):
                direct.append(f"{found['direct']:.2f} ms ({how}, {title})")
                added = {name: value - found["direct"] for name, value in found.items() if name != "direct"}
                table.row(f"added time to first token, {how}, ms, {title}", added, 2, ratios=False)
    return direct


def _fresh(folder: Path, name: str, against: Path | None) -> float:
    """From a new start, since memory that was given back is used again."""
    with everyone(folder, name.__eq__, against=against) as [subject]:
        run(subject, "e100", 16, 100)
        return idle_memory(subject)


_NOTES = """
Each figure is the median of three turns, of five for the first token, in brackets its ratios to nginx as a bare reverse
proxy and to a bare Tornado relay. Trickles: 64 streams of 50 events a second, each event alone. Pours: 64 streams of
400 a second, eight in a read. Both while all answers are under way: what a request costs by itself stands in its own
rows, and in those of the first token. That is asked for by one client, from its request to the first text, less what
the same client sees when it asks the provider without a relay. Back to back: the provider ends its answer right after
that text, and the next request follows at once, so that the relay tidies up in the client's time. After a pause: the
provider takes 2 ms to its end and the client 10 ms to its next request, so that the processor sleeps in between and
caches are cold, as they are for most people. Native: to an OpenAI provider; verbatim: OpenAI client to OpenAI provider;
crossing: OpenAI client to Anthropic. Not measured: TLS, real networks, HTTP/2, large bodies, providers whose events
differ in more than their text and what nobody reads (those cost a JSON decode each), several processes."""


def notes() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "?")
    extras = "".join(f", {name}" for name in ("uvloop", "orjson") if find_spec(name))
    machine = f"{cpu}, {os.cpu_count()} cores shared with provider and clients, Linux {platform.release()}"
    versions = f"Python {platform.python_version()}, Tornado {tornado.version}{extras}"
    return f"\n{time.strftime('%Y-%m-%d')}, {machine}, {versions}.\n{_NOTES}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one turn instead of three")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="another checkout, measured in the same run")
    arguments = parser.parse_args()
    against = arguments.against and arguments.against.resolve()
    with tempfile.TemporaryDirectory() as folder:
        bench(Path(folder), quick=arguments.quick, against=against)


if __name__ == "__main__":
    main()
