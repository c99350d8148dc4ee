"""What reading and writing share: the kinds of items, citations, usage."""

from __future__ import annotations

from collections.abc import Mapping
from secrets import token_hex
from typing import Any, Final

from llm.chat.messages import Citation, Ran, Usage
from llm.chat.provider_metadata import Keep, Opaque
from llm.chat.request import ToolSpec
from llm.wire.json_codec import Json, dumps
from llm.wire.json_lenient import count_of, dict_of, text_of

NAME: Final = "openai-responses"

# Calls that the client has to run, and the field with what they are called with.
CALLS: Final[Mapping[str, str]] = {"function_call": "arguments", "custom_tool_call": "input"}
RESULTS: Final[Mapping[str, str]] = {
    "function_call": "function_call_output",
    "custom_tool_call": "custom_tool_call_output",
}
# Calls that the provider runs, and the tool's name where the item has none.
HOSTED: Final[Mapping[str, str]] = {
    "web_search_call": "web_search",
    "file_search_call": "file_search",
    "code_interpreter_call": "code_interpreter",
    "mcp_call": "mcp",
}
# Functions may come in groups, a namespace each, and a call of one names both. Other wires have the function alone: it
# bears both names there, and is told apart again by what is kept of it, which no engine may see.
_SPELLED: Final = ""  # no engine issues anything under this name


def grouped_name(namespace: str, name: str) -> str:
    return f"{namespace}__{name}"


def grouped(namespace: str, name: str) -> Keep:
    return (Opaque(NAME, _SPELLED, {"name": name, "namespace": namespace}),)


def names_of(tool: ToolSpec) -> Mapping[str, Json]:
    """What a call of the function says to its client: its name, and its namespace if it is in one."""
    kept = (opaque.data for opaque in tool.keep if opaque.dialect == NAME and opaque.issuer == _SPELLED)
    return next(kept, {"name": tool.name})


# Parts of a message, and the field with their text.
TEXTS: Final[Mapping[str, str]] = {"output_text": "text", "refusal": "refusal"}


def whole(item: Mapping[str, Any], issuer: str | None) -> Keep:
    """The item as it came."""
    return (Opaque(NAME, issuer, dict(item)),)


def hosted_arguments(item: Mapping[str, Any]) -> str:
    """What a hosted tool was called with, as JSON text; "" where nothing is told."""
    match item.get("type"):
        case "web_search_call":
            given: Json = dict(dict_of(item.get("action")))
        case "file_search_call":
            given = {"queries": item["queries"]} if item.get("queries") else {}
        case "code_interpreter_call":
            given = {"code": item["code"]} if item.get("code") else {}
        case _:
            return json_of(item.get("arguments"))
    return dumps(given) if given else ""


def ran_of(item: Mapping[str, Any]) -> Ran | None:
    """What to show of a call that the provider ran, once it is over; None for any other item."""
    kind = text_of(item.get("type"))
    if not kind.endswith("_call") or kind in CALLS:
        return None
    failed = item.get("status") in ("failed", "incomplete") or item.get("error")
    given = hosted_arguments(item)
    if not given:
        given = next((json_of(item[name]) for name in ("action", "operation", "input") if item.get(name)), "")
    return Ran(
        id=text_of(item.get("id")) or text_of(item.get("call_id")) or f"call_{token_hex(12)}",
        name=text_of(item.get("name")) or HOSTED.get(kind) or kind.removesuffix("_call"),
        arguments=given,
        state="error" if failed else "completed",
        result=next((item[name] for name in ("error", "output", "outputs", "results") if item.get(name)), None),
    )


def json_of(value: object) -> str:
    """Arguments are JSON text; some hosts send the value itself."""
    return value if isinstance(value, str) else "" if value is None else dumps(value)


def read_citation(wire: Mapping[str, Any], length: int, issuer: str | None) -> Citation:
    """``length`` is that of the text so far: offsets behind it point nowhere."""
    start, end = count_of(wire.get("start_index")), count_of(wire.get("end_index"))
    if start is None or end is None or not start <= end <= length:
        start = end = None
    return Citation(
        url=text_of(wire.get("url")) or None,
        title=text_of(wire.get("title")) or text_of(wire.get("filename")) or None,
        quote=text_of(wire.get("quote")) or None,
        start=start,
        end=end,
        keep=whole(wire, issuer),
    )


_USAGE: Final = ("input_tokens", "input_tokens_details", "output_tokens", "output_tokens_details", "total_tokens")


def read_usage(wire: Mapping[str, Any]) -> Usage:
    """``input_tokens`` holds the cached ones; ``output_tokens`` holds reasoning, unless the total says not.

    In this API it does at xAI too.
    """
    given, made = count_of(wire.get("input_tokens")), count_of(wire.get("output_tokens"))
    before, after = dict_of(wire.get("input_tokens_details")), dict_of(wire.get("output_tokens_details"))
    read = count_of(before.get("cached_tokens")) or 0
    written = count_of(before.get("cache_write_tokens")) or 0
    if given is not None:
        read = min(read, given)
        written = min(written, given - read)
    reasoning = count_of(after.get("reasoning_tokens")) or 0
    text = made
    if made is not None and not (given is not None and wire.get("total_tokens") == given + made + reasoning):
        reasoning = min(reasoning, made)
        text = made - reasoning
    return Usage(
        fresh=None if given is None else given - read - written,
        cache_read=read,
        cache_write=written,
        text=text,
        reasoning=reasoning,
    )


def usage_rest(wire: Mapping[str, Any]) -> dict[str, Json]:
    """What else was counted: cost, sources, calls of hosted tools."""
    return {name: value for name, value in wire.items() if name not in _USAGE and value is not None}
