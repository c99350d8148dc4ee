"""Hypothesis strategies for streams of neutral events."""

from __future__ import annotations

from typing import get_args

from hypothesis import strategies as st

from llm.chat.events import (
    Cited,
    Event,
    Finished,
    FinishReason,
    PartEnded,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
    WholePart,
    final_finish_reason,
)
from llm.chat.messages import Citation, Media, Part, Text, ToolResult, UnknownPart, Usage
from llm.chat.provider_metadata import Metadata, ProviderMetadata

REASONS: tuple[FinishReason, ...] = get_args(FinishReason)
keeps: st.SearchStrategy[Metadata] = st.sampled_from(
    [
        (),
        (ProviderMetadata("anthropic", "x", {"signature": "EqQB"}),),
        (ProviderMetadata("gemini", None, {"a": 1}), ProviderMetadata("x", "y", {})),
    ]
)
texts = st.text(max_size=6)
citations = st.builds(Citation, url=texts, metadata=keeps)
wholes: st.SearchStrategy[Part] = st.one_of(
    st.builds(UnknownPart, keeps),
    st.builds(Media, mime=st.just("image/png"), base64=texts, metadata=keeps),
    st.builds(ToolResult, texts, st.just((Text("x"),)), st.booleans()),
)
usages = st.builds(Usage, fresh=st.none() | st.integers(0, 9), text=st.none() | st.integers(0, 9))


@st.composite
def one_part(draw: st.DrawFn, index: int) -> list[Event]:
    """Draws the events of one part."""
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
    """Draws any valid stream: parts overlap, indexes have gaps."""
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
    reason = final_finish_reason(draw(st.sampled_from(REASONS)), called)
    return [*events, Finished(reason, draw(st.none() | texts), draw(keeps))]
