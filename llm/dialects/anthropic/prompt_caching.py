"""Where a prompt is to be cached: marks on a finished body (T4).

https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching: a prompt goes tools, system, messages, and what
stands before a mark is cached up to it. So each of the three is marked at its end, which is the same place in the next
request, whatever is added behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from llm.wire.json_codec import Json

_MOST: Final = 4  # marks of a request, a client's own included
_MARK: Final[Mapping[str, Json]] = {"cache_control": {"type": "ephemeral"}}
_UNMARKABLE: Final = ("thinking", "redacted_thinking")


def marked(body: Mapping[str, Json]) -> dict[str, Json]:
    """The body with a mark at each end that has none, as many as the wire takes."""
    out, left = dict(body), _MOST - _count(body)
    for place in ("tools", "system"):
        if left > 0 and (blocks := _marked(body.get(place))) is not None:
            out[place] = blocks
            left -= 1
    messages = body.get("messages")
    if left > 0 and isinstance(messages, list) and messages and isinstance(last := messages[-1], dict):
        blocks = _marked(last.get("content"))
        if blocks is not None:
            out["messages"] = [*messages[:-1], {**last, "content": blocks}]
    return out


def _marked(value: Json) -> list[Json] | None:
    """The blocks with a mark on the last that takes one; None where there is none, or it has a mark."""
    blocks: list[Json] = [{"type": "text", "text": value}] if isinstance(value, str) and value else []
    if isinstance(value, list):
        blocks = value
    for at in range(len(blocks) - 1, -1, -1):
        block = blocks[at]
        if isinstance(block, dict) and block.get("type") not in _UNMARKABLE:
            if "cache_control" in block:
                return None
            return [*blocks[:at], {**_MARK, **block}, *blocks[at + 1 :]]
    return None


def _count(value: Json | Mapping[str, Json]) -> int:
    """Marks that are there; a tool's schema may have a property of that name, which is none."""
    if isinstance(value, list):
        return sum(_count(one) for one in value)
    if not isinstance(value, Mapping):
        return 0
    inner = (one for name, one in value.items() if name in ("tools", "system", "messages", "content"))
    return ("cache_control" in value) + sum(_count(one) for one in inner)
