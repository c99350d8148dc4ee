"""Supply chain: pinned packages, and files with known hashes (X6)."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from llm import VERSION
from llm.integrity import SHIPPED, hash_files, list_files
from server import ACCELERATORS
from tests.support.paths import ROOT

TOLD = ", ".join((f"llm-server {VERSION}", *ACCELERATORS))
LOCK = (ROOT / "requirements.lock").read_text()


def locked() -> dict[str, tuple[Requirement, list[str]]]:
    """Returns each package of the lock with its hashes."""
    found = {}
    for line in LOCK.replace("\\\n", " ").splitlines():
        if line and not line.lstrip().startswith(("#", "--only-binary")):
            requirement, *pins = line.split(" --hash=")
            parsed = Requirement(requirement.strip())
            found[parsed.name.lower()] = (parsed, [pin.strip() for pin in pins])
    return found


def asked() -> dict[str, Requirement]:
    return {parsed.name: parsed for parsed in map(Requirement, (ROOT / "requirements.txt").read_text().split())}


def test_x6_every_package_of_the_lock_has_one_version_and_its_hashes() -> None:
    assert "--only-binary :all:" in LOCK.splitlines(), "a package could run code when it is installed"
    assert len(locked()) <= 8
    for name, (requirement, pins) in locked().items():
        assert re.fullmatch(r"==[0-9][0-9A-Za-z.]*", str(requirement.specifier)), name
        assert pins and all(re.fullmatch(r"sha256:[0-9a-f]{64}", pin) for pin in pins), name


def test_x6_the_lock_has_the_requirements_and_their_dependencies_only() -> None:
    lock = locked()
    wanted = dict(asked())
    for name, (requirement, _) in lock.items():
        if name in wanted:
            assert wanted[name].specifier.contains(str(requirement.specifier).removeprefix("==")), name
    seen = set(wanted)
    waiting = [*wanted]
    while waiting:
        for text in metadata.requires(waiting.pop()) or ():
            parsed = Requirement(text)
            if (parsed.marker is None or parsed.marker.evaluate({"extra": ""})) and parsed.name.lower() not in seen:
                seen.add(parsed.name.lower())
                waiting.append(parsed.name)
    here = {name for name, (requirement, _) in lock.items() if not requirement.marker or requirement.marker.evaluate()}
    assert here == seen


def test_x6_make_and_container_install_from_the_lock() -> None:
    for name in ("Makefile", "deploy/Dockerfile"):
        text = (ROOT / name).read_text()
        installs = [line for line in re.sub(r"\\\n", " ", text).splitlines() if "pip install" in line]
        mine = [line for line in installs if "requirements.lock" in line]
        assert mine and all("--require-hashes" in line for line in mine), name
        assert not any("requirements.txt" in line for line in installs), name


def test_x6_the_container_has_the_files_that_are_listed() -> None:
    copied = re.findall(r"^COPY (?!--from)(\S+) (?!\.$)", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    assert {*copied} == {*SHIPPED}
    suffixes = {path.suffix for path in list_files()}
    assert suffixes == {".py", ".json", ".html", ".css", ".js"}, suffixes


def test_x6_verify_lists_the_hash_of_every_file() -> None:
    command = [sys.executable, "server.py", "--version", "--verify"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    version, *lines = run.stdout.splitlines()
    assert version == TOLD
    told = {path: digest for digest, path in (line.split("  ", 1) for line in lines)}
    names = {str(path.relative_to(ROOT)) for path in [ROOT / "server.py", *(ROOT / "llm").rglob("*.py")]}
    names |= {f"schemas/{path.name}" for path in (ROOT / "schemas").iterdir()} | {"handlers/ops/static/chat.js"}
    assert names <= told.keys() and not any(path.endswith(".pyc") for path in told)
    for path, digest in told.items():
        assert hashlib.sha256((ROOT / path).read_bytes()).hexdigest() == digest
    if shutil.which("sha256sum"):
        checked = subprocess.run(
            ["sha256sum", "-c"], input="\n".join(lines), cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stderr


def test_a_changed_file_has_another_hash(tmp_path: Path) -> None:
    for name in ("llm", "handlers", "schemas"):
        (tmp_path / name).mkdir()
    (tmp_path / "server.py").write_text("one")
    (tmp_path / "llm" / "a.py").write_text("two")
    before = hash_files(tmp_path)
    (tmp_path / "llm" / "a.py").write_text("three")
    (tmp_path / "llm" / "__pycache__").mkdir()
    (tmp_path / "llm" / "__pycache__" / "a.pyc").write_text("four")
    after = hash_files(tmp_path)
    assert (
        [line.split("  ")[1] for line in before] == [line.split("  ")[1] for line in after] == ["llm/a.py", "server.py"]
    )
    assert before[0] != after[0] and before[1] == after[1]


@pytest.mark.parametrize("arguments", [["--version"], ["--verify"]])
def test_the_version_is_printed(arguments: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "server.py", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines()[0] == TOLD
