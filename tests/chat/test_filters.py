"""Events to events: one part at a time (S3), and thoughts in tags (S13)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

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
    ToolProgress,
    UsageReported,
    WholePart,
)
from llm.chat.filters import Filter, InOrder, ThinkTags
from llm.chat.messages import Citation, Foreign, Reasoning, Text, ToolCall, Usage
from llm.chat.provider_metadata import Opaque
from llm.chat.reply import Reply, collect
from tests.support.event_streams import streams
from tests.support.grammars import check_stream


def through(filter_: Filter, events: Sequence[Event], batches: Iterable[int] = ()) -> list[Event]:
    """What comes out when the events go in in batches of these sizes; all that is left at once."""
    out: list[Event] = []
    rest = [*events]
    for size in batches:
        out += filter_.feed(rest[:size])
        rest = rest[size:]
    return out + filter_.feed(rest)


batches = st.lists(st.integers(0, 3), max_size=20)


def of_part(events: Iterable[Event], index: int) -> list[Event]:
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
def test_s3_one_part_is_open_at_a_time_and_each_keeps_its_events(events: list[Event], sizes: list[int]) -> None:
    out = through(InOrder(), events, sizes)
    check_in_order(out)
    for index in range(10):
        assert of_part(out, index) == of_part(events, index)
    assert len(out) == len(events)
    assert collect(out) == collect(events)
    assert out[0] == events[0] and out[-1] == events[-1]


@given(streams())
def test_what_is_in_order_passes_unchanged_and_at_once(events: list[Event]) -> None:
    sorted_ = through(InOrder(), events)
    order = InOrder()
    for event in sorted_:
        assert order.feed([event]) == [event]


def test_s3_calls_whose_pieces_come_in_turns_leave_one_after_the_other() -> None:
    order = InOrder()
    first, second = ToolCallStarted(0, "a", "f"), ToolCallStarted(1, "b", "g")
    assert order.feed([Started("", ""), first, second]) == [Started("", ""), first]
    assert order.feed([ToolCallDelta(0, "{"), ToolCallDelta(1, "["), ToolCallDelta(0, "}")]) == [
        ToolCallDelta(0, "{"),
        ToolCallDelta(0, "}"),
    ]
    assert order.feed([PartEnded(0)]) == [PartEnded(0), second, ToolCallDelta(1, "[")]
    assert order.feed([ToolCallDelta(1, "]")]) == [ToolCallDelta(1, "]")]
    assert order.feed([PartEnded(1), Finished("tool_calls")]) == [PartEnded(1), Finished("tool_calls")]


def test_s3_several_parts_may_wait() -> None:
    starts = [ToolCallStarted(index, str(index), "f") for index in range(3)]
    whole = WholePart(3, Foreign(()))
    out = through(InOrder(), [*starts, whole, PartEnded(2), PartEnded(0), TextDelta(4, "a"), PartEnded(1)])
    assert out == [starts[0], PartEnded(0), starts[1], PartEnded(1), starts[2], PartEnded(2), whole, TextDelta(4, "a")]


def test_usage_does_not_wait() -> None:
    order = InOrder()
    order.feed([TextDelta(0, "a")])
    assert order.feed([TextDelta(1, "b"), UsageReported(Usage(fresh=1))]) == [UsageReported(Usage(fresh=1))]


def test_progress_of_a_call_that_has_ended_holds_nothing_back() -> None:
    """Our own loop runs tools when their calls are complete, and more rounds follow."""
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
    assert through(InOrder(), events) == events


def answered(text: str, cuts: Iterable[int] = ()) -> Reply:
    """An answer in one text part that comes cut at these places."""
    events: list[Event] = [Started("", "")]
    start = 0
    for end in [*sorted(cut % (len(text) + 1) for cut in cuts), len(text)]:
        events.append(TextDelta(0, text[start:end]))
        start = end
    out = through(ThinkTags(), [*events, PartEnded(0), Finished("stop")], [1] * len(events))
    check_stream(out)
    return collect(out)


def tagged(text: str, cuts: Iterable[int] = ()) -> tuple[str, str]:
    """What was thought and what was said."""
    reply = answered(text, cuts)
    return reply.reasoning, reply.text


# What comes, what was thought, what was said.
TAGGED: dict[str, tuple[str, str, str]] = {
    "a thought and an answer": ("<think>Hm.</think>Yes.", "Hm.", "Yes."),
    "set off by line ends": ("<think>\nHm.\n\nWell.\n</think>\n\nYes.", "Hm.\n\nWell.", "Yes."),
    "blank space in front": (" \n<think>Hm.</think> Yes.", "Hm.", "Yes."),
    "other words for it": ("<thinking>Hm.</thinking>Yes.", "Hm.", "Yes."),
    "and another": ("<thought>Hm.</thought>Yes.", "Hm.", "Yes."),
    "two thoughts": ("<think>Hm.</think>\n<think>Hm?</think>\nYes.", "Hm.Hm?", "Yes."),
    "an empty thought": ("<think>\n\n</think>\n\nYes.", "", "Yes."),
    "no answer": ("<think>Hm.</think>", "Hm.", ""),
    "no tag": ("Yes.", "", "Yes."),
    "nothing": ("", "", ""),
    "nothing but blank space": (" \n ", "", " \n "),
    "no closing tag": ("<think>Hm.\nWell, ", "Hm.\nWell, ", ""),
    "no closing tag, cut off inside one": ("<think>Hm.\n</thi", "Hm.\n</thi", ""),
    "no closing tag, line ends last": ("<think>\nHm.\n\n", "Hm.\n\n", ""),
    "the beginning of a tag and no more": ("<thi", "", "<thi"),
    "less than and other words": ("<b>bold</b> <3", "", "<b>bold</b> <3"),
    "a tag like ours": ("<thinker>Yes.</thinker>", "", "<thinker>Yes.</thinker>"),
    "no opening tag": ("Hm.\n</think>\n\nYes.", "", "Hm.\nYes."),
    "nothing but a closing tag": ("</think>\n\nYes.", "", "Yes."),
    "an answer that speaks of the tag": ("The tag <think> opens it.", "", "The tag <think> opens it."),
    "of both": ("It is <think>, then </think>, I think.", "", "It is <think>, then </think>, I think."),
    "of both after a thought": ("<think>Hm.</think>Use <think> and </think>.", "Hm.", "Use <think> and </think>."),
    "of the closing one after a thought": ("<think>Hm.</think>It ends with </think>.", "Hm.", "It ends with </think>."),
    "of the closing one after one": ("Hm.</think>It ends with </think>.", "", "Hm.It ends with </think>."),
    "a thought that speaks of it": ("<think>Now <think> is a tag.</think>Yes.", "Now <think> is a tag.", "Yes."),
    "a closing tag too many": ("<think>Hm.</think>\n</think>\nYes.", "Hm.", "Yes."),
    "beyond ASCII": ("<think>漢 🎈</think>ä", "漢 🎈", "ä"),
}  # fmt: skip


@pytest.mark.parametrize(("came", "thought", "said"), TAGGED.values(), ids=TAGGED)
def test_s13_thoughts_in_tags_are_reasoning_wherever_they_are_cut(came: str, thought: str, said: str) -> None:
    assert tagged(came) == (thought, said)
    assert tagged(came, range(len(came))) == (thought, said)
    for cut in range(len(came)):
        assert tagged(came, [cut]) == (thought, said)


def bare(text: str) -> str:
    """Without tags and blank space, and without what becomes a tag when one is taken out of it."""
    text = "".join(text.split())
    shorter = re.sub("</?(think|thinking|thought)>", "", text)
    return text if text == shorter else bare(shorter)


TOKENS = ["<", "/", "think", ">", "<think>", "</think>", "<thinking>", "</thought>", "\n", " ", "a", "b\n", "🎈"]


@given(st.lists(st.sampled_from(TOKENS), max_size=12).map("".join), st.lists(st.integers(0, 99), max_size=8))
@example("<think>\n\n\na\n\n</think>\n\nb", [8, 9, 12, 13, 14, 22, 23])
def test_s13_nothing_is_lost_but_tags_and_the_blank_space_around_them(came: str, cuts: list[int]) -> None:
    reply = answered(came)
    assert answered(came, cuts) == reply
    kept = "".join(part.text for part in reply.message.parts if isinstance(part, Text | Reasoning))
    rest = iter(came)
    assert all(letter in rest for letter in kept), "something was added, or changed its place"
    assert bare(came) == bare(kept)


@given(streams(), batches)
def test_s13_a_stream_without_tags_is_the_same_answer(events: list[Event], sizes: list[int]) -> None:
    events = [replace(e, text=e.text.replace("<", "")) if isinstance(e, TextDelta) else e for e in events]
    events = through(InOrder(), events)  # where parts overlap, one without any text yet may come later than it began
    out = through(ThinkTags(), events, sizes)
    check_stream(out)
    ours, theirs = collect(out), collect(events)
    assert (ours.text, ours.reasoning, ours.calls) == (theirs.text, theirs.reasoning, theirs.calls)
    assert (ours.finish, ours.usage, ours.id) == (theirs.finish, theirs.usage, theirs.id)
    # A text part without any text leaves no trace, if nothing is cited for it and nothing kept with it.
    assert ours.message.parts == tuple(part for part in theirs.message.parts if part != Text(""))


def test_s13_a_thought_leaves_as_it_comes() -> None:
    tags = ThinkTags()
    assert tags.feed([TextDelta(0, "<think>Hm")]) == [ReasoningDelta(0, "Hm")]
    assert tags.feed([TextDelta(0, ".\n")]) == [ReasoningDelta(0, ".")]  # a line end may belong to the closing tag
    assert tags.feed([TextDelta(0, "Well </")]) == [ReasoningDelta(0, "\nWell ")]
    assert tags.feed([TextDelta(0, "think>\n")]) == []
    assert tags.feed([TextDelta(0, "\nYes <")]) == [PartEnded(0), TextDelta(1, "Yes <")]
    assert tags.feed([TextDelta(0, "3"), PartEnded(0)]) == [TextDelta(1, "3"), PartEnded(1)]


def test_s13_of_an_answer_no_more_is_held_back_than_may_be_a_tag() -> None:
    tags = ThinkTags()
    assert tags.feed([TextDelta(0, "Yes <")]) == [TextDelta(0, "Yes ")]
    assert tags.feed([TextDelta(0, "/thin")]) == []
    assert tags.feed([TextDelta(0, "g> <")]) == [TextDelta(0, "</thing> ")]
    assert tags.feed([PartEnded(0)]) == [TextDelta(0, "<"), PartEnded(0)]


def test_s13_parts_around_a_thought_keep_their_order_and_what_is_kept_with_them() -> None:
    keep = (Opaque("x", "y", {"signature": "s"}),)
    citation = Citation(url="u")
    out = through(
        ThinkTags(),
        [
            Started("", ""),
            ReasoningDelta(0, "Before."),
            PartEnded(0, keep),
            TextDelta(1, "<think>Hm.</think>Yes"),
            Cited(1, citation),
            PartEnded(1, keep),
            ToolCallStarted(2, "a", "f"),
            ToolCallDelta(2, '{"tag": "<think>"}'),
            PartEnded(2, keep),
            ToolProgress(2, "running"),
            TextDelta(3, ""),
            PartEnded(3, keep),
            WholePart(4, Foreign(())),
            Finished("tool_calls"),
        ],
    )
    check_stream(out)
    assert collect(out).message.parts == (
        Reasoning("Before.", keep),
        Reasoning("Hm."),
        Text("Yes", (citation,), keep),
        ToolCall("a", "f", '{"tag": "<think>"}', keep=keep),
        Text("", keep=keep),
        Foreign(()),
    )
    assert ToolProgress(3, "running") in out


def test_s13_a_citation_for_nothing_but_a_thought_stands_on_an_empty_text() -> None:
    events: list[Event] = [Cited(0, Citation(url="u")), TextDelta(0, "<think>Hm.</think>"), PartEnded(0)]
    out = through(ThinkTags(), [Started("", ""), *events, Finished("stop")])
    check_stream(out)
    assert collect(out).message.parts == (Text("", (Citation(url="u"),)), Reasoning("Hm."))
