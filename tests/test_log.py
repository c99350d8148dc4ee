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
