"""What both sides of the Anthropic wire share: content blocks, citations, usage, stop reasons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from llm.chat.events import FinishReason
from llm.chat.messages import (
    Citation,
    Executor,
    Foreign,
    Media,
    Part,
    Ran,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    Usage,
)
from llm.chat.provider_metadata import Keep, Opaque, rest_of, unseal
from llm.wire.json_codec import Json, dumps, loads
from llm.wire.json_lenient import count_of, text_of

NAME: Final = "anthropic"

Kept: TypeAlias = Callable[[Keep], Mapping[str, Json]]  # which of the kept fields may be written where we write

STOP_REASONS: Final[Mapping[str, FinishReason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "pause_turn": "paused",
    "compaction": "paused",  # beta: the conversation was summed up, and goes on when it is sent back
    "refusal": "filtered",
}

# A block's mime where the wire names none: a picture by URL may be of any kind, a document by URL is a PDF.
_UNTOLD: Final[Mapping[str, str]] = {"image": "image/*", "document": "application/pdf"}

_SPELLED: Final = ""  # no engine issues anything under this name
_NOTHING_SPELLED: Final[Mapping[str, Json]] = {}


class Unreadable(ValueError):
    """A block is not what its type promises."""

    def __init__(self, place: str, what: str) -> None:
        super().__init__(f"{place}: {what}")
        self.place = place


def spelled(**fields: Json) -> Keep:
    """How a client of this wire put what is also said by a neutral value.

    Only this dialect reads it back. Unlike a kept field its loss elsewhere is none, and is not told.
    """
    return (Opaque(NAME, _SPELLED, fields),) if fields else ()


def spelling(keep: Keep) -> Mapping[str, Json]:
    """The fields of :func:`spelled`."""
    if not keep:
        return _NOTHING_SPELLED
    return {n: v for o in keep if o.dialect == NAME and o.issuer == _SPELLED for n, v in o.data.items()}


def read_blocks(content: object, issuer: str | None, place: str) -> tuple[Part, ...]:
    """A message's content: text, or a list of blocks. Raises ``Unreadable``."""
    if isinstance(content, str):
        return (Text(content),)
    if not isinstance(content, list):
        raise Unreadable(place, "is neither text nor a list of blocks")
    return tuple(read_block(wire, issuer, f"{place}[{n}]") for n, wire in enumerate(content))


def read_block(wire: object, issuer: str | None, place: str) -> Part:
    """One content block of a request or an answer. Raises ``Unreadable``."""
    if not isinstance(wire, dict):
        raise Unreadable(place, "is not an object")
    kind = _string(wire, "type", place)
    match kind:
        case "text":
            return _read_text(wire, issuer, place)
        case "thinking":
            return Reasoning(_string(wire, "thinking", place), thinking_keep(wire, issuer))
        case "redacted_thinking":
            return Reasoning("", (Opaque(NAME, issuer, dict(wire)),))
        case "image" | "document":
            return _read_media(wire, kind, issuer, place)
        case "tool_result":
            return _read_result(wire, issuer, place)
    if is_call(kind):
        id, name = _string(wire, "id", place), _string(wire, "name", place)
        return ToolCall(id, name, _read_input(wire, place), executor_of(kind), call_keep(wire, issuer))
    return foreign(wire, issuer)


def foreign(wire: Mapping[str, Any], issuer: str | None) -> Foreign:
    """A block that only this wire has; the result of a tool that the provider ran says so."""
    id, content = text_of(wire.get("tool_use_id")), wire.get("content")
    ran = None
    if id and text_of(wire.get("type")).endswith("_tool_result"):
        failed = wire.get("is_error") or (isinstance(content, dict) and text_of(content.get("type")).endswith("_error"))
        ran = Ran(id=id, state="error" if failed else "completed", result=_shown(content))
    return Foreign((Opaque(NAME, issuer, dict(wire)),), ran)


def _shown(content: Any) -> Json:
    """Without what is for the model alone, and long."""
    if isinstance(content, list):
        return [_shown(one) for one in content]
    if isinstance(content, dict):
        return {name: _shown(value) for name, value in content.items() if not name.startswith("encrypted_")}
    shown: Json = content
    return shown


def _read_text(wire: Mapping[str, Any], issuer: str | None, place: str) -> Text:
    cited = wire.get("citations")
    citations = [read_citation(c, issuer) for c in cited if isinstance(c, dict)] if isinstance(cited, list) else []
    keep = rest_of(wire, ("type", "text", "citations"), NAME, issuer)
    return Text(_string(wire, "text", place), tuple(citations), keep)


def is_call(kind: str) -> bool:
    """``tool_use`` is the client's to run; ``server_tool_use``, ``mcp_tool_use`` and their like run at the provider."""
    return kind == "tool_use" or kind.endswith("_tool_use")


def executor_of(kind: str) -> Executor:
    return "client" if kind == "tool_use" else "provider"


def call_keep(wire: Mapping[str, Any], issuer: str | None) -> Keep:
    """The type of a provider's call is kept: there is more than one."""
    known = ("type", "id", "name", "input") if wire.get("type") == "tool_use" else ("id", "name", "input")
    return rest_of(wire, known, NAME, issuer)


def thinking_keep(wire: Mapping[str, Any], issuer: str | None) -> Keep:
    """What we sealed for a client is opened again. An empty signature is none: clients send it back for thoughts that
    no provider has signed.
    """
    if issuer is None and (sealed := unseal(text_of(wire.get("signature")))) is not None:
        return sealed
    signed = {name: value for name, value in wire.items() if name != "signature" or value}
    return rest_of(signed, ("type", "thinking"), NAME, issuer)


def read_citation(wire: Mapping[str, Any], issuer: str | None) -> Citation:
    """The wire's own offsets count in the source, not in the text that cites, so they stay in ``keep``."""
    return Citation(
        url=text_of(wire.get("url")) or text_of(wire.get("source")) or None,
        title=text_of(wire.get("title")) or text_of(wire.get("document_title")) or None,
        quote=text_of(wire.get("cited_text")) or None,
        keep=(Opaque(NAME, issuer, dict(wire)),),
    )


def write_citations(citations: Iterable[Citation], kept: Kept) -> list[Json]:
    """Those of this wire; another's cannot be put into its words."""
    return [dict(wire) for citation in citations if (wire := kept(citation.keep))]


def _read_media(wire: Mapping[str, Any], kind: str, issuer: str | None, place: str) -> Part:
    source = wire.get("source")
    if not isinstance(source, dict):
        raise Unreadable(f"{place}.source", "is required, as an object")
    place = f"{place}.source"
    title = text_of(wire.get("title")) or None if kind == "document" else None
    known = ("type", "source", "title") if title else ("type", "source")
    match source.get("type"):
        case "base64":
            mime = _string(source, "media_type", place)
            keep = _media_keep(wire, known, ("type", "media_type", "data"), issuer)
            return Media(mime=mime, base64=_string(source, "data", place), name=title, keep=keep)
        case "url":
            keep = _media_keep(wire, known, ("type", "url"), issuer)
            return Media(mime=_UNTOLD[kind], url=_string(source, "url", place), name=title, keep=keep)
        case "file":
            # The mark of whose file it is has to be there even where nothing else is kept.
            keep = _media_keep(wire, known, ("type", "file_id"), issuer) or (Opaque(NAME, issuer, {}),)
            return Media(mime=_UNTOLD[kind], file_id=_string(source, "file_id", place), name=title, keep=keep)
        case "text":
            # Everywhere else a text document is text; here its keep makes it a document again.
            text = _string(source, "data", place)
            more = {name: value for name, value in source.items() if name != "data"}
            keep = rest_of(wire, ("type", "source"), NAME, issuer) + spelled(type="document", source=more)
            return Text(text, keep=keep)
    return Foreign((Opaque(NAME, issuer, dict(wire)),))


def _media_keep(wire: Mapping[str, Any], known: Iterable[str], in_source: Iterable[str], issuer: str | None) -> Keep:
    rest = {name: value for name, value in wire.items() if name not in known}
    if more := {name: value for name, value in wire["source"].items() if name not in in_source}:
        rest["source"] = more
    return (Opaque(NAME, issuer, rest),) if rest else ()


def _read_result(wire: Mapping[str, Any], issuer: str | None, place: str) -> ToolResult:
    inner = () if wire.get("content") is None else read_blocks(wire["content"], issuer, f"{place}.content")
    content: list[Text | Media | Foreign] = []
    for n, part in enumerate(inner):
        if not isinstance(part, Text | Media | Foreign):
            raise Unreadable(f"{place}.content[{n}].type", "cannot be part of a tool's result")
        content.append(part)
    known = ("type", "tool_use_id", "content", "is_error")
    id, failed = _string(wire, "tool_use_id", place), wire.get("is_error") is True
    return ToolResult(id, tuple(content), failed, keep=rest_of(wire, known, NAME, issuer))


def _read_input(wire: Mapping[str, Any], place: str) -> str:
    given = wire.get("input")
    if given is None:
        return "{}"
    if not isinstance(given, dict):
        raise Unreadable(f"{place}.input", "is not an object")
    return json_text(given, f"{place}.input")


def write_input(arguments: str) -> Json:
    """Arguments as the object that the wire wants.

    Broken ones go out under the name that Anthropic's documentation on fine-grained tool streaming gives for them, so
    that the model sees beside the error what it wrote.
    """
    try:
        value: Json = loads(arguments.strip() or "{}")
    except ValueError:
        return {"INVALID_JSON": arguments}
    return value if isinstance(value, dict) else {"INVALID_JSON": arguments}


def json_text(value: Json, place: str) -> str:
    """Raises ``Unreadable`` for what could be read but not written again: nesting near the interpreter's limit."""
    try:
        return dumps(value)
    except RecursionError:
        raise Unreadable(place, "is nested too deeply") from None


_USAGE_NAMES: Final = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "cache_creation",
    "output_tokens_details",
)
_WRITES: Final[Mapping[str, str]] = {
    "ephemeral_5m_input_tokens": "cache_write_5m",
    "ephemeral_1h_input_tokens": "cache_write_1h",
}


def read_usage(wire: Mapping[str, Any]) -> Usage:
    """``input_tokens`` leaves out what was read from a cache or written to one."""
    output = count_of(wire.get("output_tokens"))
    details = wire.get("output_tokens_details")
    reasoning = (count_of(details.get("thinking_tokens")) or 0) if isinstance(details, dict) else 0
    created = wire.get("cache_creation")
    created = created if isinstance(created, dict) else {}
    return Usage(
        fresh=count_of(wire.get("input_tokens")),
        cache_read=count_of(wire.get("cache_read_input_tokens")) or 0,
        cache_write=count_of(wire.get("cache_creation_input_tokens")) or 0,
        text=None if output is None else max(output - reasoning, 0),
        reasoning=reasoning,
        other={name: n for field, name in _WRITES.items() if (n := count_of(created.get(field)))},
    )


def usage_rest(wire: Mapping[str, Any]) -> dict[str, Json]:
    """What an answer's usage says beyond tokens: tier, place, searches made."""
    return {name: value for name, value in wire.items() if name not in _USAGE_NAMES and value is not None}


def write_usage(usage: Usage) -> dict[str, Json]:
    wire: dict[str, Json] = {
        "input_tokens": usage.fresh or 0,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output or 0,
    }
    if any(name in usage.other for name in _WRITES.values()):
        wire["cache_creation"] = {field: usage.other.get(name, 0) for field, name in _WRITES.items()}
    if usage.reasoning:
        wire["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    if usage.estimated:
        wire["estimated"] = True
    return wire


def _string(wire: Mapping[str, Any], name: str, place: str) -> str:
    value = wire.get(name)
    if not isinstance(value, str):
        raise Unreadable(f"{place}.{name}", "is required, as text")
    return value
