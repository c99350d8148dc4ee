"""Which of an engine's two APIs a request takes: Chat Completions or Responses."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from llm.chat.request import ChatRequest
from llm.engines.engine import Target
from llm.engines.globs import fits
from llm.errors import Unsupported

CHAT: Final = "openai-chat"
RESPONSES: Final = "openai-responses"


def routed(request: ChatRequest, target: Target) -> Target:
    """``target``, on the Responses wire where the request asks for it or the model needs it.

    Raises ``Unsupported`` for an API that the engine does not have.
    """
    engine, wanted = target.engine, request.options.responses_api
    if wanted is not None and wanted != (engine.dialect == RESPONSES):
        if engine.dialect == RESPONSES or engine.responses is None:
            missing = "Responses" if wanted else "Chat Completions"
            raise Unsupported(f"{engine.label} has no {missing} API.", param="responses_api", engine=engine.name)
        return over_responses(target)
    if wanted is None and engine.dialect == CHAT and _needed(request, target):
        return over_responses(target)
    return target


def over_responses(target: Target) -> Target:
    engine = replace(target.engine, dialect=RESPONSES)
    return replace(target, engine=engine, model=engine.deployment or target.model)  # no address names it here


def _needed(request: ChatRequest, target: Target) -> bool:
    rules, model = target.engine.responses, target.model
    if rules is None:
        return False
    return fits(model, rules.always) or (bool(request.tools) and fits(model, rules.with_tools))
