"""Limits that do not fit each other, or the memory, are told at start."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm.config import memory_check
from llm.config.memory_check import check_memory, read_memory_limit
from llm.config.settings import Config
from tests.support.paths import ROOT

MB = 1 << 20


def test_br_05_the_defaults_fit_the_container_of_the_repository() -> None:
    assert "mem_limit: 512m" in (ROOT / "deploy" / "compose.yaml").read_text()
    assert check_memory(Config(), 512 * MB) == check_memory(Config(), None) == []


@pytest.mark.parametrize(
    ("settings", "limit", "words"),
    [
        ({}, 256 * MB, "MAX_KEPT_BODIES to 80MB"),
        ({"processes": 4}, 512 * MB, "MAX_KEPT_BODIES to 0MB"),
        ({"max_kept_bodies": 1024 * MB}, 512 * MB, "allow more memory"),
        ({"max_kept_bodies": 16 * MB}, None, "below MAX_BODY_SIZE (32 MB)"),
    ],
)
def test_br_05_what_does_not_fit_is_told(settings: dict[str, int], limit: int | None, words: str) -> None:
    [warning] = check_memory(Config(**settings), limit)  # type: ignore[arg-type]
    assert words in warning


@pytest.mark.parametrize(
    ("text", "limit"), [("max\n", None), ("536870912\n", 512 * MB), ("9223372036854771712\n", None)]
)
def test_the_limit_is_that_of_the_control_group(
    text: str, limit: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "limit").write_text(text)
    monkeypatch.setattr(memory_check, "_LIMIT_FILES", (str(tmp_path / "none"), str(tmp_path / "limit")))
    assert read_memory_limit() == limit
