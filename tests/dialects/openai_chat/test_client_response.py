"""Writing Chat Completions for clients, compared as bytes where that matters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm import errors
from llm.chat.events import (
    Cited,
    Event,
    Failed,
    Finished,
    FinishReason,
    PartEnded,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    ToolProgress,
    UsageReported,
    WholePart,
)
from llm.chat.messages import Citation, Media, Reasoning, Text, ToolCall, ToolResult, UnknownPart, Usage
from llm.chat.provider_metadata import ProviderMetadata
from llm.chat.reply import Reply, collect, replay
from llm.chat.request import ChatRequest
from llm.dialects import openai_chat
from llm.engines.capabilities import ModelInfo
from llm.errors import LLMError, ProviderErrorDetails
from llm.wire.json_codec import Json
from tests.support.chat_client import read
from tests.support.grammars import check_openai_chat

ASKED = ChatRequest(model="e/m", messages=(), stream=True, show_usage=False)
HEAD = (
    b'data: {"id":"r1","object":"chat.completion.chunk","created":7,"model":"e/m","system_fingerprint":"fp_llm_server",'
)
DONE = b"data: [DONE]\n\n"


def chunk(delta: bytes, finish: bytes = b"null") -> bytes:
    return HEAD + b'"choices":[{"index":0,"delta":' + delta + b',"finish_reason":' + finish + b"}]}\n\n"


ROLE = chunk(b'{"role":"assistant","content":""}')


def write_events(*events: Event, request: ChatRequest = ASKED) -> bytes:
    writer = openai_chat.create_writer(request, 7)
    raw = b"".join(piece for event in events for piece in writer.feed([event]))
    writer = openai_chat.create_writer(request, 7)
    at_once = writer.feed(events)
    assert len(at_once) == 1 and at_once[0] == raw  # however they are batched
    check_openai_chat(raw)
    return raw


def deltas(raw: bytes) -> Iterator[Any]:
    for block in raw.decode().split("\n\n"):
        if block.startswith("data: {"):
            for choice in json.loads(block[6:])["choices"]:
                yield choice["delta"]


BEGIN, END = Started("r1", "e/m"), Finished("stop", "eos")


def test_the_bytes_of_a_stream() -> None:
    raw = write_events(
        BEGIN,
        ReasoningDelta(0, "Hm\n"),
        PartEnded(0),
        TextDelta(1, 'Grüße 🎈 "%s" </script>\u2028'),
        TextDelta(1, ""),
        PartEnded(1),
        UsageReported(Usage(fresh=1, text=2)),
        END,
    )
    assert raw == b"".join(
        (
            ROLE,
            chunk(b'{"reasoning_content":"Hm\\n","reasoning":"Hm\\n"}'),
            chunk('{"content":"Grüße 🎈 \\"%s\\" </script>\u2028"}'.encode()),
            chunk(b"{}", b'"stop"'),
            DONE,
        )
    )


def test_e7_usage_follows_the_last_chunk_if_requested() -> None:
    usage = Usage(fresh=10, cache_read=60, cache_write=30, text=30, reasoning=20, other={"audio_output": 7})
    raw = write_events(
        BEGIN, TextDelta(0, "A"), PartEnded(0), UsageReported(Usage(fresh=1)), UsageReported(usage), END,
        request=replace(ASKED, show_usage=True),
    )  # fmt: skip
    *_, finish, told, done, nothing = raw.split(b"\n\n")
    assert (done, nothing) == (b"data: [DONE]", b"")
    assert b'"finish_reason":"stop"' in finish
    assert json.loads(told[6:])["choices"] == []
    assert json.loads(told[6:])["usage"] == {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
        "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 7},
    }
    assert b"usage" not in write_events(BEGIN, UsageReported(usage), END)


@pytest.mark.parametrize(
    ("usage", "wholes"),
    [
        (Usage(), (0, 0)),
        (Usage(cache_read=5, reasoning=3), (5, 3)),  # unknown totals
        (Usage(fresh=1, cache_read=5, cache_write=2, text=4, reasoning=3), (8, 7)),
    ],
)
def test_e8_usage_totals_include_their_parts(usage: Usage, wholes: tuple[int, int]) -> None:
    raw = write_events(BEGIN, UsageReported(usage), END, request=replace(ASKED, show_usage=True))
    told = json.loads(raw.split(b"\n\n")[-3][6:])["usage"]
    assert (told["prompt_tokens"], told["completion_tokens"], told["total_tokens"]) == (*wholes, sum(wholes))


def test_an_emoji_split_over_two_deltas_is_complete_when_joined() -> None:
    raw = write_events(BEGIN, TextDelta(0, "\ud83c"), TextDelta(0, "\udf88"), PartEnded(0), END)
    joined = "".join(delta.get("content", "") for delta in deltas(raw))
    assert joined.encode("utf-16", "surrogatepass").decode("utf-16") == "🎈"


@given(texts=st.lists(st.text(max_size=8), max_size=5))
def test_s4_any_text_is_written_unchanged(texts: list[str]) -> None:
    said: list[Event] = [TextDelta(0, text) for text in texts]
    raw = write_events(BEGIN, *said, *([PartEnded(0)] if said else []), END)
    assert "".join(delta.get("content", "") for delta in deltas(raw)) == "".join(texts)


def test_s3_interleaved_call_deltas_keep_their_bytes_and_indexes() -> None:
    raw = write_events(
        BEGIN,
        TextDelta(0, "A"),
        PartEnded(0),
        ToolCallStarted(1, "a", "f"),
        ToolCallStarted(2, "ours", "fetch", "server"),
        ToolCallStarted(3, "theirs", "search", "provider"),
        ToolCallStarted(4, "b", "g"),
        ToolCallDelta(1, '{"x" :'),
        ToolCallDelta(4, '{ "é'),
        ToolCallDelta(2, "not to be seen"),
        ToolCallDelta(1, " 1.0}"),
        ToolCallDelta(4, '": "\\u00e9" }'),
        PartEnded(1),
        PartEnded(2),
        PartEnded(3),
        PartEnded(4),
        ToolProgress(2, "running", "not to be seen"),
        WholePart(5, ToolResult("ours", (Text("not to be seen"),))),
        WholePart(6, UnknownPart((ProviderMetadata("another", None, {"type": "not to be seen"}),))),
        Finished("tool_calls", "stop"),
    )
    assert b"not to be seen" not in raw and b"fetch" not in raw and b"search" not in raw
    told: dict[int, dict[str, str]] = {}
    for delta in deltas(raw):
        for piece in delta.get("tool_calls", ()):
            call = told.setdefault(piece["index"], {"id": piece.get("id"), "name": "", "arguments": ""})
            call["name"] += piece["function"].get("name", "")
            call["arguments"] += piece["function"]["arguments"]
    assert told == {
        0: {"id": "a", "name": "f", "arguments": '{"x" : 1.0}'},
        1: {"id": "b", "name": "g", "arguments": '{ "é": "\\u00e9" }'},
    }


def test_fields_that_clients_must_send_back_are_written() -> None:
    details: list[Json] = [{"type": "reasoning.text", "text": "Hm.", "signature": "c2ln"}]
    signature: Json = {"google": {"thought_signature": "c2ln"}}
    raw = write_events(
        BEGIN,
        ReasoningDelta(0, "Hm."),
        PartEnded(0, (ProviderMetadata("openai-chat", "openrouter", {"reasoning_details": details}),)),
        ToolCallStarted(1, "a", "f"),
        PartEnded(
            1,
            (
                ProviderMetadata("openai-chat", "host", {"extra_content": signature}),
                ProviderMetadata("gemini", "google", {"thoughtSignature": "not for this wire"}),
            ),
        ),
        Finished("tool_calls"),
    )
    assert {"reasoning_details": details} in [*deltas(raw)]
    [first, last] = [delta["tool_calls"][0] for delta in deltas(raw) if "tool_calls" in delta]
    assert first["function"]["name"] == "f"
    assert last == {"index": 0, "function": {"arguments": "{}"}, "extra_content": signature}
    assert b"not for this wire" not in raw


def test_s4_a_call_without_arguments_has_an_empty_object() -> None:
    """Clients parse the joined arguments as JSON."""
    raw = write_events(
        BEGIN,
        ToolCallStarted(0, "a", "f"),
        PartEnded(0),
        ToolCallStarted(1, "b", "g"),
        PartEnded(1),
        Finished("tool_calls"),
    )
    pieces = [call for delta in deltas(raw) for call in delta.get("tool_calls", ())]
    assert [(call["index"], call["function"]["arguments"]) for call in pieces] == [
        (0, ""),
        (0, "{}"),
        (1, ""),
        (1, "{}"),
    ]


def test_t5_offsets_count_in_the_whole_text() -> None:
    own: dict[str, Any] = {
        "type": "url_citation",
        "url_citation": {"url": "https://own", "start_index": 1, "end_index": 2, "x": 3},
    }
    events: list[Event] = [
        BEGIN,
        TextDelta(0, "🎈 one. "),
        Cited(0, Citation("https://a", "A", "q", 2, 5)),
        PartEnded(0),
        ToolCallStarted(1, "a", "f"),
        PartEnded(1),
        TextDelta(2, "Then "),
        TextDelta(2, "two."),
        Cited(2, Citation("https://b", start=5, end=8)),
        Cited(2, Citation("https://c")),
        Cited(2, Citation("https://own", start=1, end=2, metadata=(ProviderMetadata("openai-chat", "host", own),))),
        PartEnded(2),
        Finished("tool_calls"),
    ]
    streamed = [note for delta in deltas(write_events(*events)) for note in delta.get("annotations", ())]
    reply: Any = openai_chat.write_reply(collect(events), ASKED, 7)
    message = reply["choices"][0]["message"]
    assert [note.pop("index", None) for note in streamed] == [None, 1, 2, 3]  # how OpenAI's own client joins them
    assert message["annotations"] == streamed
    first, second, third, fourth = (note["url_citation"] for note in streamed)
    assert message["content"][first["start_index"] : first["end_index"]] == "one"
    assert message["content"][second["start_index"] : second["end_index"]] == "two"
    assert first == {"url": "https://a", "title": "A", "content": "q", "start_index": 2, "end_index": 5}
    assert third == {"url": "https://c"}
    assert fourth == own["url_citation"]


@pytest.mark.parametrize("begun", [(), (BEGIN,), (BEGIN, TextDelta(0, "A"))])
def test_s1_s2_a_failure_is_an_error_followed_by_done(begun: tuple[Event, ...]) -> None:
    said = ProviderErrorDetails(0, "tool_use_failed", "invalid_request_error", "Broke.")
    raw = write_events(*begun, Failed(errors.InvalidRequest("Broke.", provider=said)))
    assert b'"finish_reason":"' not in raw and raw.endswith(b"\n\n" + DONE if begun else DONE)
    [error] = [json.loads(block[6:])["error"] for block in raw.decode().split("\n\n") if '"error"' in block]
    assert (error["message"], error["type"], error["code"]) == ("Broke.", "invalid_request_error", "tool_use_failed")
    cut = write_events(*begun, Failed(errors.Truncated("Cut.")))
    assert b'"code":"upstream_truncated"' in cut and b'"type":"gateway_error"' in cut
    assert b'"finish_reason":"' not in cut


def test_s11_a_keepalive_is_a_comment() -> None:
    assert openai_chat.create_writer(ASKED, 7).write_keepalive() == b": ping\n\n"


ENDS: list[tuple[FinishReason, str]] = [
    ("stop", "stop"), ("length", "length"), ("filtered", "content_filter"), ("paused", "length"), ("other", "stop"),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "word"), ENDS)
def test_s6_finish_reasons_of_the_wire(reason: FinishReason, word: str) -> None:
    raw = write_events(BEGIN, TextDelta(0, "A"), PartEnded(0), Finished(reason))
    assert raw.endswith(chunk(b"{}", f'"{word}"'.encode()) + DONE)


def test_a_stream_without_id_or_model_gets_both() -> None:
    writer = openai_chat.create_writer(ASKED, 7)
    [raw] = writer.feed([Started("", ""), TextDelta(0, "A"), PartEnded(0), END])
    check_openai_chat(raw)
    first = json.loads(raw.split(b"\n\n")[0][6:])
    assert first["id"].startswith("chatcmpl-") and first["model"] == "e/m"


WHOLE: Reply = collect(
    [
        BEGIN,
        ReasoningDelta(0, "Hm."),
        PartEnded(0, (ProviderMetadata("openai-chat", "host", {"reasoning_details": [{"type": "x"}]}),)),
        TextDelta(1, "A"),
        PartEnded(1),
        ToolCallStarted(2, "a", "f"),
        PartEnded(2, (ProviderMetadata("openai-chat", "host", {"extra_content": {"g": 1}}),)),
        ToolCallStarted(3, "ours", "fetch", "server"),
        PartEnded(3),
        WholePart(4, Media(mime="image/png", base64="AA==")),
        TextDelta(5, "B"),
        PartEnded(5),
        UsageReported(Usage(fresh=3, text=2)),
        Finished("tool_calls", "stop", (ProviderMetadata("openai-chat", "host", {"logprobs": {"content": []}}),)),
    ]
)


def test_a_whole_answer() -> None:
    assert openai_chat.write_reply(WHOLE, ASKED, 7) == {
        "id": "r1",
        "object": "chat.completion",
        "created": 7,
        "model": "e/m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "AB",
                    "refusal": None,
                    "reasoning_content": "Hm.",
                    "reasoning": "Hm.",
                    "reasoning_details": [{"type": "x"}],
                    "tool_calls": [
                        {
                            "id": "a",
                            "type": "function",
                            "function": {"name": "f", "arguments": "{}"},
                            "extra_content": {"g": 1},
                        }
                    ],
                    "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}],
                },
                "finish_reason": "tool_calls",
                "logprobs": {"content": []},
            }
        ],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 2,
            "total_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
        "system_fingerprint": "fp_llm_server",
    }


def test_every_chunk_has_a_system_fingerprint() -> None:
    """cerebras-chunks-become-dicts: a chunk without the field is taken for a whole completion there."""
    call = (ToolCallStarted(1, "c1", "f"), ToolCallDelta(1, "{}"), PartEnded(1))
    raw = write_events(BEGIN, TextDelta(0, "A"), PartEnded(0), *call, Finished("tool_calls"))
    chunks = [json.loads(line.removeprefix(b"data: ")) for line in raw.splitlines() if line.startswith(b"data: {")]
    assert len(chunks) >= 4
    assert all(isinstance(one["system_fingerprint"], str) for one in chunks)


def test_each_thing_is_written_once_and_in_a_delta_of_its_own() -> None:
    """langchain-openai-adds-everything-up: what comes twice is added. haystack-text-beside-a-call: a ValueError."""
    parts: list[Event] = [
        TextDelta(0, "A"), TextDelta(0, "B"), PartEnded(0),
        ToolCallStarted(1, "c1", "f"), ToolCallDelta(1, '{"a"'), ToolCallDelta(1, ": 1}"), PartEnded(1),
    ]  # fmt: skip
    usage = [UsageReported(Usage(fresh=1, text=1)), UsageReported(Usage(fresh=1, text=2))]
    for size in (1, 100):
        events: list[Event] = [BEGIN, usage[0], *parts, usage[1], Finished("tool_calls")]
        writer = openai_chat.create_writer(ASKED, 7)
        raw = b"".join(piece for n in range(0, len(events), size) for piece in writer.feed(events[n : n + size]))
        chunks = [json.loads(line.removeprefix(b"data: ")) for line in raw.splitlines() if line.startswith(b"data: {")]
        choices = [choice for one in chunks for choice in one["choices"]]
        calls = [call for choice in choices for call in choice["delta"].get("tool_calls", ())]
        assert [call["function"]["name"] for call in calls if "name" in call["function"]] == ["f"]
        assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["tool_calls"]
        assert not any(choice["delta"].get("content") and "tool_calls" in choice["delta"] for choice in choices)
        assert len([one for one in chunks if one.get("usage")]) <= 1


def test_content_is_null_only_with_calls() -> None:
    """agents-js-null-content-asks-ten-times: null without a call repeats the question there."""

    def content(*events: Event) -> Any:
        reply: Any = openai_chat.write_reply(collect([BEGIN, *events]), ASKED, 7)
        return reply["choices"][0]["message"]["content"]

    assert content(ToolCallStarted(0, "a", "f"), PartEnded(0), Finished("tool_calls")) is None
    assert content(ReasoningDelta(0, "Hm."), PartEnded(0), Finished("length")) == ""


def test_an_answer_can_be_sent_back_as_history() -> None:
    """A whole answer and the same answer streamed give the same history."""
    whole: Any = openai_chat.write_reply(WHOLE, ASKED, 7)
    history = read(whole["choices"][0]["message"]).messages[0]
    assert [type(part) for part in history.parts] == [Reasoning, Text, ToolCall]
    joined: dict[str, Any] = {"role": "assistant", "content": "", "reasoning_content": "", "tool_calls": {}}
    for delta in deltas(write_events(*replay(WHOLE))):
        for name in ("content", "reasoning_content"):
            joined[name] += delta.get(name, "")
        if "reasoning_details" in delta:
            joined["reasoning_details"] = delta["reasoning_details"]
        for piece in delta.get("tool_calls", ()):
            call = joined["tool_calls"].setdefault(piece["index"], {"function": {"name": "", "arguments": ""}})
            call["function"]["name"] += piece["function"].get("name", "")
            call["function"]["arguments"] += piece["function"]["arguments"]
            call |= {name: value for name, value in piece.items() if name not in ("index", "function")}
    joined["tool_calls"] = [*joined["tool_calls"].values()]
    assert read(joined).messages[0].parts == history.parts


@pytest.mark.parametrize(
    ("error", "type_", "code"),
    [
        (errors.NotAuthenticated("M"), "authentication_error", "unauthorized"),
        (errors.InvalidRequest("M", param="stop"), "invalid_request_error", "bad_request"),
        (errors.UnknownModel("M"), "invalid_request_error", "model_not_found"),
        (errors.Unsupported("M", param="seed"), "invalid_request_error", "unsupported"),
        (errors.RateLimited("M"), "rate_limit_error", "rate_limited"),
        (errors.Internal("M"), "gateway_error", "internal"),
        (errors.Draining("M"), "gateway_error", "draining"),
        (errors.IdleTimeout("M"), "gateway_error", "idle_timeout"),
        (errors.Truncated("M"), "gateway_error", "upstream_truncated"),
        (errors.EngineFailed("M", provider=ProviderErrorDetails(500)), "server_error", "provider_error"),
        (errors.EngineFailed("M", provider=ProviderErrorDetails(500, "c", "t")), "t", "c"),
        (errors.ContextTooLong("M", provider=ProviderErrorDetails(400, "context_length_exceeded", "invalid_request_error")),
         "invalid_request_error", "context_length_exceeded"),
        # The provider refused the server's key.
        (errors.EngineRefusedKey("M", provider=ProviderErrorDetails(401, "invalid_api_key", "invalid_request_error")),
         "gateway_error", "provider_auth"),
        (errors.EngineForbids("M", provider=ProviderErrorDetails(403, "x", "permission_error")),
         "gateway_error", "provider_permission"),
    ],
)  # fmt: skip
def test_e2_errors_have_the_form_of_the_wire(error: LLMError, type_: str, code: str) -> None:
    wire: Any = openai_chat.write_error(error)["error"]
    assert (wire["message"], wire["type"], wire["param"], wire["code"]) == ("M", type_, error.param, code)
    assert wire.get("provider") == (error.provider.as_json() if error.provider else None)


def test_models_are_named_with_their_engine() -> None:
    models = [
        ModelInfo(id="x/y", engine="host", name="Y", created=9, context_tokens=5, max_output_tokens=3, can=frozenset({"tools", "images"})),
        ModelInfo(id="z", engine="host"),
    ]  # fmt: skip
    assert openai_chat.write_models(models) == {
        "object": "list",
        "data": [
            {
                "id": "host/x/y", "object": "model", "created": 9, "owned_by": "host", "name": "Y", "kind": "chat",
                "capabilities": ["images", "tools"], "context_length": 5, "max_completion_tokens": 3,
            },
            {
                "id": "host/z", "object": "model", "created": 0, "owned_by": "host", "name": "z", "kind": "chat",
                "capabilities": [],
            },
        ],
    }  # fmt: skip


@pytest.mark.parametrize("streamed", [True, False])
def test_t1_sealed_reasoning_of_another_engine_returns_with_its_own_text(streamed: bool) -> None:
    first, second = (
        (ProviderMetadata("anthropic", "anthropic", {"signature": "s1"}),),
        (ProviderMetadata("gemini", "google", {"t": 1}),),
    )
    events: list[Event] = [
        Started("i", "m"),
        ReasoningDelta(0, "One"),
        ReasoningDelta(0, "."),
        PartEnded(0, first),
        ReasoningDelta(1, ""),
        PartEnded(1, second),
        TextDelta(2, "Said."),
        PartEnded(2),
        Finished("stop"),
    ]
    if streamed:
        raw = b"".join(openai_chat.create_writer(ChatRequest(model="m", messages=()), 1).feed(events)).decode()
        deltas = [json.loads(line[6:])["choices"][0]["delta"] for line in raw.splitlines() if '"delta"' in line]
        details = [one for delta in deltas for one in delta.get("reasoning_details", ())]
        message: Any = {"role": "assistant", "content": "Said.", "reasoning_content": "One."}
        message["reasoning_details"] = details
    else:
        whole: Any = openai_chat.write_reply(collect(events), ChatRequest(model="m", messages=()), 1)
        message = whole["choices"][0]["message"]
    [read] = openai_chat.read_request({"model": "m", "messages": [message]}).messages
    assert read.parts == (Reasoning("One.", first), Reasoning("", second), Text("Said."))
