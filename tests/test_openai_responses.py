"""OpenAI's Responses, engine side: what its wire does that the recordings do not show, and every request as it is sent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm import errors
from llm.chat.events import Cited, Event, Finished, TextDelta, ToolCallDelta, ToolCallStarted
from llm.chat.grammar import Grammar
from llm.chat.messages import Citation, Foreign, Media, Message, Part, Reasoning, Text, ToolCall, ToolResult, Usage
from llm.chat.provider_metadata import Keep, Opaque
from llm.chat.reply import Reply, collect, replay
from llm.chat.request import ChatRequest, JsonFormat, Options, ToolSpec
from llm.dialects import openai_responses as wire
from llm.engines.capabilities import ModelRules
from llm.engines.engine import Engine, Quirks
from llm.wire.frames import Frame

SAMPLES = Path(__file__).parent / "samples" / "openai-responses"
ENGINE = Engine(name="maker", label="Maker", dialect="openai-responses", base_url="https://maker.example/v1")
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"q": {"type": "string"}}}
HELLO = Message("user", (Text("Hello"),))
HELLO_ITEM = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]}


def own(**fields: Any) -> Keep:
    return (Opaque(wire.NAME, ENGINE.issuer, fields),)


def sent(**fields: Any) -> Keep:
    return (Opaque(wire.NAME, None, fields),)


def read(body: bytes, size: int = 10**9) -> list[Event]:
    framing, reader = wire.framing(), wire.reader(ENGINE)
    found: list[Event] = []
    for start in range(0, len(body), size):
        for frame in framing.feed(body[start : start + size]):
            found += reader.feed(frame)
    for frame in framing.close():
        found += reader.feed(frame)
    found += reader.close()
    assert reader.done
    return found


def events(*payloads: dict[str, Any]) -> list[Event]:
    """What a stream of these tells; its grammar is checked."""
    reader = wire.reader(ENGINE)
    found = [event for payload in payloads for event in reader.feed(Frame(json.dumps(payload)))] + reader.close()
    grammar = Grammar()
    grammar.feed(found)
    grammar.close()
    return found


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", **fields}


CREATED = event("created", response={"id": "r", "model": "m", "status": "in_progress", "output": []})


def added(place: int, **item: Any) -> dict[str, Any]:
    return event("output_item.added", output_index=place, item=item)


def done(place: int, **item: Any) -> dict[str, Any]:
    return event("output_item.done", output_index=place, item=item)


def completed(*output: dict[str, Any], **more: Any) -> dict[str, Any]:
    return event("completed", response={"id": "r", "model": "m", "status": "completed", "output": [*output], **more})


def answered(*output: dict[str, Any], **more: Any) -> Reply:
    return wire.read_reply({"id": "r", "model": "m", "status": "completed", "output": [*output], **more}, ENGINE)


def body_of(*messages: Message, engine: Engine = ENGINE, **fields: Any) -> dict[str, Any]:
    outgoing = wire.write_request(ChatRequest(model="m", messages=messages or (HELLO,), **fields), engine)
    assert (outgoing.path, outgoing.method) == ("/responses", "POST")
    return dict(outgoing.body or {})


def items_of(*messages: Message, **fields: Any) -> Any:
    return body_of(*messages, **fields)["input"]


def options_of(engine: Engine = ENGINE, **options: Any) -> dict[str, Any]:
    """The fields that options become, without those of every request."""
    body = body_of(engine=engine, options=Options(**options))
    assert body.pop("input") == [HELLO_ITEM] and body.pop("model") == "m" and body.pop("store") is False
    if body["include"] == ["reasoning.encrypted_content"]:
        del body["include"]
    return body


# Answers


def test_s3_the_sample_of_a_thought_and_two_interleaved_calls() -> None:
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
    assert text == Text("I ask for Zürich and 東京 🗼.", keep=kept)
    assert calls == [
        ToolCall("call_1", "weather", '{"city":"Zürich"}', keep=own(id="fc_1", status="completed")),
        ToolCall("call_2", "weather", '{"city":"東京"}', keep=own(id="fc_2", status="completed")),
    ]
    assert reply.finish == Finished("tool_calls", "completed", own(service_tier="default"))
    assert reply.usage == Usage(fresh=40, cache_read=64, cache_write=16, text=50, reasoning=40)
    assert (reply.id, reply.model) == ("resp_1", "gpt-5.4-mini-2026-03-05")
    pieces = [event.arguments for event in told if isinstance(event, ToolCallDelta) and event.index == 3]
    assert pieces == ['{"city":"東', '京"}']


def test_s4_s8_the_sample_of_what_several_hosts_do() -> None:
    told = read((SAMPLES / "imitations.sse").read_bytes())
    reply = collect(told)
    assert [type(part) for part in reply.message.parts] == [Reasoning, Text, ToolCall, Text]
    assert (reply.reasoning, reply.text) == ("Easy.", "Four.Never streamed.")
    assert reply.calls[0].arguments == '{"n":4}'
    assert [event.text for event in told if isinstance(event, TextDelta)] == ["Four", ".", "Never streamed."]
    assert reply.finish == Finished("tool_calls", "completed", own(usage={"cost": 0.0001}))


@pytest.mark.parametrize("name", ["thinking-and-calls", "imitations"])
def test_s9_the_samples_are_the_same_cut_anywhere(name: str) -> None:
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
_ENDED = done(0, **CALL, arguments='{"a":1}')
_LAST = completed({**CALL, "arguments": '{"a":1}'})
BEGUN = added(0, **CALL, arguments="")


@pytest.mark.parametrize(
    "stream",
    [
        [BEGUN, _PIECE, _REST, _ALL, _ENDED, _LAST],
        [BEGUN, _PIECE, _REST, completed()],
        [BEGUN, _PIECE, _ALL, _LAST],
        [BEGUN, _PIECE, _ENDED, completed()],
        [BEGUN, _ALL, _ENDED, _LAST],
        [BEGUN, _ENDED, _ALL, _LAST],
        [BEGUN, _LAST],
        [_PIECE, _ENDED, _LAST],
        [_ENDED, _LAST],
        [_LAST],
        [added(0, **CALL, arguments='{"a":1}'), completed()],
        [BEGUN, _PIECE, _REST, done(0, **CALL, arguments={"a": 1}), completed()],
        [done(0, **CALL, arguments={"a": 1}), completed()],
    ],
)
def test_s4_arguments_come_once_wherever_they_are_told(stream: list[dict[str, Any]]) -> None:
    (call,) = collect(events(CREATED, *stream)).calls
    assert (call.id, call.name, json.loads(call.arguments)) == ("c", "f", {"a": 1})


SAID = {"type": "message", "id": "m1", "role": "assistant"}
TEXT = {**SAID, "content": [{"type": "output_text", "text": "Hi!", "annotations": []}]}
_DELTA = event("output_text.delta", output_index=0, item_id="m1", content_index=0, delta="Hi")


@pytest.mark.parametrize(
    "stream",
    [
        [added(0, **SAID, content=[]), _DELTA, done(0, **TEXT), completed(TEXT)],
        [_DELTA, event("output_text.done", output_index=0, content_index=0, text="Hi!"), completed()],
        [_DELTA, completed(TEXT)],
        [done(0, **TEXT), completed()],
        [completed(TEXT)],
        [completed({**SAID, "content": [{"type": "refusal", "refusal": "Hi!"}]})],
        [event("refusal.delta", output_index=0, content_index=0, delta="Hi!"), completed()],
        [event("output_text.delta", delta="H"), event("output_text.delta", delta="i!"), completed()],
    ],
)
def test_s4_a_text_comes_once_wherever_it_is_told(stream: list[dict[str, Any]]) -> None:
    reply = collect(events(CREATED, *stream))
    assert reply.text == "Hi!" and len(reply.message.parts) == 1
    assert reply.finish.reason == "stop"


@pytest.mark.parametrize(
    "stream",
    [
        [],
        [CREATED],
        [CREATED, BEGUN, _PIECE],
        [CREATED, _DELTA, done(0, **TEXT)],
    ],
)
def test_s1_a_stream_without_its_last_event_is_truncated(stream: list[dict[str, Any]]) -> None:
    reader = wire.reader(ENGINE)
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
def test_s2_an_error_in_the_stream_is_that_error(
    payload: dict[str, Any], kind: type[errors.LLMError], code: str | None
) -> None:
    reader = wire.reader(ENGINE)
    reader.feed(Frame(json.dumps(CREATED)))
    with pytest.raises(errors.LLMError) as told:
        reader.feed(Frame(json.dumps(payload)))
    error = told.value
    assert type(error) is kind and error.message == "Broke." and error.engine == "maker"
    assert error.provider is not None
    assert (error.provider.status, error.provider.code, error.provider.message) == (0, code, "Broke.")


def test_s2_a_whole_answer_that_failed_is_that_error() -> None:
    with pytest.raises(errors.EngineFailed, match="Broke"):
        answered(status="failed", error={"code": "server_error", "message": "Broke."})
    with pytest.raises(errors.EngineFailed):
        answered(status="failed")
    with pytest.raises(errors.EngineFailed):
        answered(status="cancelled")
    with pytest.raises(errors.InvalidRequest, match="Broke"):
        wire.read_reply(
            {"error": {"type": "invalid_request_error", "code": "unsupported_value", "message": "Broke."}}, ENGINE
        )


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_s1_a_whole_answer_that_is_still_made_is_truncated(status: str) -> None:
    with pytest.raises(errors.Truncated):
        answered(status=status)


@pytest.mark.parametrize(
    ("response", "alone", "beside_a_call", "raw"),
    [
        ({"status": "completed"}, "stop", "tool_calls", "completed"),
        ({"status": None}, "stop", "tool_calls", "completed"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length", "length", "max_output_tokens"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "filtered", "filtered", "content_filter"),
        ({"status": "incomplete", "incomplete_details": {"reason": "steered"}}, "other", "tool_calls", "steered"),
        ({"status": "incomplete", "incomplete_details": None}, "other", "tool_calls", "incomplete"),
    ],
)  # fmt: skip
def test_s6_the_reason_says_calls_exactly_when_there_are_some(
    response: dict[str, Any], alone: str, beside_a_call: str, raw: str
) -> None:
    call = {**CALL, "arguments": "{}"}
    hosted = {"type": "web_search_call", "id": "ws", "status": "completed", "action": {"type": "search", "query": "q"}}
    for output, reason in (((TEXT,), alone), ((call,), beside_a_call), ((hosted,), alone), ((), alone)):
        finish = answered(*output, **response).finish
        assert (finish.reason, finish.raw) == (reason, raw)
        kind = "incomplete" if response["status"] == "incomplete" else "completed"
        last = event(kind, response={"id": "r", "model": "m", "output": [*output], **response})
        assert collect(events(CREATED, last)).finish == finish


def test_s8_odd_events_say_nothing() -> None:
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
    reader = wire.reader(ENGINE)
    reader.feed(Frame(json.dumps(CREATED)))
    assert [event for payload in odd for event in reader.feed(Frame(json.dumps(payload)))] == []
    assert reader.feed(Frame(json.dumps(_DELTA)))


def test_s8_what_is_not_json_is_malformed() -> None:
    with pytest.raises(errors.Malformed):
        wire.reader(ENGINE).feed(Frame("{"))
    odd: list[Any] = [[], "x", {}, {"output": None}]
    for body in odd:
        with pytest.raises(errors.Malformed):
            wire.read_reply(body, ENGINE)


def test_s8_a_call_without_a_name_is_no_answer() -> None:
    with pytest.raises(errors.Malformed, match="name"):
        answered({"type": "function_call", "call_id": "c", "arguments": "{}"})


def test_s5_ids_that_are_missing_or_given_twice_are_minted() -> None:
    reply = answered({**CALL, "arguments": "{}"}, {**CALL, "arguments": "{}"}, {**CALL, "call_id": None})
    first, second, third = (call.id for call in reply.calls)
    assert first == "c" and len({first, second, third}) == 3
    assert second.startswith("call_") and third.startswith("call_")


def test_the_event_s_name_serves_where_the_type_is_missing() -> None:
    reader = wire.reader(ENGINE)
    (_, delta) = reader.feed(Frame('{"output_index":0,"delta":"Hi"}', "response.output_text.delta"))
    assert delta == TextDelta(0, "Hi")


def test_items_that_all_have_the_same_place_are_told_apart() -> None:
    other = {**CALL, "id": "fc2", "call_id": "c2"}
    stream = [
        BEGUN,
        _PIECE,
        _REST,
        added(0, **other, arguments=""),
        _PIECE,
        _ALL,
        done(0, **other, arguments='{"a":1}'),
    ]
    calls = collect(events(CREATED, *stream, completed())).calls
    assert [(call.id, call.arguments) for call in calls] == [("c", '{"a":1}'), ("c2", '{"a":1}')]


def test_t5_citations_come_once_with_offsets_into_their_own_text() -> None:
    url = {"type": "url_citation", "url": "https://a", "title": "A", "start_index": 0, "end_index": 2}
    late = {"type": "file_citation", "file_id": "f", "filename": "b.pdf", "index": 2}
    beyond = {**url, "url": "https://c", "end_index": 99}
    cited = event("output_text.annotation.added", output_index=0, content_index=0, annotation=url)
    item = {**SAID, "content": [{"type": "output_text", "text": "Hi!", "annotations": [url, late, beyond]}]}
    told = events(CREATED, _DELTA, cited, done(0, **item), completed(item))
    assert [type(event) for event in told[1:4]] == [TextDelta, Cited, TextDelta]
    (text,) = collect(told).message.parts
    assert isinstance(text, Text)
    assert text.citations == (
        Citation("https://a", "A", start=0, end=2, keep=own(**url)),
        Citation(title="b.pdf", keep=own(**late)),
        Citation("https://c", "A", keep=own(**beyond)),
    )
    assert answered(item).message.parts == (text,)


HOSTED = [
    ({"type": "web_search_call", "id": "x", "action": {"type": "search", "query": "q"}}, "web_search", '{"type":"search","query":"q"}'),
    ({"type": "file_search_call", "id": "x", "queries": ["q"], "results": None}, "file_search", '{"queries":["q"]}'),
    ({"type": "code_interpreter_call", "id": "x", "code": "1+1", "outputs": []}, "code_interpreter", '{"code":"1+1"}'),
    ({"type": "mcp_call", "id": "x", "name": "ask", "arguments": '{"a": 1}', "output": "No."}, "ask", '{"a": 1}'),
    ({"type": "mcp_call", "id": "x", "arguments": None}, "mcp", "{}"),
]  # fmt: skip


@pytest.mark.parametrize(("item", "name", "arguments"), HOSTED)
def test_what_the_provider_runs_is_a_call_of_its_own_and_goes_back_as_it_came(
    item: dict[str, Any], name: str, arguments: str
) -> None:
    begun = {key: item[key] for key in ("type", "id", "name") if key in item}
    told = events(
        CREATED, added(0, **begun), event(f"{item['type']}.searching", output_index=0), done(0, **item), completed()
    )
    assert told[1] == ToolCallStarted(0, "x", name, "provider")
    (call,) = collect(told).message.parts
    assert call == ToolCall("x", name, arguments, "provider", own(**item))
    assert items_of(Message("assistant", (call,))) == [item]


def test_an_image_that_was_made_is_media_and_what_is_unknown_is_foreign() -> None:
    image = {"type": "image_generation_call", "id": "ig", "status": "completed", "result": "iVBORw0KGgo="}
    webp = {**image, "output_format": "webp"}
    jpeg = {**image, "result": "/9j/4AAQ"}
    none = {**image, "result": None}
    poem = {"type": "poem", "id": "p", "lines": ["a"]}
    reply = answered(image, webp, jpeg, none, poem, {**SAID, "content": [{"type": "output_song", "notes": "do"}]})
    rest = {name: value for name, value in image.items() if name != "result"}
    assert reply.message.parts == (
        Media(mime="image/png", base64="iVBORw0KGgo=", keep=own(**rest)),
        Media(mime="image/webp", base64="iVBORw0KGgo=", keep=own(**rest, output_format="webp")),
        Media(mime="image/jpeg", base64="/9j/4AAQ", keep=own(**rest)),
        Foreign(own(**none)),
        Foreign(own(**poem)),
        Foreign(own(type="output_song", notes="do")),
    )
    assert items_of(reply.message) == [image, webp, jpeg, none, poem]


def test_a_custom_tool_s_input_is_text_and_its_result_goes_back_as_such() -> None:
    item = {"type": "custom_tool_call", "id": "ct", "call_id": "c", "name": "sh", "input": "ls -l"}
    told = events(
        CREATED,
        added(0, **{**item, "input": ""}),
        event("custom_tool_call_input.delta", output_index=0, delta="ls "),
        event("custom_tool_call_input.done", output_index=0, input="ls -l"),
        done(0, **item),
        completed(),
    )
    reply = collect(told)
    assert reply.message.parts == (ToolCall("c", "sh", "ls -l", keep=own(type="custom_tool_call", id="ct")),)
    assert reply.finish.reason == "tool_calls"
    result = Message("user", (ToolResult("c", (Text("total 0"),)),))
    output = {"type": "custom_tool_call_output", "call_id": "c", "output": "total 0"}
    assert items_of(reply.message, result) == [item, output]


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
    assert answered(TEXT, usage=usage).usage == counted


def test_log_probabilities_are_kept_with_their_text() -> None:
    logprobs = [{"token": "Hi!", "logprob": -0.5}]
    item = {**SAID, "content": [{**TEXT["content"][0], "logprobs": logprobs}]}  # type: ignore[dict-item]
    assert answered(item).message.parts == (Text("Hi!", keep=own(logprobs=logprobs, item={"id": "m1"})),)


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
    "image_generation_call", "refusal", *(payload["type"] for payload in (CREATED, BEGUN, _ALL, _ENDED, _LAST, _DELTA)),
    "response.output_text.annotation.added", "response.reasoning_text.delta", "response.failed", "response.incomplete",
)  # fmt: skip
ODD = st.recursive(
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


@given(st.lists(ODD, max_size=6))
def test_s8_any_json_is_an_answer_or_a_told_error(payloads: list[Any]) -> None:
    reader, grammar = wire.reader(ENGINE), Grammar()
    try:
        for payload in payloads:
            grammar.feed(reader.feed(Frame(json.dumps(payload))))
        grammar.feed(reader.close())
        grammar.close()
    except errors.LLMError:
        pass


@given(ODD, st.integers(400, 599))
def test_s8_any_json_is_a_reply_or_a_told_error(body: Any, status: int) -> None:
    whole = {"status": "completed", "output": body}
    for given_ in (body, whole):
        try:
            reply = wire.read_reply(given_, ENGINE)
        except errors.LLMError:
            continue
        assert collect(replay(reply)) == reply
        wire.write_request(ChatRequest(model="m", messages=(reply.message,)), ENGINE)
    assert isinstance(wire.read_error(status, json.dumps(body).encode(), ENGINE), errors.LLMError)


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
def test_e2_an_error_keeps_its_words(
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
def test_e2_a_proxy_s_text_is_told_and_its_page_is_not(body: bytes, message: str) -> None:
    error = wire.read_error(502, body, ENGINE)
    assert type(error) is errors.EngineFailed and error.message == message


def test_e2_the_field_at_fault_is_named() -> None:
    body = {"error": {"message": "No.", "type": "invalid_request_error", "param": "tools", "code": "unsupported_value"}}
    error = wire.read_error(400, json.dumps(body).encode(), ENGINE)
    assert (error.param, error.provider) == (
        "tools",
        errors.ProviderSaid(400, "unsupported_value", "invalid_request_error", "No."),
    )


# Requests


def test_the_whole_of_a_conversation_as_it_is_sent() -> None:
    image = Media(mime="image/png", base64="iVBO")
    pdf = Media(mime="application/pdf", base64="JVBE", name="a.pdf")
    thought = Reasoning("Look.", own(type="reasoning", id="rs", summary=[], encrypted_content="e"))
    request = ChatRequest(
        model="m",
        messages=(
            Message("system", (Text("Be terse."),)),
            Message("system", (Text("Be kind."),)),
            Message("user", (Text("What is it?"), image, pdf)),
            Message(
                "assistant",
                (
                    thought,
                    Text("I look.", (Citation("https://a", keep=own(url="https://a")),), own(item={"id": "msg"})),
                    Text("No.", keep=own(type="refusal", item={"id": "msg"})),
                    ToolCall("c1", "lookup", '{"q": "cat"}', keep=own(id="fc", status="completed")),
                    ToolCall("c2", "draw", "{}"),
                ),
            ),
            Message(
                "user",
                (
                    ToolResult("c1", (Text("42"), Text("43"))),
                    ToolResult("c2", (Text("Here."), image), is_error=True),
                    Text("More"),
                ),
            ),
            Message("assistant", (Text("Well"), Text("."))),
            Message("system", (Text("Hurry."),)),
        ),
        tools=(
            ToolSpec("lookup", "Find.", SCHEMA, strict=True),
            ToolSpec("draw"),
            ToolSpec("web_search", executor="provider", keep=sent(type="web_search", filters=None)),
        ),
        options=Options(
            max_tokens=0,
            temperature=0.0,
            top_p=0.0,
            effort="high",
            verbosity="low",
            service_tier="flex",
            tool_choice="tool:lookup",
            parallel_tools=False,
            top_logprobs=0,
            format=JsonFormat(SCHEMA, "answer", strict=True),
            extra={"truncation": "auto", "temperature": 1},
        ),
        stream=True,
    )
    outgoing = wire.write_request(request, ENGINE)
    assert outgoing.dropped == ("is_error",)
    assert outgoing.body == {
        "model": "m",
        "instructions": "Be terse.\n\nBe kind.",
        "input": [
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What is it?"},
                    {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,iVBO"},
                    {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"},
                ],
            },
            {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "e"},
            {
                "type": "message",
                "id": "msg",
                "role": "assistant",
                "content": [
                    {"type": "output_text", "text": "I look.", "annotations": [{"url": "https://a"}]},
                    {"type": "refusal", "refusal": "No."},
                ],
            },
            {
                "type": "function_call",
                "id": "fc",
                "status": "completed",
                "call_id": "c1",
                "name": "lookup",
                "arguments": '{"q": "cat"}',
            },
            {"type": "function_call", "call_id": "c2", "name": "draw", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "42\n\n43"},
            {
                "type": "function_call_output",
                "call_id": "c2",
                "output": [
                    {"type": "input_text", "text": "Here."},
                    {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,iVBO"},
                ],
            },
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "More"}]},
            {"type": "message", "role": "assistant", "content": "Well."},
            {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Hurry."}]},
        ],
        "store": False,
        "max_output_tokens": 0,
        "temperature": 1,
        "top_p": 0.0,
        "reasoning": {"summary": "auto", "effort": "high"},
        "text": {
            "verbosity": "low",
            "format": {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True},
        },
        "service_tier": "flex",
        "parallel_tool_calls": False,
        "top_logprobs": 0,
        "tool_choice": {"type": "function", "name": "lookup"},
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
        "tools": [
            {"type": "function", "name": "lookup", "description": "Find.", "parameters": SCHEMA, "strict": True},
            {"type": "function", "name": "draw", "parameters": {"type": "object", "properties": {}}, "strict": False},
            {"type": "web_search", "filters": None},
        ],
        "stream": True,
        "truncation": "auto",
    }


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, {}),
        ({"effort": "low"}, {"reasoning": {"summary": "auto", "effort": "low"}}),
        ({"effort": "none"}, {"reasoning": {"effort": "none"}}),
        ({"effort": "xhigh", "reasoning": False}, {"reasoning": {"summary": "auto", "effort": "xhigh"}}),
        ({"reasoning": True}, {"reasoning": {"summary": "auto"}}),
        ({"reasoning": False}, {"reasoning": {"effort": "none"}}),
        ({"reasoning_tokens": 0}, {"reasoning": {"effort": "none"}}),
        ({"reasoning_tokens": 1024}, {"reasoning": {"summary": "auto", "effort": "low"}}),
        ({"reasoning_tokens": 30000}, {"reasoning": {"summary": "auto", "effort": "high"}}),
        ({"reasoning_tokens": -1}, {"reasoning": {"summary": "auto"}}),
        ({"format": JsonFormat()}, {"text": {"format": {"type": "json_object"}}}),
        (
            {"format": JsonFormat(SCHEMA)},
            {"text": {"format": {"type": "json_schema", "name": "reply", "schema": SCHEMA}}},
        ),
        ({"tool_choice": "required"}, {"tool_choice": "required"}),
        ({"tool_choice": "none"}, {"tool_choice": "none"}),
        ({"logprobs": True}, {"include": ["reasoning.encrypted_content", "message.output_text.logprobs"]}),
        ({"logprobs": False}, {}),
        ({"presence_penalty": 0.0, "frequency_penalty": 0, "citations": False, "caching": True}, {}),
    ],
)
def test_options_become_these_fields(options: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert options_of(**options) == wanted


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("top_k", 0),
        ("stop", ("x",)),
        ("seed", 0),
        ("context_tokens", 4096),
        ("citations", True),
        ("presence_penalty", 0.5),
        ("frequency_penalty", -1),
    ],
)
def test_t8_what_the_wire_has_no_word_for_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(errors.Unsupported) as told:
        options_of(**{name: value})
    assert (told.value.param, told.value.engine) == (name, "maker")


@pytest.mark.parametrize(
    ("quirks", "options", "param"),
    [
        (Quirks(refuses=frozenset({"temperature"})), {"temperature": 0}, "temperature"),
        (Quirks(refuses=frozenset({"effort"})), {"reasoning_tokens": 5}, "reasoning_tokens"),
        (Quirks(refuses=frozenset({"effort"})), {"reasoning": False}, "reasoning"),
        (Quirks(json_schema=False), {"format": JsonFormat(SCHEMA)}, "format"),
        (Quirks(forced_tools=False), {"tool_choice": "required"}, "tool_choice"),
    ],
)
def test_t8_what_the_record_refuses_is_refused_by_name(quirks: Quirks, options: dict[str, Any], param: str) -> None:
    with pytest.raises(errors.Unsupported) as told:
        options_of(engine=replace(ENGINE, quirks=quirks), **options)
    assert told.value.param == param


@pytest.mark.parametrize(
    ("tool", "choice"),
    [
        ({"type": "web_search"}, {"type": "web_search"}),
        ({"type": "custom", "name": "t"}, {"type": "custom", "name": "t"}),
    ],
)
def test_a_hosted_tool_is_chosen_by_its_type(tool: dict[str, Any], choice: dict[str, Any]) -> None:
    spec = ToolSpec("t", executor="provider", keep=sent(**tool))
    assert body_of(tools=(spec,), options=Options(tool_choice="tool:t"))["tool_choice"] == choice


def test_reasoning_is_asked_for_encrypted_where_the_record_says_that_the_model_reasons() -> None:
    engine = replace(ENGINE, models=ModelRules(reasoning=("o1*",)))

    def include(model: str, engine: Engine = engine, **options: Any) -> Any:
        request = ChatRequest(model=model, messages=(HELLO,), options=Options(**options))
        return (wire.write_request(request, engine).body or {}).get("include")

    asked = ["reasoning.encrypted_content"]
    assert include("o1-mini") == asked
    assert include("gpt-4o") is None
    assert include("my-deployment", effort="low") == asked
    assert include("gpt-4o", effort="none") is None
    assert include("anything", ENGINE) == asked


@pytest.mark.parametrize(
    ("fields", "extra"),
    [
        ({"store": True}, {}),
        ({"previous_response_id": "resp_1"}, {}),
        ({"conversation": "conv_1"}, {}),
        ({"background": True}, {}),
        ({}, {"store": True}),
    ],
)
def test_t10_a_request_that_goes_on_from_something_stored_is_not_stateless(
    fields: dict[str, Any], extra: dict[str, Any]
) -> None:
    bare = Reasoning("", own(type="reasoning", id="rs", summary=[]))
    body = body_of(
        Message("assistant", (bare, ToolCall("c", "f", keep=own(id="fc")))),
        keep=sent(**fields) if fields else (),
        options=Options(extra=extra),
    )
    assert {name: body[name] for name in (*fields, *extra)} == {**fields, **extra}
    assert body.get("store") is not False and "include" not in body
    assert body["input"] == [
        {"type": "reasoning", "id": "rs", "summary": []},
        {"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": "{}"},
    ]


def test_what_a_client_of_this_wire_says_beside_goes_out_with_ours() -> None:
    kept = sent(
        include=["file_search_call.results"],
        reasoning={"summary": "detailed", "context": "all"},
        text={"verbosity": "high"},
        metadata={"a": "b"},
        store=False,
    )
    body = body_of(keep=kept, options=Options(effort="low", format=JsonFormat(keep=sent(note="x"))))
    assert body == {
        "metadata": {"a": "b"},
        "model": "m",
        "input": [HELLO_ITEM],
        "store": False,
        "include": ["file_search_call.results", "reasoning.encrypted_content"],
        "reasoning": {"summary": "detailed", "context": "all", "effort": "low"},
        "text": {"verbosity": "high", "format": {"note": "x", "type": "json_object"}},
    }


def test_hints_stay_behind_where_unknown_fields_are_refused() -> None:
    request = ChatRequest(
        model="m", messages=(HELLO,), keep=sent(user="u", metadata={}), hints=frozenset({"user", "metadata"})
    )
    outgoing = wire.write_request(request, replace(ENGINE, quirks=Quirks(unknown_fields=False)))
    assert outgoing.dropped == ("user", "metadata") and not {"user", "metadata"} & (outgoing.body or {}).keys()


def test_t1_a_thought_goes_back_byte_exact_to_its_issuer_alone() -> None:
    item: dict[str, Any] = {
        "type": "reasoning",
        "id": "rs",
        "status": None,
        "summary": [],
        "encrypted_content": "gAAA+/==",
    }
    said = {"type": "message", "role": "assistant", "content": "Hi."}
    for keep, wanted in (
        (own(**item), [item, said]),
        (sent(**item), [item, said]),
        ((Opaque(wire.NAME, "another", item),), [said]),
        ((Opaque("anthropic", ENGINE.issuer, {"signature": "x"}),), [said]),
        ((), [said]),
    ):
        assert items_of(Message("assistant", (Reasoning("Hm.", keep), Text("Hi.")))) == wanted


def test_t1_a_thought_in_the_open_goes_back_too() -> None:
    content = [{"type": "reasoning_text", "text": "Hm."}]
    item: dict[str, Any] = {"type": "reasoning", "summary": [], "content": content}
    message = Message("assistant", (Reasoning("Hm.", own(**item)), ToolCall("c", "f")))
    assert items_of(message)[0] == item


def test_t1_what_came_of_a_thought_that_stays_behind_loses_its_id() -> None:
    parts: tuple[Part, ...] = (
        Reasoning("", own(type="reasoning", id="rs", summary=[])),
        Text("Hi.", keep=own(item={"id": "msg", "phase": "final_answer"})),
        ToolCall("c", "f", keep=own(id="fc", status="completed")),
    )
    assert items_of(Message("assistant", parts)) == [
        {
            "type": "message",
            "role": "assistant",
            "phase": "final_answer",
            "content": [{"type": "output_text", "text": "Hi.", "annotations": []}],
        },
        {"type": "function_call", "status": "completed", "call_id": "c", "name": "f", "arguments": "{}"},
    ]


def test_t1_a_thought_that_nothing_came_of_stays_behind() -> None:
    cut = Message("assistant", (Reasoning("Hm", own(type="reasoning", id="rs", encrypted_content="e")),))
    assert items_of(HELLO, cut, HELLO) == [HELLO_ITEM, HELLO_ITEM]


def test_texts_of_two_items_are_two_messages() -> None:
    parts = (Text("A", keep=own(item={"id": "m1"})), Text("B", keep=own(item={"id": "m2"})), Text("C"))
    assert [item.get("id") for item in items_of(Message("assistant", parts))] == ["m1", "m2", None]


def test_a_system_message_among_the_items_stays_there() -> None:
    listed = Message("system", (Text("A"),), sent(role="developer"))
    assert body_of(listed, HELLO)["input"][0]["role"] == "developer"
    assert "instructions" not in body_of(listed, HELLO)
    alone = body_of(Message("system", (Text("A"),)))
    assert "instructions" not in alone and alone["input"][0]["role"] == "system"


def test_results_beside_the_calls_stay_in_their_order() -> None:
    parts: tuple[Part, ...] = (ToolCall("c", "f", executor="server"), ToolResult("c", (Text("1"),)), Text("One."))
    assert [item["type"] for item in items_of(Message("assistant", parts))] == [
        "function_call",
        "function_call_output",
        "message",
    ]


def test_items_and_parts_that_are_unknown_here_go_out_in_their_place() -> None:
    parts: tuple[Part, ...] = (
        Text("A"),
        Foreign(sent(type="mcp_approval_response", approve=True)),
        Foreign(sent(type="input_audio", input_audio={})),
        Text("B", keep=sent(note=1)),
    )
    assert items_of(Message("user", parts, sent(id="u"))) == [
        {"id": "u", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "A"}]},
        {"type": "mcp_approval_response", "approve": True},
        {
            "id": "u",
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_audio", "input_audio": {}},
                {"note": 1, "type": "input_text", "text": "B"},
            ],
        },
    ]


def test_media_by_address_and_by_file() -> None:
    media = (
        Media(mime="image/png", url="https://a/b.png", keep=sent(detail="low")),
        Media(mime="image/png", file_id="file-1", keep=sent(detail="high")),
        Media(mime="application/pdf", url="https://a/b.pdf"),
        Media(mime="application/pdf", file_id="file-2", keep=(Opaque("openai-chat", None, {}),)),
        Media(mime="application/pdf", base64="JVBE"),
    )
    assert items_of(Message("user", media))[0]["content"] == [
        {"detail": "low", "type": "input_image", "image_url": "https://a/b.png"},
        {"detail": "high", "type": "input_image", "file_id": "file-1"},
        {"type": "input_file", "file_url": "https://a/b.pdf"},
        {"type": "input_file", "file_id": "file-2"},
        {"type": "input_file", "filename": "document.pdf", "file_data": "data:application/pdf;base64,JVBE"},
    ]


@pytest.mark.parametrize(
    "part",
    [
        Media(mime="audio/wav", base64="UklG"),
        Media(mime="video/mp4", url="https://a/b.mp4"),
        Media(mime="application/pdf", file_id="file-3", keep=(Opaque("anthropic", None, {}),)),
        Foreign((Opaque("anthropic", None, {"type": "search_result"}),)),
        Reasoning("Hm."),
        ToolCall("c", "f"),
    ],
)
def test_t8_what_the_wire_cannot_carry_for_the_user_is_refused(part: Part) -> None:
    with pytest.raises(errors.Unsupported) as told:
        body_of(Message("user", (part,)))
    assert told.value.param == "messages"


def test_what_an_assistant_cannot_say_here_is_left_out_and_told() -> None:
    other = (Opaque("anthropic", "anthropic", {"type": "server_tool_use"}),)
    parts = (
        ToolCall("x", "web_search", executor="provider", keep=other),
        Foreign(other),
        Media(mime="image/png", base64="iVBO"),
        Text(""),
    )
    outgoing = wire.write_request(ChatRequest(model="m", messages=(HELLO, Message("assistant", parts))), ENGINE)
    assert (outgoing.body or {})["input"] == [HELLO_ITEM]
    assert outgoing.dropped == ("hosted tool call", "foreign block", "image in an assistant message")


# Models


def test_models_are_listed_by_their_record_and_by_patterns() -> None:
    engine = replace(
        ENGINE, models=ModelRules(kinds=(("*embed*", "embedding"), ("*old*", "hidden")), reasoning=("gpt-5*",))
    )
    lister = wire.list_models(engine)
    (outgoing,) = next(lister)
    assert (outgoing.path, outgoing.method) == ("/models", "GET")
    entries = [{"id": "gpt-5", "created": 2}, {"id": "embed-1", "created": 3}, {"id": "old-1"}, {"id": None}, 7]
    with pytest.raises(StopIteration) as stop:
        lister.send([{"object": "list", "data": entries}])
    models = stop.value.value
    assert [(model.id, model.kind, model.can) for model in models] == [
        ("embed-1", "embedding", frozenset()),
        ("gpt-5", "chat", frozenset({"tools", "reasoning"})),
    ]


def test_models_of_an_engine_without_a_list_are_those_of_its_record() -> None:
    lister = wire.list_models(replace(ENGINE, models=ModelRules(fixed=("default",))))
    with pytest.raises(StopIteration) as stop:
        next(lister)
    assert [model.id for model in stop.value.value] == ["default"]


@pytest.mark.parametrize("body", [None, {}, {"data": 1}, "x"])
def test_a_list_in_an_unknown_form_is_malformed(body: Any) -> None:
    lister = wire.list_models(ENGINE)
    next(lister)
    with pytest.raises(errors.Malformed):
        lister.send([body])
