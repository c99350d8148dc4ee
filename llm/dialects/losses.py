"""Client fields and blocks that a dialect cannot write: dropped with their names, or refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from llm.chat.messages import UnknownPart
from llm.chat.provider_metadata import untranslated_fields
from llm.chat.request import ChatRequest, ToolSpec
from llm.engines.engine import Engine
from llm.errors import Unsupported
from llm.wire.schema_refs import join_pointer


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
            if part.metadata and not isinstance(part, UnknownPart):
                lost += untranslated_fields(part.metadata, dialect)
    return tuple(dict.fromkeys(lost)) if lost else ()
