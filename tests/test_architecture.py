"""The import order of the packages and the limits of their size, read from the syntax trees."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement

from llm.engines.records import ENGINES
from tests.support.paths import ROOT

# A package of ``llm`` imports only packages of the lines above its own.
LLM_ORDER: Final = (
    ("errors", "log", "integrity"),
    ("wire",),
    ("chat", "http1"),
    ("engines", "transport"),
    ("dialects", "config"),
    ("tasks", "storage"),
    ("upstream",),
    ("tools",),
    ("gateway",),
)
# The same within ``handlers``, which may import every package of ``llm``; ``server.py`` may import all.
HANDLERS_ORDER: Final = (
    ("server",),
    ("request",),
    ("context",),
    ("base",),
    ("chat", "media"),
    ("native", "openai", "vendors", "ollama", "ops"),
    ("router",),
    ("__init__",),
)
PURE: Final = ("wire", "chat", "engines", "dialects", "tasks")
PURE_PACKAGES: Final = ("jsonschema",)  # of the three that the server needs, those that do no input or output
PURE_LIBRARY: Final = {
    "__future__", "base64", "binascii", "collections", "copy", "dataclasses", "datetime", "enum", "fnmatch", "functools",
    "hashlib", "importlib", "io.StringIO", "itertools", "json", "re", "secrets", "struct", "types", "typing", "urllib",
    "uuid",
}  # fmt: skip
CLOCKS: Final = {"monotonic", "now", "perf_counter", "time", "time_ns", "today", "utcnow"}
INPUT_OUTPUT: Final = {"input", "open", "print"}
# ``handlers/server`` serves HTTP for any application.
HTTP_SERVER_MAY_IMPORT: Final = ("llm.VERSION", "llm.errors", "llm.http1", "llm.log", "llm.wire", "handlers.server")

DIALECT_ROOMS: Final = {
    "__init__", "client_request", "client_response", "engine_request", "engine_options", "engine_response",
    "engine_errors", "engine_models", "passthrough", "profiles", "shared",
}  # fmt: skip
EXTRA_ROOMS: Final = {
    "anthropic": {"client_errors", "definitions", "web_runs"},
    "gemini": {"client_contents", "client_errors", "client_fields", "client_schema", "engine_calls"},
    "native": {"client_threads"},
    "ollama": {"client_generate", "forced_calls"},
    "openai_chat": {"client_fim", "client_messages", "engine_calls"},
    "openai_responses": {"client_input", "client_items", "engine_items"},
}
DIALECTS_COMMON: Final = {"__init__", "base", "losses", "openai_common", "openai_fields", "registry", "stream_repair"}

MOST_ROOMS: Final = 12  # modules and packages in a package
MOST_LINES: Final = 400  # of a file
MOST_FUNCTION_LINES: Final = 50

SDKS: Final = {
    "openai",
    "anthropic",
    "google",
    "mistralai",
    "ollama",
    "groq",
    "httpx",
    "aiohttp",
    "requests",
    "litellm",
}
PUBLIC_DESPITE_UNDERSCORE: Final = {"_asdict", "_current_frames", "_exit", "_fields", "_replace"}  # documented
OF_OTHERS: Final = {"_Decompress", "_execute"}  # zlib's only name for a type; the entry to Tornado's handlers


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def product() -> list[Path]:
    return [*files("llm", "handlers"), ROOT / "server.py"]


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES: Final = {name_of(path): path for path in product()}


def imports(path: Path) -> set[str]:
    """Dotted names, for types only or not: of a module, or of a name in it that is no module."""
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{place(path)}:{node.lineno} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imported_modules(path: Path) -> set[str]:
    """Our own modules that ``path`` imports."""
    names = imports(path)
    return {name if name in MODULES else name.rpartition(".")[0] for name in names} & set(MODULES)


def is_under(name: str, parents: Iterable[str]) -> bool:
    return any(name == parent or name.startswith(f"{parent}.") for parent in parents)


def check(rule: str, problems: Iterable[tuple[Path, str]]) -> None:
    """Fails with the file and text of each problem."""
    texts = {f"{place(path)}{text}" for path, text in problems}
    assert not texts, f"{rule}:\n" + "\n".join(sorted(texts))


def rank_of(name: str, order: tuple[tuple[str, ...], ...]) -> int:
    return next(number for number, line in enumerate(order) if name in line)


def wrong_order(root: str, order: tuple[tuple[str, ...], ...]) -> Iterator[tuple[Path, str]]:
    for path in files(root):
        own = name_of(path).split(".")[1] if name_of(path) != root else "__init__"
        if own == "__init__" and root == "llm":
            continue
        for name in imports(path):
            if name.split(".")[0] != root or name == root or name == "llm.VERSION":
                continue
            other = name.split(".")[1]
            if other != own and rank_of(other, order) >= rank_of(own, order):
                yield path, f" imports {name}"


def test_each_package_is_in_the_table() -> None:
    for root, order in (("llm", LLM_ORDER), ("handlers", HANDLERS_ORDER)):
        there = {path.relative_to(ROOT / root).parts[0].removesuffix(".py") for path in files(root)} | {"__init__"}
        assert there == {name for line in order for name in line} | {"__init__"}


def test_a_package_imports_only_packages_above_it() -> None:
    check("order", wrong_order("llm", LLM_ORDER))


def test_the_map_of_the_packages_imports_none_of_them() -> None:
    assert not {name for name in imports(ROOT / "llm" / "__init__.py") if name.split(".")[0] == "llm"}


def test_handlers_import_only_what_stands_left_of_them() -> None:
    check("handlers order", wrong_order("handlers", HANDLERS_ORDER))


def test_llm_imports_no_handler_and_no_test() -> None:
    for path in files("llm"):
        assert not {name for name in imports(path) if name.split(".")[0] in ("handlers", "server", "tests")}, path
    for path in files("handlers"):
        assert not {name for name in imports(path) if name.split(".")[0] in ("server", "tests")}, path


def test_modules_import_one_another_in_no_cycle() -> None:
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for other in imported_modules(MODULES[name]) - {name}:
                visit(other, (*trail, name))
            done.add(name)

    for name in MODULES:
        visit(name, ())


@pytest.mark.parametrize("package", PURE)
def test_a_pure_package_imports_only_pure_code(package: str) -> None:
    may = (*PURE_LIBRARY, *PURE_PACKAGES, "llm.errors", *(f"llm.{name}" for name in PURE))
    for path in files(f"llm/{package}"):
        for name in imports(path):
            assert is_under(name, may), f"{place(path)} imports {name}"


@pytest.mark.parametrize("package", PURE)
def test_a_pure_package_reads_no_clock_and_does_no_input_or_output(package: str) -> None:
    for path in files(f"llm/{package}"):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call):
                call = node.func
                name = call.attr if isinstance(call, ast.Attribute) else call.id if isinstance(call, ast.Name) else ""
                forbidden = CLOCKS | (INPUT_OUTPUT if isinstance(call, ast.Name) else set())
                assert name not in forbidden, f"{place(path)}:{node.lineno} calls {name}"


def dialects() -> dict[str, list[Path]]:
    folder = ROOT / "llm" / "dialects"
    return {path.name: files(place(path)) for path in folder.iterdir() if (path / "__init__.py").exists()}


def test_no_dialect_imports_another() -> None:
    for dialect, paths in dialects().items():
        others = [f"llm.dialects.{name}" for name in (*dialects(), "registry") if name != dialect]
        for path in paths:
            assert not [name for name in imports(path) if is_under(name, others)], place(path)
    for name in DIALECTS_COMMON - {"registry"}:
        path = ROOT / "llm" / "dialects" / f"{name}.py"
        assert not [name for name in imports(path) if is_under(name, (f"llm.dialects.{d}" for d in dialects()))], name


def test_a_dialect_has_the_same_rooms_as_the_others() -> None:
    for dialect, paths in dialects().items():
        assert {path.stem for path in paths} <= DIALECT_ROOMS | EXTRA_ROOMS.get(dialect, set()), dialect
    assert {path.stem for path in (ROOT / "llm" / "dialects").glob("*.py")} == DIALECTS_COMMON


def test_the_http_server_knows_nothing_of_models() -> None:
    may = (*HTTP_SERVER_MAY_IMPORT, "tornado", *sys.stdlib_module_names)
    for path in files("handlers/server"):
        for name in imports(path):
            assert is_under(name, may), f"{place(path)} imports {name}"


def test_no_module_uses_a_private_name_of_another() -> None:
    check("private", (problem for path in product() for problem in foreign_private_names(path)))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in PUBLIC_DESPITE_UNDERSCORE | OF_OTHERS


def foreign_private_names(path: Path) -> Iterator[tuple[Path, str]]:
    own = private_names(tree_of(path))
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if is_private(alias.name) or any(map(is_private, (node.module or "").split("."))):
                    yield path, f":{node.lineno} imports {alias.name}"
        elif isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
            yield path, f":{node.lineno} uses {node.attr}"


def private_names(node: ast.AST) -> set[str]:
    """Those that are defined in ``node``: functions, variables, fields and attributes of ``self``."""
    found = set()
    for part in ast.walk(node):
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(part.name)
        elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            found.add(part.id)
        elif isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store):
            found.add(part.attr)
        elif isinstance(part, ast.Assign) and isinstance(part.value, ast.Tuple):  # __slots__
            found |= {e.value for e in part.value.elts if isinstance(e, ast.Constant) and isinstance(e.value, str)}
    return {name for name in found if is_private(name)}


@cache
def classes() -> dict[str, tuple[Path, ast.ClassDef]]:
    return {
        f"{module}.{node.name}": (path, node)
        for module, path in MODULES.items()
        for node in tree_of(path).body
        if isinstance(node, ast.ClassDef)
    }


def parents(path: Path, node: ast.ClassDef) -> Iterator[str]:
    """Full names of the bases of a class, ours or not."""
    names: dict[str, str] = {}
    for part in ast.walk(tree_of(path)):
        if isinstance(part, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{part.module}.{alias.name}" for alias in part.names}
    for base in node.bases:
        text = ast.unparse(base.value if isinstance(base, ast.Subscript) else base)
        first, dot, rest = text.partition(".")
        yield names.get(first, f"{name_of(path)}.{first}") + dot + rest


def ancestors(name: str) -> Iterator[str]:
    known = classes()
    for parent in parents(*known[name]):
        if parent in known:
            yield parent
            yield from ancestors(parent)


def test_no_class_uses_a_private_name_of_a_parent_in_another_module() -> None:
    known = classes()

    def problems() -> Iterator[tuple[Path, str]]:
        for name, (path, node) in known.items():
            used = {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute) and is_private(part.attr)}
            for parent in ancestors(name):
                parent_path, parent_node = known[parent]
                if parent_path != path:
                    for shared in (used | private_names(node)) & private_names(parent_node):
                        yield path, f": {node.name} shares {shared} with {parent}"

    check("private of parent", problems())


@pytest.mark.parametrize("path", product(), ids=name_of)
def test_no_provider_s_name_stands_outside_the_records_and_dialects(path: Path) -> None:
    if is_under(name_of(path), ("llm.engines", "llm.dialects")):
        return
    providers = set(ENGINES) - {"demo"}
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Compare | ast.MatchValue):
            for value in ast.walk(node):
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    assert value.value not in providers, f"{place(path)}:{node.lineno} asks which provider it is"


def test_a_package_has_few_rooms() -> None:
    folders = {path.parent for path in product() if path.parent not in (ROOT, ROOT / "llm")}
    for folder in folders:
        rooms = [path for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
        rooms = [path for path in rooms if path.stem != "__init__"]
        assert len(rooms) <= MOST_ROOMS, place(folder)


def test_files_are_short() -> None:
    lengths = ((path, len(path.read_text().splitlines())) for path in product())
    check("lines", ((path, f" has {lines} lines") for path, lines in lengths if lines > MOST_LINES))


def test_functions_are_short() -> None:
    def problems() -> Iterator[tuple[Path, str]]:
        for path in product():
            for node in ast.walk(tree_of(path)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    lines = (node.end_lineno or 0) - node.lineno + 1
                    if lines > MOST_FUNCTION_LINES:
                        yield path, f": {node.name} has {lines} lines"

    check("function lines", problems())


def test_only_the_configuration_reads_the_environment() -> None:
    for path in product():
        assert not {name for name in imports(path) if name in ("os.environ", "os.getenv")}, place(path)
        if path != ROOT / "server.py":  # which hands it to Config
            for node in ast.walk(tree_of(path)):
                if isinstance(node, ast.Attribute):
                    name = ast.unparse(node)
                    assert name not in ("os.environ", "os.getenv"), f"{place(path)}:{node.lineno} reads {name}"


def test_no_vendor_s_sdk_and_no_other_http_client_is_imported() -> None:
    for path in product():
        for name in imports(path):
            assert name.split(".")[0] not in SDKS, f"{place(path)} imports {name}"


def test_run_time_packages_are_few() -> None:
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert sorted(re.split(r"[~=<>]", line)[0] for line in lines) == ["jsonschema", "python-dotenv", "tornado"]


def test_the_standard_library_named_here_exists() -> None:
    assert set(sys.stdlib_module_names) >= {name.split(".")[0] for name in PURE_LIBRARY}


def test_x6_no_more_than_eight_packages_are_installed_at_run_time() -> None:
    """The three named ones and what they require, by their own metadata."""
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
