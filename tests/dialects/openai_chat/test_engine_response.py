"""Reading Chat Completions answers of engines, streamed and whole."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm import errors
from llm.chat.events import (
    Cited,
    Event,
    Finished,
    PartEnded,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    WholePart,
)
from llm.chat.grammar import Grammar
from llm.chat.messages import Citation, Media, Message, Reasoning, Text, Usage
from llm.chat.provider_metadata import ProviderMetadata
from llm.chat.reply import Reply, collect
from llm.chat.request import ChatRequest
from llm.dialects import openai_chat
from llm.engines.engine import Engine, Quirks
from llm.errors import LLMError
from llm.wire.json_codec import Json
from tests.support.chat_engine import HOST, write_body
from tests.support.paths import SAMPLES
from tests.support.work import limit_processor_time, measure_work

DONE = b"data: [DONE]\n\n"


def frame(value: Any, event: str = "") -> bytes:
    return (f"event: {event}\n" if event else "").encode() + f"data: {json.dumps(value)}\n\n".encode()


def chunk(delta: Any, finish: str | None = None, **more: Any) -> bytes:
    return frame({"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more})


def calls(*pieces: Any) -> bytes:
    return chunk({"tool_calls": [*pieces]})


END = chunk({}, "stop") + DONE


def read_events(body: bytes, engine: Engine = HOST, size: int = 1 << 20) -> list[Event]:
    framing, reader = openai_chat.create_framing(), openai_chat.create_reader(engine)
    events: list[Event] = []
    for start in range(0, len(body), size):
        for each in framing.feed(body[start : start + size]):
            events += reader.feed(each)
    for each in framing.close():
        events += reader.feed(each)
    if not reader.done:
        events += reader.close()
    grammar = Grammar()
    grammar.feed(events)
    grammar.close()
    return events


def read_streamed(body: bytes, engine: Engine = HOST) -> Reply:
    return collect(read_events(body, engine))


def read_whole(message: Any, finish: str | None = "stop", engine: Engine = HOST, **more: Any) -> Reply:
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return openai_chat.read_reply({"id": "c", "model": "m", "choices": [choice], **more}, engine)


def list_calls(reply: Reply) -> list[tuple[str, str]]:
    return [(call.name, call.arguments) for call in reply.calls]


def call(name: str | None, arguments: Any, **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    return {"function": function, **more}


TOLD_APART = {
    "one index for all and no ids": (
        [[call("f", '{"x":1}', index=0, id="")], [call("g", "{}", index=0, id="")]],
        [("f", '{"x":1}'), ("g", "{}")],
    ),
    "the same in one chunk": (
        [[call("f", '{"x":1}', index=0, id=""), call("f", '{"x":2}', index=0, id="")]],
        [("f", '{"x":1}'), ("f", '{"x":2}')],
    ),
    "another name under one index, without arguments": (
        [[call("f", "", index=0)], [call("g", "", index=0)]],
        [("f", "{}"), ("g", "{}")],
    ),
    "the name repeated with each piece": (
        [[call("f", "", index=0)], [call("f", '{"x"', index=0)], [call("f", ":1}", index=0)]],
        [("f", '{"x":1}')],
    ),
    "the name repeated, no index": (
        [[call("f", '{"x"')], [call("f", ":1}")], [call("f", '{"x":2}')]],
        [("f", '{"x":1}'), ("f", '{"x":2}')],
    ),
    "an id that says null": (
        [[call("f", '{"x"', index=0, id="null")], [call("", ":1}", index=0, id="null")]],
        [("f", '{"x":1}')],
    ),
    "pieces of two, in turn": (
        [
            [call("f", "", index=0, id="a"), call("g", "", index=1, id="b")],
            [call(None, '{"x"', index=0), call(None, '{"y"', index=1)],
            [call(None, ":1}", index=0), call(None, ":2}", index=1)],
        ],
        [("f", '{"x":1}'), ("g", '{"y":2}')],
    ),
    "arguments before the name": (
        [[call(None, '{"x"', index=0, id="a")], [call("f", ":1}", index=0)]],
        [("f", '{"x":1}')],
    ),
    "an empty object where nothing is called": ([[call("", "", index=0, id="")]], []),
}


@pytest.mark.parametrize("name", TOLD_APART)
def test_s5_tool_calls_stay_separate(name: str) -> None:
    pieces, wanted = TOLD_APART[name]
    reply = read_streamed(b"".join(calls(*each) for each in pieces) + END)
    assert list_calls(reply) == wanted
    assert len({each.id for each in reply.calls}) == len(wanted)
    assert all(each.id not in ("", "null") for each in reply.calls)


def test_s5_calls_of_a_whole_answer_are_separated_by_position() -> None:
    made_ = [call("f", "{}", index=0, id=""), call("f", "{}", index=0, id="")]
    reply = read_whole({"content": None, "tool_calls": made_})
    assert list_calls(reply) == [("f", "{}"), ("f", "{}")]
    assert reply.calls[0].id != reply.calls[1].id


def test_s5_a_repeated_id_is_replaced() -> None:
    reply = read_streamed(calls(call("f", "{}", index=0, id="a"), call("g", "{}", index=1, id="a")) + END)
    first, second = reply.calls
    assert first.id == "a" and second.id not in ("a", "")


def test_s8_a_call_without_a_name_is_malformed() -> None:
    for body in (calls(call(None, "{}", index=0)) + END, calls({"index": 0, "id": "a", "function": {}}) + END):
        with pytest.raises(errors.Malformed, match="name"):
            read_events(body)
    with pytest.raises(errors.Malformed):
        read_whole({"tool_calls": [{"id": "a", "type": "function", "function": {"arguments": "{}"}}]})


def test_s3_interleaved_deltas_of_two_calls_keep_their_bytes() -> None:
    events = read_events(
        calls(call("f", "", index=0, id="a"))
        + calls(call("g", '{ "é":', index=1, id="b"))
        + calls(call(None, '{"x" :', index=0))
        + calls(call(None, ' "\\u00e9" }', index=1))
        + calls(call(None, " 1.0}", index=0))
        + END
    )
    index = {event.id: event.index for event in events if isinstance(event, ToolCallStarted)}
    told = {
        id: "".join(e.arguments for e in events if isinstance(e, ToolCallDelta) and e.index == n)
        for id, n in index.items()
    }
    assert told == {"a": '{"x" : 1.0}', "b": '{ "é": "\\u00e9" }'}


BROKEN: dict[str, tuple[bytes, type[LLMError], str | None]] = {
    "in x_groq": (chunk({}, x_groq={"id": "r", "error": {"message": "Broke.", "code": "x"}}), errors.EngineFailed, "x"),
    "as text in x_groq": (chunk({}, x_groq={"error": "Broke."}), errors.EngineFailed, None),
    "in the choice": (
        frame({"choices": [{"delta": {}, "finish_reason": "error", "error": {"code": 429, "message": "Broke."}}]}),
        errors.RateLimited,
        "429",
    ),
    "in a list": (frame([{"error": {"code": 503, "message": "Broke."}}]), errors.Overloaded, "503"),
    "as plain words": (b"event: error\ndata: Broke.\n\n", errors.EngineFailed, None),
    "with its status as text": (frame({"error": {"code": "429", "message": "Broke."}}), errors.RateLimited, "429"),
    "with its status beside it": (frame({"error": {"message": "Broke."}, "status_code": 503}), errors.Overloaded, None),
    "with a type for a status": (
        frame({"error": {"message": "Broke.", "type": "invalid_request_error"}}),
        errors.InvalidRequest,
        None,
    ),
    "with a code for a status": (
        frame({"error": {"message": "Broke.", "code": "insufficient_quota"}}),
        errors.QuotaExceeded,
        "insufficient_quota",
    ),
    "of a server": (frame({"error": {"message": "Broke.", "type": "server_error"}}), errors.EngineFailed, None),
    "flat": (frame({"object": "error", "message": "Broke.", "code": 400}), errors.InvalidRequest, "400"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_s2_an_error_among_the_chunks_is_that_error(name: str) -> None:
    body, kind, code = BROKEN[name]
    framing, reader = openai_chat.create_framing(), openai_chat.create_reader(HOST)
    for each in framing.feed(chunk({"content": "A"})):
        reader.feed(each)
    with pytest.raises(kind) as raised:
        for each in framing.feed(body):
            reader.feed(each)
    assert type(raised.value) is kind
    assert not reader.done
    said = raised.value.provider
    assert said is not None
    assert (said.message, said.code) == ("Broke.", code)


def test_s2_a_whole_answer_with_an_error_in_its_choice_is_that_error() -> None:
    choice = {"message": {"content": ""}, "finish_reason": "error", "error": {"code": 502, "message": "Broke."}}
    with pytest.raises(errors.EngineFailed, match="Broke"):
        openai_chat.read_reply({"choices": [choice]}, HOST)
    with pytest.raises(errors.RateLimited, match="Broke"):
        openai_chat.read_reply({"error": {"code": 429, "message": "Broke."}, "user_id": "u"}, HOST)


ODD_CHUNKS: list[Any] = [
    {},
    [],
    None,
    7,
    {"choices": []},
    {"choices": None},
    {"choices": [None]},
    {"choices": [{"delta": None}]},
    {"choices": [{"delta": {"content": None, "tool_calls": None, "role": None}}]},
    {"choices": [{"delta": {"content": "", "reasoning_content": "", "tool_calls": []}}]},
    {"choices": [{"delta": {"tool_calls": [None, 3]}}]},
    {"choices": [{"index": 1, "delta": {"content": "the other choice"}, "finish_reason": "length"}]},
    {"id": "", "model": "", "choices": [], "prompt_filter_results": []},
]


def test_s8_empty_and_unknown_chunks_give_no_events() -> None:
    odd = b"".join(map(frame, ODD_CHUNKS))
    body = odd + b": ping\n\nevent: x\n\ndata:" + chunk({"content": "A"})[6:] + odd + chunk({}, "stop") + odd + DONE
    events = read_events(body)
    assert [event for event in events if isinstance(event, TextDelta)] == [TextDelta(0, "A")]
    assert collect(events).finish == Finished("stop", "stop")


def test_s1_an_end_without_finish_reason_is_truncated_and_done_alone_is_other() -> None:
    with pytest.raises(errors.Truncated):
        read_events(chunk({"content": "A"}))
    assert read_streamed(chunk({"content": "A"}) + DONE).finish == Finished("other", None)
    assert read_streamed(chunk({"content": "A"}, "stop")).finish == Finished("stop", "stop")  # some send no [DONE]


S6 = [
    ("stop", "stop", "tool_calls"),
    ("eos", "stop", "tool_calls"),
    ("tool_calls", "stop", "tool_calls"),
    ("function_call", "stop", "tool_calls"),
    ("length", "length", "length"),
    ("model_length", "length", "length"),
    ("content_filter", "filtered", "filtered"),
    ("insufficient_system_resource", "error", "error"),
    ("a new word", "other", "tool_calls"),
]


@pytest.mark.parametrize(("said", "alone", "beside_a_call"), S6)
def test_s6_the_finish_reason_is_tool_calls_exactly_if_there_are_calls(
    said: str, alone: str, beside_a_call: str
) -> None:
    assert read_streamed(chunk({"content": "A"}) + chunk({}, said) + DONE).finish == Finished(alone, said)  # type: ignore[arg-type]
    called = calls(call("f", "{}", index=0, id="a"))
    assert read_streamed(called + chunk({}, said) + DONE).finish.reason == beside_a_call
    assert read_whole({"content": "A"}, said).finish.reason == alone
    assert read_whole({"tool_calls": [call("f", "{}", id="a")]}, said).finish.reason == beside_a_call


def test_t3_reasoning_in_both_fields_is_read_once() -> None:
    for delta in ({"reasoning": "Hm."}, {"reasoning_content": "Hm."}, {"reasoning": "Hm.", "reasoning_content": "Hm."}):
        assert read_streamed(chunk(delta) + chunk({"content": "A"}) + END).reasoning == "Hm."
        assert read_whole({**delta, "content": "A"}).reasoning == "Hm."


def get_details(reply: Reply) -> list[Any]:
    found: list[Any] = []
    for part in reply.message.parts:
        if isinstance(part, Reasoning):
            for opaque in part.metadata:
                assert (opaque.dialect, opaque.issuer) == ("openai-chat", "host")
                kept: Any = opaque.data["reasoning_details"]
                found += kept
    return found


def test_t1_reasoning_detail_deltas_are_merged_with_the_last_signature() -> None:
    def piece(text: str | None, **more: Any) -> bytes:
        return chunk({"reasoning": text, "reasoning_details": [{"type": "reasoning.text", "text": text, **more}]})

    body = piece("A", index=0, signature=None) + piece("B", index=0) + piece(None, index=0, signature="c2ln")
    body += piece("C", index=1, signature="bmV4dA==") + chunk({"content": "Yes."}) + END
    assert get_details(read_streamed(body)) == [
        {"type": "reasoning.text", "text": "AB", "index": 0, "signature": "c2ln"},
        {"type": "reasoning.text", "text": "C", "index": 1, "signature": "bmV4dA=="},
    ]


ENCRYPTED = [
    {"type": "reasoning.encrypted", "data": "QQ==", "index": 0, "id": "call_a", "format": "f"},
    {"type": "reasoning.encrypted", "data": "Qg==", "index": 0, "id": "call_b", "format": "f"},
    {"type": "reasoning.encrypted", "data": "Qw==", "index": 0, "format": "f"},
    {"type": "reasoning.encrypted", "data": "RA==", "index": 0, "format": "f"},
]


def test_t1_encrypted_details_stay_separate_and_return_unchanged_to_their_issuer_only() -> None:
    body = b"".join(chunk({"reasoning_details": [detail]}) for detail in ENCRYPTED)
    reply = read_streamed(body + calls(call("f", "{}", index=0, id="call_a")) + END)
    assert get_details(reply) == ENCRYPTED
    history = ChatRequest(model="m", messages=(Message("user", (Text("Go"),)), reply.message))
    assert write_body(history)["messages"][1]["reasoning_details"] == ENCRYPTED
    assert "reasoning_details" not in write_body(history, replace(HOST, issuer="another"))["messages"][1]


def test_t1_details_of_a_whole_answer_are_not_merged() -> None:
    details = [{"type": "reasoning.text", "text": "A"}, {"type": "reasoning.text", "text": "B"}, *ENCRYPTED]
    assert get_details(read_whole({"content": "Yes.", "reasoning": "AB", "reasoning_details": details})) == details


def test_withheld_reasoning_is_a_reasoning_part() -> None:
    reply = read_whole({"content": "Yes.", "reasoning_details": ENCRYPTED[:1]})
    assert [type(part) for part in reply.message.parts] == [Text, Reasoning]
    assert get_details(reply) == ENCRYPTED[:1]


def cited(url: str, start: int, end: int) -> dict[str, Any]:
    return {"type": "url_citation", "url_citation": {"url": url, "start_index": start, "end_index": end}}


def test_t5_offsets_count_in_the_cited_part() -> None:
    body = chunk({"content": "🎈 one. "}) + chunk({"annotations": [cited("https://a", 2, 5)]})
    body += calls(call("f", "{}", index=0, id="a")) + chunk({"content": "Then two."})
    body += chunk({"annotations": [cited("https://b", 12, 15), cited("https://a", 2, 5)]}) + END
    parts = read_streamed(body).message.parts
    texts = [part for part in parts if isinstance(part, Text)]
    assert [part.text for part in texts] == ["🎈 one. ", "Then two."]
    [first] = texts[0].citations
    second, late = texts[1].citations
    assert (first.url, first.start, first.end) == ("https://a", 2, 5)
    assert texts[0].text[2:5] == "one"
    assert (second.url, second.start, second.end) == ("https://b", 5, 8)
    assert texts[1].text[5:8] == "two"
    assert (late.url, late.start, late.end) == (
        "https://a",
        None,
        None,
    )  # the citation belongs to a part that has ended


def test_t5_sources_repeated_in_every_chunk_are_cited_once() -> None:
    urls = ["https://a", "https://b"]
    body = chunk({"content": "A"}, citations=urls) + chunk({"content": "B"}, "stop", citations=urls) + DONE
    [part] = read_streamed(body).message.parts
    assert isinstance(part, Text)
    assert [citation.url for citation in part.citations] == urls


def test_content_can_hold_reasoning_text_and_images() -> None:
    content = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
        {"type": "thinking", "thinking": "Hm."},
        {"type": "text", "text": "Look: "},
        {"type": "image_url", "image_url": "https://host.example/a.png"},
        {"type": "reference", "reference_ids": [1]},
        None,
    ]
    for reply in (read_whole({"content": content}), read_streamed(chunk({"content": content}) + END)):
        assert reply.message.parts == (
            Reasoning("Hm.Hm.", (ProviderMetadata("openai-chat", "host", {"reasoning_field": "content"}),)),
            Text("Look: "),
            Media(mime="image/png", url="https://host.example/a.png"),
            Text("", (Citation(title="reference 1"),)),
        )


def test_a_legacy_function_call_is_a_tool_call() -> None:
    body = chunk({"function_call": {"name": "f", "arguments": ""}}) + chunk({"function_call": {"arguments": "{}"}})
    assert list_calls(read_streamed(body + chunk({}, "function_call") + DONE)) == [("f", "{}")]
    assert list_calls(read_whole({"content": None, "function_call": {"name": "f", "arguments": "{}"}}, "stop")) == [
        ("f", "{}")
    ]


def test_log_probabilities_and_audio_of_a_whole_answer_are_kept() -> None:
    sound: dict[str, Json] = {"id": "audio_1", "data": "T2dn", "transcript": "Hi", "expires_at": 9}
    choice = {
        "message": {"content": None, "audio": sound},
        "finish_reason": "stop",
        "logprobs": {"content": [{"token": "A", "logprob": -1.5}], "refusal": None},
    }
    reply = openai_chat.read_reply({"choices": [choice]}, HOST)
    assert reply.finish.metadata == (
        ProviderMetadata(
            "openai-chat", "host", {"logprobs": {"content": [{"token": "A", "logprob": -1.5}]}, "audio": sound}
        ),
    )
    wire: Any = openai_chat.write_reply(reply, ChatRequest(model="m", messages=()), 1)
    assert wire["choices"][0]["message"]["audio"] == sound
    assert wire["choices"][0]["logprobs"]["content"] == choice["logprobs"]["content"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("engine", "wire", "usage"),
    [
        (HOST, {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}, Usage(fresh=9, text=4)),
        (
            HOST,
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30, "audio_tokens": 5},
                "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 7},
            },
            Usage(
                fresh=10,
                cache_read=60,
                cache_write=30,
                text=30,
                reasoning=20,
                other={"audio_input": 5, "audio_output": 7},
            ),
        ),
        (
            HOST,
            {"prompt_tokens": 9, "completion_tokens": 4, "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 1},
            Usage(fresh=1, cache_read=8, text=4),
        ),
        (
            replace(HOST, quirks=Quirks(reasoning_in_output=False)),
            {"prompt_tokens": 9, "completion_tokens": 4, "completion_tokens_details": {"reasoning_tokens": 6}},
            Usage(fresh=9, text=4, reasoning=6),
        ),
        (
            HOST,  # parts larger than the total: the total is billed
            {
                "prompt_tokens": 9,
                "completion_tokens": 4,
                "prompt_tokens_details": {"cached_tokens": 99, "cache_write_tokens": 99},
                "completion_tokens_details": {"reasoning_tokens": 6},
            },
            Usage(fresh=0, cache_read=9, text=0, reasoning=4),
        ),
        (HOST, {"prompt_tokens": 9.0, "completion_tokens": 4.0}, Usage(fresh=9, text=4)),
    ],
)
def test_e8_counters_do_not_overlap(engine: Engine, wire: dict[str, Any], usage: Usage) -> None:
    behind = frame({"id": "c", "choices": [], "usage": wire})
    for body in (
        chunk({"content": "A"}, "stop") + behind + DONE,
        chunk({"content": "A"}, "stop", usage=wire) + DONE,
        chunk({"content": "A"}, "stop", x_groq={"usage": wire}, usage=wire) + DONE,
        chunk({"content": "A"}, usage={"prompt_tokens": 9, "completion_tokens": 1}) + END[: -len(DONE)] + behind + DONE,
        frame({"id": "c", "choices": [{"delta": {"content": "A"}, "finish_reason": "stop", "usage": wire}]}) + DONE,
    ):
        reply = read_streamed(body, engine)
        assert reply.usage == usage
    assert read_whole({"content": "A"}, engine=engine, usage=wire).usage == usage
    assert usage.input == 9 or usage.input == 100


def test_e8_no_usage_is_none_and_not_zero() -> None:
    for reply in (read_streamed(chunk({"content": "A"}) + END), read_whole({"content": "A"}, usage=None)):
        assert reply.usage == Usage()
    zeros = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert read_streamed(chunk({"content": "A"}) + END[: -len(DONE)] + frame({"choices": [], "usage": zeros}) + DONE).usage == Usage(fresh=0, text=0)  # fmt: skip


def test_o3_the_cost_of_a_chunk_is_constant() -> None:
    """Includes log probabilities and reasoning details, which are collected over the whole answer."""
    choice = {
        "index": 0,
        "delta": {"reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "x" * 400}]},
        "logprobs": {"content": [{"token": "x"}] * 20},
    }
    [each] = openai_chat.create_framing().feed(frame({"id": "c", "choices": [choice]}))

    reader = openai_chat.create_reader(HOST)
    with limit_processor_time():
        codes, held = measure_work(lambda: reader.feed(each))
        for _ in range(8000):
            reader.feed(each)
        late_codes, late_held = measure_work(lambda: reader.feed(each))
    assert late_codes <= codes and late_held < 2 * held


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            [
                "id", "model", "choices", "delta", "message", "index", "content", "text", "type", "reasoning",
                "reasoning_details", "tool_calls", "function", "name", "arguments", "finish_reason", "usage", "x_groq",
                "error", "code", "detail", "loc", "annotations", "url_citation", "images", "image_url", "audio",
                "logprobs", "citations", "prompt_tokens", "prompt_tokens_details", "cached_tokens", "metadata",
                "data", "architecture", "modality", "providers", "capabilities", "created", "supported_parameters",
            ]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=25,
)  # fmt: skip


@given(values=st.lists(JSON, max_size=4), choice=JSON, status=st.integers(400, 599))
def test_s8_any_json_is_read_or_an_llm_error(values: list[Any], choice: Any, status: int) -> None:
    for value in (*values, {"choices": [choice]}, {"choices": [{"delta": choice}]}, {"choices": [{"message": choice}]}):
        for read in (
            lambda value=value: read_events(frame(value) + END),
            lambda value=value: openai_chat.read_reply(value, HOST),
            lambda value=value: listed_or_error(value),
        ):
            try:
                read()
            except LLMError as error:
                assert error.message
        assert isinstance(openai_chat.read_error(status, json.dumps(value).encode(), HOST), LLMError)


def listed_or_error(value: Any) -> None:
    for body in (value, [value], {"data": [{"id": "a", **value} if isinstance(value, dict) else value]}):
        lister = openai_chat.list_models(HOST)
        next(lister)
        with suppress(StopIteration):
            lister.send([body])


def test_s9_the_samples_are_read_the_same_for_any_cut() -> None:
    for path in (SAMPLES / "openai-chat").glob("*.sse"):
        body = path.read_bytes()
        once = read_events(body)
        for size in (1, 2, 3, 7, 64):
            assert read_events(body, size=size) == once
            assert read_events(body.replace(b"\n", b"\r\n"), size=size) == once


def test_a_sample_of_imitating_hosts_is_read() -> None:
    """``samples/openai-chat/imitations.sse`` combines deviations of several hosts in one stream."""
    body = (SAMPLES / "openai-chat" / "imitations.sse").read_bytes()
    events = read_events(body)
    kinds = [type(event) for event in events]
    assert kinds.count(WholePart) == 1 and kinds.count(Cited) == 2
    assert ReasoningDelta in kinds and PartEnded in kinds
    reply = collect(events)
    assert reply.reasoning == "Zwei Dinge."
    assert reply.text == "Grüße 🎈 aus Köln."
    assert [(each.name, each.arguments) for each in reply.calls] == [("wetter", '{"ort": "Köln"}'), ("zeit", "{}")]
    assert reply.finish == Finished("tool_calls", "eos")
    assert reply.usage == Usage(fresh=4, cache_read=8, text=6, reasoning=3)
    cited_for = [part for part in reply.message.parts if isinstance(part, Text)]
    assert cited_for[0].citations[0] == Citation(
        "https://a.example", "A", None, 6, 7, cited_for[0].citations[0].metadata
    )
    assert cited_for[0].text[6:7] == "🎈"
