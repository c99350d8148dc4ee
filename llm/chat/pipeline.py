"""Stages that change or observe the events of an answer between the reader and the writer.

A stage is synchronous and has one method. It gets the events of one read, of all kinds, and returns the events for the
next stage: the same, others, fewer or more. The caller of the pipeline awaits between two calls (another round, a
stored thread, a slow client).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from llm.chat.events import Event
from llm.chat.reply import Collector, Reply
from llm.chat.request import ChatRequest


class Stage(Protocol):
    """One step of a pipeline."""

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        """Processes the events of one read; returns those for the next stage. Raises ``LLMError`` to end the answer."""
        ...


class EventSink(Protocol):
    """The receiver of an answer's events: a client's connection or a collector."""

    def accept(self, content_type: str | None = None) -> None:
        """The engine has accepted the request: its headers are in the call record, events may follow."""
        ...

    def feed(self, events: Sequence[Event]) -> bool:
        """Sends events; returns False if the caller must await ``drain`` first, because the client reads too slowly."""
        ...

    async def drain(self) -> None:
        """Waits until the client has received the events. Raises ``StreamClosedError`` if it has disconnected."""
        ...


class ByteSink(Protocol):
    """Where the bytes of an answer go: a client's connection. The same object as an ``EventSink``, seen for bytes."""

    @property
    def holds_end(self) -> bool:
        """True if the last piece of a stream has to go to :meth:`send_last`: something is done before it leaves."""
        ...

    def accept(self, content_type: str | None = None) -> None:
        """The engine has accepted the request: its headers are in the call record, bytes may follow."""
        ...

    def send(self, piece: bytes) -> bool:
        """False while the client has not yet taken what was sent: :meth:`drain` is to be awaited then."""
        ...

    def send_last(self, piece: bytes) -> bool:
        """Sends the last piece of a stream, together with what ends the answer. Returns as :meth:`send`."""
        ...

    async def drain(self) -> None:
        """Returns when the client has taken what was sent. Raises ``StreamClosedError`` when the client is gone."""
        ...

    def feed(self, events: Sequence[Event]) -> bool:
        """Writes events to a stream, for an answer that had to be converted. Returns as :meth:`send`."""
        ...

    def write_reply(self, reply: Reply, request: ChatRequest) -> None:
        """Writes a whole answer that had to be converted."""
        ...


class Pipeline:
    """A sink with stages in front, which events pass in order.

    >>> Pipeline([ThinkTags(), Grammar()], sink).feed([TextDelta(0, "Hello")])
    """

    __slots__ = ("_feeds", "_sink")

    def __init__(self, stages: Iterable[Stage], sink: EventSink) -> None:
        self._feeds = tuple(stage.feed for stage in stages)
        self._sink = sink

    def accept(self, content_type: str | None = None) -> None:
        """Passes on that the engine has accepted the request."""
        self._sink.accept(content_type)

    def feed(self, events: Sequence[Event]) -> bool:
        """Passes events through all stages to the sink; returns the sink's result."""
        for feed in self._feeds:
            events = feed(events)
            if not events:
                return True
        return self._sink.feed(events)

    async def drain(self) -> None:
        """Waits for the sink."""
        await self._sink.drain()


class CollectingSink:
    """The sink of an answer that is not streamed: collects the events into a ``Reply``."""

    __slots__ = ("_collector", "build_reply")

    def __init__(self) -> None:
        self._collector = Collector()
        self.build_reply = self._collector.build_reply

    def accept(self, content_type: str | None = None) -> None:
        """Does nothing: no headers are sent before the answer is complete."""

    def feed(self, events: Sequence[Event]) -> bool:
        """Collects the events. Raises as ``Collector.feed`` does."""
        self._collector.feed(events)
        return True

    async def drain(self) -> None:
        """Returns at once: a collector is never slow."""
