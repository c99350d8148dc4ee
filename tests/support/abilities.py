"""Generates the README's table of engine capabilities from the records and from what each dialect can write."""

from __future__ import annotations

from typing import Any

from llm.chat.messages import Media, Message, Text
from llm.chat.request import ChatRequest, JsonFormat, Options, ToolSpec
from llm.dialects.registry import ENGINE_DIALECTS
from llm.engines import media_limits
from llm.engines.engine import Engine
from llm.errors import Unsupported

COLUMNS = (
    "engine", "streaming", "tools", "vision", "documents", "reasoning", "structured output", "caching", "citations",
    "usage", "model list",
)  # fmt: skip
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"x": {"type": "integer"}},
    "required": ["x"],
    "additionalProperties": False,
}


def row(engine: Engine) -> list[str]:
    """Returns the cells of one engine, in the order of ``COLUMNS``."""
    rules, families = engine.models, engine.models.profiles
    reads = _takes(engine, "application/pdf")
    return [
        f"`{engine.name}`",
        "yes" if engine.dialect in ENGINE_DIALECTS else "no",
        "by model"
        if rules.exceptions.get("tools") or "tools" in rules.listed_capabilities
        else _says(engine, tools=(ToolSpec("f"),)),
        "by model" if _takes(engine, "image/png") and (rules.images or "images" in rules.listed_capabilities) else "no",
        "PDF" if reads and engine.media_limits.documents else "PDF and others" if reads else "no",
        "by model" if rules.reasoning or "reasoning" in rules.listed_capabilities else "no",
        _says(engine, options=Options(format=JsonFormat(_SCHEMA, "n", True))),
        "on request" if any(family.caching_fields for family in families) else engine.caching,
        "by model"
        if any(family.always_cites for family in families)
        else _says(engine, options=Options(citations=True)),
        "yes",  # reported by the engine, or estimated and marked
        "by configuration" if rules.fixed_models else "its own",
    ]


def table(engines: dict[str, Engine]) -> list[list[str]]:
    """Returns the rows of all engines that chat, except the demo."""
    return [row(engine) for engine in engines.values() if engine.name != "demo" and engine.chats]


def _request(engine: Engine, *parts: Text | Media, **more: object) -> ChatRequest:
    message = Message("user", (Text("Hi"), *parts))
    return ChatRequest(model=engine.example_model or "m", messages=(message,), **more)  # type: ignore[arg-type]


def _takes(engine: Engine, mime: str) -> bool:
    request = _request(engine, Media(mime=mime, base64="AAAA", name="a"))
    try:
        media_limits.check_media(request, engine.media_limits, engine.label, engine.name)
        ENGINE_DIALECTS[engine.dialect].write_request(request, engine)
    except Unsupported:
        return False
    return True


def _says(engine: Engine, **more: object) -> str:
    """Answers "yes" if the engine's dialect can write the request for its example model, else "no"."""
    try:
        ENGINE_DIALECTS[engine.dialect].write_request(_request(engine, **more), engine)
    except Unsupported:
        return "no"
    return "yes"
