"""What changes in a chat of a Gemini client to an engine of the same wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm.chat.provider_metadata import ProviderMetadata
from llm.dialects import gemini
from llm.dialects.gemini.shared import seal_metadata
from llm.engines.records import ENGINES
from llm.errors import ContentBlocked, Overloaded
from tests.support.relay import relay

GOOGLE = ENGINES["google"]
FIRST = {"candidates": [{"content": {"parts": [{"text": "Hel"}]}, "index": 0}], "modelVersion": "m"}
LAST = {"candidates": [{"content": {"parts": [{"text": "lo"}]}, "finishReason": "STOP", "index": 0}]}


def encode(*chunks: Any) -> list[bytes]:
    return [b"data: %b\r\n\r\n" % json.dumps(chunk).encode() for chunk in chunks]


def test_only_the_model_changes_and_is_in_the_path() -> None:
    body = {"model": "google/m", "stream": True, "contents": [{"parts": [{"text": "x"}]}], "new_field": {"any": 1}}
    request = gemini.passthrough_request(body, "models/gemini-3.5-flash", GOOGLE)
    assert request.path == "/v1beta/models/gemini-3.5-flash:streamGenerateContent?alt=sse"
    assert request.body == {"contents": body["contents"], "new_field": {"any": 1}} and request.dropped == ()
    whole = gemini.passthrough_request({**body, "stream": False}, "tunedModels/mine", GOOGLE)
    assert whole.path == "/v1beta/tunedModels/mine:generateContent"


def test_signatures_of_other_engines_are_not_sent_to_google() -> None:
    sealed = seal_metadata((ProviderMetadata("anthropic", "anthropic", {"signature": "s"}),))
    parts = [
        {"text": "Hm", "thought": True, "thought_signature": sealed},
        {"text": "Let me", "thoughtSignature": "b3du"},
        {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": sealed},
    ]
    request = gemini.passthrough_request({"model": "m", "contents": [{"role": "model", "parts": parts}]}, "m", GOOGLE)
    assert request.body == {
        "contents": [
            {
                "role": "model",
                "parts": [
                    {"text": "Let me", "thoughtSignature": "b3du"},
                    {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": gemini.SKIP_SIGNATURE},
                ],
            }
        ]
    }
    assert request.dropped == ("reasoning",)


def test_a_stream_is_unchanged_to_the_byte() -> None:
    pieces = encode(FIRST, {**FIRST, "new": "field"}, LAST)
    out = relay("gemini", pieces)
    assert (out.sent, out.failure) == (b"".join(pieces), None)


@pytest.mark.parametrize("line", [": keep-alive", ":", "id: 1", "event: message", "retry: 10"])
@pytest.mark.parametrize("place", ["before", "alone, before", "between", "alone, between", "in one read", "last"])
def test_lines_at_which_the_sdks_fail_are_left_out(line: str, place: str) -> None:
    first, last = encode(FIRST, LAST)
    noise = line.encode() + b"\n"
    pieces = {
        "before": [noise + first, last],
        "alone, before": [noise + b"\n", first, last],
        "between": [first, noise + last],
        "alone, between": [first, noise + b"\n", last],
        "in one read": [noise + first + noise + b"\n" + noise + last],
        "last": [first, last, noise + b"\n"],
    }[place]
    out = relay("gemini", pieces)
    assert out.failure is None
    lines = [one for one in out.sent.decode().splitlines() if one]
    assert [json.loads(one.removeprefix("data: ")) for one in lines] == [FIRST, LAST]
    assert all(one.startswith("data: ") for one in lines)


def test_openai_s_end_of_a_stream_is_left_out() -> None:
    pieces = encode(FIRST, LAST)
    assert relay("gemini", [*pieces, b"data: [DONE]\n\n"]).sent == b"".join(pieces)


def test_data_of_several_lines_is_one_line() -> None:
    out = relay("gemini", [b"id: 7\ndata: {\ndata: " + json.dumps(FIRST).encode()[1:] + b"\n\n", *encode(LAST)])
    assert [json.loads(line[6:]) for line in out.sent.splitlines() if line] == [FIRST, LAST]


def test_an_error_and_a_refused_prompt_of_the_engine_are_sent_as_they_came() -> None:
    error = encode({"error": {"code": 503, "message": "Busy.", "status": "UNAVAILABLE"}})
    out = relay("gemini", [*encode(FIRST), *error])
    assert out.sent == b"".join([*encode(FIRST), *error]) and isinstance(out.failure, Overloaded | None)
    refused = encode({"promptFeedback": {"blockReason": "SAFETY"}})
    out = relay("gemini", refused)
    assert out.sent == b"".join(refused) and isinstance(out.failure, ContentBlocked | None)
