"""Writes a ChatRequest as the body of ``POST /api/chat``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from llm.chat.history import move_media_out_of_results
from llm.chat.messages import Media, Message, Reasoning, Text, ToolCall, ToolResult, UnknownPart, join_texts
from llm.chat.provider_metadata import metadata_for_engine
from llm.chat.request import ChatRequest, ToolSpec
from llm.dialects.base import EngineRequest
from llm.dialects.losses import (
    REASONING,
    adapt_history,
    fit_web_tools,
    limit_tools,
    lost_fields,
    lost_grammars,
    name_block,
    unforce_tools,
    unknown_block,
)
from llm.dialects.ollama.engine_options import build_refusal, write_options
from llm.dialects.ollama.forced_calls import ForcedCall, ask_for_call, find_forced_tools, make_call_schema
from llm.dialects.ollama.shared import NAME
from llm.engines.engine import Engine
from llm.engines.options import merge_field
from llm.wire.json_codec import Json, loads
from llm.wire.json_lenient import as_dicts, drop_null
from llm.wire.schema_refs import join_pointer
from llm.wire.schema_subset import ReferenceLimit, describe_losses, inline_refs

# Path of chat requests, appended to the engine's base URL.
PATH: Final = "/api/chat"
GENERATE_PATH: Final = "/api/generate"
TOOL_NAMES: Final = re.compile(r".+", re.DOTALL)  # names of tools that the wire accepts
_NO_PARAMETERS: Final[Mapping[str, Json]] = {"type": "object", "properties": {}}


def write_request(request: ChatRequest, engine: Engine) -> EngineRequest:
    """Writes a chat request. Raises ``Unsupported`` naming the option or the part."""
    dropped: list[str] = []
    request = fit_web_tools(limit_tools(request, engine), NAME, engine, dropped)
    dropped += (*lost_fields(request, NAME), *lost_grammars(request.tools))
    forced, schemas = find_forced_tools(request, engine), list[Json]()
    if forced:
        references = ReferenceLimit()
        schemas = [_write_parameters(tool, dropped, references) for tool in forced]
        request = ask_for_call(request, forced, schemas)
    else:
        request = unforce_tools(request, engine, dropped)
    request = adapt_history(request, NAME, engine, dropped)
    names = {p.id: p.name for m in request.messages for p in m.parts if isinstance(p, ToolCall)}
    messages: list[Json] = []
    for message in request.messages:
        messages += _write_message(message, engine, names, dropped)
    client_fields = metadata_for_engine(request.metadata, NAME, engine.issuer)
    options = write_options(request, engine, dropped)
    if "options" in client_fields:
        options["options"] = merge_field(client_fields["options"], options.get("options") or {})
    body: dict[str, Json] = {
        **client_fields,
        "model": request.model,
        "messages": messages,
        "stream": request.stream,
        **options,
    }
    if request.tools and request.options.tool_choice != "none":
        references = ReferenceLimit()
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": _write_parameters(tool, dropped, references),
                },
            }
            for tool in request.tools
        ]
    if request.suffix is not None:
        body = _write_completion(body, request.suffix, engine)
    path = PATH if request.suffix is None else GENERATE_PATH
    outgoing = EngineRequest(path=path, body=body, dropped=tuple(dict.fromkeys(dropped)))
    if not forced:
        return outgoing
    body["format"] = make_call_schema(forced, schemas)
    return replace(outgoing, create_filter=partial(ForcedCall, [tool.name for tool in forced]))


def _write_completion(body: dict[str, Json], suffix: str, engine: Engine) -> dict[str, Json]:
    """Returns the same request as the body of ``/api/generate``, which completes one text."""
    completion = {name: value for name, value in body.items() if name != "messages"}
    for message in as_dicts(body["messages"]):
        role, text = message["role"], message["content"]
        if role not in ("system", "user") or _FIELD_OF_ROLE[role] in completion:
            raise build_refusal(engine, "suffix", "completes one text, and no conversation")
        completion[_FIELD_OF_ROLE[role]] = text
        if "images" in message:
            completion["images"] = message["images"]
    return completion | ({"suffix": suffix} if suffix else {"raw": True})


_FIELD_OF_ROLE: Final[Mapping[str, str]] = {"system": "system", "user": "prompt"}


def _write_parameters(tool: ToolSpec, dropped: list[str], references: ReferenceLimit) -> Json:
    """Inlines references, since the server shows the model only the parts of a schema that it knows."""
    if tool.schema_dialect in (None, NAME):
        return dict(tool.parameters or _NO_PARAMETERS)
    place = join_pointer("tools", tool.name)
    fit = inline_refs(tool.parameters or _NO_PARAMETERS, place, references)
    dropped += describe_losses(place, fit.lost)
    return fit.schema


def _write_message(message: Message, engine: Engine, names: Mapping[str, str], dropped: list[str]) -> list[Json]:
    texts, images, calls, reasoning = [], list[Json](), list[Json](), []
    results: list[Json] = []
    for part in move_media_out_of_results(message).parts:
        match part:
            case Text():
                texts.append(part)
            case Reasoning(text):
                reasoning.append(text)
            case Media() if part.kind == "image" and part.base64 is not None and message.role == "user":
                images.append(part.base64)
            case ToolCall(id, name, arguments):
                calls.append({"id": id, "function": {"name": name, "arguments": _read_arguments(arguments)}})
            case ToolResult(call_id, content, failed):
                if failed:
                    dropped.append("is_error")
                for one in content:
                    if isinstance(one, UnknownPart):
                        raise unknown_block(one, engine, " in a tool result")
                text = "".join(one.text for one in content if isinstance(one, Text))
                name = part.name or names.get(call_id, "")
                results.append({"role": "tool", "tool_name": name, "tool_call_id": call_id, "content": text})
            case _ if message.role == "assistant":
                dropped.append(name_block(part))
            case UnknownPart():
                raise unknown_block(part, engine)
            case _:
                raise build_refusal(engine, "messages", "accepts only text and base64 images")
    wire: dict[str, Json] = {"role": message.role, "content": _join(texts, message.role)}
    if reasoning and calls:  # models that reason between calls need their reasoning back
        wire["thinking"] = "".join(reasoning)
    elif any(reasoning):
        dropped.append(REASONING)
    if images:
        wire["images"] = images
    if calls:
        wire["tool_calls"] = calls
    has_content = texts or images or calls or not (results or message.parts)
    return [*results, wire] if has_content else results


def _join(texts: Sequence[Text], role: str) -> str:
    """Texts of an assistant continue each other; texts of other roles are separated by a blank line."""
    if role == "assistant":
        return join_texts(texts, "")
    return "".join("\n\n" + t.text if n and not t.text.startswith("\n\n") else t.text for n, t in enumerate(texts))


def _read_arguments(text: str) -> Json:
    """Arguments are an object on this wire; any other JSON or text becomes ``{"value": …}``."""
    try:
        value: Json = loads(drop_null(text) or "{}")
    except ValueError:
        value = text
    return value if isinstance(value, dict) else {"value": value}
