"""Tests of ``tests.support.grammars``: each checker rejects every violation here and accepts valid streams."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from llm.chat.events import (
    Cited,
    Event,
    Failed,
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
from llm.chat.grammar import Grammar, GrammarError
from llm.chat.messages import Citation, UnknownPart, Usage
from llm.errors import Truncated
from tests.support.grammars import check_anthropic, check_native, check_openai_chat, check_stream

START = Started("id", "model")
END = Finished("stop")

GOOD_STREAMS: dict[str, list[Event]] = {
    "nothing but the frame": [START, END],
    "text": [START, TextDelta(0, "a"), TextDelta(0, "b"), Cited(0, Citation(url="u")), PartEnded(0), END],
    "parts that overlap": [
        START,
        ToolCallStarted(0, "a", "f"),
        ToolCallStarted(1, "b", "g"),
        ToolCallDelta(0, "{"),
        ToolCallDelta(1, "{"),
        ToolCallDelta(0, "}"),
        PartEnded(0),
        PartEnded(1),
        Finished("tool_calls"),
    ],
    "indexes with gaps, whole parts, usage": [
        START,
        UsageReported(Usage(fresh=1)),
        ReasoningDelta(2, ""),
        PartEnded(2),
        WholePart(5, UnknownPart(())),
        UsageReported(Usage(fresh=1, text=2)),
        END,
    ],
    "a call that was cut off": [START, ToolCallStarted(0, "a", "f"), PartEnded(0), Finished("length")],
    "a call of the provider's own": [START, ToolCallStarted(0, "a", "f", "provider"), PartEnded(0), END],
}

BAD_STREAMS: dict[str, list[Event]] = {
    "nothing at all": [],
    "no Started": [TextDelta(0, "a"), PartEnded(0), END],
    "Started twice": [START, START, END],
    "no Finished": [START, TextDelta(0, "a"), PartEnded(0)],
    "Finished twice": [START, END, END],
    "text after Finished": [START, END, TextDelta(0, "a")],
    "a part left open": [START, TextDelta(0, "a"), END],
    "a part ended twice": [START, TextDelta(0, "a"), PartEnded(0), PartEnded(0), END],
    "a part ended that never began": [START, PartEnded(0), END],
    "a delta after its part ended": [START, TextDelta(0, "a"), PartEnded(0), TextDelta(0, "b"), PartEnded(0), END],
    "a part that changes its kind": [START, TextDelta(0, "a"), ReasoningDelta(0, "b"), PartEnded(0), END],
    "a citation inside a thought": [START, ReasoningDelta(0, "a"), Cited(0, Citation()), PartEnded(0), END],
    "indexes that fall": [START, TextDelta(1, "a"), PartEnded(1), TextDelta(0, "b"), PartEnded(0), END],
    "a whole part in the place of another": [
        START,
        TextDelta(0, "a"),
        PartEnded(0),
        WholePart(0, UnknownPart(())),
        END,
    ],
    "a fragment without its call": [START, ToolCallDelta(0, "{}"), PartEnded(0), END],
    "an empty fragment": [
        START,
        ToolCallStarted(0, "a", "f"),
        ToolCallDelta(0, ""),
        PartEnded(0),
        Finished("tool_calls"),
    ],
    "a call begun twice": [
        START,
        ToolCallStarted(0, "a", "f"),
        ToolCallStarted(0, "a", "f"),
        PartEnded(0),
        Finished("tool_calls"),
    ],
    "stop beside a call": [START, ToolCallStarted(0, "a", "f"), PartEnded(0), END],
    "tool_calls without a call": [START, Finished("tool_calls")],
    "tool_calls for a call of the provider's own": [
        START,
        ToolCallStarted(0, "a", "f", "provider"),
        PartEnded(0),
        Finished("tool_calls"),
    ],
}

# Violations that only the tests' checker finds; the server's checker does less work.
STRICTER: dict[str, list[Event]] = {
    "a call without an id": [START, ToolCallStarted(0, "", "f"), PartEnded(0), Finished("tool_calls")],
    "a negative count": [START, UsageReported(Usage(fresh=-1)), END],
    "Failed from a reader": [START, Failed(Truncated("It ended."))],
}


@pytest.mark.parametrize("events", GOOD_STREAMS.values(), ids=GOOD_STREAMS)
def test_s7_a_stream_that_keeps_the_grammar_passes(events: list[Event]) -> None:
    check_stream(events)
    grammar = Grammar()
    grammar.feed(events)
    grammar.close()


@pytest.mark.parametrize("events", BAD_STREAMS.values(), ids=BAD_STREAMS)
def test_s7_a_stream_that_breaks_the_grammar_is_refused_by_both_checkers(events: list[Event]) -> None:
    with pytest.raises(AssertionError):
        check_stream(events)
    grammar = Grammar()
    with pytest.raises(GrammarError):
        grammar.feed(events)
        grammar.close()


@pytest.mark.parametrize("events", STRICTER.values(), ids=STRICTER)
def test_s7_the_checker_of_the_tests_is_the_stricter(events: list[Event]) -> None:
    with pytest.raises(AssertionError):
        check_stream(events)


DONE = "[DONE]"
ROLE = {"role": "assistant", "content": ""}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
ERROR = {"error": {"message": "It broke.", "type": "gateway_error", "param": None, "code": "internal"}}


def chunk(delta: Any, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    base = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return {**base, **more}


def call(index: int, arguments: str, id: str | None = None) -> dict[str, Any]:
    if id is None:
        return {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}
    function = {"name": "f", "arguments": arguments}
    return {"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]}


def openai(*values: Any) -> bytes:
    return "".join(f"data: {v if isinstance(v, str) else json.dumps(v)}\n\n" for v in values).encode()


HI = (chunk(ROLE), chunk({"content": "Hi"}))

GOOD_OPENAI = {
    "text": openai(*HI, chunk({}, "stop"), DONE),
    "text, usage and pings": b": ping\n\n" + openai(*HI, chunk({}, "stop"), chunk(None, choices=[], usage=USAGE), DONE),
    "thoughts": openai(chunk(ROLE), chunk({"reasoning_content": "Hm."}), chunk({}, "stop"), DONE),
    "calls whose pieces are mixed": openai(
        chunk({**ROLE, **call(0, "", "a")}),
        chunk(call(1, "{", "b")),
        chunk(call(0, "{}")),
        chunk(call(1, "}")),
        chunk({}, "tool_calls"),
        DONE,
    ),
    "a call that was cut off": openai(chunk(ROLE), chunk(call(0, "{", "a")), chunk({}, "length"), DONE),
    "an error": openai(*HI, ERROR, DONE),
    "nothing but an error": openai(ERROR, DONE),
}

BAD_OPENAI = {
    "nothing at all": b"",
    "no [DONE]": openai(*HI, chunk({}, "stop")),
    "[DONE] alone": openai(DONE),
    "[DONE] without a finish": openai(*HI, DONE),
    "something after [DONE]": openai(*HI, chunk({}, "stop"), DONE, chunk({"content": "Hi"})),
    "[DONE] twice": openai(*HI, chunk({}, "stop"), DONE, DONE),
    "two finishes": openai(*HI, chunk({}, "stop"), chunk({}, "stop"), DONE),
    "text after the finish": openai(*HI, chunk({}, "stop"), chunk({"content": "!"}), DONE),
    "no role": openai(chunk({"content": "Hi"}), chunk({}, "stop"), DONE),
    "the role twice": openai(chunk(ROLE), chunk({**ROLE, "content": "Hi"}), chunk({}, "stop"), DONE),
    "an empty chunk": openai(*HI, chunk({"content": ""}), chunk({}, "stop"), DONE),
    "an id that changes": openai(chunk(ROLE), chunk({"content": "Hi"}, id="d"), chunk({}, "stop"), DONE),
    "a chunk without its object": openai(chunk(ROLE, object="chunk"), chunk({}, "stop"), DONE),
    "a reason that does not exist": openai(*HI, chunk({}, "end_turn"), DONE),
    "tool_calls without a call": openai(*HI, chunk({}, "tool_calls"), DONE),
    "stop beside a call": openai(chunk(ROLE), chunk(call(0, "{}", "a")), chunk({}, "stop"), DONE),
    "a call without an id": openai(chunk(ROLE), chunk(call(0, "{}", "")), chunk({}, "tool_calls"), DONE),
    "a call without a beginning": openai(chunk(ROLE), chunk(call(0, "{}")), chunk({}, "tool_calls"), DONE),
    "calls that do not count from 0": openai(chunk(ROLE), chunk(call(1, "{}", "a")), chunk({}, "tool_calls"), DONE),
    "two calls of one id": openai(
        chunk(ROLE), chunk(call(0, "{}", "a")), chunk(call(1, "{}", "a")), chunk({}, "tool_calls"), DONE
    ),
    "a name that comes twice": openai(
        chunk(ROLE), chunk(call(0, "{", "a")), chunk(call(0, "}", "a")), chunk({}, "tool_calls"), DONE
    ),
    "usage before the finish": openai(*HI, chunk(None, choices=[], usage=USAGE), chunk({}, "stop"), DONE),
    "a wrong total": openai(*HI, chunk({}, "stop"), chunk(None, choices=[], usage={**USAGE, "total_tokens": 9}), DONE),
    "more cached than asked": openai(
        *HI,
        chunk({}, "stop"),
        chunk(None, choices=[], usage={**USAGE, "prompt_tokens_details": {"cached_tokens": 4}}),
        DONE,
    ),
    "an error behind the finish": openai(*HI, chunk({}, "stop"), ERROR, DONE),
    "an error without [DONE]": openai(*HI, ERROR),
    "an error, then a finish": openai(*HI, ERROR, chunk({}, "stop"), DONE),
    "an error without a type": openai({"error": {"message": "It broke.", "param": None, "code": None}}, DONE),
    "event names": openai(*HI, chunk({}, "stop"), DONE).replace(b"data: {", b"event: chunk\ndata: {", 1),
    "CRLF": openai(*HI, chunk({}, "stop"), DONE).replace(b"\n", b"\r\n"),
    "no last blank line": openai(*HI, chunk({}, "stop"), DONE).removesuffix(b"\n"),
    "NaN": openai(*HI, chunk({}, "stop", created=float("nan")), DONE),
}


def anthropic(*values: dict[str, Any]) -> bytes:
    return "".join(f"event: {value['type']}\ndata: {json.dumps(value)}\n\n" for value in values).encode()


def begin(**more: Any) -> dict[str, Any]:
    usage = {"input_tokens": 3, "output_tokens": 0}
    message: dict[str, Any] = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
    }
    return {"type": "message_start", "message": {**message, "usage": usage, **more}}


def block(index: int, kind: str, **more: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **more}}


def delta(index: int, kind: str, **more: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **more}}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def settle(reason: str | None) -> dict[str, Any]:
    end = {"stop_reason": reason, "stop_sequence": None}
    return {"type": "message_delta", "delta": end, "usage": {"output_tokens": 2}}


PING = {"type": "ping"}
STOP = {"type": "message_stop"}
BROKEN = {"type": "error", "error": {"type": "api_error", "message": "It broke."}}
TEXT = (block(0, "text", text=""), delta(0, "text_delta", text="Hi"), stop(0))
USE = (
    block(0, "tool_use", id="a", name="f", input={}),
    delta(0, "input_json_delta", partial_json="{}"),
    stop(0),
)

GOOD_ANTHROPIC = {
    "text": anthropic(begin(), *TEXT, settle("end_turn"), STOP),
    "no block": anthropic(begin(), settle("end_turn"), STOP),
    "pings": anthropic(PING, begin(), PING, TEXT[0], PING, *TEXT[1:], settle("end_turn"), PING, STOP),
    "a signed thought": anthropic(
        begin(),
        block(0, "thinking", thinking="", signature=""),
        delta(0, "thinking_delta", thinking="Hm."),
        delta(0, "signature_delta", signature="EqQB"),
        stop(0),
        block(1, "redacted_thinking", data="EmwK"),
        stop(1),
        settle("end_turn"),
        STOP,
    ),
    "a call": anthropic(begin(), *USE, settle("tool_use"), STOP),
    "a call that was cut off": anthropic(begin(), *USE, settle("max_tokens"), STOP),
    "an error": anthropic(begin(), *TEXT[:2], BROKEN),
    "nothing but an error": anthropic(BROKEN),
}

BAD_ANTHROPIC = {
    "nothing at all": b"",
    "no message_start": anthropic(*TEXT, settle("end_turn"), STOP),
    "message_start twice": anthropic(begin(), begin(), settle("end_turn"), STOP),
    "no message_stop": anthropic(begin(), *TEXT, settle("end_turn")),
    "no message_delta": anthropic(begin(), *TEXT, STOP),
    "two of message_delta": anthropic(begin(), settle("end_turn"), settle("end_turn"), STOP),
    "two blocks open": anthropic(
        begin(), TEXT[0], block(1, "text", text=""), stop(1), stop(0), settle("end_turn"), STOP
    ),
    "a block left open": anthropic(begin(), *TEXT[:2], settle("end_turn"), STOP),
    "a block stopped twice": anthropic(begin(), *TEXT, stop(0), settle("end_turn"), STOP),
    "blocks that count from 1": anthropic(begin(), block(1, "text", text=""), stop(1), settle("end_turn"), STOP),
    "a delta of another block": anthropic(
        begin(), TEXT[0], delta(1, "text_delta", text="Hi"), stop(0), settle("end_turn"), STOP
    ),
    "a delta outside any block": anthropic(begin(), TEXT[1], settle("end_turn"), STOP),
    "a thought inside a text block": anthropic(
        begin(), TEXT[0], delta(0, "thinking_delta", thinking="Hm."), stop(0), settle("end_turn"), STOP
    ),
    "json inside a text block": anthropic(
        begin(), TEXT[0], delta(0, "input_json_delta", partial_json="{}"), stop(0), settle("end_turn"), STOP
    ),
    "an empty delta": anthropic(begin(), TEXT[0], delta(0, "text_delta", text=""), stop(0), settle("end_turn"), STOP),
    "a call without an id": anthropic(
        begin(), block(0, "tool_use", id="", name="f", input={}), stop(0), settle("tool_use"), STOP
    ),
    "a call with its input at once": anthropic(
        begin(), block(0, "tool_use", id="a", name="f", input={"x": 1}), stop(0), settle("tool_use"), STOP
    ),
    "tool_use without a call": anthropic(begin(), *TEXT, settle("tool_use"), STOP),
    "end_turn beside a call": anthropic(begin(), *USE, settle("end_turn"), STOP),
    "no stop_reason": anthropic(begin(), *TEXT, settle(None), STOP),
    "a word of another wire": anthropic(begin(), *TEXT, settle("length"), STOP),
    "an event behind the end": anthropic(begin(), *TEXT, settle("end_turn"), STOP, PING),
    "an error, then message_stop": anthropic(begin(), BROKEN, STOP),
    "an error behind the stop_reason": anthropic(begin(), settle("end_turn"), BROKEN),
    "a type of error that the wire has not": anthropic(
        {"type": "error", "error": {"type": "x", "message": "It broke."}}
    ),
    "an event that the wire has not": anthropic(begin(), {"type": "usage"}, settle("end_turn"), STOP),
    "content in message_start": anthropic(begin(content=[{"type": "text"}]), settle("end_turn"), STOP),
    "no usage in message_start": anthropic(begin(usage=None), settle("end_turn"), STOP),
    "a name that is not the type": anthropic(begin(), settle("end_turn"), STOP).replace(
        b"event: message_stop", b"event: x"
    ),
    "no names": anthropic(begin(), settle("end_turn"), STOP).replace(b"event: message_stop\n", b""),
}

LAST = {"type": "content", "text": "", "done": True, "finishReason": "stop"}
COUNTS = {
    "prompt_tokens": 3,
    "completion_tokens": 2,
    "prompt_tokens_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}
TOLD = {"type": "usage", "usage": COUNTS, "done": True}
FAILED = {"type": "error", "error": "It broke.", "code": "internal", "status": 500, "done": True}


def content(text: str) -> dict[str, Any]:
    return {"type": "content", "text": text, "done": False}


def tool(state: str, id: str = "a", **more: Any) -> dict[str, Any]:
    made = {"params": None, "result": None}
    return {"type": "tool", "id": id, "name": "f", "state": state, "status": "", "call": made, "done": False, **more}


GOOD_NATIVE: dict[str, list[Any]] = {
    "text": [content("Hi"), LAST, TOLD],
    "text with the last": [{**LAST, "text": "Hi"}, TOLD],
    "everything": [
        {"type": "reasoning", "text": "Hm.", "done": False},
        *(tool(state) for state in ("preparing", "preparing", "running", "running", "completed")),
        tool("preparing", "b"),
        {"type": "citation", "url": "https://example.com", "done": False},
        content("Hi"),
        LAST,
        TOLD,
    ],
    "an error": [content("Hi"), FAILED],
    "nothing but an error": [FAILED],
}

BAD_NATIVE: dict[str, list[Any]] = {
    "nothing at all": [],
    "no end": [content("Hi")],
    "no usage": [content("Hi"), LAST],
    "usage without an end": [content("Hi"), TOLD],
    "two ends": [LAST, LAST, TOLD],
    "text after the end": [LAST, content("Hi"), TOLD],
    "something after usage": [LAST, TOLD, content("Hi")],
    "usage twice": [LAST, TOLD, TOLD],
    "an error behind the end": [LAST, FAILED],
    "an error behind everything": [LAST, TOLD, FAILED],
    "something after an error": [FAILED, LAST, TOLD],
    "no type": [{"text": "Hi", "done": False}, LAST, TOLD],
    "no done": [{"type": "content", "text": "Hi"}, LAST, TOLD],
    "a type that does not exist": [{"type": "text", "text": "Hi", "done": False}, LAST, TOLD],
    "an empty piece": [content(""), LAST, TOLD],
    "an empty thought": [{"type": "reasoning", "text": "", "done": False}, LAST, TOLD],
    "a reason of another wire": [{**LAST, "finishReason": "end_turn"}, TOLD],
    "a tool without an id": [tool("preparing", ""), LAST, TOLD],
    "a state that does not exist": [tool("done"), LAST, TOLD],
    "states that go backwards": [tool("running"), tool("preparing"), LAST, TOLD],
    "two ends of one tool": [tool("completed"), tool("error"), LAST, TOLD],
    "a tool without its call": [tool("preparing", call=None), LAST, TOLD],
    "an error without a code": [{**FAILED, "code": ""}],
    "an error without a status": [{**FAILED, "status": None}],
    "usage without details": [LAST, {**TOLD, "usage": {"prompt_tokens": 3, "completion_tokens": 2}}],
    "a negative count": [LAST, {**TOLD, "usage": {**COUNTS, "prompt_tokens": -1}}],
    "more thought than said": [
        LAST,
        {**TOLD, "usage": {**COUNTS, "completion_tokens_details": {"reasoning_tokens": 3}}},
    ],
    "not an object": ["Hi", LAST, TOLD],
}


@pytest.mark.parametrize("raw", GOOD_OPENAI.values(), ids=GOOD_OPENAI)
def test_s7_a_right_stream_of_openai_chat_passes(raw: bytes) -> None:
    check_openai_chat(raw)


@pytest.mark.parametrize("raw", BAD_OPENAI.values(), ids=BAD_OPENAI)
def test_s7_a_wrong_stream_of_openai_chat_is_refused(raw: bytes) -> None:
    with pytest.raises(AssertionError):
        check_openai_chat(raw)


@pytest.mark.parametrize("raw", GOOD_ANTHROPIC.values(), ids=GOOD_ANTHROPIC)
def test_s7_a_right_stream_of_anthropic_passes(raw: bytes) -> None:
    check_anthropic(raw)


@pytest.mark.parametrize("raw", BAD_ANTHROPIC.values(), ids=BAD_ANTHROPIC)
def test_s7_a_wrong_stream_of_anthropic_is_refused(raw: bytes) -> None:
    with pytest.raises(AssertionError):
        check_anthropic(raw)


@pytest.mark.parametrize("objects", GOOD_NATIVE.values(), ids=GOOD_NATIVE)
def test_s7_a_right_native_stream_passes(objects: Sequence[Any]) -> None:
    check_native(objects)


@pytest.mark.parametrize("objects", BAD_NATIVE.values(), ids=BAD_NATIVE)
def test_s7_a_wrong_native_stream_is_refused(objects: Sequence[Any]) -> None:
    with pytest.raises(AssertionError):
        check_native(objects)


def without(value: Any, path: str) -> Any:
    """Returns a copy of some JSON without the field at ``path`` ("choices.0.delta")."""
    value = json.loads(json.dumps(value))
    *way, name = path.split(".")
    inner = value
    for step in way:
        inner = inner[int(step)] if isinstance(inner, list) else inner[step]
    del inner[name]
    return value


FIRST_CALL = chunk({**ROLE, **call(0, "{}", "a")})
IN_CALL = "choices.0.delta.tool_calls.0"


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        (FIRST_CALL, "id object created model choices choices.0.index choices.0.delta choices.0.finish_reason"),
        (FIRST_CALL, "choices.0.delta.role"),
        (FIRST_CALL, " ".join(f"{IN_CALL}.{name}" for name in ("index", "id", "type", "function"))),
        (FIRST_CALL, f"{IN_CALL}.function.name {IN_CALL}.function.arguments"),
        (chunk(None, choices=[], usage=USAGE), "usage usage.prompt_tokens usage.completion_tokens usage.total_tokens"),
        (ERROR, "error error.message error.type error.param error.code"),
    ],
)
def test_s7_no_field_of_openai_chat_may_be_missing(value: dict[str, Any], paths: str) -> None:
    stream = [FIRST_CALL, chunk({}, "tool_calls"), chunk(None, choices=[], usage=USAGE), DONE]
    if value is ERROR:
        stream = [ERROR, DONE]
    check_openai_chat(openai(*stream))
    at = next(n for n, each in enumerate(stream) if each == value)
    for path in paths.split():
        with pytest.raises(AssertionError):
            check_openai_chat(openai(*stream[:at], without(value, path), *stream[at + 1 :]))


def test_s7_no_field_of_anthropic_may_be_missing() -> None:
    thought = (
        block(0, "thinking", thinking="", signature=""),
        delta(0, "thinking_delta", thinking="Hm."),
        delta(0, "signature_delta", signature="EqQB"),
        stop(0),
        block(1, "redacted_thinking", data="EmwK"),
        stop(1),
    )
    for stream, paths in (
        (
            [begin(), *TEXT, settle("end_turn"), STOP],
            "0.message 0.message.id 0.message.type 0.message.role 0.message.model 0.message.content "
            "0.message.stop_reason 0.message.usage 0.message.usage.input_tokens 0.message.usage.output_tokens "
            "1.index 1.content_block 1.content_block.type 1.content_block.text 2.index 2.delta 2.delta.type "
            "2.delta.text 3.index 4.delta 4.delta.stop_reason 4.delta.stop_sequence 4.usage 4.usage.output_tokens",
        ),
        (
            [begin(), *USE, settle("tool_use"), STOP],
            "1.content_block.id 1.content_block.name 1.content_block.input 2.delta.partial_json",
        ),
        (
            [begin(), *thought, settle("end_turn"), STOP],
            "1.content_block.thinking 1.content_block.signature 2.delta.thinking 3.delta.signature "
            "5.content_block.data",
        ),
        ([BROKEN], "0.error 0.error.type 0.error.message"),
    ):
        check_anthropic(anthropic(*stream))
        for path in paths.split():
            with pytest.raises(AssertionError):
                check_anthropic(anthropic(*without(stream, path)))


def test_s7_no_field_of_the_native_api_may_be_missing() -> None:
    cited = {"type": "citation", "url": "https://example.com", "done": False}
    made = {"type": "attachment", "attachment": {"mimeType": "image/png", "contents": "AA=="}, "done": False}
    for stream, paths in (
        (
            [{"type": "reasoning", "text": "Hm.", "done": False}, content("Hi"), cited, made, LAST, TOLD],
            "0.type 0.text 0.done 1.text 1.done 2.url 3.attachment 3.attachment.mimeType 4.text 4.done 4.finishReason "
            "5.usage 5.usage.prompt_tokens 5.usage.completion_tokens 5.usage.prompt_tokens_details "
            "5.usage.completion_tokens_details 5.usage.prompt_tokens_details.cached_tokens "
            "5.usage.completion_tokens_details.reasoning_tokens",
        ),
        ([tool("running"), LAST, TOLD], "0.id 0.name 0.state 0.status 0.call 0.call.params 0.call.result 0.done"),
        ([FAILED], "0.error 0.code 0.status 0.done"),
    ):
        check_native(stream)
        for path in paths.split():
            with pytest.raises(AssertionError):
                check_native(without(stream, path))


def test_s7_a_checker_says_where() -> None:
    with pytest.raises(AssertionError, match=r"at 2: .*index"):
        check_stream([START, TextDelta(1, "a"), TextDelta(0, "b")])
    with pytest.raises(AssertionError, match="at 2: the role"):
        check_openai_chat(openai(*HI, chunk(ROLE), chunk({}, "stop"), DONE))
    with pytest.raises(AssertionError, match=r"at 2: .*message_delta"):
        check_anthropic(anthropic(begin(), settle("end_turn"), *TEXT, STOP))
