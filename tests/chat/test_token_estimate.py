"""The estimate of tokens against recorded counts (T11)."""

from __future__ import annotations

import json

import pytest

from llm.chat.messages import Media, UnknownPart
from llm.chat.request import ChatRequest
from llm.chat.token_estimate import ERROR_SHARE, ERROR_TOKENS, RequestSize, estimate_input_tokens, estimate_text_tokens
from llm.dialects.registry import CLIENT_DIALECTS
from llm.errors import LLMError
from tests.support.oracle import Answer
from tests.support.recordings import Case, cases, read_expected


def test_scripts_without_spaces_are_counted() -> None:
    assert estimate_text_tokens("") == 0
    assert estimate_text_tokens("今日はいい天気ですね") == 10
    assert estimate_text_tokens("🦊🦊") == 2
    assert 2 <= estimate_text_tokens("Добрый день") <= 6
    assert estimate_text_tokens("internationalization") == 3


APIS = ("openai-chat", "anthropic", "openai-responses")
WITHIN_ERROR = 541  # of 545 recorded requests with a token count of the provider
# Recordings outside of the error -> the input that is not in the request.
NOT_IN_REQUEST = {
    "anthropic/messages-stream-anthropic-mcp-servers-stream-4f2f92#0": "the tools of an MCP server",
    "groq/chat-stream-groq-model-web-search-tool-stream-a918cc#0": "the search results of the model",
    "openai/responses-response-with-mixed-prompt-url-preserved-185974#0": "a prompt stored at the provider",
    "huggingface/chat-huggingface-test-hf-model-thinking-part-1efca3#1": "reasoning that the template leaves out",
}


def read_recorded_requests() -> list[tuple[Case, ChatRequest, int]]:
    """Returns requests with the provider's count; without those with hosted tools or media, to which it adds input."""
    found = []
    for case in cases():
        body = case.request.body
        if case.engine.dialect not in APIS or not isinstance(body, dict) or "previous_response_id" in body:
            continue
        answer = read_expected(case)
        if not isinstance(answer, Answer) or answer.tokens is None or not answer.tokens.input:
            continue
        try:
            request = CLIENT_DIALECTS[case.engine.dialect].read_request({"model": "m", **body})
        except LLMError:
            continue
        hosted = any(tool.executor == "provider" for tool in request.tools)
        if not hosted and not any(isinstance(p, Media | UnknownPart) for m in request.messages for p in m.parts):
            found.append((case, request, answer.tokens.input))
    return found


def test_t11_the_error_of_the_estimate_is_within_its_bounds(capsys: pytest.CaptureFixture[str]) -> None:
    outside = {}
    recorded = read_recorded_requests()
    for case, request, counted in recorded:
        guess = estimate_input_tokens(request)
        stored = RequestSize(request).estimate_tokens()
        assert abs(stored - guess) <= 0.1 * guess, case.name
        if abs(counted - guess) > ERROR_SHARE * counted + ERROR_TOKENS:
            outside[case.name] = f"{guess} for {counted}"
    with capsys.disabled():
        print(f"\nestimates within their error: {len(recorded) - len(outside)} of {len(recorded)}")
    assert outside.keys() == NOT_IN_REQUEST.keys(), json.dumps(outside, indent=1)
    assert len(recorded) - len(outside) >= WITHIN_ERROR
