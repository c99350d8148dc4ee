"""Tests of the checkers of Ollama's wire, of Responses and of unstreamed answers: each rejects every violation here."""

from __future__ import annotations

import json
from collections.abc import Callable
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
)
from llm.chat.messages import Citation, Usage
from llm.chat.provider_metadata import ProviderMetadata
from llm.chat.reply import collect
from llm.chat.request import ChatRequest, Options
from llm.dialects import anthropic, native, ollama, openai_chat, openai_responses
from tests.support.grammar_ollama import check_ollama, check_ollama_reply
from tests.support.grammar_responses import check_responses
from tests.support.grammar_whole import check_chat_reply, check_message, check_native_reply, check_response

Wire = dict[str, Any]
ASKED = ChatRequest(model="m", messages=(), options=Options(reasoning=True))
ANSWER: list[Event] = [
    Started("r", "m"),
    ReasoningDelta(0, "Hm."),
    PartEnded(0, (ProviderMetadata("anthropic", "anthropic", {"signature": "EqQ"}),)),
    TextDelta(1, "Grüße "),
    TextDelta(1, "🦊"),
    Cited(1, Citation("https://example.org", "A")),
    PartEnded(1),
    ToolCallStarted(2, "c1", "f"),
    ToolCallDelta(2, '{"a": 1}'),
    PartEnded(2),
    ToolCallStarted(3, "c2", "g"),
    PartEnded(3),
    UsageReported(Usage(fresh=5, text=2)),
    Finished("tool_calls"),
]


def paths(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Returns the path of every field of some JSON."""
    found: list[tuple[Any, ...]] = []
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found += [(*way, key), *paths(inner, (*way, key))]
    return [path for path in found if isinstance(path[-1], str)]


def without(value: Any, path: tuple[Any, ...]) -> Any:
    value = json.loads(json.dumps(value))
    inner = value
    for step in path[:-1]:
        inner = inner[step]
    del inner[path[-1]]
    return value


# --- Ollama's lines ---


def line(text: str = "", done: bool = False, **more: Any) -> Wire:
    wire: Wire = {"model": "m", "created_at": "2026-01-01T00:00:00Z", "done": done}
    return {**wire, "message": {"role": "assistant", "content": text, **more}}


def call(index: int, id: str, **function: Any) -> Wire:
    return {"id": id, "function": {"index": index, "name": "f", "arguments": {}, **function}}


END = {**line(done=True), "done_reason": "stop", "prompt_eval_count": 5, "eval_count": 2}
FAILED = {"error": "It broke."}


def lines(*wires: Any) -> bytes:
    return "".join(f"{json.dumps(wire)}\n" for wire in wires).encode()


GOOD = {
    "text": lines(line("Hi"), END),
    "no text": lines(END),
    "a sign of life": lines(line("Hi")) + b"\n" + lines(END),
    "thoughts and calls": lines(
        line(thinking="Hm."), line(tool_calls=[call(0, "a")]), line(tool_calls=[call(1, "b")]), END
    ),
    "an error": lines(line("Hi"), FAILED),
    "nothing but an error": lines(FAILED),
}
BAD = {
    "nothing at all": b"",
    "no end": lines(line("Hi")),
    "two ends": lines(END, END),
    "text behind the end": lines(END, line("Hi")),
    "an error behind the end": lines(END, FAILED),
    "something behind an error": lines(FAILED, END),
    "an end that is an error": lines({**END, **FAILED}),
    "an error that is no sentence": lines({"error": {"message": "It broke."}}),
    "a line that says nothing": lines(line(), END),
    "a model that changes": lines(line("Hi"), {**END, "model": "n"}),
    "a line of the other API": lines({**END, "response": "", "message": None}),
    "not the assistant's": lines(line("Hi", role="user"), END),
    "a time that is none": lines({**END, "created_at": "yesterday"}),
    "arguments as text": lines(line(tool_calls=[call(0, "a", arguments="{}")]), END),
    "calls that count from 1": lines(line(tool_calls=[call(1, "a")]), END),
    "two calls of one id": lines(line(tool_calls=[call(0, "a"), call(1, "a")]), END),
    "a call without a name": lines(line(tool_calls=[call(0, "a", name="")]), END),
    "a word of another wire": lines({**END, "done_reason": "tool_calls"}),
    "a negative count": lines({**END, "eval_count": -1}),
    "counts before the end": lines({**line("Hi"), "eval_count": 1}, END),
    "not an object": lines("Hi", END),
    "CRLF": lines(line("Hi"), END).replace(b"\n", b"\r\n"),
    "no last line end": lines(END).removesuffix(b"\n"),
}


@pytest.mark.parametrize("raw", GOOD.values(), ids=GOOD)
def test_s7_right_lines_pass(raw: bytes) -> None:
    check_ollama(raw, "message")


@pytest.mark.parametrize("raw", BAD.values(), ids=BAD)
def test_s7_wrong_lines_are_refused(raw: bytes) -> None:
    with pytest.raises(AssertionError):
        check_ollama(raw, "message")


def test_s7_no_field_of_a_line_may_be_missing() -> None:
    for path in paths(END):
        with pytest.raises(AssertionError):
            check_ollama(lines(without(END, path)), "message")
    generated = {name: value for name, value in END.items() if name != "message"} | {"response": ""}
    check_ollama(lines(generated), "response")
    with pytest.raises(AssertionError):
        check_ollama(lines(generated), "message")
    with pytest.raises(AssertionError):
        check_ollama(lines(END), "response")


# --- the events of a response ---

RESPONSE = b"".join(openai_responses.create_writer(ASKED, 7).feed(ANSWER))


def changed(change: Callable[[list[Wire]], Any]) -> bytes:
    events = [json.loads(block.split("data: ", 1)[1]) for block in RESPONSE.decode().strip().split("\n\n")[:-1]]
    change(events)
    for number, event in enumerate(events):
        event["sequence_number"] = number
    out = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    return f"{out}data: [DONE]\n\n".encode()


def _at(events: list[Wire], kind: str) -> int:
    return next(n for n, event in enumerate(events) if event["type"] == f"response.{kind}")


def _set(kind: str, **fields: Any) -> Callable[[list[Wire]], Any]:
    return lambda events: events[_at(events, kind)].update(fields)


def _drop(kind: str) -> Callable[[list[Wire]], Any]:
    return lambda events: events.pop(_at(events, kind))


def _twice(kind: str) -> Callable[[list[Wire]], Any]:
    return lambda events: events.insert(_at(events, kind), dict(events[_at(events, kind)]))


def _last(**fields: Any) -> Callable[[list[Wire]], Any]:
    return lambda events: events[-1]["response"].update(fields)


def test_s7_a_right_response_passes_whatever_its_numbers() -> None:
    check_responses(RESPONSE)
    check_responses(changed(lambda events: None))
    with pytest.raises(AssertionError):
        check_responses(RESPONSE.replace(b'"sequence_number":3', b'"sequence_number":4'))
    with pytest.raises(AssertionError):
        check_responses(RESPONSE.removesuffix(b"data: [DONE]\n\n"))


@pytest.mark.parametrize(
    "change",
    [
        *map(_drop, ("created", "in_progress", "output_item.added", "content_part.added", "output_text.done")),
        *map(_drop, ("content_part.done", "output_item.done", "completed", "output_text.delta")),
        *map(_drop, ("function_call_arguments.delta", "reasoning_summary_part.added", "reasoning_summary_text.done")),
        _drop("output_text.annotation.added"),
        *map(_twice, ("created", "output_item.added", "output_item.done", "completed", "output_text.delta")),
        _set("output_text.delta", delta=""),
        _set("output_text.delta", item_id="msg_other"),
        _set("output_text.delta", output_index=9),
        _set("output_text.delta", content_index=1),
        _set("output_text.done", text="Grüße"),
        _set("function_call_arguments.done", arguments="{}"),
        _set("output_text.annotation.added", annotation_index=1),
        _set("output_item.added", output_index=1),
        _last(output=[]),
        _last(status="failed"),
        _last(incomplete_details={"reason": "max_output_tokens"}),
        _last(error={"code": "x", "message": "It broke."}),
        _last(usage={"input_tokens": 5, "output_tokens": 2, "total_tokens": 8}),
        lambda events: events.append({"type": "response.new"}),
        lambda events: events.insert(2, {"type": "response.new"}),
    ],
)
def test_s7_a_wrong_response_is_refused(change: Callable[[list[Wire]], Any]) -> None:
    with pytest.raises((AssertionError, KeyError)):
        check_responses(changed(change))


# --- answers in one piece ---

WHOLE: tuple[tuple[str, Any, Callable[[Any], None], str], ...] = (
    ("native", native, check_native_reply, "type content usage toolCalls finishReason"),
    ("chat", openai_chat, check_chat_reply, "id object created model choices usage"),
    ("response", openai_responses, check_response, "id object created_at status model output usage"),
    ("message", anthropic, check_message, "id type role model content stop_reason stop_sequence usage"),
    ("ollama", ollama, lambda wire: check_ollama_reply(wire, "message"), "model created_at message done done_reason"),
)


@pytest.mark.parametrize(("name", "dialect", "check", "fields"), WHOLE, ids=[row[0] for row in WHOLE])
def test_s7_no_field_of_a_whole_answer_may_be_missing(name: str, dialect: Any, check: Any, fields: str) -> None:
    whole = json.loads(json.dumps(dialect.write_reply(collect(ANSWER), ASKED, 7)))
    check(whole)
    assert {*fields.split()} <= whole.keys()
    for field in fields.split():
        with pytest.raises((AssertionError, KeyError)):
            check(without(whole, (field,)))


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("native", ("finishReason",), "end_turn"),
        ("native", ("toolCalls", 0, "id"), ""),
        ("chat", ("choices",), []),
        ("chat", ("choices", 0, "finish_reason"), "stop"),
        ("chat", ("choices", 0, "message", "tool_calls"), []),
        ("chat", ("choices", 0, "message", "tool_calls", 0, "function", "arguments"), {}),
        ("chat", ("choices", 0, "message", "tool_calls", 0, "id"), "c2"),
        ("chat", ("usage", "total_tokens"), 9),
        ("response", ("status",), "failed"),
        ("response", ("output", 0, "id"), ""),
        ("response", ("output", 1, "content", 0, "annotations"), None),
        ("response", ("output", 2, "call_id"), ""),
        ("response", ("usage", "total_tokens"), 9),
        ("message", ("stop_reason",), "end_turn"),
        ("message", ("content", 0, "signature"), None),
        ("message", ("content", 1, "text"), ""),
        ("message", ("content", 2, "input"), "{}"),
        ("message", ("content", 2, "id"), "c2"),
        ("ollama", ("done",), False),
        ("ollama", ("message", "tool_calls", 0, "function", "arguments"), "{}"),
    ],
)
def test_s7_a_wrong_whole_answer_is_refused(name: str, path: tuple[Any, ...], value: Any) -> None:
    _, dialect, check, _ = next(row for row in WHOLE if row[0] == name)
    whole = json.loads(json.dumps(dialect.write_reply(collect(ANSWER), ASKED, 7)))
    inner = whole
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    with pytest.raises(AssertionError):
        check(whole)
