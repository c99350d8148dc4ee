"""Types of items, citations, usage and metadata: the code that both sides of the Responses wire use."""

from __future__ import annotations

from collections.abc import Mapping
from secrets import token_hex
from typing import Any, Final

from llm.chat.freeform import Freeform
from llm.chat.messages import Citation, Media, Phase, ProviderToolRun, UnknownPart, Usage
from llm.chat.provider_metadata import Metadata, ProviderMetadata, metadata_for_engine, unknown_fields
from llm.chat.request import ToolSpec
from llm.wire.json_codec import Json, dumps
from llm.wire.json_lenient import as_count, as_dict, as_dicts, as_text

NAME: Final = "openai-responses"

# Types of calls that the client runs, to the field with their arguments.
CLIENT_CALLS: Final[Mapping[str, str]] = {"function_call": "arguments", "custom_tool_call": "input"}
# Types of calls that the client runs, to the type of their result item.
RESULT_TYPES: Final[Mapping[str, str]] = {
    "function_call": "function_call_output",
    "custom_tool_call": "custom_tool_call_output",
}
# Types of calls that the provider runs, to the tool name for items without one.
HOSTED_TOOLS: Final[Mapping[str, str]] = {
    "web_search_call": "web_search",
    "file_search_call": "file_search",
    "code_interpreter_call": "code_interpreter",
    "mcp_call": "mcp",
}
# Fields of a response that are read, or that repeat the request. All others become metadata.
_RESPONSE_FIELDS: Final = {
    "id", "object", "created_at", "completed_at", "status", "error", "incomplete_details", "model", "output",
    "output_text", "usage", "background", "conversation", "frequency_penalty", "include", "instructions",
    "max_output_tokens", "max_tool_calls", "parallel_tool_calls", "presence_penalty", "previous_response_id",
    "prompt", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier",
    "store", "stream", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "user",
}  # fmt: skip
# The first base64 characters of image formats.
_IMAGE_PREFIXES: Final = (
    ("/9j/", "image/jpeg"),
    ("UklGR", "image/webp"),
    ("R0lGOD", "image/gif"),
)
# Functions may be grouped in namespaces, and a call has both names. Other wires have no namespaces: there the function
# has one joined name, and its metadata, which no engine gets, has the two names again.
_WIRE_FORM_ISSUER: Final = ""  # an issuer that no engine has
TYPED_TOOL: Final = "typed_tool"  # in the stored form of a tool that this wire defines and the client runs


def pack_wire_form(**fields: Json) -> Metadata:
    """Stores a client's own form of what the neutral part holds too. Other dialects lose nothing by ignoring it."""
    return (ProviderMetadata(NAME, _WIRE_FORM_ISSUER, fields),)


def read_fields(metadata: Metadata, issuer: str) -> Mapping[str, Json]:
    """Returns the fields that an engine of this dialect accepts, with those stored by ``pack_wire_form``."""
    if not metadata:
        return {}
    own = {n: v for o in metadata if o.dialect == NAME and o.issuer == _WIRE_FORM_ISSUER for n, v in o.data.items()}
    return {**metadata_for_engine(metadata, NAME, issuer), **own}


def read_phase(item: Mapping[str, Any]) -> Phase | None:
    """Returns whether a message of the assistant comments on its work or is the answer; None if it does not say so."""
    phase = item.get("phase")
    return phase if phase in ("commentary", "final_answer") else None


def join_namespace(namespace: str, name: str) -> str:
    """Joins both names into one function name, for wires without namespaces."""
    return f"{namespace}__{name}"


def pack_namespace(namespace: str, name: str) -> Metadata:
    """Stores both names in metadata, to be read by ``read_call_names``."""
    return (ProviderMetadata(NAME, _WIRE_FORM_ISSUER, {"name": name, "namespace": namespace}),)


def pack_instructions(instructions: str) -> Metadata:
    """Stores the instructions of a request, which the response repeats, in metadata that no engine gets."""
    return (ProviderMetadata(NAME, _WIRE_FORM_ISSUER, {"instructions": instructions}),)


def read_call_names(tool: ToolSpec) -> Mapping[str, Json]:
    """Returns the fields that name the function in a call for the client: ``name``, and ``namespace`` if it has one."""
    names = (opaque.data for opaque in tool.metadata if opaque.dialect == NAME and opaque.issuer == _WIRE_FORM_ISSUER)
    return next((data for data in names if "name" in data), {"name": tool.name})


def write_custom_tool(tool: ToolSpec, freeform: Freeform) -> dict[str, Json]:
    """Writes a tool whose input is text."""
    wire: dict[str, Json] = {"type": "custom", "name": tool.name}
    if tool.description:
        wire["description"] = tool.description
    if freeform.grammar:
        wire["format"] = {"type": "grammar", "syntax": freeform.syntax, "definition": freeform.grammar}
    elif freeform.syntax:
        wire["format"] = {"type": freeform.syntax}
    return wire


# Types of parts of a message that have a text, to the field with it.
TEXT_FIELDS: Final[Mapping[str, str]] = {"output_text": "text", "refusal": "refusal"}


def wrap_item(item: Mapping[str, Any], issuer: str | None) -> Metadata:
    """Returns the whole item as metadata."""
    return (ProviderMetadata(NAME, issuer, dict(item)),)


def read_hosted_arguments(item: Mapping[str, Any]) -> str:
    """Returns the arguments of a hosted tool call as JSON text; "" if the item has none."""
    match item.get("type"):
        case "web_search_call":
            action = as_dict(item.get("action"))
            arguments: Json = {name: value for name, value in action.items() if name != "sources"}
        case "file_search_call":
            arguments = {"queries": item["queries"]} if item.get("queries") else {}
        case "code_interpreter_call":
            arguments = {"code": item["code"]} if item.get("code") else {}
        case _:
            return dump_arguments(item.get("arguments"))
    return dumps(arguments) if arguments else ""


def read_hosted_result(item: Mapping[str, Any]) -> ProviderToolRun | None:
    """Returns name, arguments, state and result of a finished provider-run call; None for any other item."""
    kind = as_text(item.get("type"))
    if not kind.endswith("_call") or kind in CLIENT_CALLS:
        return None
    failed = item.get("status") in ("failed", "incomplete") or item.get("error")
    arguments = read_hosted_arguments(item)
    if not arguments:
        arguments = next(
            (dump_arguments(item[name]) for name in ("action", "operation", "input") if item.get(name)), ""
        )
    return ProviderToolRun(
        id=as_text(item.get("id")) or as_text(item.get("call_id")) or f"call_{token_hex(12)}",
        name=as_text(item.get("name")) or HOSTED_TOOLS.get(kind) or kind.removesuffix("_call"),
        arguments=arguments,
        state="error" if failed else "completed",
        result=next((item[name] for name in ("error", "output", "outputs", "results") if item.get(name)), None)
        or _read_sources(item),
    )


def _read_sources(item: Mapping[str, Any]) -> Json:
    """Returns what a search has found, if the item lists it."""
    sources = as_dicts(as_dict(item.get("action")).get("sources"))
    return [{"url": one["url"], "title": one.get("title")} for one in sources if as_text(one.get("url"))] or None


def dump_arguments(value: object) -> str:
    """Returns arguments as JSON text; some hosts send the value instead of its text."""
    return value if isinstance(value, str) else "" if value is None else dumps(value)


def read_citation(wire: Mapping[str, Any], length: int, issuer: str | None) -> Citation:
    """Reads a citation. Offsets beyond ``length``, the number of characters of the text so far, are dropped."""
    start, end = as_count(wire.get("start_index")), as_count(wire.get("end_index"))
    if start is None or end is None or not start <= end <= length:
        start = end = None
    return Citation(
        url=as_text(wire.get("url")) or None,
        title=as_text(wire.get("title")) or as_text(wire.get("filename")) or None,
        quote=as_text(wire.get("quote")) or None,
        start=start,
        end=end,
        metadata=wrap_item(wire, issuer),
    )


# The known fields of usage.
_USAGE_FIELDS: Final = (
    "input_tokens",
    "input_tokens_details",
    "output_tokens",
    "output_tokens_details",
    "total_tokens",
)


def read_usage(wire: Mapping[str, Any]) -> Usage:
    """Reads token counts.

    ``input_tokens`` includes cached tokens. ``output_tokens`` includes reasoning tokens, also at xAI, unless
    ``total_tokens`` equals the sum of all three.
    """
    input_tokens, output_tokens = as_count(wire.get("input_tokens")), as_count(wire.get("output_tokens"))
    input_details = as_dict(wire.get("input_tokens_details"))
    output_details = as_dict(wire.get("output_tokens_details"))
    cache_read = as_count(input_details.get("cached_tokens")) or 0
    cache_write = as_count(input_details.get("cache_write_tokens")) or 0
    if input_tokens is not None:
        cache_read = min(cache_read, input_tokens)
        cache_write = min(cache_write, input_tokens - cache_read)
    reasoning = as_count(output_details.get("reasoning_tokens")) or 0
    text_tokens = output_tokens
    if output_tokens is not None and not (
        input_tokens is not None and wire.get("total_tokens") == input_tokens + output_tokens + reasoning
    ):
        reasoning = min(reasoning, output_tokens)
        text_tokens = output_tokens - reasoning
    return Usage(
        fresh=None if input_tokens is None else input_tokens - cache_read - cache_write,
        cache_read=cache_read,
        cache_write=cache_write,
        text=text_tokens,
        reasoning=reasoning,
    )


def unknown_usage_fields(wire: Mapping[str, Any]) -> dict[str, Json]:
    """Returns the usage fields that are not token counts: cost, sources, calls of hosted tools."""
    return {name: value for name, value in wire.items() if name not in _USAGE_FIELDS and value is not None}


def read_response_metadata(response: Mapping[str, Any], usage: Mapping[str, Any], issuer: str) -> Metadata:
    """Returns the unknown fields of a response and of its usage."""
    fields: dict[str, Json] = {
        name: value for name, value in response.items() if name not in _RESPONSE_FIELDS and value not in (None, {})
    }
    if usage_fields := unknown_usage_fields(usage):
        fields["usage"] = usage_fields
    return (ProviderMetadata(NAME, issuer, fields),) if fields else ()


def read_text_metadata(part: Mapping[str, Any], item_fields: Mapping[str, Any], issuer: str) -> Metadata:
    """Returns the unknown fields of a text part, and the fields of its item under ``item``."""
    fields: dict[str, Json] = {
        name: value
        for name, value in part.items()
        if name not in ("text", "refusal", "annotations") and (name, value) != ("type", "output_text") and value
    }
    if item_fields:
        fields["item"] = dict(item_fields)
    return (ProviderMetadata(NAME, issuer, fields),) if fields else ()


def read_generated_item(wire: Mapping[str, Any], issuer: str | None) -> Media | UnknownPart:
    """Reads a generated image; any other item becomes an unknown part with the whole item."""
    result = as_text(wire.get("result"))
    if wire.get("type") != "image_generation_call" or not result:
        return UnknownPart(wrap_item(wire, issuer), read_hosted_result(wire))
    output_format = as_text(wire.get("output_format"))
    mime = (
        f"image/{output_format}"
        if output_format
        else next((mime for start, mime in _IMAGE_PREFIXES if result.startswith(start)), "image/png")
    )
    return Media(
        mime=mime,
        base64=result,
        metadata=unknown_fields(wire, ("result",), NAME, issuer),
        tool_run=read_hosted_result(wire),
    )
