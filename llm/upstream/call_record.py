"""What happened while an engine was asked: for the log line and the headers of the answer."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Final

from llm.chat.events import Batch, Finished, ReasoningDelta, TextDelta, ToolCallDelta, UsageReported
from llm.chat.messages import Usage
from llm.chat.token_estimate import Input, estimated_usage
from llm.engines.engine import Target
from llm.errors import LLMError

FIRST_BYTE: Final = "the engine's first byte"
NEXT_EVENT: Final = "the engine's next event"
NEXT_ATTEMPT: Final = "the next attempt"
TOOL: Final = "a tool"
CLIENT: Final = "the client"


@dataclass(slots=True)
class Trace:
    """What happened on the way, for the log line and the headers of the answer."""

    started: float = field(default_factory=time.monotonic)
    attempts: int = 0
    headers: dict[str, str] = field(default_factory=dict)  # the engine's, worth passing on
    dropped: tuple[str, ...] = ()  # hints that the engine has no place for
    first_token: float | None = None  # seconds after the start
    usage: Usage | None = None
    finish: str | None = None
    characters: int = 0  # of output so far
    input: Input | None = None  # of the request, once it was made
    target: Target | None = None  # engine and model that were chosen
    failure: LLMError | None = None  # an error that the engine sent in a passed-through stream
    unsaved: str | None = None  # error code, where the answer could not be stored in its thread
    waiting_for: str = ""  # what the answer waits for now: for the log line of one that stalls
    weight: int = 0  # bytes that pieces of calls take beside them, on their way to be whole

    def used(self) -> Usage | None:
        """What an answer that did not finish used: as it was told, but no less than what has come (C3)."""
        if self.finish is not None or not self.attempts or self.input is None:
            return self.usage
        seen = estimated_usage(self.input, self.characters)
        if self.usage is None:
            return seen
        if (self.usage.output or 0) >= (seen.output or 0):
            return self.usage
        return replace(self.usage, text=seen.text, estimated=True)

    def observe(self, batch: Batch) -> None:
        self.characters += count_characters(batch)
        for event in batch:
            match event:
                case UsageReported(usage):
                    self.usage = usage
                case Finished(reason):
                    self.finish = reason
        if self.first_token is None and self.characters:
            self.first_token = time.monotonic() - self.started


def count_characters(batch: Batch) -> int:
    """Characters of output in some events."""
    total = 0
    for event in batch:
        match event:
            case TextDelta(text=text) | ReasoningDelta(text=text) | ToolCallDelta(arguments=text):
                total += len(text)
    return total
