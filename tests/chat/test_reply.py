"""Events are collected into a reply, and a reply is replayed as events."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

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
    final_finish_reason,
)
from llm.chat.grammar import Grammar
from llm.chat.messages import Reasoning, Text, ToolCall, UnknownPart, Usage
from llm.chat.reply import collect, replay
from llm.errors import Malformed, RateLimited, Truncated
from tests.support.event_streams import streams
from tests.support.grammars import check_stream


def events_of_part(events: list[Event], index: int) -> list[Event]:
    return [event for event in events if getattr(event, "index", None) == index]


@given(streams())
def test_s7_random_streams_pass_both_grammar_checkers(events: list[Event]) -> None:
    check_stream(events)
    grammar = Grammar()
    grammar.feed(events)
    grammar.close()


@given(streams())
def test_a_reply_has_the_content_of_its_stream(events: list[Event]) -> None:
    reply = collect(events)
    indexes = sorted({event.index for event in events if hasattr(event, "index")})
    assert len(reply.message.parts) == len(indexes)
    for part, index in zip(reply.message.parts, indexes, strict=True):
        own = events_of_part(events, index)
        last = own[-1]
        match part, last:
            case Text(text, cited, metadata), PartEnded(_, expected):
                assert text == "".join(e.text for e in own if isinstance(e, TextDelta))
                assert cited == tuple(e.citation for e in own if isinstance(e, Cited))
                assert metadata == expected
            case Reasoning(text, metadata), PartEnded(_, expected):
                assert (text, metadata) == ("".join(e.text for e in own if isinstance(e, ReasoningDelta)), expected)
            case ToolCall() as call, PartEnded(_, expected):
                start = own[0]
                assert isinstance(start, ToolCallStarted)
                assert (call.id, call.name, call.executor, call.metadata) == (
                    start.id,
                    start.name,
                    start.executor,
                    expected,
                )
                assert call.arguments == ("".join(e.arguments for e in own if isinstance(e, ToolCallDelta)) or "{}")
            case _, WholePart(_, whole):
                assert part == whole
            case _:
                raise AssertionError(part)
    usages = [event.usage for event in events if isinstance(event, UsageReported)]
    assert reply.usage == (usages[-1] if usages else Usage())
    assert events[0] == Started(reply.id, reply.model, reply.dropped)
    assert events[-1] == reply.finish


@given(streams())
def test_a_replayed_reply_is_the_same_reply(events: list[Event]) -> None:
    reply = collect(events)
    again = [*replay(reply)]
    check_stream(again)
    assert collect(again) == reply


def test_a_call_without_arguments_has_an_empty_object() -> None:
    events: list[Event] = [Started("", ""), ToolCallStarted(0, "a", "f"), PartEnded(0), Finished("tool_calls")]
    assert collect(events).calls == (ToolCall("a", "f", "{}"),)


def test_text_and_reasoning_are_joined_without_separator() -> None:
    reply = collect(
        [
            Started("", ""),
            TextDelta(0, "a\n"),
            PartEnded(0),
            ReasoningDelta(1, "b"),
            PartEnded(1),
            TextDelta(2, " c"),
            PartEnded(2),
            Finished("stop"),
        ]
    )
    assert (reply.text, reply.reasoning) == ("a\n c", "b")


def test_tool_progress_is_not_in_the_reply() -> None:
    call: list[Event] = [Started("", ""), ToolCallStarted(0, "a", "f", "server"), PartEnded(0)]
    progress = ToolProgress(0, "running", "Looking …")
    assert collect([*call, progress, Finished("stop")]) == collect([*call, Finished("stop")])


def test_s1_an_unfinished_answer_is_truncated() -> None:
    unfinished: list[list[Event]] = [[], [Started("", "")], [Started("", ""), TextDelta(0, "a")], [Finished("stop")]]
    for events in unfinished:
        with pytest.raises(Truncated):
            collect(events)


def test_s2_an_error_in_the_stream_is_raised() -> None:
    error = RateLimited("Slow down.")
    with pytest.raises(RateLimited) as raised:
        collect([Started("", ""), TextDelta(0, "a"), Failed(error)])
    assert raised.value is error


@pytest.mark.parametrize("second", [ReasoningDelta(0, "b"), ToolCallDelta(0, "{}")])
def test_a_part_that_changes_its_kind_is_malformed(second: Event) -> None:
    with pytest.raises(Malformed, match="Part 0"):
        collect([Started("", ""), TextDelta(0, "a"), second])
    with pytest.raises(Malformed, match="Part 0"):
        collect([Started("", ""), WholePart(0, UnknownPart(())), second])


@pytest.mark.parametrize(
    ("reason", "called", "expected"),
    [
        ("stop", False, "stop"),
        ("stop", True, "tool_calls"),
        ("tool_calls", False, "stop"),
        ("tool_calls", True, "tool_calls"),
        ("other", False, "other"),
        ("other", True, "tool_calls"),
        *((reason, called, reason) for reason in ("length", "filtered", "paused", "error") for called in (False, True)),
    ],
)
def test_s6_the_finish_reason_is_tool_calls_if_the_client_has_calls_to_run(
    reason: FinishReason, called: bool, expected: FinishReason
) -> None:
    assert final_finish_reason(reason, called) == expected


def test_e8_counts_do_not_overlap_and_totals_are_sums() -> None:
    usage = Usage(fresh=5, cache_read=20, cache_write=100, text=3, reasoning=7)
    assert (usage.input, usage.output) == (125, 10)
    assert (Usage().input, Usage().output) == (None, None)
    assert (Usage(fresh=0).input, Usage(text=0).output) == (0, 0)


def test_usage_of_several_rounds_is_their_sum() -> None:
    one = Usage(fresh=1, cache_read=2, text=3, reasoning=1, other={"audio_input": 1})
    two = Usage(fresh=10, cache_write=4, other={"audio_input": 1, "images": 2}, estimated=True)
    both = Usage(fresh=11, cache_read=2, cache_write=4, text=3, reasoning=1, estimated=True)
    assert one + two == replace(both, other={"audio_input": 2, "images": 2})
    assert Usage() + Usage() == Usage()
    assert one + Usage() == one
