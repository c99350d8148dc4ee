"""Tables of the dialects by name, and which requests need no translation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from llm.chat.messages import ToolCall
from llm.chat.request import ChatRequest
from llm.dialects import anthropic, gemini, native, ollama, openai_chat, openai_responses
from llm.dialects.base import ClientDialect, EngineDialect, PassthroughDialect
from llm.dialects.openai_chat import completions
from llm.engines.api_choice import (
    CHAT,
    COMPLETIONS,
    FIM,
    RESPONSES,
    choose_api,
    has_form,
    takes_responses,
    use_completions,
    use_responses,
)
from llm.engines.engine import Target

# Wire formats of engines.
ENGINE_DIALECTS: Final[Mapping[str, EngineDialect]] = {
    d.NAME: d for d in (openai_chat, openai_responses, anthropic, gemini, ollama)
}
# Wire formats of clients.
CLIENT_DIALECTS: Final[Mapping[str, ClientDialect]] = {
    d.NAME: d for d in (native, openai_chat, openai_responses, anthropic, gemini, ollama)
}
# Wire formats of both: a request can pass to an engine of the same dialect without translation.
PASSTHROUGH_DIALECTS: Final[Mapping[str, PassthroughDialect]] = {
    d.NAME: d for d in (openai_chat, openai_responses, anthropic, gemini, ollama)
}
# The same with those that only a single request is sent in (``Target``), never an engine's own dialect.
ENGINE_WIRES: Final[Mapping[str, EngineDialect]] = {**ENGINE_DIALECTS, completions.NAME: completions}
PASSTHROUGH_WIRES: Final[Mapping[str, PassthroughDialect]] = {**PASSTHROUGH_DIALECTS, completions.NAME: completions}
# Wire formats in which arguments of tool calls are JSON values to clients, not texts.
VALUE_ARGUMENTS: Final = frozenset(d.NAME for d in CLIENT_DIALECTS.values() if d.ARGUMENTS_ARE_VALUES)
# Wire formats whose model lists report facts about options: whether the patterns do not know a model id.
NEW_MODELS: Final[Mapping[str, Callable[[str], bool]]] = {d.NAME: d.is_new_model for d in (anthropic, gemini)}

# Headers with which a model takes its longest context, by wire format.
LONG_CONTEXT_HEADERS: Final[Mapping[str, Callable[[str], Mapping[str, str]]]] = {
    anthropic.NAME: anthropic.long_context_headers
}


def passthrough_target(client_dialect: str, request: ChatRequest, target: Target) -> Target | None:
    """Where a request can be passed through: the target over the client's own dialect; None if that is impossible.

    It is impossible where the model would refuse the client's dialect: then it is translated to the engine's other API.
    """
    if client_dialect in (COMPLETIONS, FIM):
        return use_completions(target) if has_form(target, client_dialect) else None
    engine = target.engine
    if client_dialect != engine.dialect and engine.responses is None:
        return None
    chosen = choose_api(request, target)
    if client_dialect == RESPONSES and takes_responses(request, chosen.engine):
        chosen = use_responses(chosen)
    same = client_dialect == chosen.engine.dialect and client_dialect in PASSTHROUGH_DIALECTS
    translates = chosen.engine.always_translate or (
        same and (_has_runs_of_others(request) or _has_tools_of_others(request, chosen))
    )
    return chosen if same and not translates else None


def _has_tools_of_others(request: ChatRequest, target: Target) -> bool:
    """True if the engine refuses the client's hosted tool for the web, which it has in its own words."""
    web = target.engine.web
    if web is None or not web.own_form_only or target.engine.dialect != CHAT:
        return False
    form = web.find_form(target.model)
    return any(tool.web is not None and tool.web.named != form for tool in request.tools)


def _has_runs_of_others(request: ChatRequest) -> bool:
    """True if the history has a call of a hosted tool of another dialect, in a form that this server has made."""
    for message in request.messages:
        if message.role == "assistant":
            for part in message.parts:
                if isinstance(part, ToolCall) and part.executor == "provider" and not part.metadata:
                    return True
    return False
