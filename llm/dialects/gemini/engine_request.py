"""Writes a ChatRequest as the body of ``generateContent``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from llm.chat.history import move_media_out_of_results
from llm.chat.messages import Media, Message, Reasoning, Text, ToolCall, ToolResult, UnknownPart
from llm.chat.provider_metadata import metadata_for_engine
from llm.chat.request import ChatRequest, ToolSpec, WebKind, asks_for_web
from llm.dialects.base import EngineRequest
from llm.dialects.gemini.engine_options import SCHEMA_SUBSET, write_options
from llm.dialects.gemini.profiles import find_profile
from llm.dialects.gemini.shared import CONFIG_PREFIX, NAME, SKIP_SIGNATURE, build_refusal
from llm.dialects.losses import (
    REASONING,
    adapt_history,
    fit_web_tools,
    limit_tools,
    lost_fields,
    lost_grammars,
    unforce_tools,
    unknown_block,
)
from llm.engines.engine import Engine
from llm.engines.options import add_extra_fields
from llm.errors import Unsupported
from llm.wire.json_codec import Json, loads, quote_url_part
from llm.wire.json_lenient import as_dict, drop_null
from llm.wire.schema_refs import join_pointer
from llm.wire.schema_subset import ReferenceLimit, describe_losses, fit_schema

_WEB_TOOLS: Final[Mapping[WebKind, Mapping[str, Json]]] = {"search": {"googleSearch": {}}, "fetch": {"urlContext": {}}}
# Output tokens of an answer that is not streamed: https://ai.google.dev/gemini-api/docs/generate-content/long-decode
_MOST_WHOLE: Final = 32_768
_PARAMETERS_SUBSET: Final = replace(SCHEMA_SUBSET, keywords=None)
TOOL_NAMES: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}")  # names of tools that the wire accepts


def write_request(request: ChatRequest, engine: Engine) -> EngineRequest:
    """Writes a chat request. Raises ``Unsupported`` naming the option or the part."""
    dropped: list[str] = []
    request = fit_web_tools(limit_tools(request, engine), NAME, engine, dropped)
    dropped += (*lost_fields(request, NAME), *lost_grammars(request.tools))
    if not engine.quirks.accepts_forced_tools:
        request = unforce_tools(request, engine, dropped)
    request = adapt_history(request, NAME, engine, dropped)
    names = {p.id: p.name for m in request.messages for p in m.parts if isinstance(p, ToolCall)}
    traits = find_profile(request.model)
    system: list[Json] = []
    contents: list[dict[str, Json]] = []
    for position, message in enumerate(request.messages):
        if message.role == "system":
            system += [{"text": part.text} for part in message.parts if isinstance(part, Text)]
            continue
        needs_signature = traits.needs_signatures and position > _find_last_prompt(request.messages)
        parts = [*_write_parts(message, engine, names, traits.accepts_in_result, needs_signature, dropped)]
        role = "model" if message.role == "assistant" else "user"
        last = contents[-1] if contents else None
        if last is not None and last["role"] == role and isinstance(last["parts"], list):
            last["parts"] += parts  # consecutive messages of one role are one message on this wire
        elif parts:
            contents.append({"role": role, "parts": parts})
    own = metadata_for_engine(request.metadata, NAME, engine.issuer)
    config = {n.removeprefix(CONFIG_PREFIX): value for n, value in own.items() if n.startswith(CONFIG_PREFIX)}
    body: dict[str, Json] = {**{n: v for n, v in own.items() if "." not in n}, "contents": [*contents]}
    if system:
        body["systemInstruction"] = {"parts": system}
    if tools := _write_tools(request, dropped):
        body["tools"] = tools
    body |= write_options(request, engine, dropped)
    if asks_for_web(request) and any(tool.executor != "provider" for tool in request.tools):
        # https://ai.google.dev/gemini-api/docs/tool-combination: required beside functions
        body["toolConfig"] = {**as_dict(body.get("toolConfig")), "includeServerSideToolInvocations": True}
    if config:
        body["generationConfig"] = {**config, **as_dict(body.get("generationConfig"))}
    body = add_extra_fields(body, request.options.extra)
    streamed = request.stream or _is_long(body)
    method = "streamGenerateContent?alt=sse" if streamed else "generateContent"
    path = f"/v1beta/{write_model_path(request.model)}:{method}"
    names_dropped = tuple(dict.fromkeys(dropped))
    return EngineRequest(path=path, body=body, dropped=names_dropped, may_continue=traits.may_continue)


def _is_long(body: Mapping[str, Json]) -> bool:
    """True if the answer may be longer than one that is not streamed: the API refuses such a request."""
    limit = as_dict(body.get("generationConfig")).get("maxOutputTokens")
    return isinstance(limit, int) and limit > _MOST_WHOLE


def write_model_path(model: str) -> str:
    """Returns the path of a model. Tuned models have their own; any other slash in a model id is escaped."""
    folder, slash, name = model.partition("/")
    if slash and folder in ("models", "tunedModels"):
        return f"{folder}/{quote_url_part(name)}"
    return f"models/{quote_url_part(model)}"


def _find_last_prompt(messages: Sequence[Message]) -> int:
    """Index of the last user message that holds more than tool results; -1 if there is none."""
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].role == "user" and any(not isinstance(p, ToolResult) for p in messages[index].parts):
            return index
    return -1


def _write_parts(
    message: Message,
    engine: Engine,
    names: Mapping[str, str],
    accepts_in_result: Callable[[Media], bool],
    needs_signature: bool,
    dropped: list[str],
) -> Iterator[Json]:
    first_call = True
    for part in move_media_out_of_results(message, accepts_in_result).parts:
        fields = metadata_for_engine(part.metadata, NAME, engine.issuer)
        match part:
            case Text(text):
                if text or fields:
                    yield {**fields, "text": text}
            case Reasoning(text):
                if fields:
                    yield {**fields, "text": text, "thought": True}
                elif text:
                    dropped.append(REASONING)
            case ToolCall(executor="provider"):
                pass  # what was searched for itself: there is no part for it
            case ToolCall(id, name, arguments):
                wire: dict[str, Json] = {
                    **fields,
                    "functionCall": {"id": id, "name": name, "args": _read_arguments(arguments)},
                }
                if needs_signature and first_call and "thoughtSignature" not in fields:
                    wire["thoughtSignature"] = SKIP_SIGNATURE
                first_call = False
                yield wire
            case ToolResult():
                yield _write_result(part, names, engine)
            case Media():
                yield {**fields, **_write_media(part, engine)}
            case UnknownPart():
                if fields:
                    yield dict(fields)
                else:
                    raise unknown_block(part, engine)


def _write_result(part: ToolResult, names: Mapping[str, str], engine: Engine) -> Json:
    text = "".join(one.text for one in part.content if isinstance(one, Text))
    for one in part.content:
        if isinstance(one, UnknownPart):
            raise unknown_block(one, engine, " in a tool result")
    try:
        value: Json = loads(text)
    except ValueError:
        value = text
    if part.is_error or not isinstance(value, dict):
        value = {"error" if part.is_error else "result": value}
    name = part.name or names.get(part.call_id)
    if name is None:
        raise Unsupported(f"There is no call for the result {part.call_id!r}.", param="messages", engine=engine.name)
    wire: dict[str, Json] = {"id": part.call_id, "name": name, "response": value}
    if media := [_write_media(one, engine) for one in part.content if isinstance(one, Media)]:
        wire["parts"] = [*media]
    return {"functionResponse": wire}


def _write_media(media: Media, engine: Engine) -> dict[str, Json]:
    if media.base64 is not None:
        return {"inlineData": {"mimeType": media.mime, "data": media.base64}}
    if media.url is not None:
        return {"fileData": {"mimeType": media.mime, "fileUri": media.url}}
    if media.file_id is not None:  # uploaded to another provider: this dialect has no client side
        raise Unsupported(
            f"{engine.label} does not have the file {media.file_id!r}.", param="messages", engine=engine.name
        )
    raise build_refusal(engine, "messages", f"does not accept {media.mime} in this form")


def _read_arguments(text: str) -> Json:
    """Arguments are an object on this wire; any other JSON or text becomes ``{"value": …}``."""
    try:
        value: Json = loads(drop_null(text) or "{}")
    except ValueError:
        value = text
    return value if isinstance(value, dict) else {"value": value}


def _write_tools(request: ChatRequest, dropped: list[str]) -> list[Json]:
    hosted: list[Json] = [
        dict(o.data) for t in request.tools if t.executor == "provider" for o in t.metadata if o.dialect == NAME
    ]
    web = (tool.web for tool in request.tools if not any(opaque.dialect == NAME for opaque in tool.metadata))
    hosted += [dict(_WEB_TOOLS[one.kind]) for one in web if one is not None]
    declared: list[Json] = []
    references = ReferenceLimit()
    for tool in request.tools:
        if tool.executor != "provider":
            function: dict[str, Json] = {"name": tool.name, "description": tool.description}
            if tool.parameters:  # JSON Schema with references and unions; ``parameters`` accepts a subset
                function["parametersJsonSchema"] = _write_parameters(tool, dropped, references)
            declared.append(function)
    return [*hosted, {"functionDeclarations": declared}] if declared else hosted


def _write_parameters(tool: ToolSpec, dropped: list[str], references: ReferenceLimit) -> Json:
    """Unknown keywords are ignored by the engine; recursive references and those with other keywords fail (T6)."""
    if tool.schema_dialect is None:
        return dict(tool.parameters)
    place = join_pointer("tools", tool.name)
    fit = fit_schema(tool.parameters, _PARAMETERS_SUBSET, place, references)
    dropped += describe_losses(place, fit.lost)
    return fit.schema if fit.schema is not None else dict(tool.parameters)
