"""Checks the grammar of every stream (S7): our own events, and each client wire as raw bytes.

Each checker reads a stream like a strict client and raises ``AssertionError`` with the place. It shares no code with the
writers, nor with ``llm.chat.grammar``, which checks events while the server runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

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
    ToolProgress,
    UsageReported,
    WholePart,
)


class _Place:
    """The position of a checker in the stream, for its error messages."""

    def __init__(self) -> None:
        self.at = 0
        self.what: object = None

    def need(self, holds: object, why: str) -> None:
        if not holds:
            self.fail(why)

    def fail(self, why: str) -> NoReturn:
        raise AssertionError(f"at {self.at}: {why}: {self.what!r}"[:2000])


_REASONS = {"stop", "length", "tool_calls", "filtered", "paused", "error", "other"}
_KIND: dict[type[Event], str] = {
    TextDelta: "text",
    Cited: "text",
    ReasoningDelta: "reasoning",
    ToolCallStarted: "call",
    ToolCallDelta: "call",
}


def check_stream(events: Iterable[Event]) -> None:
    """Checks a complete stream of an engine, from ``Started`` to ``Finished``."""
    place = _Place()
    kinds: dict[int, str] = {}  # kind of every part so far, in the order in which they started
    open_: set[int] = set()
    called = False
    last: Event | None = None
    for place.at, event in enumerate(events):
        place.what = event
        place.need(not isinstance(last, Finished), "something follows Finished")
        place.need(isinstance(event, Started) == (last is None), "Started has to come first, and once")
        place.need(not isinstance(event, Failed), "a reader raises, it does not tell Failed")
        last = event
        match event:
            case TextDelta(index) | ReasoningDelta(index) | Cited(index):
                if index not in kinds:
                    place.need(index > max(kinds, default=-1), "a new part has a lower index than one before it")
                    kinds[index] = _KIND[type(event)]
                    open_.add(index)
                place.need(index in open_, "its part has ended")
                place.need(kinds[index] == _KIND[type(event)], f"its part is {kinds[index]}")
            case ToolCallStarted(index, id, _, executor):
                place.need(index > max(kinds, default=-1), "a new part has a lower index than one before it")
                place.need(id, "a call without an id")
                kinds[index] = "call"
                open_.add(index)
                called = called or executor == "client"
            case ToolCallDelta(index, arguments):
                place.need(kinds.get(index) == "call" and index in open_, "no such call is open")
                place.need(arguments, "an empty fragment")
            case ToolProgress(index):
                place.need(kinds.get(index) == "call", "no such call")
            case PartEnded(index):
                place.need(index in open_, "no such part is open")
                open_.remove(index)
            case WholePart(index):
                place.need(index > max(kinds, default=-1), "a new part has a lower index than one before it")
                kinds[index] = "whole"
            case UsageReported(usage):
                counts = (usage.fresh, usage.cache_read, usage.cache_write, usage.text, usage.reasoning)
                place.need(all(n is None or n >= 0 for n in counts), "a negative count")
            case Finished(reason):
                place.need(reason in _REASONS, "no such reason")
                place.need(not open_, f"parts {sorted(open_)} were not ended")
                place.need(reason != "tool_calls" or called, "says tool_calls, but the client has none to run")
                place.need(reason not in ("stop", "other") or not called, "a call was made, but it does not say so")
    place.what = last
    place.need(isinstance(last, Finished), "the stream does not end with Finished")


def _sse_events(raw: bytes) -> list[tuple[str, str]]:
    """Returns the (event, data) pairs of a stream in our form: LF, at most one ``event:`` and one ``data:`` line; or a comment."""
    place = _Place()
    text = raw.decode()  # raises for invalid UTF-8
    place.what = text[-60:]
    place.need("\r" not in text, "CR in the framing")
    place.need(text.endswith("\n\n"), "the last event has no blank line")
    events = []
    for place.at, block in enumerate(text[:-2].split("\n\n")):
        place.what = block
        if block.startswith(":"):
            place.need("\n" not in block, "a comment of several lines")
            continue
        lines = block.split("\n")
        event = lines.pop(0).removeprefix("event: ") if block.startswith("event: ") else ""
        place.need(len(lines) == 1 and lines[0].startswith("data: "), "not an event with one line of data")
        events.append((event, lines[0].removeprefix("data: ")))
    return events


def _object(data: str, place: _Place) -> dict[str, Any]:
    value = json.loads(data, parse_constant=lambda name: place.fail(f"{name} is not JSON"))
    place.need(isinstance(value, dict), "not an object")
    assert isinstance(value, dict)
    return value


def _count(usage: dict[str, Any], name: str, place: _Place) -> int:
    value = usage.get(name)
    place.need(type(value) is int and value >= 0, f"{name} is no count of tokens")
    assert isinstance(value, int)
    return value


_OPENAI_REASONS = {"stop", "length", "tool_calls", "content_filter", "function_call"}
_OPENAI_SAID = ("content", "reasoning_content", "reasoning", "refusal", "annotations", "reasoning_details", "images")


def check_openai_chat(raw: bytes) -> None:
    """Checks a stream of ``/v1/chat/completions``: chunks, one finish reason, perhaps usage, ``[DONE]``; or an error, ``[DONE]``."""
    place = _Place()
    events = _sse_events(raw)
    same: tuple[object, ...] | None = None  # id, created and model of all chunks
    calls: dict[int, str] = {}
    state = "begin"  # begin → content → finished → usage, or error; then done
    for place.at, (event, data) in enumerate(events):
        place.what = data
        place.need(event == "", "this wire has no event names")
        place.need(state != "done", "something follows [DONE]")
        if data == "[DONE]":
            place.need(state in ("finished", "usage", "error"), "[DONE] without a finish or an error before it")
            state = "done"
            continue
        place.need(state != "error", "a chunk follows the error")
        chunk = _object(data, place)
        if "error" in chunk:
            place.need(state in ("begin", "content"), "an error although the answer had finished")
            _openai_error(chunk["error"], place)
            state = "error"
            continue
        place.need(chunk.get("object") == "chat.completion.chunk", "not a chunk")
        identity = (chunk.get("id"), chunk.get("created"), chunk.get("model"))
        place.need(isinstance(identity[0], str) and identity[0], "a chunk without an id")
        place.need(type(identity[1]) is int and isinstance(identity[2], str), "created or model are missing")
        place.need(same is None or same == identity, "id, created or model changed")
        same = identity
        choices = chunk.get("choices")
        place.need(isinstance(choices, list) and len(choices) <= 1, "choices is no list of at most one")
        assert isinstance(choices, list)
        if not choices:
            place.need(state == "finished" and chunk.get("usage"), "no choices, and not the usage after the finish")
            _openai_usage(chunk["usage"], place)
            state = "usage"
            continue
        place.need(state in ("begin", "content"), "content follows the finish")
        place.need(not chunk.get("usage"), "usage beside content")
        choice = choices[0]
        place.need(choice.get("index") == 0, "not the first choice")
        finish = choice.get("finish_reason", "missing")
        place.need(finish is None or finish in _OPENAI_REASONS, "no such finish_reason")
        _openai_delta(choice.get("delta"), state == "begin", finish is not None, calls, place)
        state = "content"
        if finish is not None:
            place.need(finish != "tool_calls" or calls, "finish_reason tool_calls without a call")
            place.need(finish != "stop" or not calls, "finish_reason stop beside a call")
            place.need(len({*calls.values()}) == len(calls), "two calls have one id")
            state = "finished"
    place.what = events[-1:]
    place.need(state == "done", "the stream does not end with [DONE]")


def _openai_delta(delta: Any, first: bool, last: bool, calls: dict[int, str], place: _Place) -> None:
    place.need(isinstance(delta, dict), "no delta")
    place.need(first == ("role" in delta), "the role has to come first, and once")
    place.need(not first or delta["role"] == "assistant", "not the assistant's")
    said = [delta.get(name) for name in _OPENAI_SAID]
    place.need(all(value is None or isinstance(value, str | list) for value in said), "a delta is no text")
    pieces = delta.get("tool_calls")
    place.need(pieces is None or isinstance(pieces, list), "tool_calls is no list")
    place.need(first or last or any(said) or pieces, "an empty chunk")
    for piece in pieces or ():
        index, function = piece.get("index"), piece.get("function")
        place.need(isinstance(function, dict), "a call without a function")
        place.need(isinstance(function.get("arguments"), str), "arguments is no text")
        if index in calls:
            place.need(piece.get("id") in (None, calls[index]), "the id of a call changed")
            place.need(not function.get("name"), "the name of a call came twice")
            continue
        place.need(index == len(calls), "calls are not numbered from 0")
        place.need(isinstance(piece.get("id"), str) and piece["id"], "a call without an id")
        place.need(piece.get("type") == "function", "a call without a type")
        place.need(isinstance(function.get("name"), str) and function["name"], "a call without a name")
        calls[index] = piece["id"]


def _openai_usage(usage: Any, place: _Place) -> None:
    place.need(isinstance(usage, dict), "usage is no object")
    prompt, completion = _count(usage, "prompt_tokens", place), _count(usage, "completion_tokens", place)
    place.need(_count(usage, "total_tokens", place) == prompt + completion, "the total is not the sum")
    for name, details, whole in (
        ("cached_tokens", usage.get("prompt_tokens_details"), prompt),
        ("reasoning_tokens", usage.get("completion_tokens_details"), completion),
    ):
        if details and name in details:
            place.need(_count(details, name, place) <= whole, f"{name} is more than what it is a part of")


def _openai_error(error: Any, place: _Place) -> None:
    place.need(isinstance(error, dict), "error is no object")
    place.need(isinstance(error.get("message"), str) and error["message"], "an error without a message")
    place.need(isinstance(error.get("type"), str) and error["type"], "an error without a type")
    place.need("param" in error and "code" in error, "an error without param or code")


_DELTAS = {
    "text_delta": ("text", "text"),
    "citations_delta": ("text", "citation"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("thinking", "signature"),
    "input_json_delta": ("tool_use", "partial_json"),
}
_STOP_REASONS = {
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "model_context_window_exceeded",
    "compaction",
}  # fmt: skip
_ERROR_TYPES = {
    "invalid_request_error", "authentication_error", "billing_error", "permission_error", "not_found_error",
    "request_too_large", "rate_limit_error", "timeout_error", "api_error", "overloaded_error",
}  # fmt: skip


def check_anthropic(raw: bytes) -> None:
    """Checks a stream of ``/v1/messages``: one open block at a time, indexes from 0; or an ``error`` as the last event."""
    place = _Place()
    events = _sse_events(raw)
    state = "begin"  # begin → message → settled → done; or error
    open_: str | None = None  # type of the open block
    index = 0  # of the next block, or of the open one
    ids: list[str] = []
    for place.at, (event, data) in enumerate(events):
        place.what = data
        place.need(state not in ("done", "error"), "something follows the end")
        wire = _object(data, place)
        place.need(wire.get("type") == event, "the event's name is not its type")
        if event == "ping":
            continue
        if event == "error":
            error = wire.get("error")
            place.need(isinstance(error, dict) and error.get("message"), "an error without a message")
            assert isinstance(error, dict)
            place.need(error.get("type") in _ERROR_TYPES, "no such type of error on this wire")
            place.need(state != "settled", "an error although the answer had finished")
            state = "error"
            continue
        if event == "message_start":
            place.need(state == "begin", "message_start has to come once")
            _anthropic_start(wire.get("message"), place)
            state = "message"
            continue
        place.need(state != "begin", "message_start has to come first")
        place.need(state == "message" or event == "message_stop", "only message_stop follows message_delta")
        match event:
            case "content_block_start":
                place.need(open_ is None, "a block is open")
                place.need(wire.get("index") == index, "blocks are not numbered from 0")
                block = wire.get("content_block")
                place.need(isinstance(block, dict) and isinstance(block.get("type"), str), "no block with a type")
                assert isinstance(block, dict)
                open_ = block["type"]
                _anthropic_block(block, place)
                if open_ == "tool_use":
                    ids.append(block["id"])
            case "content_block_delta":
                place.need(open_ is not None and wire.get("index") == index, "no such block is open")
                _anthropic_delta(wire.get("delta"), str(open_), place)
            case "content_block_stop":
                place.need(open_ is not None and wire.get("index") == index, "no such block is open")
                open_ = None
                index += 1
            case "message_delta":
                place.need(open_ is None, "a block is open")
                _anthropic_settle(wire, ids, place)
                state = "settled"
            case "message_stop":
                place.need(state == "settled", "message_stop without a message_delta")
                state = "done"
            case _:
                place.fail("no such event")
    place.what = events[-1:]
    place.need(state in ("done", "error"), "the stream ends neither with message_stop nor with an error")


def _anthropic_start(message: Any, place: _Place) -> None:
    place.need(isinstance(message, dict), "no message")
    place.need(isinstance(message.get("id"), str) and message["id"], "a message without an id")
    place.need((message.get("type"), message.get("role")) == ("message", "assistant"), "no message of the assistant")
    place.need(isinstance(message.get("model"), str), "a message without a model")
    place.need(message.get("content") == [], "content before its blocks")
    place.need(message.get("stop_reason", "") is None, "a stop_reason at the beginning")
    usage = message.get("usage")
    place.need(isinstance(usage, dict), "a message without usage")
    for name in ("input_tokens", "output_tokens"):
        _count(usage, name, place)


def _anthropic_block(block: dict[str, Any], place: _Place) -> None:
    match block["type"]:
        case "text":
            place.need(block.get("text") == "", "the text belongs into deltas")
        case "thinking":
            place.need(block.get("thinking") == "" and block.get("signature") == "", "the thought belongs into deltas")
        case "redacted_thinking":
            place.need(isinstance(block.get("data"), str) and block["data"], "a redacted thought without its data")
        case kind if kind.endswith("tool_use"):
            place.need(isinstance(block.get("id"), str) and block["id"], "a call without an id")
            place.need(isinstance(block.get("name"), str) and block["name"], "a call without a name")
            place.need(block.get("input") == {}, "the input belongs into deltas")


def _anthropic_delta(delta: Any, block: str, place: _Place) -> None:
    place.need(isinstance(delta, dict) and delta.get("type") in _DELTAS, "no such delta")
    kind, field = _DELTAS[delta["type"]]
    place.need(block == kind or (kind == "tool_use" and block.endswith("tool_use")), f"a delta inside a {block} block")
    value = delta.get(field)
    place.need(isinstance(value, dict if field == "citation" else str), f"{field} is missing")
    place.need(value or field == "signature", "an empty delta")


def _anthropic_settle(wire: dict[str, Any], ids: list[str], place: _Place) -> None:
    delta, usage = wire.get("delta"), wire.get("usage")
    place.need(isinstance(delta, dict) and delta.get("stop_reason") in _STOP_REASONS, "no such stop_reason")
    assert isinstance(delta, dict)
    place.need("stop_sequence" in delta, "stop_sequence is missing")
    place.need(isinstance(usage, dict), "usage is missing")
    assert isinstance(usage, dict)
    _count(usage, "output_tokens", place)
    place.need(delta["stop_reason"] != "tool_use" or ids, "stop_reason tool_use without a call")
    place.need(delta["stop_reason"] != "end_turn" or not ids, "stop_reason end_turn beside a call")
    place.need(len({*ids}) == len(ids), "two calls have one id")


_TYPES = {"content", "reasoning", "tool", "citation", "attachment", "usage", "error"}
_STATES = ("preparing", "running", "completed", "canceled", "error")
_FINISH_REASONS = {"stop", "length", "tool_calls", "content_filter", "paused", "error", "other"}


def check_native(objects: Sequence[Any]) -> None:
    """Checks a stream of ``/llm/chat`` (spec.md §2): one content with ``done``, then only usage; or one error at the end."""
    place = _Place()
    done = ended = False
    states: dict[str, int] = {}
    for place.at, wire in enumerate(objects):
        place.what = wire
        place.need(not ended, "something follows the end")
        place.need(isinstance(wire, dict) and wire.get("type") in _TYPES, "no such type")
        place.need(isinstance(wire.get("done"), bool), "done is missing")
        place.need(not done or wire["type"] == "usage", "only usage follows the content that is done")
        match wire["type"]:
            case "content":
                place.need(isinstance(wire.get("text"), str), "content without text")
                place.need(wire["text"] or wire["done"], "an empty piece")
                done = wire["done"]
                place.need(not done or wire.get("finishReason") in _FINISH_REASONS, "no such finishReason")
            case "reasoning":
                place.need(isinstance(wire.get("text"), str) and wire["text"], "reasoning without text")
            case "tool":
                _native_tool(wire, states, place)
            case "citation":
                place.need(any(wire.get(name) for name in ("url", "title", "text")), "a citation of nothing")
            case "attachment":
                attachment = wire.get("attachment")
                place.need(isinstance(attachment, dict) and attachment.get("mimeType"), "no attachment")
            case "usage":
                place.need(done, "usage before the content that is done")
                _native_usage(wire.get("usage"), place)
                ended = True
            case "error":
                place.need(isinstance(wire.get("error"), str) and wire["error"], "an error without a sentence")
                place.need(isinstance(wire.get("code"), str) and wire["code"], "an error without a code")
                place.need(type(wire.get("status")) is int, "an error without a status")
                ended = True
    place.what = objects[-1:]
    place.need(ended, "the stream ends neither with usage nor with an error")


def _native_tool(wire: dict[str, Any], states: dict[str, int], place: _Place) -> None:
    id, state, call = wire.get("id"), wire.get("state"), wire.get("call")
    place.need(isinstance(id, str) and id, "a tool without an id")
    assert isinstance(id, str)
    place.need(isinstance(wire.get("name"), str) and wire["name"], "a tool without a name")
    place.need(state in _STATES, "no such state")
    assert isinstance(state, str)
    place.need(isinstance(wire.get("status"), str), "status is no text")
    place.need(isinstance(call, dict) and call.keys() == {"params", "result"}, "call is not {params, result}")
    number = min(_STATES.index(state), 2)
    place.need(number >= states.get(id, 0) and states.get(id, 0) < 2, "the states of a call go backwards")
    states[id] = number


def _native_usage(usage: Any, place: _Place) -> None:
    place.need(isinstance(usage, dict), "usage is no object")
    prompt, completion = _count(usage, "prompt_tokens", place), _count(usage, "completion_tokens", place)
    inner = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    place.need(all(isinstance(details, dict) for details in inner), "the details are missing")
    place.need(_count(inner[0] or {}, "cached_tokens", place) <= prompt, "more is cached than was asked")
    place.need(
        _count(inner[1] or {}, "reasoning_tokens", place) <= completion, "more reasoning tokens than output tokens"
    )
