"""The filters of events: one part at a time (S3), and reasoning in tags (S13)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm.chat.events import (
    Cited,
    Continuation,
    Event,
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
from llm.chat.filters import AnswerJoiner, Filter, PartSequencer, ThinkTagFilter
from llm.chat.messages import Citation, Message, Reasoning, Text, ToolCall, UnknownPart, Usage
from llm.chat.provider_metadata import ProviderMetadata
from llm.chat.reply import Reply, collect, replay
from tests.support.event_streams import streams
from tests.support.grammars import check_stream


def run_filter(filter_: Filter, events: Sequence[Event], batches: Iterable[int] = ()) -> list[Event]:
    """Feeds the events in batches of these sizes, the rest at once; returns the output."""
    out: list[Event] = []
    rest = [*events]
    for size in batches:
        out += filter_.feed(rest[:size])
        rest = rest[size:]
    return out + filter_.feed(rest)


batches = st.lists(st.integers(0, 3), max_size=20)


def events_of_part(events: Iterable[Event], index: int) -> list[Event]:
    return [e for e in events if getattr(e, "index", None) == index]


def check_in_order(events: Sequence[Event]) -> None:
    """No part begins while another is open."""
    open_: int | None = None
    for event in events:
        index = getattr(event, "index", None)
        if index is None or isinstance(event, ToolProgress):
            continue
        assert open_ in (None, index), f"{event} although part {open_} is open"
        open_ = None if isinstance(event, PartEnded | WholePart) else index


@given(streams(), batches)
def test_s3_one_part_is_open_at_a_time_and_each_has_all_its_events(events: list[Event], sizes: list[int]) -> None:
    out = run_filter(PartSequencer(), events, sizes)
    check_in_order(out)
    for index in range(10):
        assert events_of_part(out, index) == events_of_part(events, index)
    assert len(out) == len(events)
    assert collect(out) == collect(events)
    assert out[0] == events[0] and out[-1] == events[-1]


@given(streams())
def test_ordered_events_pass_unchanged_and_at_once(events: list[Event]) -> None:
    sorted_ = run_filter(PartSequencer(), events)
    order = PartSequencer()
    for event in sorted_:
        assert order.feed([event]) == [event]


def test_s3_interleaved_calls_leave_one_after_another() -> None:
    order = PartSequencer()
    first, second = ToolCallStarted(0, "a", "f"), ToolCallStarted(1, "b", "g")
    assert order.feed([Started("", ""), first, second]) == [Started("", ""), first]
    assert order.feed([ToolCallDelta(0, "{"), ToolCallDelta(1, "["), ToolCallDelta(0, "}")]) == [
        ToolCallDelta(0, "{"),
        ToolCallDelta(0, "}"),
    ]
    assert order.feed([PartEnded(0)]) == [PartEnded(0), second, ToolCallDelta(1, "[")]
    assert order.feed([ToolCallDelta(1, "]")]) == [ToolCallDelta(1, "]")]
    assert order.feed([PartEnded(1), Finished("tool_calls")]) == [PartEnded(1), Finished("tool_calls")]


def test_s3_several_parts_are_held_back() -> None:
    starts = [ToolCallStarted(index, str(index), "f") for index in range(3)]
    whole = WholePart(3, UnknownPart(()))
    out = run_filter(PartSequencer(), [*starts, whole, PartEnded(2), PartEnded(0), TextDelta(4, "a"), PartEnded(1)])
    assert out == [starts[0], PartEnded(0), starts[1], PartEnded(1), starts[2], PartEnded(2), whole, TextDelta(4, "a")]


def test_usage_is_not_held_back() -> None:
    order = PartSequencer()
    order.feed([TextDelta(0, "a")])
    assert order.feed([TextDelta(1, "b"), UsageReported(Usage(fresh=1))]) == [UsageReported(Usage(fresh=1))]


def test_progress_of_an_ended_call_holds_nothing_back() -> None:
    """The tool loop runs a tool after its call has ended, and another round follows."""
    events: list[Event] = [
        Started("", ""),
        ToolCallStarted(0, "a", "f", "server"),
        PartEnded(0),
        ToolProgress(0, "running"),
        ToolProgress(0, "completed"),
        TextDelta(1, "b"),
        PartEnded(1),
        Finished("stop"),
    ]
    assert run_filter(PartSequencer(), events) == events


def filter_tags(text: str, cuts: Iterable[int] = ()) -> Reply:
    """Returns the filtered answer to one text part, cut at these offsets."""
    events: list[Event] = [Started("", "")]
    start = 0
    for end in [*sorted(cut % (len(text) + 1) for cut in cuts), len(text)]:
        events.append(TextDelta(0, text[start:end]))
        start = end
    out = run_filter(ThinkTagFilter(), [*events, PartEnded(0), Finished("stop")], [1] * len(events))
    check_stream(out)
    return collect(out)


def split_tags(text: str, cuts: Iterable[int] = ()) -> tuple[str, str]:
    """Returns the reasoning and the text of the filtered answer."""
    reply = filter_tags(text, cuts)
    return reply.reasoning, reply.text


# Name -> (text of the engine, reasoning, text).
TAGGED: dict[str, tuple[str, str, str]] = {
    "reasoning and an answer": ("<think>Hm.</think>Yes.", "Hm.", "Yes."),
    "separated by line ends": ("<think>\nHm.\n\nWell.\n</think>\n\nYes.", "Hm.\n\nWell.", "Yes."),
    "blank space in front": (" \n<think>Hm.</think> Yes.", "Hm.", "Yes."),
    "another tag": ("<thinking>Hm.</thinking>Yes.", "Hm.", "Yes."),
    "a third tag": ("<thought>Hm.</thought>Yes.", "Hm.", "Yes."),
    "reasoning twice": ("<think>Hm.</think>\n<think>Hm?</think>\nYes.", "Hm.Hm?", "Yes."),
    "empty reasoning": ("<think>\n\n</think>\n\nYes.", "", "Yes."),
    "no answer": ("<think>Hm.</think>", "Hm.", ""),
    "no tag": ("Yes.", "", "Yes."),
    "nothing": ("", "", ""),
    "only blank space": (" \n ", "", " \n "),
    "no closing tag": ("<think>Hm.\nWell, ", "Hm.\nWell, ", ""),
    "no closing tag, cut off inside one": ("<think>Hm.\n</thi", "Hm.\n</thi", ""),
    "no closing tag, line ends last": ("<think>\nHm.\n\n", "Hm.\n\n", ""),
    "the beginning of a tag and no more": ("<thi", "", "<thi"),
    "less than and other words": ("<b>bold</b> <3", "", "<b>bold</b> <3"),
    "a similar tag": ("<thinker>Yes.</thinker>", "", "<thinker>Yes.</thinker>"),
    "no opening tag": ("Hm.\n</think>\n\nYes.", "", "Hm.\nYes."),
    "only a closing tag": ("</think>\n\nYes.", "", "Yes."),
    "an answer about the tag": ("The tag <think> opens it.", "", "The tag <think> opens it."),
    "about both tags": ("It is <think>, then </think>, I think.", "", "It is <think>, then </think>, I think."),
    "about both tags after reasoning": ("<think>Hm.</think>Use <think> and </think>.", "Hm.", "Use <think> and </think>."),
    "about the closing tag after reasoning": ("<think>Hm.</think>It ends with </think>.", "Hm.", "It ends with </think>."),
    "about the closing tag after one": ("Hm.</think>It ends with </think>.", "", "Hm.It ends with </think>."),
    "reasoning about the tag": ("<think>Now <think> is a tag.</think>Yes.", "Now <think> is a tag.", "Yes."),
    "a closing tag too many": ("<think>Hm.</think>\n</think>\nYes.", "Hm.", "Yes."),
    "beyond ASCII": ("<think>漢 🎈</think>ä", "漢 🎈", "ä"),
}  # fmt: skip


@pytest.mark.parametrize(("came", "reasoning", "answer"), TAGGED.values(), ids=TAGGED)
def test_s13_tagged_text_is_reasoning_wherever_it_is_cut(came: str, reasoning: str, answer: str) -> None:
    assert split_tags(came) == (reasoning, answer)
    assert split_tags(came, range(len(came))) == (reasoning, answer)
    for cut in range(len(came)):
        assert split_tags(came, [cut]) == (reasoning, answer)


def remove_tags(text: str) -> str:
    """Removes tags and blank space, repeatedly: removing one tag may join another."""
    text = "".join(text.split())
    shorter = re.sub("</?(think|thinking|thought)>", "", text)
    return text if text == shorter else remove_tags(shorter)


TOKENS = ["<", "/", "think", ">", "<think>", "</think>", "<thinking>", "</thought>", "\n", " ", "a", "b\n", "🎈"]


@given(st.lists(st.sampled_from(TOKENS), max_size=12).map("".join), st.lists(st.integers(0, 99), max_size=8))
@example("<think>\n\n\na\n\n</think>\n\nb", [8, 9, 12, 13, 14, 22, 23])
def test_s13_only_tags_and_the_blank_space_around_them_are_removed(came: str, cuts: list[int]) -> None:
    reply = filter_tags(came)
    assert filter_tags(came, cuts) == reply
    output = "".join(part.text for part in reply.message.parts if isinstance(part, Text | Reasoning))
    rest = iter(came)
    assert all(letter in rest for letter in output), "something was added or moved"
    assert remove_tags(came) == remove_tags(output)


@given(streams(), batches)
def test_s13_a_stream_without_tags_stays_the_same_answer(events: list[Event], sizes: list[int]) -> None:
    events = [replace(e, text=e.text.replace("<", "")) if isinstance(e, TextDelta) else e for e in events]
    events = run_filter(
        PartSequencer(), events
    )  # an interleaved part without any text may be filtered to a later position
    out = run_filter(ThinkTagFilter(), events, sizes)
    check_stream(out)
    ours, theirs = collect(out), collect(events)
    assert (ours.text, ours.reasoning, ours.calls) == (theirs.text, theirs.reasoning, theirs.calls)
    assert (ours.finish, ours.usage, ours.id) == (theirs.finish, theirs.usage, theirs.id)
    # A text part without text, citations and metadata is removed.
    assert ours.message.parts == tuple(part for part in theirs.message.parts if part != Text(""))


def test_s13_reasoning_is_streamed() -> None:
    tags = ThinkTagFilter()
    assert tags.feed([TextDelta(0, "<think>Hm")]) == [ReasoningDelta(0, "Hm")]
    assert tags.feed([TextDelta(0, ".\n")]) == [ReasoningDelta(0, ".")]  # a line end may belong to the closing tag
    assert tags.feed([TextDelta(0, "Well </")]) == [ReasoningDelta(0, "\nWell ")]
    assert tags.feed([TextDelta(0, "think>\n")]) == []
    assert tags.feed([TextDelta(0, "\nYes <")]) == [PartEnded(0), TextDelta(1, "Yes <")]
    assert tags.feed([TextDelta(0, "3"), PartEnded(0)]) == [TextDelta(1, "3"), PartEnded(1)]


def test_s13_only_a_possible_tag_is_held_back() -> None:
    tags = ThinkTagFilter()
    assert tags.feed([TextDelta(0, "Yes <")]) == [TextDelta(0, "Yes ")]
    assert tags.feed([TextDelta(0, "/thin")]) == []
    assert tags.feed([TextDelta(0, "g> <")]) == [TextDelta(0, "</thing> ")]
    assert tags.feed([PartEnded(0)]) == [TextDelta(0, "<"), PartEnded(0)]


def test_s13_parts_around_reasoning_keep_their_order_and_metadata() -> None:
    metadata = (ProviderMetadata("x", "y", {"signature": "s"}),)
    citation = Citation(url="u")
    out = run_filter(
        ThinkTagFilter(),
        [
            Started("", ""),
            ReasoningDelta(0, "Before."),
            PartEnded(0, metadata),
            TextDelta(1, "<think>Hm.</think>Yes"),
            Cited(1, citation),
            PartEnded(1, metadata),
            ToolCallStarted(2, "a", "f"),
            ToolCallDelta(2, '{"tag": "<think>"}'),
            PartEnded(2, metadata),
            ToolProgress(2, "running"),
            TextDelta(3, ""),
            PartEnded(3, metadata),
            WholePart(4, UnknownPart(())),
            Finished("tool_calls"),
        ],
    )
    check_stream(out)
    assert collect(out).message.parts == (
        Reasoning("Before.", metadata),
        Reasoning("Hm."),
        Text("Yes", (citation,), metadata),
        ToolCall("a", "f", '{"tag": "<think>"}', metadata=metadata),
        Text("", metadata=metadata),
        UnknownPart(()),
    )
    assert ToolProgress(3, "running") in out


def test_s13_a_citation_without_text_opens_an_empty_text_part() -> None:
    events: list[Event] = [Cited(0, Citation(url="u")), TextDelta(0, "<think>Hm.</think>"), PartEnded(0)]
    out = run_filter(ThinkTagFilter(), [Started("", ""), *events, Finished("stop")])
    check_stream(out)
    assert collect(out).message.parts == (Text("", (Citation(url="u"),)), Reasoning("Hm."))


# --- answers that were interrupted ---


def interrupt(reply: Reply, at: int) -> list[list[Event]]:
    """Returns the events of two answers that are ``reply``, cut behind ``at`` characters of its first text."""
    first = next(n for n, part in enumerate(reply.message.parts) if isinstance(part, Text))
    part = reply.message.parts[first]
    assert isinstance(part, Text)
    before = replace(part, text=part.text[:at], citations=(), metadata=())
    after = replace(part, text=part.text[at:])
    head = replace(
        reply, message=Message("assistant", (*reply.message.parts[:first], before)), usage=Usage(fresh=1, text=2)
    )
    tail = replace(
        reply, message=Message("assistant", (after, *reply.message.parts[first + 1 :])), usage=Usage(fresh=3, text=4)
    )
    going = Continuation({"token": "t"}, first + 1, TextDelta)
    ends: list[Event] = [*replay(replace(head, finish=Finished("length", "CONTINUATION", continuation=going)))]
    return [ends, [*replay(tail)]]


@pytest.mark.parametrize("at", [1, 3])
def test_an_interrupted_answer_is_one_answer(at: int) -> None:
    parts = (
        Reasoning("Hm", (ProviderMetadata("gemini", "google", {"thoughtSignature": "s"}),)),
        Text("Hello", (), (ProviderMetadata("gemini", "google", {"thoughtSignature": "t"}),)),
        ToolCall("c1", "f", '{"x": 1}'),
    )
    reply = Reply(
        id="r",
        model="m",
        message=Message("assistant", parts),
        finish=Finished("tool_calls"),
        usage=Usage(fresh=4, text=6),
    )
    first, second = interrupt(reply, at)
    joiner = AnswerJoiner()
    events = [*joiner.end_answer(first), *joiner.feed(second)]
    check_stream(events)
    assert joiner.fields == {"token": "t"} and collect(events) == reply
    one_by_one = AnswerJoiner()
    again = [*one_by_one.end_answer(first), *(e for event in second for e in one_by_one.feed([event]))]
    assert again == events


def test_an_interrupted_part_ends_where_another_kind_follows() -> None:
    going = Continuation({"token": "t"}, 1, ReasoningDelta)
    joiner = AnswerJoiner()
    events = joiner.end_answer(
        [Started("r", "m"), ReasoningDelta(0, "Hm"), PartEnded(0), Finished("length", continuation=going)]
    )
    assert events == [Started("r", "m"), ReasoningDelta(0, "Hm")]
    rest = joiner.feed([Started("r2", "m"), TextDelta(0, "Yes"), PartEnded(0), Finished("stop")])
    assert [*rest] == [PartEnded(0), TextDelta(1, "Yes"), PartEnded(1), Finished("stop")]


def test_an_answer_that_goes_on_with_nothing_ends_its_open_part() -> None:
    going = Continuation({"token": "t"}, 1, TextDelta)
    joiner = AnswerJoiner()
    joiner.end_answer([Started("r", "m"), TextDelta(0, "a"), PartEnded(0), Finished("length", continuation=going)])
    assert [*joiner.feed([Started("r2", "m"), Finished("stop")])] == [PartEnded(0), Finished("stop")]
