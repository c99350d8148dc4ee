"""The events of one streamed answer.

Order: ``Started``; then parts, each as deltas and one ``PartEnded`` or as one ``WholePart``; then one ``Finished``. New
parts have rising indexes and may be interleaved. ``llm.chat.grammar`` checks these rules (S7).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from llm.chat.messages import Citation, Executor, Part, Phase, ProviderToolRun, Usage
from llm.chat.provider_metadata import Metadata
from llm.errors import EngineFailed, LLMError, ProviderErrorDetails
from llm.wire.json_codec import Json

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "filtered", "paused", "error", "other"]


@dataclass(frozen=True, slots=True)
class Started:
    """The answer begins."""

    id: str
    model: str  # as the engine names it
    dropped: tuple[str, ...] = ()  # names of requested settings that the engine cannot accept
    input_tokens: int | None = field(default=None, compare=False)  # where the engine counts them first
    estimate_input: Callable[[], int] | None = field(default=None, compare=False)  # this server's estimate of them
    next_number: int | None = field(default=None, compare=False)  # of the client's next event, if the wire numbers them


# Deltas are not changed either, but one is made for each event of a stream, which takes twice as long if it is frozen.


@dataclass(slots=True, unsafe_hash=True)
class TextDelta:
    """A piece of a text part; the first one opens the part."""

    index: int
    text: str


@dataclass(slots=True, unsafe_hash=True)
class ReasoningDelta:
    """A piece of a reasoning part; the first one opens the part."""

    index: int
    text: str  # "" opens a part whose text the provider withholds


Delta: TypeAlias = TextDelta | ReasoningDelta


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """A tool call begins."""

    index: int
    id: str
    name: str
    executor: Executor = "client"


@dataclass(slots=True, unsafe_hash=True)
class ToolCallDelta:
    """A piece of the arguments of a tool call."""

    index: int
    arguments: str  # a fragment of JSON text


AnyDelta: TypeAlias = Delta | ToolCallDelta


def get_delta_text(delta: AnyDelta) -> str:
    """Returns the text of a delta: text, reasoning or JSON arguments."""
    return delta.arguments if isinstance(delta, ToolCallDelta) else delta.text


@dataclass(frozen=True, slots=True)
class ToolProgress:
    """The state of a tool that this server runs; sent by the tool loop only, after the call has ended."""

    index: int
    state: Literal["running", "completed", "canceled", "error"]
    status: str = ""  # a text for the user


@dataclass(frozen=True, slots=True)
class Cited:
    """A citation for a text part, of which more text may follow."""

    index: int
    citation: Citation


@dataclass(frozen=True, slots=True)
class PartEnded:
    """A part that had deltas is complete."""

    index: int
    metadata: Metadata = ()  # here because signatures arrive last on every wire that has them
    tool_run: ProviderToolRun | None = field(
        default=None, compare=False
    )  # set if the part is a call that the provider has run
    phase: Phase | None = field(default=None, compare=False)  # of a text, where the engine tells it


@dataclass(frozen=True, slots=True)
class WholePart:
    """A part without deltas: an image, a tool result, a block of an unknown type."""

    index: int
    part: Part


@dataclass(frozen=True, slots=True)
class UsageReported:
    """The token usage of the answer so far; the last event counts."""

    usage: Usage  # cumulative


@dataclass(frozen=True, slots=True)
class Continuation:
    """How an answer goes on that the provider has interrupted: by the same request with more fields."""

    fields: Mapping[str, Json]  # added to the body of the request
    part_count: int  # of the answer so far
    open_kind: type[TextDelta] | type[ReasoningDelta] | None = None  # of the last part, if it was open at the end


@dataclass(frozen=True, slots=True)
class Timing:
    """How long an answer took, in seconds since its request came."""

    total: float
    first_token: float | None = None  # None: the engine gave the answer as a whole


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer is complete."""

    reason: FinishReason
    raw: str | None = None  # the engine's own finish reason
    metadata: Metadata = ()
    explanation: str | None = None  # the provider's words on a refusal or an error
    category: str | None = None  # the provider's word for what it refused
    stop_sequence: str | None = None  # the stop sequence that ended the answer
    continuation: Continuation | None = None
    timing: Timing | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Failed:
    """The answer ends with an error. Created by this server, never by a reader of engine responses."""

    error: LLMError


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


def final_finish_reason(reason: FinishReason, has_client_call: bool, has_output: bool = True) -> FinishReason:
    """Corrects an engine's finish reason by whether the answer has a tool call for the client (S6).

    Some providers send ``stop`` with calls and ``tool_calls`` without. The reasons of an interrupted answer stay
    (``length``, ``filtered``, ``paused``, ``error``), because its last call may be incomplete. An unknown reason of an
    answer with nothing but reasoning is an error: it is no normal end, and clients would take it for one.
    """
    if reason == "other" and not has_output:
        return "error"
    if has_client_call and reason in ("stop", "other"):
        return "tool_calls"
    if not has_client_call and reason == "tool_calls":
        return "stop"
    return reason


def failed_finish_error(finish: Finished) -> EngineFailed:
    """Returns the error for an answer with finish reason ``error``, for wires that have no such finish reason."""
    if finish.raw is None:
        message = "The engine ended its answer with an error, without output and without a reason."
    else:
        message = f"The engine ended its answer with an error ({finish.raw})."
    if finish.explanation:
        message = f"{message[:-1]}: {finish.explanation}"
    details = ProviderErrorDetails(0, finish.raw, None, finish.explanation)
    return EngineFailed(message, provider=details if finish.raw else None)


def describe_refusal(finish: Finished) -> str:
    """Returns the provider's words on why the answer was filtered; "" if there are none."""
    return finish.explanation or "" if finish.reason == "filtered" else ""


def describe_end(finish: Finished) -> dict[str, str | None]:
    """Returns ``type``, ``category`` and ``explanation`` of an end that the words of other wires do not tell; else {}.

    The fields are those of Anthropic's ``stop_details``.
    """
    if finish.reason not in ("filtered", "other"):
        return {}
    if finish.category or finish.explanation or (finish.reason == "other" and finish.raw):
        kind = "refusal" if finish.reason == "filtered" else finish.raw
        return {"type": kind, "category": finish.category, "explanation": finish.explanation}
    return {}


Batch = Sequence[Event]  # the events of one read
