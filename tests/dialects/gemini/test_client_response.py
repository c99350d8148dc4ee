"""Writing answers for Gemini's clients: the same, streamed and whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from llm.chat.events import (
    Cited,
    Event,
    Finished,
    PartEnded,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
    WholePart,
)
from llm.chat.messages import Citation, Media, Usage
from llm.chat.provider_metadata import ProviderMetadata
from llm.chat.reply import collect
from llm.chat.request import ChatRequest
from llm.dialects import gemini
from llm.dialects.gemini.shared import pack_request_form, seal_metadata
from llm.engines.capabilities import ModelInfo
from llm.errors import EngineFailed
from tests.support.gemini_client import assemble_gemini, check_gemini, check_gemini_reply

START = Started("r1", "m-1")
KEPT = (ProviderMetadata("anthropic", "anthropic", {"signature": "s"}),)


def write(events: Sequence[Event], *, thoughts: bool = False) -> tuple[Any, Any]:
    """Returns the answer as it is assembled of a stream, and as a whole."""
    request = ChatRequest(model="e/m", messages=(), metadata=pack_request_form(includeThoughts=thoughts))
    raw = b"".join(gemini.create_writer(request, 0).feed(events))
    check_gemini(raw)
    whole = gemini.write_reply(collect(events), request, 0)
    check_gemini_reply(whole)
    return assemble_gemini(raw), whole


def candidates(events: Sequence[Event], *, thoughts: bool = False) -> Any:
    streamed, whole = (json.loads(json.dumps(one)) for one in write(events, thoughts=thoughts))
    for one in (streamed, whole):
        parts = one["candidates"][0].get("content", {}).get("parts", [])
        one["candidates"][0]["parts"] = [part for part in parts if part != {"text": ""}]
        one["candidates"][0].pop("content", None)
    assert streamed == whole
    return whole["candidates"][0]


def test_sources_count_bytes_of_the_whole_answer() -> None:
    events: list[Event] = [
        START,
        TextDelta(0, "Grüße "),
        PartEnded(0, (ProviderMetadata("gemini", "google", {"thoughtSignature": "c2ln"}),)),
        TextDelta(1, "🦊 an"),
        TextDelta(1, "d more"),
        Cited(1, Citation("https://a.org", "A", start=0, end=5)),
        Cited(1, Citation("https://b.org", start=2, end=2)),
        Cited(1, Citation("https://a.org", "A", start=6, end=10)),
        PartEnded(1),
        Finished("stop"),
    ]
    streamed, whole = write(events)
    grounding = streamed["candidates"][0]["groundingMetadata"]
    assert grounding == whole["candidates"][0]["groundingMetadata"]
    assert grounding["groundingChunks"] == [
        {"web": {"uri": "https://a.org", "title": "A"}},
        {"web": {"uri": "https://b.org"}},
    ]
    text = "Grüße 🦊 and more".encode()
    segments = [support["segment"] for support in grounding["groundingSupports"]]
    assert [text[one["startIndex"] : one["endIndex"]].decode() for one in segments] == ["🦊 and", "more"]
    assert [one["text"] for one in segments] == ["🦊 and", "more"]


def test_thoughts_are_written_only_where_they_were_asked_for() -> None:
    events: list[Event] = [
        START,
        ReasoningDelta(0, "Hm."),
        PartEnded(0, KEPT),
        TextDelta(1, "Hi"),
        PartEnded(1),
        Finished("stop"),
    ]
    assert candidates(events)["parts"] == [{"text": "Hi"}]
    sealed = seal_metadata(KEPT)
    streamed, whole = write(events, thoughts=True)
    assert whole["candidates"][0]["content"]["parts"] == [
        {"text": "Hm.", "thought": True, "thoughtSignature": sealed},
        {"text": "Hi"},
    ]
    assert streamed["candidates"][0]["content"]["parts"][:2] == [
        {"text": "Hm.", "thought": True},
        {"text": "", "thought": True, "thoughtSignature": sealed},
    ]


def test_calls_are_whole_and_signed_and_media_are_data_or_an_address() -> None:
    events: list[Event] = [
        START,
        ToolCallStarted(0, "c1", "f"),
        ToolCallDelta(0, '{"x":'),
        ToolCallStarted(1, "c2", "g"),
        ToolCallDelta(0, "1}"),
        PartEnded(1),
        PartEnded(0, (ProviderMetadata("gemini", "google", {"thoughtSignature": "c2ln"}),)),
        WholePart(2, Media(mime="image/png", base64="AAAA")),
        WholePart(3, Media(mime="video/mp4", url="https://example.org/v")),
        Finished("tool_calls"),
    ]
    candidate = candidates(events)
    assert candidate["finishReason"] == "STOP"
    assert candidate["parts"] == [
        {"functionCall": {"id": "c1", "name": "f", "args": {"x": 1}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"id": "c2", "name": "g", "args": {}}},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"fileData": {"mimeType": "video/mp4", "fileUri": "https://example.org/v"}},
    ]


@pytest.mark.parametrize(
    ("end", "word", "more"),
    [
        (Finished("stop", "end_turn"), "STOP", {}),
        (Finished("length", "max_tokens"), "MAX_TOKENS", {}),
        (Finished("filtered", "content_filter"), "SAFETY", {}),
        (Finished("filtered", "RECITATION", category="RECITATION"), "RECITATION", {}),
        (Finished("error", "UNEXPECTED_TOOL_CALL"), "UNEXPECTED_TOOL_CALL", {}),
        (Finished("other", "NEW_WORD"), "OTHER", {"finishMessage": "NEW_WORD"}),
        (Finished("paused", "pause_turn"), "OTHER", {"finishMessage": "pause_turn"}),
        (Finished("filtered", "refusal", explanation="No."), "SAFETY", {"finishMessage": "No."}),
    ],
)
def test_ends(end: Finished, word: str, more: Any) -> None:
    candidate = candidates([START, TextDelta(0, "x"), PartEnded(0), end])
    assert candidate["finishReason"] == word
    assert {name: candidate.get(name) for name in more} == more


def test_an_end_that_is_an_error_of_another_wire_is_an_error() -> None:
    request = ChatRequest(model="m", messages=())
    events: list[Event] = [START, TextDelta(0, "x"), PartEnded(0), Finished("error", "broken")]
    assert b'"error"' in b"".join(gemini.create_writer(request, 0).feed(events))
    with pytest.raises(EngineFailed):
        gemini.write_reply(collect(events), request, 0)


def test_usage() -> None:
    usage = Usage(fresh=10, cache_read=4, cache_write=1, text=5, reasoning=3, other={"tool_input": 2})
    streamed, whole = write([START, TextDelta(0, "x"), PartEnded(0), UsageReported(usage), Finished("stop")])
    assert (
        streamed["usageMetadata"]
        == whole["usageMetadata"]
        == {
            "promptTokenCount": 13,
            "candidatesTokenCount": 5,
            "thoughtsTokenCount": 3,
            "cachedContentTokenCount": 4,
            "toolUsePromptTokenCount": 2,
            "totalTokenCount": 23,
        }
    )
    assert (whole["modelVersion"], whole["responseId"]) == ("e/m", "r1")


def test_models_have_the_facts_of_the_list() -> None:
    own: dict[str, Any] = {
        "name": "models/g",
        "version": "001",
        "topK": 64,
        "supportedGenerationMethods": ["generateContent"],
    }
    chat = ModelInfo(
        id="g", engine="google", name="G", kind="chat", context_tokens=9, max_output_tokens=5, can=frozenset(), meta=own
    )
    image = ModelInfo(id="i", engine="google", name="I", kind="image")
    listed: Any = gemini.write_models([chat, image])
    [model] = listed["models"]
    assert model == {
        "name": "models/google/g",
        "version": "001",
        "displayName": "G",
        "topK": 64,
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
        "inputTokenLimit": 9,
        "outputTokenLimit": 5,
        "thinking": False,
    }
