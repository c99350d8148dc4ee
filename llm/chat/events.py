"""The neutral model's stream: the events of one answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from llm.chat.messages import Citation, Executor, Part, Ran, Usage
from llm.chat.provider_metadata import Keep
from llm.errors import EngineFailed, LLMError

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


Batch = Sequence[Event]
