"""Writes the table of clients and engines in docs/clients.md, if ``UPDATE_DOCS`` is set: a row for each client that ran."""

from __future__ import annotations

import os
from typing import Any, Final

import pytest

from tests.support.paths import ROOT

PAGE: Final = ROOT / "docs" / "clients.md"
START, END = "<!-- clients: written by tests/clients/conftest.py -->\n\n", "\n<!-- /clients -->"
HEAD: Final = (
    "| client | Chat Completions | Responses | Anthropic | Gemini | Ollama |\n| --- | --- | --- | --- | --- | --- |\n"
)
WIRES: Final = ("openai", "responses", "anthropic", "google", "ollama")  # in the order of the columns
# Other tests than those of two turns, by their names.
NAMES: Final = {
    "test_smolagents_ends_with_its_own_tool": "smolagents",
    "instruct_chat": "instructor, Chat",
    "instruct_messages": "instructor, Messages",
}
_results: dict[str, dict[str, str]] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Any:
    report = yield
    found = getattr(item, "callspec", None)
    if found is not None and "wire" in found.params and (report.when == "call" or report.skipped):
        kind = getattr(item, "originalname", "")
        ask = getattr(found.params.get("ask"), "__name__", "")
        named = found.params.get("client", found.params.get("name")) if kind.startswith("test_two_turns") else None
        client = named or NAMES.get(ask) or NAMES.get(kind)
        if client:
            wire = next(wire for wire in WIRES if wire in found.id.split("-"))
            reason = report.longrepr[2].removeprefix("Skipped: ") if report.skipped else ""
            _results.setdefault(client, {})[wire] = "yes" if report.passed else f"no: {reason}" if reason else "no"
    return report


def pytest_sessionfinish() -> None:
    if not os.environ.get("UPDATE_DOCS") or not _results:
        return
    page = PAGE.read_text()
    before, _, rest = page.partition(START)
    table, _, after = rest.partition(END)
    rows = {line.strip("| ").split(" | ")[0]: line for line in table.splitlines()[2:]}
    for client, found in _results.items():
        if not any("not installed" in cell for cell in found.values()):
            rows[client] = f"| {client} | {' | '.join(found.get(wire, 'not run') for wire in WIRES)} |"
    lines = sorted(rows.values(), key=str.lower)
    PAGE.write_text(before + START + HEAD + "\n".join(lines) + "\n" + END + after)
