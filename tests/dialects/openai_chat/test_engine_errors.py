"""Errors of Chat Completions engines."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm import errors
from llm.dialects import openai_chat
from llm.errors import LLMError
from tests.support.chat_engine import HOST

FAILURES: dict[str, tuple[int, Any, type[LLMError], str | None]] = {
    "a bad parameter": (400, {"error": {"message": "M", "param": "stop", "code": "x"}}, errors.InvalidRequest, "stop"),
    "too long by code": (400, {"error": {"message": "M", "code": "context_length_exceeded", "param": "messages"}}, errors.ContextTooLong, "messages"),
    "too long by type": (400, {"error": {"code": 400, "message": "M", "type": "exceed_context_size_error"}}, errors.ContextTooLong, None),
    "moderation": (403, {"error": {"code": 403, "message": "M", "metadata": {"reasons": ["x"], "flagged_input": "y"}}}, errors.ContentBlocked, None),
    "no permission": (403, {"error": {"code": 403, "message": "M", "metadata": {"provider_name": "x"}}}, errors.EngineForbids, None),
    "a flat one": (429, {"message": "M", "type": "t", "param": "queue", "code": "queue_exceeded"}, errors.RateLimited, None),
    "a title": (404, {"title": "T", "detail": "M", "status": 404}, errors.UnknownModel, None),
    "places": (422, {"object": "error", "message": {"detail": [{"loc": ["body", "m"], "msg": "M"}]}}, errors.InvalidRequest, None),
    "just text": (503, "M", errors.Overloaded, None),
    "a list": (400, [{"error": {"message": "M", "code": 400, "status": "INVALID_ARGUMENT"}}], errors.InvalidRequest, None),
    "an account without credit": (429, {"error": {"message": "M", "code": "insufficient_quota"}}, errors.QuotaExceeded, None),
    "a bad key with 400": (400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: abcdef. M"}, errors.EngineRefusedKey, None),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILURES)
def test_e2_failures_are_classified_by_who_must_act(name: str) -> None:
    status, wire, kind, param = FAILURES[name]
    error = openai_chat.read_error(status, json.dumps(wire).encode(), HOST)
    assert type(error) is kind
    if name != "a flat one":
        assert error.param == param
    assert error.provider is not None
    assert (error.provider.status, error.message) == (status, error.provider.message)
    assert "M" in error.message and "abcdef" not in error.message


@given(
    prefix=st.sampled_from(["Incorrect API key provided: ", "Bad key sk-", "No: gsk_", "xai-"]),
    key=st.text("abcdefXYZ0189", min_size=8, max_size=30),
)
def test_x4_a_key_in_an_error_is_masked(prefix: str, key: str) -> None:
    wire = {"error": {"message": f"{prefix}{key}. You can find yours elsewhere."}}
    for status in (400, 401):
        error = openai_chat.read_error(status, json.dumps(wire).encode(), HOST)
        assert key not in str(error) and key not in repr(error.provider)
        assert str(error).endswith("elsewhere.")
