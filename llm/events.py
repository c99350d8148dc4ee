"""The events of an answer on its way, and the whole answer as the fold of them.

The grammar every stream keeps (``tests/grammars.py`` checks it):

1. ``Started`` once and first; ``Finished`` once and last. A stream that ends otherwise raised.
2. A part is opened by its first delta, by ``ToolCallStarted``, or is whole in ``WholePart``. New parts have rising
   indexes.
3. All events of one index are of one kind. Each opened part is closed by exactly one ``PartEnded`` before ``Finished``.
4. Parts may overlap (parallel tool calls do). A writer whose wire has one open part at a time puts
   ``filters.InOrder`` in front of itself.
5. ``UsageReported`` may come any number of times, cumulative.
6. ``Finished`` says ``tool_calls`` exactly when the client is left with a call to run (:func:`settled`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from io import StringIO
from typing import Literal, TypeAlias

from llm.chat import Citation, Executor, Message, Part, Ran, Reasoning, Text, ToolCall, Usage
from llm.errors import EngineFailed, LLMError, Malformed, Truncated
from llm.opaque import Keep

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "filtered", "paused", "error", "other"]


@dataclass(frozen=True, slots=True)
class Started:
    id: str
    model: str
    dropped: tuple[str, ...] = ()  # settings asked for that the engine could not take


@dataclass(frozen=True, slots=True)
class TextDelta:
    index: int
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    index: int
    text: str  # "" opens a part whose thought is withheld


Delta: TypeAlias = TextDelta | ReasoningDelta


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    index: int
    id: str
    name: str
    executor: Executor = "client"


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    index: int
    arguments: str  # a fragment of JSON text


Piece: TypeAlias = Delta | ToolCallDelta


def text_of_piece(piece: Piece) -> str:
    return piece.arguments if isinstance(piece, ToolCallDelta) else piece.text


@dataclass(frozen=True, slots=True)
class ToolProgress:
    """Only from our own loop: a tool this server runs."""

    index: int
    state: Literal["running", "completed", "canceled", "error"]
    status: str = ""  # for people


@dataclass(frozen=True, slots=True)
class Cited:
    """A citation for the text of the part, which may still grow."""

    index: int
    citation: Citation


@dataclass(frozen=True, slots=True)
class PartEnded:
    index: int
    keep: Keep = ()  # signatures arrive last on every wire that has them
    ran: Ran | None = field(default=None, compare=False)  # of a call that the provider has run by then


@dataclass(frozen=True, slots=True)
class WholePart:
    """A part that never streams: an image, a tool result, a foreign block."""

    index: int
    part: Part


@dataclass(frozen=True, slots=True)
class UsageReported:
    usage: Usage  # cumulative; the last one counts


@dataclass(frozen=True, slots=True)
class Finished:
    reason: FinishReason
    raw: str | None = None  # the engine's own word
    keep: Keep = ()


@dataclass(frozen=True, slots=True)
class Failed:
    error: LLMError  # only ever fed to a Writer


Event: TypeAlias = (
    Started
    | TextDelta
    | ReasoningDelta
    | ToolCallStarted
    | ToolCallDelta
    | ToolProgress
    | Cited
    | PartEnded
    | WholePart
    | UsageReported
    | Finished
    | Failed
)


def settled(reason: FinishReason, called: bool) -> FinishReason:
    """The reason an answer truly ended with, given whether it left the client a call (S6).

    Providers say ``stop`` beside calls and ``tool_calls`` without any. An answer that was cut off (``length``,
    ``filtered``, ``error``) keeps saying so: its last call may be half a call.
    """
    if called and reason in ("stop", "other"):
        return "tool_calls"
    if not called and reason == "tool_calls":
        return "stop"
    return reason


def ended_badly(finish: Finished) -> EngineFailed:
    """What an answer is that ended with an error, for a wire without a word for such an end."""
    return EngineFailed(f"The engine ended its answer with an error ({finish.raw or finish.reason}).")


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
    """Folds events into a :class:`Reply`."""

    def __init__(self) -> None:
        self._started: Started | None = None
        self._finished: Finished | None = None
        self._usage = Usage()
        self._parts: dict[int, _Growing | Part] = {}

    def feed(self, event: Event) -> None:
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
    collector = Collector()
    for event in events:
        collector.feed(event)
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
