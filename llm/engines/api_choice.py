"""Chooses between the two APIs of an engine: Chat Completions or Responses."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from llm.chat.request import ChatRequest
from llm.engines.engine import Target
from llm.engines.globs import matches
from llm.errors import Unsupported

# Names of dialects.
CHAT: Final = "openai-chat"
RESPONSES: Final = "openai-responses"


def choose_api(request: ChatRequest, target: Target) -> Target:
    """Returns the target with the Responses dialect if the request asks for it or the model needs it.

    Otherwise the target is returned as it is. Raises ``Unsupported`` for an API that the engine does not have.
    """
    engine, requested = target.engine, request.options.responses_api
    if requested is not None and requested != (engine.dialect == RESPONSES):
        if engine.dialect == RESPONSES or engine.responses is None:
            missing = "Responses" if requested else "Chat Completions"
            raise Unsupported(f"{engine.label} has no {missing} API.", param="responses_api", engine=engine.name)
        return use_responses(target)
    if requested is None and engine.dialect == CHAT and _needs_responses(request, target):
        return use_responses(target)
    return target


def use_responses(target: Target) -> Target:
    """Returns the target with the Responses dialect."""
    engine = replace(target.engine, dialect=RESPONSES)
    # The URLs of this API do not name the deployment, so the body does.
    return replace(target, engine=engine, model=engine.deployment or target.model)


def _needs_responses(request: ChatRequest, target: Target) -> bool:
    support, model = target.engine.responses, target.model
    if support is None:
        return False
    return (
        matches(model, support.required)
        or (bool(request.tools) and matches(model, support.required_with_tools))
        or (request.options.effort == "max" and matches(model, support.required_with_max_effort))
    )
