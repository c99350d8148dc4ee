"""Towards an engine: a request as the body of ``generateContent``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import quote

from llm.chat import (
    ChatRequest,
    Foreign,
    Media,
    Message,
    Options,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
)
from llm.codec import loads
from llm.dialects import Outgoing, lost_fields
from llm.dialects.gemini.names import NAME
from llm.engines import Engine
from llm.errors import (
    Unsupported,
)
from llm.opaque import Json, opaque_for

# What stands for a signature where history comes from elsewhere: https://ai.google.dev/gemini-api/docs/thought-signatures
NO_SIGNATURE: Final = "skip_thought_signature_validator"

_LEVELS: Final = {
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "HIGH",
    "max": "HIGH",
}
_BUDGETS: Final = {"none": 0, "minimal": 512, "low": 2048, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
_BY_BUDGET: Final = re.compile(r"gemini-2\.5|thinking")  # which models take a number of tokens
_BY_LEVEL: Final = re.compile(r"gemini-([3-9]|[1-9][0-9])|gemini-[a-z-]*latest")  # and which a level


def write_request(request: ChatRequest, engine: Engine) -> Outgoing:
    """Raises ``Unsupported`` naming the option or the part."""
    dropped = [*lost_fields(request, NAME)]
    names = {p.id: p.name for m in request.messages for p in m.parts if isinstance(p, ToolCall)}
    system: list[Json] = []
    contents: list[dict[str, Json]] = []
    for at, message in enumerate(request.messages):
        if message.role == "system":
            system += [{"text": part.text} for part in message.parts if isinstance(part, Text)]
            continue
        unsigned = bool(_BY_LEVEL.match(_bare(request.model))) and at > _last_question(request.messages)
        parts = [*_write_parts(message, engine, names, unsigned, dropped)]
        role = "model" if message.role == "assistant" else "user"
        last = contents[-1] if contents else None
        if last is not None and last["role"] == role and isinstance(last["parts"], list):
            last["parts"] += parts  # neighbours of one role are one turn here
        elif parts:
            contents.append({"role": role, "parts": parts})
    body: dict[str, Json] = {**opaque_for(request.keep, NAME, engine.issuer), "contents": [*contents]}
    if system:
        body["systemInstruction"] = {"parts": system}
    body |= _write_tools(request)
    if config := _write_config(request, engine):
        body["generationConfig"] = config
    if request.options.service_tier is not None:
        body["serviceTier"] = request.options.service_tier
    verb = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
    path = f"/v1beta/{_address(request.model)}:{verb}"
    return Outgoing(path=path, body={**body, **request.options.extra}, dropped=tuple(dict.fromkeys(dropped)))


def _bare(model: str) -> str:
    return model.removeprefix("models/")


def _address(model: str) -> str:
    """A tuned model has a folder of its own; nothing else in a name may change the path."""
    folder, slash, name = model.partition("/")
    if slash and folder in ("models", "tunedModels"):
        return f"{folder}/{quote(name, safe='')}"
    return f"models/{quote(model, safe='')}"


def _last_question(messages: Sequence[Message]) -> int:
    """Where the current turn begins: the last message in which the user says something."""
    for at in range(len(messages) - 1, -1, -1):
        if messages[at].role == "user" and any(not isinstance(p, ToolResult) for p in messages[at].parts):
            return at
    return -1


def _write_parts(
    message: Message, engine: Engine, names: Mapping[str, str], unsigned: bool, dropped: list[str]
) -> Iterator[Json]:
    first_call = True
    for part in message.parts:
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
                    raise _refusal(engine, "messages", "has no such block")


def _write_result(part: ToolResult, names: Mapping[str, str], engine: Engine) -> Json:
    text = "".join(one.text for one in part.content if isinstance(one, Text))
    if any(not isinstance(one, Text) for one in part.content):
        raise _refusal(engine, "messages", "takes only text as the result of a tool")
    try:
        value: Json = loads(text)
    except ValueError:
        value = text
    if not isinstance(value, dict):
        value = {"error" if part.is_error else "result": value}
    name = part.name or names.get(part.call_id)
    if name is None:
        raise Unsupported(f"The result of {part.call_id!r} belongs to no call.", param="messages", engine=engine.name)
    return {"functionResponse": {"id": part.call_id, "name": name, "response": value}}


def _write_media(media: Media, engine: Engine) -> dict[str, Json]:
    if media.base64 is not None:
        return {"inlineData": {"mimeType": media.mime, "data": media.base64}}
    if media.url is not None or media.file_id is not None:
        return {"fileData": {"mimeType": media.mime, "fileUri": media.url or media.file_id}}
    raise _refusal(engine, "messages", f"takes no {media.mime} in this form")


def _arguments(text: str) -> Json:
    """An object, whatever the model wrote."""
    try:
        value: Json = loads(text or "{}")
    except ValueError:
        value = text
    return value if isinstance(value, dict) else {"value": value}


def _write_tools(request: ChatRequest) -> dict[str, Json]:
    hosted = [dict(o.data) for t in request.tools if t.executor == "provider" for o in t.keep if o.dialect == NAME]
    declared: list[Json] = []
    for tool in request.tools:
        if tool.executor != "provider":
            function: dict[str, Json] = {"name": tool.name, "description": tool.description}
            if tool.parameters:  # plain JSON Schema, references and unions included; ``parameters`` takes a subset
                function["parametersJsonSchema"] = dict(tool.parameters)
            declared.append(function)
    tools: list[Json] = [*hosted]
    if declared:
        tools.append({"functionDeclarations": declared})
    wire: dict[str, Json] = {"tools": tools} if tools else {}
    choice = request.options.tool_choice
    if choice is not None and declared:
        calling: dict[str, Json] = {"mode": {"auto": "AUTO", "none": "NONE"}.get(choice, "ANY")}
        if choice.startswith("tool:"):
            calling["allowedFunctionNames"] = [choice[5:]]
        wire["toolConfig"] = {"functionCallingConfig": calling}
    return wire


def _write_config(request: ChatRequest, engine: Engine) -> dict[str, Json]:
    options = request.options
    for name in ("verbosity", "context_tokens", "citations"):
        if getattr(options, name):
            raise _refusal(engine, name, f"has no option {name}")
    if options.parallel_tools is False:
        raise _refusal(engine, "parallel_tools", "cannot be kept from calling tools in parallel")
    config: dict[str, Json] = {
        "maxOutputTokens": options.max_tokens,
        "temperature": options.temperature,
        "topP": options.top_p,
        "topK": options.top_k,
        "stopSequences": [*options.stop] or None,
        "seed": options.seed,
        "presencePenalty": options.presence_penalty,
        "frequencyPenalty": options.frequency_penalty,
        "responseLogprobs": options.logprobs if options.top_logprobs is None else True,
        "logprobs": options.top_logprobs,
        "thinkingConfig": _thinking(options, _bare(request.model)),
    }
    if options.format is not None:
        config["responseMimeType"] = "application/json"
        config["responseJsonSchema"] = None if options.format.schema is None else dict(options.format.schema)
    return {name: value for name, value in config.items() if value is not None}


def _thinking(options: Options, model: str) -> Json:
    """Thoughts are shown wherever the model can think; how much is said by budget or by level, never by both."""
    by_level, by_budget = bool(_BY_LEVEL.match(model)), bool(_BY_BUDGET.search(model))
    asked = (options.reasoning, options.effort, options.reasoning_tokens) != (None, None, None)
    if not (by_level or by_budget or asked):
        return None
    wire: dict[str, Json] = {"includeThoughts": options.reasoning is not False and options.effort != "none"}
    if options.reasoning_tokens is not None:
        wire["thinkingBudget"] = options.reasoning_tokens
    elif options.effort is not None and by_level:
        wire["thinkingLevel"] = _LEVELS.get(options.effort, "MINIMAL")
    elif options.effort is not None:
        wire["thinkingBudget"] = _BUDGETS[options.effort]
    elif options.reasoning is False:
        wire |= {"thinkingLevel": "MINIMAL"} if by_level else {"thinkingBudget": 0}
    return wire


def _refusal(engine: Engine, name: str, why: str) -> Unsupported:
    return Unsupported(f"{engine.label} {why}.", param=name, engine=engine.name)
