"""``docs/http.md``: a table of what this server and the others make of each case."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from tests.support.paths import ROOT

PAGE: Final = ROOT / "docs" / "http.md"

Row = tuple[str, str, str, str, tuple[str, ...]]
"""The name of a case, its section, what is right, what this program does, and ``right`` or ``other`` for each other."""


def write_part(part: str, others: Mapping[str, str], groups: Mapping[str, Sequence[Row]]) -> str:
    """Returns one part of the page, with the versions of the others and a table for each group of cases."""
    return f"<!-- {part} -->\n" + "\n".join(_lines(others, groups)) + f"\n<!-- /{part} -->"


def _lines(others: Mapping[str, str], groups: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    yield "Compared with " + ", ".join(f"{name} {version}" for name, version in others.items()) + "."
    for title, rows in groups.items():
        yield f"\n### {title}\n"
        yield f"| case | RFC | right | here | {' | '.join(others)} |"
        yield "| " + " | ".join(["---"] * (4 + len(others))) + " |"
        for name, section, right, here, words in rows:
            cells = (name, section, right, here, *words)
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def find_part(part: str) -> str:
    """Returns a part of the page as it is."""
    match = re.search(f"<!-- {part} -->.*<!-- /{part} -->", PAGE.read_text(), re.DOTALL)
    assert match is not None
    return match[0]


def replace_part(part: str, text: str) -> None:
    """Writes a part of the page anew."""
    PAGE.write_text(PAGE.read_text().replace(find_part(part), text))


def read_words(part: str) -> dict[str, tuple[str, ...]]:
    """Returns the words for the others that the page has, by the name of the case."""
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in find_part(part).splitlines() if line.startswith("| ")]
    return {cells[0].strip().replace("\\|", "|"): tuple(cell.strip() for cell in cells[4:]) for cells in rows}


def read_versions(part: str) -> dict[str, str]:
    """Returns the versions of the others that the page was written with."""
    line = find_part(part).splitlines()[1]
    return dict(re.findall(r"(\S+) ([0-9.]+[0-9])", line.removeprefix("Compared with ")))
