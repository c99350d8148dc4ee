"""Reads the bodies of ``POST /api/chat`` and ``/api/generate`` as a ChatRequest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast, get_args

from llm.chat.messages import Media, Message, Part, Reasoning, Role, Text, ToolCall, ToolResult, remove_sources
from llm.chat.provider_metadata import ProviderMetadata, unknown_fields
from llm.chat.request import ChatRequest, Effort, JsonFormat, Options, ToolSpec, soften_no_reasoning
from llm.dialects.ollama.shared import GENERATE_NAME, NAME, guess_image_type
from llm.wire.json_codec import dumps
from llm.wire.json_lenient import drop_null
from llm.wire.json_strict import Fields, invalid

_KNOWN: Final = ("model", "messages", "tools", "stream", "format", "options", "think", "logprobs", "top_logprobs")
_GENERATE: Final = ("prompt", "system", "images", "suffix", "raw")
_OLLAMA_ONLY: Final = ("template", "context")  # only Ollama's ``/api/generate`` supports them
# Options that are dropped where the engine lacks them: clients of this wire send the context size in every request.
_SOFT_OPTIONS: Final = frozenset({"context_tokens"})
# Default values of fields that some clients always send: with these they ask for nothing.
_DEFAULTS: Final[Mapping[str, object]] = {"raw": False, "shift": True, "truncate": True}
_OPTIONS: Final = (
    "num_ctx", "num_predict", "temperature", "top_p", "top_k", "seed", "stop", "presence_penalty", "frequency_penalty",
)  # fmt: skip
# Names of options to the fields of this wire.
_OPTION_NAMES: Final[Mapping[str, str]] = {
    "reasoning": "think", "effort": "think", "max_tokens": "options.num_predict", "context_tokens": "options.num_ctx",
    **{name: f"options.{name}" for name in _OPTIONS if not name.startswith("num_")},
}  # fmt: skip
_ROLES: Final[Mapping[object, Role]] = {"system": "system", "user": "user", "assistant": "assistant"}


def read_request(body: Mapping[str, Any]) -> ChatRequest:
    """Reads a body of ``/api/chat``; without ``messages``, one of ``/api/generate``.

    Raises ``InvalidRequest`` with the field's path.
    """
    fields = Fields(body)
    known: tuple[str, ...] = _KNOWN
    suffix: str | None = None
    if "messages" in body:
        messages = _read_messages(fields.read_list("messages") or [])
    else:
        known, messages = (*_KNOWN, *_GENERATE), _read_prompt(fields)
        suffix = _read_suffix(fields)
    stream = fields.read_flag("stream")
    inner = fields.read_object("options")
    options = _read_options(fields, inner)
    present = {name: value for name, value in body.items() if value is not None}
    metadata = unknown_fields(present, (*known, *_OLLAMA_ONLY), NAME, None)
    generate_fields = {name: present[name] for name in _OLLAMA_ONLY if name in present}
    if suffix == "" and "suffix" in present:  # Ollama ignores it then
        generate_fields["suffix"] = present["suffix"]
    if generate_fields:
        metadata = (*metadata, ProviderMetadata(GENERATE_NAME, None, generate_fields))
    if inner and (more := {n: v for n, v in inner.raw.items() if n not in _OPTIONS and v is not None}):
        metadata = (*metadata, ProviderMetadata(NAME, None, {"options": more}))
    return ChatRequest(
        model=fields.read_required_text("model"),
        messages=tuple(messages),
        tools=tuple(_read_tool(wire, f"tools[{n}]") for n, wire in enumerate(fields.read_list("tools") or ())),
        options=options,
        stream=True if stream is None else stream,
        metadata=metadata,
        # Those that concern how a local server runs the model, and unknown names, which Ollama ignores.
        droppable_fields=frozenset(present).difference(_OLLAMA_ONLY),
        default_fields=frozenset(name for name, value in _DEFAULTS.items() if body.get(name) == value),
        option_names=_OPTION_NAMES,
        soft_options=_SOFT_OPTIONS | soften_no_reasoning(options),
        suffix=suffix,
    )


def _read_suffix(fields: Fields) -> str | None:
    """Reads the text up to which the prompt is to be completed; "" for ``raw``, with which Ollama ignores a suffix."""
    return "" if fields.read_flag("raw") else fields.read_text("suffix") or None


def _read_prompt(fields: Fields) -> list[Message]:
    messages = []
    if system := fields.read_text("system"):
        messages.append(Message("system", (Text(system),)))
    parts: list[Part] = [Text(fields.read_text("prompt") or "")]
    parts += [_read_image(wire, f"images[{n}]") for n, wire in enumerate(fields.read_list("images") or ())]
    messages.append(Message("user", tuple(parts)))
    return messages


def _read_messages(wires: list[Any]) -> list[Message]:
    messages: list[Message] = []
    open_calls: list[ToolCall] = []  # without a result so far: older clients send no ids
    after_result = False
    for n, wire in enumerate(wires):
        place = f"messages[{n}]"
        if not isinstance(wire, dict):
            raise invalid(place, "must be an object")
        fields = Fields(wire, place)
        if wire.get("role") == "tool":
            result = _read_result(fields, open_calls)
            if after_result:  # results of one round are one message
                messages[-1] = Message("user", (*messages[-1].parts, result))
            else:
                messages.append(Message("user", (result,)))
            after_result = True
            continue
        after_result = False
        message = _read_message(fields, wire, place, n)
        open_calls += [part for part in message.parts if isinstance(part, ToolCall)]
        messages.append(message)
    return messages


def _read_message(fields: Fields, wire: Mapping[str, Any], place: str, number: int) -> Message:
    role = _ROLES.get(wire.get("role")) if isinstance(wire.get("role"), str) else None
    if role is None:
        raise invalid(f"{place}.role", f"{str(wire.get('role'))[:40]!r} is not one of system, user, assistant, tool")
    parts: list[Part] = []
    if reasoning := fields.read_text("thinking"):
        parts.append(Reasoning(reasoning))
    if text := fields.read_text("content"):
        parts.append(Text(remove_sources(text) if role == "assistant" else text))
    parts += [_read_image(one, f"{place}.images[{n}]") for n, one in enumerate(fields.read_list("images") or ())]
    for n, call in enumerate(fields.read_list("tool_calls") or ()):
        parts.append(_read_call(call, f"{place}.tool_calls[{n}]", f"call_{number}_{n}"))
    known = ("role", "content", "thinking", "images", "tool_calls")
    return Message(
        role, tuple(parts), unknown_fields({k: v for k, v in wire.items() if v is not None}, known, NAME, None)
    )


def _read_call(wire: object, place: str, default_id: str) -> ToolCall:
    """``default_id`` replaces a missing id; it is the same for the same history, since prompt caches depend on it."""
    if not isinstance(wire, dict):
        raise invalid(place, "must be an object")
    fields = Fields(wire, place)
    function = fields.read_object("function")
    if function is None:
        raise invalid(f"{place}.function", "is required")
    arguments = function.raw.get("arguments")
    if arguments is not None and not isinstance(arguments, dict | str):
        raise function.invalid("arguments", "must be an object")
    text = drop_null(arguments) if isinstance(arguments, str) else dumps(arguments or {})
    metadata = unknown_fields(wire, ("id", "type", "function"), NAME, None)
    return ToolCall(
        fields.read_text("id") or default_id, function.read_required_text("name"), text or "{}", metadata=metadata
    )


def _read_result(fields: Fields, open_calls: list[ToolCall]) -> ToolResult:
    """The result belongs to the open call with its id, else with its tool name, else to the first open call."""
    id = fields.read_text("tool_call_id")
    name = fields.read_text("tool_name") or fields.read_text("name")
    call = next((c for c in open_calls if c.id == id), None) if id else None
    call = call or next((c for c in open_calls if c.name == name), None) or (open_calls[0] if open_calls else None)
    if call is not None:
        open_calls.remove(call)
    elif not id:
        raise fields.invalid("tool_call_id", "is required, because every call has a result")
    text = fields.read_text("content") or ""
    return ToolResult(call.id if call else str(id), (Text(text),), name=name or (call.name if call else None))


def _read_image(wire: object, place: str) -> Media:
    """Reads base64; some clients send a data URL."""
    if not isinstance(wire, str) or not wire:
        raise invalid(place, "must be base64")
    head, comma, data = wire.partition(";base64,")
    data = data if comma and head.startswith("data:") else wire
    return Media(mime=guess_image_type(data), base64=data)


def _read_tool(wire: object, place: str) -> ToolSpec:
    if not isinstance(wire, dict):
        raise invalid(place, "must be an object")
    function = Fields(wire, place).read_object("function")
    if function is None:
        raise invalid(f"{place}.function", "is required")
    parameters = function.read_object("parameters")
    return ToolSpec(
        name=function.read_required_text("name"),
        description=function.read_text("description") or "",
        parameters=dict(parameters.raw) if parameters else {},
        schema_dialect=NAME,
    )


def _read_options(fields: Fields, inner: Fields | None) -> Options:
    inner = inner or Fields({}, "options")
    think = fields.raw.get("think")
    if isinstance(think, str) and think not in get_args(Effort):
        raise fields.invalid("think", f"{think[:40]!r} is not one of {', '.join(get_args(Effort))}")
    if not isinstance(think, bool | str | None):
        raise fields.invalid("think", "must be true, false or a level")
    stop = inner.raw.get("stop")
    stops = [stop] if isinstance(stop, str) else stop or []
    if not isinstance(stops, list) or not all(isinstance(one, str) for one in stops):
        raise inner.invalid("stop", "must be text or a list of texts")
    max_tokens = inner.read_integer("num_predict")
    return Options(
        max_tokens=max_tokens if max_tokens is None or max_tokens >= 0 else None,  # negative: no limit
        temperature=inner.read_number("temperature"),
        top_p=inner.read_number("top_p"),
        top_k=inner.read_integer("top_k"),
        stop=tuple(stops),
        seed=inner.read_integer("seed"),
        presence_penalty=inner.read_number("presence_penalty"),
        frequency_penalty=inner.read_number("frequency_penalty"),
        reasoning=think if isinstance(think, bool) else None,
        effort=cast("Effort", think) if isinstance(think, str) else None,
        format=_read_format(fields),
        logprobs=fields.read_flag("logprobs"),
        top_logprobs=fields.read_integer("top_logprobs") or None,
        context_tokens=inner.read_integer("num_ctx"),
    )


def _read_format(fields: Fields) -> JsonFormat | None:
    wire = fields.raw.get("format")
    if wire in (None, ""):
        return None
    if wire == "json":
        return JsonFormat()
    if not isinstance(wire, dict):
        raise fields.invalid("format", "must be 'json' or a schema")
    return JsonFormat(wire, strict=True, schema_dialect=NAME)  # Ollama enforces schemas
