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
    final_finish_reason,
)
from llm.chat.messages import Citation
from llm.chat.parts_manager import PartsManager
from llm.chat.provider_metadata import ProviderMetadata
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
    parts = PartsManager()
    events: list[Event] = [Started("", "")]
    open_calls: list[int] = []
    texts = {"text": "", "reasoning": ""}
    arguments: dict[int, str] = {}
    for step, *values in steps:
        match step:
            case "text":
                parts.add_text(values[0])
                texts[step] += values[0]
            case "reasoning":
                parts.add_reasoning(values[0])
                texts[step] += values[0]
            case "withheld":
                parts.add_reasoning("", withheld=True)
            case "cite":
                parts.add_citation(values[0])
            case "call":
                index = parts.open_call(f"call_{len(arguments)}", "f", values[0])
                open_calls.append(index)
                arguments[index] = ""
            case "arguments" if open_calls:
                index = open_calls[values[0] % len(open_calls)]
                parts.add_arguments(index, values[1])
                arguments[index] += values[1]
            case "end call" if open_calls:
                index = open_calls.pop(values[0] % len(open_calls))
                parts.end_call(index, values[1])
                parts.end_call(index)
            case "end":
                parts.end_open_part(values[0])
            case "whole":
                parts.add_whole_part(values[0])
        events += parts.take_events()
    parts.end_all()
    events += parts.take_events()
    assert parts.take_events() == []
    events.append(Finished(final_finish_reason("stop", parts.has_client_call)))
    check_stream(events)
    reply = collect(events)
    assert (reply.text, reply.reasoning) == (texts["text"], texts["reasoning"])
    assert [call.arguments for call in reply.calls] == [text or "{}" for _, text in sorted(arguments.items())]


def test_s8_empty_pieces_are_dropped() -> None:
    parts = PartsManager()
    parts.add_text("")
    parts.add_reasoning("")
    parts.end_open_part()
    index = parts.open_call("a", "f")
    parts.add_arguments(index, "")
    assert parts.take_events() == [ToolCallStarted(0, "a", "f")]


def test_withheld_reasoning_is_a_part_with_its_metadata() -> None:
    parts = PartsManager()
    metadata = (ProviderMetadata("x", "y", {"signature": "s"}),)
    parts.add_reasoning("", withheld=True)
    parts.end_open_part(metadata)
    assert parts.take_events() == [ReasoningDelta(0, ""), PartEnded(0, metadata)]


def test_a_citation_without_text_opens_an_empty_text_part() -> None:
    parts = PartsManager()
    parts.add_citation(Citation(url="u"))
    parts.add_citation(Citation(url="v"))
    parts.add_text("a")
    assert parts.take_events() == [
        TextDelta(0, ""),
        Cited(0, Citation(url="u")),
        Cited(0, Citation(url="v")),
        TextDelta(0, "a"),
    ]
