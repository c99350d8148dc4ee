"""Messages reshaped for engines: rounds, open tool calls, media in tool results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from llm.chat.messages import Media, Message, Part, Text, ToolCall, ToolResult

_NOT_RUN: Final = "This tool was not run."


def turns(answer: Message) -> tuple[Message, ...]:
    """One answer of the tool loop as the messages it was made of: a round's calls, their results, the next round.

    Results stand in the order of their calls, and what this server ran is a client's call to the engine.
    """
    messages: list[Message] = []
    said: list[Part] = []
    results: list[ToolResult] = []
    for part in answer.parts:
        if isinstance(part, ToolResult):
            results.append(part)
            continue
        if results:
            messages += _round(said, results)
            said, results = [], []
        said.append(part)
    return (*messages, *_round(said, results))


def _round(said: Sequence[Part], results: Sequence[ToolResult]) -> list[Message]:
    parts = tuple(
        ToolCall(part.id, part.name, part.arguments, "client", part.keep)
        if isinstance(part, ToolCall) and part.executor == "server"
        else part
        for part in said
    )
    order = {call.id: number for number, call in enumerate(p for p in parts if isinstance(p, ToolCall))}
    in_order = tuple(sorted(results, key=lambda result: order.get(result.call_id, len(order))))
    messages = [Message("assistant", parts)] if parts else []
    return [*messages, Message("user", in_order)] if in_order else messages


def answered(messages: Iterable[Message]) -> tuple[Message, ...]:
    """``messages`` where every call has a result: one that nobody ran (it was no tool of ours) is told so.

    Engines refuse a history with a call that was left open.
    """
    out: list[Message] = []
    left: list[ToolCall] = []
    for message in messages:
        told = {part.call_id for part in message.parts if isinstance(part, ToolResult)}
        none = tuple(_not_run(call) for call in left if call.id not in told)
        if none and told:
            message = replace(message, parts=(*none, *message.parts))
        elif none:
            out.append(Message("user", none))
        out.append(message)
        left = [part for part in message.parts if isinstance(part, ToolCall) and part.executor == "client"]
    return (*out, Message("user", tuple(_not_run(call) for call in left))) if left else tuple(out)


def _not_run(call: ToolCall) -> ToolResult:
    return ToolResult(call.id, (Text(_NOT_RUN),), is_error=True, name=call.name)


_INSTEAD: Final = "Attached below."  # a result without any text is refused by some


def only_text(message: Message, inside: Callable[[Media], bool] = lambda media: False) -> Message:
    """``message`` with its results first, and what they held beside text right behind them.

    ``inside``: whether a result may hold such a thing after all.
    """
    if message.role != "user":
        return message
    results: list[Part] = []
    behind: list[Part] = []
    for part in message.parts:
        if not isinstance(part, ToolResult):
            continue
        moved = [one for one in part.content if isinstance(one, Media) and not inside(one)]
        if moved:
            left = tuple(one for one in part.content if one not in moved)
            said = any(isinstance(one, Text) and one.text for one in left)
            part = replace(part, content=left if said else (*left, Text(_INSTEAD)))
            behind += [Text(f"Attachments from tool call {part.call_id}:"), *moved]
        results.append(part)
    if not behind:
        return message
    rest = [part for part in message.parts if not isinstance(part, ToolResult)]
    return replace(message, parts=(*results, *behind, *rest))
