"""Items of the input and the output of responses, as they are stored and listed.

Wire: https://platform.openai.com/docs/api-reference/responses/input-items
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

from llm.wire.json_codec import Json, dump_bytes
from llm.wire.json_lenient import as_text

# Ids that this server gives to items of the input, for lists of them: no engine gets these.
_GIVEN_ID: Final = re.compile(r"[a-z]+_in[0-9a-f]{32}")
_ID_PREFIXES: Final[Mapping[str, str]] = {
    "message": "msg", "reasoning": "rs", "function_call": "fc", "function_call_output": "fco",
    "custom_tool_call": "ctc", "custom_tool_call_output": "ctco",
}  # fmt: skip


def list_items(input: object) -> list[dict[str, Any]]:
    """Returns ``input`` as a list of items: a text is the message of a user. Anything else is left to the reader."""
    if isinstance(input, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": input}]}]
    return [item for item in input if isinstance(item, dict)] if isinstance(input, list) else []


def give_ids(items: Sequence[Mapping[str, Any]], dump: Callable[[Any], bytes] = dump_bytes) -> list[dict[str, Any]]:
    """Returns items with a type and an id each; the same item at the same place has the same id."""
    given = []
    for place, item in enumerate(items):
        type = as_text(item.get("type")) or "message"
        id = as_text(item.get("id"))
        if not id:
            digest = blake2b(b"%d " % place + dump(item), digest_size=16).hexdigest()
            id = f"{_ID_PREFIXES.get(type, 'item')}_in{digest}"
        given.append({**item, "id": id, "type": type})
    return given


def take_given_ids(item: dict[str, Any]) -> dict[str, Any]:
    """Returns an item as its client sent it, without the id that :func:`give_ids` gave it."""
    id = item.get("id")
    if isinstance(id, str) and _GIVEN_ID.fullmatch(id):
        return {name: value for name, value in item.items() if name != "id"}
    return item


def write_item_page(
    items: Sequence[Mapping[str, Any]], *, ascending: bool, after: str | None, limit: int
) -> dict[str, Json] | None:
    """Writes a page of items, at most ``limit`` after the item with the id ``after``; None if there is no such item."""
    ordered = [*items] if ascending else [*reversed(items)]
    if after is not None:
        place = next((n for n, item in enumerate(ordered) if item.get("id") == after), None)
        if place is None:
            return None
        ordered = ordered[place + 1 :]
    page: list[Json] = [write_listed_item(item) for item in ordered[:limit]]
    ids = [as_text(item.get("id")) for item in ordered[:limit]]
    ends: dict[str, Json] = {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}
    return {"object": "list", "data": page, **ends, "has_more": len(ordered) > limit}


def write_listed_item(item: Mapping[str, Any]) -> dict[str, Json]:
    """Returns an item as it is listed: the content of a message is a list of parts there."""
    content = item.get("content")
    if item.get("type") != "message" or not isinstance(content, str):
        return dict(item)
    kind = "output_text" if item.get("role") == "assistant" else "input_text"
    annotations: dict[str, Json] = {"annotations": []} if kind == "output_text" else {}
    return {"status": "completed", **item, "content": [{"type": kind, "text": content, **annotations}]}
