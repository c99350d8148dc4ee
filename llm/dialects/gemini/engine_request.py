"""Towards an engine: a request as the body of ``generateContent``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from llm.chat.history import only_text
from llm.chat.messages import Foreign, Media, Message, Reasoning, Text, ToolCall, ToolResult
from llm.chat.provider_metadata import opaque_for
from llm.chat.request import ChatRequest, ToolSpec
from llm.dialects.base import Outgoing
from llm.dialects.gemini.engine_options import SCHEMAS, write_options
from llm.dialects.gemini.profiles import traits_of
from llm.dialects.gemini.shared import NAME, refusal
from llm.dialects.losses import lost_fields, unknown_block
from llm.engines.engine import Engine
from llm.engines.options import over
from llm.errors import Unsupported
from llm.wire.json_codec import Json, in_address, loads
from llm.wire.schema_refs import step
from llm.wire.schema_subset import fitted, told

# What stands for a signature where history comes from elsewhere: https://ai.google.dev/gemini-api/docs/thought-signatures
NO_SIGNATURE: Final = "skip_thought_signature_validator"
_SCHEMAS: Final = replace(SCHEMAS, keywords=None)


def write_request(request: ChatRequest, engine: Engine) -> Outgoing:
    """Raises ``Unsupported`` naming the option or the part."""
    dropped = [*lost_fields(request, NAME)]
    names = {p.id: p.name for m in request.messages for p in m.parts if isinstance(p, ToolCall)}
    traits = traits_of(request.model)
    system: list[Json] = []
    contents: list[dict[str, Json]] = []
    for at, message in enumerate(request.messages):
        if message.role == "system":
            system += [{"text": part.text} for part in message.parts if isinstance(part, Text)]
            continue
        unsigned = traits.signs and at > _last_question(request.messages)
        parts = [*_write_parts(message, engine, names, traits.shows, unsigned, dropped)]
        role = "model" if message.role == "assistant" else "user"
        last = contents[-1] if contents else None
        if last is not None and last["role"] == role and isinstance(last["parts"], list):
            last["parts"] += parts  # neighbours of one role are one turn here
        elif parts:
            contents.append({"role": role, "parts": parts})
    body: dict[str, Json] = {**opaque_for(request.keep, NAME, engine.issuer), "contents": [*contents]}
    if system:
        body["systemInstruction"] = {"parts": system}
    if tools := _write_tools(request, dropped):
        body["tools"] = tools
    body |= write_options(request, engine, dropped)
    body |= {name: over(body.get(name), value) for name, value in request.options.extra.items()}
    verb = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
    path = f"/v1beta/{_address(request.model)}:{verb}"
    return Outgoing(path=path, body=body, dropped=tuple(dict.fromkeys(dropped)))


def _address(model: str) -> str:
    """A tuned model has a folder of its own; nothing else in a name may change the path."""
    folder, slash, name = model.partition("/")
    if slash and folder in ("models", "tunedModels"):
        return f"{folder}/{in_address(name)}"
    return f"models/{in_address(model)}"


def _last_question(messages: Sequence[Message]) -> int:
    """Where the current turn begins: the last message in which the user says something."""
    for at in range(len(messages) - 1, -1, -1):
        if messages[at].role == "user" and any(not isinstance(p, ToolResult) for p in messages[at].parts):
            return at
    return -1


def _write_parts(
    message: Message,
    engine: Engine,
    names: Mapping[str, str],
    inside: Callable[[Media], bool],
    unsigned: bool,
    dropped: list[str],
) -> Iterator[Json]:
    first_call = True
    for part in only_text(message, inside).parts:
        kept = opaque_for(part.keep, NAME, engine.issuer)
        match part:
            case Text(text):
                if text or kept:
                    yield {**kept, "text": text}
            case Reasoning(text):
                if kept:
                    yield {**kept, "text": text, "thought": True}
            case ToolCall(id, name, arguments):
                wire: dict[str, Json] = {
                    **kept,
                    "functionCall": {"id": id, "name": name, "args": _arguments(arguments)},
                }
                if unsigned and first_call and "thoughtSignature" not in kept:
                    wire["thoughtSignature"] = NO_SIGNATURE
                first_call = False
                yield wire
            case ToolResult():
                yield _write_result(part, names, engine)
            case Media():
                yield {**kept, **_write_media(part, engine)}
            case Foreign():
                if kept:
                    yield dict(kept)
                elif message.role == "assistant":
                    dropped.append("foreign block")
                else:
                    raise unknown_block(part, engine)


def _write_result(part: ToolResult, names: Mapping[str, str], engine: Engine) -> Json:
    text = "".join(one.text for one in part.content if isinstance(one, Text))
    for one in part.content:
        if isinstance(one, Foreign):
            raise unknown_block(one, engine, " in a tool result")
    try:
        value: Json = loads(text)
    except ValueError:
        value = text
    if part.is_error or not isinstance(value, dict):
        value = {"error" if part.is_error else "result": value}
    name = part.name or names.get(part.call_id)
    if name is None:
        raise Unsupported(f"The result of {part.call_id!r} belongs to no call.", param="messages", engine=engine.name)
    wire: dict[str, Json] = {"id": part.call_id, "name": name, "response": value}
    if media := [_write_media(one, engine) for one in part.content if isinstance(one, Media)]:
        wire["parts"] = [*media]
    return {"functionResponse": wire}


def _write_media(media: Media, engine: Engine) -> dict[str, Json]:
    if media.base64 is not None:
        return {"inlineData": {"mimeType": media.mime, "data": media.base64}}
    if media.url is not None:
        return {"fileData": {"mimeType": media.mime, "fileUri": media.url}}
    if media.file_id is not None:  # no client of this wire comes here, so it is another's
        raise Unsupported(
            f"The file {media.file_id!r} was not uploaded to this engine.", param="messages", engine=engine.name
        )
    raise refusal(engine, "messages", f"takes no {media.mime} in this form")


def _arguments(text: str) -> Json:
    """An object, whatever the model wrote."""
    try:
        value: Json = loads(text or "{}")
    except ValueError:
        value = text
    return value if isinstance(value, dict) else {"value": value}


def _write_tools(request: ChatRequest, dropped: list[str]) -> list[Json]:
    hosted: list[Json] = [
        dict(o.data) for t in request.tools if t.executor == "provider" for o in t.keep if o.dialect == NAME
    ]
    declared: list[Json] = []
    for tool in request.tools:
        if tool.executor != "provider":
            function: dict[str, Json] = {"name": tool.name, "description": tool.description}
            if tool.parameters:  # plain JSON Schema, references and unions included; ``parameters`` takes a subset
                function["parametersJsonSchema"] = _parameters(tool, dropped)
            declared.append(function)
    return [*hosted, {"functionDeclarations": declared}] if declared else hosted


def _parameters(tool: ToolSpec, dropped: list[str]) -> Json:
    """Keywords that it does not know do no harm; a reference with something beside it, or without end, does (T6)."""
    if tool.wire is None:
        return dict(tool.parameters)
    place = step("tools", tool.name)
    whole = fitted(tool.parameters, _SCHEMAS, place)
    dropped += told(place, whole.lost)
    return whole.schema if whole.schema is not None else dict(tool.parameters)
