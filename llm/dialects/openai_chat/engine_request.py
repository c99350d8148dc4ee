"""Writes a ChatRequest as the body of ``POST /chat/completions``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, assert_never

from llm.chat.freeform import Freeform, unwrap_input
from llm.chat.history import move_media_out_of_results
from llm.chat.messages import Media, Message, Part, Reasoning, Text, ToolCall, ToolResult, UnknownPart, join_texts
from llm.chat.provider_metadata import metadata_for_engine, shorten_id
from llm.chat.request import NO_OPTIONS, ChatRequest, ToolSpec
from llm.dialects.base import EngineRequest
from llm.dialects.losses import (
    REASONING,
    adapt_history,
    fit_tools,
    fit_web_tools,
    lost_fields,
    lost_grammars,
    unknown_block,
)
from llm.dialects.openai_chat.engine_options import write_options, write_web_tools
from llm.dialects.openai_chat.shared import AUDIO_MIME_TYPES, CAME_IN, CONTENT_PARTS, NAME, THINK_TAGS
from llm.dialects.openai_fields import move_responses_fields
from llm.engines.cache_marks import find_mark_field, move_cache_marks
from llm.engines.engine import Engine
from llm.engines.options import add_extra_fields
from llm.errors import Unsupported
from llm.wire.json_codec import Json
from llm.wire.json_lenient import as_dict, as_list, as_text
from llm.wire.schema_refs import join_pointer
from llm.wire.schema_subset import ReferenceLimit, enforce_schema

# Path of chat requests, appended to the engine's base URL.
PATH: Final = "/chat/completions"
TOOL_NAMES: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # names of tools that the wire accepts

# MIME type to ``input_audio.format``.
_AUDIO_FORMATS: Final[Mapping[str, str]] = {
    "audio/x-wav": "wav",
    "audio/mp3": "mp3",
    **{mime: name for name, mime in AUDIO_MIME_TYPES.items()},
}
_NO_PARAMETERS: Final[Mapping[str, Json]] = {"type": "object", "properties": {}}
_CACHE_KEY: Final = re.compile(r"[!-~]{1,256}")  # what a header can hold
_NO_HEADERS: Final[Mapping[str, str]] = {}
_NO_FIELDS: Final[Mapping[str, Json]] = {}
_MEDIA_FIELDS: Final = ("image_url", "input_audio", "file")


def write_request(request: ChatRequest, engine: Engine) -> EngineRequest:
    """Writes a chat request. Raises ``Unsupported`` naming the option or the part."""
    dropped: list[str] = []
    if (field := find_mark_field(engine, request.model)) is not None:
        request = move_cache_marks(request, NAME, field, dropped, whole_messages=True)
    if request.metadata:
        request = move_responses_fields(request, engine.quirks.shared_fields)
    if request.tools:
        request = fit_web_tools(request, NAME, engine, dropped)
    dropped += lost_fields(request, NAME)
    if request.tools or request.options is not NO_OPTIONS:
        request = fit_tools(request, engine, dropped)
    request = adapt_history(request, NAME, engine, dropped)
    messages = [wire for message in request.messages for wire in _write_message(message, engine, dropped)]
    client_fields = _select_client_fields(request, engine, dropped) if request.metadata else {}
    body: dict[str, Json] = {
        **client_fields,
        "model": request.model,
        "messages": [*messages],
        **write_options(request, engine, client_fields, dropped),
    }
    if request.tools:
        references = ReferenceLimit()
        web, web_fields = write_web_tools(request, engine)
        tools = [_write_tool(t, engine, dropped, references) for t in request.tools if t.web is None]
        body |= {"tools": [*tools, *web], **web_fields} if tools or web else web_fields
        _name_custom_choice(body, request.tools, engine)
    if request.stream:
        body["stream"] = True
        body |= request_usage(body, engine)
    if request.options.extra:
        body = add_extra_fields(body, request.options.extra)
    headers = write_cache_key(body, engine) if engine.quirks.cache_key_header else _NO_HEADERS
    return EngineRequest(
        path=PATH, body=body, headers=headers, dropped=tuple(dict.fromkeys(dropped)) if dropped else ()
    )


def _select_client_fields(request: ChatRequest, engine: Engine, dropped: list[str]) -> dict[str, Json]:
    """The client's unknown fields, without those that the engine would refuse."""
    fields = dict(metadata_for_engine(request.metadata, NAME, engine.issuer))
    if engine.always_translate:  # of other engines, requests with these fields are passed through
        for name in ("n", "modalities"):
            if name in fields and name not in request.default_fields:
                raise Unsupported(
                    f"{name!r} is not supported with {engine.label}, because its answers are translated.",
                    param=name,
                    engine=engine.name,
                )
    droppable = request.droppable_fields | request.default_fields
    for name in [*fields]:
        unknown = name in droppable and not engine.quirks.accepts_unknown_fields
        if unknown or (name == "stream_options" and not engine.quirks.accepts_include_usage):
            del fields[name]
            dropped.append(name)
    return fields


def write_cache_key(body: Mapping[str, Any], engine: Engine) -> Mapping[str, str]:
    """Returns the header with the key of the prompt cache, for an engine that does not read it in the body."""
    name, key = engine.quirks.cache_key_header, body.get("prompt_cache_key")
    return {name: key} if name and isinstance(key, str) and _CACHE_KEY.fullmatch(key) else _NO_HEADERS


def request_usage(body: Mapping[str, Any], engine: Engine) -> dict[str, Json]:
    """Returns the field that asks a stream for its usage; nothing for an engine that refuses it."""
    if not engine.quirks.accepts_include_usage:
        return {}
    return {"stream_options": {**as_dict(body.get("stream_options")), "include_usage": True}}


def _name_custom_choice(body: dict[str, Json], tools: Iterable[ToolSpec], engine: Engine) -> None:
    """Gives a forced tool whose input is text its own form."""
    named = as_dict(as_dict(body.get("tool_choice")).get("function")).get("name")
    if named and any(tool.name == named and _is_custom(tool, engine) for tool in tools):
        body["tool_choice"] = {"type": "custom", "custom": {"name": named}}


def _is_custom(tool: ToolSpec, engine: Engine) -> bool:
    return tool.freeform is not None and (engine.quirks.custom_tools or tool.freeform.dialect == NAME)


def _write_custom_tool(tool: ToolSpec, freeform: Freeform, fields: Mapping[str, Json]) -> Json:
    custom: dict[str, Json] = {**as_dict(fields.get("custom")), "name": tool.name}
    if tool.description:
        custom["description"] = tool.description
    if freeform.grammar:
        grammar: Json = {"syntax": freeform.syntax, "definition": freeform.grammar}
        custom["format"] = {"type": "grammar", "grammar": grammar}
    elif freeform.syntax:
        custom["format"] = {"type": freeform.syntax}
    return {**fields, "type": "custom", "custom": custom}


def _write_tool(tool: ToolSpec, engine: Engine, dropped: list[str], references: ReferenceLimit) -> Json:
    fields = metadata_for_engine(tool.metadata, NAME, engine.issuer)
    if tool.executor == "provider":
        return dict(fields)
    if tool.freeform is not None:
        if _is_custom(tool, engine):
            return _write_custom_tool(tool, tool.freeform, fields)
        dropped += lost_grammars((tool,))
    function: dict[str, Json] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    parameters = tool.parameters or _NO_PARAMETERS  # required by Mistral
    function["parameters"], strict = enforce_schema(
        parameters, tool.strict, tool.schema_dialect, join_pointer("tools", tool.name), dropped, references
    )
    if strict is not None:
        function["strict"] = strict
    inner = as_dict(fields.get("function"))
    outer = {name: value for name, value in fields.items() if name != "function"}
    return {**outer, "type": "function", "function": {**inner, **function}}


def _write_message(message: Message, engine: Engine, dropped: list[str]) -> list[dict[str, Json]]:
    fields = metadata_for_engine(message.metadata, NAME, engine.issuer) if message.metadata else _NO_FIELDS
    match message.role:
        case "assistant":
            wire = {**fields, **_write_assistant(message, engine, dropped)}
            is_empty = wire.keys() == {"role", "content"} and not wire["content"]
            return [] if is_empty and message.parts else [wire]  # what it had was dropped by its name
        case "system":
            role = fields.get("role", engine.quirks.system_role)
            return [{**fields, "role": role, "content": _write_content(message.parts, engine)}]
    results = [part for part in message.parts if isinstance(part, ToolResult)]
    if not results:
        return [{**fields, "role": "user", "content": _write_content(message.parts, engine)}]
    message = move_media_out_of_results(message)
    written = []
    others: list[Part] = []
    for part in message.parts:
        if not isinstance(part, ToolResult):
            others.append(part)
            continue
        if part.is_error:
            dropped.append("is_error")
        written.append(_write_result(part, engine))
    if others:
        written.append({**fields, "role": "user", "content": _write_content(others, engine)})
    return written


def _write_result(result: ToolResult, engine: Engine) -> dict[str, Json]:
    for part in result.content:
        if isinstance(part, UnknownPart):
            raise unknown_block(part, engine, " in a tool result")
    fields = metadata_for_engine(result.metadata, NAME, engine.issuer)
    content = _write_content(result.content, engine)
    id = shorten_id(result.call_id, engine.quirks.call_id_length)
    wire: dict[str, Json] = {**fields, "role": "tool", "tool_call_id": id, "content": content}
    if result.name is not None and engine.quirks.tool_name_in_results:
        wire["name"] = result.name
    return wire


def _write_content(parts: Sequence[Part], engine: Engine, separator: str = "\n\n") -> Json:
    """A string for one plain text, or where the engine accepts only strings; else a list of parts."""
    if len(parts) == 1 and isinstance(only := parts[0], Text) and not only.metadata:
        return only.text
    if all(isinstance(part, Text) for part in parts):
        texts = [part for part in parts if isinstance(part, Text)]
        has_fields = any(metadata_for_engine(part.metadata, NAME, engine.issuer) for part in texts)
        if not has_fields and (engine.quirks.flat_content or len(texts) <= 1):
            return join_texts(texts, separator)
    return [_write_part(part, engine) for part in parts]


def _write_part(part: Part, engine: Engine) -> Json:
    match part:
        case Text(text, _, metadata):
            return {**metadata_for_engine(metadata, NAME, engine.issuer), "type": "text", "text": text}
        case Media():
            fields = metadata_for_engine(part.metadata, NAME, engine.issuer)
            outer = {name: value for name, value in fields.items() if name not in _MEDIA_FIELDS}
            return {**outer, **_write_media(part, fields, engine)}
        case UnknownPart(metadata):
            if block := metadata_for_engine(metadata, NAME, engine.issuer):
                return dict(block)
            raise unknown_block(part, engine)
        case Reasoning() | ToolCall() | ToolResult():
            raise Unsupported(
                f"{type(part).__name__} is not allowed in a message of this role.",
                param="messages",
                engine=engine.name,
            )
        case _:
            assert_never(part)


def _write_media(media: Media, fields: Mapping[str, Json], engine: Engine) -> dict[str, Json]:
    data = f"data:{media.mime};base64,{media.base64}"
    if media.kind == "image" and media.file_id is None:
        return {"type": "image_url", "image_url": {**as_dict(fields.get("image_url")), "url": media.url or data}}
    if media.kind == "audio" and media.base64 is not None and media.mime in _AUDIO_FORMATS:
        audio: dict[str, Json] = {"data": media.base64, "format": _AUDIO_FORMATS[media.mime]}
        return {"type": "input_audio", "input_audio": {**as_dict(fields.get("input_audio")), **audio}}
    if media.kind == "document" and engine.quirks.document_part == "document_url" and media.file_id is None:
        return {
            "type": "document_url",
            "document_url": media.url or data,
            "document_name": media.name or "document.pdf",
        }
    # A file id is valid only at the provider where the file was uploaded.
    is_own_file = any(opaque.dialect == NAME and opaque.issuer in (None, engine.issuer) for opaque in media.metadata)
    if media.kind == "document" and media.url is None and (media.file_id is None or is_own_file):
        file: dict[str, Json] = {**as_dict(fields.get("file"))}
        if media.name is not None or media.file_id is None:
            file["filename"] = media.name or "document.pdf"
        if media.file_id is not None:
            file["file_id"] = media.file_id
        else:
            file["file_data"] = data
        return {"type": "file", "file": file}
    raise Unsupported(
        f"{engine.label} does not accept {media.mime} in this form.", param="messages", engine=engine.name
    )


def _write_assistant(message: Message, engine: Engine, dropped: list[str]) -> dict[str, Json]:
    texts: list[Part] = []
    reasoning: list[Reasoning] = []
    calls: list[Json] = []
    annotations: list[Json] = []
    for part in message.parts:
        match part:
            case Text():
                texts.append(part)
            case Reasoning():
                reasoning.append(part)
            case ToolCall():
                calls.append(_write_call(part, engine))
            case UnknownPart(metadata):
                fields = metadata_for_engine(metadata, NAME, engine.issuer)
                if "annotations" in fields:  # a file that the provider has parsed
                    annotations += as_list(fields["annotations"])
                else:
                    texts.append(part)
            case Media():
                dropped.append(part.kind)
            case ToolResult():
                dropped.append("tool result")
    wire: dict[str, Json] = {"role": "assistant"}
    wire["content"] = _write_content(texts, engine, separator="") if texts or not calls else None
    _add_reasoning(wire, reasoning, bool(calls), engine, dropped)
    if calls:
        wire["tool_calls"] = calls
    if annotations:
        wire["annotations"] = annotations
    return wire


def _write_call(call: ToolCall, engine: Engine) -> Json:
    fields = metadata_for_engine(call.metadata, NAME, engine.issuer)
    id = shorten_id(call.id, engine.quirks.call_id_length)
    if call.freeform and (engine.quirks.custom_tools or call.freeform == NAME):
        custom: dict[str, Json] = {"name": call.name, "input": unwrap_input(call.arguments)}
        return {"id": id, "type": "custom", **fields, "custom": {**as_dict(fields.get("custom")), **custom}}
    function: dict[str, Json] = {"name": call.name, "arguments": call.arguments}
    return {"id": id, "type": "function", **fields, "function": {**as_dict(fields.get("function")), **function}}


def _add_reasoning(
    wire: dict[str, Json], parts: Iterable[Reasoning], has_calls: bool, engine: Engine, dropped: list[str]
) -> None:
    """Adds reasoning to an assistant message that has its ``content``. Appends ``"reasoning"`` to ``dropped`` if some
    of it is left out.

    The engine's own signed details always go back. Text goes back by the engine's record, and with tool calls to the
    engine that sent it: several models refuse the result of a call without it, or lose their thread.
    """
    details: list[Json] = []
    texts: dict[str, str] = {}  # by field
    echo = engine.quirks.echo_reasoning
    for part in parts:
        fields = dict(metadata_for_engine(part.metadata, NAME, engine.issuer))
        came_in = as_text(fields.pop(CAME_IN, None))
        own_details = as_list(fields.pop("reasoning_details", None))
        details += own_details
        wire |= fields
        wanted = echo == "always" or (has_calls and (echo == "with_tools" or (bool(came_in) and echo == "if_sent")))
        if own_details or not part.text:  # the details hold the text
            continue
        if wanted:
            field = came_in or engine.quirks.reasoning_field
            texts[field] = texts.get(field, "") + part.text
        else:
            dropped.append(REASONING)
    if details:
        wire["reasoning_details"] = details
    for field, text in texts.items():
        _add_text(wire, field, text)


def _add_text(wire: dict[str, Json], field: str, text: str) -> None:
    content = wire["content"]
    if field == CONTENT_PARTS:
        thinking: Json = {"type": "thinking", "thinking": [{"type": "text", "text": text}]}
        others: list[Json] = [{"type": "text", "text": content}] if isinstance(content, str) and content else []
        wire["content"] = [thinking, *(content if isinstance(content, list) else others)]
    elif field == THINK_TAGS:
        tagged = f"<think>\n{text}\n</think>\n\n"
        if isinstance(content, list):
            wire["content"] = [{"type": "text", "text": tagged}, *content]
        else:
            wire["content"] = f"{tagged}{content or ''}"
    else:
        wire[field] = text
