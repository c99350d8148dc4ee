"""What reading and writing share: the kinds of items, citations, usage, and what is kept of items and answers."""

from __future__ import annotations

from collections.abc import Mapping
from secrets import token_hex
from typing import Any, Final

from llm.chat.messages import Citation, Foreign, Media, Ran, Usage
from llm.chat.provider_metadata import Keep, Opaque, rest_of
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
# Known, or an echo of the request. The rest of an answer says something about it.
_RESPONSE: Final = {
    "id", "object", "created_at", "completed_at", "status", "error", "incomplete_details", "model", "output",
    "output_text", "usage", "background", "conversation", "frequency_penalty", "include", "instructions",
    "max_output_tokens", "max_tool_calls", "parallel_tool_calls", "presence_penalty", "previous_response_id",
    "prompt", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier",
    "store", "stream", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "user",
}  # fmt: skip
_IMAGES: Final = (("/9j/", "image/jpeg"), ("UklGR", "image/webp"), ("R0lGOD", "image/gif"))  # how their base64 begins
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


def read_response_metadata(response: Mapping[str, Any], usage: Mapping[str, Any], issuer: str) -> Keep:
    """The fields of an answer and of its usage that are unknown here."""
    rest: dict[str, Json] = {
        name: value for name, value in response.items() if name not in _RESPONSE and value not in (None, {})
    }
    if more := usage_rest(usage):
        rest["usage"] = more
    return (Opaque(NAME, issuer, rest),) if rest else ()


def read_text_metadata(part: Mapping[str, Any], more: Mapping[str, Any], issuer: str) -> Keep:
    """Of a text: what its part has more, and the fields of its item."""
    rest: dict[str, Json] = {
        name: value
        for name, value in part.items()
        if name not in ("text", "refusal", "annotations") and (name, value) != ("type", "output_text") and value
    }
    if more:
        rest["item"] = dict(more)
    return (Opaque(NAME, issuer, rest),) if rest else ()


def read_made(wire: Mapping[str, Any], issuer: str) -> Media | Foreign:
    """An image that was made; anything else is kept as it came."""
    result = text_of(wire.get("result"))
    if wire.get("type") != "image_generation_call" or not result:
        return Foreign(whole(wire, issuer), ran_of(wire))
    form = text_of(wire.get("output_format"))
    mime = f"image/{form}" if form else next((mime for start, mime in _IMAGES if result.startswith(start)), "image/png")
    return Media(mime=mime, base64=result, keep=rest_of(wire, ("result",), NAME, issuer), ran=ran_of(wire))
