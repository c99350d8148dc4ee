"""Reads responses of engines: the cases that no recording has."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm import errors
from llm.chat.events import Cited, Event, Finished, TextDelta, ToolCallDelta, ToolCallStarted
from llm.chat.grammar import Grammar
from llm.chat.messages import Citation, Media, Message, Reasoning, Text, ToolCall, ToolResult, UnknownPart, Usage
from llm.chat.reply import Reply, collect, replay
from llm.chat.request import ChatRequest
from llm.dialects import openai_responses as wire
from llm.wire.frames import Frame
from tests.support import paths
from tests.support.responses_engine import ENGINE, own, write_items

SAMPLES = paths.SAMPLES / "openai-responses"


def read(body: bytes, size: int = 10**9) -> list[Event]:
    framing, reader = wire.create_framing(), wire.create_reader(ENGINE)
    found: list[Event] = []
    for start in range(0, len(body), size):
        for frame in framing.feed(body[start : start + size]):
            found += reader.feed(frame)
    for frame in framing.close():
        found += reader.feed(frame)
    found += reader.close()
    assert reader.done
    return found


def read_payloads(*payloads: dict[str, Any]) -> list[Event]:
    """Reads a stream of these payloads and checks the grammar of its events."""
    reader = wire.create_reader(ENGINE)
    found = [event for payload in payloads for event in reader.feed(Frame(json.dumps(payload)))] + reader.close()
    grammar = Grammar()
    grammar.feed(found)
    grammar.close()
    return found


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", **fields}


CREATED = event("created", response={"id": "r", "model": "m", "status": "in_progress", "output": []})


def added(index: int, **item: Any) -> dict[str, Any]:
    return event("output_item.added", output_index=index, item=item)


def done(index: int, **item: Any) -> dict[str, Any]:
    return event("output_item.done", output_index=index, item=item)


def completed(*output: dict[str, Any], **more: Any) -> dict[str, Any]:
    return event("completed", response={"id": "r", "model": "m", "status": "completed", "output": [*output], **more})


def read_completed(*output: dict[str, Any], **more: Any) -> Reply:
    return wire.read_reply({"id": "r", "model": "m", "status": "completed", "output": [*output], **more}, ENGINE)


# Answers


def test_s3_reasoning_and_two_interleaved_calls_are_read() -> None:
    told = read((SAMPLES / "thinking-and-calls.sse").read_bytes())
    reply = collect(told)
    thought, text, *calls = reply.message.parts
    assert thought == Reasoning(
        "**Looking at cities**\n\nTwo of them.\n\n**Calling**\n\nOne call each.",
        own(
            id="rs_1",
            type="reasoning",
            summary=[
                {"type": "summary_text", "text": "**Looking at cities**\n\nTwo of them."},
                {"type": "summary_text", "text": "**Calling**\n\nOne call each."},
            ],
            encrypted_content="gAAAAAB+/==",
        ),
    )
    kept = own(item={"id": "msg_1", "status": "completed", "phase": "commentary"})
    assert text == Text("I ask for Zürich and 東京 🗼.", metadata=kept)
    assert calls == [
        ToolCall("call_1", "weather", '{"city":"Zürich"}', metadata=own(id="fc_1", status="completed")),
        ToolCall("call_2", "weather", '{"city":"東京"}', metadata=own(id="fc_2", status="completed")),
    ]
    assert reply.finish == Finished("tool_calls", "completed", own(service_tier="default"))
    assert reply.usage == Usage(fresh=40, cache_read=64, cache_write=16, text=50, reasoning=40)
    assert (reply.id, reply.model) == ("resp_1", "gpt-5.4-mini-2026-03-05")
    pieces = [event.arguments for event in told if isinstance(event, ToolCallDelta) and event.index == 3]
    assert pieces == ['{"city":"東', '京"}']


def test_s4_s8_variants_of_several_hosts_are_read() -> None:
    told = read((SAMPLES / "imitations.sse").read_bytes())
    reply = collect(told)
    assert [type(part) for part in reply.message.parts] == [Reasoning, Text, ToolCall, Text]
    assert (reply.reasoning, reply.text) == ("Easy.", "Four.Never streamed.")
    assert reply.calls[0].arguments == '{"n":4}'
    assert [event.text for event in told if isinstance(event, TextDelta)] == ["Four", ".", "Never streamed."]
    assert reply.finish == Finished("tool_calls", "completed", own(usage={"cost": 0.0001}))


@pytest.mark.parametrize("name", ["thinking-and-calls", "imitations"])
def test_s9_samples_are_read_whatever_the_chunk_size(name: str) -> None:
    body = (SAMPLES / f"{name}.sse").read_bytes()
    told = read(body)
    grammar = Grammar()
    grammar.feed(told)
    grammar.close()
    for size in (1, 2, 3, 7, 50):
        assert read(body, size) == told
        assert read(body.replace(b"\n", b"\r\n"), size) == told
    reply = collect(told)
    assert collect(replay(reply)) == reply


CALL = {"type": "function_call", "id": "fc", "call_id": "c", "name": "f"}
_PIECE = event("function_call_arguments.delta", output_index=0, item_id="fc", delta='{"a":')
_REST = event("function_call_arguments.delta", output_index=0, item_id="fc", delta="1}")
_ALL = event("function_call_arguments.done", output_index=0, item_id="fc", arguments='{"a":1}')
_DONE = done(0, **CALL, arguments='{"a":1}')
_LAST = completed({**CALL, "arguments": '{"a":1}'})
ADDED = added(0, **CALL, arguments="")


@pytest.mark.parametrize(
    "stream",
    [
        [ADDED, _PIECE, _REST, _ALL, _DONE, _LAST],
        [ADDED, _PIECE, _REST, completed()],
        [ADDED, _PIECE, _ALL, _LAST],
        [ADDED, _PIECE, _DONE, completed()],
        [ADDED, _ALL, _DONE, _LAST],
        [ADDED, _DONE, _ALL, _LAST],
        [ADDED, _LAST],
        [_PIECE, _DONE, _LAST],
        [_DONE, _LAST],
        [_LAST],
        [added(0, **CALL, arguments='{"a":1}'), completed()],
        [ADDED, _PIECE, _REST, done(0, **CALL, arguments={"a": 1}), completed()],
        [done(0, **CALL, arguments={"a": 1}), completed()],
    ],
)
def test_s4_arguments_are_emitted_once(stream: list[dict[str, Any]]) -> None:
    (call,) = collect(read_payloads(CREATED, *stream)).calls
    assert (call.id, call.name, json.loads(call.arguments)) == ("c", "f", {"a": 1})


MESSAGE = {"type": "message", "id": "m1", "role": "assistant"}
TEXT = {**MESSAGE, "content": [{"type": "output_text", "text": "Hi!", "annotations": []}]}
_DELTA = event("output_text.delta", output_index=0, item_id="m1", content_index=0, delta="Hi")


@pytest.mark.parametrize(
    "stream",
    [
        [added(0, **MESSAGE, content=[]), _DELTA, done(0, **TEXT), completed(TEXT)],
        [_DELTA, event("output_text.done", output_index=0, content_index=0, text="Hi!"), completed()],
        [_DELTA, completed(TEXT)],
        [done(0, **TEXT), completed()],
        [completed(TEXT)],
        [completed({**MESSAGE, "content": [{"type": "refusal", "refusal": "Hi!"}]})],
        [event("refusal.delta", output_index=0, content_index=0, delta="Hi!"), completed()],
        [event("output_text.delta", delta="H"), event("output_text.delta", delta="i!"), completed()],
    ],
)
def test_s4_a_text_is_emitted_once(stream: list[dict[str, Any]]) -> None:
    reply = collect(read_payloads(CREATED, *stream))
    assert reply.text == "Hi!" and len(reply.message.parts) == 1
    assert reply.finish.reason == "stop"


@pytest.mark.parametrize(
    "stream",
    [
        [],
        [CREATED],
        [CREATED, ADDED, _PIECE],
        [CREATED, _DELTA, done(0, **TEXT)],
    ],
)
def test_s1_a_stream_without_its_last_event_is_truncated(stream: list[dict[str, Any]]) -> None:
    reader = wire.create_reader(ENGINE)
    for payload in stream:
        reader.feed(Frame(json.dumps(payload)))
    reader.feed(Frame("[DONE]"))
    assert not reader.done
    with pytest.raises(errors.Truncated):
        reader.close()


BROKEN: list[tuple[dict[str, Any], type[errors.LLMError], str | None]] = [
    (
        {"type": "error", "code": "server_error", "message": "Broke.", "param": None},
        errors.EngineFailed,
        "server_error",
    ),
    (
        {"type": "error", "error": {"type": "too_many_requests", "code": "rate_limit_exceeded", "message": "Broke."}},
        errors.RateLimited,
        "rate_limit_exceeded",
    ),
    ({"error": {"message": "Broke.", "code": 503}}, errors.Overloaded, "503"),
    (
        event("failed", response={"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "Broke."}}),
        errors.RateLimited,
        "rate_limit_exceeded",
    ),
    (
        event("failed", response={"error": {"code": "image_too_large", "message": "Broke."}}),
        errors.InvalidRequest,
        "image_too_large",
    ),
    (
        event("failed", response={"error": {"code": "context_length_exceeded", "message": "Broke."}}),
        errors.ContextTooLong,
        "context_length_exceeded",
    ),
    (
        event("failed", response={"error": {"code": "bio_policy", "message": "Broke."}}),
        errors.ContentBlocked,
        "bio_policy",
    ),
    (
        event("failed", response={"error": {"code": "insufficient_quota", "message": "Broke."}}),
        errors.QuotaExceeded,
        "insufficient_quota",
    ),
    (event("failed", response={"error": {"code": "brand_new", "message": "Broke."}}), errors.EngineFailed, "brand_new"),
]


@pytest.mark.parametrize(("payload", "kind", "code"), BROKEN)
def test_s2_an_error_in_the_stream_is_raised(
    payload: dict[str, Any], kind: type[errors.LLMError], code: str | None
) -> None:
    reader = wire.create_reader(ENGINE)
    reader.feed(Frame(json.dumps(CREATED)))
    with pytest.raises(errors.LLMError) as told:
        reader.feed(Frame(json.dumps(payload)))
    error = told.value
    assert type(error) is kind and error.message == "Broke." and error.engine == "maker"
    assert error.provider is not None
    assert (error.provider.status, error.provider.code, error.provider.message) == (0, code, "Broke.")


def test_s2_a_failed_response_is_raised() -> None:
    with pytest.raises(errors.EngineFailed, match="Broke"):
        read_completed(status="failed", error={"code": "server_error", "message": "Broke."})
    with pytest.raises(errors.EngineFailed):
        read_completed(status="failed")
    with pytest.raises(errors.EngineFailed):
        read_completed(status="cancelled")
    with pytest.raises(errors.InvalidRequest, match="Broke"):
        wire.read_reply(
            {"error": {"type": "invalid_request_error", "code": "unsupported_value", "message": "Broke."}}, ENGINE
        )


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_s1_an_unfinished_response_is_truncated(status: str) -> None:
    with pytest.raises(errors.Truncated):
        read_completed(status=status)


@pytest.mark.parametrize(
    ("response", "alone", "beside_a_call", "raw"),
    [
        ({"status": "completed"}, "stop", "tool_calls", "completed"),
        ({"status": None}, "stop", "tool_calls", "completed"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length", "length", "max_output_tokens"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "filtered", "filtered", "content_filter"),
        ({"status": "incomplete", "incomplete_details": {"reason": "steered"}}, "length", "length", "steered"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_messages"}}, "length", "length", "max_messages"),
        ({"status": "incomplete", "incomplete_details": None}, "length", "length", "incomplete"),
    ],
)  # fmt: skip
def test_s6_the_finish_reason_is_tool_calls_exactly_when_there_are_calls(
    response: dict[str, Any], alone: str, beside_a_call: str, raw: str
) -> None:
    call = {**CALL, "arguments": "{}"}
    hosted = {"type": "web_search_call", "id": "ws", "status": "completed", "action": {"type": "search", "query": "q"}}
    for output, reason in (((TEXT,), alone), ((call,), beside_a_call), ((hosted,), alone), ((), alone)):
        finish = read_completed(*output, **response).finish
        assert (finish.reason, finish.raw) == (reason, raw)
        kind = "incomplete" if response["status"] == "incomplete" else "completed"
        last = event(kind, response={"id": "r", "model": "m", "output": [*output], **response})
        assert collect(read_payloads(CREATED, last)).finish == finish


def test_s8_invalid_events_are_ignored() -> None:
    odd: list[Any] = [
        [],
        7,
        None,
        {},
        {"type": None},
        {"type": "response.output_text.delta", "output_index": 0, "delta": None},
        {"type": "response.output_item.added", "output_index": 5, "item": None},
        {"type": "response.output_text.annotation.added", "output_index": 0, "annotation": None},
        {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "x"},
        {"type": "keepalive"},
    ]
    reader = wire.create_reader(ENGINE)
    reader.feed(Frame(json.dumps(CREATED)))
    assert [event for payload in odd for event in reader.feed(Frame(json.dumps(payload)))] == []
    assert reader.feed(Frame(json.dumps(_DELTA)))


def test_s8_invalid_json_is_malformed() -> None:
    with pytest.raises(errors.Malformed):
        wire.create_reader(ENGINE).feed(Frame("{"))
    odd: list[Any] = [[], "x", {}, {"output": None}]
    for body in odd:
        with pytest.raises(errors.Malformed):
            wire.read_reply(body, ENGINE)


def test_s8_a_call_without_a_name_is_malformed() -> None:
    with pytest.raises(errors.Malformed, match="name"):
        read_completed({"type": "function_call", "call_id": "c", "arguments": "{}"})


def test_s5_missing_and_repeated_call_ids_are_replaced() -> None:
    reply = read_completed({**CALL, "arguments": "{}"}, {**CALL, "arguments": "{}"}, {**CALL, "call_id": None})
    first, second, third = (call.id for call in reply.calls)
    assert first == "c" and len({first, second, third}) == 3
    assert second.startswith("call_") and third.startswith("call_")


def test_the_sse_event_name_replaces_a_missing_type() -> None:
    reader = wire.create_reader(ENGINE)
    (_, delta) = reader.feed(Frame('{"output_index":0,"delta":"Hi"}', "response.output_text.delta"))
    assert delta == TextDelta(0, "Hi")


def test_items_with_equal_output_index_are_read_separately() -> None:
    other = {**CALL, "id": "fc2", "call_id": "c2"}
    stream = [
        ADDED,
        _PIECE,
        _REST,
        added(0, **other, arguments=""),
        _PIECE,
        _ALL,
        done(0, **other, arguments='{"a":1}'),
    ]
    calls = collect(read_payloads(CREATED, *stream, completed())).calls
    assert [(call.id, call.arguments) for call in calls] == [("c", '{"a":1}'), ("c2", '{"a":1}')]


def test_t5_citations_are_emitted_once_with_offsets_into_their_text() -> None:
    url = {"type": "url_citation", "url": "https://a", "title": "A", "start_index": 0, "end_index": 2}
    late = {"type": "file_citation", "file_id": "f", "filename": "b.pdf", "index": 2}
    beyond = {**url, "url": "https://c", "end_index": 99}
    cited = event("output_text.annotation.added", output_index=0, content_index=0, annotation=url)
    item = {**MESSAGE, "content": [{"type": "output_text", "text": "Hi!", "annotations": [url, late, beyond]}]}
    told = read_payloads(CREATED, _DELTA, cited, done(0, **item), completed(item))
    assert [type(event) for event in told[1:4]] == [TextDelta, Cited, TextDelta]
    (text,) = collect(told).message.parts
    assert isinstance(text, Text)
    assert text.citations == (
        Citation("https://a", "A", start=0, end=2, metadata=own(**url)),
        Citation(title="b.pdf", metadata=own(**late)),
        Citation("https://c", "A", metadata=own(**beyond)),
    )
    assert read_completed(item).message.parts == (text,)


HOSTED = [
    ({"type": "web_search_call", "id": "x", "action": {"type": "search", "query": "q"}}, "web_search", '{"type":"search","query":"q"}'),
    ({"type": "file_search_call", "id": "x", "queries": ["q"], "results": None}, "file_search", '{"queries":["q"]}'),
    ({"type": "code_interpreter_call", "id": "x", "code": "1+1", "outputs": []}, "code_interpreter", '{"code":"1+1"}'),
    ({"type": "mcp_call", "id": "x", "name": "ask", "arguments": '{"a": 1}', "output": "No."}, "ask", '{"a": 1}'),
    ({"type": "mcp_call", "id": "x", "arguments": None}, "mcp", "{}"),
]  # fmt: skip


@pytest.mark.parametrize(("item", "name", "arguments"), HOSTED)
def test_provider_run_calls_are_read_and_sent_back_unchanged(item: dict[str, Any], name: str, arguments: str) -> None:
    begun = {key: item[key] for key in ("type", "id", "name") if key in item}
    told = read_payloads(
        CREATED, added(0, **begun), event(f"{item['type']}.searching", output_index=0), done(0, **item), completed()
    )
    assert told[1] == ToolCallStarted(0, "x", name, "provider")
    (call,) = collect(told).message.parts
    assert call == ToolCall("x", name, arguments, "provider", own(**item))
    assert write_items(Message("assistant", (call,))) == [item]


def test_a_generated_image_is_media_and_other_items_are_unknown_parts() -> None:
    image = {"type": "image_generation_call", "id": "ig", "status": "completed", "result": "iVBORw0KGgo="}
    webp = {**image, "output_format": "webp"}
    jpeg = {**image, "result": "/9j/4AAQ"}
    none = {**image, "result": None}
    poem = {"type": "poem", "id": "p", "lines": ["a"]}
    reply = read_completed(
        image, webp, jpeg, none, poem, {**MESSAGE, "content": [{"type": "output_song", "notes": "do"}]}
    )
    rest = {name: value for name, value in image.items() if name != "result"}
    assert reply.message.parts == (
        Media(mime="image/png", base64="iVBORw0KGgo=", metadata=own(**rest)),
        Media(mime="image/webp", base64="iVBORw0KGgo=", metadata=own(**rest, output_format="webp")),
        Media(mime="image/jpeg", base64="/9j/4AAQ", metadata=own(**rest)),
        UnknownPart(own(**none)),
        UnknownPart(own(**poem)),
        UnknownPart(own(type="output_song", notes="do")),
    )
    assert write_items(reply.message) == [image, webp, jpeg, none, poem]


def test_custom_tool_input_is_text_and_its_result_keeps_the_type() -> None:
    item = {"type": "custom_tool_call", "id": "ct", "call_id": "c", "name": "sh", "input": "ls -l"}
    told = read_payloads(
        CREATED,
        added(0, **{**item, "input": ""}),
        event("custom_tool_call_input.delta", output_index=0, delta="ls "),
        event("custom_tool_call_input.done", output_index=0, input="ls -l"),
        done(0, **item),
        completed(),
    )
    reply = collect(told)
    assert reply.message.parts == (
        ToolCall("c", "sh", '{"input":"ls -l"}', metadata=own(type="custom_tool_call", id="ct")),
    )
    assert reply.finish.reason == "tool_calls"
    result = Message("user", (ToolResult("c", (Text("total 0"),)),))
    output = {"type": "custom_tool_call_output", "call_id": "c", "output": "total 0"}
    assert write_items(reply.message, result) == [item, output]


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"input_tokens": 10, "output_tokens": 3, "total_tokens": 13}, Usage(fresh=10, text=3)),
        (
            {
                "input_tokens": 10,
                "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 5},
                "output_tokens": 8,
                "output_tokens_details": {"reasoning_tokens": 6},
                "total_tokens": 18,
            },
            Usage(fresh=1, cache_read=4, cache_write=5, text=2, reasoning=6),
        ),
        (
            {
                "input_tokens": 10,
                "output_tokens": 2,
                "output_tokens_details": {"reasoning_tokens": 6},
                "total_tokens": 18,
            },
            Usage(fresh=10, text=2, reasoning=6),
        ),
        (
            {"input_tokens": 3, "input_tokens_details": {"cached_tokens": 9}, "output_tokens": None},
            Usage(fresh=0, cache_read=3),
        ),
        ({"input_tokens": 0, "output_tokens": 0}, Usage(fresh=0, text=0)),
        (None, Usage()),
        ({"cost": 1}, Usage()),
    ],
)
def test_e8_counters_do_not_overlap(usage: dict[str, Any] | None, counted: Usage) -> None:
    assert read_completed(TEXT, usage=usage).usage == counted


def test_log_probabilities_are_in_the_metadata_of_their_text() -> None:
    logprobs = [{"token": "Hi!", "logprob": -0.5}]
    item = {**MESSAGE, "content": [{**TEXT["content"][0], "logprobs": logprobs}]}  # type: ignore[dict-item]
    assert read_completed(item).message.parts == (Text("Hi!", metadata=own(logprobs=logprobs, item={"id": "m1"})),)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = (
    "item", "response", "delta", "text", "arguments", "output_index", "content_index", "summary_index", "item_id",
    "annotation", "error", "id", "call_id", "name", "status", "output", "usage", "content", "summary", "queries",
    "action", "code", "result", "annotations", "incomplete_details", "message", "param", "detail",
)  # fmt: skip
_TYPES = (
    "error", "message", "reasoning", "function_call", "custom_tool_call", "web_search_call", "mcp_call", "output_text",
    "image_generation_call", "refusal", *(payload["type"] for payload in (CREATED, ADDED, _ALL, _DONE, _LAST, _DELTA)),
    "response.output_text.annotation.added", "response.reasoning_text.delta", "response.failed", "response.incomplete",
)  # fmt: skip
INVALID = st.recursive(
    JSON,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.builds(
            lambda type, fields: {"type": type, **fields},
            st.sampled_from(_TYPES),
            st.dictionaries(st.sampled_from(_FIELDS), inner, max_size=6),
        )
    ),
    max_leaves=20,
)


@given(st.lists(INVALID, max_size=6))
def test_s8_any_stream_is_read_or_an_llm_error(payloads: list[Any]) -> None:
    reader, grammar = wire.create_reader(ENGINE), Grammar()
    try:
        for payload in payloads:
            grammar.feed(reader.feed(Frame(json.dumps(payload))))
        grammar.feed(reader.close())
        grammar.close()
    except errors.LLMError:
        pass


@given(INVALID, st.integers(400, 599))
def test_s8_any_body_is_a_reply_or_an_llm_error(body: Any, status: int) -> None:
    whole = {"status": "completed", "output": body}
    for given_ in (body, whole):
        try:
            reply = wire.read_reply(given_, ENGINE)
        except errors.LLMError:
            continue
        assert collect(replay(reply)) == reply
        wire.write_request(ChatRequest(model="m", messages=(reply.message,)), ENGINE)
    assert isinstance(wire.read_error(status, json.dumps(body).encode(), ENGINE), errors.LLMError)
