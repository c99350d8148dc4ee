"""The files that ``deploy/Dockerfile`` copies are all that the server needs. Runs without a container engine."""

from __future__ import annotations

import json
import re
import sqlite3
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.size import ROOT, Layout, lay_out, megabytes
from llm.storage.sqlite.database import FILE_NAME
from tests.support.harness import CLIENT_ID


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layout]:
    """Creates the image's files; read-only except ``/data``, like the container."""
    laid = lay_out(tmp_path_factory.mktemp("image"))
    (laid.folder / "data").mkdir()
    folders = [laid.app, laid.packages, *(path for path in laid.folder.rglob("*") if path.is_dir())]
    for folder in folders:
        if folder != laid.folder / "data":
            folder.chmod(0o555)
    yield laid
    for folder in folders:
        folder.chmod(0o755)


def _ask(url: str, body: Any = None, method: str | None = None) -> bytes:
    raw = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        url, raw, {"X-ClientId": CLIENT_ID, "Accept": "application/x-ndjson"}, method=method
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        read: bytes = answer.read()
        return read


def _files(layout: Layout) -> set[Path]:
    return {path for folder in (layout.app, layout.packages) for path in folder.rglob("*")}


def test_the_image_s_files_are_sufficient_and_unchanged(layout: Layout) -> None:
    before = _files(layout)
    with layout.started(AUTHORIZED_CLIENT_ID=CLIENT_ID) as (_, url):
        assert b"<html" in _ask(f"{url}/")
        thread = json.loads(_ask(f"{url}/thread", {}, "PUT"))["id"]
        demo = {"engine": "demo", "model": "demo-chat", "prompt": "Hello", "thread": thread}
        told = [json.loads(line) for line in _ask(f"{url}/llm/chat", demo).splitlines()]
        assert told[-1]["type"] == "usage" and told[-2]["thread"]["saved"]
        body = {"model": "demo/demo-chat", "messages": [{"role": "user", "content": "Hello"}]}
        assert json.loads(_ask(f"{url}/v1/chat/completions", body))["choices"]
    assert _files(layout) == before
    with sqlite3.connect(layout.folder / "data" / FILE_NAME) as database:
        assert database.execute("SELECT messages FROM thread").fetchall() == [(2,)]
    database.close()


def test_the_image_is_small_and_holds_nothing_else(layout: Layout) -> None:
    assert {path.name for path in layout.app.iterdir()} - {"__pycache__"} == {"server.py", "llm", "handlers", "schemas"}
    assert megabytes(layout.app) + megabytes(layout.packages) < 20


def test_o4_it_is_compiled_beforehand() -> None:
    """The file system is read-only later: otherwise each start would compile everything again."""
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    assert re.findall(r"compileall -q --invalidation-mode unchecked-hash (\S+)", dockerfile) == ["/packages", "."]


def test_the_image_runs_without_root_and_is_read_only() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    assert re.search(r"^USER llm$", dockerfile, re.MULTILINE)
    assert "chown llm /data" in dockerfile and dockerfile.count("chown") == 1
    compose = (ROOT / "deploy" / "compose.yaml").read_text()
    assert "read_only: true" in compose and "- 127.0.0.1:3000:3000" in compose
