"""Towards an engine: requests as bodies of ``/api/chat``, its lines as events."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from secrets import token_hex
from typing import Any, Final

from llm.behind import only_text
from llm.chat import (
    ChatRequest,
    Foreign,
    Media,
    Message,
    ModelInfo,
    Options,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    ToolSpec,
    Usage,
)
from llm.codec import dumps, loads
from llm.dialects import ModelLister, Outgoing, lost_fields, unknown_block
from llm.dialects.ollama.common import NAME
from llm.engines import Engine
from llm.errors import ContextTooLong, LLMError, Malformed, ProviderSaid, Truncated, Unsupported, by_status
from llm.events import Event, Finished, FinishReason, Piece, Reply, Started, UsageReported, collect, settled
from llm.families import ANY
from llm.flow import Flow
from llm.framing import MAX_FRAME, Frame, Framing, JsonLines
from llm.lenient import count_of, text_of
from llm.models import guessed_abilities
from llm.opaque import Json, opaque_for, rest_of
from llm.options import asked, over, taken, unmet_caching
from llm.schemarefs import step
from llm.toolschema import inlined, told

PATH: Final = "/api/chat"
_GENERATE: Final = "/api/generate"

_FINISH: Final[Mapping[str, FinishReason]] = {"stop": "stop", "length": "length"}
# https://docs.ollama.com/capabilities/thinking: most models take true or false, newer servers a level too. One family
# thinks whatever it is told, and takes no "max".
_LEVELS: Final[Mapping[str, str]] = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "max": "max"}
_ALWAYS_THINKS: Final = "*gpt-oss*"
# The options that this wire has fields for.
_KNOWN: Final = frozenset({
    "max_tokens", "temperature", "top_p", "top_k", "stop", "seed", "presence_penalty", "frequency_penalty",
    "reasoning", "effort", "reasoning_tokens", "format", "tool_choice", "parallel_tools", "logprobs", "top_logprobs",
    "caching", "context_tokens", "extra",
})  # fmt: skip
_BESIDE: Final = ("keep_alive", "truncate", "shift")  # of ``extra``: they have no place among the wire's own options
_TOO_LONG: Final = ("context length", "exceeds the available context", "context window")  # it has no codes
_NO_PARAMETERS: Final[Mapping[str, Json]] = {"type": "object", "properties": {}}
_MESSAGE: Final = ("role", "content", "thinking", "tool_calls", "images")
_TIME: Final = re.compile(rb'"created_at": ?"[^"\\\n]*"')  # of each line, which nothing here reads


def write_request(request: ChatRequest, engine: Engine) -> Outgoing:
    """Raises ``Unsupported`` naming the option or the part."""
    dropped = [*lost_fields(request, NAME)]
    names = {p.id: p.name for m in request.messages for p in m.parts if isinstance(p, ToolCall)}
    messages: list[Json] = []
    for message in request.messages:
        messages += _write_message(message, engine, names, dropped)
    own = opaque_for(request.keep, NAME, engine.issuer)
    options = _write_options(request, engine, dropped)
    if "options" in own:
        options["options"] = over(own["options"], options.get("options") or {})
    body: dict[str, Json] = {
        **own,
        "model": request.model,
        "messages": messages,
        "stream": request.stream,
        **options,
    }
    if request.tools and request.options.tool_choice != "none":
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": _parameters(tool, dropped),
                },
            }
            for tool in request.tools
        ]
    return Outgoing(path=PATH, body=body, dropped=tuple(dict.fromkeys(dropped)))


def verbatim(body: Mapping[str, Any], model: str, engine: Engine) -> Outgoing:
    """A client's own body; usage is always told here."""
    return Outgoing(path=PATH if "messages" in body else _GENERATE, body={**body, "model": model})


def only_usage(frame: Frame) -> bool:
    return False


def _parameters(tool: ToolSpec, dropped: list[str]) -> Json:
    """Without references: the server puts what it knows of a schema before the model, and knows none."""
    if tool.wire in (None, NAME):
        return dict(tool.parameters or _NO_PARAMETERS)
    place = step("tools", tool.name)
    whole = inlined(tool.parameters or _NO_PARAMETERS, place)
    dropped += told(place, whole.lost)
    return whole.schema


def _write_message(message: Message, engine: Engine, names: Mapping[str, str], dropped: list[str]) -> list[Json]:
    texts, images, calls, thoughts = [], list[Json](), list[Json](), []
    results: list[Json] = []
    for part in only_text(message).parts:
        match part:
            case Text(text):
                texts.append(text)
            case Reasoning(text):
                thoughts.append(text)
            case Media() if part.kind == "image" and part.base64 is not None and message.role == "user":
                images.append(part.base64)
            case ToolCall(id, name, arguments):
                calls.append({"id": id, "function": {"name": name, "arguments": _arguments(arguments)}})
            case ToolResult(call_id, content, failed):
                if failed:
                    dropped.append("is_error")
                for one in content:
                    if isinstance(one, Foreign):
                        raise unknown_block(one, engine, " for the result of a tool")
                text = "".join(one.text for one in content if isinstance(one, Text))
                name = part.name or names.get(call_id, "")
                results.append({"role": "tool", "tool_name": name, "tool_call_id": call_id, "content": text})
            case _ if message.role == "assistant":
                dropped.append("foreign block")
            case Foreign():
                raise unknown_block(part, engine)
            case _:
                raise _refusal(engine, "messages", "takes only text and pictures as base64")
    wire: dict[str, Json] = {"role": message.role, "content": "".join(_apart(texts, message.role))}
    if thoughts and calls:  # a model that thinks between calls wants its thought back
        wire["thinking"] = "".join(thoughts)
    if images:
        wire["images"] = images
    if calls:
        wire["tool_calls"] = calls
    plain = texts or images or calls or not results
    return [*results, wire] if plain else results


def _apart(texts: Iterable[str], role: str) -> Iterator[str]:
    """What a model said goes on where it stopped; blocks of a question or of a system prompt are paragraphs."""
    for number, text in enumerate(texts):
        if number and role != "assistant" and not text.startswith("\n\n"):
            yield "\n\n"
        yield text


def _arguments(text: str) -> Json:
    """An object, whatever the model wrote."""
    try:
        value: Json = loads(text or "{}")
    except ValueError:
        value = text
    return value if isinstance(value, dict) else {"value": value}


def _write_options(request: ChatRequest, engine: Engine, dropped: list[str]) -> dict[str, Json]:
    options = taken(request.options, engine, request.model, ANY, False, _KNOWN)
    dropped += unmet_caching(options, engine, False)
    if options.parallel_tools is False and request.tools:
        dropped.append("parallel_tools")  # told, not refused: agents ask for it with every request
    if options.tool_choice not in (None, "auto", "none"):
        raise _refusal(engine, "tool_choice", "cannot be made to call a tool")
    inner: dict[str, Json] = {
        "num_ctx": options.context_tokens,
        "num_predict": options.max_tokens,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "top_k": options.top_k,
        "seed": options.seed,
        "stop": [*options.stop] or None,
        "presence_penalty": options.presence_penalty,
        "frequency_penalty": options.frequency_penalty,
    }
    inner = {name: value for name, value in inner.items() if value is not None}
    inner |= {name: value for name, value in options.extra.items() if name not in _BESIDE}
    wire: dict[str, Json] = {
        "options": inner or None,
        "think": _think(options, request, engine, dropped),
        "format": _format(options, engine),
        "logprobs": options.logprobs if options.top_logprobs is None else True,
        "top_logprobs": options.top_logprobs,
    }
    beside = {name: options.extra[name] for name in _BESIDE if name in options.extra}
    return {**{name: value for name, value in wire.items() if value is not None}, **beside}


def _think(options: Options, request: ChatRequest, engine: Engine, dropped: list[str]) -> Json:
    model = request.model
    by, wanted, effort = asked(options)
    known = engine.models.reasoning
    if wanted and by in request.wishes and known and "reasoning" not in guessed_abilities(model, engine.models, ()):
        raise _refusal(engine, by, f"cannot take {by} for {model}: it does not think")
    if by in engine.quirks.refuses and wanted is not None:
        raise _refusal(engine, by, f"has no option {by}")
    always = fnmatchcase(model.lower(), _ALWAYS_THINKS)
    if always and wanted is False:
        dropped.append(by)  # taken, without effect: recorded
        return False
    if effort is None or not wanted or (by == "reasoning_tokens" and not always):
        if by == "reasoning_tokens" and wanted and effort is not None:
            dropped.append(by)  # how much cannot be said
        return None if always else wanted
    if effort not in _LEVELS or (always and effort == "max"):
        words = "low, medium, high" if always else "low, medium, high, max"
        raise _refusal(engine, by, f"cannot take effort {effort!r} for {model}: it takes {words}")
    if by == "effort" and options.reasoning_tokens is not None:
        dropped.append("reasoning_tokens")
    return _LEVELS[effort]


def _format(options: Options, engine: Engine) -> Json:
    if options.format is None:
        return None
    if options.format.schema is not None and not engine.quirks.json_schema:
        raise _refusal(engine, "format", "does not keep to a schema")
    if options.format.schema is None:
        return "json"
    # Its grammars follow references inside a schema, but from older servers; one that contains itself needs them.
    whole = inlined(options.format.schema, "format")
    return dict(options.format.schema) if whole.lost else whole.schema


def _refusal(engine: Engine, name: str, why: str) -> Unsupported:
    return Unsupported(f"{engine.label} {why}.", param=name, engine=engine.name)


def framing(most: int = MAX_FRAME) -> Framing:
    return JsonLines(most)


def reader(engine: Engine) -> LineReader:
    return LineReader(engine)


class LineReader:
    """The lines of one answer, which ends with ``done: true``."""

    noise = _TIME
    unlike = None

    def __init__(self, engine: Engine) -> None:
        self.done = False
        self._engine = engine
        self._flow = Flow()
        self._started = False

    def feed(self, frame: Frame) -> list[Event]:
        if self.done:
            return []
        try:
            wire = loads(frame.data)
        except ValueError:
            raise Malformed("The engine sent a line that is not JSON.", engine=self._engine.name) from None
        if isinstance(wire, dict):
            self._line(wire)
        return self._flow.take()

    def skipped(self, piece: Piece) -> None:
        """Nothing here counts what was said."""

    def close(self) -> list[Event]:
        raise Truncated(f"{self._engine.label} ended its answer before it was complete.", engine=self._engine.name)

    def _line(self, wire: Mapping[str, Any]) -> None:
        if wire.get("error"):
            raise _error_of(0, wire, self._engine)
        if not self._started:
            self._started = True
            self._flow.out.append(Started("", text_of(wire.get("model"))))
        message = wire.get("message", wire)  # else an answer to a prompt alone
        if isinstance(message, dict):
            self._flow.reasoning(text_of(message.get("thinking")))
            self._flow.text(text_of(message.get("content", message.get("response"))))
            calls = message.get("tool_calls")
            for call in calls if isinstance(calls, list) else ():
                if isinstance(call, dict):
                    self._call(call)
        if wire.get("done") is True:
            self._finish(wire)

    def _call(self, wire: Mapping[str, Any]) -> None:
        function = wire.get("function")
        function = function if isinstance(function, dict) else {}
        index = self._flow.call(text_of(wire.get("id")) or f"call_{token_hex(12)}", text_of(function.get("name")))
        arguments = function.get("arguments")
        if arguments:
            self._flow.arguments(index, arguments if isinstance(arguments, str) else dumps(arguments))
        self._flow.end_call(index, rest_of(wire, ("id", "function", "type"), NAME, self._engine.issuer))

    def _finish(self, wire: Mapping[str, Any]) -> None:
        self._flow.end_all()
        prompt, output = count_of(wire.get("prompt_eval_count")), count_of(wire.get("eval_count"))
        if prompt is not None or output is not None:
            self._flow.out.append(UsageReported(Usage(fresh=prompt or 0, text=output)))
        raw = text_of(wire.get("done_reason"))
        reason = _FINISH.get(raw, "stop" if not raw else "other")  # servers before 0.3 gave no reason
        self._flow.out.append(Finished(settled(reason, self._flow.called), raw or None))
        self.done = True


def read_reply(body: Any, engine: Engine) -> Reply:
    """One object, or the lines of a stream as a list."""
    reading = LineReader(engine)
    events: list[Event] = []
    for wire in body if isinstance(body, list) else [body]:
        if not isinstance(wire, dict):
            raise Malformed(f"{engine.label} answered with something other than a message.", engine=engine.name)
        reading._line(wire)
        events += reading._flow.take()
    if not reading.done:
        raise Malformed(f"{engine.label} answered with something other than a message.", engine=engine.name)
    return collect(events)


def read_error(status: int, body: bytes, engine: Engine) -> LLMError:
    try:
        wire = loads(body)
    except ValueError:
        wire = None
    return _error_of(status, wire if isinstance(wire, dict) else {}, engine)


def _error_of(status: int, wire: Mapping[str, Any], engine: Engine) -> LLMError:
    error = wire.get("error")
    message = error if isinstance(error, str) else text_of(error.get("message")) if isinstance(error, dict) else ""
    told = wire.get("status") or wire.get("status_code")
    inside = status or (told if isinstance(told, int) and 400 <= told < 600 else 500)
    kind = by_status(inside)
    if any(words in message.lower() for words in _TOO_LONG):
        kind = ContextTooLong
    said = ProviderSaid(status, None, None, message or None)
    text = message or f"{engine.label} answered with status {inside}."
    return kind(text, engine=engine.name, provider=said)


def list_models(engine: Engine) -> ModelLister:
    """The list, then what each model can: all of them at once."""
    [body] = yield [Outgoing(path="/api/tags", method="GET")]
    models = body.get("models") if isinstance(body, dict) else None
    if not isinstance(models, list):
        raise Malformed(f"{engine.label} answered with something other than a list of models.", engine=engine.name)
    entries = [m for m in models if isinstance(m, dict) and text_of(m.get("model") or m.get("name"))]
    asked = [Outgoing(path="/api/show", body={"model": entry.get("model") or entry["name"]}) for entry in entries]
    shown = (yield asked) if asked else []
    found = [_read_model(entry, show, engine) for entry, show in zip(entries, shown, strict=True)]
    return sorted(found, key=lambda model: model.name.lower())


def _read_model(entry: Mapping[str, Any], show: Any, engine: Engine) -> ModelInfo:
    """``show`` is an error where it could not be told: the model stays, with what the list says."""
    show = show if isinstance(show, dict) else {}
    abilities = show.get("capabilities") or entry.get("capabilities")
    words = {word for word in abilities if isinstance(word, str)} if isinstance(abilities, list) else set()
    facts = {"tools": "tools", "vision": "images", "thinking": "reasoning", "audio": "audio"}
    can = frozenset(ability for word, ability in facts.items() if word in words)
    id = str(entry.get("model") or entry["name"])
    details, info = entry.get("details"), show.get("model_info")
    family = text_of(details.get("family")) if isinstance(details, dict) else ""
    embeds = "embedding" in words or "bert" in family
    guessed = frozenset[str]() if words or embeds else guessed_abilities(id, engine.models, ())
    lengths = [v for k, v in info.items() if k.endswith(".context_length")] if isinstance(info, dict) else []
    return ModelInfo(
        id=id,
        engine=engine.name,
        name=text_of(entry.get("name")) or id,
        kind="embedding" if embeds else "chat",
        context_tokens=count_of(lengths[0]) if lengths else None,
        can=can | guessed,
        guessed=guessed,
        meta={**entry, **({"capabilities": [*sorted(words)]} if words else {})},
    )
