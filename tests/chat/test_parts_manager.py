"""The part indexes given to wires without any."""

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
from tests.support.event_streams import citations, keeps, texts, wholes
from tests.support.grammars import check_stream

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
