"""Adds prompt cache breakpoints to a finished request body (T4: cached prefixes stay the same between requests).

https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching: a prompt consists of tools, system, messages, in
this order, and everything before a breakpoint is cached. So each of the three gets one at its end, which is at the same
position in the next request, whatever is appended to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from llm.wire.json_codec import Json

_MAX_BREAKPOINTS: Final = 4  # breakpoints in one request, the client's own included
_BREAKPOINT: Final[Mapping[str, Json]] = {"cache_control": {"type": "ephemeral"}}
_NOT_CACHEABLE: Final = ("thinking", "redacted_thinking")


def add_cache_breakpoints(body: Mapping[str, Json]) -> dict[str, Json]:
    """Returns the body with a breakpoint at the end of tools, system and messages, up to the limit of the wire."""
    out, left = dict(body), _MAX_BREAKPOINTS - _count_breakpoints(body)
    for section in ("tools", "system"):
        if left > 0 and (blocks := _mark_last_block(body.get(section))) is not None:
            out[section] = blocks
            left -= 1
    messages = body.get("messages")
    if left > 0 and isinstance(messages, list) and messages and isinstance(last := messages[-1], dict):
        blocks = _mark_last_block(last.get("content"))
        if blocks is not None:
            out["messages"] = [*messages[:-1], {**last, "content": blocks}]
    return out


def _mark_last_block(value: Json) -> list[Json] | None:
    """Returns the blocks with a breakpoint on the last that allows one; None if none does or if it has one."""
    blocks: list[Json] = [{"type": "text", "text": value}] if isinstance(value, str) and value else []
    if isinstance(value, list):
        blocks = value
    for at in range(len(blocks) - 1, -1, -1):
        block = blocks[at]
        if isinstance(block, dict) and block.get("type") not in _NOT_CACHEABLE:
            if "cache_control" in block:
                return None
            return [*blocks[:at], {**_BREAKPOINT, **block}, *blocks[at + 1 :]]
    return None


def _count_breakpoints(value: Json | Mapping[str, Json]) -> int:
    """Counts the breakpoints; a property of that name in the schema of a tool is not one."""
    if isinstance(value, list):
        return sum(_count_breakpoints(one) for one in value)
    if not isinstance(value, Mapping):
        return 0
    inner = (one for name, one in value.items() if name in ("tools", "system", "messages", "content"))
    return ("cache_control" in value) + sum(_count_breakpoints(one) for one in inner)
