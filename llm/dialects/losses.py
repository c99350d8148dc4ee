"""Client fields and blocks that a dialect cannot write: dropped with their names, or refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from llm.chat.messages import Reasoning, UnknownPart
from llm.chat.provider_metadata import untranslated_fields
from llm.chat.request import ChatRequest, ToolSpec
from llm.engines.engine import Engine
from llm.errors import Unsupported
from llm.wire.schema_refs import join_pointer

REASONING: Final = "reasoning"  # in ``EngineRequest.dropped``: reasoning that does not go back to the engine


def unknown_block(block: UnknownPart, engine: Engine, context: str = "") -> Unsupported:
    """Returns the error for a block of another wire, naming the block's type; ``context`` ends the sentence."""
    kind = next((kind for opaque in block.metadata if isinstance(kind := opaque.data.get("type"), str)), "unnamed")
    message = f"{engine.label} does not support the block {kind[:100]!r}{context}."
    return Unsupported(message, param="messages", engine=engine.name)


def lost_grammars(tools: Iterable[ToolSpec]) -> tuple[str, ...]:
    """Returns the paths of grammars that a function can only tell in words, for ``EngineRequest.dropped``."""
    return tuple(
        f"{join_pointer('tools', tool.name)}/format"
        for tool in tools
        if tool.freeform is not None and tool.freeform.grammar
    )


# Fields that refer to a conversation stored by another provider.
_STORED_REFERENCES: Final = ("previous_response_id", "conversation")
_SEND_HISTORY: Final = ", because it does not store the conversation: send the whole conversation"


def lost_fields(request: ChatRequest, dialect: str) -> tuple[str, ...]:
    """Returns names of client fields that ``dialect`` cannot write, for ``EngineRequest.dropped`` (T8: name losses).

    Raises ``Unsupported`` for a loss that would change the answer: a hosted tool, or a top-level field outside of
    ``ChatRequest.droppable_fields`` (such as ``user`` or ``cache_control``).
    """
    for tool in request.tools:
        if tool.executor == "provider" and not any(o.dialect == dialect for o in tool.metadata):
            raise Unsupported(f"This engine does not support the hosted tool {tool.name!r}.", param="tools")
    lost = [*untranslated_fields(request.metadata, dialect)]
    for name in lost:
        if name not in request.droppable_fields:
            reason = _SEND_HISTORY if name in _STORED_REFERENCES else ""
            raise Unsupported(f"{name!r} cannot be sent to this engine{reason}.", param=name)
    for tool in request.tools:
        lost += untranslated_fields(tool.metadata, dialect)
    for message in request.messages:
        if message.metadata:
            lost += untranslated_fields(message.metadata, dialect)
        for part in message.parts:
            if part.metadata and not isinstance(part, Reasoning | UnknownPart):  # the dialects name them as a whole
                lost += untranslated_fields(part.metadata, dialect)
    return tuple(dict.fromkeys(lost)) if lost else ()


def limit_tools(request: ChatRequest, engine: Engine) -> ChatRequest:
    """Returns the request with the allowed tools alone, for APIs without ``allowed_tools``.

    If none of the tools is allowed, they stay, since calls in the history may need their definitions, and the tool
    choice becomes "none". Raises ``Unsupported`` if one of them has to be called.
    """
    options = request.options
    if not options.allowed_tools:
        return request
    tools = tuple(tool for tool in request.tools if tool.name in options.allowed_tools)
    if tools:
        return replace(request, tools=tools, options=replace(options, allowed_tools=()))
    if options.tool_choice == "required":
        message = f"{engine.label} cannot call an allowed tool: none of them is one of the tools."
        raise Unsupported(message, param="tool_choice", engine=engine.name)
    return replace(request, options=replace(options, allowed_tools=(), tool_choice="none"))


def unforce_tools(request: ChatRequest, engine: Engine, dropped: list[str]) -> ChatRequest:
    """Returns the request without a forced tool call, for engines and models that cannot force one.

    A tool that has to be called is the only one that is offered then; ``tool_choice`` is appended to ``dropped``.
    Raises ``Unsupported`` if it is not one of the tools.
    """
    options, tools, choice = request.options, request.tools, request.options.tool_choice
    if choice is None or choice in ("auto", "none"):
        return request
    if choice.startswith("tool:"):
        tools = tuple(tool for tool in tools if tool.name == choice[5:])
    if not tools:
        message = f"{engine.label} cannot call the demanded tool, which is not one of the tools."
        raise Unsupported(message, param="tool_choice", engine=engine.name)
    dropped.append("tool_choice")
    return replace(request, tools=tools, options=replace(options, tool_choice=None))


def fit_tools(request: ChatRequest, engine: Engine, dropped: list[str]) -> ChatRequest:
    """Returns the request with tools and a tool choice that the engine's record accepts."""
    quirks = engine.quirks
    if not quirks.accepts_allowed_tools:
        request = limit_tools(request, engine)
    if not quirks.accepts_forced_tools:
        request = unforce_tools(request, engine, dropped)
    if request.options.tool_choice == "none" and not quirks.accepts_tool_choice_none:
        return replace(request, tools=(), options=replace(request.options, tool_choice=None))
    return request
