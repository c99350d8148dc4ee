"""Writes a ChatRequest as the body of an engine's ``POST /responses``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, assert_never

from llm.chat.freeform import unwrap_input
from llm.chat.messages import Media, Message, Part, Reasoning, Text, ToolCall, ToolResult, UnknownPart
from llm.chat.provider_metadata import Metadata, metadata_for_engine, shorten_id
from llm.chat.request import ChatRequest, ToolSpec
from llm.dialects.base import EngineRequest
from llm.dialects.losses import (
    REASONING,
    adapt_history,
    fit_tools,
    fit_web_tools,
    lost_fields,
    lost_grammars,
    name_block,
    unknown_block,
)
from llm.dialects.openai_fields import move_chat_fields
from llm.dialects.openai_responses.engine_options import write_options, write_web_tool
from llm.dialects.openai_responses.shared import (
    CLIENT_CALLS,
    NAME,
    RESULT_TYPES,
    TEXT_FIELDS,
    TYPED_TOOL,
    read_fields,
    write_custom_tool,
)
from llm.engines.cache_marks import BREAKPOINT, find_mark_field, move_cache_marks
from llm.engines.engine import Engine
from llm.engines.globs import matches
from llm.engines.options import add_extra_fields
from llm.errors import Unsupported
from llm.wire.json_codec import Json
from llm.wire.json_lenient import as_dict, as_list, as_text, drop_null
from llm.wire.schema_refs import join_pointer
from llm.wire.schema_subset import ReferenceLimit, enforce_schema

PATH: Final = "/responses"
TOOL_NAMES: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # names of tools that the wire accepts
_MAX_ID: Final = 64  # characters of ``call_id``

# Fields that make a request stateful.
_STORE_FIELDS: Final = ("store", "previous_response_id", "conversation", "background")
_NO_PARAMETERS: Final[Mapping[str, Json]] = {"type": "object", "properties": {}}
# Dialects whose file ids are valid here: both APIs of the provider share the files.
_FILE_DIALECTS: Final = (NAME, "openai-chat")


def write_request(request: ChatRequest, engine: Engine) -> EngineRequest:
    """Writes the request. Raises ``Unsupported`` naming an option or part that the engine rejects."""
    request = move_chat_fields(request)
    dropped: list[str] = []
    if find_mark_field(engine, request.model) == BREAKPOINT:
        request = move_cache_marks(request, NAME, BREAKPOINT, dropped)
    request = fit_web_tools(request, NAME, engine, dropped)
    dropped += lost_fields(request, NAME)
    request = fit_tools(request, engine, dropped)
    request = adapt_history(request, NAME, engine, dropped)
    client_fields = dict(metadata_for_engine(request.metadata, NAME, engine.issuer))
    if not engine.quirks.accepts_unknown_fields:
        dropped += [name for name in client_fields if name in request.droppable_fields]
        client_fields = {name: value for name, value in client_fields.items() if name not in request.droppable_fields}
    all_fields = {**client_fields, **request.options.extra}
    stateless = all_fields.get("store") is False or not any(all_fields.get(name) for name in _STORE_FIELDS)
    system, messages = _split_instructions(request.messages)
    marks_phases = engine.responses is not None and matches(request.model, engine.responses.phases)
    item_writer = _ItemWriter(engine, stateless, dropped, marks_phases)
    for message in messages:
        item_writer.add(message)
    body: dict[str, Json] = {**client_fields, "model": request.model}
    if system:
        body["instructions"] = "\n\n".join(system)
    body["input"] = [*_drop_unfollowed_reasoning(item_writer.items)]
    if stateless:
        body["store"] = False
    body |= write_options(request, engine, client_fields, stateless, dropped)
    if request.tools:
        references = ReferenceLimit()
        tools = [_write_tool(tool, engine, dropped, references) for tool in request.tools]
        body["tools"] = [tool for n, tool in enumerate(tools) if tool not in tools[:n]]
    if request.stream:
        body["stream"] = True
    extra = dict(request.options.extra)
    if "include" in extra:  # a stateless request needs the reasoning that is included
        extra["include"] = [*dict.fromkeys((*as_list(body.get("include")), *as_list(extra["include"])))]
    body = add_extra_fields(body, extra)
    return EngineRequest(path=PATH, body=body, dropped=tuple(dict.fromkeys(dropped)))


def _split_instructions(messages: Sequence[Message]) -> tuple[list[str], Sequence[Message]]:
    """Splits off the leading system messages: returns their texts and the other messages.

    These system messages stay items: one that a client of this wire sent as an item (its metadata has the role), one
    with other parts than text (refused later) or with a text that has fields (a cache breakpoint), and one without any
    message after it, since the wire requires input.
    """
    texts: list[str] = []
    for number, message in enumerate(messages):
        text_parts = [part.text for part in message.parts if isinstance(part, Text) and not _has_fields(part)]
        sent_as_item = any(opaque.dialect == NAME and "role" in opaque.data for opaque in message.metadata)
        if message.role != "system" or sent_as_item or len(text_parts) != len(message.parts):
            return texts, messages[number:]
        texts += text_parts
    return [], messages


def _has_fields(text: Text) -> bool:
    return any(opaque.dialect == NAME and opaque.data for opaque in text.metadata)


def _drop_unfollowed_reasoning(items: Sequence[dict[str, Json]]) -> list[dict[str, Json]]:
    """Drops reasoning items without a following output item (an answer cut off early); the wire refuses them."""
    sendable: list[dict[str, Json]] = []
    has_output = False
    for item in reversed(items):
        type, role = as_text(item.get("type")), item.get("role", "assistant")
        if type != "reasoning":
            has_output = role == "assistant" and not type.endswith("_output")
        elif not has_output:
            continue
        sendable.append(item)
    return sendable[::-1]


def _write_tool(tool: ToolSpec, engine: Engine, dropped: list[str], references: ReferenceLimit) -> Json:
    wire = dict(metadata_for_engine(tool.metadata, NAME, engine.issuer))
    if tool.executor == "provider":
        return write_web_tool(tool.web, engine) if tool.web is not None and not wire else wire
    if typed := as_dict(read_fields(tool.metadata, engine.issuer).get(TYPED_TOOL)):
        return dict(typed)
    if tool.freeform is not None:
        if engine.quirks.custom_tools or tool.freeform.dialect == NAME:
            return {**wire, **write_custom_tool(tool, tool.freeform)}
        dropped += lost_grammars((tool,))
    wire |= {"type": "function", "name": tool.name}
    if tool.description:
        wire["description"] = tool.description
    # The default of strict is true here, which would refuse schemas that are not written for it.
    schema, strict = enforce_schema(
        tool.parameters or _NO_PARAMETERS,
        bool(tool.strict),
        tool.schema_dialect,
        join_pointer("tools", tool.name),
        dropped,
        references,
    )
    return {**wire, "parameters": schema, "strict": strict}


class _ItemWriter:
    """Writes messages as items, in the order of their parts; neighbouring content parts share one message item."""

    def __init__(self, engine: Engine, stateless: bool, dropped: list[str], marks_phases: bool) -> None:
        self._marks_phases = marks_phases
        self.items: list[dict[str, Json]] = []
        self._engine = engine
        self._stateless = stateless
        self._dropped = dropped
        self._call_types: dict[str, str] = {}  # type of each call by its id

    def add(self, message: Message) -> None:
        if message.role == "assistant":
            self._add_output(message)
        else:
            self._add_input(message)

    def _add_input(self, message: Message) -> None:
        """Writes a user or system message; tool results and other items split it into several message items."""
        message_fields = self._fields_for_engine(message.metadata)
        role = message.role if message.role == "user" else message_fields.get("role", self._engine.quirks.system_role)
        content: list[Json] = []

        def flush() -> None:
            if content:
                self.items.append({**message_fields, "type": "message", "role": role, "content": [*content]})
                content.clear()

        for part in message.parts:
            match part:
                case ToolResult():
                    flush()
                    self.items.append(self._write_result(part))
                case UnknownPart(metadata) if (item := self._fields_for_engine(metadata)) and not _is_content(item):
                    flush()
                    self.items.append(dict(item))
                case Text() | Media() | UnknownPart():
                    content.append(self._write_content(part))
                case Reasoning() | ToolCall():
                    raise self._unsupported(
                        f"A message with the role {message.role!r} cannot have a {type(part).__name__} part."
                    )
                case _:
                    assert_never(part)
        flush()

    def _write_content(self, part: Text | Media | UnknownPart) -> dict[str, Json]:
        match part:
            case Text(text, _, metadata):
                fields = {
                    name: value
                    for name, value in self._fields_for_engine(metadata).items()
                    if name not in ("item", "type")
                }
                return {**fields, "type": "input_text", "text": text}
            case Media():
                return self._write_media(part)
            case UnknownPart(metadata):
                if (block := self._fields_for_engine(metadata)) and _is_content(block):
                    return dict(block)
                raise unknown_block(part, self._engine)

    def _write_media(self, media: Media) -> dict[str, Json]:
        kind, fields = media.kind, dict(self._fields_for_engine(media.metadata))
        data = f"data:{media.mime};base64,{media.base64}"
        if media.file_id is not None and not any(
            opaque.dialect in _FILE_DIALECTS and opaque.issuer in (None, self._engine.issuer)
            for opaque in media.metadata
        ):
            raise self._unsupported(
                f"The file {media.file_id!r} is not known to {self._engine.label}: upload it there first."
            )
        if kind == "image":
            wire: dict[str, Json] = {"detail": "auto", **fields, "type": "input_image"}
            wire |= {"image_url": media.url or data} if media.file_id is None else {"file_id": media.file_id}
            return wire
        if kind != "document":
            raise self._unsupported(f"{self._engine.label} does not accept {kind} parts in this API.")
        wire = {**fields, "type": "input_file"}
        if media.file_id is not None:
            return {**wire, "file_id": media.file_id}
        if media.url is not None:
            return {**wire, "file_url": media.url}
        return {**wire, "filename": media.name or "document.pdf", "file_data": data}

    def _write_result(self, result: ToolResult) -> dict[str, Json]:
        if item := as_dict(self._fields_for_engine(result.metadata).get("whole_item")):
            return dict(item)
        if result.is_error:
            self._dropped.append("is_error")  # the wire has no field for it; the text describes the error
        texts = [part.text for part in result.content if isinstance(part, Text) and not _has_fields(part)]
        plain = len(texts) == len(result.content)
        output: Json = "\n\n".join(texts) if plain else [self._write_content(part) for part in result.content]
        type = RESULT_TYPES[self._call_types.get(result.call_id, "function_call")]
        return {
            "type": type,
            **self._fields_for_engine(result.metadata),
            "call_id": shorten_id(result.call_id, _MAX_ID),
            "output": output,
        }

    def _add_output(self, message: Message) -> None:
        message_fields = self._fields_for_engine(message.metadata)
        # If reasoning is left out, the engine refuses the ids of the items that followed it.
        drop_ids = self._stateless and any(
            isinstance(part, Reasoning) and self._is_unsendable(self._fields_for_engine(part.metadata))
            for part in message.parts
        )
        texts: list[Text] = []
        for part in (*self._add_phases(message.parts), None):
            if texts and not (isinstance(part, Text) and self._is_same_item(part, texts[0])):
                self._add_texts(texts, message_fields, drop_ids)
                texts = []
            match part:
                case None:
                    pass
                case Text():
                    texts.append(part)
                case Reasoning(text, metadata):
                    if (item := self._fields_for_engine(metadata)) and not self._is_unsendable(item):
                        self.items.append(dict(item))
                    elif text or item:
                        self._dropped.append(REASONING)
                case ToolCall():
                    self._add_call(part, drop_ids)
                case ToolResult():  # our tool loop stores them beside the calls
                    self.items.append(self._write_result(part))
                case Media():
                    self._add_image(part)
                case UnknownPart(metadata):
                    if (item := self._fields_for_engine(metadata)) and not _is_content(item):
                        self.items.append(dict(item))
                    else:
                        self._dropped.append(name_block(part))
                case _:
                    assert_never(part)

    def _add_phases(self, parts: Sequence[Part]) -> Sequence[Part]:
        """Adds the phase to texts of other wires: a text before a call comments on it, any other is the answer."""
        if not self._marks_phases:
            return parts
        last_call = max((n for n, part in enumerate(parts) if isinstance(part, ToolCall)), default=-1)
        return [
            replace(part, phase="commentary" if n < last_call else "final_answer")
            if isinstance(part, Text) and part.phase is None and "item" not in self._fields_for_engine(part.metadata)
            else part
            for n, part in enumerate(parts)
        ]

    def _is_same_item(self, text: Text, other: Text) -> bool:
        same_phase = text.phase == other.phase or not self._marks_phases
        return same_phase and self._find_item_fields(text) == self._find_item_fields(other)

    def _has_own_form(self, text: Text) -> bool:
        return bool(text.citations) or not self._fields_for_engine(text.metadata).keys() <= {"item"}

    def _find_item_fields(self, text: Text) -> Mapping[str, Any]:
        return as_dict(self._fields_for_engine(text.metadata).get("item"))

    def _add_texts(self, texts: Sequence[Text], message_fields: Mapping[str, Json], drop_ids: bool) -> None:
        """Writes the texts of one item; texts of other wires as one string, which every host accepts."""
        item_fields = dict(self._find_item_fields(texts[0]))
        phase: dict[str, Json] = {"phase": texts[0].phase} if self._marks_phases and texts[0].phase else {}
        if not item_fields and not any(self._has_own_form(text) for text in texts):
            joined = "".join(text.text for text in texts)
            if joined:
                self.items.append(
                    {**message_fields, "type": "message", "role": "assistant", "content": joined, **phase}
                )
            return
        if drop_ids:
            item_fields.pop("id", None)
        content: list[Json] = [self._write_output_text(text) for text in texts]
        item: dict[str, Json] = {**message_fields, **phase, **item_fields, "type": "message", "role": "assistant"}
        self.items.append({**item, "content": content})

    def _write_output_text(self, text: Text) -> dict[str, Json]:
        fields = {name: value for name, value in self._fields_for_engine(text.metadata).items() if name != "item"}
        kind = as_text(fields.get("type")) or "output_text"
        wire: dict[str, Json] = {**fields, "type": kind, TEXT_FIELDS.get(kind, "text"): text.text}
        if kind == "output_text":
            annotations = (self._fields_for_engine(citation.metadata) for citation in text.citations)
            wire["annotations"] = [dict(annotation) for annotation in annotations if annotation]
        return wire

    def _add_call(self, call: ToolCall, drop_ids: bool) -> None:
        fields = dict(self._fields_for_engine(call.metadata))
        if call.executor == "provider":
            self.items.append(fields)
            return
        if item := as_dict(fields.get("whole_item")):
            self.items.append(dict(item))
            return
        is_text = call.freeform == NAME or (call.freeform and self._engine.quirks.custom_tools)
        type = "custom_tool_call" if is_text or fields.get("type") == "custom_tool_call" else "function_call"
        arguments = (drop_null(call.arguments) or "{}") if type == "function_call" else unwrap_input(call.arguments)
        if drop_ids:
            fields.pop("id", None)
        self._call_types[call.id] = type
        self.items.append(
            {
                **fields,
                "type": type,
                "call_id": shorten_id(call.id, _MAX_ID),
                "name": call.name,
                CLIENT_CALLS[type]: arguments,
            }
        )

    def _add_image(self, media: Media) -> None:
        fields = self._fields_for_engine(media.metadata)
        if fields.get("type") == "image_generation_call":
            self.items.append({**fields, "result": media.base64})
        else:
            self._dropped.append(media.kind)

    def _is_unsendable(self, item: Mapping[str, Any]) -> bool:
        """True for reasoning that a stateless request cannot send back: neither stored nor in the item itself."""
        return self._stateless and bool(item) and not (item.get("encrypted_content") or item.get("content"))

    def _fields_for_engine(self, metadata: Metadata) -> Mapping[str, Json]:
        return read_fields(metadata, self._engine.issuer)

    def _unsupported(self, message: str) -> Unsupported:
        return Unsupported(message, param="messages", engine=self._engine.name)


def _is_content(block: Mapping[str, Any]) -> bool:
    """True for a part of a message, False for an item."""
    return as_text(block.get("type")).startswith(("input_", "output_"))
