"""Reads the body of a client's ``POST /v1/messages`` as a ChatRequest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast, get_args

from llm.chat.messages import Message, Part, Role, Text, ToolResult, UnknownPart, remove_sources
from llm.chat.provider_metadata import Metadata, unknown_fields
from llm.chat.request import ChatRequest, Effort, JsonFormat, Options
from llm.dialects.anthropic.client_tools.definitions import read_tool
from llm.dialects.anthropic.client_tools.web_runs import restore_web_runs
from llm.dialects.anthropic.shared import NAME, Unreadable, pack_request_form, pack_wire_form, read_blocks
from llm.errors import InvalidRequest
from llm.wire.json_codec import Json
from llm.wire.json_lenient import as_dict, as_dicts, as_text
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
# Default values that some clients always send: with these the fields ask for nothing.
_DEFAULTS: Final[Mapping[str, Sequence[object]]] = {
    "speed": ("standard",),
    "context_management": ({}, {"edits": []}),
    "metadata": ({}, {"user_id": None}),
}
# Options that may be dropped: agents of this wire set them by the name of an Anthropic model, and another engine may
# answer.
_SOFT_OPTIONS: Final = frozenset({"reasoning", "reasoning_tokens", "effort"})
# Names of options to the fields of this wire, where they differ.
_OPTION_NAMES: Final[Mapping[str, str]] = {
    "stop": "stop_sequences",
    "reasoning": "thinking",
    "reasoning_tokens": "thinking.budget_tokens",
    "effort": "output_config.effort",
    "format": "output_config.format",
    "parallel_tools": "tool_choice.disable_parallel_tool_use",
}
_TIERS: Final[Mapping[str, str]] = {"standard_only": "default"}
_THINKING: Final[Mapping[str, bool]] = {"enabled": True, "adaptive": True, "disabled": False, "between_tools": False}
_EFFORTS: Final[Mapping[str, Effort]] = {effort: effort for effort in get_args(Effort)}
_CHOICES: Final[Mapping[str, str]] = {"auto": "auto", "none": "none", "any": "required"}


def read_request(body: Mapping[str, Any]) -> ChatRequest:
    """Reads a request body. Raises ``InvalidRequest`` with the JSON path of the invalid field in ``param``."""
    fields = Fields(body)
    settings = _read_output_settings(fields)
    messages = [*_read_system(body.get("system"))]
    wire_messages = fields.read_list("messages")
    if wire_messages is None:
        raise invalid("messages", "is required, as a list")
    messages += [_read_message(wire, f"messages[{n}]") for n, wire in enumerate(wire_messages)]
    known = (*_KNOWN_FIELDS, *settings.wire_form)
    metadata = unknown_fields(body, known, NAME, None)
    return ChatRequest(
        model=fields.read_required_text("model"),
        messages=tuple(messages),
        tools=tuple(read_tool(wire, f"tools[{n}]") for n, wire in enumerate(fields.read_list("tools") or ())),
        options=_read_options(fields, settings),
        stream=fields.read_flag("stream") or False,
        metadata=metadata + pack_request_form(**settings.wire_form),
        own_settings=settings.own,
        option_names=_OPTION_NAMES,
        droppable_fields=_DROPPABLE_FIELDS.intersection(body),
        default_fields=frozenset(name for name, values in _DEFAULTS.items() if body.get(name) in values),
        soft_options=_SOFT_OPTIONS,
    )


def _read_system(wire: object) -> list[Message]:
    if wire is None or wire in ("", []):
        return []
    parts = _read_parts(wire, "system")
    for n, part in enumerate(parts):
        if not isinstance(part, Text | UnknownPart):
            raise invalid(f"system[{n}].type", "is not 'text'")
    return [Message("system", parts)]


def _read_message(wire: object, path: str) -> Message:
    if not isinstance(wire, dict):
        raise invalid(path, "is not an object")
    role = wire.get("role")
    if role not in ("user", "assistant", "system"):
        raise invalid(f"{path}.role", f"{str(role)[:40]!r} is not one of 'user', 'assistant', 'system'")
    metadata = unknown_fields(wire, ("role", "content"), NAME, None)
    if role == "system":  # newer models accept it between other messages; other wires move it to the front
        metadata += pack_wire_form(role="system")
    parts = _read_parts(wire.get("content"), f"{path}.content")
    if role == "assistant":
        parts = restore_web_runs(parts)
        parts = tuple(part for before in parts if (part := _remove_sources(before)) is not None)
    return Message(cast(Role, role), parts, metadata)


def _remove_sources(part: Part) -> Part | None:
    """Returns a part of an answer without the sources that this server has listed; None if nothing else is in it."""
    if not isinstance(part, Text) or (text := remove_sources(part.text)) == part.text:
        return part
    return replace(part, text=text) if text else None


def _read_parts(content: object, path: str) -> tuple[Part, ...]:
    try:
        return tuple(_add_text(part) for part in read_blocks(content, None, path))
    except Unreadable as error:
        raise InvalidRequest(str(error), param=error.path) from None


def _add_text(part: Part) -> Part:
    """Adds its text to a block that consists of texts, for engines that do not know the block."""
    if isinstance(part, ToolResult) and any(isinstance(one, UnknownPart) for one in part.content):
        content = (replace(one, text=_find_text(one)) if isinstance(one, UnknownPart) else one for one in part.content)
        return replace(part, content=tuple(content))
    return replace(part, text=_find_text(part)) if isinstance(part, UnknownPart) else part


def _find_text(block: UnknownPart) -> str:
    """Returns title, source and texts of a search result or a document of texts, and what a reference to a tool says;
    "" for any other block.
    """
    wire = block.metadata[0].data
    if wire.get("type") == "tool_reference":
        return f"Found the tool {as_text(wire.get('tool_name'))}, which can be called now."
    content, head = wire.get("content"), (wire.get("title"), wire.get("source"))
    if wire.get("type") == "document":
        source = as_dict(wire.get("source"))
        content, head = (
            source.get("content") if source.get("type") == "content" else None,
            (head[0], wire.get("context")),
        )
    elif wire.get("type") != "search_result":
        return ""
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else as_dicts(content)
    if any(block.get("type") != "text" for block in blocks):
        return ""
    return "\n".join(text for text in (*map(as_text, head), *(as_text(b.get("text")) for b in blocks)) if text)


@dataclass(frozen=True, slots=True)
class _OutputSettings:
    """The thinking and format settings, as neutral values and in the client's own form."""

    reasoning: bool | None
    reasoning_tokens: int | None
    effort: Effort | None
    format: JsonFormat | None
    wire_form: Mapping[str, Json]
    own: Metadata  # what only this wire has: the display of thinking, a task's budget


def _read_output_settings(fields: Fields) -> _OutputSettings:
    """Reads the settings. An unknown form of thinking stays an unknown field, which only this wire accepts."""
    wire_form: dict[str, Json] = {}
    thinking, config = fields.read_object("thinking"), fields.read_object("output_config")
    form = thinking.read_text("type") if thinking else None
    if thinking and form in _THINKING:
        wire_form["thinking"] = dict(thinking.raw)
    effort = config.read_text("effort") if config else None
    if config:
        wire_form["output_config"] = dict(config.raw)
        if effort is not None and effort not in _EFFORTS:
            raise config.invalid("effort", f"{effort[:40]!r} is not one of {', '.join(_EFFORTS)}")
    format_ = _read_format(config.read_object("format") if config else None)
    if "output_format" in fields.raw:  # the beta's name for it
        format_ = format_ or _read_format(fields.read_object("output_format"))
        wire_form["output_format"] = fields.raw["output_format"]
    return _OutputSettings(
        reasoning=_THINKING.get(form) if form else None,
        reasoning_tokens=thinking.read_integer("budget_tokens") if thinking and form == "enabled" else None,
        effort=_EFFORTS[effort] if effort else None,
        format=format_,
        wire_form=wire_form,
        own=(*_find_own(thinking, ("type", "budget_tokens")), *_find_own(config, ("effort", "format"))),
    )


def _find_own(fields: Fields | None, known: Sequence[str]) -> Metadata:
    return unknown_fields(fields.raw, known, NAME, None) if fields else ()


def _read_format(fields: Fields | None) -> JsonFormat | None:
    schema = fields.read_object("schema") if fields else None
    return JsonFormat(schema.raw, strict=True, schema_dialect=NAME) if schema else None


def _read_options(fields: Fields, settings: _OutputSettings) -> Options:
    stop = fields.read_list("stop_sequences") or []
    if not all(isinstance(text, str) for text in stop):
        raise invalid("stop_sequences", "is not a list of strings")
    choice = fields.read_object("tool_choice")
    parallel = choice.read_flag("disable_parallel_tool_use") if choice else None
    tier = fields.read_text("service_tier")
    return Options(
        max_tokens=fields.read_integer("max_tokens"),
        temperature=fields.read_number("temperature"),
        top_p=fields.read_number("top_p"),
        top_k=fields.read_integer("top_k"),
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
    kind = choice.read_required_text("type")
    if kind == "tool":
        return f"tool:{choice.read_required_text('name')}"
    if kind not in _CHOICES:
        raise choice.invalid("type", f"{kind[:40]!r} is not one of {', '.join((*_CHOICES, 'tool'))}")
    return _CHOICES[kind]
