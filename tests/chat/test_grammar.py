"""Tool calls whose arguments are not one JSON value, for clients whose dialect promises one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from llm.chat.events import (
    Event,
    Finished,
    FinishReason,
    PartEnded,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from llm.chat.grammar import ArgumentsCheck
from llm.errors import Malformed

BROKEN = ('{"path": ', '{"a": 1}}', '{"a": 1}{"a": 2}', "path=x", "{'a': 1}")


def call(index: int, arguments: str) -> list[Event]:
    half = len(arguments) // 2
    pieces = [ToolCallDelta(index, arguments[:half]), ToolCallDelta(index, arguments[half:])]
    return [ToolCallStarted(index, f"c{index}", "f"), *pieces, PartEnded(index)]


def checked(events: Sequence[Event]) -> list[Event]:
    check = ArgumentsCheck()
    return [out for event in events for out in check.feed([event])]


@pytest.mark.parametrize("arguments", BROKEN)
@pytest.mark.parametrize("reason", ["stop", "tool_calls", "other"])
def test_a_normal_end_after_broken_arguments_is_an_error(reason: FinishReason, arguments: str) -> None:
    for events in ([*call(0, arguments)], [*call(0, "{}"), *call(1, arguments), *call(2, "{}")]):
        with pytest.raises(Malformed, match="'f'"):
            checked([*events, Finished(reason)])


@pytest.mark.parametrize("reason", ["length", "filtered", "paused", "error"])
def test_an_interrupted_answer_may_end_within_a_call(reason: FinishReason) -> None:
    events: list[Event] = [TextDelta(0, "A"), PartEnded(0), *call(1, '{"path": '), Finished(reason)]
    assert checked(events) == events


def test_good_arguments_pass_as_they_come() -> None:
    for arguments in ("{}", "", " ", '{"a": [1]}', '"text"', "12"):
        events = [TextDelta(0, "A"), PartEnded(0), *call(1, arguments), Finished("tool_calls")]
        assert checked(events) == events
