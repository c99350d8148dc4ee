"""The stages that the events of an answer pass through on their way from a reader to a writer.

A stage is synchronous and has one method. It gets the events of one read, every kind of them, and returns those that go
on: the same, others, fewer or more. What has to be awaited (another round, a stored thread, a slow client) is awaited
between two calls, by whoever feeds the stages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from llm.chat.events import Event
from llm.chat.reply import Collector


class Stage(Protocol):
    """One step of a pipeline."""

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        """Takes the events of one read; returns those for the next stage. Raises ``LLMError`` to end the answer."""
        ...


class EventSink(Protocol):
    """Where the events of an answer go: a client's connection, or a collector."""

    def accept(self, content_type: str | None = None) -> None:
        """The engine has accepted the request: its headers are in the call record, events may follow."""
        ...

    def feed(self, events: Sequence[Event]) -> bool:
        """False while the client has not yet taken what was sent: :meth:`drain` is to be awaited before more is fed."""
        ...

    async def drain(self) -> None:
        """Returns when the client has taken what was sent. Raises ``StreamClosedError`` when the client is gone."""
        ...


class Pipeline:
    """A sink with stages in front of it, which events pass in order.

    >>> Pipeline([ThinkTags(), Grammar()], sink).feed([TextDelta(0, "Hello")])
    """

    __slots__ = ("_feeds", "_sink")

    def __init__(self, stages: Iterable[Stage], sink: EventSink) -> None:
        self._feeds = tuple(stage.feed for stage in stages)
        self._sink = sink

    def accept(self, content_type: str | None = None) -> None:
        self._sink.accept(content_type)

    def feed(self, events: Sequence[Event]) -> bool:
        for feed in self._feeds:
            events = feed(events)
            if not events:
                return True
        return self._sink.feed(events)

    async def drain(self) -> None:
        await self._sink.drain()


class CollectingSink:
    """The sink of an answer that is wanted as a whole."""

    __slots__ = ("_collector", "reply")

    def __init__(self) -> None:
        self._collector = Collector()
        self.reply = self._collector.reply

    def accept(self, content_type: str | None = None) -> None:
        """Nothing is sent before the answer is whole."""

    def feed(self, events: Sequence[Event]) -> bool:
        self._collector.feed(events)
        return True

    async def drain(self) -> None:
        """Nobody is slow."""
