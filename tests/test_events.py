"""Events fold into a reply and out of it again; ``Flow`` numbers the parts of wires that do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    settled,
)
from llm.chat.grammar import Grammar
from llm.chat.messages import Citation, Foreign, Media, Part, Reasoning, Text, ToolCall, ToolResult, Usage
from llm.chat.parts_manager import Flow
from llm.chat.provider_metadata import Keep, Opaque
from llm.chat.reply import collect, replay
from llm.errors import Malformed, RateLimited, Truncated
from tests.grammars import check_stream

REASONS: tuple[FinishReason, ...] = get_args(FinishReason)

keeps: st.SearchStrategy[Keep] = st.sampled_from(
    [(), (Opaque("anthropic", "x", {"signature": "EqQB"}),), (Opaque("gemini", None, {"a": 1}), Opaque("x", "y", {}))]
)
texts = st.text(max_size=6)
citations = st.builds(Citation, url=texts, keep=keeps)
wholes: st.SearchStrategy[Part] = st.one_of(
    st.builds(Foreign, keeps),
    st.builds(Media, mime=st.just("image/png"), base64=texts, keep=keeps),
    st.builds(ToolResult, texts, st.just((Text("x"),)), st.booleans()),
)
usages = st.builds(Usage, fresh=st.none() | st.integers(0, 9), text=st.none() | st.integers(0, 9))


@st.composite
def one_part(draw: st.DrawFn, index: int) -> list[Event]:
    """The events of one part."""
    kind = draw(st.sampled_from(["text", "reasoning", "call", "whole"]))
    end = PartEnded(index, draw(keeps))
    match kind:
        case "text":
            told: list[Event] = [TextDelta(index, text) for text in draw(st.lists(texts, min_size=1, max_size=4))]
            told += [Cited(index, citation) for citation in draw(st.lists(citations, max_size=2))]
            return [*draw(st.permutations(told)), end]
        case "reasoning":
            return [*draw(st.lists(texts.map(lambda t: ReasoningDelta(index, t)), min_size=1, max_size=4)), end]
        case "call":
            executor = draw(st.sampled_from(["client", "client", "provider", "server"]))
            fragments = draw(st.lists(texts.filter(bool), max_size=4))
            start = ToolCallStarted(index, f"call_{index}", "f", executor)  # type: ignore[arg-type]
            return [start, *(ToolCallDelta(index, fragment) for fragment in fragments), end]
    return [WholePart(index, draw(wholes))]


@st.composite
def streams(draw: st.DrawFn) -> list[Event]:
    """Any stream that keeps the grammar: parts overlap, indexes have gaps."""
    indexes = sorted(draw(st.sets(st.integers(0, 9), max_size=5)))
    waiting = [draw(one_part(index)) for index in indexes]
    called = any(isinstance(part[0], ToolCallStarted) and part[0].executor == "client" for part in waiting)
    open_: list[list[Event]] = []
    events: list[Event] = [Started(draw(texts), draw(texts), ("seed",))]
    while waiting or open_:
        choice = draw(st.integers(0, len(open_))) if waiting else draw(st.integers(0, len(open_) - 1))
        if choice == len(open_):
            open_.append(waiting.pop(0))
        events.append(open_[choice].pop(0))
        open_ = [part for part in open_ if part]
        if draw(st.integers(0, 4)) == 0:
            events.append(UsageReported(draw(usages)))
    reason = settled(draw(st.sampled_from(REASONS)), called)
    return [*events, Finished(reason, draw(st.none() | texts), draw(keeps))]


def events_of_part(events: list[Event], index: int) -> list[Event]:
    return [event for event in events if getattr(event, "index", None) == index]


@given(streams())
def test_s7_any_such_stream_passes_both_checkers(events: list[Event]) -> None:
    check_stream(events)
    grammar = Grammar()
    grammar.feed(events)
    grammar.close()


@given(streams())
def test_a_reply_is_the_fold_of_its_stream(events: list[Event]) -> None:
    reply = collect(events)
    indexes = sorted({event.index for event in events if hasattr(event, "index")})
    assert len(reply.message.parts) == len(indexes)
    for part, index in zip(reply.message.parts, indexes, strict=True):
        own = events_of_part(events, index)
        last = own[-1]
        match part, last:
            case Text(text, cited, keep), PartEnded(_, kept):
                assert text == "".join(e.text for e in own if isinstance(e, TextDelta))
                assert cited == tuple(e.citation for e in own if isinstance(e, Cited))
                assert keep == kept
            case Reasoning(text, keep), PartEnded(_, kept):
                assert (text, keep) == ("".join(e.text for e in own if isinstance(e, ReasoningDelta)), kept)
            case ToolCall() as call, PartEnded(_, kept):
                start = own[0]
                assert isinstance(start, ToolCallStarted)
                assert (call.id, call.name, call.executor, call.keep) == (start.id, start.name, start.executor, kept)
                assert call.arguments == ("".join(e.arguments for e in own if isinstance(e, ToolCallDelta)) or "{}")
            case _, WholePart(_, whole):
                assert part == whole
            case _:
                raise AssertionError(part)
    told = [event.usage for event in events if isinstance(event, UsageReported)]
    assert reply.usage == (told[-1] if told else Usage())
    assert events[0] == Started(reply.id, reply.model, reply.dropped)
    assert events[-1] == reply.finish


@given(streams())
def test_a_reply_told_again_is_the_same_reply(events: list[Event]) -> None:
    reply = collect(events)
    again = [*replay(reply)]
    check_stream(again)
    assert collect(again) == reply


def test_a_call_without_arguments_has_empty_ones() -> None:
    events: list[Event] = [Started("", ""), ToolCallStarted(0, "a", "f"), PartEnded(0), Finished("tool_calls")]
    assert collect(events).calls == (ToolCall("a", "f", "{}"),)


def test_text_and_reasoning_are_joined_as_they_came() -> None:
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


def test_progress_of_a_tool_is_no_part_of_the_reply() -> None:
    call: list[Event] = [Started("", ""), ToolCallStarted(0, "a", "f", "server"), PartEnded(0)]
    progress = ToolProgress(0, "running", "Looking …")
    assert collect([*call, progress, Finished("stop")]) == collect([*call, Finished("stop")])


def test_s1_what_has_not_finished_is_no_reply() -> None:
    cut: list[list[Event]] = [[], [Started("", "")], [Started("", ""), TextDelta(0, "a")], [Finished("stop")]]
    for events in cut:
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
        collect([Started("", ""), WholePart(0, Foreign(())), second])


@pytest.mark.parametrize(
    ("reason", "called", "told"),
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
def test_s6_the_finish_says_calls_exactly_when_some_are_left_to_run(
    reason: FinishReason, called: bool, told: FinishReason
) -> None:
    assert settled(reason, called) == told


def test_e8_counters_do_not_overlap_and_totals_are_sums() -> None:
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


steps: st.SearchStrategy[tuple[Any, ...]] = st.one_of(
    st.tuples(st.sampled_from(["text", "reasoning"]), texts),
    st.tuples(st.just("withheld")),
    st.tuples(st.just("cite"), citations),
    st.tuples(st.just("call"), st.sampled_from(["client", "provider"])),
    st.tuples(st.just("arguments"), st.integers(0, 3), texts),
    st.tuples(st.just("end call"), st.integers(0, 3), keeps),
    st.tuples(st.just("end"), keeps),
    st.tuples(st.just("whole"), wholes),
)


@given(st.lists(steps, max_size=20))
def test_s7_a_flow_keeps_the_grammar_whatever_comes(taken: list[tuple[Any, ...]]) -> None:
    flow = Flow()
    events: list[Event] = [Started("", "")]
    open_calls: list[int] = []
    said = {"text": "", "reasoning": ""}
    arguments: dict[int, str] = {}
    for step, *given_ in taken:
        match step:
            case "text" | "reasoning":
                getattr(flow, step)(given_[0])
                said[step] += given_[0]
            case "withheld":
                flow.reasoning("", withheld=True)
            case "cite":
                flow.cite(given_[0])
            case "call":
                index = flow.call(f"call_{len(arguments)}", "f", given_[0])
                open_calls.append(index)
                arguments[index] = ""
            case "arguments" if open_calls:
                index = open_calls[given_[0] % len(open_calls)]
                flow.arguments(index, given_[1])
                arguments[index] += given_[1]
            case "end call" if open_calls:
                index = open_calls.pop(given_[0] % len(open_calls))
                flow.end_call(index, given_[1])
                flow.end_call(index)
            case "end":
                flow.end_open(given_[0])
            case "whole":
                flow.whole(given_[0])
        events += flow.take()
    flow.end_all()
    events += flow.take()
    assert flow.take() == []
    events.append(Finished(settled("stop", flow.called)))
    check_stream(events)
    reply = collect(events)
    assert (reply.text, reply.reasoning) == (said["text"], said["reasoning"])
    assert [call.arguments for call in reply.calls] == [text or "{}" for _, text in sorted(arguments.items())]


def test_s8_a_flow_tells_no_empty_pieces() -> None:
    flow = Flow()
    flow.text("")
    flow.reasoning("")
    flow.end_open()
    index = flow.call("a", "f")
    flow.arguments(index, "")
    assert flow.take() == [ToolCallStarted(0, "a", "f")]


def test_a_thought_that_is_withheld_is_a_part_with_its_keep() -> None:
    flow = Flow()
    keep = (Opaque("x", "y", {"signature": "s"}),)
    flow.reasoning("", withheld=True)
    flow.end_open(keep)
    assert flow.take() == [ReasoningDelta(0, ""), PartEnded(0, keep)]


def test_what_is_cited_for_nothing_is_cited_for_an_empty_text() -> None:
    flow = Flow()
    flow.cite(Citation(url="u"))
    flow.cite(Citation(url="v"))
    flow.text("a")
    assert flow.take() == [
        TextDelta(0, ""),
        Cited(0, Citation(url="u")),
        Cited(0, Citation(url="v")),
        TextDelta(0, "a"),
    ]
