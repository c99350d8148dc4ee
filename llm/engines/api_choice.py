"""Chooses between the APIs of an engine: Chat Completions, Responses or completions of a text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from llm.chat.request import ChatRequest, ToolSpec, asks_for_web
from llm.engines.engine import Engine, Target
from llm.engines.globs import matches
from llm.errors import Unsupported

# Names of dialects.
CHAT: Final = "openai-chat"
RESPONSES: Final = "openai-responses"
COMPLETIONS: Final = "openai-completions"
FIM: Final = "openai-fim"  # of clients; engines with this form have the dialect ``COMPLETIONS``


def choose_api(request: ChatRequest, target: Target) -> Target:
    """Returns the target with the Responses dialect if the request asks for it or the model needs it.

    Otherwise the target is returned as it is. Raises ``Unsupported`` for an API that the engine does not have.
    """
    engine, requested = target.engine, request.options.responses_api
    if not engine.chats:
        raise Unsupported(f"{engine.label} has no chat API on this server.", param="model", engine=engine.name)
    if request.suffix is not None:
        return _choose_completions(request.suffix, target)
    if requested is not None and requested != (engine.dialect == RESPONSES):
        if engine.dialect == RESPONSES or engine.responses is None:
            raise _build_refusal(engine, "Responses" if requested else "Chat Completions")
        return use_responses(target)
    if requested is None and engine.dialect == CHAT and _needs_responses(request, target):
        return use_responses(target)
    return target


def use_responses(target: Target) -> Target:
    """Returns the target with the Responses dialect."""
    engine = replace(target.engine, dialect=RESPONSES)
    # The URLs of this API do not name the deployment, so the body does.
    return replace(target, engine=engine, model=engine.deployment or target.model)


def use_completions(target: Target) -> Target:
    """Returns the target with the API that completes a text."""
    engine, support = target.engine, target.engine.completions
    if support is None or not support.form:
        return target
    engine = replace(engine, dialect=COMPLETIONS)
    if support.root:
        base_url = engine.base_url.removesuffix("/v1").removesuffix(support.root)
        engine = replace(engine, base_url=base_url, path=support.root)
    return replace(target, engine=engine)


def has_form(target: Target, form: str) -> bool:
    """True if the engine completes texts by the API of this form."""
    return target.engine.completions is not None and target.engine.completions.form == form


def _choose_completions(suffix: str, target: Target) -> Target:
    """Raises ``Unsupported`` for an engine that cannot complete a text up to the suffix."""
    engine = target.engine
    if engine.completions is None or (suffix and not engine.completions.suffix):
        what = "'suffix' cannot be sent to" if suffix else "A prompt cannot be continued as it is by"
        message = f"{what} {engine.label}, which has no API for it."
        raise Unsupported(message, param="suffix" if suffix else "raw", engine=engine.name)
    return use_completions(target)


def use_chat(target: Target) -> Target:
    """Returns the target with the Chat Completions dialect, and without the Responses API."""
    return replace(target, engine=replace(target.engine, dialect=CHAT, responses=None))


def takes_responses(request: ChatRequest, engine: Engine) -> bool:
    """True if the engine has the Responses API for this request, as far as is known."""
    support = engine.responses
    return support is not None and not (support.only_functions and any(map(_is_no_function, request.tools)))


def choose_other_api(request: ChatRequest, target: Target) -> Callable[[Target], Target] | None:
    """Returns how to change the target if the engine requires its other API; None if it has none for this request.

    ``target``: as :func:`choose_api` returned it.
    """
    support, requested = target.engine.responses, request.options.responses_api
    if support is None or target.engine.dialect not in (CHAT, RESPONSES):
        return None
    if target.engine.dialect == CHAT:
        return use_responses if requested is None else None
    if support.forced:
        return None
    return use_chat if requested is None else _refuse


def _refuse(target: Target) -> Target:
    raise _build_refusal(target.engine, "Responses")


def _build_refusal(engine: Engine, missing: str) -> Unsupported:
    return Unsupported(f"{engine.label} has no {missing} API.", param="responses_api", engine=engine.name)


def _is_no_function(tool: ToolSpec) -> bool:
    return tool.executor == "provider" or tool.freeform is not None or tool.in_namespace


def _has_web_tools_there(request: ChatRequest, target: Target) -> bool:
    """True if only that API of the engine has the hosted tools for the web that the request asks for."""
    web, model = target.engine.web, target.model
    if web is None or not web.responses or not asks_for_web(request) or web.find_form(model) is not None:
        return False
    functions = any(tool.web is None for tool in request.tools)
    kinds = [tool.web.kind for tool in request.tools if tool.web is not None]
    return any(web.has(kind, model, RESPONSES, beside_functions=functions) for kind in kinds)


def _needs_responses(request: ChatRequest, target: Target) -> bool:
    support, model = target.engine.responses, target.model
    if support is None:
        return False
    required = (
        matches(model, support.required)
        or (bool(request.tools) and matches(model, support.required_with_tools))
        or (bool(request.tools) and _has_web_tools_there(request, target))
        or (request.options.effort == "max" and matches(model, support.required_with_max_effort))
    )
    return required and takes_responses(request, target.engine)
