"""Reads the body of a client's ``POST /v1/messages`` as a ChatRequest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast, get_args

from llm.chat.messages import Foreign, Message, Part, Role, Text
from llm.chat.provider_metadata import Opaque, rest_of
from llm.chat.request import ChatRequest, Effort, JsonFormat, Options, ToolSpec
from llm.dialects.anthropic.shared import NAME, Unreadable, read_blocks, spelled
from llm.errors import InvalidRequest
from llm.wire.json_codec import Json
from llm.wire.json_strict import Fields, invalid

_KNOWN_FIELDS: Final = (
    "model",
    "messages",
    "system",
    "max_tokens",
    "stop_sequences",
    "stream",
    "temperature",
    "top_p",
    "top_k",
    "service_tier",
    "tools",
    "tool_choice",
)
# Fields that may be dropped: they change the cost of an answer or who may see it, not the answer. The inference region,
# a container, MCP servers and the like may not.
_DROPPABLE_FIELDS: Final = frozenset(
    {
        "anthropic_beta",
        "anthropic_version",
        "betas",
        "billing_policy",
        "cache_control",
        "context_management",
        "diagnostics",
        "fallback_credit_token",
        "fallbacks",
        "metadata",
        "speed",
        "user_profile_id",
    }
)
# Options that may be dropped: agents of this wire set them by the name of an Anthropic model, and another engine may
# answer.
_SOFT_OPTIONS: Final = frozenset({"reasoning", "reasoning_tokens", "effort"})
_TIERS: Final[Mapping[str, str]] = {"standard_only": "default"}
_THINKING: Final[Mapping[str, bool]] = {"enabled": True, "adaptive": True, "disabled": False, "between_tools": False}
_EFFORTS: Final[Mapping[str, Effort]] = {effort: effort for effort in get_args(Effort)}
_CHOICES: Final[Mapping[str, str]] = {"auto": "auto", "none": "none", "any": "required"}


def read_request(body: Mapping[str, Any]) -> ChatRequest:
    """Reads a request body. Raises ``InvalidRequest`` with the JSON path of the invalid field in ``param``."""
    fields = Fields(body)
    settings = _read_output_settings(fields)
    messages = [*_read_system(body.get("system"))]
    wire_messages = fields.items("messages")
    if wire_messages is None:
        raise invalid("messages", "is required, as a list")
    messages += [_read_message(wire, f"messages[{n}]") for n, wire in enumerate(wire_messages)]
    known = (*_KNOWN_FIELDS, *settings.wire_form)
    metadata = rest_of(body, known, NAME, None)
    return ChatRequest(
        model=fields.required_text("model"),
        messages=tuple(messages),
        tools=tuple(_read_tool(wire, f"tools[{n}]") for n, wire in enumerate(fields.items("tools") or ())),
        options=_read_options(fields, settings),
        stream=fields.flag("stream") or False,
        keep=metadata + spelled(**settings.wire_form),
        hints=_DROPPABLE_FIELDS.intersection(body),
        wishes=_SOFT_OPTIONS,
    )


def _read_system(wire: object) -> list[Message]:
    if wire is None or wire in ("", []):
        return []
    parts = _read_parts(wire, "system")
    for n, part in enumerate(parts):
        if not isinstance(part, Text | Foreign):
            raise invalid(f"system[{n}].type", "is not 'text'")
    return [Message("system", parts)]


def _read_message(wire: object, path: str) -> Message:
    if not isinstance(wire, dict):
        raise invalid(path, "is not an object")
    role = wire.get("role")
    if role not in ("user", "assistant", "system"):
        raise invalid(f"{path}.role", f"{str(role)[:40]!r} is not one of 'user', 'assistant', 'system'")
    metadata = rest_of(wire, ("role", "content"), NAME, None)
    if role == "system":  # newer models accept it between other messages; other wires move it to the front
        metadata += spelled(role="system")
    return Message(cast(Role, role), _read_parts(wire.get("content"), f"{path}.content"), metadata)


def _read_parts(content: object, path: str) -> tuple[Part, ...]:
    try:
        return read_blocks(content, None, path)
    except Unreadable as error:
        raise InvalidRequest(str(error), param=error.place) from None


def _read_tool(wire: object, path: str) -> ToolSpec:
    if not isinstance(wire, dict):
        raise invalid(path, "is not an object")
    fields = Fields(wire, path)
    kind = fields.text("type")
    if kind is not None and kind != "custom":
        return ToolSpec(fields.text("name") or kind, executor="provider", keep=(Opaque(NAME, None, dict(wire)),))
    schema = fields.inner("input_schema")
    known = ("type", "name", "description", "input_schema", "strict")
    return ToolSpec(
        name=fields.required_text("name"),
        description=fields.text("description") or "",
        parameters=schema.wire if schema else {},
        strict=fields.flag("strict"),
        keep=rest_of(wire, known, NAME, None),
        wire=NAME,
    )


@dataclass(frozen=True, slots=True)
class _OutputSettings:
    """The thinking and format settings, as neutral values and in the client's own form."""

    reasoning: bool | None
    reasoning_tokens: int | None
    effort: Effort | None
    format: JsonFormat | None
    wire_form: Mapping[str, Json]


def _read_output_settings(fields: Fields) -> _OutputSettings:
    """Reads the settings. An unknown form of thinking stays an unknown field, which only this wire accepts."""
    wire_form: dict[str, Json] = {}
    thinking, config = fields.inner("thinking"), fields.inner("output_config")
    form = thinking.text("type") if thinking else None
    if thinking and form in _THINKING:
        wire_form["thinking"] = dict(thinking.wire)
    effort = config.text("effort") if config else None
    if config:
        wire_form["output_config"] = dict(config.wire)
        if effort is not None and effort not in _EFFORTS:
            raise config.invalid("effort", f"{effort[:40]!r} is not one of {', '.join(_EFFORTS)}")
    format_ = _read_format(config.inner("format") if config else None)
    if "output_format" in fields.wire:  # the beta's name for it
        format_ = format_ or _read_format(fields.inner("output_format"))
        wire_form["output_format"] = fields.wire["output_format"]
    return _OutputSettings(
        reasoning=_THINKING.get(form) if form else None,
        reasoning_tokens=thinking.integer("budget_tokens") if thinking and form == "enabled" else None,
        effort=_EFFORTS[effort] if effort else None,
        format=format_,
        wire_form=wire_form,
    )


def _read_format(fields: Fields | None) -> JsonFormat | None:
    schema = fields.inner("schema") if fields else None
    return JsonFormat(schema.wire, strict=True, wire=NAME) if schema else None


def _read_options(fields: Fields, settings: _OutputSettings) -> Options:
    stop = fields.items("stop_sequences") or []
    if not all(isinstance(text, str) for text in stop):
        raise invalid("stop_sequences", "is not a list of strings")
    choice = fields.inner("tool_choice")
    parallel = choice.flag("disable_parallel_tool_use") if choice else None
    tier = fields.text("service_tier")
    return Options(
        max_tokens=fields.integer("max_tokens"),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=fields.integer("top_k"),
        stop=tuple(stop),
        reasoning=settings.reasoning,
        reasoning_tokens=settings.reasoning_tokens,
        effort=settings.effort,
        format=settings.format,
        tool_choice=_read_choice(choice) if choice else None,
        parallel_tools=None if parallel is None else not parallel,
        service_tier=_TIERS.get(tier, tier) if tier else None,
    )


def _read_choice(choice: Fields) -> str:
    kind = choice.required_text("type")
    if kind == "tool":
        return f"tool:{choice.required_text('name')}"
    if kind not in _CHOICES:
        raise choice.invalid("type", f"{kind[:40]!r} is not one of {', '.join((*_CHOICES, 'tool'))}")
    return _CHOICES[kind]
