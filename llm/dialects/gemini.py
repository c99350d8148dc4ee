"""Gemini's generateContent, engine side.

Wire: https://ai.google.dev/api/generate-content

The address says whether an answer streams. There is no terminal event: an answer has ended when its bytes have, if a
``finishReason`` was seen. Calls come whole, several in a chunk, mostly without ids; results are paired by name. A part
may carry a ``thoughtSignature``, which has to come back on that very part: such parts are never merged. Thoughts
are not counted in ``candidatesTokenCount``. A bad key is a 400. Offsets of grounding count UTF-8 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from secrets import token_hex
from typing import Any, Final
from urllib.parse import quote

from llm.chat import (
    ChatRequest,
    Citation,
    Foreign,
    Media,
    Message,
    ModelInfo,
    Options,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    Usage,
)
from llm.codec import dumps, loads
from llm.dialects import ModelLister, Outgoing, lost_fields
from llm.engines import Engine
from llm.errors import (
    ContentBlocked,
    ContextTooLong,
    EngineRefusedKey,
    LLMError,
    Malformed,
    ProviderSaid,
    Truncated,
    Unsupported,
    by_status,
)
from llm.events import Event, Finished, FinishReason, Reply, Started, UsageReported, collect, settled
from llm.flow import Flow
from llm.framing import Frame, Framing, Sse
from llm.lenient import count_of, dict_of, dicts_of, text_of
from llm.models import guessed_abilities, kind_of
from llm.opaque import Json, Keep, Opaque, opaque_for, rest_of

NAME: Final = "gemini"

# What stands for a signature where history comes from elsewhere: https://ai.google.dev/gemini-api/docs/thought-signatures
NO_SIGNATURE: Final = "skip_thought_signature_validator"

_FINISH: Final[Mapping[str, FinishReason]] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "filtered",
    "RECITATION": "filtered",
    "LANGUAGE": "filtered",
    "BLOCKLIST": "filtered",
    "PROHIBITED_CONTENT": "filtered",
    "SPII": "filtered",
    "IMAGE_SAFETY": "filtered",
    "IMAGE_PROHIBITED_CONTENT": "filtered",
    "IMAGE_RECITATION": "filtered",
    "MALFORMED_FUNCTION_CALL": "error",
    "MALFORMED_RESPONSE": "error",
    "UNEXPECTED_TOOL_CALL": "error",
    "TOO_MANY_TOOL_CALLS": "error",
    "MISSING_THOUGHT_SIGNATURE": "error",
}
_FINISH_NUMBERS: Final = ("", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER")
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


def framing() -> Framing:
    return Sse()


def reader(engine: Engine) -> ContentReader:
    return ContentReader(engine)


class ContentReader:
    """The chunks of one answer."""

    def __init__(self, engine: Engine) -> None:
        self.done = False
        self._engine = engine
        self._flow = Flow()
        self._started = False
        self._finish: str | None = None
        self._usage: Usage | None = None
        self._text = ""  # the whole answer's, which grounding counts in
        self._before = 0  # characters of it before the open part
        self._signature: Keep = ()  # of the open part, which grounding may still cite for
        self._cited: set[tuple[object, ...]] = set()

    def feed(self, frame: Frame) -> list[Event]:
        if self.done or frame.data.strip() == "[DONE]":
            return []
        try:
            wire = loads(frame.data)
        except ValueError:
            raise Malformed("The engine sent a chunk that is not JSON.", engine=self._engine.name) from None
        if isinstance(wire, list):
            wire = next((one for one in wire if isinstance(one, dict)), None)
        if isinstance(wire, dict):
            self._chunk(wire)
        return self._flow.take()

    def close(self) -> list[Event]:
        if self._finish is None:
            raise Truncated(f"{self._engine.label} ended its answer before it was complete.", engine=self._engine.name)
        self._flow.end_all()
        if self._usage is not None:
            self._flow.out.append(UsageReported(self._usage))
        reason = _FINISH.get(self._finish, "other")
        self._flow.out.append(Finished(settled(reason, self._flow.called), self._finish))
        self.done = True
        return self._flow.take()

    def _chunk(self, wire: Mapping[str, Any]) -> None:
        if wire.get("error"):
            raise _error_of(0, wire, self._engine)
        if not self._started:
            self._started = True
            self._flow.out.append(Started(text_of(wire.get("responseId")), text_of(wire.get("modelVersion"))))
        blocked = dict_of(wire.get("promptFeedback")).get("blockReason")
        if isinstance(blocked, str) and not wire.get("candidates"):
            said = ProviderSaid(
                0, blocked, None, text_of(dict_of(wire.get("promptFeedback")).get("blockReasonMessage")) or None
            )
            raise ContentBlocked(f"{self._engine.label} blocked the prompt ({blocked}).", provider=said)
        candidates = wire.get("candidates")
        for candidate in candidates[:1] if isinstance(candidates, list) else ():
            if isinstance(candidate, dict):
                self._candidate(candidate)
        if isinstance(usage := wire.get("usageMetadata"), dict):
            self._usage = _read_usage(usage)

    def _candidate(self, wire: Mapping[str, Any]) -> None:
        parts = dict_of(wire.get("content")).get("parts")
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict):
                self._part(part)
        self._ground(dict_of(wire.get("groundingMetadata")))
        for source in dicts_of(dict_of(wire.get("citationMetadata")).get("citationSources")):
            self._cite(Citation(url=text_of(source.get("uri")) or None, title=text_of(source.get("title")) or None))
        self._sign()
        self._finish = _finish_word(wire.get("finishReason")) or self._finish

    def _sign(self) -> None:
        """A part with a signature ends with it: it is never merged with the next."""
        if self._signature:
            self._flow.end_open(self._signature)
            self._signature = ()

    def _part(self, wire: Mapping[str, Any]) -> None:
        self._sign()
        issuer = self._engine.issuer
        if isinstance(wire.get("functionCall"), dict):
            self._call(wire, wire["functionCall"])
        elif isinstance(wire.get("text"), str):
            keep = rest_of(wire, ("text", "thought"), NAME, issuer)
            if wire.get("thought"):
                self._flow.reasoning(wire["text"], withheld=bool(keep))
            elif wire["text"] or not keep:
                if not self._flow.speaking:
                    self._before = len(self._text)
                self._flow.text(wire["text"])
                self._text += wire["text"]
            elif not self._flow.speaking:
                self._flow.whole(Text("", keep=keep))
                return
            self._signature = keep
        elif isinstance(data := wire.get("inlineData"), dict) and isinstance(data.get("data"), str):
            keep = rest_of(wire, ("inlineData",), NAME, issuer)
            self._flow.whole(Media(mime=text_of(data.get("mimeType")), base64=data["data"], keep=keep))
        elif wire:
            self._flow.whole(Foreign((Opaque(NAME, issuer, dict(wire)),)))

    def _call(self, wire: Mapping[str, Any], call: Mapping[str, Any]) -> None:
        index = self._flow.call(text_of(call.get("id")) or f"call_{token_hex(12)}", text_of(call.get("name")))
        if args := call.get("args"):
            self._flow.arguments(index, dumps(args))
        self._flow.end_call(index, rest_of(wire, ("functionCall",), NAME, self._engine.issuer))

    def _ground(self, wire: Mapping[str, Any]) -> None:
        chunks = dicts_of(wire.get("groundingChunks"))
        for support in dicts_of(wire.get("groundingSupports")):
            segment = dict_of(support.get("segment"))
            start, end = self._offset(segment.get("startIndex") or 0), self._offset(segment.get("endIndex"))
            if start is None or end is None:
                start = end = None
            numbers = support.get("groundingChunkIndices")
            for number in numbers if isinstance(numbers, list) else ():
                if isinstance(number, int) and 0 <= number < len(chunks):
                    web = dict_of(chunks[number].get("web")) or dict_of(chunks[number].get("retrievedContext"))
                    url, title = text_of(web.get("uri")) or None, text_of(web.get("title")) or None
                    self._cite(
                        Citation(url=url, title=title, quote=text_of(segment.get("text")) or None, start=start, end=end)
                    )

    def _offset(self, at: object) -> int | None:
        """Characters into the open part; grounding counts bytes of UTF-8 into the whole answer (T5)."""
        if not isinstance(at, int) or at < 0 or not self._flow.speaking:
            return None
        inside = len(self._text.encode()[:at].decode(errors="ignore")) - self._before
        return inside if inside >= 0 else None

    def _cite(self, citation: Citation) -> None:
        """The same grounding may be told in every chunk."""
        mark = (citation.url, citation.title, citation.start, citation.end)
        if mark not in self._cited:
            self._cited.add(mark)
            self._flow.cite(citation)


def _finish_word(value: object) -> str:
    """Hosts that keep the wire's enumeration send its numbers."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _FINISH_NUMBERS[value] if 0 <= value < len(_FINISH_NUMBERS) else str(value)
    return text_of(value)


def _read_usage(wire: Mapping[str, Any]) -> Usage:
    prompt = count_of(wire.get("promptTokenCount"))
    hosted = count_of(wire.get("toolUsePromptTokenCount")) or 0  # what hosted tools brought in is input as well
    cached = min(count_of(wire.get("cachedContentTokenCount")) or 0, prompt or 0)
    thoughts = count_of(wire.get("thoughtsTokenCount")) or 0
    output = count_of(wire.get("candidatesTokenCount"))
    return Usage(
        fresh=None if prompt is None else prompt - cached + hosted,
        cache_read=cached,
        text=output or 0,
        reasoning=thoughts,
        other={"tool_input": hosted} if hosted else {},
    )


def read_reply(body: Any, engine: Engine) -> Reply:
    """One object, or the chunks of a stream as a list (``alt=sse`` was lost on the way)."""
    reading = ContentReader(engine)
    for wire in body if isinstance(body, list) else [body]:
        if not isinstance(wire, dict):
            raise Malformed(f"{engine.label} answered with something other than content.", engine=engine.name)
        reading._chunk(wire)
    return collect(reading.close())


def read_error(status: int, body: bytes, engine: Engine) -> LLMError:
    """Also as the only event of a stream, and as a list of one."""
    text = body.removeprefix(b"data:").strip()
    try:
        wire = loads(text)
    except ValueError:
        wire = None
    if isinstance(wire, list):
        wire = wire[0] if wire else None
    return _error_of(status, wire if isinstance(wire, dict) else {}, engine)


def _error_of(status: int, wire: Mapping[str, Any], engine: Engine) -> LLMError:
    error = wire.get("error")
    inner = dict_of(error)
    message = error if isinstance(error, str) else text_of(inner.get("message"))
    told = inner.get("code")
    inside = status or (told if isinstance(told, int) and 400 <= told < 600 else 500)
    details = dicts_of(inner.get("details"))
    reasons = {text_of(detail.get("reason")) for detail in details}
    kind = by_status(inside)
    if "API_KEY_INVALID" in reasons or "API key not valid" in message:
        kind = EngineRefusedKey
    elif inside == 400 and "exceeds the maximum number of tokens" in message:  # the wire has no word for it
        kind = ContextTooLong
    delays = [re.fullmatch(r"([0-9.]+)s", text_of(detail.get("retryDelay"))) for detail in details]
    return kind(
        message or f"{engine.label} answered with status {inside}.",
        engine=engine.name,
        provider=ProviderSaid(status, text_of(inner.get("status")) or None, None, message or None),
        retry_after=next((float(delay[1]) for delay in delays if delay), None),
    )


def list_models(engine: Engine) -> ModelLister:
    entries: list[Any] = []
    path = "/v1beta/models?pageSize=1000"
    while True:
        [body] = yield [Outgoing(path=path, method="GET")]
        if not isinstance(body, dict) or not isinstance(body.get("models"), list):
            raise Malformed(f"{engine.label} answered with something other than a list of models.", engine=engine.name)
        entries += body["models"]
        token = text_of(body.get("nextPageToken"))
        if not token:
            break
        path = f"/v1beta/models?pageSize=1000&pageToken={quote(token, safe='')}"
    models = [model for entry in entries if isinstance(entry, dict) and (model := _read_model(entry, engine))]
    return sorted(sorted(models, key=lambda m: m.name, reverse=True), key=lambda m: "gemini" not in m.id)


def _read_model(wire: Mapping[str, Any], engine: Engine) -> ModelInfo | None:
    id = text_of(wire.get("name")).removeprefix("models/")
    methods = wire.get("supportedGenerationMethods")
    can_do = set(methods) if isinstance(methods, list) and all(isinstance(m, str) for m in methods) else set[str]()
    description = text_of(wire.get("description")).lower()
    kind = kind_of(id, engine.models)
    if not id or kind is None or "deprecated" in description or "discontinued" in description:
        return None
    if kind == "chat":
        if "embedContent" in can_do:
            kind = "embedding"
        elif "predictLongRunning" in can_do:
            kind = "video"
        elif "predict" in can_do:
            kind = "image"
        elif "bidiGenerateContent" in can_do and "generateContent" not in can_do:
            kind = "realtime"
        elif can_do and "generateContent" not in can_do:
            kind = "other"
    told = {"reasoning"} if isinstance(wire.get("thinking"), bool) else set[str]()
    can = frozenset({"reasoning"}) if wire.get("thinking") is True else frozenset[str]()
    guessed = guessed_abilities(id, engine.models, told) if kind == "chat" else frozenset[str]()
    return ModelInfo(
        id=id,
        engine=engine.name,
        name=text_of(wire.get("displayName")) or id,
        kind=kind,
        context_tokens=count_of(wire.get("inputTokenLimit")),
        max_output_tokens=count_of(wire.get("outputTokenLimit")),
        can=can | guessed,
        guessed=guessed,
        meta=dict(wire),
    )
