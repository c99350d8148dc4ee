"""From a client: a body of ``POST /v1/messages`` as a neutral request."""

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

_KNOWN: Final = (
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
# Fields whose loss changes the cost of an answer or who may see it, not the answer. The region of the computation, a
# container, MCP servers and the like are not among them.
_HINTS: Final = frozenset(
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
# Its agents ask for thinking by the name of a model of this wire, and cannot know who answers here.
_WISHES: Final = frozenset({"reasoning", "reasoning_tokens", "effort"})
_TIERS: Final[Mapping[str, str]] = {"standard_only": "default"}
_THINKING: Final[Mapping[str, bool]] = {"enabled": True, "adaptive": True, "disabled": False, "between_tools": False}
_EFFORTS: Final[Mapping[str, Effort]] = {effort: effort for effort in get_args(Effort)}
_CHOICES: Final[Mapping[str, str]] = {"auto": "auto", "none": "none", "any": "required"}


def read_request(body: Mapping[str, Any]) -> ChatRequest:
    """Raises ``InvalidRequest`` naming the place."""
    fields = Fields(body)
    asked = _read_asked(fields)
    messages = [*_read_system(body.get("system"))]
    listed = fields.items("messages")
    if listed is None:
        raise invalid("messages", "is required, as a list")
    messages += [_read_message(wire, f"messages[{n}]") for n, wire in enumerate(listed)]
    known = (*_KNOWN, *asked.spelling)
    keep = rest_of(body, known, NAME, None)
    return ChatRequest(
        model=fields.required_text("model"),
        messages=tuple(messages),
        tools=tuple(_read_tool(wire, f"tools[{n}]") for n, wire in enumerate(fields.items("tools") or ())),
        options=_read_options(fields, asked),
        stream=fields.flag("stream") or False,
        keep=keep + spelled(**asked.spelling),
        hints=_HINTS.intersection(body),
        wishes=_WISHES,
    )


def _read_system(wire: object) -> list[Message]:
    if wire is None or wire in ("", []):
        return []
    parts = _parts(wire, "system")
    for n, part in enumerate(parts):
        if not isinstance(part, Text | Foreign):
            raise invalid(f"system[{n}].type", "is not 'text'")
    return [Message("system", parts)]


def _read_message(wire: object, place: str) -> Message:
    if not isinstance(wire, dict):
        raise invalid(place, "is not an object")
    role = wire.get("role")
    if role not in ("user", "assistant", "system"):
        raise invalid(f"{place}.role", f"{str(role)[:40]!r} is not one of 'user', 'assistant', 'system'")
    keep = rest_of(wire, ("role", "content"), NAME, None)
    if role == "system":  # in the middle of the conversation, where newer models take it; elsewhere it is moved up
        keep += spelled(role="system")
    return Message(cast(Role, role), _parts(wire.get("content"), f"{place}.content"), keep)


def _parts(content: object, place: str) -> tuple[Part, ...]:
    try:
        return read_blocks(content, None, place)
    except Unreadable as odd:
        raise InvalidRequest(str(odd), param=odd.place) from None


def _read_tool(wire: object, place: str) -> ToolSpec:
    if not isinstance(wire, dict):
        raise invalid(place, "is not an object")
    fields = Fields(wire, place)
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
class _Asked:
    """What is asked of thinking and format, and how the client put it."""

    reasoning: bool | None
    reasoning_tokens: int | None
    effort: Effort | None
    format: JsonFormat | None
    spelling: Mapping[str, Json]


def _read_asked(fields: Fields) -> _Asked:
    """A form of thinking that is not known yet stays an unknown field, which only its own wire can take."""
    spelling: dict[str, Json] = {}
    thinking, config = fields.inner("thinking"), fields.inner("output_config")
    form = thinking.text("type") if thinking else None
    if thinking and form in _THINKING:
        spelling["thinking"] = dict(thinking.wire)
    effort = config.text("effort") if config else None
    if config:
        spelling["output_config"] = dict(config.wire)
        if effort is not None and effort not in _EFFORTS:
            raise config.invalid("effort", f"{effort[:40]!r} is not one of {', '.join(_EFFORTS)}")
    format_ = _read_format(config.inner("format") if config else None)
    if "output_format" in fields.wire:  # the same, as it was called in the beta
        format_ = format_ or _read_format(fields.inner("output_format"))
        spelling["output_format"] = fields.wire["output_format"]
    return _Asked(
        reasoning=_THINKING.get(form) if form else None,
        reasoning_tokens=thinking.integer("budget_tokens") if thinking and form == "enabled" else None,
        effort=_EFFORTS[effort] if effort else None,
        format=format_,
        spelling=spelling,
    )


def _read_format(fields: Fields | None) -> JsonFormat | None:
    schema = fields.inner("schema") if fields else None
    return JsonFormat(schema.wire, strict=True, wire=NAME) if schema else None


def _read_options(fields: Fields, asked: _Asked) -> Options:
    stop = fields.items("stop_sequences") or []
    if not all(isinstance(text, str) for text in stop):
        raise invalid("stop_sequences", "is not a list of texts")
    choice = fields.inner("tool_choice")
    parallel = choice.flag("disable_parallel_tool_use") if choice else None
    tier = fields.text("service_tier")
    return Options(
        max_tokens=fields.integer("max_tokens"),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=fields.integer("top_k"),
        stop=tuple(stop),
        reasoning=asked.reasoning,
        reasoning_tokens=asked.reasoning_tokens,
        effort=asked.effort,
        format=asked.format,
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
