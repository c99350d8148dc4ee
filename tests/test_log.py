"""Log lines are JSON and hold no secrets."""

from __future__ import annotations

import json
import logging
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm import log


def test_a_log_line_is_json_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup(["my-own-client-id", "sk-of-the-server"])
    try:
        log.write(
            "request",
            path="/x?key=my-own-client-id",
            key="sk-of-the-server",
            other="AIzaSyA1234567890abcdefghij",
            none=None,
        )
        try:
            raise ValueError("Bearer some-token-of-a-caller")
        except ValueError as error:
            log.write("bug", logging.ERROR, exc_info=error)
    finally:
        logging.getLogger().handlers.clear()
    lines = capsys.readouterr().err.splitlines()
    first, second = map(json.loads, lines)
    assert first["event"] == "request" and "none" not in first
    assert "ValueError" in second["trace"]
    for secret in ("my-own-client-id", "sk-of-the-server", "AIzaSyA1234567890", "some-token"):
        assert secret not in "".join(lines)


def test_control_characters_never_reach_a_log_raw(capsys: pytest.CaptureFixture[str]) -> None:
    """U+009B begins a command to a terminal, as ESC [ does; the others end lines or turn the direction of text."""
    text = "a\x1b[2J\x9b2J\x7f\x85\u2028\u2029\u202eb\u2066é\r\n"
    log.setup([])
    try:
        log.write("request", path=text)
    finally:
        logging.getLogger().handlers.clear()
    line = capsys.readouterr().err
    assert json.loads(line)["path"] == text
    assert "é" in line and line.count("\n") == 1
    assert not {*"\x1b\x9b\x7f\x85\u2028\u2029\u202e\u2066\r"} & {*line}


PIECES: Final = st.sampled_from(
    ("sk-", "the-client-id-of-mine", "a8Z_-", "Bearer ", "bearer", " ", "\n", '"', "AIza", "x" * 20, "é")
)
TEXTS: Final = st.lists(PIECES, max_size=5).map("".join)


@given(st.dictionaries(st.sampled_from(("a", "b", "c", "d")), TEXTS | st.lists(TEXTS) | st.integers() | st.booleans()))
def test_each_value_of_a_log_line_is_masked_as_if_it_were_alone(fields: dict[str, Any]) -> None:
    redact = log.Redactor(["the-client-id-of-mine", "a8Z_- éthe-client-id-of-mine"])
    record = logging.LogRecord("llm", logging.INFO, "", 0, "request", None, None)
    record.fields = fields
    line = json.loads(log.JsonFormatter(redact).format(record))
    for name, value in fields.items():
        texts = [*map(redact, value)] if isinstance(value, list) else redact(value) if isinstance(value, str) else value
        assert line[name] == texts
