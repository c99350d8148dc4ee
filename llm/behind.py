"""Results of tools for wires that take only text in them: pictures and files stand behind the results then.

So do clients that speak such a wire, whose traffic was recorded with Mistral, Azure, OpenRouter and xAI: the result
says in text what it says, and the message behind it holds the rest, under the id of its call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from llm.chat import Media, Message, Part, Text, ToolResult

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
