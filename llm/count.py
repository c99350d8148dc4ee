"""The tokens of a request before it is made: counted by its provider where that can, else estimated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llm.chat import ChatRequest
from llm.engines import Target
from llm.exchange import Services, Trace, ask
from llm.routing import CHAT, over_responses
from llm.tasks import counting
from llm.tokens import estimate
from llm.wishes import written


@dataclass(frozen=True, slots=True)
class Count:
    tokens: int
    estimated: bool = False


async def count(
    request: ChatRequest,
    target: Target,
    services: Services,
    trace: Trace,
    verbatim: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Count:
    """``verbatim``: the body of a client that speaks the engine's own wire. Raises ``LLMError``."""
    if not target.engine.counts:
        return Count(estimate(request), estimated=True)
    if target.engine.dialect == CHAT:
        target = over_responses(target)
    engine = target.engine
    if verbatim is not None:
        outgoing = counting.verbatim(verbatim, target.model)
    else:
        chat = written(request, target)
        outgoing = counting.write_request(chat, engine.dialect)
        trace.dropped = chat.dropped
    return Count(await ask(outgoing, counting.read_reply, target, services, trace, headers))
