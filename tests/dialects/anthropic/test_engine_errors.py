"""Reads errors of engines of the Anthropic dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.errors import (
    ContentBlocked,
    ContextTooLong,
    EngineFailed,
    EngineRefusedKey,
    InvalidRequest,
    LLMError,
    Overloaded,
    QuotaExceeded,
    RateLimited,
    TooLarge,
)
from llm.wire.json_codec import dump_bytes
from tests.support.anthropic_engine import DIALECT, ENGINE, anything

# --- errors ---


def error(kind: str, message: str, **more: Any) -> bytes:
    return dump_bytes({"type": "error", "error": {"type": kind, "message": message, **more}, "request_id": "req_1"})


@pytest.mark.parametrize(
    ("status", "body", "cls"),
    [
        (400, error("invalid_request_error", "messages.0: bad"), InvalidRequest),
        (400, error("invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum"), ContextTooLong),
        (
            400,
            error("invalid_request_error", "input length and `max_tokens` exceed context limit: 188240 + 21333"),
            ContextTooLong,
        ),
        (400, error("invalid_request_error", "Your credit balance is too low to access the API."), QuotaExceeded),
        (400, error("invalid_request_error", "Output blocked by content filtering policy"), ContentBlocked),
        (401, error("authentication_error", "invalid x-api-key"), EngineRefusedKey),
        (402, error("billing_error", "No."), QuotaExceeded),
        (413, b'{"error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}', TooLarge),
        (429, error("rate_limit_error", "Slow down."), RateLimited),
        (429, error("rate_limit_error", "No.", details={"error_code": "enforced_spend_limit_reached"}), QuotaExceeded),
        (429, error("rate_limit_error", "No.", details={"error_code": "contract_spend_limit_reached"}), QuotaExceeded),
        (429, error("rate_limit_error", "No.", details={"error_code": "ramp_limit_exceeded"}), RateLimited),
        (500, error("api_error", "Internal server error"), EngineFailed),
        (504, error("timeout_error", "Timed out"), EngineFailed),
        (529, error("overloaded_error", "Overloaded"), Overloaded),
        (503, b"upstream connect error or disconnect/reset before headers", Overloaded),
        (502, b"<html><body>Bad gateway</body></html>", EngineFailed),
        (500, b"", EngineFailed),
        (500, b'{"error":"just text"}', EngineFailed),
        (500, b"[1]", EngineFailed),
    ],
)
def test_e2_an_error_has_a_class_by_status_and_its_message(status: int, body: bytes, cls: type[LLMError]) -> None:
    failure = DIALECT.read_error(status, body, ENGINE)
    assert type(failure) is cls
    assert failure.engine == "anthropic" and failure.message and "<" not in failure.message
    assert failure.provider is not None and failure.provider.status == status
    if body.startswith(b'{"type"'):
        error_object = json.loads(body)["error"]
        assert (failure.provider.type, failure.provider.message, failure.message) == (
            error_object["type"],
            error_object["message"],
            error_object["message"],
        )
        assert failure.provider.code == error_object.get("details", {}).get("error_code")


@given(st.integers(400, 599), st.binary(max_size=30) | anything.map(lambda v: json.dumps({"error": v}).encode()))
def test_s8_any_error_becomes_one_of_ours(status: int, body: bytes) -> None:
    assert isinstance(DIALECT.read_error(status, body, ENGINE), LLMError)
