"""Names of what a dialect cannot carry."""

from __future__ import annotations

from typing import Final

from llm.chat.messages import Foreign
from llm.chat.provider_metadata import fields_lost
from llm.chat.request import ChatRequest
from llm.engines.engine import Engine
from llm.errors import Unsupported


def unknown_block(block: Foreign, engine: Engine, place: str = "") -> Unsupported:
    """The refusal of a block of another wire, by its own name."""
    kind = next((kind for opaque in block.keep if isinstance(kind := opaque.data.get("type"), str)), "unnamed")
    told = f"{engine.label} has no block {kind[:100]!r}{place}."
    return Unsupported(told, param="messages", engine=engine.name)


# They refer to what another provider has stored of the conversation.
_STORED: Final = ("previous_response_id", "conversation")
_ELSEWHERE: Final = ", which has nothing of it: send the whole conversation"


def lost_fields(request: ChatRequest, dialect: str) -> tuple[str, ...]:
    """Names of what the client sent that has no place in ``dialect``, to be told in ``Outgoing.dropped`` (T8).

    Raises ``Unsupported`` where such a field changes the answer: a top-level field that the client's own dialect does
    not know as a hint, or a hosted tool. Hints are fields such as ``user`` or ``cache_control``.
    """
    for tool in request.tools:
        if tool.executor == "provider" and not any(o.dialect == dialect for o in tool.keep):
            raise Unsupported(f"The tool {tool.name!r} is of a kind that this engine does not know.", param="tools")
    lost = [*fields_lost(request.keep, dialect)]
    for name in lost:
        if name not in request.hints:
            why = _ELSEWHERE if name in _STORED else ""
            raise Unsupported(f"{name!r} cannot be carried to this engine{why}.", param=name)
    for tool in request.tools:
        lost += fields_lost(tool.keep, dialect)
    for message in request.messages:
        if message.keep:
            lost += fields_lost(message.keep, dialect)
        for part in message.parts:
            if part.keep and not isinstance(part, Foreign):
                lost += fields_lost(part.keep, dialect)
    return tuple(dict.fromkeys(lost)) if lost else ()
