"""A whole answer, and how events become one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import StringIO

from llm.chat.events import (
    Cited,
    Event,
    Failed,
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
from llm.chat.messages import Citation, Message, Part, Ran, Reasoning, Text, ToolCall, Usage
from llm.chat.provider_metadata import Keep
from llm.errors import Malformed, Truncated


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One whole answer."""

    id: str
    model: str
    message: Message
    finish: Finished
    usage: Usage
    dropped: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The text parts as they came, with nothing in between."""
        return "".join(part.text for part in self.message.parts if isinstance(part, Text))

    @property
    def reasoning(self) -> str:
        return "".join(part.text for part in self.message.parts if isinstance(part, Reasoning))

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        return tuple(part for part in self.message.parts if isinstance(part, ToolCall))


class _Growing:
    """One part being told, in the memory that its text needs and not that of a thousand pieces."""

    __slots__ = ("citations", "keep", "kind", "ran", "start", "told")

    def __init__(
        self, kind: type[Text] | type[Reasoning] | type[ToolCall], start: ToolCallStarted | None = None
    ) -> None:
        self.kind = kind
        self.start = start
        self.told = StringIO()
        self.citations: list[Citation] = []
        self.keep: Keep = ()
        self.ran: Ran | None = None

    def part(self) -> Part:
        text = self.told.getvalue()
        if self.start is not None:
            return ToolCall(self.start.id, self.start.name, text or "{}", self.start.executor, self.keep, self.ran)
        if self.kind is Reasoning:
            return Reasoning(text, self.keep)
        return Text(text, tuple(self.citations), self.keep)


class Collector:
    """The stage that folds events into a :class:`Reply`."""

    def __init__(self) -> None:
        self._started: Started | None = None
        self._finished: Finished | None = None
        self._usage = Usage()
        self._parts: dict[int, _Growing | Part] = {}

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        """Returns ``events``. Raises ``Malformed`` for a part that changes its kind, and the error of ``Failed``."""
        for event in events:
            self._add(event)
        return events

    def _add(self, event: Event) -> None:
        match event:
            case TextDelta(index, text):
                self._growing(index, Text).told.write(text)
            case ReasoningDelta(index, text):
                self._growing(index, Reasoning).told.write(text)
            case ToolCallStarted(index):
                self._parts[index] = _Growing(ToolCall, event)
            case ToolCallDelta(index, arguments):
                self._growing(index, ToolCall).told.write(arguments)
            case Cited(index, citation):
                self._growing(index, Text).citations.append(citation)
            case PartEnded(index, keep, ran):
                part = self._parts.get(index)
                if isinstance(part, _Growing):
                    part.keep, part.ran = keep, ran
            case WholePart(index, part):
                self._parts[index] = part
            case UsageReported(usage):
                self._usage = usage
            case Started():
                self._started = event
            case Finished():
                self._finished = event
            case Failed(error):
                raise error
            case ToolProgress():
                pass

    def reply(self) -> Reply:
        """Raises ``Truncated`` if nothing finished."""
        if self._started is None or self._finished is None:
            raise Truncated("The engine's answer ended before it was complete.")
        ordered = (self._parts[index] for index in sorted(self._parts))
        parts = tuple(part.part() if isinstance(part, _Growing) else part for part in ordered)
        return Reply(
            id=self._started.id,
            model=self._started.model,
            dropped=self._started.dropped,
            message=Message("assistant", parts),
            finish=self._finished,
            usage=self._usage,
        )

    def _growing(self, index: int, kind: type[Text] | type[Reasoning] | type[ToolCall]) -> _Growing:
        part = self._parts.get(index)
        if part is None:
            part = self._parts[index] = _Growing(kind)
        if not isinstance(part, _Growing) or part.kind is not kind:
            raise Malformed(f"Part {index} of the answer changed its kind to {kind.__name__}.")
        return part


def collect(events: Iterable[Event]) -> Reply:
    """Raises ``Truncated`` if nothing finished."""
    collector = Collector()
    collector.feed([*events])
    return collector.reply()


def replay(reply: Reply) -> Iterator[Event]:
    """The shortest stream that folds back into ``reply``."""
    yield Started(reply.id, reply.model, reply.dropped)
    for index, part in enumerate(reply.message.parts):
        match part:
            case Text(text, citations, keep):
                yield TextDelta(index, text)
                for citation in citations:
                    yield Cited(index, citation)
                yield PartEnded(index, keep)
            case Reasoning(text, keep):
                yield ReasoningDelta(index, text)
                yield PartEnded(index, keep)
            case ToolCall(id, name, arguments, executor, keep, ran):
                yield ToolCallStarted(index, id, name, executor)
                yield ToolCallDelta(index, arguments)
                yield PartEnded(index, keep, ran)
            case _:
                yield WholePart(index, part)
    if reply.usage != Usage():
        yield UsageReported(reply.usage)
    yield replace(reply.finish)
