"""``python -m fuzz --seconds 60``: each harness for so long, in a process of its own, guided by coverage.

What it finds is kept in ``.fuzz``: inputs that reach something new, from which the next run goes on, and under
``.fuzz/findings`` those that broke something. One finding, and it exits with 1.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
KEPT: Final = ROOT / ".fuzz"
FINDINGS: Final = KEPT / "findings"
LONGEST: Final = 5  # seconds for one input: slower is a finding
LARGEST: Final = 16 * 1024  # bytes of one input
MEMORY: Final = 1024  # MB
_STATUS: Final = re.compile(r"#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+) corp: (\d+)")


def fuzz(name: str, seconds: int) -> None:
    """In this process, which ends here."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["llm", "handlers.request.multipart", "handlers.request.limits"]):
        harnesses = importlib.import_module("fuzz.harnesses")
    seeds = importlib.import_module("fuzz.seeds")
    corpus = KEPT / name
    corpus.mkdir(parents=True, exist_ok=True)
    FINDINGS.mkdir(exist_ok=True)
    for number, seed in enumerate(seeds.SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    options: dict[str, Any] = {
        "max_total_time": seconds, "timeout": LONGEST, "max_len": LARGEST, "rss_limit_mb": MEMORY,
        "artifact_prefix": f"{FINDINGS}/{name}-",
    }  # fmt: skip
    if words := seeds.words(seeds.SEEDS[name]):
        options["dict"] = KEPT / f"{name}.dict"
        escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in words)
        options["dict"].write_text("".join(f'"{word}"\n' for word in escaped))
    flags = [f"-{option}={value}" for option, value in options.items()]
    harness = harnesses.HARNESSES[name]

    def kept(data: bytes) -> None:
        try:
            harness(data)
        except BaseException:  # libFuzzer does not always come to write it down
            (FINDINGS / f"{name}-{hashlib.sha256(data).hexdigest()[:16]}").write_bytes(data)
            raise

    atheris.Setup([name, *flags, str(corpus)], kept)
    atheris.Fuzz()


def run(name: str, seconds: int) -> tuple[str, bool]:
    """A line of the table, and whether all went well."""
    before = {*FINDINGS.glob(f"{name}-*")}
    command = [sys.executable, "-m", "fuzz", "--seconds", str(seconds), "--here", name]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603
    status = _STATUS.findall(told.stderr)
    runs, coverage, features, inputs = status[-1] if status else ("0", "0", "0", "0")
    line = f"{name:26} {int(runs):>10,} {coverage:>9} {features:>9} {inputs:>7}"
    found = {*FINDINGS.glob(f"{name}-*")} - before
    if told.returncode == 0 and not found:
        return line, True
    for path in found:
        print(f"{name}: {path}: {path.read_bytes()[:300]!r}")
    print(f"{name} ended with {told.returncode}", told.stdout[-3000:], told.stderr[-1500:], sep="\n")
    return f"{line}   failed", False


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=20, help="for each harness (20)")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", help="harnesses; all of them if none is named")
    arguments = parser.parse_args()
    if arguments.here:
        fuzz(arguments.names[0], arguments.seconds)
        return 0
    known = [*importlib.import_module("fuzz.harnesses").HARNESSES]
    if unknown := {*arguments.names} - {*known}:
        parser.error(f"no such harness: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    print(f"{'harness':26} {'runs':>10} {'coverage':>9} {'features':>9} {'inputs':>7}", flush=True)
    sound = True
    for name in arguments.names or known:
        line, well = run(name, arguments.seconds)
        print(line, flush=True)
        sound = sound and well
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
