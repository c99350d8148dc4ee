"""``docs/architecture.md`` and ``docs/how-to-change.md`` name files, tests and an import order that exist."""

from __future__ import annotations

import re
from typing import Final

import pytest

from tests.support.paths import ROOT
from tests.test_architecture import LLM_ORDER

ARCHITECTURE: Final = (ROOT / "docs" / "architecture.md").read_text()
WALKS_PAGE: Final = (ROOT / "docs" / "how-to-change.md").read_text()
PAGES: Final = {"architecture": ARCHITECTURE, "how-to-change": WALKS_PAGE}

CODE: Final = re.compile(r"`([^`\n]+)`")
PATH: Final = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*/?")
SUFFIXES: Final = (".py", ".md", ".json", ".sample", "/")
MODULE: Final = re.compile(r"[a-z0-9_]+(?:/[a-z0-9_]+)*\.py")
TEST: Final = re.compile(r"test_[a-z0-9_]+")
MERMAID: Final = re.compile(r"```mermaid\n(.*?)```", re.DOTALL)
STEP: Final = re.compile(r"^\d+\. `([^`]+)`", re.MULTILINE)
MOST_FILES: Final = 5  # of a walk


def walks() -> dict[str, str]:
    """Each walk's text by its title."""
    parts = re.split(r"^## (Walk .+)$", WALKS_PAGE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def named_paths(text: str) -> set[str]:
    """Paths in backticks; a folder ends with a slash."""
    without_drawings = MERMAID.sub("", text)
    return {code for code in CODE.findall(without_drawings) if PATH.fullmatch(code) and code.endswith(SUFFIXES)}


def drawn_nodes(drawing: str) -> list[str]:
    """Labels of the nodes of a flowchart, or names of the participants of a sequence diagram."""
    if drawing.startswith("sequenceDiagram"):
        return re.findall(r"^ *participant \S+ as (.+)$", drawing, re.MULTILINE)
    return re.findall(r'\["([^"]+)"\]', drawing)


@pytest.mark.parametrize("page", PAGES)
def test_every_path_in_backticks_exists(page: str) -> None:
    paths = named_paths(PAGES[page])
    assert len(paths) > 20
    missing = [path for path in paths if not ((ROOT / path).is_dir() if path[-1] == "/" else (ROOT / path).is_file())]
    assert not missing


@pytest.mark.parametrize("page", PAGES)
def test_every_test_in_backticks_exists(page: str) -> None:
    named = {code for code in CODE.findall(PAGES[page]) if TEST.fullmatch(code)}
    assert len(named) > 5
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert named <= defined, sorted(named - defined)


def test_both_drawings_are_there_and_their_nodes_name_modules_that_exist() -> None:
    drawings = MERMAID.findall(ARCHITECTURE)
    assert [drawing.split()[0] for drawing in drawings] == ["sequenceDiagram", "flowchart"]
    for drawing in drawings:
        modules = [name for node in drawn_nodes(drawing) for name in MODULE.findall(node)]
        assert len(modules) >= 6
        assert not [name for name in modules if not (ROOT / name).is_file()]


def test_the_import_order_is_that_of_the_architecture_test() -> None:
    body = ARCHITECTURE.partition("<!-- order:")[2].partition("-->")[2].partition("<!-- /order -->")[0]
    lines = re.findall(r"^\d+\. (.+)$", body, re.MULTILINE)
    assert [tuple(line.split(", ")) for line in lines] == [*LLM_ORDER]


def test_each_package_is_in_the_tree() -> None:
    tree = ARCHITECTURE.partition("## The tree")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `([^`]+)`", tree, re.MULTILINE))
    for path in (ROOT / "llm").iterdir():
        if (path / "__init__.py").exists():
            assert f"llm/{path.name}/" in named
        elif path.suffix == ".py" and path.stem != "__init__":
            assert f"llm/{path.name}" in named


def test_each_walk_opens_few_files_and_ends_with_its_proof() -> None:
    assert len(walks()) >= 5
    for title, text in walks().items():
        files = STEP.findall(text)
        assert 0 < len(files) == len(set(files)) <= MOST_FILES, title
        assert len(files) == len(re.findall(r"^\d+\. ", text, re.MULTILINE)), title
        assert set(files) <= named_paths(text), title
        assert "\nProof: " in text, title
        proof = text.partition("\nProof: ")[2]
        assert "`tests/" in proof or "`test_" in proof, title
