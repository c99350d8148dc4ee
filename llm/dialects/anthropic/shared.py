"""Content blocks, citations, usage and stop reasons: the code that both sides of the Anthropic wire use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from llm.chat.events import Finished, FinishReason, final_finish_reason
from llm.chat.messages import (
    Citation,
    Executor,
    Media,
    Part,
    ProviderToolRun,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    UnknownPart,
    Usage,
)
from llm.chat.provider_metadata import Metadata, ProviderMetadata, decode_id, decode_metadata, unknown_fields
from llm.dialects.base import ClientHeaders
from llm.wire.json_codec import Json, dumps, loads
from llm.wire.json_lenient import as_count, as_dict, as_text, drop_null

NAME: Final = "anthropic"
# https://platform.claude.com/docs/en/api/messages, anthropic 2.14.0: ``user_profile_id`` and ``workspace_id``
CLIENT_HEADERS: Final = ClientHeaders(
    ("anthropic-beta", "anthropic-version"), ("anthropic-user-profile-id", "anthropic-workspace-id")
)

TYPED_TOOL: Final = "typed_tool"  # in the stored form of a tool that this wire defines and the client runs

MetadataSelector: TypeAlias = Callable[[Metadata], Mapping[str, Json]]  # selects the fields that the target accepts

# The wire's ``stop_reason`` to our finish reason.
STOP_REASONS: Final[Mapping[str, FinishReason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "pause_turn": "paused",
    "compaction": "paused",  # beta: the conversation was compacted; it continues when sent back
    "refusal": "filtered",
}

# Words of other hosts for the end of an answer (Bedrock), which clients of this wire do not know.
_OTHER_STOP_REASONS: Final[Mapping[str, FinishReason]] = {
    "content_filter": "filtered",
    "content_filtered": "filtered",
    "guardrail_intervened": "filtered",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
    "abort": "error",
    "error": "error",
    "network_error": "error",
}

# The MIME type of a block that names none: an image by URL may have any format, a document by URL is a PDF.
_DEFAULT_MIME: Final[Mapping[str, str]] = {"image": "image/*", "document": "application/pdf"}

_WIRE_FORM_ISSUER: Final = ""  # an issuer that no engine has
_NO_FIELDS: Final[Mapping[str, Json]] = {}


class Unreadable(ValueError):
    """A content block breaks the rules of its type; ``path`` is its JSON path (``messages[2].content[0]``)."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path


def pack_wire_form(**fields: Json) -> Metadata:
    """Stores the client's own form of values that the neutral request holds too.

    Only this dialect reads it back. Other dialects lose no information by ignoring it, so no loss is reported.
    """
    return (ProviderMetadata(NAME, _WIRE_FORM_ISSUER, fields),) if fields else ()


def pack_request_form(**fields: Json) -> Metadata:
    """Stores the fields of a request as ``pack_wire_form`` does; without any, that its client speaks this dialect."""
    return (ProviderMetadata(NAME, _WIRE_FORM_ISSUER, fields),)


def has_wire_form(metadata: Metadata) -> bool:
    """True if a client of this dialect sent the request."""
    return bool(metadata) and any(one.dialect == NAME and one.issuer == _WIRE_FORM_ISSUER for one in metadata)


def unpack_wire_form(metadata: Metadata) -> Mapping[str, Json]:
    """Returns the fields stored by ``pack_wire_form``; empty if there are none."""
    if not metadata:
        return _NO_FIELDS
    return {n: v for o in metadata if o.dialect == NAME and o.issuer == _WIRE_FORM_ISSUER for n, v in o.data.items()}


def read_blocks(content: object, issuer: str | None, path: str) -> tuple[Part, ...]:
    """Reads the content of a message: a string or a list of blocks. Raises ``Unreadable``."""
    if isinstance(content, str):
        return (Text(content),)
    if not isinstance(content, list):
        raise Unreadable(path, "has to be a string or a list of blocks")
    return tuple(read_block(wire, issuer, f"{path}[{n}]") for n, wire in enumerate(content))


def read_block(wire: object, issuer: str | None, path: str) -> Part:
    """Reads one content block of a request or a response. Raises ``Unreadable``.

    ``issuer`` is ``Engine.issuer`` for a response and None for a client's request.
    """
    if not isinstance(wire, dict):
        raise Unreadable(path, "is not an object")
    kind = _required_text(wire, "type", path)
    match kind:
        case "text":
            return _read_text(wire, issuer, path)
        case "thinking":
            return Reasoning(_required_text(wire, "thinking", path), read_thinking_metadata(wire, issuer))
        case "redacted_thinking":
            return Reasoning("", (ProviderMetadata(NAME, issuer, dict(wire)),))
        case "image" | "document":
            return _read_media(wire, kind, issuer, path)
        case "tool_result":
            return _read_result(wire, issuer, path)
    if is_call_type(kind):
        id, name = _required_text(wire, "id", path), _required_text(wire, "name", path)
        id = decode_id(id) if issuer is None else id
        return ToolCall(id, name, _read_input(wire, path), choose_executor(kind), read_call_metadata(wire, issuer))
    return read_unknown_block(wire, issuer)


def read_unknown_block(wire: Mapping[str, Any], issuer: str | None) -> UnknownPart:
    """Reads a block that has no neutral part, unchanged.

    For the result of a provider-run tool, ``ran`` holds its call id, state and result.
    """
    id, content = as_text(wire.get("tool_use_id")), wire.get("content")
    ran = None
    if id and as_text(wire.get("type")).endswith("_tool_result"):
        failed = wire.get("is_error") or (isinstance(content, dict) and as_text(content.get("type")).endswith("_error"))
        ran = ProviderToolRun(id=id, state="error" if failed else "completed", result=_remove_encrypted(content))
    summary, required = None, False
    if wire.get("type") == "compaction":  # without a text it failed and does nothing, or only the provider can read it
        required = not isinstance(content, str) and bool(wire.get("encrypted_content"))
        summary = None if required else as_text(content)
    return UnknownPart((ProviderMetadata(NAME, issuer, dict(wire)),), ran, summary, required)


def _remove_encrypted(content: Any) -> Json:
    """Removes the long ``encrypted_…`` fields, which only the model can read."""
    if isinstance(content, list):
        return [_remove_encrypted(one) for one in content]
    if isinstance(content, dict):
        return {name: _remove_encrypted(value) for name, value in content.items() if not name.startswith("encrypted_")}
    plain: Json = content
    return plain


def _read_text(wire: Mapping[str, Any], issuer: str | None, path: str) -> Text:
    wire_citations = wire.get("citations")
    citations = (
        [read_citation(c, issuer) for c in wire_citations if isinstance(c, dict)]
        if isinstance(wire_citations, list)
        else []
    )
    metadata = unknown_fields(wire, ("type", "text", "citations"), NAME, issuer)
    return Text(_required_text(wire, "text", path), tuple(citations), metadata)


def is_call_type(kind: str) -> bool:
    """True for ``tool_use`` (run by the client) and ``server_tool_use``, ``mcp_tool_use``, … (run by the provider)."""
    return kind == "tool_use" or kind.endswith("_tool_use")


def choose_executor(kind: str) -> Executor:
    """Returns who runs a tool call of block type ``kind``."""
    return "client" if kind == "tool_use" else "provider"


_DIRECT_CALLER: Final = ("caller", {"type": "direct"})


def read_call_metadata(wire: Mapping[str, Any], issuer: str | None) -> Metadata:
    """Returns the unknown fields of a tool call, and the ``type`` of a provider-run one, since there are several.

    Nulls and the usual caller, the model itself, are kept for this wire only: no other loses anything without them.
    """
    known = ("type", "id", "name", "input") if wire.get("type") == "tool_use" else ("id", "name", "input")
    usual = {name: value for name, value in wire.items() if value is None or (name, value) == _DIRECT_CALLER}
    metadata = unknown_fields(wire, (*known, *usual), NAME, issuer)
    return metadata + pack_wire_form(**usual) if issuer is None else metadata


def read_thinking_metadata(wire: Mapping[str, Any], issuer: str | None) -> Metadata:
    """Returns the signature and the unknown fields of a ``thinking`` block.

    Unseals a signature that this server sealed for a client. An empty signature counts as none: clients send it for
    reasoning that no provider has signed.
    """
    if issuer is None and (sealed := decode_metadata(as_text(wire.get("signature")))) is not None:
        return sealed
    signed = {name: value for name, value in wire.items() if name != "signature" or value}
    return unknown_fields(signed, ("type", "thinking"), NAME, issuer)


def read_citation(wire: Mapping[str, Any], issuer: str | None) -> Citation:
    """Reads a citation. Its offsets count in the source, not in the citing text, so they stay in ``metadata``."""
    return Citation(
        url=as_text(wire.get("url")) or as_text(wire.get("source")) or None,
        title=as_text(wire.get("title")) or as_text(wire.get("document_title")) or None,
        quote=as_text(wire.get("cited_text")) or None,
        metadata=(ProviderMetadata(NAME, issuer, dict(wire)),),
    )


def write_citations(citations: Iterable[Citation], select_fields: MetadataSelector) -> list[Json]:
    """Writes the citations that came over this wire; those of other wires lack its required fields."""
    return [dict(wire) for citation in citations if (wire := select_fields(citation.metadata))]


def _read_media(wire: Mapping[str, Any], kind: str, issuer: str | None, path: str) -> Part:
    source = wire.get("source")
    if not isinstance(source, dict):
        raise Unreadable(f"{path}.source", "is required, as an object")
    path = f"{path}.source"
    title = as_text(wire.get("title")) or None if kind == "document" else None
    known = ("type", "source", "title") if title else ("type", "source")
    match source.get("type"):
        case "base64":
            mime = _required_text(source, "media_type", path)
            metadata = _read_media_metadata(wire, known, ("type", "media_type", "data"), issuer)
            return Media(mime=mime, base64=_required_text(source, "data", path), name=title, metadata=metadata)
        case "url":
            metadata = _read_media_metadata(wire, known, ("type", "url"), issuer)
            return Media(
                mime=_DEFAULT_MIME[kind], url=_required_text(source, "url", path), name=title, metadata=metadata
            )
        case "file":
            # The issuer of the file id has to be recorded even if there are no unknown fields.
            metadata = _read_media_metadata(wire, known, ("type", "file_id"), issuer) or (
                ProviderMetadata(NAME, issuer, {}),
            )
            return Media(
                mime=_DEFAULT_MIME[kind], file_id=_required_text(source, "file_id", path), name=title, metadata=metadata
            )
        case "text":
            # Other wires have no text documents; here the metadata turns the text into a document again.
            text = _required_text(source, "data", path)
            source_fields = {name: value for name, value in source.items() if name != "data"}
            metadata = unknown_fields(wire, ("type", "source"), NAME, issuer) + pack_wire_form(
                type="document", source=source_fields
            )
            return Text(text, metadata=metadata)
    return UnknownPart((ProviderMetadata(NAME, issuer, dict(wire)),))


def _read_media_metadata(
    wire: Mapping[str, Any], known: Iterable[str], known_in_source: Iterable[str], issuer: str | None
) -> Metadata:
    fields = {name: value for name, value in wire.items() if name not in known}
    if source_fields := {name: value for name, value in wire["source"].items() if name not in known_in_source}:
        fields["source"] = source_fields
    return (ProviderMetadata(NAME, issuer, fields),) if fields else ()


def _read_result(wire: Mapping[str, Any], issuer: str | None, path: str) -> ToolResult:
    inner = () if wire.get("content") is None else read_blocks(wire["content"], issuer, f"{path}.content")
    content: list[Text | Media | UnknownPart] = []
    for n, part in enumerate(inner):
        if not isinstance(part, Text | Media | UnknownPart):
            raise Unreadable(f"{path}.content[{n}].type", "is not allowed in a tool result")
        content.append(part)
    known = ("type", "tool_use_id", "content", "is_error")
    id, failed = _required_text(wire, "tool_use_id", path), wire.get("is_error") is True
    id = decode_id(id) if issuer is None else id
    return ToolResult(id, tuple(content), failed, metadata=unknown_fields(wire, known, NAME, issuer))


def _read_input(wire: Mapping[str, Any], path: str) -> str:
    value = wire.get("input")
    if value is None or (isinstance(value, str) and not drop_null(value)):
        return "{}"
    if not isinstance(value, dict):
        raise Unreadable(f"{path}.input", "is not an object")
    return dump_json(value, f"{path}.input")


def write_input(arguments: str) -> Json:
    """Parses the arguments of a tool call into the object that the wire requires.

    Invalid JSON is wrapped as ``{"INVALID_JSON": text}``, the form that Anthropic's documentation on fine-grained tool
    streaming gives, so that the model sees its own output beside the error.
    """
    try:
        value: Json = loads(drop_null(arguments.strip()) or "{}")
    except ValueError:
        return {"INVALID_JSON": arguments}
    return value if isinstance(value, dict) else {"INVALID_JSON": arguments}


def dump_json(value: Json, path: str) -> str:
    """Writes a value as JSON text. Raises ``Unreadable`` if it is nested too deeply to be written."""
    try:
        return dumps(value)
    except RecursionError:
        raise Unreadable(path, "is nested too deeply") from None


_USAGE_FIELDS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "cache_creation",
    "output_tokens_details",
)
_CACHE_WRITES: Final[Mapping[str, str]] = {
    "ephemeral_5m_input_tokens": "cache_write_5m",
    "ephemeral_1h_input_tokens": "cache_write_1h",
}


def read_usage(wire: Mapping[str, Any]) -> Usage:
    """Reads token counts. ``input_tokens`` excludes cache reads and cache writes."""
    output = as_count(wire.get("output_tokens"))
    details = wire.get("output_tokens_details")
    reasoning = (as_count(details.get("thinking_tokens")) or 0) if isinstance(details, dict) else 0
    created, other = wire.get("cache_creation"), {}
    if isinstance(created, dict):
        other = {name: n for field, name in _CACHE_WRITES.items() if (n := as_count(created.get(field)))}
    return Usage(
        fresh=as_count(wire.get("input_tokens")),
        cache_read=as_count(wire.get("cache_read_input_tokens")) or 0,
        cache_write=as_count(wire.get("cache_creation_input_tokens")) or 0,
        text=None if output is None else max(output - reasoning, 0),
        reasoning=reasoning,
        other=other,
    )


def unknown_usage_fields(wire: Mapping[str, Any]) -> dict[str, Json]:
    """Returns the usage fields that are not token counts: service tier, region, number of searches."""
    return {name: value for name, value in wire.items() if name not in _USAGE_FIELDS and value is not None}


def write_usage(usage: Usage) -> dict[str, Json]:
    """Writes token counts as the wire's ``usage``; unknown counts become 0."""
    wire: dict[str, Json] = {
        "input_tokens": usage.fresh or 0,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output or 0,
    }
    if any(name in usage.other for name in _CACHE_WRITES.values()):
        wire["cache_creation"] = {field: usage.other.get(name, 0) for field, name in _CACHE_WRITES.items()}
    if usage.reasoning:
        wire["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    if usage.estimated:
        wire["estimated"] = True
    return wire


def build_finished(
    stop: str | None,
    has_call: bool,
    has_output: bool,
    extra_fields: Mapping[str, Json],
    usage: Mapping[str, Any],
    issuer: str,
) -> Finished:
    """Returns the end of an answer. ``extra_fields``: the message's unknown fields, among them the stop details."""
    fields = dict(extra_fields)
    if usage_fields := unknown_usage_fields(usage):
        fields["usage"] = usage_fields
    reason = STOP_REASONS.get(stop or "") or _OTHER_STOP_REASONS.get(stop or "", "other")
    details = as_dict(fields.get("stop_details"))
    category = as_text(details.get("category")) or (stop if reason == "filtered" and stop != "refusal" else None)
    return Finished(
        final_finish_reason(reason, has_call, has_output),
        stop,
        (ProviderMetadata(NAME, issuer, fields),) if fields else (),
        explanation=as_text(details.get("explanation")) or None,
        category=category,
        stop_sequence=as_text(fields.get("stop_sequence")) or None,
    )


def _required_text(wire: Mapping[str, Any], name: str, path: str) -> str:
    value = wire.get(name)
    if not isinstance(value, str):
        raise Unreadable(f"{path}.{name}", "is required, as text")
    return value
