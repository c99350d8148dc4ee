"""Stages get events in order; a pipeline asks nobody behind a stage that kept all of them."""

from __future__ import annotations

from collections.abc import Sequence

from llm.chat.events import Event, Finished, Started, TextDelta
from llm.chat.pipeline import CollectingSink, Pipeline


class Upper:
    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        return [TextDelta(e.index, e.text.upper()) if isinstance(e, TextDelta) else e for e in events]


class DropText:
    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        return [event for event in events if not isinstance(event, TextDelta)]


class SlowSink(CollectingSink):
    """A client that has not taken anything yet."""

    def __init__(self) -> None:
        super().__init__()
        self.fed: list[Event] = []
        self.drained = 0

    def feed(self, events: Sequence[Event]) -> bool:
        assert events, "a sink gets no empty list"
        self.fed += events
        return False

    async def drain(self) -> None:
        self.drained += 1


def test_events_pass_the_stages_in_order_and_then_the_sink() -> None:
    sink = CollectingSink()
    pipeline = Pipeline([Upper()], sink)
    assert pipeline.feed([Started("1", "m"), TextDelta(0, "hello"), Finished("stop")])
    assert sink.build_reply().text == "HELLO"


async def test_the_sink_says_whether_it_is_slow_unless_nothing_reached_it() -> None:
    sink = SlowSink()
    pipeline = Pipeline([DropText(), Upper()], sink)
    assert pipeline.feed([TextDelta(0, "kept back")]) is True
    assert pipeline.feed([Started("1", "m")]) is False
    await pipeline.drain()
    assert sink.fed == [Started("1", "m")] and sink.drained == 1
