"""The part indexes for wires without any."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llm.chat.events import (
    Cited,
    Event,
    Finished,
    PartEnded,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallStarted,
    settled,
)
from llm.chat.messages import Citation
from llm.chat.parts_manager import Flow
from llm.chat.provider_metadata import Opaque
from llm.chat.reply import collect
from tests.support.event_streams import citations, keeps, wholes
from tests.support.event_streams import texts as random_texts
from tests.support.grammars import check_stream

one_step: st.SearchStrategy[tuple[Any, ...]] = st.one_of(
    st.tuples(st.sampled_from(["text", "reasoning"]), random_texts),
    st.tuples(st.just("withheld")),
    st.tuples(st.just("cite"), citations),
    st.tuples(st.just("call"), st.sampled_from(["client", "provider"])),
    st.tuples(st.just("arguments"), st.integers(0, 3), random_texts),
    st.tuples(st.just("end call"), st.integers(0, 3), keeps),
    st.tuples(st.just("end"), keeps),
    st.tuples(st.just("whole"), wholes),
)


@given(st.lists(one_step, max_size=20))
def test_s7_the_grammar_holds_for_any_order_of_pieces(steps: list[tuple[Any, ...]]) -> None:
    parts = Flow()
    events: list[Event] = [Started("", "")]
    open_calls: list[int] = []
    texts = {"text": "", "reasoning": ""}
    arguments: dict[int, str] = {}
    for step, *values in steps:
        match step:
            case "text":
                parts.text(values[0])
                texts[step] += values[0]
            case "reasoning":
                parts.reasoning(values[0])
                texts[step] += values[0]
            case "withheld":
                parts.reasoning("", withheld=True)
            case "cite":
                parts.cite(values[0])
            case "call":
                index = parts.call(f"call_{len(arguments)}", "f", values[0])
                open_calls.append(index)
                arguments[index] = ""
            case "arguments" if open_calls:
                index = open_calls[values[0] % len(open_calls)]
                parts.arguments(index, values[1])
                arguments[index] += values[1]
            case "end call" if open_calls:
                index = open_calls.pop(values[0] % len(open_calls))
                parts.end_call(index, values[1])
                parts.end_call(index)
            case "end":
                parts.end_open(values[0])
            case "whole":
                parts.whole(values[0])
        events += parts.take()
    parts.end_all()
    events += parts.take()
    assert parts.take() == []
    events.append(Finished(settled("stop", parts.called)))
    check_stream(events)
    reply = collect(events)
    assert (reply.text, reply.reasoning) == (texts["text"], texts["reasoning"])
    assert [call.arguments for call in reply.calls] == [text or "{}" for _, text in sorted(arguments.items())]


def test_s8_empty_pieces_are_dropped() -> None:
    parts = Flow()
    parts.text("")
    parts.reasoning("")
    parts.end_open()
    index = parts.call("a", "f")
    parts.arguments(index, "")
    assert parts.take() == [ToolCallStarted(0, "a", "f")]


def test_withheld_reasoning_is_a_part_with_its_metadata() -> None:
    parts = Flow()
    metadata = (Opaque("x", "y", {"signature": "s"}),)
    parts.reasoning("", withheld=True)
    parts.end_open(metadata)
    assert parts.take() == [ReasoningDelta(0, ""), PartEnded(0, metadata)]


def test_a_citation_without_text_opens_an_empty_text_part() -> None:
    parts = Flow()
    parts.cite(Citation(url="u"))
    parts.cite(Citation(url="v"))
    parts.text("a")
    assert parts.take() == [
        TextDelta(0, ""),
        Cited(0, Citation(url="u")),
        Cited(0, Citation(url="v")),
        TextDelta(0, "a"),
    ]
