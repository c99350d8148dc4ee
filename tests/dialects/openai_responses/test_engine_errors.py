"""Reads errors of engines of the Responses dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm import errors
from llm.dialects import openai_responses as wire
from tests.support.responses_engine import ENGINE

# Errors


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "message"),
    [
        (429, {"error": {"code": "insufficient_quota", "message": "No credit."}}, errors.QuotaExceeded, "insufficient_quota", "No credit."),
        (429, {"error": {"code": "slow_down", "message": "Slow."}}, errors.RateLimited, "slow_down", "Slow."),
        (404, {"error": {"code": "model_not_found", "message": "No m."}}, errors.UnknownModel, "model_not_found", "No m."),
        (400, {"error": {"code": "context_length_exceeded", "message": "Long."}}, errors.ContextTooLong, "context_length_exceeded", "Long."),
        (400, {"error": {"code": "content_filter", "message": "No.", "param": "prompt"}}, errors.ContentBlocked, "content_filter", "No."),
        (400, {"error": {"code": None, "message": "Odd.", "innererror": {"code": "content_filter"}}}, errors.ContentBlocked, None, "Odd."),
        (
            400,
            {"error": {"code": "invalid_prompt", "message": "Your prompt was flagged as potentially violating our usage policy."}},
            errors.ContentBlocked, "invalid_prompt", "Your prompt was flagged as potentially violating our usage policy.",
        ),
        (400, {"code": "invalid-argument", "error": "Incorrect API key provided: xai-abcdef."}, errors.EngineRefusedKey, "invalid-argument", "Incorrect API key provided: ***"),
        (403, {"detail": "No."}, errors.EngineForbids, None, "No."),
        (422, {"detail": [{"loc": ["body"], "msg": "Bad."}]}, errors.InvalidRequest, None, "Bad."),
        (503, {"error": "Busy."}, errors.Overloaded, None, "Busy."),
        (500, {"error": {"code": "server_error", "message": "Broke."}}, errors.EngineFailed, "server_error", "Broke."),
        (500, {}, errors.EngineFailed, None, "Maker answered with status 500."),
    ],
)  # fmt: skip
def test_e2_an_error_has_its_class_and_message(
    status: int, body: dict[str, Any], kind: type[errors.LLMError], code: str | None, message: str
) -> None:
    error = wire.read_error(status, json.dumps(body).encode(), ENGINE)
    assert type(error) is kind and error.message == message
    assert error.provider is not None and (error.provider.status, error.provider.code) == (status, code)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"upstream connect error", "upstream connect error"),
        (b"<html>502</html>", "Maker answered with status 502."),
        (b"", "Maker answered with status 502."),
        (b"\xff", "\ufffd"),
    ],
)
def test_e2_plain_text_of_a_proxy_is_the_message_but_html_is_not(body: bytes, message: str) -> None:
    error = wire.read_error(502, body, ENGINE)
    assert type(error) is errors.EngineFailed and error.message == message


def test_e2_the_invalid_field_is_in_param() -> None:
    body = {"error": {"message": "No.", "type": "invalid_request_error", "param": "tools", "code": "unsupported_value"}}
    error = wire.read_error(400, json.dumps(body).encode(), ENGINE)
    assert (error.param, error.provider) == (
        "tools",
        errors.ProviderErrorDetails(400, "unsupported_value", "invalid_request_error", "No."),
    )
