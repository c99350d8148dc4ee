"""Writes a ChatRequest as the body of an engine's ``POST /v1/messages``."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from llm.chat.messages import Media, Message, Part, Reasoning, Text, ToolCall, ToolResult, UnknownPart
from llm.chat.provider_metadata import encode_id, metadata_for_engine
from llm.chat.request import ChatRequest, ToolSpec
from llm.dialects.anthropic.client_tools.definitions import WEB_TOOL_TYPES, write_web_tool
from llm.dialects.anthropic.engine_options import SCHEMA_SUBSET, add_cache_breakpoints, write_options
from llm.dialects.anthropic.profiles import binds_thinking, find_profile
from llm.dialects.anthropic.shared import (
    NAME,
    TYPED_TOOL,
    MetadataSelector,
    unpack_wire_form,
    write_citations,
    write_input,
)
from llm.dialects.base import EngineRequest
from llm.dialects.losses import (
    REASONING,
    adapt_history,
    ask_for_json,
    fit_web_tools,
    limit_tools,
    lost_fields,
    lost_grammars,
    unforce_tools,
    unknown_block,
)
from llm.engines.cache_marks import CACHE_CONTROL, move_cache_marks
from llm.engines.engine import Engine
from llm.engines.options import add_extra_fields
from llm.errors import Unsupported
from llm.wire.json_codec import Json
from llm.wire.json_lenient import as_dict, as_dicts
from llm.wire.schema_refs import join_pointer
from llm.wire.schema_subset import ReferenceLimit, describe_losses, fit_schema

PATH: Final = "/v1/messages"
TOOL_NAMES: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")  # names of tools that the wire accepts

# MIME types of images that the wire accepts as base64.
IMAGE_TYPES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
_TEXT_TYPES: Final = re.compile(r"text/.*|application/(.*\+)?(json|xml|yaml|x-yaml|javascript|toml|sql)")
_DROP_MISMATCHES: Final[Mapping[str, Json]] = {"block_binding": {"prefix_mismatch_behavior": "drop_block"}}
_BINDING_BETA: Final[Mapping[str, str]] = {"anthropic-beta": "thinking-binding-controls-2026-08-01"}
_NO_HEADERS: Final[Mapping[str, str]] = {}
_NO_FIELDS: Final[Mapping[str, Json]] = {}


def write_request(request: ChatRequest, engine: Engine) -> EngineRequest:
    """Writes the request. Raises ``Unsupported`` naming an option or part that the wire or the model rejects."""
    select_fields: MetadataSelector = partial(metadata_for_engine, dialect=NAME, issuer=engine.issuer)
    dropped: list[str] = []
    request = move_cache_marks(request, NAME, CACHE_CONTROL, dropped)
    client_fields = dict(select_fields(request.metadata)) if request.metadata else {}
    if request.options.allowed_tools:
        request = limit_tools(request, engine)
    if request.tools:
        request = fit_web_tools(request, NAME, engine, dropped)
    dropped += lost_fields(request, NAME)
    if request.tools:
        dropped += lost_grammars(request.tools)
        if not (find_profile(request.model).forced_tools and engine.quirks.accepts_forced_tools):
            request = unforce_tools(request, engine, dropped)
    if request.options.format is not None:
        request = ask_for_json(request, dropped)
    request = adapt_history(request, NAME, engine, dropped)
    if not engine.quirks.accepts_unknown_fields:
        dropped += [name for name in client_fields if name in request.droppable_fields]
        client_fields = {name: value for name, value in client_fields.items() if name not in request.droppable_fields}
    conversation = _Conversation(engine, select_fields, request.model, citations=request.options.citations is True)
    for message in request.messages:
        conversation.add(message)
    if request.options.citations and not conversation.citable:
        dropped.append("citations")
    body: dict[str, Json] = {**client_fields, "model": request.model}
    request, options = _write_options(request, engine, dropped)
    body |= options
    headers = _allow_dropped_thinking(request, body) if conversation.sends_thinking else _NO_HEADERS
    may_drop_more = bool(headers)
    if system := conversation.system:
        body["system"] = _write_content(system)
    body["messages"] = conversation.write_messages()
    if request.tools:
        references = ReferenceLimit()
        body["tools"] = [_write_tool(tool, select_fields, dropped, references) for tool in request.tools]
        headers = _allow_fetching(body["tools"], headers)
    if request.stream:
        body["stream"] = True
    if request.options.caching:
        body = add_cache_breakpoints(body)
    if request.options.extra:
        body = add_extra_fields(body, request.options.extra)
    dropped += conversation.dropped
    return EngineRequest(
        path=PATH, body=body, headers=headers, dropped=tuple(dict.fromkeys(dropped)), may_drop_more=may_drop_more
    )


def _write_options(request: ChatRequest, engine: Engine, dropped: list[str]) -> tuple[ChatRequest, Mapping[str, Json]]:
    """Writes the options. A tool call cannot be forced while the model thinks with a budget: then it is not forced."""
    try:
        return request, write_options(request, engine, dropped)
    except Unsupported as refusal:
        if refusal.param != "tool_choice" or not request.tools:
            raise
    request = unforce_tools(request, engine, dropped)
    return request, write_options(request, engine, dropped)


def _allow_dropped_thinking(request: ChatRequest, body: dict[str, Json]) -> Mapping[str, str]:
    """Asks for thinking that fits no more to be dropped: the default is to refuse the request. Returns the headers.

    Clients of other wires do not know this rule, and may change the system prompt or the tools between two turns.
    A client of this wire decides itself.
    """
    thinking = body.get("thinking", {"type": "adaptive"})
    own = "thinking" in unpack_wire_form(request.metadata)
    if own or not binds_thinking(request.model) or not isinstance(thinking, dict):
        return _NO_HEADERS
    if thinking.get("type") not in ("adaptive", "enabled"):
        return _NO_HEADERS
    body["thinking"] = {**thinking, **_DROP_MISMATCHES}
    return _BINDING_BETA


def _allow_fetching(tools: Json, headers: Mapping[str, str]) -> Mapping[str, str]:
    """Adds the beta of the tool that fetches pages."""
    if not any(tool.get("type") == WEB_TOOL_TYPES["fetch"] for tool in as_dicts(tools)):
        return headers
    return {"anthropic-beta": ",".join((*headers.values(), "web-fetch-2025-09-10"))}


def _write_content(blocks: Sequence[dict[str, Json]]) -> Json:
    """Writes blocks as content: as a string if the only block is a plain text."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return blocks[0]["text"]
    return [*blocks]


def _write_tool(
    tool: ToolSpec, select_fields: MetadataSelector, dropped: list[str], references: ReferenceLimit
) -> dict[str, Json]:
    if tool.executor == "provider":
        fields = dict(select_fields(tool.metadata))
        return write_web_tool(tool.web) if tool.web is not None and not fields else fields
    if typed := as_dict(unpack_wire_form(tool.metadata).get(TYPED_TOOL)):
        return {**typed, **select_fields(tool.metadata)}
    wire = {**select_fields(tool.metadata), "name": tool.name, "input_schema": {"type": "object", **tool.parameters}}
    if tool.description:
        wire["description"] = tool.description
    if tool.strict and tool.schema_dialect not in (None, NAME):
        path = join_pointer("tools", tool.name)
        fit = fit_schema({"type": "object", "properties": {}, **tool.parameters}, SCHEMA_SUBSET, path, references)
        dropped += describe_losses(path, fit.lost)
        if fit.schema is None:
            dropped.append(f"{path}/strict")
            return wire
        wire["input_schema"] = fit.schema
    if tool.strict is not None:
        wire["strict"] = tool.strict
    return wire


class _Conversation:
    """Collects messages in the form of this wire.

    System messages become ``system``, neighbours of one role become one message. The results of all tool calls of one
    assistant message have to be in one user message, at its start. Blank texts are left out, since the wire rejects
    them.
    """

    def __init__(self, engine: Engine, select_fields: MetadataSelector, model: str, *, citations: bool) -> None:
        self.system: list[dict[str, Json]] = []
        self.dropped: list[str] = []
        self.citable = False  # the conversation has a document
        self.sends_thinking = False
        self._engine = engine
        self._select_fields = select_fields
        self._citations = citations
        self._model = model
        self._messages: list[_WireMessage] = []

    def add(self, message: Message) -> None:
        if message.role == "system" and unpack_wire_form(message.metadata).get("role") != "system":
            self.system += self._write_blocks(message.parts, "system")
            return
        extra = self._select_fields(message.metadata) if message.metadata else _NO_FIELDS
        for role, parts in _split_by_role(message):
            blocks = self._write_blocks(parts, role)
            if not blocks:
                continue
            if not self._messages or self._messages[-1].role != role:
                self._messages.append(_WireMessage(role))
            self._messages[-1].extra |= extra
            self._messages[-1].blocks += blocks

    def write_messages(self) -> list[Json]:
        if self._messages and self._messages[-1].role == "assistant":
            self._messages[-1].strip_trailing_space()
        return [message.write() for message in self._messages]

    def _write_blocks(self, parts: Sequence[Part], role: str) -> list[dict[str, Json]]:
        blocks = []
        for part in parts:
            if (block := self._write_block(part, role)) is not None:
                blocks.append(block)
        return blocks

    def _write_block(self, part: Part, role: str) -> dict[str, Json] | None:
        match part:
            case Text():
                return self._write_text(part)
            case Reasoning(is_outdated=True) if binds_thinking(self._model):
                return None  # the client has not sent it, and it fits no more
            case Reasoning(text, metadata):
                thinking = _write_thinking(text, self._select_fields(metadata))
                self.sends_thinking = self.sends_thinking or thinking is not None
                if thinking is None and text:
                    self.dropped.append(REASONING)
                return thinking
            case ToolCall():
                return self._write_call(part)
            case ToolResult():
                return self._write_result(part)
            case Media() if role == "assistant":
                self.dropped.append(part.kind)
                return None
            case Media():
                return self._write_media(part)
            case UnknownPart(metadata):
                if wire := self._select_fields(metadata):
                    return dict(wire)
                raise unknown_block(part, self._engine)

    def _write_text(self, part: Text) -> dict[str, Json] | None:
        if not part.text.strip():
            return None
        fields = _NO_FIELDS
        if part.metadata:
            fields, wire_form = self._select_fields(part.metadata), unpack_wire_form(part.metadata)
            if wire_form.get("type") == "document":
                source = wire_form.get("source")
                source = {**(source if isinstance(source, dict) else {}), "data": part.text}
                return self._enable_citations({**fields, "type": "document", "source": source})
        wire: dict[str, Json] = {"type": "text", **fields, "text": part.text}
        if part.citations and (citations := write_citations(part.citations, self._select_fields)):
            wire["citations"] = citations
        return wire

    def _write_call(self, call: ToolCall) -> dict[str, Json] | None:
        fields = self._select_fields(call.metadata)
        return {
            "type": "tool_use",
            **unpack_wire_form(call.metadata),
            **fields,
            "id": encode_id(call.id),
            "name": call.name,
            "input": write_input(call.arguments),
        }

    def _write_result(self, result: ToolResult) -> dict[str, Json]:
        wire: dict[str, Json] = {
            **self._select_fields(result.metadata),
            "type": "tool_result",
            "tool_use_id": encode_id(result.call_id),
        }
        if blocks := self._write_blocks(result.content, "tool"):
            wire["content"] = _write_content(blocks)
        if result.is_error:
            wire["is_error"] = True
        return wire

    def _write_media(self, part: Media) -> dict[str, Json]:
        kind = part.kind
        if kind not in ("image", "document"):
            raise self._unsupported(f"{self._engine.label} does not accept {kind} parts.")
        fields = dict(self._select_fields(part.metadata))
        source_fields = fields.get("source")
        wire: dict[str, Json] = {**fields, "type": kind}
        wire["source"] = {**(source_fields if isinstance(source_fields, dict) else {}), **self._write_source(part)}
        if kind == "document" and part.name:
            wire["title"] = part.name
        return self._enable_citations(wire) if kind == "document" else wire

    def _write_source(self, part: Media) -> dict[str, Json]:
        mime = "image/jpeg" if part.mime == "image/jpg" else part.mime
        if part.url is not None:
            return {"type": "url", "url": part.url}
        if part.file_id is not None:
            if not any(o.dialect == NAME and o.issuer in (None, self._engine.issuer) for o in part.metadata):
                raise self._unsupported(
                    f"The file {part.file_id!r} is not known to {self._engine.label}: upload it there first."
                )
            return {"type": "file", "file_id": part.file_id}
        if mime in (*IMAGE_TYPES, "application/pdf"):
            return {"type": "base64", "media_type": mime, "data": part.base64}
        if _TEXT_TYPES.fullmatch(mime):
            return {"type": "text", "media_type": "text/plain", "data": self._decode_text(part)}
        raise self._unsupported(f"{self._engine.label} does not accept {mime} parts.")

    def _decode_text(self, part: Media) -> str:
        try:
            return base64.b64decode(part.base64 or "", validate=True).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            raise self._unsupported(f"The {part.mime} document is not valid base64.") from None

    def _enable_citations(self, document: dict[str, Json]) -> dict[str, Json]:
        """Enables citations on a document: the wire requires them for all documents of a request or for none."""
        self.citable = True
        if self._citations and "citations" not in document:
            document["citations"] = {"enabled": True}
        return document

    def _unsupported(self, message: str) -> Unsupported:
        return Unsupported(message, param="messages", engine=self._engine.name)


class _WireMessage:
    """One message of the request body."""

    __slots__ = ("blocks", "extra", "role")

    def __init__(self, role: str) -> None:
        self.role = role
        self.extra: dict[str, Json] = {}
        self.blocks: list[dict[str, Json]] = []

    def strip_trailing_space(self) -> None:
        """Strips white space from the end of the text; the wire rejects it in a message that is continued."""
        last = self.blocks[-1]
        if last.get("type") == "text":
            self.blocks[-1] = {**last, "text": str(last["text"]).rstrip()}

    def write(self) -> dict[str, Json]:
        blocks = self.blocks
        if len(blocks) > 1:
            blocks = sorted(blocks, key=lambda block: block.get("type") != "tool_result")
        return {**self.extra, "role": self.role, "content": _write_content(blocks)}


def _split_by_role(message: Message) -> list[tuple[str, list[Part]]]:
    """Splits a message by role: tool results belong to ``user``, but our tool loop stores them beside the calls."""
    pieces: list[tuple[str, list[Part]]] = []
    for part in message.parts:
        role = "user" if isinstance(part, ToolResult) else message.role
        if not pieces or pieces[-1][0] != role:
            pieces.append((role, []))
        pieces[-1][1].append(part)
    return pieces


def _write_thinking(text: str, fields: Mapping[str, Json]) -> dict[str, Json] | None:
    """Writes reasoning byte for byte as it came (T1); None without this engine's signature, which it requires."""
    if fields.get("type") == "redacted_thinking":
        return dict(fields)
    return {"type": "thinking", "thinking": text, **fields} if fields.get("signature") else None
