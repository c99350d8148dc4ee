"""Who may import whom, read from the syntax tree; and that no provider's name stands above the records."""

from __future__ import annotations

import ast
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from llm.engines.records import ENGINES

ROOT = Path(__file__).parent.parent
PURE = {
    "attachments",
    "behind",
    "chat",
    "codec",
    "egress",
    "engines",
    "errors",
    "events",
    "express",
    "families",
    "fast",
    "fields",
    "filters",
    "flow",
    "framing",
    "globs",
    "grammar",
    "http",
    "lenient",
    "models",
    "opaque",
    "openai_shape",
    "options",
    "schemarefs",
    "schemaunion",
    "stored",
    "tokens",
    "toolschema",
    "tasks",
}
PURE_LIBRARY = {
    "__future__", "base64", "binascii", "collections", "copy", "dataclasses", "datetime", "enum", "fnmatch",
    "functools", "hashlib", "importlib", "ipaddress", "itertools", "json", "re", "secrets", "struct", "types", "typing", "urllib", "uuid",
}  # fmt: skip
SDKS = {"openai", "anthropic", "google", "mistralai", "ollama", "groq", "httpx", "aiohttp", "requests", "litellm"}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides who imports whom"
            if node.module == "io" and [alias.name for alias in node.names] == ["StringIO"]:
                continue  # a text in memory: no IO, for all its home
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_the_waist_is_pure() -> None:
    for path in modules("llm"):
        if (path.parent == ROOT / "llm" and path.stem in PURE) or path.parent.name == "engines":
            for name in imports(path):
                top = name.split(".")[0]
                assert top in PURE_LIBRARY | {"llm"}, f"{path.name} imports {name}"
                assert top != "llm" or name == "llm" or name.split(".")[1] in PURE, f"{path.name} imports {name}"


def test_tasks_are_pure_too() -> None:
    for path in modules("llm/tasks"):
        for name in imports(path):
            top = name.split(".")[0]
            assert top in PURE_LIBRARY | {"llm"}, f"{path} imports {name}"
            assert top != "llm" or name.split(".")[1] in PURE | {"dialects"}, f"{path} imports {name}"


def dialect_of(path: Path) -> str:
    return path.relative_to(ROOT / "llm" / "dialects").parts[0].removesuffix(".py")


def test_dialects_are_pure_and_know_nothing_of_one_another() -> None:
    names = {dialect_of(path) for path in modules("llm/dialects")} - {"__init__", "registry"}
    for path in modules("llm/dialects"):
        own = dialect_of(path)
        if own == "registry":
            continue
        for name in imports(path):
            top = name.split(".")[0]
            assert top in PURE_LIBRARY | {"llm"}, f"{path} imports {name}"
            if name.startswith("llm.dialects."):
                other = name.split(".")[2]
                assert other == own or other not in names, f"{path} imports {name}"
            elif name.startswith("llm."):
                assert name.split(".")[1] in PURE | {"dialects"}, f"{path} imports {name}"


def test_dialects_read_no_clock() -> None:
    for path in modules("llm/dialects"):
        assert not re.search(r"\b(now|utcnow|today|monotonic|time)\(\)", path.read_text()), path


def test_nothing_below_the_handlers_imports_them() -> None:
    for path in modules("llm"):
        assert not {name for name in imports(path) if name.split(".")[0] in ("handlers", "server", "tests")}, path


def test_only_the_configuration_reads_the_environment() -> None:
    for path in [*modules("llm", "handlers"), ROOT / "server.py"]:
        text = path.read_text()
        if path.name != "server.py":  # which hands it to Config
            assert (
                "environ" not in re.sub(r"\benviron: |\benviron\b(?=[,})\]])|``environ``", "", text)
                or path.stem == "config"
            ), path
            assert "getenv" not in text, path


def test_no_vendor_s_sdk_and_no_other_http_client_at_run_time() -> None:
    for path in [*modules("llm", "handlers"), ROOT / "server.py"]:
        for name in imports(path):
            assert name.split(".")[0] not in SDKS, f"{path} imports {name}"


@pytest.mark.parametrize(
    "path",
    [*modules("handlers"), *(ROOT / "llm" / f"{m}.py" for m in ("call", "relay", "catalog", "loop"))],
    ids=name_of,
)
def test_no_provider_s_name_stands_above_the_records(path: Path) -> None:
    tree = ast.parse(path.read_text())
    providers = set(ENGINES) - {"demo"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            for value in ast.walk(node):
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    assert value.value not in providers, f"{path}:{node.lineno} asks who the provider is"


def test_run_time_packages_are_few() -> None:
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert sorted(re.split(r"[~=<>]", line)[0] for line in lines) == ["jsonschema", "python-dotenv", "tornado"]


def test_modules_stay_small_enough_to_hold_in_one_s_head() -> None:
    for path in [*modules("llm", "handlers"), ROOT / "server.py"]:
        assert len(path.read_text().splitlines()) <= 700, path


def test_the_standard_library_named_here_exists() -> None:
    assert set(sys.stdlib_module_names) >= PURE_LIBRARY


def test_x6_no_more_than_eight_packages_are_installed_at_run_time() -> None:
    """The three named ones and what they bring, as their own metadata says."""
    wanted = {"tornado", "python-dotenv", "jsonschema"}
    seen: set[str] = set()
    while wanted:
        name = wanted.pop()
        seen.add(name)
        for text in metadata.requires(name) or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                wanted |= {requirement.name.lower()} - seen
    assert len(seen) <= 8, seen
