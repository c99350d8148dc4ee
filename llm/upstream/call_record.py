"""The record of one call to an engine: for the log line and the response headers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from llm.chat.events import Batch, Event, Finished, ReasoningDelta, Started, TextDelta, ToolCallDelta, UsageReported
from llm.chat.messages import Usage
from llm.chat.token_estimate import RequestSize, estimate_usage
from llm.engines.engine import Target
from llm.errors import Lack, LLMError

FIRST_BYTE: Final = "the engine's first byte"
NEXT_EVENT: Final = "the engine's next event"
NEXT_ATTEMPT: Final = "the next attempt"
TOOL: Final = "a tool"
CLIENT: Final = "the client"


@dataclass(slots=True)
class CallRecord:
    """Attempts, timing, usage and result of one call, for the log line and the response headers."""

    started: float = field(default_factory=time.monotonic)  # seconds, by time.monotonic()
    attempts: int = 0  # requests sent to the engine
    headers: dict[str, str] = field(
        default_factory=dict
    )  # those of the engine's response that are passed on to the client
    dropped: tuple[str, ...] = ()  # names of request fields that the engine does not get
    unsent_headers: tuple[str, ...] = ()  # of the client, named with ``dropped``
    model: str = ""  # of a translated answer, as the engine names it
    first_token: float | None = None  # seconds after the start
    usage: Usage | None = None
    finish_reason: str | None = None
    characters: int = 0  # of output so far
    input: RequestSize | None = None  # the request's size, set when the request was sent
    target: Target | None = None  # the chosen engine and model
    failure: LLMError | None = None  # error that the engine sent inside a passed-through stream
    passed_start: Started | None = None  # of a stream that was passed through: the client has it
    on_start: Callable[[Started], None] | None = None  # is called with ``passed_start``
    last_event: str = ""  # data of the last event of such a stream
    save_error_code: str | None = None  # error code, if the answer could not be stored in its thread
    lack: Lack = ""  # for which the engine is asked by its other API now
    waiting_for: str = ""  # what the answer waits for now, for the log line of one that stalls
    heavy: bool = False  # the request is so large that the work on it belongs into a thread
    call_overhead: int = 0  # bytes of memory that the deltas of tool calls take besides their characters

    def compute_usage(self) -> Usage | None:
        """Returns the usage; for an unfinished answer at least the estimate for the text received so far (C3)."""
        if self.finish_reason is not None or not self.attempts or self.input is None:
            return self.usage
        estimate = estimate_usage(self.input, self.characters)
        if self.usage is None:
            return estimate
        if (self.usage.output or 0) >= (estimate.output or 0):
            return self.usage
        return replace(self.usage, text=estimate.text, estimated=True)

    def observe(self, batch: Batch) -> None:
        """Records the characters, usage, finish reason and first token of some events."""
        for event in batch:
            match event:
                case TextDelta(text=text) | ReasoningDelta(text=text) | ToolCallDelta(arguments=text):
                    self.characters += len(text)
                case UsageReported(usage):
                    self.usage = usage
                case Finished(reason):
                    self.finish_reason = reason
        if self.first_token is None and self.characters:
            self.first_token = time.monotonic() - self.started


def observe_passed(events: list[Event], record: CallRecord) -> list[Event]:
    """Records events of a passed-through answer. Returns them, with an estimate if the engine reports no usage (E7)."""
    if not events:
        return events
    record.observe(events)
    first, last = events[0], events[-1]
    if record.passed_start is None and isinstance(first, Started):
        record.passed_start = first
        if record.on_start is not None:
            record.on_start(first)
    if record.usage is None and record.input is not None and isinstance(last, Finished):
        record.usage = estimate_usage(record.input, record.characters)
        return [*events[:-1], UsageReported(record.usage), last]
    return events


def count_characters(batch: Batch) -> int:
    """Counts the characters of output in some events."""
    total = 0
    for event in batch:
        match event:
            case TextDelta(text=text) | ReasoningDelta(text=text) | ToolCallDelta(arguments=text):
                total += len(text)
    return total
