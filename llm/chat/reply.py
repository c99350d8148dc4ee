"""A complete answer, and the conversion of events to an answer and back."""

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
from llm.chat.messages import (
    Citation,
    Message,
    Part,
    Phase,
    ProviderToolRun,
    Reasoning,
    Text,
    ToolCall,
    Usage,
    join_texts,
)
from llm.chat.provider_metadata import Metadata
from llm.errors import Malformed, Truncated


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One complete answer."""

    id: str
    model: str
    message: Message
    finish: Finished
    usage: Usage
    dropped: tuple[str, ...] = ()  # as in ``Started``

    @property
    def text(self) -> str:
        """The text parts, joined; only a comment on the work and the answer are set apart."""
        return join_texts([part for part in self.message.parts if isinstance(part, Text)], "")

    @property
    def reasoning(self) -> str:
        """The reasoning parts, joined without a separator."""
        return "".join(part.text for part in self.message.parts if isinstance(part, Reasoning))

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """All tool calls, also those that the server or the provider ran."""
        return tuple(part for part in self.message.parts if isinstance(part, ToolCall))


class _PartBuilder:
    """Collects the deltas of one part. Uses ``StringIO``: a list of a thousand small texts takes more memory."""

    __slots__ = ("citations", "kind", "metadata", "phase", "start", "text", "tool_run")

    def __init__(
        self, kind: type[Text] | type[Reasoning] | type[ToolCall], start: ToolCallStarted | None = None
    ) -> None:
        self.kind = kind
        self.start = start
        self.text = StringIO()  # text, reasoning or arguments
        self.citations: list[Citation] = []
        self.metadata: Metadata = ()
        self.tool_run: ProviderToolRun | None = None
        self.phase: Phase | None = None

    def build(self) -> Part:
        text, start = self.text.getvalue(), self.start
        if start is not None:
            return ToolCall(start.id, start.name, text or "{}", start.executor, self.metadata, self.tool_run)
        if self.kind is Reasoning:
            return Reasoning(text, self.metadata)
        return Text(text, tuple(self.citations), self.metadata, self.phase)


class Collector:
    """The stage that collects events into a ``Reply``."""

    def __init__(self) -> None:
        self._started: Started | None = None
        self._finished: Finished | None = None
        self._usage = Usage()
        self._parts: dict[int, _PartBuilder | Part] = {}

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        """Collects ``events`` and returns them unchanged.

        Raises ``Malformed`` for a part that changes its kind, and the error of a ``Failed``.
        """
        for event in events:
            self._add(event)
        return events

    def _add(self, event: Event) -> None:
        match event:
            case TextDelta(index, text):
                self._builder_of(index, Text).text.write(text)
            case ReasoningDelta(index, text):
                self._builder_of(index, Reasoning).text.write(text)
            case ToolCallStarted(index):
                self._parts[index] = _PartBuilder(ToolCall, event)
            case ToolCallDelta(index, arguments):
                self._builder_of(index, ToolCall).text.write(arguments)
            case Cited(index, citation):
                self._builder_of(index, Text).citations.append(citation)
            case PartEnded(index, metadata, tool_run, phase):
                part = self._parts.get(index)
                if isinstance(part, _PartBuilder):
                    part.metadata, part.tool_run, part.phase = metadata, tool_run, phase
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

    def build_reply(self) -> Reply:
        """Returns the complete answer. Raises ``Truncated`` without ``Started`` or ``Finished``."""
        if self._started is None or self._finished is None:
            raise Truncated("The engine's answer ended before it was complete.")
        ordered = (self._parts[index] for index in sorted(self._parts))
        parts = tuple(part.build() if isinstance(part, _PartBuilder) else part for part in ordered)
        return Reply(
            id=self._started.id,
            model=self._started.model,
            dropped=self._started.dropped,
            message=Message("assistant", parts),
            finish=self._finished,
            usage=self._usage,
        )

    def _builder_of(self, index: int, kind: type[Text] | type[Reasoning] | type[ToolCall]) -> _PartBuilder:
        part = self._parts.get(index)
        if part is None:
            part = self._parts[index] = _PartBuilder(kind)
        if not isinstance(part, _PartBuilder) or part.kind is not kind:
            raise Malformed(f"Part {index} of the answer changed its kind to {kind.__name__}.")
        return part


def collect(events: Iterable[Event]) -> Reply:
    """Collects the events of one answer. Raises ``Truncated`` if it has no ``Finished``."""
    collector = Collector()
    collector.feed([*events])
    return collector.build_reply()


def replay(reply: Reply) -> Iterator[Event]:
    """Yields the shortest stream of events that ``collect`` turns into ``reply`` again."""
    yield Started(reply.id, reply.model, reply.dropped)
    for index, part in enumerate(reply.message.parts):
        match part:
            case Text(text, citations, metadata, phase):
                yield TextDelta(index, text)
                for citation in citations:
                    yield Cited(index, citation)
                yield PartEnded(index, metadata, phase=phase)
            case Reasoning(text, metadata):
                yield ReasoningDelta(index, text)
                yield PartEnded(index, metadata)
            case ToolCall(id, name, arguments, executor, metadata, tool_run):
                yield ToolCallStarted(index, id, name, executor)
                yield ToolCallDelta(index, arguments)
                yield PartEnded(index, metadata, tool_run)
            case _:
                yield WholePart(index, part)
    if reply.usage != Usage():
        yield UsageReported(reply.usage)
    yield replace(reply.finish)
