"""Each requirement from the field has a test, or a line in ``docs/requirements.md`` that says why not."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.paths import TESTS

PAGE = (TESTS.parent / "docs" / "requirements.md").read_text()
COUNTS = {"S": 14, "C": 5, "T": 12, "E": 8, "X": 9, "O": 11}
IDS = {f"{letter}{number}" for letter, count in COUNTS.items() for number in range(1, count + 1)}
NAMED = re.compile(r"def test_([sctexo]\d+)_")
ROW = re.compile(r"^\| ([SCTEXO]\d+) \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)


def named_in(path: Path) -> set[str]:
    """The requirements that a module has tests of."""
    return {id.upper() for id in NAMED.findall(path.read_text())}


def test_each_requirement_is_tested_or_said_to_be_for_later() -> None:
    tested = {id for path in TESTS.rglob("test_*.py") for id in named_in(path)}
    held, later = (dict(ROW.findall(part)) for part in PAGE.split("These do not apply yet"))
    assert not held.keys() & later.keys()
    assert held.keys() == tested, sorted(held.keys() ^ tested)
    assert held.keys() | later.keys() == IDS, sorted(IDS - held.keys() - later.keys())


def test_the_modules_that_are_named_have_tests_of_it() -> None:
    for id, where in ROW.findall(PAGE.split("These do not apply yet")[0]):
        modules = re.findall(r"`([a-z0-9_/]*test_[a-z0-9_]+\.py)`", where)
        assert modules and all(id in named_in(TESTS / module) for module in modules), id
