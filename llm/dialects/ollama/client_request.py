"""From a client: the bodies of ``POST /api/chat`` and ``/api/generate`` as requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast, get_args

from llm.chat.messages import Media, Message, Part, Reasoning, Role, Text, ToolCall, ToolResult
from llm.chat.provider_metadata import Opaque, rest_of
from llm.chat.request import ChatRequest, Effort, JsonFormat, Options, ToolSpec
from llm.dialects.ollama.shared import GENERATE, NAME, image_type
from llm.wire.json_codec import dumps
from llm.wire.json_strict import Fields, invalid

_KNOWN: Final = ("model", "messages", "tools", "stream", "format", "options", "think", "logprobs", "top_logprobs")
_GENERATE: Final = ("prompt", "system", "images")
_ITS_OWN: Final = ("raw", "template", "suffix", "context")  # only the engine itself can do what they say
# What a model elsewhere has in its own size; clients of this wire name it with every request.
_WISHES: Final = frozenset({"context_tokens"})
# What only a server that runs the model itself can mean; the answer is the same without.
_HINTS: Final = frozenset({"keep_alive", "options", "shift", "truncate"})
# What asks for nothing with these values: some clients always send them.
_NOTHING_ASKED: Final[Mapping[str, object]] = {"raw": False, "template": "", "suffix": "", "context": []}
_OPTIONS: Final = (
    "num_ctx", "num_predict", "temperature", "top_p", "top_k", "seed", "stop", "presence_penalty", "frequency_penalty",
)  # fmt: skip
_ROLES: Final[Mapping[object, Role]] = {"system": "system", "user": "user", "assistant": "assistant"}


def read_request(body: Mapping[str, Any]) -> ChatRequest:
    """``/api/chat``, or ``/api/generate`` where there is a ``prompt`` and no messages."""
    fields = Fields(body)
    known: tuple[str, ...] = _KNOWN
    if "messages" in body:
        messages = _read_messages(fields.items("messages") or [])
    else:
        known, messages = (*_KNOWN, *_GENERATE), _read_prompt(fields)
    stream = fields.flag("stream")
    inner = fields.inner("options")
    options = _read_options(fields, inner)
    harmless = [name for name, value in _NOTHING_ASKED.items() if body.get(name) == value]
    told = {name: value for name, value in body.items() if value is not None}
    keep = rest_of(told, (*known, *_ITS_OWN), NAME, None)
    if own := {name: told[name] for name in _ITS_OWN if name in told}:
        keep = (*keep, Opaque(GENERATE, None, own))
    if inner and (more := {n: v for n, v in inner.wire.items() if n not in _OPTIONS and v is not None}):
        keep = (*keep, Opaque(NAME, None, {"options": more}))
    return ChatRequest(
        model=fields.required_text("model"),
        messages=tuple(messages),
        tools=tuple(_read_tool(wire, f"tools[{n}]") for n, wire in enumerate(fields.items("tools") or ())),
        options=options,
        stream=True if stream is None else stream,
        keep=keep,
        hints=_HINTS.union(harmless),
        wishes=_WISHES,
    )


def _read_prompt(fields: Fields) -> list[Message]:
    messages = []
    if system := fields.text("system"):
        messages.append(Message("system", (Text(system),)))
    parts: list[Part] = [Text(fields.text("prompt") or "")]
    parts += [_read_image(wire, f"images[{n}]") for n, wire in enumerate(fields.items("images") or ())]
    messages.append(Message("user", tuple(parts)))
    return messages


def _read_messages(wires: list[Any]) -> list[Message]:
    messages: list[Message] = []
    waiting: list[ToolCall] = []  # calls without a result yet: older clients name no ids
    after_result = False
    for n, wire in enumerate(wires):
        place = f"messages[{n}]"
        if not isinstance(wire, dict):
            raise invalid(place, "is not an object")
        fields = Fields(wire, place)
        if wire.get("role") == "tool":
            result = _read_result(fields, waiting)
            if after_result:  # the results of one turn belong together
                messages[-1] = Message("user", (*messages[-1].parts, result))
            else:
                messages.append(Message("user", (result,)))
            after_result = True
            continue
        after_result = False
        message = _read_message(fields, wire, place, n)
        waiting += [part for part in message.parts if isinstance(part, ToolCall)]
        messages.append(message)
    return messages


def _read_message(fields: Fields, wire: Mapping[str, Any], place: str, number: int) -> Message:
    role = _ROLES.get(wire.get("role")) if isinstance(wire.get("role"), str) else None
    if role is None:
        raise invalid(f"{place}.role", f"{str(wire.get('role'))[:40]!r} is not one of system, user, assistant, tool")
    parts: list[Part] = []
    if thought := fields.text("thinking"):
        parts.append(Reasoning(thought))
    if text := fields.text("content"):
        parts.append(Text(text))
    parts += [_read_image(one, f"{place}.images[{n}]") for n, one in enumerate(fields.items("images") or ())]
    for n, call in enumerate(fields.items("tool_calls") or ()):
        parts.append(_read_call(call, f"{place}.tool_calls[{n}]", f"call_{number}_{n}"))
    known = ("role", "content", "thinking", "images", "tool_calls")
    return Message(role, tuple(parts), rest_of({k: v for k, v in wire.items() if v is not None}, known, NAME, None))


def _read_call(wire: object, place: str, minted: str) -> ToolCall:
    """An id that is missing is minted, the same for the same history: caches depend on it."""
    if not isinstance(wire, dict):
        raise invalid(place, "is not an object")
    fields = Fields(wire, place)
    function = fields.inner("function")
    if function is None:
        raise invalid(f"{place}.function", "is required")
    arguments = function.wire.get("arguments")
    if arguments is not None and not isinstance(arguments, dict | str):
        raise function.invalid("arguments", "is not an object")
    text = arguments if isinstance(arguments, str) else dumps(arguments or {})
    keep = rest_of(wire, ("id", "type", "function"), NAME, None)
    return ToolCall(fields.text("id") or minted, function.required_text("name"), text or "{}", keep=keep)


def _read_result(fields: Fields, waiting: list[ToolCall]) -> ToolResult:
    """For the call that it names, by id or by tool; else for the first one that waits."""
    id = fields.text("tool_call_id")
    name = fields.text("tool_name") or fields.text("name")
    call = next((c for c in waiting if c.id == id), None) if id else None
    call = call or next((c for c in waiting if c.name == name), None) or (waiting[0] if waiting else None)
    if call is not None:
        waiting.remove(call)
    elif not id:
        raise fields.invalid("tool_call_id", "is required: no call waits for a result")
    text = fields.text("content") or ""
    return ToolResult(call.id if call else str(id), (Text(text),), name=name or (call.name if call else None))


def _read_image(wire: object, place: str) -> Media:
    """Bare base64; some clients send a data URL."""
    if not isinstance(wire, str) or not wire:
        raise invalid(place, "is not base64")
    head, comma, data = wire.partition(";base64,")
    data = data if comma and head.startswith("data:") else wire
    return Media(mime=image_type(data), base64=data)


def _read_tool(wire: object, place: str) -> ToolSpec:
    if not isinstance(wire, dict):
        raise invalid(place, "is not an object")
    function = Fields(wire, place).inner("function")
    if function is None:
        raise invalid(f"{place}.function", "is required")
    parameters = function.inner("parameters")
    return ToolSpec(
        name=function.required_text("name"),
        description=function.text("description") or "",
        parameters=dict(parameters.wire) if parameters else {},
        wire=NAME,
    )


def _read_options(fields: Fields, inner: Fields | None) -> Options:
    inner = inner or Fields({}, "options")
    think = fields.wire.get("think")
    if isinstance(think, str) and think not in get_args(Effort):
        raise fields.invalid("think", f"{think[:40]!r} is not one of {', '.join(get_args(Effort))}")
    if not isinstance(think, bool | str | None):
        raise fields.invalid("think", "is not true, false or a level")
    stop = inner.wire.get("stop")
    stops = [stop] if isinstance(stop, str) else stop or []
    if not isinstance(stops, list) or not all(isinstance(one, str) for one in stops):
        raise inner.invalid("stop", "is not text or a list of texts")
    longest = inner.integer("num_predict")
    return Options(
        max_tokens=longest if longest is None or longest >= 0 else None,  # below: without a limit
        temperature=inner.number("temperature"),
        top_p=inner.number("top_p"),
        top_k=inner.integer("top_k"),
        stop=tuple(stops),
        seed=inner.integer("seed"),
        presence_penalty=inner.number("presence_penalty"),
        frequency_penalty=inner.number("frequency_penalty"),
        reasoning=think if isinstance(think, bool) else None,
        effort=cast("Effort", think) if isinstance(think, str) else None,
        format=_read_format(fields),
        logprobs=fields.flag("logprobs"),
        top_logprobs=fields.integer("top_logprobs"),
        context_tokens=inner.integer("num_ctx"),
    )


def _read_format(fields: Fields) -> JsonFormat | None:
    wire = fields.wire.get("format")
    if wire in (None, ""):
        return None
    if wire == "json":
        return JsonFormat()
    if not isinstance(wire, dict):
        raise fields.invalid("format", "is neither 'json' nor a schema")
    return JsonFormat(wire, strict=True, wire=NAME)  # its servers hold a model to it
