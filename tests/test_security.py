"""``SECURITY.md`` names tests that are there, and limits as they are."""

from __future__ import annotations

import importlib
import re

from llm.config.settings import SETTINGS
from tests.support.paths import ROOT

TEXT = (ROOT / "SECURITY.md").read_text()
LIMITS = TEXT.partition("<!-- limits:")[2].partition("<!-- /limits -->")[0]
UNITS = {"KB": 1 << 10, "MB": 1 << 20}


def test_every_promise_names_a_test_that_is_there() -> None:
    promises = TEXT.partition("| promise | where |\n| --- | --- |\n")[2].partition("\n\n")[0].splitlines()
    assert len(promises) > 15
    for line in promises:
        named = re.findall(r"`(tests/[a-z0-9_/]+\.py)`", line)
        assert named, line
        assert all((ROOT / name).exists() for name in named), line


def test_the_settings_are_told_with_their_defaults() -> None:
    told = dict(re.findall(r"^\| `([A-Z_]+)` \| `([^`]+)` \|", LIMITS, re.MULTILINE))
    known = {setting.name: setting.default for setting in SETTINGS}
    assert told == {name: known[name] for name in told}
    limits = {name for name in known if name.startswith("MAX_") or name.endswith(("_TIMEOUT", "_MAX_SIZE"))}
    assert limits - {"DRAIN_TIMEOUT"} <= told.keys()


def test_the_constants_are_told_with_their_values() -> None:
    told = re.findall(r"^\| `([a-z0-9_.]+)\.([A-Z_]+)` \| ([0-9]+) ?([KM]B)? \|", LIMITS, re.MULTILINE)
    assert len(told) == LIMITS.count("| `llm.") + LIMITS.count("| `handlers.")
    for module, name, number, unit in told:
        assert getattr(importlib.import_module(module), name) == int(number) * UNITS.get(unit, 1), name
